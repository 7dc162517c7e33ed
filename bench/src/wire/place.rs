//! Where an interface is: in a namespace of the lab, or in that of this process.

use nix::sched::{CloneFlags, setns};
use xlns_dataplane::port::interface::Interface;
use xlns_tests::netns::Netns;
use xlns_tests::{LabError, Result};

/// A network namespace.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// That of this process.
    Here,
    /// One of the lab.
    Inside(&'a Netns),
}

impl Place<'_> {
    /// Does `work` on a thread there: sockets made there stay there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or `work` fails.
    pub fn inside<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self {
            Self::Inside(namespace) => namespace.inside(work),
            Self::Here => std::thread::scope(|scope| scope.spawn(work).join())
                .unwrap_or_else(|_| Err(LabError::new("a thread panicked"))),
        }
    }

    /// An interface there.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn interface(self, name: &str) -> Result<Interface> {
        self.inside(|| Interface::read(name).map_err(|error| LabError::new(error.to_string())))
    }

    /// Frames that the interface could not send so far; `None` where the kernel does not say.
    pub fn send_drops(self, name: &str) -> Option<u64> {
        let text = self.inside(|| {
            std::fs::read_to_string("/proc/thread-self/net/dev")
                .map_err(|error| LabError::io("read the interfaces' counters", &error))
        });
        text.ok().and_then(|text| send_drops(&text, name))
    }
}

/// The way into a namespace, for a thread that goes to and fro.
#[derive(Debug)]
pub struct Door(std::fs::File);

impl Door {
    /// That of a place.
    ///
    /// # Errors
    /// Where the namespace is gone.
    pub fn of(place: Place<'_>) -> Result<Self> {
        let open = || {
            std::fs::File::open("/proc/thread-self/ns/net")
                .map_err(|error| LabError::io("open the namespace", &error))
        };
        place.inside(open).map(Self)
    }

    /// Takes this thread there, to stay.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNET)
            .map_err(|error| LabError::io("enter the namespace", &error.into()))
    }
}

/// Reads the column of frames dropped while sending.
fn send_drops(table: &str, name: &str) -> Option<u64> {
    /// Behind the name: eight columns of receiving; octets, frames and errors of sending.
    const COLUMN: usize = 8 + 3;
    let row = table.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    row.split_whitespace().nth(COLUMN)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_the_right_interface_is_read() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop\n\
                     lac0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                     lac01: 0 0 0 0 0 0 0 0 0 0 0 77 0 0 0 0\n";
        assert_eq!(send_drops(table, "lac0"), Some(12));
        assert_eq!(send_drops(table, "lac01"), Some(77));
        assert_eq!(send_drops(table, "lac"), None);
    }
}

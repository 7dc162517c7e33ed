//! What a running xlns says of itself.

use std::path::Path;

use super::super::machine::{Reading, Running, RunningPort};
use crate::admin::{Client, ClientError, Request, Response};

/// The mode of the TUN device, which is no port.
const TUN: &str = "tun";

/// Asks the xlnsd at this socket.
pub(super) fn read(socket: &Path) -> Reading<Running> {
    ask(socket).map_err(|error| match error {
        ClientError::NotRunning(path) => format!("nothing answers at {}", path.display()),
        error => error.to_string(),
    })
}

fn ask(socket: &Path) -> Result<Running, ClientError> {
    let mut client = Client::connect(socket)?;
    let mut running = Running::default();
    for row in client.ask(&Request::ShowPorts)? {
        if let Response::Port(row) = row?
            && row.mode != TUN
            && !row.mode.is_empty()
        {
            running.ports.push(RunningPort {
                interface: row.interface,
                mode: row.mode,
                not_better: row.not_better,
            });
        }
    }
    for row in client.ask(&Request::ShowWorkers)? {
        if let Response::Worker(row) = row? {
            running.cores.push(row.core);
        }
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_xlnsd_it_says_where_it_looked() {
        let why = read(Path::new("/nonexistent/admin.sock")).unwrap_err();
        assert_eq!(why, "nothing answers at /nonexistent/admin.sock");
    }
}

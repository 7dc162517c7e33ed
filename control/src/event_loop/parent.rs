//! The parent at the other end of standard input, whose end is ours.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What is read at once of input that means nothing.
const IGNORED_BYTES: usize = 1024;

/// Reads what there is, without waiting: the descriptor is shared with others and stays blocking.
/// Returns whether it has ended, or is broken.
pub fn has_ended(input: &impl AsFd) -> bool {
    let mut ignored = [0; IGNORED_BYTES];
    loop {
        let mut waiting = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::ZERO) {
            Ok(0) => return false,
            Err(Errno::EINTR) => continue,
            Ok(_) | Err(_) => {}
        }
        match nix::unistd::read(input.as_fd(), &mut ignored) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_seen_behind_whatever_was_said() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert!(!has_ended(&reader));
        writer.write_all(&[b'x'; 10_000]).unwrap();
        assert!(!has_ended(&reader), "blocking, and not waited for");
        writer.write_all(&[b'x'; 10_000]).unwrap();
        drop(writer);
        assert!(has_ended(&reader));
    }
}

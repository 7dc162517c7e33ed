//! One question to the kernel and its answer, waited for: for commands, which have nothing else to
//! do. The event loop never asks in this way.

use std::io;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::message::Messages;

/// The kernel answers at once, unless a driver waits for its NIC.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer: the kernel makes datagrams of at most 32 KiB for one message.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

/// A socket that asks one thing at a time.
pub(super) struct Asker {
    socket: Socket,
    sequence: u32,
}

impl Asker {
    /// Opens a socket of that netlink protocol in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        let seconds = i64::try_from(ANSWER_TIMEOUT.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(seconds))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks; yields the payload of the answer's message. An acknowledgement alone is an empty one.
    ///
    /// # Errors
    /// What the kernel refused, or that it is silent.
    pub(super) fn ask(&mut self, message_type: u16, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        let octets = encode(message_type, self.sequence, payload)?;
        self.socket.send_to(&octets, &SocketAddr::new(0, 0), 0)?;
        let mut answer = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM_BYTES_MAX);
            let (_, sender) = self.socket.recv_from(&mut datagram, 0)?;
            if sender.port_number() != 0 {
                continue;
            }
            for message in Messages(&datagram) {
                if message.sequence != self.sequence {
                    continue;
                }
                if message.message_type != NLMSG_ERROR {
                    answer = message.payload.to_vec();
                    continue;
                }
                return match message.errno() {
                    0 => Ok(answer),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
        }
    }
}

fn encode(message_type: u16, sequence: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let length = u32::try_from(16 + payload.len()).map_err(too_long)?;
    Ok([
        &length.to_ne_bytes()[..],
        &message_type.to_ne_bytes(),
        &(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &0_u32.to_ne_bytes(),
        payload,
    ]
    .concat())
}

/// An attribute with its padding; a value that is too long for one is left out.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let Ok(length) = u16::try_from(4 + value.len()) else { return Vec::new() };
    let mut octets = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// A text with the zero at its end.
pub(super) fn text_attribute(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// The text of an attribute, without the zero at its end.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::event::attributes;

    #[test]
    fn attributes_are_padded_and_read_back() {
        for value in ["", "a", "abc", "abcd"] {
            let octets = text_attribute(7, value);
            assert_eq!(octets.len() % 4, 0);
            let read: Vec<_> = attributes(&octets, 0).flatten().collect();
            assert_eq!(read.len(), 1);
            assert_eq!((read[0].0, text(read[0].1).as_str()), (7, value));
        }
        assert_eq!(attribute(1, &[0; 65_536]), Vec::<u8>::new());
    }

    #[test]
    fn a_request_is_one_message() {
        let octets = encode(18, 7, &[1, 2, 3, 4]).unwrap();
        let message = Messages(&octets).next().unwrap();
        assert_eq!((message.message_type, message.sequence), (18, 7));
        assert_eq!(message.payload, [1, 2, 3, 4]);
    }
}

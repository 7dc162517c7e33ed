//! Frames on their way out, and what the machines need to make them.

use std::collections::VecDeque;

use super::Config;
use super::frame::{self, protocol};
use crate::time::Time;

/// Frames that wait to be sent.
#[derive(Debug, Default)]
pub struct Transmit {
    frames: VecDeque<Vec<u8>>,
    /// The peer takes frames without Address and Control octets.
    pub acfc: bool,
}

impl Transmit {
    /// Queues a packet. LCP always has the Address and Control octets (RFC 1661 section 6.6).
    pub fn push(&mut self, protocol: u16, code: u8, identifier: u8, parts: &[&[u8]]) {
        let address_control = !self.acfc || protocol == protocol::LCP;
        self.frames.push_back(frame::emit(protocol, address_control, code, identifier, parts));
    }

    /// Queues a packet of a network protocol.
    pub fn push_packet(&mut self, protocol: u16, packet: &[u8]) {
        let address_control = if self.acfc { &[][..] } else { &frame::ADDRESS_CONTROL };
        self.frames.push_back([address_control, &protocol.to_be_bytes(), packet].concat());
    }

    /// Takes the next frame out. An empty queue gives its memory back: links are idle for hours.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front();
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
        frame
    }

    /// Frames that fit the memory held now.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.frames.capacity()
    }
}

/// What a machine works with but does not own.
pub struct Context<'a> {
    /// Now.
    pub now: Time,
    /// Timers and counters.
    pub config: &'a Config,
    /// Where packets go.
    pub transmit: &'a mut Transmit,
    /// The largest packet for the peer, in octets.
    pub peer_mru: u16,
}

/// The first `limit` octets at most.
pub(super) fn truncate(octets: &[u8], limit: usize) -> &[u8] {
    octets.get(..limit).unwrap_or(octets)
}

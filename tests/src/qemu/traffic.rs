//! Test packets through an LNS: each compared octet by octet, or many at a fixed load.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::access::Access;
use super::frames::{self, TTL};
use super::wire::Wire;
use crate::deadline::Deadline;
use crate::{LabError, Result};

/// Lengths of packets that are compared: the smallest frame, the largest of the session, and some in
/// between, odd ones too.
const LENGTHS: [usize; 6] = [46, 64, 129, 577, 1280, 1400];

/// Packets that are on the way at most while each is compared: ask and answer.
const COMPARED_WINDOW: u32 = 32;

/// Octets of a packet of the load: what fills the smallest Ethernet frame (64 octets with its check
/// sequence).
pub const LOAD_BYTES: usize = 46;

/// Packets that are on the way at most under load: half of what the guest's receive ring holds, so
/// that a machine with other work makes the load smaller and loses nothing.
const LOAD_WINDOW: u32 = 512;

/// A load comes in bursts, so many a second: a poll's worth of packets at 20,000 a second, so that
/// packets are measured rather than interrupts, which cost an emulated CPU more than a packet does.
const BURSTS_PER_SECOND: u32 = 250;

/// How long a packet is waited for before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the subscriber.
    Upstream,
    /// To the subscriber.
    Downstream,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Downstream];

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// What came of some packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u32,
    /// Received, each once and as it was expected.
    pub received: u32,
}

/// An LNS with the driver on both sides of it: a session on one, a host in the core on the other.
pub struct Traffic<'a> {
    access: Access<'a>,
    core: &'a mut Wire,
    core_address: Ipv4Addr,
    /// Marks the packets of a run.
    mark: u32,
}

impl<'a> Traffic<'a> {
    /// Between a session that is up and a host in the core.
    pub fn new(access: Access<'a>, core: &'a mut Wire, core_address: Ipv4Addr) -> Self {
        Self { access, core, core_address, mark: 0 }
    }

    /// Sends `count` packets of all lengths, and compares what arrives.
    ///
    /// # Errors
    /// Where one arrives twice or changed, or the guest is stuck.
    pub fn compare(&mut self, direction: Direction, count: u32) -> Result<Counts> {
        self.mark += 1;
        let mut seen = vec![false; count as usize];
        let mut counts = Counts::default();
        let mut last = Deadline::after(LOST_AFTER);
        while counts.received < count && !last.passed() {
            self.access.handle_timeout()?;
            while counts.sent < count && counts.sent - counts.received < COMPARED_WINDOW {
                let packet = self.packet(direction, counts.sent, length_of(counts.sent), TTL);
                self.send(direction, &packet)?;
                counts.sent += 1;
            }
            let mut arrived = Vec::new();
            self.receive(direction, |packet| arrived.push(packet.to_vec()))?;
            for packet in &arrived {
                let Some(number) = frames::number_of(packet, self.mark) else { continue };
                let first =
                    seen.get_mut(number as usize).is_some_and(|s| !std::mem::replace(s, true));
                // One hop further, nothing else changed.
                let expected = self.packet(direction, number, length_of(number), TTL - 1);
                if !first || !is_equal(packet, &expected) {
                    return Err(wrong(direction, number, first, packet, &expected));
                }
                counts.received += 1;
                last = Deadline::after(LOST_AFTER);
            }
            if arrived.is_empty() {
                self.wait(Duration::from_millis(5));
            }
        }
        Ok(counts)
    }

    /// Sends small packets for `span`, at most `rate` a second, and counts those that arrive.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn load(&mut self, direction: Direction, rate: u32, span: Duration) -> Result<Counts> {
        self.mark += 1;
        let burst_max = (2 * rate / BURSTS_PER_SECOND).max(1);
        let tick = Duration::from_secs(1) / BURSTS_PER_SECOND;
        let mut counts = Counts::default();
        // What was not sent in time is let go: a flood after a pause would be another load.
        let (clock, mut let_go) = (Deadline::after(span), 0);
        while !clock.passed() {
            self.access.handle_timeout()?;
            let due = (clock.elapsed().as_secs_f64() * f64::from(rate)) as u32;
            let due = due.saturating_sub(counts.sent + let_go);
            let room = LOAD_WINDOW.saturating_sub(counts.sent - counts.received);
            let burst = due.min(burst_max).min(room);
            for number in counts.sent..counts.sent + burst {
                let packet = self.packet(direction, number, LOAD_BYTES, TTL);
                self.send(direction, &packet)?;
            }
            counts.sent += burst;
            let_go += due - burst;
            counts.received += self.count(direction)?;
            std::thread::park_timeout(tick.min(clock.remaining()));
        }
        let mut last = Deadline::after(LOST_AFTER);
        while counts.received < counts.sent && !last.passed() {
            self.access.handle_timeout()?;
            let received = self.count(direction)?;
            if received > 0 {
                counts.received += received;
                last = Deadline::after(LOST_AFTER);
            }
            self.wait(tick);
        }
        Ok(counts)
    }

    /// Sends nothing for `span`; what LAC, subscriber and LNS have to say goes on.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn rest(&mut self, span: Duration) -> Result<()> {
        let deadline = Deadline::after(span);
        while !deadline.passed() {
            self.access.handle_timeout()?;
            for direction in Direction::ALL {
                self.receive(direction, |_| ())?;
            }
            self.wait(deadline.remaining().min(Duration::from_millis(50)));
        }
        Ok(())
    }

    fn packet(&self, direction: Direction, number: u32, length: usize, ttl: u8) -> Vec<u8> {
        let (subscriber, core) = (self.access.address(), self.core_address);
        let (source, destination) = match direction {
            Direction::Upstream => (subscriber, core),
            Direction::Downstream => (core, subscriber),
        };
        frames::test_packet(source, destination, [self.mark, number], length, ttl)
    }

    fn send(&self, direction: Direction, packet: &[u8]) -> Result<()> {
        match direction {
            Direction::Upstream => self.access.send(packet),
            Direction::Downstream => self.core.send(packet),
        }
    }

    /// Takes all that is there on both sides; `packet` gets what arrives in this direction.
    fn receive(&mut self, direction: Direction, mut packet: impl FnMut(&[u8])) -> Result<()> {
        let downstream = direction == Direction::Downstream;
        while self.access.receive(|inner| {
            if downstream {
                packet(inner);
            }
        })? {}
        while let Some(arrived) = self.core.receive()? {
            if !downstream {
                packet(arrived);
            }
        }
        Ok(())
    }

    fn count(&mut self, direction: Direction) -> Result<u32> {
        let (mark, mut count) = (self.mark, 0);
        self.receive(direction, |packet| {
            count += u32::from(frames::number_of(packet, mark).is_some());
        })?;
        Ok(count)
    }

    fn wait(&self, span: Duration) {
        super::wait(&[self.access.wire(), self.core], span);
    }
}

fn length_of(number: u32) -> usize {
    LENGTHS[number as usize % LENGTHS.len()]
}

/// Whether what arrived is what was expected, with nothing behind it but the padding that fills the
/// smallest frame.
fn is_equal(packet: &[u8], expected: &[u8]) -> bool {
    packet.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || packet.len() <= LOAD_BYTES)
}

fn wrong(
    direction: Direction,
    number: u32,
    first: bool,
    packet: &[u8],
    expected: &[u8],
) -> LabError {
    let name = direction.name();
    if !first {
        return LabError::new(format!("{name}, packet {number} arrived twice, or was never sent"));
    }
    let same = packet.iter().zip(expected).take_while(|(a, b)| a == b).count();
    LabError::new(format!(
        "{name}, packet {number} arrived changed, from octet {same} on ({} octets of {}):\n\
         {packet:02x?}\nexpected\n{expected:02x?}",
        packet.len(),
        expected.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padding_of_the_smallest_frame_is_let_pass() {
        assert!(is_equal(&[1, 2], &[1, 2]));
        assert!(is_equal(&[&[1, 2][..], &[0; 44]].concat(), &[1, 2]));
        assert!(!is_equal(&[&[1, 2][..], &[0; 45]].concat(), &[1, 2]));
        assert!(!is_equal(&[1], &[1, 2]));
        assert!(!is_equal(&[1, 3], &[1, 2]));
    }

    #[test]
    fn lengths_make_whole_packets() {
        assert!(LENGTHS.iter().all(|length| *length >= frames::PACKET_BYTES_MIN));
        assert_eq!((length_of(0), length_of(7)), (LENGTHS[0], LENGTHS[1]));
    }
}

//! One direction's sender: which packet is next, and when it is due.

use std::net::Ipv4Addr;

use super::kernel::frames::Link;
use super::options::{Injection, Kind, Size};
use super::packet::{Flow, Form, Head};
use super::payload::Label;
use super::port::{BATCH, Port};

/// Packets that are made up for when the sender was kept from its core, a burst at most: what is later
/// than that was not offered. The rate reported is the one reached.
const LATE_MAX: f64 = 256.0;

/// Injected packets are spread over the flows: one of so many packets at most.
const INJECT_EVERY: u64 = 16;

/// What is sent in a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets offered.
    pub packets: u64,
    /// Octets of the subscribers' packets.
    pub inner_bytes: u64,
    /// Octets of the frames, without check sequences.
    pub frame_bytes: u64,
    /// Packets spoilt on purpose.
    pub injected: u64,
}

/// A sender.
pub struct Sender {
    /// By flow, and for each the lengths.
    heads: Vec<Head>,
    /// Which of a flow's heads each packet of the mix has.
    mix: Vec<usize>,
    lengths: usize,
    /// The next number of each flow.
    next: Vec<u32>,
    /// The first number of each in this trial.
    first: Vec<u32>,
    flow: usize,
    turn: usize,
    sent: Sent,
    /// Nanoseconds a packet; `None`: as fast as it goes.
    gap_ns: Option<f64>,
    start_ns: u64,
    inject: Vec<Injection>,
    left: Vec<Injection>,
}

impl Sender {
    /// One of packets of this form and size that leave by `link`.
    pub fn new(flows: &[Flow], core: Ipv4Addr, form: Form, size: &Size, link: Link) -> Self {
        let mut lengths = size.inner_bytes.clone();
        lengths.sort_unstable();
        lengths.dedup();
        let place = |bytes: &u16| lengths.iter().position(|length| length == bytes).unwrap_or(0);
        let mix = size.inner_bytes.iter().map(place).collect();
        let head = |flow: &Flow, bytes: &u16| Head::new(flow, core, form, *bytes, link);
        let heads =
            flows.iter().flat_map(|flow| lengths.iter().map(move |bytes| head(flow, bytes)));
        Self {
            heads: heads.collect(),
            mix,
            lengths: lengths.len(),
            next: vec![0; flows.len()],
            first: vec![0; flows.len()],
            flow: 0,
            turn: 0,
            sent: Sent::default(),
            gap_ns: None,
            start_ns: 0,
            inject: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Spoils packets in every trial.
    pub fn inject(&mut self, injections: &[Injection]) {
        self.inject = injections.to_vec();
    }

    /// A trial begins: packets a second, or as many as it makes.
    pub fn begin(&mut self, now_ns: u64, rate: Option<f64>) {
        self.first.copy_from_slice(&self.next);
        self.sent = Sent::default();
        self.gap_ns = rate.map(|rate| 1e9 / rate.max(1.0));
        self.start_ns = now_ns;
        self.left.clone_from(&self.inject);
    }

    /// The first number of each flow in this trial.
    pub fn first(&self) -> &[u32] {
        &self.first
    }

    /// What was sent in this trial.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Packets sent in this trial, by flow.
    pub fn sent_by_flow(&self) -> impl Iterator<Item = u32> {
        self.next.iter().zip(&self.first).map(|(next, first)| next.wrapping_sub(*first))
    }

    /// Sends what is due, a batch at most. Returns how many packets.
    #[inline]
    pub fn turn(&mut self, port: &mut Port, now_ns: u64) -> usize {
        let due = self.due(now_ns);
        if due == 0 {
            return 0;
        }
        let queues = port.queues().max(1);
        let mut count = 0;
        for queue in 0..queues {
            // Each flow has its queue, so that nothing overtakes.
            if port.room(queue) < due {
                return 0;
            }
        }
        while count < due {
            if !self.send(port, queues, now_ns) {
                break;
            }
            count += 1;
        }
        port.flush();
        count
    }

    fn due(&mut self, now_ns: u64) -> usize {
        let Some(gap) = self.gap_ns else { return BATCH };
        let elapsed = now_ns.saturating_sub(self.start_ns) as f64;
        let late = elapsed / gap - self.sent.packets as f64;
        if late > LATE_MAX {
            self.start_ns += ((late - LATE_MAX) * gap) as u64;
        }
        (late.max(0.0) as usize).min(BATCH)
    }

    /// The next packet of the next flow.
    #[inline]
    fn send(&mut self, port: &mut Port, queues: usize, now_ns: u64) -> bool {
        let Some(length) = self.mix.get(self.turn) else { return false };
        let Some(head) = self.heads.get(self.flow * self.lengths + length) else { return false };
        let Some(next) = self.next.get_mut(self.flow) else { return false };
        let label = Label { flow: self.flow as u32, sequence: *next, sent_ns: now_ns };
        let queue = self.flow % queues;
        let spoilt = self.sent.packets.is_multiple_of(INJECT_EVERY).then(|| take(&mut self.left));
        let pushed = match spoilt.flatten() {
            None => port.push(queue, head.frame_bytes(), |frame| head.write(label, frame)),
            Some(kind) => {
                self.sent.injected += 1;
                if kind == Kind::Reorder {
                    *next = next.wrapping_add(1);
                    self.sent.packets += 1;
                    self.sent.inner_bytes += head.inner_bytes() as u64;
                    self.sent.frame_bytes += head.frame_bytes() as u64;
                }
                spoil(port, queue, head, label, kind)
            }
        };
        if !pushed {
            return false;
        }
        *next = next.wrapping_add(1);
        self.sent.packets += 1;
        self.sent.inner_bytes += head.inner_bytes() as u64;
        self.sent.frame_bytes += head.frame_bytes() as u64;
        self.flow += 1;
        if self.flow == self.next.len() {
            self.flow = 0;
        }
        self.turn += 1;
        if self.turn == self.mix.len() {
            self.turn = 0;
        }
        true
    }
}

/// The next packet that is to be spoilt, and how.
fn take(left: &mut Vec<Injection>) -> Option<Kind> {
    let Injection { kind, count } = left.last_mut()?;
    let kind = *kind;
    *count = count.saturating_sub(1);
    if *count == 0 {
        left.pop();
    }
    Some(kind)
}

/// Sends a packet as a bad network would bring it.
#[cold]
fn spoil(port: &mut Port, queue: usize, head: &Head, label: Label, kind: Kind) -> bool {
    let length = head.frame_bytes();
    match kind {
        Kind::Lose => true,
        Kind::Corrupt => port.push(queue, length, |frame| {
            head.write(label, frame);
            if let Some(octet) = frame.last_mut() {
                *octet ^= 1;
            }
        }),
        Kind::Duplicate => {
            port.push(queue, length, |frame| head.write(label, frame))
                && port.push(queue, length, |frame| head.write(label, frame))
        }
        Kind::Reorder => {
            let later = Label { sequence: label.sequence.wrapping_add(1), ..label };
            port.push(queue, length, |frame| head.write(later, frame))
                && port.push(queue, length, |frame| head.write(label, frame))
        }
    }
}

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
    /// How often all flows had their turn: each time the mix begins at its next place, so that every flow
    /// gets all of it.
    round: usize,
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
            round: 0,
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
        let place = (self.round + self.flow) % self.mix.len().max(1);
        let Some(length) = self.mix.get(place) else { return false };
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
            self.round = self.round.wrapping_add(1);
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::sync::Arc;

    use super::*;
    use crate::wire::packet::{Ids, Side};
    use crate::wire::receiver::{Arrived, Receiver};

    const CORE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const MILLISECOND: u64 = 1_000_000;

    fn flows(count: u16) -> Arc<[Flow]> {
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1701);
        let flow = |number: u16| Flow {
            lac: address,
            lns: address,
            to_lns: Ids { tunnel: 1, session: number },
            from_lns: Ids { tunnel: 1, session: number },
            subscriber: Ipv4Addr::from_bits(0x0a00_0000 + u32::from(number)),
        };
        (1..=count).map(flow).collect()
    }

    fn sender(flows: &[Flow], size: &str) -> Sender {
        let link = Link { source: [2; 6], destination: [4; 6] };
        Sender::new(flows, CORE, Form::Bare, &size.parse().unwrap(), link)
    }

    /// Sends for `span_ns` in turns of a millisecond; what arrives at the core.
    fn run(sender: &mut Sender, receiver: &mut Receiver, rate: f64, span_ms: u64) -> Arrived {
        let mut port = Port::memory(2);
        sender.begin(0, Some(rate));
        receiver.begin(sender.first());
        for turn in 0..=span_ms {
            let now = turn * MILLISECOND;
            while sender.turn(&mut port, now) > 0 {}
            port.receive(|frame| receiver.handle(frame, now));
        }
        receiver.arrived()
    }

    #[test]
    fn what_is_due_is_sent_and_all_of_it_arrives() {
        let flows = flows(7);
        for size in ["64", "1450", "imix"] {
            let mut sender = sender(&flows, size);
            let mut receiver = Receiver::new(Arc::clone(&flows), CORE, Side::Core);
            for _trial in 0..2 {
                let arrived = run(&mut sender, &mut receiver, 10_000.0, 50);
                let sent = sender.sent();
                assert_eq!(sent.packets, 500, "{size}");
                let expected =
                    Arrived { packets: 500, inner_bytes: sent.inner_bytes, ..Arrived::default() };
                assert_eq!(arrived, expected, "{size}");
                let by_flow: Vec<_> = sender.sent_by_flow().collect();
                assert_eq!(by_flow, receiver.received_by_flow().collect::<Vec<_>>());
                assert!(by_flow.iter().all(|count| [71, 72].contains(count)), "{by_flow:?}");
            }
        }
    }

    #[test]
    fn every_flow_gets_the_mix_in_its_shares() {
        for count in [1, 7, 12, 36] {
            let flows = flows(count);
            let mut sender = sender(&flows, "imix");
            let mut port = Port::memory(1);
            sender.begin(0, None);
            while sender.sent().packets < 12 * 8 * u64::from(count) {
                sender.turn(&mut port, 0);
            }
            let mut sizes = std::collections::BTreeMap::new();
            port.receive(|frame| {
                let subscriber = frame[29];
                *sizes.entry((subscriber, frame.len() - 14)).or_insert(0_u32) += 1;
            });
            for (number, (size, share)) in (1..=count as u8)
                .flat_map(|number| [(46, 7), (552, 4), (1400, 1)].map(|share| (number, share)))
            {
                let found = sizes.get(&(number, size)).copied().unwrap_or(0);
                assert!(found.abs_diff(8 * share) <= 8, "{size} octets of {number}: {found}");
                assert!(found > 0);
            }
        }
    }

    #[test]
    fn each_packet_spoilt_is_counted_as_what_it_is() {
        let flows = flows(3);
        let mut sender = sender(&flows, "64");
        let words = ["corrupt:5", "duplicate:4", "reorder:3", "lose:2"];
        sender.inject(&words.map(|word| word.parse().unwrap()));
        let mut receiver = Receiver::new(Arc::clone(&flows), CORE, Side::Core);
        for _trial in 0..2 {
            let arrived = run(&mut sender, &mut receiver, 10_000.0, 50);
            let sent = sender.sent();
            assert_eq!((sent.packets, sent.injected), (500, 14));
            let expected = Arrived {
                packets: 500 - 5 - 2,
                inner_bytes: (500 - 5 - 2) * 46,
                corrupted: 5,
                duplicated: 4,
                reordered: 3,
                ..Arrived::default()
            };
            assert_eq!(arrived, expected);
        }
    }

    #[test]
    fn one_kept_from_its_core_makes_up_for_little() {
        let flows = flows(1);
        let mut sender = sender(&flows, "64");
        let mut port = Port::memory(1);
        sender.begin(0, Some(100_000.0));
        while sender.turn(&mut port, 1000 * MILLISECOND) > 0 {}
        assert_eq!(sender.sent().packets, LATE_MAX as u64, "not a second's worth");
        while sender.turn(&mut port, 1001 * MILLISECOND) > 0 {}
        assert_eq!(sender.sent().packets, LATE_MAX as u64 + 100, "and the pace goes on");
    }
}

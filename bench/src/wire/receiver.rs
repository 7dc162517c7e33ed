//! One direction's receiver: what became of the packets that arrive.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hdrhistogram::Histogram;

use super::packet::{self, Flow, Seen, Side};
use super::window::{Arrival, Window};

/// Latencies are kept in nanoseconds, to three digits, up to this; a longer one counts as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// What arrived in a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets, each number of a flow once.
    pub packets: u64,
    /// Octets of the subscribers' packets.
    pub inner_bytes: u64,
    /// Packets of those that a later one of their flow had overtaken.
    pub reordered: u64,
    /// Packets whose number had arrived before.
    pub duplicated: u64,
    /// Packets of which an octet was not as it was sent.
    pub corrupted: u64,
    /// Packets in another session, or to another address, than they were sent to.
    pub misdelivered: u64,
    /// Packets overtaken by more of their flow than can be remembered; they count as lost.
    pub too_late: u64,
    /// Packets of an earlier trial.
    pub stale: u64,
    /// Frames that are no test packets.
    pub others: u64,
}

/// A receiver.
pub struct Receiver {
    flows: Arc<[Flow]>,
    core: Ipv4Addr,
    side: Side,
    windows: Vec<Window>,
    arrived: Arrived,
    latency_ns: Histogram<u64>,
}

impl Receiver {
    /// One of packets that arrive on `side`.
    pub fn new(flows: Arc<[Flow]>, core: Ipv4Addr, side: Side) -> Self {
        // Bounds and digits are constants that the histogram takes.
        let latency_ns = Histogram::new_with_max(LATENCY_NS_MAX, DIGITS)
            .unwrap_or_else(|_| unreachable!("constant bounds"));
        let windows = vec![Window::default(); flows.len()];
        Self { flows, core, side, windows, arrived: Arrived::default(), latency_ns }
    }

    /// A trial begins, with these numbers of the flows.
    pub fn begin(&mut self, first: &[u32]) {
        self.windows.iter_mut().zip(first).for_each(|(window, first)| window.begin(*first));
        self.arrived = Arrived::default();
        self.latency_ns.reset();
    }

    /// What arrived in this trial.
    pub fn arrived(&self) -> Arrived {
        self.arrived
    }

    /// Packets that arrived in this trial, by flow.
    pub fn received_by_flow(&self) -> impl Iterator<Item = u32> {
        self.windows.iter().map(Window::received)
    }

    /// From sending to receiving, nanoseconds, of all that arrived once and whole.
    pub fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }

    /// Takes in a frame that arrived at this time.
    #[inline]
    pub fn handle(&mut self, frame: &[u8], now_ns: u64) {
        match packet::read(frame, self.side, &self.flows, self.core) {
            Seen::Good { label, inner_bytes } => {
                let Some(window) = self.windows.get_mut(label.flow as usize) else { return };
                match window.arrive(label.sequence) {
                    Arrival::InOrder => {}
                    Arrival::Reordered => self.arrived.reordered += 1,
                    Arrival::Duplicate => return self.arrived.duplicated += 1,
                    Arrival::TooLate => return self.arrived.too_late += 1,
                    Arrival::Stale => return self.arrived.stale += 1,
                }
                self.arrived.packets += 1;
                self.arrived.inner_bytes += u64::from(inner_bytes);
                self.latency_ns.saturating_record(label.age_ns(now_ns));
            }
            Seen::Misdelivered => self.arrived.misdelivered += 1,
            Seen::Corrupt => self.arrived.corrupted += 1,
            Seen::Other => self.arrived.others += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::wire::kernel::frames::Link;
    use crate::wire::packet::{Form, Head, Ids};
    use crate::wire::payload::Label;

    const CORE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    fn flows() -> Arc<[Flow]> {
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1701);
        let flow = |number: u16| Flow {
            lac: address,
            lns: address,
            to_lns: Ids { tunnel: 1, session: number },
            from_lns: Ids { tunnel: 1, session: number },
            subscriber: Ipv4Addr::new(10, 0, 0, number as u8),
        };
        (1..=2).map(flow).collect()
    }

    /// A subscriber's packet as it comes out at the core.
    fn frame(flows: &[Flow], flow: u32, sequence: u32, sent_ns: u64) -> Vec<u8> {
        let link = Link { source: [2; 6], destination: [4; 6] };
        let head = Head::new(&flows[flow as usize], CORE, Form::Upstream, 46, link);
        let mut frame = vec![0; head.frame_bytes()];
        head.write(Label { flow, sequence, sent_ns }, &mut frame);
        [&frame[..14], &frame[52..]].concat()
    }

    #[test]
    fn each_packet_is_counted_as_what_it_is() {
        let flows = flows();
        let mut receiver = Receiver::new(Arc::clone(&flows), CORE, Side::Core);
        receiver.begin(&[5, 5]);
        let mut corrupt = frame(&flows, 0, 8, 100);
        corrupt[59] ^= 0x10;
        for (frame, now) in [
            (frame(&flows, 0, 5, 100), 1_100),
            (frame(&flows, 0, 7, 100), 2_100),
            (frame(&flows, 0, 6, 100), 3_100),
            (frame(&flows, 0, 6, 100), 3_100),
            (frame(&flows, 0, 4, 100), 3_100),
            (frame(&flows, 1, 5, 100), 1_100),
            (corrupt, 1_100),
            (vec![0; 60], 0),
        ] {
            receiver.handle(&frame, now);
        }
        let expected = Arrived {
            packets: 4,
            inner_bytes: 4 * 46,
            reordered: 1,
            duplicated: 1,
            corrupted: 1,
            stale: 1,
            others: 1,
            ..Arrived::default()
        };
        assert_eq!(receiver.arrived(), expected);
        assert_eq!(receiver.received_by_flow().collect::<Vec<_>>(), [3, 1]);
        let latency = receiver.latency_ns();
        assert_eq!((latency.len(), latency.min(), latency.max() / 10), (4, 1000, 300));
        receiver.begin(&[9, 6]);
        assert_eq!((receiver.arrived(), receiver.latency_ns().len()), (Arrived::default(), 0));
    }
}

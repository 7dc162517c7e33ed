use std::time::Duration;

use super::*;
use crate::l2tp::raw_tests::{Frame, datagram, parsed};

const PEER: TunnelId = TunnelId(0x1001);

fn timing(receive_window: u16) -> Timing {
    Timing {
        retransmit_initial: Duration::from_secs(1),
        retransmit_max: Duration::from_secs(8),
        retransmit_tries: 5,
        receive_window,
    }
}

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// A transport that a test drives, with the peer's frames made by hand.
struct Rig {
    now: Time,
    transport: Transport,
}

impl Rig {
    fn new(peer_window: Option<u16>) -> Self {
        let transport = Transport::new(Time::ZERO, timing(4), PEER, peer_window, Sequence::ZERO);
        Self { now: Time::ZERO, transport }
    }

    fn queue(&mut self, count: usize) {
        for _ in 0..count {
            self.transport.send(self.now, SessionId(9), &Message::Unknown(99), Origin::Peer, None);
        }
    }

    fn probe(&mut self) {
        self.transport.send(self.now, SessionId(0), &Message::Hello, Origin::Local, None);
    }

    /// Takes what is to be sent: Ns, Nr, and whether it is a message.
    fn sent(&mut self) -> Vec<(u16, u16, bool)> {
        let mut sent = Vec::new();
        let mut out = Vec::new();
        while self.transport.poll_transmit(&mut out) {
            let frame = Frame::read(&out);
            assert_eq!(frame.tunnel_id, PEER.0);
            sent.push((frame.ns, frame.nr, frame.message_type() != 0));
            out.clear();
        }
        sent
    }

    /// The Ns of messages to be sent.
    fn sent_ns(&mut self) -> Vec<u16> {
        self.sent().into_iter().map(|(ns, _, _)| ns).collect()
    }

    fn receive(&mut self, ns: u16, nr: u16, body: &[u8]) -> Receipt {
        let datagram = datagram((1, 7), (ns, nr), body);
        let (header, body) = parsed(&datagram);
        self.transport.receive(self.now, &header, body)
    }

    fn ack(&mut self, nr: u16) {
        assert_eq!(self.receive(0, nr, &[]), Receipt::Zlb);
    }

    /// Lets time pass to `now`, doing what is due.
    fn go(&mut self, now: Time) {
        self.now = now;
        self.transport.handle_timeout(now);
    }
}

#[test]
fn retransmissions_double_to_the_cap_and_end() {
    let mut rig = Rig::new(None);
    rig.queue(1);
    assert_eq!(rig.sent(), [(0, 0, true)]);
    let mut schedule = Vec::new();
    while let Some(due) = rig.transport.poll_timeout() {
        let before = due - Time::ZERO - Duration::from_nanos(1);
        rig.go(Time::from_start(before));
        assert!(rig.sent().is_empty());
        rig.go(due);
        schedule.push((due.as_nanos() / 1_000_000, rig.sent().len()));
    }
    let expected = [(1000, 1), (3000, 1), (7000, 1), (15_000, 1), (23_000, 1), (31_000, 0)];
    assert_eq!(schedule, expected);
    assert!(rig.transport.is_dead());
    assert_eq!(timing(4).cycle(), Duration::from_secs(31));
}

#[test]
fn without_tries_the_first_silence_is_the_end() {
    let mut rig = Rig::new(None);
    rig.transport.timing.retransmit_tries = 0;
    rig.queue(1);
    rig.sent();
    rig.go(at(1000));
    assert!(rig.transport.is_dead());
    assert_eq!(rig.transport.timing.cycle(), Duration::from_secs(1));
}

#[test]
fn a_retransmission_keeps_ns_and_refreshes_nr() {
    let mut rig = Rig::new(None);
    rig.queue(1);
    assert_eq!(rig.sent(), [(0, 0, true)]);
    assert_eq!(rig.receive(0, 0, b"message"), Receipt::Deliver);
    rig.go(at(1000));
    assert_eq!(rig.sent(), [(0, 1, true)]);
}

#[test]
fn an_acknowledgement_starts_the_schedule_afresh() {
    let mut rig = Rig::new(None);
    rig.queue(2);
    rig.sent();
    rig.go(at(1000));
    rig.sent();
    rig.go(at(3000));
    assert_eq!(rig.sent_ns(), [0]);
    rig.ack(1);
    assert_eq!(rig.sent_ns(), [1]);
    assert_eq!(rig.transport.poll_timeout(), Some(at(4000)));
    rig.ack(2);
    assert!(rig.transport.is_idle());
    assert_eq!(rig.transport.poll_timeout(), None);
}

#[test]
fn windows_of_slow_start_and_congestion_avoidance() {
    // Appendix A with a peer that offers 8: one more with each acknowledgement, to its 8.
    let mut rig = Rig::new(Some(8));
    rig.queue(100);
    let mut nr = 0;
    let mut windows = Vec::new();
    for _ in 0..10 {
        rig.sent();
        windows.push(rig.transport.status().congestion_window);
        nr += 1;
        rig.ack(nr);
    }
    assert_eq!(windows, [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]);
    // A loss: half is remembered, and from 4 on it takes a window of acknowledgements for one more.
    rig.sent();
    rig.go(at(1000));
    let mut windows = Vec::new();
    for _ in 0..20 {
        rig.sent();
        windows.push(rig.transport.status().congestion_window);
        nr += 1;
        rig.ack(nr);
    }
    let expected = [1, 2, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7, 7];
    assert_eq!(windows, expected);
    // A loss at once after a loss: half of one is still one.
    for second in [2, 4] {
        rig.go(at(1000 * second));
        rig.sent();
    }
    assert_eq!(rig.transport.congestion.threshold, 1);
    assert_eq!(rig.transport.status().congestion_window, 1);
}

#[test]
fn messages_under_way_follow_the_window() {
    for (peer_window, expected) in [(Some(1), 1), (None, 4), (Some(4), 4), (Some(800), 256)] {
        let mut rig = Rig::new(peer_window);
        rig.queue(700);
        let mut most = 0;
        for nr in 1..=300 {
            rig.sent();
            most = most.max(rig.transport.status().in_flight);
            rig.ack(nr);
        }
        assert_eq!(most, expected, "{peer_window:?}");
    }
}

#[test]
fn one_acknowledgement_for_many() {
    let mut rig = Rig::new(Some(4));
    rig.queue(10);
    for nr in 1..=3 {
        rig.sent();
        rig.ack(nr);
    }
    assert_eq!(rig.sent_ns(), [5, 6]);
    rig.ack(7);
    assert_eq!(rig.sent_ns(), [7, 8, 9]);
    rig.ack(10);
    assert!(rig.transport.is_idle());
}

#[test]
fn after_a_loss_it_goes_on_from_the_front() {
    let mut rig = Rig::new(Some(4));
    rig.queue(8);
    for nr in 1..=3 {
        rig.sent();
        rig.ack(nr);
    }
    assert_eq!(rig.sent_ns(), [5, 6]);
    // 3 to 6 are under way, all lost.
    rig.go(at(1000));
    assert_eq!(rig.sent_ns(), [3]);
    rig.ack(4);
    assert_eq!(rig.sent_ns(), [4, 5]);
    // 6 had arrived after all.
    rig.ack(7);
    assert_eq!(rig.sent_ns(), [7]);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_discarded() {
    let mut rig = Rig::new(Some(1));
    rig.queue(2);
    assert_eq!(rig.sent_ns(), [0]);
    assert_eq!(rig.receive(0, 2, b"message"), Receipt::Discarded);
    assert_eq!(rig.transport.status().queued, 2);
    rig.ack(1);
    // An old one is harmless.
    assert_eq!(rig.sent_ns(), [1]);
    rig.ack(0);
    assert_eq!(rig.transport.status().queued, 1);
}

#[test]
fn acknowledgements_wait_for_a_message_but_not_for_long() {
    let mut rig = Rig::new(None);
    assert_eq!(rig.receive(0, 0, b"message"), Receipt::Deliver);
    assert!(rig.sent().is_empty());
    rig.go(at(100));
    // One for a batch, and the first message's time counts.
    assert_eq!(rig.receive(1, 0, b"message"), Receipt::Deliver);
    assert_eq!(rig.transport.poll_timeout(), Some(at(250)));
    rig.go(at(249));
    assert!(rig.sent().is_empty());
    rig.go(at(250));
    assert_eq!(rig.sent(), [(0, 2, false)]);
    assert_eq!(rig.transport.poll_timeout(), None);
    // A message of ours takes it along.
    assert_eq!(rig.receive(2, 0, b"message"), Receipt::Deliver);
    rig.queue(1);
    assert_eq!(rig.sent(), [(0, 3, true)]);
    rig.go(at(600));
    assert!(rig.sent().is_empty());
}

#[test]
fn a_full_window_holds_no_acknowledgement_back() {
    let mut rig = Rig::new(Some(1));
    rig.queue(2);
    assert_eq!(rig.sent_ns(), [0]);
    rig.receive(0, 0, b"message");
    rig.go(at(250));
    assert_eq!(rig.sent(), [(1, 1, false)]);
    // A ZLB takes no number: the next message has the same.
    rig.ack(1);
    assert_eq!(rig.sent(), [(1, 1, true)]);
}

#[test]
fn a_zlb_before_all_else_where_one_is_wanted() {
    let mut rig = Rig::new(None);
    rig.receive(0, 0, b"message");
    rig.queue(1);
    rig.transport.acknowledge_by_zlb();
    assert_eq!(rig.sent(), [(0, 1, false), (0, 1, true)]);
}

#[test]
fn duplicates_are_acknowledged_and_zlbs_never() {
    let mut rig = Rig::new(None);
    assert_eq!(rig.receive(0, 0, b"message"), Receipt::Deliver);
    rig.transport.acknowledge_at_once();
    assert_eq!(rig.sent().len(), 1);
    for _ in 0..3 {
        assert_eq!(rig.receive(0, 0, b"message"), Receipt::Duplicate);
    }
    assert_eq!(rig.sent(), [(0, 1, false)]);
    for ns in [0, 1, 2, 40_000] {
        assert_eq!(rig.receive(ns, 0, &[]), Receipt::Zlb);
        assert!(rig.sent().is_empty());
        assert_eq!(rig.transport.poll_timeout(), None);
    }
    // The ZLBs moved nothing.
    assert_eq!(rig.receive(1, 0, b"message"), Receipt::Deliver);
}

#[test]
fn out_of_order_within_the_window() {
    let mut rig = Rig::new(None);
    assert_eq!(rig.receive(2, 0, b"two"), Receipt::Held);
    assert_eq!(rig.receive(3, 0, b"three"), Receipt::Held);
    assert_eq!(rig.receive(2, 0, b"two"), Receipt::Duplicate);
    // Our window is 4: 0 to 3.
    assert_eq!(rig.receive(4, 0, b"four"), Receipt::Discarded);
    assert_eq!(rig.receive(0, 0, b"zero"), Receipt::Deliver);
    assert_eq!(rig.transport.next_held(), None);
    assert_eq!(rig.receive(1, 0, b"one"), Receipt::Deliver);
    assert_eq!(rig.transport.next_held(), Some((SessionId(7), b"two".to_vec())));
    assert_eq!(rig.transport.next_held(), Some((SessionId(7), b"three".to_vec())));
    assert!(rig.transport.next_held().is_none());
    assert_eq!(rig.transport.held_bytes, 0);
    assert_eq!(rig.transport.status().nr, Sequence(4));
    assert_eq!(rig.receive(4, 0, b"four"), Receipt::Deliver);
}

#[test]
fn held_octets_are_bounded() {
    let mut rig = Rig::new(None);
    let half = vec![0; HELD_BYTES_MAX / 2];
    // Longer than a datagram, so straight to the transport.
    let header = |ns| parsed(&datagram((1, 7), (ns, 0), b"x")).0;
    assert_eq!(rig.transport.receive(rig.now, &header(1), &half), Receipt::Held);
    assert_eq!(rig.transport.receive(rig.now, &header(2), &half), Receipt::Held);
    assert_eq!(rig.transport.receive(rig.now, &header(3), b"x"), Receipt::Discarded);
    assert_eq!(rig.transport.receive(rig.now, &header(0), &half), Receipt::Deliver);
    while rig.transport.next_held().is_some() {}
    assert_eq!(rig.receive(3, 0, b"x"), Receipt::Deliver);
}

#[test]
fn numbers_wrap_both_ways() {
    let mut rig = Rig::new(Some(4));
    rig.transport.acknowledged = Sequence(65_534);
    rig.transport.expected = Sequence(65_534);
    rig.queue(4);
    assert_eq!(rig.sent_ns(), [65_534]);
    rig.ack(65_535);
    assert_eq!(rig.sent_ns(), [65_535, 0]);
    rig.ack(0);
    rig.ack(1);
    assert_eq!(rig.sent_ns(), [1]);
    rig.ack(2);
    assert!(rig.transport.is_idle());
    assert_eq!(rig.receive(0, 2, b"zero"), Receipt::Held);
    assert_eq!(rig.receive(65_534, 2, b"message"), Receipt::Deliver);
    assert!(rig.transport.next_held().is_none());
    assert_eq!(rig.receive(65_535, 2, b"message"), Receipt::Deliver);
    assert!(rig.transport.next_held().is_some());
    // A repetition from before the wrap is acknowledged.
    assert_eq!(rig.receive(65_535, 2, b"message"), Receipt::Duplicate);
    assert_eq!(rig.sent(), [(2, 1, false)]);
}

#[test]
fn forgetting() {
    let mut rig = Rig::new(Some(4));
    rig.queue(5);
    assert_eq!(rig.sent_ns(), [0]);
    rig.transport.forget_unsent();
    assert_eq!((rig.transport.status().queued, rig.transport.replies), (1, 1));
    rig.queue(1);
    rig.ack(1);
    assert_eq!(rig.sent_ns(), [1]);
    rig.transport.forget_all();
    assert!(rig.transport.is_idle());
    assert_eq!(rig.transport.poll_timeout(), None);
    // Numbers go on where they were.
    rig.receive(0, 1, b"message");
    rig.transport.acknowledge_at_once();
    assert_eq!(rig.sent(), [(2, 1, false)]);
}

#[test]
fn answers_are_counted_and_our_own_messages_are_not() {
    let mut rig = Rig::new(Some(4));
    rig.queue(REPLIES_BUSY - 1);
    rig.probe();
    assert!(!rig.transport.is_busy());
    rig.queue(1);
    assert!(rig.transport.is_busy() && !rig.transport.is_overrun());
    rig.queue(REPLIES_MAX - REPLIES_BUSY);
    assert!(rig.transport.is_overrun());
    rig.sent();
    rig.ack(1);
    assert!(!rig.transport.is_overrun());
}

#[test]
fn a_probe_alone_is_excused_by_signs_of_life() {
    // docs/peers.md row 7: HELLO is never acknowledged, data comes.
    let mut rig = Rig::new(Some(1));
    rig.probe();
    let mut hellos = rig.sent().len();
    for second in 1..=125 {
        rig.go(at(1000 * second));
        rig.transport.heard(rig.now);
        hellos += rig.sent().len();
    }
    assert!(!rig.transport.is_dead());
    // At 0, 1, 3, 7, 15, 23 and again from 31 on.
    assert_eq!(hellos, 4 * 6 + 2);
    // Silence is no excuse, nor is life where another message is not acknowledged.
    let mut silent = Rig::new(None);
    silent.probe();
    silent.sent();
    rig.queue(1);
    for second in 126..=160 {
        rig.go(at(1000 * second));
        rig.transport.heard(rig.now);
        rig.sent();
        silent.go(at(1000 * second));
        silent.sent();
    }
    assert!(rig.transport.is_dead());
    for second in 161..=192 {
        silent.go(at(1000 * second));
        silent.sent();
    }
    assert!(silent.transport.is_dead());
}

#[test]
fn an_unanswered_probe_leaves_room_for_messages_behind_it() {
    let mut rig = Rig::new(Some(4));
    rig.queue(2);
    rig.sent();
    rig.ack(1);
    rig.sent();
    rig.ack(2);
    rig.probe();
    rig.sent();
    rig.go(at(1000));
    assert_eq!(rig.sent_ns(), [2]);
    rig.queue(1);
    assert_eq!(rig.sent_ns(), [3]);
}

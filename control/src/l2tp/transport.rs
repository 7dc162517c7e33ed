//! Reliable delivery of control messages (RFC 2661 section 5.8, Appendix A).
//!
//! Messages wait in one queue until the peer acknowledges them. The front part of the queue is
//! under way; how long that part may be is the smaller of the peer's receive window and our
//! congestion window. A retransmission falls back to the front of the queue, with a window of
//! one, and goes on from there as acknowledgements come.
//!
//! Invariants: `in_flight <= sent <= queue.len()`; the message at place `i` of the queue has Ns
//! `acknowledged + i`, written when it is handed out, as are the peer's Tunnel ID and Nr, so that
//! every retransmission carries the newest ones. All timers are single values.

use std::collections::VecDeque;

use super::avp::Hiding;
use super::header::{CONTROL_HEADER_BYTES, Header, emit_zlb};
use super::message::Message;
use super::sequence::Sequence;
use super::{SessionId, TunnelId};
use crate::time::Time;

mod congestion;
mod timing;

use congestion::Congestion;
pub use congestion::SEND_WINDOW_MAX;
pub use timing::Timing;

/// The peer's window where it does not say (RFC 2661 section 4.4.3).
pub const RECEIVE_WINDOW_DEFAULT: u16 = 4;
/// Largest receive window that we offer, and so the messages that are held out of order.
pub const RECEIVE_WINDOW_MAX: u16 = 1024;
/// Octets of messages that are held out of order: a window of ordinary messages. A peer that sends
/// huge ones has to send them again.
pub const HELD_BYTES_MAX: usize = 128 * 1024;
/// Answers to a peer that wait in the queue when new calls begin to be refused: the peer asks
/// faster than it acknowledges.
pub const REPLIES_BUSY: usize = 1024;
/// Answers to a peer that wait in the queue when the tunnel is given up. Beside them the queue
/// holds only what we send by ourselves, at most one message for each session.
pub const REPLIES_MAX: usize = 2 * REPLIES_BUSY;

/// Where the Tunnel ID, and Ns and Nr, are in a control message.
const TUNNEL_ID_OFFSET: usize = 4;
const NS_OFFSET: usize = 8;

/// Who causes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It answers one of the peer's; bounded by [`REPLIES_MAX`].
    Peer,
    /// We send it by ourselves; bounded by the sessions.
    Local,
}

/// A message in the queue.
#[derive(Debug)]
struct Queued {
    datagram: Vec<u8>,
    origin: Origin,
    /// A HELLO, that says nothing but "are you there".
    probe: bool,
}

/// A message received ahead of its turn.
#[derive(Debug)]
struct Held {
    session_id: SessionId,
    body: Vec<u8>,
}

/// What becomes of a received control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The next one: to be processed, and then what [`Transport::next_held`] has.
    Deliver,
    /// Received before; will be acknowledged again.
    Duplicate,
    /// Ahead of its turn, kept.
    Held,
    /// No message, only an acknowledgement.
    Zlb,
    /// Ahead of its turn and out of the window, or acknowledges what was never sent.
    Discarded,
}

/// For the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Number of our next message.
    pub ns: Sequence,
    /// Number of the peer's next message.
    pub nr: Sequence,
    /// Messages under way.
    pub in_flight: usize,
    /// Messages in the queue, those under way included.
    pub queued: usize,
    /// Messages that may be under way now.
    pub congestion_window: u16,
    /// Messages that the peer takes at once.
    pub peer_window: u16,
    /// Messages sent again, ever.
    pub retransmissions: u64,
}

/// One end of a control connection's delivery.
#[derive(Debug)]
pub struct Transport {
    timing: Timing,
    peer_tunnel_id: TunnelId,
    queue: VecDeque<Queued>,
    /// Ns of the queue's front: all before it is acknowledged.
    acknowledged: Sequence,
    /// Messages at the front that count as under way.
    in_flight: usize,
    /// Messages at the front that were ever sent.
    sent: usize,
    /// Messages of [`Origin::Peer`] in the queue.
    replies: usize,
    congestion: Congestion,
    /// Retransmissions of the front message so far.
    tries: u32,
    retransmit_at: Option<Time>,
    retransmissions: u64,
    /// When the front of the queue was sent last.
    front_sent: Time,
    /// The front is to be sent again now.
    repeat: bool,
    dead: bool,

    /// Next Ns to come from the peer.
    expected: Sequence,
    /// Messages ahead of `expected`: place 0 is the one after it.
    held: VecDeque<Option<Held>>,
    held_bytes: usize,
    /// When an acknowledgement must have been sent.
    ack_at: Option<Time>,
    ack_now: bool,
    zlb_now: bool,
    last_heard: Time,
    now: Time,
}

impl Transport {
    /// The delivery of a control connection to a peer that offers `peer_window`. `expected` is the
    /// number of the peer's next message: 1 where the first one made this connection.
    pub fn new(
        now: Time,
        timing: Timing,
        peer_tunnel_id: TunnelId,
        peer_window: Option<u16>,
        expected: Sequence,
    ) -> Self {
        Self {
            timing,
            peer_tunnel_id,
            queue: VecDeque::new(),
            acknowledged: Sequence::ZERO,
            in_flight: 0,
            sent: 0,
            replies: 0,
            congestion: Congestion::new(peer_window.unwrap_or(RECEIVE_WINDOW_DEFAULT)),
            tries: 0,
            retransmit_at: None,
            retransmissions: 0,
            front_sent: now,
            repeat: false,
            dead: false,
            expected,
            held: VecDeque::new(),
            held_bytes: 0,
            ack_at: None,
            ack_now: false,
            zlb_now: false,
            last_heard: now,
            now,
        }
    }

    /// Takes a message's header and AVPs in. The peer's acknowledgement is dealt with here, the
    /// rest is said by the [`Receipt`].
    pub fn receive(&mut self, now: Time, header: &Header, body: &[u8]) -> Receipt {
        self.now = now;
        let acknowledges = usize::from(header.nr.steps_from(self.acknowledged));
        let old = header.nr.is_duplicate(self.acknowledged);
        if !old && acknowledges > self.sent {
            return Receipt::Discarded;
        }
        self.last_heard = now;
        if !old {
            self.on_acknowledgement(acknowledges);
        }
        if body.is_empty() {
            // Never answered: two ends would go on for ever (docs/peers.md row 28).
            return Receipt::Zlb;
        }
        if header.ns == self.expected {
            self.expected = self.expected.next();
            self.acknowledge_in_time();
            return Receipt::Deliver;
        }
        if header.ns.is_duplicate(self.expected) {
            // Our acknowledgement was lost; the peer waits for it already.
            self.acknowledge_at_once();
            return Receipt::Duplicate;
        }
        self.hold(header, body)
    }

    /// Whether a message's numbers are those that the peer would use now: Ns in our window or not
    /// long past, and Nr what we have sent and it has not acknowledged yet. Who does not see the
    /// traffic has to guess both.
    pub fn is_next(&self, header: &Header) -> bool {
        let window = self.timing.receive_window.clamp(1, RECEIVE_WINDOW_MAX);
        let ahead = header.ns.steps_from(self.expected);
        let behind = self.expected.steps_from(header.ns);
        let unacknowledged = usize::from(header.nr.steps_from(self.acknowledged));
        (ahead < window || behind <= window) && unacknowledged <= self.sent
    }

    /// Keeps a message that came ahead of its turn, where it is within our window.
    fn hold(&mut self, header: &Header, body: &[u8]) -> Receipt {
        let ahead = usize::from(header.ns.steps_from(self.expected));
        let in_window = ahead < usize::from(self.timing.receive_window.min(RECEIVE_WINDOW_MAX));
        if !in_window || self.held_bytes + body.len() > HELD_BYTES_MAX {
            return Receipt::Discarded;
        }
        if self.held.len() < ahead {
            self.held.resize_with(ahead, || None);
        }
        match self.held.get_mut(ahead - 1) {
            Some(place @ None) => {
                *place = Some(Held { session_id: header.session_id, body: body.to_vec() });
                self.held_bytes += body.len();
                Receipt::Held
            }
            _ => Receipt::Duplicate,
        }
    }

    /// The message that follows the one just delivered, where it came before: the Session ID of its
    /// header and its AVPs.
    pub fn next_held(&mut self) -> Option<(SessionId, Vec<u8>)> {
        // Place 0 is `expected` itself now, as that has moved on by one.
        let held = self.held.pop_front()??;
        self.held_bytes -= held.body.len();
        self.expected = self.expected.next();
        self.acknowledge_in_time();
        Some((held.session_id, held.body))
    }

    /// Drops what the peer has acknowledged, `count` messages at the front.
    fn on_acknowledgement(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        for queued in self.queue.drain(..count.min(self.queue.len())) {
            self.replies -= usize::from(queued.origin == Origin::Peer);
        }
        self.congestion.on_acknowledgement();
        self.acknowledged = self.acknowledged.advanced(count as u16);
        self.sent -= count;
        self.in_flight = self.in_flight.saturating_sub(count);
        self.tries = 0;
        self.repeat = false;
        self.retransmit_at = (self.in_flight > 0).then(|| self.now + self.timing.interval(0));
    }

    /// Asks for an acknowledgement that may wait a while for a message to travel with.
    fn acknowledge_in_time(&mut self) {
        let deadline = self.now + self.timing.ack_delay();
        self.ack_at = Some(self.ack_at.unwrap_or(deadline).min(deadline));
    }

    /// Asks for an acknowledgement with the next [`Transport::poll_transmit`].
    pub fn acknowledge_at_once(&mut self) {
        self.ack_now = true;
    }

    /// Asks for a ZLB as the next datagram, also where a message could carry the acknowledgement:
    /// some peers go on only after one (docs/peers.md row 5).
    pub fn acknowledge_by_zlb(&mut self) {
        self.zlb_now = true;
    }

    /// Queues a message. Some memory of the tunnel's is taken until the peer acknowledges it; see
    /// [`REPLIES_MAX`].
    pub fn send(
        &mut self,
        now: Time,
        session_id: SessionId,
        message: &Message,
        origin: Origin,
        hiding: Option<Hiding<'_>>,
    ) {
        self.now = now;
        let mut datagram = Vec::new();
        let numbers = (Sequence::ZERO, Sequence::ZERO);
        message.emit(&mut datagram, self.peer_tunnel_id, session_id, numbers, hiding);
        datagram.shrink_to_fit();
        self.replies += usize::from(origin == Origin::Peer);
        self.queue.push_back(Queued { datagram, origin, probe: matches!(message, Message::Hello) });
    }

    /// The peer has assigned its Tunnel ID, that all messages carry from here on.
    pub fn set_peer(&mut self, peer_tunnel_id: TunnelId) {
        self.peer_tunnel_id = peer_tunnel_id;
    }

    /// The peer has said how many messages may be under way to it.
    pub fn set_peer_window(&mut self, peer_window: Option<u16>) {
        self.congestion.advertise(peer_window.unwrap_or(RECEIVE_WINDOW_DEFAULT));
    }

    /// Sends the message at the front of those under way once more, ahead of its time, as the peer
    /// shows that it does not have it. Changes nothing of the schedule, and comes to one datagram
    /// for each of the peer's, no two of them closer than an acknowledgement may wait.
    pub fn repeat_front(&mut self, now: Time) {
        self.now = now;
        self.repeat = self.in_flight > 0 && now.since(self.front_sent) >= self.timing.ack_delay();
    }

    /// Whether new calls should be refused: the peer does not acknowledge our answers as fast as
    /// it asks.
    pub fn is_busy(&self) -> bool {
        self.replies >= REPLIES_BUSY
    }

    /// Whether the peer has passed all measure, and its tunnel must be closed.
    pub fn is_overrun(&self) -> bool {
        self.replies >= REPLIES_MAX
    }

    /// Forgets what was not sent yet; what is under way goes on.
    pub fn forget_unsent(&mut self) {
        self.queue.truncate(self.sent);
        self.replies = self.queue.iter().filter(|queued| queued.origin == Origin::Peer).count();
    }

    /// Forgets all messages to the peer, which has no use for them any more. What the peer sends is
    /// still acknowledged.
    pub fn forget_all(&mut self) {
        self.acknowledged = self.acknowledged.advanced(self.sent as u16);
        self.queue = VecDeque::new();
        (self.sent, self.in_flight, self.replies, self.tries) = (0, 0, 0, 0);
        self.repeat = false;
        self.retransmit_at = None;
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack_at = None;
            self.ack_now = true;
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return;
        }
        // An unanswered HELLO on an idle connection says nothing of congestion.
        let only_probes = self.queue.iter().all(|queued| queued.probe);
        if self.tries >= self.timing.retransmit_tries {
            // Some peers never acknowledge a HELLO: while they are heard they live (docs/peers.md
            // row 7).
            if !only_probes || now.since(self.last_heard) >= self.timing.cycle() {
                self.dead = true;
                self.retransmit_at = None;
                return;
            }
            self.tries = 0;
        } else {
            self.tries += 1;
        }
        if !only_probes {
            self.congestion.on_loss();
        }
        self.retransmissions += 1;
        self.in_flight = 0;
        // Set again when the front is handed out.
        self.retransmit_at = None;
    }

    /// When [`Transport::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.retransmit_at, self.ack_at].into_iter().flatten().min()
    }

    /// Appends the next datagram to send, if there is one: what fits the window, else a ZLB where
    /// an acknowledgement is due.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.zlb_now && self.transmit_message(out) {
            return true;
        }
        if !self.zlb_now && !self.ack_now {
            return false;
        }
        emit_zlb(out, self.peer_tunnel_id, self.ns(), self.expected);
        self.acknowledgement_sent();
        true
    }

    /// Hands out the next message that fits the window.
    fn transmit_message(&mut self, out: &mut Vec<u8>) -> bool {
        let repeat = std::mem::take(&mut self.repeat) && self.in_flight > 0;
        let window = usize::from(self.congestion.window);
        if self.dead || (!repeat && self.in_flight >= window) {
            return false;
        }
        let place = if repeat { 0 } else { self.in_flight };
        let ns = self.acknowledged.advanced(place as u16);
        let Some(queued) = self.queue.get_mut(place) else {
            return false;
        };
        let numbers = [ns.0.to_be_bytes(), self.expected.0.to_be_bytes()];
        if let Some(fields) = queued.datagram.get_mut(NS_OFFSET..CONTROL_HEADER_BYTES) {
            fields.copy_from_slice(numbers.as_flattened());
        }
        if let Some(field) = queued.datagram.get_mut(TUNNEL_ID_OFFSET..TUNNEL_ID_OFFSET + 2) {
            field.copy_from_slice(&self.peer_tunnel_id.0.to_be_bytes());
        }
        out.extend_from_slice(&queued.datagram);
        if place == 0 {
            self.front_sent = self.now;
        }
        if !repeat {
            self.in_flight += 1;
            self.sent = self.sent.max(self.in_flight);
            let due = self.now + self.timing.interval(self.tries);
            self.retransmit_at.get_or_insert(due);
        }
        self.acknowledgement_sent();
        true
    }

    fn acknowledgement_sent(&mut self) {
        self.ack_now = false;
        self.zlb_now = false;
        self.ack_at = None;
    }

    /// Number of the next message that was never sent; what a ZLB carries.
    fn ns(&self) -> Sequence {
        self.acknowledged.advanced(self.sent as u16)
    }

    /// The retransmissions have run out.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Every message has been acknowledged.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Time {
        self.last_heard
    }

    /// The peer was heard otherwise: data came.
    pub fn heard(&mut self, now: Time) {
        self.last_heard = now;
    }

    /// For the operator.
    pub fn status(&self) -> Status {
        Status {
            ns: self.ns(),
            nr: self.expected,
            in_flight: self.in_flight,
            queued: self.queue.len(),
            congestion_window: self.congestion.window,
            peer_window: self.congestion.advertised,
            retransmissions: self.retransmissions,
        }
    }
}

/// Appends a ZLB for a peer of whose tunnel nothing is left: acknowledges the message with
/// `header`, so that a StopCCN that is repeated for too long finds an end.
pub fn acknowledge_unknown(out: &mut Vec<u8>, header: &Header, peer_tunnel_id: TunnelId) {
    emit_zlb(out, peer_tunnel_id, header.nr, header.ns.next());
}

/// Appends a message outside any tunnel, the first and last to this peer: it answers the message
/// with `header`.
pub fn emit_stateless(
    out: &mut Vec<u8>,
    header: &Header,
    peer_tunnel_id: TunnelId,
    message: &Message,
) {
    let numbers = (header.nr, header.ns.next());
    message.emit(out, peer_tunnel_id, SessionId::UNASSIGNED, numbers, None);
}

#[cfg(test)]
mod tests;

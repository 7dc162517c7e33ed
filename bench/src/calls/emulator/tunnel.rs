//! A tunnel of the emulated LAC: delivery in both directions and the IDs of its calls (RFC 2661
//! sections 5.8 and 7.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::wire;

/// The window of a peer that does not say (RFC 2661 section 4.4.3).
const WINDOW_DEFAULT: u16 = 4;

/// Waiting for an acknowledgement; the longest of it, and how often.
pub const RETRANSMIT_AFTER: Duration = Duration::from_secs(1);
const RETRANSMIT_MAX: Duration = Duration::from_secs(8);
const TRIES_MAX: u32 = 6;

/// No call has this number.
const NO_CALL: u32 = u32::MAX;

/// How far a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// SCCRQ not sent yet.
    Idle,
    /// SCCRQ sent.
    Opening,
    /// SCCCN sent.
    Up,
    /// StopCCN sent or received, or given up.
    Closed,
}

/// What becomes of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The next one.
    Deliver,
    /// Nothing to be done but, perhaps, acknowledge.
    Ignore,
}

/// A tunnel.
pub struct Tunnel {
    /// How far it is.
    pub state: State,
    /// Ours: the peer's messages carry it.
    pub local_id: u16,
    /// The peer's; 0 until SCCRP.
    pub peer_id: u16,
    /// Number of the socket that it sends from.
    pub source: usize,
    /// Where the LNS answers from.
    pub lns: SocketAddr,
    /// When SCCRQ was sent first.
    pub started: Duration,
    /// What the peer may have under way at once, by our Receive Window Size AVP.
    window: u16,
    /// Messages that wait for their acknowledgement, those sent in front.
    queue: VecDeque<Vec<u8>>,
    sent: usize,
    /// Ns of the queue's front.
    acknowledged: u16,
    expected: u16,
    acknowledge: bool,
    retransmit_at: Option<Duration>,
    tries: u32,
    /// Messages sent again.
    pub retransmissions: u64,
    /// Number of the call by our Session ID.
    calls: Vec<u32>,
    free: VecDeque<u16>,
}

impl Tunnel {
    /// A tunnel from this socket.
    pub fn new(local_id: u16, source: usize, lns: SocketAddr) -> Self {
        Self {
            state: State::Idle,
            local_id,
            peer_id: 0,
            source,
            lns,
            started: Duration::ZERO,
            window: WINDOW_DEFAULT,
            queue: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            expected: 0,
            acknowledge: false,
            retransmit_at: None,
            tries: 0,
            retransmissions: 0,
            calls: vec![NO_CALL],
            free: VecDeque::new(),
        }
    }

    /// The peer says how many messages it takes at once.
    pub fn set_window(&mut self, window: u16) {
        self.window = window.max(1);
    }

    /// Whether everything said is acknowledged.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether something had to be said again and is not acknowledged yet.
    pub fn is_overdue(&self) -> bool {
        self.tries > 0
    }

    /// A Session ID for a call; `None` where all are in use. One that was in use rests as long as
    /// others are free.
    pub fn allocate(&mut self, call: u32) -> Option<u16> {
        let fresh = u16::try_from(self.calls.len()).ok();
        let id = match fresh {
            Some(id) => {
                self.calls.push(NO_CALL);
                id
            }
            None => self.free.pop_front()?,
        };
        *self.calls.get_mut(usize::from(id))? = call;
        Some(id)
    }

    /// A call's ID is free again.
    pub fn release(&mut self, id: u16) {
        if let Some(call) = self.calls.get_mut(usize::from(id)) {
            *call = NO_CALL;
            self.free.push_back(id);
        }
    }

    /// The call with this ID.
    pub fn call(&self, id: u16) -> Option<usize> {
        let call = *self.calls.get(usize::from(id))?;
        (call != NO_CALL).then_some(call as usize)
    }

    /// The numbers of all its calls.
    pub fn calls(&self) -> Vec<usize> {
        self.calls.iter().filter(|call| **call != NO_CALL).map(|call| *call as usize).collect()
    }

    /// Queues a message.
    pub fn send(&mut self, datagram: Vec<u8>) {
        self.queue.push_back(datagram);
    }

    /// Takes the numbers of a message in; a ZLB has no body.
    pub fn receive(&mut self, now: Duration, ns: u16, nr: u16, has_body: bool) -> Receipt {
        let count = usize::from(nr.wrapping_sub(self.acknowledged));
        if count > 0 && count <= self.sent {
            self.queue.drain(..count);
            self.sent -= count;
            self.acknowledged = nr;
            self.tries = 0;
            self.retransmit_at = (self.sent > 0).then(|| now + RETRANSMIT_AFTER);
        }
        if !has_body {
            return Receipt::Ignore;
        }
        if ns == self.expected {
            self.expected = ns.wrapping_add(1);
            self.acknowledge = true;
            return Receipt::Deliver;
        }
        // Seen before: acknowledged again. Ahead of its turn: the peer will repeat it.
        self.acknowledge |= self.expected.wrapping_sub(ns) < 0x8000;
        Receipt::Ignore
    }

    /// Sends what is due again. Returns `false` where the peer is given up.
    pub fn handle_timeout(&mut self, now: Duration) -> bool {
        if self.retransmit_at.is_none_or(|at| at > now) {
            return true;
        }
        self.tries += 1;
        self.retransmissions += 1;
        self.sent = 0;
        self.retransmit_at = None;
        self.tries <= TRIES_MAX
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        let ns = self.acknowledged.wrapping_add(self.sent as u16);
        if self.sent < usize::from(self.window)
            && let Some(next) = self.queue.get(self.sent)
        {
            let mut datagram = next.clone();
            wire::set_numbers(&mut datagram, ns, self.expected);
            self.sent += 1;
            self.acknowledge = false;
            let wait = RETRANSMIT_AFTER * (1 << self.tries.min(3));
            self.retransmit_at.get_or_insert(now + wait.min(RETRANSMIT_MAX));
            return Some(datagram);
        }
        if !std::mem::take(&mut self.acknowledge) {
            return None;
        }
        Some(wire::zlb(self.peer_id, ns, self.expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tunnel() -> Tunnel {
        Tunnel::new(1, 0, "192.0.2.1:1701".parse().unwrap())
    }

    fn say(tunnel: &mut Tunnel, count: u16) {
        for _ in 0..count {
            tunnel.send(wire::ControlMessage::new(7, 0, wire::message::HELLO).finish());
        }
    }

    fn numbers(datagram: &[u8]) -> (u16, u16) {
        (wire::word(datagram, 8).unwrap(), wire::word(datagram, 10).unwrap())
    }

    #[test]
    fn no_more_than_the_window_is_under_way() {
        let mut tunnel = tunnel();
        say(&mut tunnel, 6);
        let sent: Vec<_> = std::iter::from_fn(|| tunnel.poll_transmit(SECOND)).collect();
        assert_eq!(sent.iter().map(|d| numbers(d).0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(tunnel.receive(SECOND, 0, 2, true), Receipt::Deliver);
        let sent: Vec<_> = std::iter::from_fn(|| tunnel.poll_transmit(SECOND)).collect();
        assert_eq!(sent.iter().map(|d| numbers(d)).collect::<Vec<_>>(), [(4, 1), (5, 1)]);
        assert!(!tunnel.is_idle());
        tunnel.receive(SECOND, 1, 6, false);
        assert!(tunnel.is_idle());
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_and_at_last_given_up() {
        let mut tunnel = tunnel();
        say(&mut tunnel, 1);
        let mut now = SECOND;
        for _ in 0..TRIES_MAX {
            assert!(tunnel.poll_transmit(now).is_some());
            assert!(tunnel.poll_transmit(now).is_none());
            now += RETRANSMIT_MAX;
            assert!(tunnel.handle_timeout(now));
        }
        assert!(tunnel.poll_transmit(now).is_some());
        assert!(!tunnel.handle_timeout(now + RETRANSMIT_MAX));
        assert_eq!(tunnel.retransmissions, u64::from(TRIES_MAX) + 1);
    }

    #[test]
    fn a_repetition_is_acknowledged_and_a_message_ahead_is_not() {
        let mut tunnel = tunnel();
        assert_eq!(tunnel.receive(SECOND, 0, 0, true), Receipt::Deliver);
        assert_eq!(tunnel.poll_transmit(SECOND).map(|d| numbers(&d)), Some((0, 1)));
        assert_eq!(tunnel.receive(SECOND, 0, 0, true), Receipt::Ignore);
        assert!(tunnel.poll_transmit(SECOND).is_some());
        assert_eq!(tunnel.receive(SECOND, 2, 0, true), Receipt::Ignore);
        assert!(tunnel.poll_transmit(SECOND).is_none());
    }

    #[test]
    fn session_ids_rest_before_they_return_and_run_out() {
        let mut tunnel = tunnel();
        for call in 0..65_535 {
            assert_eq!(tunnel.allocate(call).map(u32::from), Some(call + 1));
        }
        assert_eq!(tunnel.allocate(7), None);
        tunnel.release(9);
        tunnel.release(3);
        assert_eq!((tunnel.call(9), tunnel.call(8)), (None, Some(7)));
        assert_eq!((tunnel.allocate(70), tunnel.allocate(71)), (Some(9), Some(3)));
    }
}

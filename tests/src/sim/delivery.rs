//! Reliable delivery of control messages as the emulated LAC does it (RFC 2661 section 5.8): a
//! window of fixed size, the whole of it sent again by one timer. Written apart from the LNS's, so
//! that both do not share a misunderstanding.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use xlns_control::l2tp::avp::{Hide, Hiding};
use xlns_control::l2tp::header::{self, Header};
use xlns_control::l2tp::message::Message;
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, TunnelId};
use xlns_control::time::Time;

/// Time to the first repetition; doubled with each one.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// Repetitions before the LNS counts as dead.
const TRIES_MAX: u32 = 4;

/// How long an acknowledgement waits for a message to travel with.
const ACK_DELAY: Duration = Duration::from_millis(100);

/// How AVPs are hidden.
#[derive(Debug, Clone, Copy)]
pub struct Secrecy {
    /// Which.
    pub hide: Hide,
    /// The tunnel's secret.
    pub secret: &'static str,
    /// The same for a whole tunnel: a message that is sent again is the same to the octet.
    pub random_vector: [u8; 16],
}

/// One end.
#[derive(Debug)]
pub struct Delivery {
    secrecy: Option<Secrecy>,
    /// Not acknowledged; the number of the first is `acknowledged`.
    queue: VecDeque<(SessionId, Message)>,
    acknowledged: u16,
    under_way: usize,
    window: usize,
    tries: u32,
    repeat_at: Option<Time>,
    expected: u16,
    /// Messages ahead of their turn, for LACs that keep them.
    ahead: Option<BTreeMap<u16, (SessionId, Vec<u8>)>>,
    acknowledge_at: Option<Time>,
}

impl Delivery {
    /// Nothing sent or received. `keeps_ahead`: messages that come ahead of their turn are kept.
    pub fn new(window: usize, keeps_ahead: bool, secrecy: Option<Secrecy>) -> Self {
        Self {
            secrecy,
            queue: VecDeque::new(),
            acknowledged: 0,
            under_way: 0,
            window,
            tries: 0,
            repeat_at: None,
            expected: 0,
            ahead: keeps_ahead.then(BTreeMap::new),
            acknowledge_at: None,
        }
    }

    /// Queues a message.
    pub fn send(&mut self, session: SessionId, message: Message) {
        self.queue.push_back((session, message));
    }

    /// Takes a message's header in; returns what is to be processed, in order.
    pub fn receive(
        &mut self,
        now: Time,
        header: &Header,
        body: &[u8],
    ) -> Vec<(SessionId, Vec<u8>)> {
        let acknowledged = header.nr.0.wrapping_sub(self.acknowledged);
        if usize::from(acknowledged) <= self.under_way && acknowledged > 0 {
            self.queue.drain(..usize::from(acknowledged));
            self.acknowledged = header.nr.0;
            self.under_way -= usize::from(acknowledged);
            self.tries = 0;
            self.repeat_at = (self.under_way > 0).then_some(now + REPEAT_AFTER);
        }
        let mut deliver = Vec::new();
        if body.is_empty() {
            return deliver;
        }
        let ahead = header.ns.0.wrapping_sub(self.expected);
        if ahead == 0 {
            self.expected = self.expected.wrapping_add(1);
            deliver.push((header.session_id, body.to_vec()));
            while let Some(next) = self.ahead.as_mut().and_then(|a| a.remove(&self.expected)) {
                self.expected = self.expected.wrapping_add(1);
                deliver.push(next);
            }
        } else if ahead < 0x8000 {
            if let Some(kept) = self.ahead.as_mut().filter(|_| usize::from(ahead) < self.window) {
                kept.insert(header.ns.0, (header.session_id, body.to_vec()));
            }
            return deliver;
        }
        // Also what came before: its acknowledgement was lost.
        self.acknowledge_at.get_or_insert(now + ACK_DELAY);
        deliver
    }

    /// When [`Delivery::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.repeat_at, self.acknowledge_at].into_iter().flatten().min()
    }

    /// Does what is due. Returns whether the LNS is given up.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat_at = None;
            self.under_way = 0;
            self.tries += 1;
        }
        self.tries > TRIES_MAX
    }

    /// What is to be sent now, whole datagrams.
    pub fn transmit(&mut self, now: Time, tunnel: TunnelId) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while self.under_way < self.window.min(self.queue.len()) {
            if let Some((session, message)) = self.queue.get(self.under_way) {
                let ns = self.acknowledged.wrapping_add(self.under_way as u16);
                datagrams.push(self.datagram(tunnel, *session, ns, message));
            }
            self.under_way += 1;
            self.repeat_at.get_or_insert(now + REPEAT_AFTER * (1 << self.tries.min(3)));
            self.acknowledge_at = None;
        }
        if self.acknowledge_at.is_some_and(|at| at <= now) {
            self.acknowledge_at = None;
            let mut zlb = Vec::new();
            let ns = self.acknowledged.wrapping_add(self.under_way as u16);
            header::emit_zlb(&mut zlb, tunnel, Sequence(ns), Sequence(self.expected));
            datagrams.push(zlb);
        }
        datagrams
    }

    /// A message outside of all order, as a LAC with a mistake sends it: the number is `ns`.
    pub fn datagram(
        &self,
        tunnel: TunnelId,
        session: SessionId,
        ns: u16,
        message: &Message,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let hiding = self.secrecy.as_ref().map(|secrecy| Hiding {
            hide: secrecy.hide,
            secret: secrecy.secret.as_bytes(),
            random_vector: &secrecy.random_vector,
            padding: &[],
        });
        message.emit(&mut out, tunnel, session, (Sequence(ns), Sequence(self.expected)), hiding);
        out
    }

    /// Whether the LNS has acknowledged everything.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

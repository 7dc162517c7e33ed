//! A client that wants a delegated prefix and name servers, or name servers alone (RFC 3315
//! sections 17.1 and 18.1, RFC 3633 sections 11.1 and 12.1).
//!
//! Retransmission is that of RFC 3315 section 14: each time about twice as long, up to a bound, with
//! a tenth of chance in it, so that the clients of a server that was away do not all come at once.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;
use rand::{Rng, RngCore};

use super::super::Discard;
use super::message::{
    Association, AssociationKind, Kind, Lease, Message, REQUEST_DNS_SERVERS, StatusCode,
};
use crate::time::Time;

/// Parameters of one kind of message (RFC 3315 section 5.5).
#[derive(Debug, Clone, Copy)]
struct Timing {
    initial: Duration,
    /// The longest time between two; zero: not bounded.
    most: Duration,
    /// How many are sent; 0: not bounded.
    count: u32,
}

const fn timing(initial: u64, most: u64, count: u32) -> Timing {
    Timing { initial: Duration::from_secs(initial), most: Duration::from_secs(most), count }
}

/// SOL_TIMEOUT, SOL_MAX_RT.
const SOLICIT: Timing = timing(1, 120, 0);
/// REQ_TIMEOUT, REQ_MAX_RT, REQ_MAX_RC.
const REQUEST: Timing = timing(1, 30, 10);
/// REN_TIMEOUT, REN_MAX_RT; the end is T2.
const RENEW: Timing = timing(10, 600, 0);
/// REB_TIMEOUT, REB_MAX_RT; the end is that of the prefix.
const REBIND: Timing = timing(10, 600, 0);
/// INF_TIMEOUT, INF_MAX_RT.
const INFORM: Timing = timing(1, 120, 0);
/// REL_TIMEOUT, REL_MAX_RC.
const RELEASE: Timing = timing(1, 0, 5);

/// A server with this preference is taken at once (RFC 3315 section 17.1.2).
const PREFERENCE_MAX: u8 = 255;

/// Where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is wanted, or all that was wanted is there for good.
    Idle,
    /// A server is looked for.
    Soliciting,
    /// A server was chosen.
    Requesting,
    /// The prefix is there.
    Bound,
    /// T1 is over.
    Renewing,
    /// T2 is over.
    Rebinding,
    /// Name servers alone are asked for.
    Informing,
    /// The prefix is given back.
    Releasing,
}

/// The prefix and how long it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    prefix: Ipv6Net,
    renew_at: Time,
    rebind_at: Time,
    valid_until: Time,
}

/// A message under way.
#[derive(Debug)]
struct Exchange {
    message: Message,
    timing: Timing,
    started: Time,
    sent: u32,
    wait: Duration,
    next: Time,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    duid: Box<[u8]>,
    association: u32,
    state: State,
    exchange: Option<Exchange>,
    /// The best offer so far, while soliciting.
    offer: Option<Message>,
    server: Option<Box<[u8]>>,
    bound: Option<Bound>,
    dns: Vec<Ipv6Addr>,
    /// To be sent.
    outgoing: Option<Vec<u8>>,
}

impl Client {
    /// A client at rest. `duid`: ours, the same for all links and over restarts. `association`: the
    /// number of this link among those of this DUID.
    pub fn new(duid: Box<[u8]>, association: u32) -> Self {
        Self {
            duid,
            association,
            state: State::Idle,
            exchange: None,
            offer: None,
            server: None,
            bound: None,
            dns: Vec::new(),
            outgoing: None,
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The delegated prefix.
    pub fn prefix(&self) -> Option<Ipv6Net> {
        self.bound.map(|bound| bound.prefix)
    }

    /// Name servers that the server told.
    pub fn dns(&self) -> &[Ipv6Addr] {
        &self.dns
    }

    /// Looks for a server that delegates a prefix.
    pub fn solicit(&mut self, now: Time, rng: &mut impl RngCore) {
        self.bound = None;
        self.server = None;
        self.offer = None;
        self.begin(now, State::Soliciting, rng);
    }

    /// Asks for name servers alone.
    pub fn inform(&mut self, now: Time, rng: &mut impl RngCore) {
        self.begin(now, State::Informing, rng);
    }

    /// Gives the prefix back; it is not used from here on.
    pub fn release(&mut self, now: Time, rng: &mut impl RngCore) {
        if self.bound.is_some() {
            self.begin(now, State::Releasing, rng);
            self.bound = None;
        } else {
            self.rest();
        }
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// [`Discard`]: of RFC 3315 section 15, or nothing that is waited for.
    pub fn handle(
        &mut self,
        now: Time,
        message: &Message,
        rng: &mut impl RngCore,
    ) -> Result<(), Discard> {
        let exchange = self.exchange.as_ref().ok_or(Discard::Unsolicited)?;
        let client = message.client_id.as_deref();
        // An answer to an Information-request need not name the client.
        let is_ours =
            client == Some(&*self.duid) || client.is_none() && exchange.message.client_id.is_none();
        if message.transaction != exchange.message.transaction || !is_ours {
            return Err(Discard::Unsolicited);
        }
        let server = message.server_id.as_ref().ok_or(Discard::Invalid)?;
        match (self.state, message.kind) {
            (State::Soliciting, Kind::Advertise) => self.on_advertise(now, message, rng),
            (State::Soliciting, Kind::Reply) if message.rapid_commit => {
                self.on_reply(now, message, rng)?;
                self.server = Some(server.clone());
                Ok(())
            }
            (State::Requesting | State::Renewing | State::Rebinding, Kind::Reply) => {
                if self.state != State::Rebinding && self.server.as_ref() != Some(server) {
                    return Err(Discard::Unsolicited);
                }
                self.server = Some(server.clone());
                self.on_reply(now, message, rng)
            }
            (State::Informing, Kind::Reply) => {
                self.dns.clone_from(&message.dns);
                self.rest();
                Ok(())
            }
            (State::Releasing, Kind::Reply) => {
                self.rest();
                Ok(())
            }
            _ => Err(Discard::Unsolicited),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl RngCore) {
        if self.bound.is_some_and(|bound| bound.valid_until <= now) {
            // RFC 3315 section 18.1.4: nobody answered in time; from the beginning.
            return self.solicit(now, rng);
        }
        match (self.state, self.bound) {
            (State::Bound, Some(bound)) if bound.renew_at <= now => {
                return self.begin(now, State::Renewing, rng);
            }
            (State::Renewing, Some(bound)) if bound.rebind_at <= now => {
                return self.begin(now, State::Rebinding, rng);
            }
            _ => {}
        }
        let Some(exchange) = self.exchange.as_ref().filter(|exchange| exchange.next <= now) else {
            return;
        };
        if self.state == State::Soliciting && self.offer.is_some() {
            return self.request(now, rng);
        }
        if exchange.timing.count > 0 && exchange.sent >= exchange.timing.count {
            return match self.state {
                State::Requesting => self.solicit(now, rng),
                _ => self.rest(),
            };
        }
        self.send(now, rng);
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let of_bound = self.bound.map(|bound| match self.state {
            State::Bound => bound.renew_at.min(bound.valid_until),
            State::Renewing => bound.rebind_at.min(bound.valid_until),
            _ => bound.valid_until,
        });
        let of_exchange = self.exchange.as_ref().map(|exchange| exchange.next);
        of_bound.into_iter().chain(of_exchange).min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.take()
    }

    fn on_advertise(
        &mut self,
        now: Time,
        message: &Message,
        rng: &mut impl RngCore,
    ) -> Result<(), Discard> {
        // RFC 3315 section 17.1.3, RFC 3633 section 11.1: an offer of nothing is none.
        if self.lease_of(message).is_none() {
            return Err(Discard::Invalid);
        }
        let preference = |offer: &Message| offer.preference.unwrap_or(0);
        if self.offer.as_ref().is_none_or(|best| preference(best) < preference(message)) {
            self.offer = Some(message.clone());
        }
        let waited = self.exchange.as_ref().is_some_and(|exchange| exchange.sent > 1);
        if preference(message) == PREFERENCE_MAX || waited {
            self.request(now, rng);
        }
        Ok(())
    }

    fn request(&mut self, now: Time, rng: &mut impl RngCore) {
        self.server = self.offer.as_ref().and_then(|offer| offer.server_id.clone());
        self.begin(now, State::Requesting, rng);
        self.offer = None;
    }

    fn on_reply(
        &mut self,
        now: Time,
        message: &Message,
        rng: &mut impl RngCore,
    ) -> Result<(), Discard> {
        if let Some((association, lease)) = self.lease_of(message) {
            self.bind(now, association, lease);
            self.dns.clone_from(&message.dns);
            return Ok(());
        }
        let code = |status: &Option<super::message::Status>| status.as_ref().map(|s| s.code);
        let own = message.associations.iter().find(|one| self.is_own(one));
        let status = own.and_then(|own| code(&own.status)).or(code(&message.status));
        match status {
            // Try the same server again until the exchange ends.
            Some(StatusCode::UnspecFail) => Err(Discard::Invalid),
            // RFC 3315 section 18.1.8: it has forgotten us, and is asked for a new binding.
            Some(StatusCode::NoBinding)
                if matches!(self.state, State::Renewing | State::Rebinding) =>
            {
                self.begin(now, State::Requesting, rng);
                Ok(())
            }
            // A server that has nothing is as good as none, and not asked again at once.
            _ if matches!(self.state, State::Soliciting | State::Requesting) => {
                Err(Discard::Invalid)
            }
            // The prefix was taken away.
            _ => {
                self.solicit(now, rng);
                Ok(())
            }
        }
    }

    fn is_own(&self, association: &Association) -> bool {
        association.kind == AssociationKind::Prefixes && association.id == self.association
    }

    /// What the message gives us, if that can be used (RFC 3633 sections 9 and 10).
    fn lease_of<'a>(&self, message: &'a Message) -> Option<(&'a Association, Lease)> {
        let own = message.associations.iter().find(|association| self.is_own(association))?;
        let (renew, rebind) = (own.renew_seconds, own.rebind_seconds);
        if renew > rebind && rebind > 0 {
            return None;
        }
        let usable = |lease: &&Lease| {
            lease.valid_seconds > 0
                && lease.preferred_seconds <= lease.valid_seconds
                && (1..=64).contains(&lease.prefix.prefix_len())
        };
        own.leases.iter().find(usable).map(|lease| (own, *lease))
    }

    fn bind(&mut self, now: Time, association: &Association, lease: Lease) {
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let (mut renew, mut rebind) = (association.renew_seconds, association.rebind_seconds);
        // Of one that is not preferred any more, of the time that is left. Never at once: the server
        // would answer with the same again, and both would do nothing else.
        let lifetime = match lease.preferred_seconds {
            0 => lease.valid_seconds,
            preferred => preferred,
        };
        if renew == 0 {
            renew = (lifetime / 2).max(1);
        }
        if rebind == 0 {
            rebind = (lifetime / 5 * 4).max(renew);
        }
        self.bound = Some(Bound {
            prefix: lease.prefix,
            renew_at: after(renew),
            rebind_at: after(rebind),
            valid_until: after(lease.valid_seconds),
        });
        self.state = State::Bound;
        self.exchange = None;
        self.offer = None;
    }

    fn rest(&mut self) {
        self.state = State::Idle;
        self.exchange = None;
    }

    /// Enters a state that asks for something, and asks.
    fn begin(&mut self, now: Time, state: State, rng: &mut impl RngCore) {
        let (kind, timing) = match state {
            State::Soliciting => (Kind::Solicit, SOLICIT),
            State::Requesting => (Kind::Request, REQUEST),
            State::Renewing => (Kind::Renew, RENEW),
            State::Rebinding => (Kind::Rebind, REBIND),
            State::Informing => (Kind::InformationRequest, INFORM),
            State::Releasing => (Kind::Release, RELEASE),
            State::Idle | State::Bound => return self.rest(),
        };
        let mut message = Message::new(kind, rng.next_u32());
        message.client_id = Some(self.duid.clone());
        message.requested = vec![REQUEST_DNS_SERVERS];
        message.rapid_commit = kind == Kind::Solicit;
        if !matches!(kind, Kind::Solicit | Kind::Rebind | Kind::InformationRequest) {
            message.server_id.clone_from(&self.server);
        }
        if kind != Kind::InformationRequest {
            let mut association = Association::new(AssociationKind::Prefixes, self.association);
            let known = self.bound.map(|bound| bound.prefix).or_else(|| {
                let offer = self.offer.as_ref()?;
                self.lease_of(offer).map(|(_, lease)| lease.prefix)
            });
            association.leases.extend(known.map(|prefix| Lease {
                prefix,
                preferred_seconds: 0,
                valid_seconds: 0,
            }));
            message.associations.push(association);
        }
        self.state = state;
        self.exchange = Some(Exchange {
            message,
            timing,
            started: now,
            sent: 0,
            wait: Duration::ZERO,
            next: now,
        });
        self.send(now, rng);
    }

    /// Sends the message under way, and sets when it is repeated (RFC 3315 section 14).
    fn send(&mut self, now: Time, rng: &mut impl RngCore) {
        let Some(exchange) = &mut self.exchange else { return };
        // A tenth in either direction; of the first Solicit upwards, so that offers that come in
        // time are all seen (section 17.1.2).
        let least = if exchange.sent == 0 && self.state == State::Soliciting { 0.0 } else { -0.1 };
        let chance: f64 = rng.random_range(least..=0.1);
        let Timing { initial, most, .. } = exchange.timing;
        let wait = if exchange.sent == 0 {
            initial.mul_f64(1.0 + chance)
        } else {
            exchange.wait.mul_f64(2.0 + chance)
        };
        exchange.wait =
            if most > Duration::ZERO && wait > most { most.mul_f64(1.0 + chance) } else { wait };
        exchange.sent += 1;
        exchange.next = now + exchange.wait;
        let elapsed = now.since(exchange.started).as_millis() / 10;
        exchange.message.elapsed = Some(u16::try_from(elapsed).unwrap_or(u16::MAX));
        self.outgoing = Some(exchange.message.encode());
    }
}

#[cfg(test)]
mod tests;

//! Who comes in: proofs, addresses, and how many sessions a user has at a time.
//!
//! Where a user with a limit comes once more, the oldest of its sessions ends and the newest wins.
//! What holds the place is mostly a session that its subscriber lost and that nobody has missed yet;
//! a refusal would keep the subscriber out until somebody does. An address is handed on only when the
//! data plane has counted the last packet of the session that had it; the newcomer waits meanwhile,
//! and its authentication timer runs.

use std::collections::{BTreeMap, VecDeque};

use super::addresses::NoLease;
use super::{Ending, Lns, LnsCounter};
use crate::call::Phase;
use crate::ipv6::MTU_MIN;
use crate::l2tp::result::{CallResult, printable};
use crate::ppp::mschap::AUTHENTICATOR_RESPONSE_OCTETS;
use crate::ppp::{self, Credentials, DownCause, Grant, Ipv4Grant, Refusal};
use crate::time::Time;

/// Told to a subscriber whose name or proof is wrong.
const NOT_AUTHENTICATED: &str = "authentication failed";

/// Told to a subscriber, and to its LAC, when the pool is exhausted or the fixed address in use.
pub(super) const NO_ADDRESS: &str = "no address is free";

/// Told to the LAC of a session that makes room.
const REPLACED: &str = "replaced by a newer session of the same user";

/// The sessions of users with a limit.
#[derive(Default)]
pub(super) struct Sessions {
    /// Indices of their calls, oldest first; none is empty.
    of_user: BTreeMap<Box<str>, Vec<usize>>,
    /// The calls of a user that wait until the address of an older one is free, the first in front; no
    /// more than the user may have, as another one ends the oldest. None is empty.
    waiting: BTreeMap<Box<str>, VecDeque<Waiting>>,
}

/// A call whose proof was right.
#[derive(Clone, Copy)]
struct Waiting {
    call: usize,
    mschap_success: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
}

impl Sessions {
    /// The oldest call of a user, other than `call`, if there are `limit` of them.
    fn one_too_many(&self, user: &str, call: usize, limit: u32) -> Option<usize> {
        let calls = self.of_user.get(user)?;
        let mut others = calls.iter().copied().filter(|other| *other != call);
        let oldest = others.next()?;
        (others.count() + 1 >= limit as usize).then_some(oldest)
    }

    fn enter(&mut self, user: &str, call: usize) {
        let calls = self.of_user.entry(user.into()).or_default();
        if !calls.contains(&call) {
            calls.push(call);
        }
    }

    /// Every user with a limit, and its calls; every user whose calls wait, and those.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, usize)> {
        let entered = self
            .of_user
            .iter()
            .flat_map(|(user, calls)| calls.iter().map(|call| (user.as_ref(), *call)));
        let waiting = self
            .waiting
            .iter()
            .flat_map(|(user, calls)| calls.iter().map(|waiting| (user.as_ref(), waiting.call)));
        entered.chain(waiting)
    }

    /// A call waits from here on, unless it does already.
    fn wait(&mut self, user: &str, waiting: Waiting) {
        let calls = self.waiting.entry(user.into()).or_default();
        calls.retain(|other| other.call != waiting.call);
        calls.push_back(waiting);
    }

    /// The call of a user that has waited the longest, to be looked at.
    fn first_waiting(&self, user: &str) -> Option<Waiting> {
        self.waiting.get(user)?.front().copied()
    }

    /// A call waits no more.
    fn end_wait(&mut self, user: &str, call: usize) {
        if let Some(calls) = self.waiting.get_mut(user) {
            calls.retain(|waiting| waiting.call != call);
            if calls.is_empty() {
                self.waiting.remove(user);
            }
        }
    }

    /// A call of this user is over.
    pub(super) fn leave(&mut self, user: &str, call: usize) {
        if let Some(calls) = self.of_user.get_mut(user) {
            calls.retain(|other| *other != call);
            if calls.is_empty() {
                self.of_user.remove(user);
            }
        }
        self.end_wait(user, call);
    }
}

impl Lns {
    /// Answers the subscriber's proof: with an address, or with a refusal. An address that the call
    /// has from an earlier negotiation is kept.
    pub(super) fn authenticate(&mut self, now: Time, index: usize, credentials: &Credentials) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let right = self.users.authenticate(credentials);
        // Who proves himself again in between is still the same.
        let right = right.filter(|right| {
            let in_between = call.link().is_some_and(|link| link.phase() == ppp::Phase::Network);
            let is_wanted = |wanted: &str| wanted == right.name;
            call.user_wanted.as_deref().is_none_or(is_wanted)
                && (!in_between || call.user.as_deref() == Some(right.name))
        });
        let Some(right) = right else {
            self.counters.add(LnsCounter::AuthenticationRefused);
            call.user.get_or_insert_with(|| printable(&credentials.name).into());
            return self.send_away(now, index, NOT_AUTHENTICATED);
        };
        let success = right.mschap_success;
        let before = call.user.replace(right.name.into());
        if before.as_deref() == Some(right.name)
            && let Some(lease) = &mut call.lease
        {
            self.addresses.renew_ipv4(lease, right.account);
            return self.let_in(now, index, success);
        }
        let limit = right.account.sessions_max;
        call.policers = right.account.policers;
        let user: Box<str> = right.name.into();
        if let Some(old) = call.lease.take() {
            self.addresses.release(old);
        }
        if let Some(before) = before {
            self.sessions.leave(&before, index);
        }
        let mut made_room = false;
        if let Some(limit) = limit {
            while let Some(oldest) = self.sessions.one_too_many(&user, index, limit) {
                made_room = true;
                self.replace_call(now, oldest);
                self.sessions.leave(&user, oldest);
            }
            self.sessions.enter(&user, index);
        }
        self.find_address(now, index, &user, success, made_room);
    }

    /// Finds an address for a call whose proof was right. `made_room`: one will be free once the data
    /// plane has let it go.
    fn find_address(
        &mut self,
        now: Time,
        index: usize,
        user: &str,
        mschap_success: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
        made_room: bool,
    ) {
        let Some(account) = self.users.account(user) else { return };
        let Some(call) = self.calls.get_mut(index) else { return };
        let refusal = match self.addresses.lease(account) {
            Ok(lease) => {
                if self.addresses.offers_ipv6(account) && !lease.has_ipv6() {
                    self.counters.add(LnsCounter::PrefixesExhausted);
                }
                call.lease = Some(lease);
                self.sessions.end_wait(user, index);
                return self.let_in(now, index, mschap_success);
            }
            Err(refusal) => refusal,
        };
        // What is fixed is nobody else's: what has it is an older session on its way out.
        if made_room || refusal == NoLease::InUse {
            let (tunnel, session) = (call.tunnel.0, call.session.0);
            tracing::debug!(tunnel, session, user, "waits for an address to be let go");
            return self.sessions.wait(user, Waiting { call: index, mschap_success });
        }
        self.sessions.end_wait(user, index);
        call.without_address = true;
        self.counters.add(LnsCounter::PoolExhausted);
        self.send_away(now, index, NO_ADDRESS);
    }

    /// A subscriber that has rejected IPv4 needs no address of it.
    pub(super) fn release_unwanted(&mut self, now: Time, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if !call.link().is_some_and(ppp::Link::is_ipv4_over) {
            return;
        }
        let Some(lease) = &mut call.lease else { return };
        if self.addresses.release_ipv4(lease)
            && let Some(user) = call.user.clone()
        {
            self.admit_waiting(now, &user);
        }
    }

    /// An ended call of this user has let go what it had, if anything: whoever has waited for that the
    /// longest gets it.
    pub(super) fn admit_waiting(&mut self, now: Time, user: &str) {
        let Some(Waiting { call, mschap_success }) = self.sessions.first_waiting(user) else {
            return;
        };
        // Looked for only while somebody waits.
        let of_user = |ending: &Ending| ending.user.as_deref() == Some(user);
        let more = self.ending.values().any(|ending| of_user(ending) && ending.lease.is_some());
        self.find_address(now, call, user, mschap_success, more);
        self.drive_call(now, call);
    }

    /// Answers a proof that was right.
    fn let_in(
        &mut self,
        now: Time,
        index: usize,
        mschap_success: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
    ) {
        self.counters.add(LnsCounter::AuthenticationAccepted);
        let Some(call) = self.calls.get_mut(index) else { return };
        let address = call.lease.as_ref().and_then(super::Lease::address);
        // RFC 8200 section 5: a link that takes less does not carry IPv6.
        let fits = call.agreed().is_some_and(|agreed| agreed.peer_mru >= MTU_MIN);
        let ipv6 = fits && call.lease.as_ref().is_some_and(super::Lease::has_ipv6);
        let dns = &self.config.ppp.dns;
        let ipv4 =
            address.map(|address| Ipv4Grant { address, dns: dns.clone(), ..Ipv4Grant::default() });
        let grant = Grant { ipv4, ipv6, mschap_success };
        if let Some(link) = call.link_mut() {
            link.authenticated(now, Ok(grant));
        }
    }

    fn send_away(&mut self, now: Time, index: usize, reason: &str) {
        self.log_call_refused(now, index, reason);
        let Some(call) = self.calls.get_mut(index) else { return };
        if let Some(link) = call.link_mut() {
            link.authenticated(now, Err(Refusal { message: reason.into() }));
        }
    }

    /// Ends a call for a newer one of the same user. Nobody may be there to acknowledge a
    /// Terminate-Request any more, so its answer is not waited for.
    fn replace_call(&mut self, now: Time, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let (tunnel, session) = (call.tunnel, call.session);
        if let Phase::Link(link) = &mut call.phase {
            link.close(now, DownCause::Closed);
        }
        self.transmit_frames(index);
        self.counters.add(LnsCounter::CallsReplaced);
        if let Some(entry) = self.tunnels.get_mut(&tunnel) {
            let result = CallResult::Administrative;
            entry.tunnel.disconnect_call(now, session, result, None, REPLACED, None);
        }
        self.end_call(now, tunnel, session, REPLACED);
        // Not driven: what else happened in that tunnel must not come in between.
        self.transmit_control(now, tunnel);
        self.reschedule_tunnel(tunnel);
    }
}

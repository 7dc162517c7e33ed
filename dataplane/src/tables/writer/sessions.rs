//! Sessions: slots, identifiers, prefixes, paths.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::fib::{Claims, Entry};
use super::super::session::{Decap, lines, pack, unpack};
use super::super::slots::Slots;
use super::{Writer, check};
use crate::api::{CommandError, Session, SessionKey};

/// What the writer remembers of a session beside its slot, which has the rest: small, as there are
/// millions.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) slot: u32,
    /// Named since the resynchronisation began.
    pub(super) named: bool,
    prefixes: Prefixes,
}

const _: () = assert!(size_of::<Option<Record>>() <= 24);

/// A session's prefixes. What nearly all have takes no memory of its own.
#[derive(Debug)]
enum Prefixes {
    /// The address that is in the first line.
    Address,
    /// That, and an IPv6 prefix of 64 bits.
    AddressAndIpv6(u64),
    /// A box of a box: as large as the other ones.
    Listed(Box<Box<[IpNet]>>),
}

/// The prefix length of [`Prefixes::AddressAndIpv6`].
const IPV6_BITS: u8 = 64;

impl Prefixes {
    /// Of a session whose first line is this one.
    fn new(prefixes: &[IpNet], decap: &Decap) -> Self {
        let in_line = (decap.inner_ipv4 != [0; 4]).then_some(decap.inner_ipv4);
        let is_address = |net: &Ipv4Net| Some(net.addr().octets()) == in_line;
        match prefixes {
            [IpNet::V4(net)] if is_address(net) => Self::Address,
            [IpNet::V4(net), IpNet::V6(ipv6)]
                if is_address(net) && ipv6.prefix_len() == IPV6_BITS =>
            {
                Self::AddressAndIpv6((ipv6.addr().to_bits() >> IPV6_BITS) as u64)
            }
            _ => Self::Listed(Box::new(prefixes.into())),
        }
    }

    /// In the order in which they were named.
    fn list(&self, decap: &Decap) -> Vec<IpNet> {
        let address = IpNet::from(IpAddr::from(decap.inner_ipv4));
        match self {
            Self::Address => vec![address],
            Self::AddressAndIpv6(bits) => {
                let network = Ipv6Addr::from_bits(u128::from(*bits) << IPV6_BITS);
                vec![address, Ipv6Net::new_assert(network, IPV6_BITS).into()]
            }
            Self::Listed(prefixes) => prefixes.to_vec(),
        }
    }
}

fn full() -> CommandError {
    CommandError::Full { table: "session".into(), key: "l2tp.sessions_max".into() }
}

impl Writer {
    /// The session's index.
    pub(super) fn session_index(&self, key: SessionKey) -> Option<u32> {
        let slot = self.tables.ids.find(pack(key))?;
        Some(self.tables.sessions.decap(slot).index)
    }

    fn record(&self, index: u32) -> Option<&Record> {
        self.records.get(index as usize)?.as_ref()
    }

    /// The IDs of a session.
    pub(super) fn key_of(&self, record: &Record) -> SessionKey {
        unpack(self.tables.sessions.decap(record.slot).key)
    }

    fn prefixes_of(&self, record: &Record) -> Vec<IpNet> {
        record.prefixes.list(&self.tables.sessions.decap(record.slot))
    }

    /// A place from `pool`, after a look at what has become free.
    fn take(&mut self, pool: impl Fn(&mut Self) -> &mut Slots) -> Result<u32, CommandError> {
        if let Some(place) = pool(self).take() {
            return Ok(place);
        }
        self.collect();
        pool(self).take().ok_or_else(full)
    }

    pub(super) fn session_set(&mut self, session: &Session) -> Result<(), CommandError> {
        check::session(session)?;
        let existing = self.session_index(session.key);
        if existing.is_none() && self.sessions >= self.tables.limits.sessions_max {
            return Err(full());
        }
        self.clear_conflicts(session, existing)?;
        let peer = session.peer.ip();
        let path = self.acquire_path(peer)?;
        if existing.is_some_and(|index| self.is_unchanged(session, index, path)) {
            self.release_path(peer);
            return Ok(());
        }
        let result = self.session_write(session, existing, path);
        if result.is_err() {
            self.release_path(peer);
        }
        result
    }

    /// Refuses prefixes that another session has. During a resynchronisation a session that was not
    /// named yet gives way: control may have given its address to somebody else meanwhile.
    fn clear_conflicts(
        &mut self,
        session: &Session,
        existing: Option<u32>,
    ) -> Result<(), CommandError> {
        for &prefix in &session.prefixes {
            let Entry::Session(slot) = Entry::decode(self.claims(prefix).session) else { continue };
            let holder = self.tables.sessions.decap(slot);
            if Some(holder.index) == existing {
                continue;
            }
            let gives_way = self.record(holder.index).is_some_and(|record| !record.named);
            let key = unpack(holder.key);
            check::ensure(self.resynchronising && gives_way, || {
                let (tunnel, session) = (key.local_tunnel_id, key.local_session_id);
                format!("{prefix} belongs to session {session} of tunnel {tunnel}")
            })?;
            self.session_remove(key)?;
        }
        Ok(())
    }

    /// Whether the session is there already, as it is; it counts as named then.
    fn is_unchanged(&mut self, session: &Session, index: u32, path: u32) -> bool {
        let Some(record) = self.record(index) else { return false };
        let slot = record.slot;
        let present = (self.tables.sessions.decap(slot), self.tables.sessions.encap(slot));
        let lines = lines(session, index, path);
        let unchanged = self.prefixes_of(record) == session.prefixes
            && present == lines
            && self.tables.states[index as usize].has_policers(&session.options)
            && self.tables.quality.is_monitored(index) == self.is_monitored(session);
        if unchanged && let Some(Some(record)) = self.records.get_mut(index as usize) {
            record.named = true;
        }
        unchanged
    }

    /// Whether a session is to be monitored.
    fn is_monitored(&self, session: &Session) -> bool {
        session.options.quality && self.tables.quality.settings().is_some()
    }

    /// Writes a slot and publishes it.
    fn session_write(
        &mut self,
        session: &Session,
        existing: Option<u32>,
        path: u32,
    ) -> Result<(), CommandError> {
        let slot = self.take(|writer| &mut writer.slots)?;
        let index = match existing {
            Some(index) => Ok(index),
            None => self.take(|writer| &mut writer.indices),
        };
        let index = index.inspect_err(|_| self.slots.give_back(slot))?;
        let (decap, encap) = lines(session, index, path);
        self.tables.sessions.write(slot, decap, encap);
        if existing.is_none() {
            // Nobody has reached this index since its last session let go of it.
            self.tables.states[index as usize].begin(session.options.first_ns);
            self.tables.quality.begin(index);
        }
        if let Err(error) = self.publish_prefixes(session, index, slot) {
            // Workers may have seen the slot.
            self.slots.retire(self.epoch(), slot);
            if existing.is_none() {
                self.indices.give_back(index);
            }
            return Err(error);
        }
        // Now that nothing is refused any more: what a worker has sent meanwhile went by the old ones.
        self.tables.states[index as usize].set_policers(&session.options);
        match existing {
            Some(_) => self.tables.ids.replace(decap.key, Some(slot)),
            None => self.tables.ids.insert(decap.key, slot),
        }
        self.tables.quality.publish(index, slot, self.is_monitored(session));
        let prefixes = Prefixes::new(&session.prefixes, &decap);
        let record = Record { slot, named: true, prefixes };
        self.records.resize_with(self.records.len().max(index as usize + 1), || None);
        let before = self.records[index as usize].replace(record);
        match before {
            Some(before) => self.let_go(before, &session.prefixes)?,
            None => self.sessions += 1,
        }
        Ok(())
    }

    /// Leads the session's prefixes to `slot`. Where the table is full, leads them back.
    fn publish_prefixes(
        &mut self,
        session: &Session,
        index: u32,
        slot: u32,
    ) -> Result<(), CommandError> {
        for (count, &prefix) in session.prefixes.iter().enumerate() {
            if let Err(error) = self.claim_for(prefix, Entry::Session(slot)) {
                let before =
                    self.record(index).map(|record| (record.slot, self.prefixes_of(record)));
                for &prefix in &session.prefixes[..count] {
                    let slot = before.as_ref().filter(|(_, had)| had.contains(&prefix));
                    let entry = slot.map_or(Entry::NoRoute, |(slot, _)| Entry::Session(*slot));
                    self.claim_for(prefix, entry)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn claim_for(&mut self, prefix: IpNet, entry: Entry) -> Result<(), CommandError> {
        let claims = Claims { session: entry.encode(), ..self.claims(prefix) };
        Ok(self.set_claims(prefix, claims)?)
    }

    /// Takes back what a session had, except for the prefixes `kept` by its successor.
    fn let_go(&mut self, record: Record, kept: &[IpNet]) -> Result<(), CommandError> {
        let peer = self.tables.sessions.decap(record.slot).peer();
        for prefix in self.prefixes_of(&record).into_iter().filter(|prefix| !kept.contains(prefix))
        {
            self.claim_for(prefix, Entry::NoRoute)?;
        }
        self.slots.retire(self.epoch(), record.slot);
        self.release_path(peer);
        Ok(())
    }

    pub(super) fn session_remove(&mut self, key: SessionKey) -> Result<(), CommandError> {
        let index = self.session_index(key).ok_or(CommandError::NoSuchEntry)?;
        let record = self.records[index as usize].take().ok_or(CommandError::NoSuchEntry)?;
        let key = pack(key);
        self.tables.ids.replace(key, None);
        self.tables.quality.withdraw(index);
        self.ended.push_back((self.epoch(), key, index));
        self.sessions -= 1;
        self.let_go(record, &[])
    }

    fn acquire_path(&mut self, peer: IpAddr) -> Result<u32, CommandError> {
        let known = match peer {
            IpAddr::V4(peer) => self.fib4.paths.acquire(peer.to_bits()),
            IpAddr::V6(peer) => self.fib6.paths.acquire(peer.to_bits()),
        };
        if let Some(path) = known {
            return Ok(path);
        }
        let path = self.take(|writer| &mut writer.paths)?;
        let entry = match peer {
            IpAddr::V4(peer) => {
                self.fib4.paths.insert(peer.to_bits(), path);
                self.fib4.resolve_path(peer.to_bits())
            }
            IpAddr::V6(peer) => {
                self.fib6.paths.insert(peer.to_bits(), path);
                self.fib6.resolve_path(peer.to_bits())
            }
        };
        self.tables.paths[path as usize].store(entry.encode(), Ordering::Release);
        Ok(path)
    }

    fn release_path(&mut self, peer: IpAddr) {
        let unused = match peer {
            IpAddr::V4(peer) => self.fib4.paths.release(peer.to_bits()),
            IpAddr::V6(peer) => self.fib6.paths.release(peer.to_bits()),
        };
        if let Some(path) = unused {
            self.paths.retire(self.epoch(), path);
        }
    }
}

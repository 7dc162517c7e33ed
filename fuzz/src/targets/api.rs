//! The socket between the processes: what the data plane decodes, and what it does with every command,
//! valid or not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use xlns_dataplane::api::{
    self, BATCH_COMMANDS_MAX, Command, CommandError, MESSAGE_BYTES_MAX, Policer, Reply, Request,
    RequestBody, RouteTarget, SequenceNumbers, Session, SessionKey, SessionOptions,
};
use xlns_dataplane::tables::{self, Tables, Writer};

use super::pipeline::limits;
use crate::kept::{self, Kept};
use crate::script::Script;

/// Sessions, and routes: few, so that inputs reach the limits.
const SESSIONS_MAX: u32 = 4;
const ROUTES_MAX: u32 = 6;

struct World {
    tables: Arc<Tables>,
    writer: Writer,
    sessions: BTreeMap<SessionKey, Vec<IpNet>>,
    routes: BTreeSet<IpNet>,
    /// Routes that were named since a resynchronisation began.
    named: Option<BTreeSet<IpNet>>,
    /// Sessions that are gone and whose final counters did not come yet.
    ending: BTreeMap<SessionKey, u32>,
}

thread_local! {
    /// Made once: every input leaves the tables empty.
    static WORLD: Kept<World> = const { RefCell::new(None) };
}

/// The input is a message of either side, or a script of commands.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    match script.octet() {
        0 => message::<Reply>(script.rest()),
        1 => {
            let octets = script.rest();
            message::<Request>(octets);
            let Ok(Request { body: RequestBody::Batch(commands), .. }) = api::decode(octets) else {
                return;
            };
            kept::with(&WORLD, World::new, |world| {
                commands.iter().take(BATCH_COMMANDS_MAX).for_each(|command| world.apply(command));
                world.end();
            });
        }
        _ => kept::with(&WORLD, World::new, |world| {
            while !script.is_over() {
                let command = command(&mut script);
                message::<Command>(&api::encode(&command).expect("short enough"));
                world.apply(&command);
            }
            world.end();
        }),
    }
}

/// What is decoded is encoded to what decodes the same, and fits a message.
fn message<T>(octets: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(message) = api::decode::<T>(octets) else { return };
    match api::encode(&message) {
        Ok(again) => assert_eq!(api::decode::<T>(&again).as_ref(), Ok(&message)),
        Err(error) => assert!(octets.len() > MESSAGE_BYTES_MAX / 8, "{message:?}: {error}"),
    }
}

impl World {
    fn new() -> Self {
        let limits =
            tables::Limits { sessions_max: SESSIONS_MAX, routes_max: ROUTES_MAX, ..limits() };
        let (tables, writer) = tables::new(&limits).expect("memory");
        let (sessions, routes, ending) = Default::default();
        Self { tables, writer, sessions, routes, named: None, ending }
    }

    fn apply(&mut self, command: &Command) {
        let result = self.writer.apply(command);
        match command {
            Command::ResyncBegin => self.named = Some(BTreeSet::new()),
            Command::ResyncEnd => {
                assert_eq!(result.is_ok(), self.named.is_some(), "{result:?}");
                if let Some(named) = self.named.take() {
                    self.routes = named;
                }
                self.writer.reclaim().into_iter().for_each(|(key, _)| self.ended(key));
            }
            Command::SessionSet(session) if result.is_ok() => {
                // A prefix belongs to whoever had it named last.
                self.sessions.insert(session.key, session.prefixes.clone());
            }
            Command::SessionRemove(key) => {
                let existed = self.sessions.remove(key).is_some();
                assert_eq!(result.is_ok(), existed, "{key:?}: {result:?}");
                if existed {
                    *self.ending.entry(*key).or_default() += 1;
                }
            }
            Command::RouteSet { prefix, .. } if result.is_ok() => {
                self.routes.insert(*prefix);
                self.named.iter_mut().for_each(|named| _ = named.insert(*prefix));
            }
            Command::RouteRemove { prefix } => {
                let existed = self.routes.remove(prefix);
                self.named.iter_mut().for_each(|named| _ = named.remove(prefix));
                assert_eq!(result.is_ok(), existed, "{prefix}: {result:?}");
            }
            _ => {}
        }
        if let Err(CommandError::Invalid(text)) = &result {
            assert!(!text.is_empty() && text.len() < 300, "a reason that can be read: {text}");
        }
        // An address that another session takes ends the one that had it.
        self.forget_replaced();
        self.check();
    }

    /// Final counters came: once for each session that is gone.
    fn ended(&mut self, key: SessionKey) {
        self.forget_replaced();
        let left = self.ending.get_mut(&key).unwrap_or_else(|| panic!("{key:?} never was"));
        *left = left.checked_sub(1).unwrap_or_else(|| panic!("{key:?} ended twice"));
    }

    fn forget_replaced(&mut self) {
        let known: Vec<SessionKey> = self.sessions.keys().copied().collect();
        let there = self.writer.session_counters_of(&known);
        let there: BTreeSet<SessionKey> = there.into_iter().map(|(key, _)| key).collect();
        for key in known.into_iter().filter(|key| !there.contains(key)) {
            self.sessions.remove(&key);
            *self.ending.entry(key).or_default() += 1;
        }
    }

    fn check(&mut self) {
        assert_eq!(self.writer.sessions() as usize, self.sessions.len());
        assert_eq!(self.writer.routes() as usize, self.routes.len());
        assert!(self.writer.sessions() <= SESSIONS_MAX && self.writer.routes() <= ROUTES_MAX);
        let mut reader = self.tables.register(0);
        let guard = reader.guard();
        for key in self.sessions.keys() {
            let packed = u32::from(key.local_tunnel_id) << 16 | u32::from(key.local_session_id);
            assert!(guard.find_session(packed).is_some(), "{key:?} is not found");
        }
    }

    /// Everything goes, and nothing is left that the next input could trip over.
    fn end(&mut self) {
        self.apply(&Command::ResyncBegin);
        self.apply(&Command::ResyncEnd);
        assert_eq!((self.writer.sessions(), self.writer.routes()), (0, 0));
        self.forget_replaced();
        // No worker holds anything: two looks later every final counter is out.
        for _ in 0..3 {
            self.writer.reclaim().into_iter().for_each(|(key, _)| self.ended(key));
        }
        self.writer.take_steer_changes();
        let untold: Vec<_> = self.ending.iter().filter(|(_, left)| **left != 0).collect();
        assert!(untold.is_empty(), "ended, and nobody was told: {untold:?}");
        self.ending.clear();
        let mut reader = self.tables.register(0);
        let guard = reader.guard();
        for last in 0..=u8::MAX {
            let entry = guard.route_ipv4([10, 0, 0, last]);
            assert!(!matches!(entry, tables::Entry::Session(_)), "a session that is gone");
        }
    }
}

fn address(script: &mut Script<'_>) -> IpAddr {
    let last = script.octet();
    match last & 3 {
        0 => Ipv4Addr::new(10, 0, 0, last).into(),
        1 => Ipv4Addr::new(192, 0, last >> 4, last).into(),
        2 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(last)).into(),
        _ => Ipv4Addr::from_bits(script.long()).into(),
    }
}

fn prefix(script: &mut Script<'_>) -> IpNet {
    let (address, length) = (address(script), script.octet());
    let whole = if address.is_ipv4() { 32 } else { 128 };
    // A short prefix is millions of entries to paint: seldom.
    let bits = if length >= 0xf8 { length % 16 } else { 16 + length % (whole - 15) };
    let net = IpNet::new(address, bits).unwrap_or_default();
    // Some with host bits.
    if length & 0xe0 != 0xe0 { net.trunc() } else { net }
}

fn key(script: &mut Script<'_>) -> SessionKey {
    let octet = script.octet();
    SessionKey { local_tunnel_id: (octet >> 4).into(), local_session_id: (octet & 15).into() }
}

/// A command, valid or not.
pub fn command(script: &mut Script<'_>) -> Command {
    let mac = |script: &mut Script<'_>| [2, 0, 0, 0, 0, script.octet()];
    match script.octet() % 16 {
        0 => Command::ResyncBegin,
        1 => Command::ResyncEnd,
        2..=5 => Command::SessionSet(Box::new(session(script))),
        6 => Command::SessionRemove(key(script)),
        7..=8 => {
            let prefix = prefix(script);
            let target = match script.octet() % 6 {
                0 => RouteTarget::Glean,
                1 => RouteTarget::Local,
                2 => RouteTarget::Unreachable,
                _ => RouteTarget::Neighbor {
                    port: (script.octet() % 4).into(),
                    gateway: address(script),
                },
            };
            Command::RouteSet { prefix, target }
        }
        9 => Command::RouteRemove { prefix: prefix(script) },
        10 => Command::NeighborSet {
            port: (script.octet() % 4).into(),
            address: address(script),
            mac: mac(script),
        },
        11 => {
            Command::NeighborRemove { port: (script.octet() % 4).into(), address: address(script) }
        }
        12 => Command::HostAddressSet { address: address(script), tunnel_endpoint: script.flag() },
        13 => Command::HostAddressRemove { address: address(script) },
        14 => Command::SubscriberPrefixSet { prefix: prefix(script) },
        _ => Command::SubscriberPrefixRemove { prefix: prefix(script) },
    }
}

fn session(script: &mut Script<'_>) -> Session {
    let key = key(script);
    let flags = script.octet();
    let end = |script: &mut Script<'_>| SocketAddr::new(address(script), 1701);
    let options = SessionOptions {
        sequence: match flags >> 5 {
            0 => SequenceNumbers::AsPeer,
            1 => SequenceNumbers::Always,
            _ => SequenceNumbers::Never,
        },
        police_upstream: (flags & 16 != 0).then(|| Policer {
            rate_bits_per_second: u64::from(script.octet()) << 16,
            burst_bytes: u32::from(script.octet()) << 8,
        }),
        quality: flags & 4 != 0,
        ..SessionOptions::default()
    };
    Session {
        key,
        peer_tunnel_id: 9,
        peer_session_id: u16::from(script.octet()),
        local: end(script),
        peer: end(script),
        send_acfc: flags & 1 != 0,
        send_pfc: flags & 2 != 0,
        magic: 7,
        peer_mru: if flags & 4 != 0 { script.word() } else { 1460 },
        prefixes: (0..flags >> 4).map(|_| prefix(script)).collect(),
        source_check: flags & 16 == 0,
        gateway: (flags & 8 != 0).then_some(Ipv4Addr::new(10, 0, 0, 1)),
        options,
    }
}

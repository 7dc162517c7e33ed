//! What ethtool shows of an interface, by generic netlink: queues, offloads, spreading.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use nix::libc;

use super::ask::{Asker, attribute, text, text_attribute};
use super::event::{attributes, number};

/// Both headers of generic netlink are this long: command, version, reserved.
const HEADER_BYTES: usize = 4;
const VERSION: u8 = 1;
const NESTED: u16 = 0x8000;

// linux/genetlink.h
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// linux/ethtool_netlink.h
const MSG_FEATURES_GET: u8 = 11;
const MSG_CHANNELS_GET: u8 = 17;
const MSG_RSS_GET: u8 = 38;
const REQUEST_HEADER: u16 = 1;
const HEADER_DEVICE_NAME: u16 = 2;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
const BITSET_BITS: u16 = 3;
const BITSET_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const CHANNELS_RECEIVE_MAX: u16 = 2;
const CHANNELS_COMBINED_MAX: u16 = 5;
const CHANNELS_RECEIVE: u16 = 6;
const CHANNELS_TRANSMIT: u16 = 7;
const CHANNELS_COMBINED: u16 = 9;
const RSS_INDIRECTION: u16 = 4;
const RSS_FLOW_HASH: u16 = 8;
const FLOW_UDP4: u16 = 6;
const FLOW_UDP6: u16 = 7;

/// Queues of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channels {
    /// That only receive.
    pub receive: u32,
    /// That only transmit.
    pub transmit: u32,
    /// That do both.
    pub combined: u32,
    /// The most that there can be that only receive.
    pub receive_max: u32,
    /// The most that there can be that do both.
    pub combined_max: u32,
}

impl Channels {
    /// Queues that a socket can both receive and transmit on.
    pub fn pairs(&self) -> u32 {
        self.combined.saturating_add(self.receive.min(self.transmit))
    }

    /// The most of them that there can be.
    pub fn pairs_max(&self) -> u32 {
        self.combined_max.max(self.receive_max)
    }
}

/// Offloads of an interface, by the kernel's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// Those that are on.
    pub on: BTreeSet<String>,
    /// Those that cannot be changed.
    pub fixed: BTreeSet<String>,
}

impl Features {
    /// Whether it is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }

    /// Whether it is on and stays so.
    pub fn is_stuck(&self, name: &str) -> bool {
        self.is_on(name) && self.fixed.contains(name)
    }
}

/// What the spreading over queues looks at in a UDP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashFields {
    /// Both addresses.
    pub addresses: bool,
    /// Both ports.
    pub ports: bool,
}

impl HashFields {
    /// From the kernel's bits (RXH_.. of linux/ethtool.h).
    fn of_bits(bits: u64) -> Self {
        const ADDRESSES: u64 = 1 << 4 | 1 << 5;
        const PORTS: u64 = 1 << 6 | 1 << 7;
        Self { addresses: bits & ADDRESSES == ADDRESSES, ports: bits & PORTS == PORTS }
    }
}

/// How a NIC spreads what it receives over its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spreading {
    /// How many of the indirection table's entries lead to each queue.
    pub entries: BTreeMap<u32, u32>,
    /// For UDP over IPv4, where the kernel says (from 6.17 on).
    pub udp4: Option<HashFields>,
    /// For UDP over IPv6.
    pub udp6: Option<HashFields>,
}

/// The kernel's ethtool.
pub struct Ethtool {
    asker: Asker,
    family: u16,
}

impl Ethtool {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says; before 5.6 it has no such thing.
    pub fn open() -> io::Result<Self> {
        let mut asker = Asker::open(NETLINK_GENERIC)?;
        let name = text_attribute(CTRL_ATTR_FAMILY_NAME, "ethtool");
        let answer = asker.ask(GENL_ID_CTRL, &request(CTRL_CMD_GETFAMILY, &name))?;
        let family = find(&answer, HEADER_BYTES, CTRL_ATTR_FAMILY_ID)
            .and_then(|value| value.try_into().ok())
            .map(u16::from_ne_bytes)
            .ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { asker, family })
    }

    /// Queues; `None` where the driver does not say.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn channels(&mut self, interface: &str) -> io::Result<Option<Channels>> {
        Ok(self.ask(MSG_CHANNELS_GET, interface)?.as_deref().map(channels))
    }

    /// Offloads.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn features(&mut self, interface: &str) -> io::Result<Option<Features>> {
        Ok(self.ask(MSG_FEATURES_GET, interface)?.as_deref().map(features))
    }

    /// Spreading over queues; `None` where the driver has none, or the kernel is older than 6.2.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn spreading(&mut self, interface: &str) -> io::Result<Option<Spreading>> {
        Ok(self.ask(MSG_RSS_GET, interface)?.as_deref().map(spreading))
    }

    /// The attributes of the answer; `None` where there is nothing to be asked for.
    fn ask(&mut self, command: u8, interface: &str) -> io::Result<Option<Vec<u8>>> {
        let device = text_attribute(HEADER_DEVICE_NAME, interface);
        let header = attribute(REQUEST_HEADER | NESTED, &device);
        match self.asker.ask(self.family, &request(command, &header)) {
            Ok(answer) => Ok(Some(answer.get(HEADER_BYTES..).unwrap_or_default().to_vec())),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn request(command: u8, attributes: &[u8]) -> Vec<u8> {
    [&[command, VERSION, 0, 0][..], attributes].concat()
}

fn find(payload: &[u8], skip: usize, kind: u16) -> Option<&[u8]> {
    attributes(payload, skip)
        .map_while(Result::ok)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

fn channels(answer: &[u8]) -> Channels {
    let count = |kind| find(answer, 0, kind).and_then(number).unwrap_or_default();
    Channels {
        receive: count(CHANNELS_RECEIVE),
        transmit: count(CHANNELS_TRANSMIT),
        combined: count(CHANNELS_COMBINED),
        receive_max: count(CHANNELS_RECEIVE_MAX),
        combined_max: count(CHANNELS_COMBINED_MAX),
    }
}

fn features(answer: &[u8]) -> Features {
    Features { on: names(answer, FEATURES_ACTIVE), fixed: names(answer, FEATURES_NOCHANGE) }
}

/// The names in a bit set. It has no mask and so lists those that are set only.
fn names(answer: &[u8], set: u16) -> BTreeSet<String> {
    let bits = find(answer, 0, set).and_then(|value| find(value, 0, BITSET_BITS));
    attributes(bits.unwrap_or_default(), 0)
        .map_while(Result::ok)
        .filter(|(kind, _)| *kind == BITSET_BIT)
        .filter_map(|(_, bit)| find(bit, 0, BIT_NAME).map(text))
        .collect()
}

fn spreading(answer: &[u8]) -> Spreading {
    let mut entries = BTreeMap::new();
    let table = find(answer, 0, RSS_INDIRECTION).unwrap_or_default();
    for queue in table.chunks_exact(4).filter_map(number) {
        *entries.entry(queue).or_default() += 1;
    }
    let flows = find(answer, 0, RSS_FLOW_HASH).unwrap_or_default();
    let fields = |flow| find(flows, 0, flow).and_then(unsigned).map(HashFields::of_bits);
    Spreading { entries, udp4: fields(FLOW_UDP4), udp6: fields(FLOW_UDP6) }
}

/// A number of four or eight octets, as short as its value allows.
fn unsigned(value: &[u8]) -> Option<u64> {
    number(value).map(u64::from).or_else(|| value.try_into().ok().map(u64::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_ne_bytes())
    }

    #[test]
    fn queues_are_counted_as_pairs() {
        let combined = [count(CHANNELS_COMBINED_MAX, 8), count(CHANNELS_COMBINED, 4)].concat();
        let combined = channels(&combined);
        assert_eq!((combined.pairs(), combined.pairs_max()), (4, 8));
        let apart = [
            count(CHANNELS_RECEIVE_MAX, 3),
            count(CHANNELS_RECEIVE, 3),
            count(CHANNELS_TRANSMIT, 2),
        ];
        let apart = channels(&apart.concat());
        assert_eq!((apart.pairs(), apart.pairs_max()), (2, 3));
        assert_eq!(channels(&[]).pairs(), 0);
    }

    fn set(kind: u16, names: &[&str]) -> Vec<u8> {
        let bit = |name: &&str| {
            let index = attribute(1, &[0; 4]);
            attribute(BITSET_BIT | NESTED, &[index, text_attribute(BIT_NAME, name)].concat())
        };
        let bits: Vec<u8> = names.iter().flat_map(bit).collect();
        let nomask = attribute(1, &[]);
        attribute(kind | NESTED, &[nomask, attribute(BITSET_BITS | NESTED, &bits)].concat())
    }

    #[test]
    fn offloads_are_on_or_stuck() {
        let answer =
            [set(FEATURES_ACTIVE, &["rx-gro", "rx-lro"]), set(FEATURES_NOCHANGE, &["rx-lro"])];
        let features = features(&answer.concat());
        assert!(features.is_on("rx-gro") && !features.is_stuck("rx-gro"));
        assert!(features.is_stuck("rx-lro"));
        assert!(!features.is_on("rx-gro-hw"));
    }

    #[test]
    fn spreading_is_a_table_and_the_fields_hashed() {
        let table: Vec<u8> =
            [0_u32, 1, 0, 3].iter().flat_map(|queue| queue.to_ne_bytes()).collect();
        let flows = [count(FLOW_UDP4, 0xf0), attribute(FLOW_UDP6, &0x30_u64.to_ne_bytes())];
        let answer = [
            attribute(RSS_INDIRECTION, &table),
            attribute(RSS_FLOW_HASH | NESTED, &flows.concat()),
        ];
        let spreading = spreading(&answer.concat());
        assert_eq!(spreading.entries, BTreeMap::from([(0, 2), (1, 1), (3, 1)]));
        assert_eq!(spreading.udp4, Some(HashFields { addresses: true, ports: true }));
        assert_eq!(spreading.udp6, Some(HashFields { addresses: true, ports: false }));
    }

    #[test]
    fn octets_that_make_no_sense_are_no_answer() {
        for octets in [&[][..], &[1], &[0, 0, 0, 0], &[255, 255, 1, 0, 7]] {
            assert_eq!(channels(octets), Channels::default());
            assert_eq!(features(octets), Features::default());
            assert_eq!(spreading(octets), Spreading::default());
        }
    }

    #[test]
    fn the_kernel_answers() {
        let Ok(mut ethtool) = Ethtool::open() else { return };
        assert!(!ethtool.features("lo").unwrap().unwrap().on.is_empty());
        assert_eq!(ethtool.channels("lo").unwrap(), None);
        let error = ethtool.features("xlns-none").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}

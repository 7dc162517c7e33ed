//! What all ports decide by: addresses of this host and subscriber prefixes.
//!
//! The maps exist once; each port's instance is loaded onto them. What is in them is also kept
//! here, so that limits are checked before the kernel is asked and every call may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::config::{HOST_ADDRESSES_MAX, PREFIX_LENGTHS_MAX, SUBSCRIBER_PREFIXES_MAX};
use crate::error::SteerError;
use crate::skeleton::{OpenSteerSkel, SteerSkelBuilder};

/// The maps and their contents.
#[derive(Debug)]
pub(crate) struct Shared {
    host_ipv4: MapHandle,
    host_ipv6: MapHandle,
    subscriber_ipv4: MapHandle,
    subscriber_ipv6: MapHandle,
    prefix_lengths: MapHandle,
    peers: MapHandle,
    hosts: BTreeMap<IpAddr, bool>,
    subscribers: BTreeSet<IpNet>,
}

impl Shared {
    /// Makes the maps, empty.
    pub(crate) fn create() -> Result<Self, SteerError> {
        Self::try_create().map_err(|source| SteerError::Load { interface: None, source })
    }

    fn try_create() -> libbpf_rs::Result<Self> {
        let mut object = MaybeUninit::uninit();
        let mut open = SteerSkelBuilder::default().open(&mut object)?;
        open.progs.steer.set_autoload(false);
        let loaded = open.load()?;
        let maps = &loaded.maps;
        Ok(Self {
            host_ipv4: MapHandle::try_from(&maps.host_ipv4)?,
            host_ipv6: MapHandle::try_from(&maps.host_ipv6)?,
            subscriber_ipv4: MapHandle::try_from(&maps.subscriber_ipv4)?,
            subscriber_ipv6: MapHandle::try_from(&maps.subscriber_ipv6)?,
            prefix_lengths: MapHandle::try_from(&maps.prefix_lengths)?,
            peers: MapHandle::try_from(&maps.peers)?,
            hosts: BTreeMap::new(),
            subscribers: BTreeSet::new(),
        })
    }

    /// Makes an instance that is about to be loaded use these maps.
    pub(crate) fn lend(&self, open: &mut OpenSteerSkel<'_>) -> libbpf_rs::Result<()> {
        let maps = &mut open.maps;
        maps.host_ipv4.reuse_fd(self.host_ipv4.as_fd())?;
        maps.host_ipv6.reuse_fd(self.host_ipv6.as_fd())?;
        maps.subscriber_ipv4.reuse_fd(self.subscriber_ipv4.as_fd())?;
        maps.subscriber_ipv6.reuse_fd(self.subscriber_ipv6.as_fd())?;
        maps.peers.reuse_fd(self.peers.as_fd())?;
        maps.prefix_lengths.reuse_fd(self.prefix_lengths.as_fd())
    }

    /// Adds or changes an address; `l2tp_port` where tunnels end there.
    pub(crate) fn set_host(
        &mut self,
        address: IpAddr,
        l2tp_port: Option<u16>,
    ) -> Result<(), SteerError> {
        if self.hosts.get(&address) == Some(&l2tp_port.is_some()) {
            return Ok(());
        }
        if !self.hosts.contains_key(&address) && self.hosts.len() >= HOST_ADDRESSES_MAX {
            return Err(SteerError::HostAddressesFull { address });
        }
        let value = l2tp_port.unwrap_or(0).to_be_bytes();
        match address {
            IpAddr::V4(ipv4) => self.host_ipv4.update(&ipv4.octets(), &value, MapFlags::ANY),
            IpAddr::V6(ipv6) => self.host_ipv6.update(&ipv6.octets(), &value, MapFlags::ANY),
        }
        .map_err(|source| map_error(&address, source))?;
        self.hosts.insert(address, l2tp_port.is_some());
        Ok(())
    }

    /// Removes an address; one that is not there is no error.
    pub(crate) fn remove_host(&mut self, address: IpAddr) -> Result<(), SteerError> {
        if self.hosts.contains_key(&address) {
            match address {
                IpAddr::V4(ipv4) => self.host_ipv4.delete(&ipv4.octets()),
                IpAddr::V6(ipv6) => self.host_ipv6.delete(&ipv6.octets()),
            }
            .map_err(|source| map_error(&address, source))?;
            self.hosts.remove(&address);
        }
        Ok(())
    }

    /// Adds a prefix. Its length becomes known to the program after the prefix itself.
    pub(crate) fn set_subscriber(&mut self, prefix: IpNet) -> Result<(), SteerError> {
        let prefix = prefix.trunc();
        if self.subscribers.contains(&prefix) {
            return Ok(());
        }
        let ours = || self.subscribers.iter().filter(|other| same_family(other, &prefix));
        if ours().count() >= SUBSCRIBER_PREFIXES_MAX {
            return Err(SteerError::SubscriberPrefixesFull { prefix });
        }
        let mut lengths: BTreeSet<u8> = ours().map(IpNet::prefix_len).collect();
        lengths.insert(prefix.prefix_len());
        if lengths.len() > PREFIX_LENGTHS_MAX {
            return Err(SteerError::PrefixLengthsFull { prefix });
        }
        self.subscriber_map(&prefix)
            .update(&key(&prefix), &[1], MapFlags::ANY)
            .map_err(|source| map_error(&prefix, source))?;
        self.subscribers.insert(prefix);
        self.write_lengths(&prefix)
    }

    /// Removes a prefix; one that is not there is no error.
    pub(crate) fn remove_subscriber(&mut self, prefix: IpNet) -> Result<(), SteerError> {
        let prefix = prefix.trunc();
        if !self.subscribers.contains(&prefix) {
            return Ok(());
        }
        self.subscriber_map(&prefix)
            .delete(&key(&prefix))
            .map_err(|source| map_error(&prefix, source))?;
        self.subscribers.remove(&prefix);
        self.write_lengths(&prefix)
    }

    /// Adds a peer, its bucket full.
    pub(crate) fn set_peer(&mut self, address: IpAddr) -> Result<(), SteerError> {
        self.peers
            .update(&peer_key(address), &0_u64.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| map_error(&address, source))
    }

    /// Removes a peer; one that is not there is no error.
    pub(crate) fn remove_peer(&mut self, address: IpAddr) -> Result<(), SteerError> {
        match self.peers.delete(&peer_key(address)) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                Err(map_error(&address, error))
            }
            _ => Ok(()),
        }
    }

    fn subscriber_map(&self, prefix: &IpNet) -> &MapHandle {
        match prefix {
            IpNet::V4(_) => &self.subscriber_ipv4,
            IpNet::V6(_) => &self.subscriber_ipv6,
        }
    }

    /// Writes the lengths in use in all blocks that the prefix overlaps, as maps.h describes.
    fn write_lengths(&self, changed: &IpNet) -> Result<(), SteerError> {
        for (block, index) in blocks(changed) {
            let here = self.subscribers.iter().filter(|prefix| overlap(prefix, &block));
            let lengths: BTreeSet<u8> = here.map(|prefix| prefix.prefix_len()).collect();
            let packed =
                lengths.iter().rev().fold(0, |word, length| word << 8 | u64::from(length + 1));
            self.prefix_lengths
                .update(&index.to_ne_bytes(), &packed.to_ne_bytes(), MapFlags::ANY)
                .map_err(|source| map_error(&"prefix lengths", source))?;
        }
        Ok(())
    }
}

/// Bits that the addresses of a block share (IPv4).
const BLOCK_BITS: u8 = 16;

/// The entry of IPv6, which is one block.
const BLOCK_IPV6: u32 = 1 << BLOCK_BITS;

/// The blocks that a prefix overlaps, and their entries.
fn blocks(prefix: &IpNet) -> Box<dyn Iterator<Item = (IpNet, u32)>> {
    let IpNet::V4(net) = prefix else {
        return Box::new(std::iter::once((Ipv6Net::default().into(), BLOCK_IPV6)));
    };
    let [first, last] = [net.network(), net.broadcast()].map(|end| end.to_bits() >> BLOCK_BITS);
    Box::new((first..=last).map(|index| {
        let block = Ipv4Net::new_assert(Ipv4Addr::from_bits(index << BLOCK_BITS), BLOCK_BITS);
        (block.into(), index)
    }))
}

/// Whether two prefixes have an address in common.
fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn same_family(one: &IpNet, other: &IpNet) -> bool {
    matches!((one, other), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

/// The key of the map of peers: IPv4 addresses as IPv6 ones.
fn peer_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ipv4) => ipv4.to_ipv6_mapped().octets(),
        IpAddr::V6(ipv6) => ipv6.octets(),
    }
}

/// `struct prefix_ipv4` or `struct prefix_ipv6` of maps.h.
fn key(prefix: &IpNet) -> Vec<u8> {
    let mut key = u32::from(prefix.prefix_len()).to_ne_bytes().to_vec();
    match prefix {
        IpNet::V4(ipv4) => key.extend(ipv4.network().octets()),
        IpNet::V6(ipv6) => key.extend(ipv6.network().octets()),
    }
    key
}

fn map_error(what: &dyn std::fmt::Display, source: libbpf_rs::Error) -> SteerError {
    SteerError::Map { what: format!("entry of {what}"), source }
}

//! Which address a subscriber gets: its own fixed one, or one of a pool.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use crate::config::Config;
use crate::pool::{self, Pool, PoolError};
use crate::users::Account;

/// A pool that cannot be built.
#[derive(Debug, Error)]
#[error("pool {name}: {error}")]
pub struct AddressesError {
    name: String,
    error: PoolError,
}

/// An address that a call has, to be given back by [`Addresses::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an address that is not given back is lost"]
pub enum Lease {
    /// Of the pool with this index.
    Pool(usize, pool::Lease),
    /// A user's fixed one.
    Fixed(Ipv4Addr),
}

impl Lease {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Pool(_, lease) => lease.address(),
            Self::Fixed(address) => *address,
        }
    }
}

/// All addresses for subscribers.
pub struct Addresses {
    pools: Vec<(String, Pool)>,
    /// Fixed addresses in use; at most one for each user.
    fixed: BTreeSet<Ipv4Addr>,
    /// Free addresses of all pools while nobody has one.
    available: usize,
}

impl Addresses {
    /// The pools of the configuration, without the gateway and the users' fixed addresses.
    ///
    /// # Errors
    /// Names the pool.
    pub fn new(config: &Config) -> Result<Self, AddressesError> {
        let mut pools = Vec::with_capacity(config.pool.len());
        let fixed = config.user.iter().filter_map(|user| user.address);
        let reserved: Vec<Ipv4Addr> = fixed.chain([config.lns.gateway]).collect();
        for pool in &config.pool {
            let prefixes: Vec<Ipv4Net> = pool.prefixes.iter().filter_map(ipv4).collect();
            let mut built = Pool::new(&prefixes)
                .map_err(|error| AddressesError { name: pool.name.clone(), error })?;
            for address in &reserved {
                // Held for good: the lease is never given back. Not being of this pool is no fault.
                let _ = built.reserve(*address);
            }
            pools.push((pool.name.clone(), built));
        }
        let available = pools.iter().map(|(_, pool)| pool.free() as usize).sum();
        Ok(Self { pools, fixed: BTreeSet::new(), available })
    }

    /// An address for this user; `None` where none is free.
    pub fn lease(&mut self, account: &Account) -> Option<Lease> {
        if let Some(address) = account.address {
            return self.fixed.insert(address).then_some(Lease::Fixed(address));
        }
        let index = match &account.pool {
            Some(name) => self.pools.iter().position(|(other, _)| other == name)?,
            None => 0,
        };
        let (_, pool) = self.pools.get_mut(index)?;
        pool.allocate().map(|lease| Lease::Pool(index, lease))
    }

    /// Takes an address back.
    pub fn release(&mut self, lease: Lease) {
        match lease {
            Lease::Pool(index, lease) => {
                if let Some((_, pool)) = self.pools.get_mut(index) {
                    pool.release(lease);
                }
            }
            Lease::Fixed(address) => {
                self.fixed.remove(&address);
            }
        }
    }

    /// Number of addresses that were not given back, fixed ones among them.
    pub fn in_use(&self) -> usize {
        self.available - self.free() + self.fixed.len()
    }

    /// Number of free addresses in all pools.
    pub fn free(&self) -> usize {
        self.pools.iter().map(|(_, pool)| pool.free() as usize).sum()
    }
}

fn ipv4(prefix: &IpNet) -> Option<Ipv4Net> {
    match prefix {
        IpNet::V4(prefix) => Some(*prefix),
        IpNet::V6(_) => None,
    }
}

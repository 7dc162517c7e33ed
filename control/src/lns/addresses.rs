//! Which addresses a subscriber gets: an IPv4 address, a /64 for its link, a prefix to delegate; its
//! own fixed ones, or ones of a pool.
//!
//! All of them are taken when the subscriber is let in, but for the prefix to delegate: that is taken
//! when it is asked for, as many never ask. All are given back together, when the data plane has
//! counted the session's last packet.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::config::Config;
use crate::pool::prefixes::{LENGTH_MAX, PrefixLease, PrefixPool, PrefixPoolError};
use crate::pool::{self, Pool, PoolError};
use crate::users::Account;

/// A pool that cannot be built.
#[derive(Debug, Error)]
#[error("pool {name}: {error}")]
pub struct AddressesError {
    name: String,
    error: KindError,
}

#[derive(Debug, Error)]
enum KindError {
    #[error(transparent)]
    Ipv4(#[from] PoolError),
    #[error(transparent)]
    Ipv6(#[from] PrefixPoolError),
}

/// What a call has, to be given back by [`Addresses::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is not given back is lost"]
pub struct Lease {
    ipv4: Option<Ipv4Lease>,
    ipv6: Option<Box<Ipv6Lease>>,
    framed: Option<Arc<[IpNet]>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Ipv4Lease {
    /// Of the pool with this index.
    Pool(usize, pool::Lease),
    /// A user's fixed one.
    Fixed(Ipv4Addr),
}

#[derive(Debug, PartialEq, Eq)]
struct Ipv6Lease {
    /// Index of the pool, where the user has one.
    pool: Option<usize>,
    link: Option<Prefix>,
    delegated: Option<Prefix>,
}

#[derive(Debug, PartialEq, Eq)]
enum Prefix {
    /// Of the lease's pool.
    Pool(PrefixLease),
    /// A user's fixed one.
    Fixed(Ipv6Net),
}

impl Prefix {
    fn prefix(&self) -> Ipv6Net {
        match self {
            Self::Pool(lease) => lease.prefix(),
            Self::Fixed(prefix) => *prefix,
        }
    }
}

impl Lease {
    /// The IPv4 address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.ipv4.as_ref().map(|lease| match lease {
            Ipv4Lease::Pool(_, lease) => lease.address(),
            Ipv4Lease::Fixed(address) => *address,
        })
    }

    /// Whether the subscriber may speak IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.ipv6.is_some()
    }

    /// The /64 of the link.
    pub fn link_prefix(&self) -> Option<Ipv6Net> {
        self.ipv6.as_ref()?.link.as_ref().map(Prefix::prefix)
    }

    /// The prefix to delegate, once it was asked for.
    pub fn delegated_prefix(&self) -> Option<Ipv6Net> {
        self.ipv6.as_ref()?.delegated.as_ref().map(Prefix::prefix)
    }

    /// More destinations behind the subscriber, of both families.
    pub fn framed_routes(&self) -> &[IpNet] {
        self.framed.as_deref().unwrap_or_default()
    }

    /// Everything in it.
    pub fn all(&self) -> impl Iterator<Item = IpNet> {
        let ipv4 = self.address().map(|address| IpNet::from(IpAddr::V4(address)));
        let ipv6 = [self.link_prefix(), self.delegated_prefix()];
        let ipv6 = ipv6.into_iter().flatten().map(IpNet::V6);
        ipv4.into_iter().chain(ipv6).chain(self.framed_routes().iter().copied())
    }
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLease {
    /// The pool is exhausted, or the user has none.
    Exhausted,
    /// Another session of the same user has what is only this user's.
    InUse,
}

struct Pools {
    name: String,
    /// `None`: it has IPv6 alone.
    ipv4: Option<Pool>,
    links: PrefixPool,
    delegated: PrefixPool,
    /// Whether it was configured with some of either.
    has_links: bool,
    has_delegated: bool,
}

/// All addresses for subscribers.
pub struct Addresses {
    pools: Vec<Pools>,
    /// IPv6 is spoken at all.
    ipv6: bool,
    /// Of pools, but not theirs to hand out.
    reserved: BTreeSet<Ipv4Addr>,
    /// What is only one user's and in use.
    fixed: BTreeSet<IpNet>,
    /// Free IPv4 addresses of all pools while nobody has one.
    available: usize,
}

impl Addresses {
    /// The pools of the configuration, without the gateway and what is fixed for users.
    ///
    /// # Errors
    /// Names the pool.
    pub fn new(config: &Config) -> Result<Self, AddressesError> {
        let fixed = config.user.iter().filter_map(|user| user.address);
        let reserved: BTreeSet<Ipv4Addr> = fixed.chain([config.lns.gateway]).collect();
        let mut pools = Vec::with_capacity(config.pool.len());
        for pool in &config.pool {
            let name = pool.name.clone();
            let built = Pools::new(config, pool, &reserved);
            pools.push(built.map_err(|error| AddressesError { name, error })?);
        }
        let ipv4 = pools.iter().filter_map(|pool| pool.ipv4.as_ref());
        let available = ipv4.map(|pool| pool.free() as usize).sum();
        Ok(Self { pools, ipv6: config.ppp.ipv6, reserved, fixed: BTreeSet::new(), available })
    }

    /// What there is for this user. IPv4 that a user is to have is needed; IPv6 is left out where
    /// the pool has no /64 left.
    ///
    /// # Errors
    /// [`NoLease`].
    pub fn lease(&mut self, account: &Account) -> Result<Lease, NoLease> {
        let fixed: Vec<IpNet> = fixed_of(account).collect();
        if fixed.iter().any(|prefix| self.fixed.contains(prefix)) {
            return Err(NoLease::InUse);
        }
        let pool = self.pool_of(account);
        let ipv4 = self.lease_ipv4(account, pool)?;
        let ipv6 = if self.offers_ipv6(account) { self.lease_ipv6(account, pool) } else { None };
        if ipv4.is_none() && ipv6.is_none() {
            return Err(NoLease::Exhausted);
        }
        let framed = account.framed_routes.clone();
        let lease = Lease { ipv4, ipv6: ipv6.map(Box::new), framed };
        // Of what is fixed, only what the lease has: that is what comes back.
        self.fixed.extend(lease.all().filter(|prefix| fixed.contains(prefix)));
        Ok(lease)
    }

    /// Whether this user is meant to speak IPv6.
    pub fn offers_ipv6(&self, account: &Account) -> bool {
        let own = account.ipv6_prefix.is_some() || account.delegated_prefix.is_some();
        let pool = self.pool_of(account).and_then(|index| self.pools.get(index));
        self.ipv6 && (own || pool.is_some_and(|pool| pool.has_links || pool.has_delegated))
    }

    /// The prefix that a session delegates, taken now if it has none yet; `None` where none is free.
    pub fn delegate(&mut self, lease: &mut Lease) -> Option<Ipv6Net> {
        let ipv6 = lease.ipv6.as_mut()?;
        if ipv6.delegated.is_none() {
            let pool = self.pools.get_mut(ipv6.pool?)?;
            ipv6.delegated = pool.delegated.allocate().map(Prefix::Pool);
        }
        ipv6.delegated.as_ref().map(Prefix::prefix)
    }

    /// Takes the IPv4 address of a lease back. Returns whether there was one.
    pub fn release_ipv4(&mut self, lease: &mut Lease) -> bool {
        let Some(ipv4) = lease.ipv4.take() else { return false };
        match ipv4 {
            Ipv4Lease::Fixed(address) => {
                self.fixed.remove(&IpNet::from(IpAddr::V4(address)));
            }
            Ipv4Lease::Pool(index, lease) => {
                if let Some(pool) = self.pools.get_mut(index).and_then(|pool| pool.ipv4.as_mut()) {
                    pool.release(lease);
                }
            }
        }
        true
    }

    /// Gives a lease an IPv4 address again whose own was taken back, where one is free.
    pub fn renew_ipv4(&mut self, lease: &mut Lease, account: &Account) {
        let is_free = |address| !self.fixed.contains(&IpNet::from(IpAddr::V4(address)));
        if lease.ipv4.is_some() || !account.address.is_none_or(is_free) {
            return;
        }
        lease.ipv4 = self.lease_ipv4(account, self.pool_of(account)).unwrap_or_default();
        self.fixed.extend(account.address.map(|address| IpNet::from(IpAddr::V4(address))));
    }

    /// Takes everything of a lease back.
    pub fn release(&mut self, mut lease: Lease) {
        self.release_ipv4(&mut lease);
        for prefix in lease.all() {
            self.fixed.remove(&prefix);
        }
        let Some(ipv6) = lease.ipv6 else { return };
        let Some(pool) = ipv6.pool.and_then(|index| self.pools.get_mut(index)) else { return };
        if let Some(Prefix::Pool(lease)) = ipv6.link {
            pool.links.release(lease);
        }
        if let Some(Prefix::Pool(lease)) = ipv6.delegated {
            pool.delegated.release(lease);
        }
    }

    /// Whether a session has this IPv4 address, or had it until a moment ago.
    pub fn is_leased(&self, address: Ipv4Addr) -> bool {
        let of_pool = |pool: &Pools| pool.ipv4.as_ref().is_some_and(|pool| pool.is_in_use(address));
        self.fixed.contains(&IpNet::from(IpAddr::V4(address)))
            || !self.reserved.contains(&address) && self.pools.iter().any(of_pool)
    }

    /// Number of addresses and prefixes that were not given back.
    pub fn in_use(&self) -> usize {
        let prefixes: u64 =
            self.pools.iter().map(|pool| pool.links.in_use() + pool.delegated.in_use()).sum();
        self.available - self.free() + self.fixed.len() + prefixes as usize
    }

    /// Number of free IPv4 addresses in all pools.
    pub fn free(&self) -> usize {
        let ipv4 = self.pools.iter().filter_map(|pool| pool.ipv4.as_ref());
        ipv4.map(|pool| pool.free() as usize).sum()
    }

    /// Number of free prefixes in all pools: for links, and to delegate.
    pub fn free_prefixes(&self) -> (u64, u64) {
        let sum =
            |free: fn(&Pools) -> u64| self.pools.iter().map(free).fold(0, u64::saturating_add);
        (sum(|pool| pool.links.free()), sum(|pool| pool.delegated.free()))
    }

    fn pool_of(&self, account: &Account) -> Option<usize> {
        match &account.pool {
            Some(name) => self.pools.iter().position(|pool| pool.name == *name),
            None => (!self.pools.is_empty()).then_some(0),
        }
    }

    /// The user's own address, or one of its pool; `Ok(None)` where the pool has IPv6 alone.
    fn lease_ipv4(
        &mut self,
        account: &Account,
        pool: Option<usize>,
    ) -> Result<Option<Ipv4Lease>, NoLease> {
        if let Some(address) = account.address {
            return Ok(Some(Ipv4Lease::Fixed(address)));
        }
        let Some(index) = pool else { return Ok(None) };
        match self.pools.get_mut(index).and_then(|pool| pool.ipv4.as_mut()) {
            Some(pool) => match pool.allocate() {
                Some(lease) => Ok(Some(Ipv4Lease::Pool(index, lease))),
                None => Err(NoLease::Exhausted),
            },
            None => Ok(None),
        }
    }

    /// The /64, where the pool has any; `None` where none is left.
    fn lease_ipv6(&mut self, account: &Account, index: Option<usize>) -> Option<Ipv6Lease> {
        let pool = index.and_then(|index| self.pools.get_mut(index));
        let link = match (account.ipv6_prefix, pool) {
            (Some(prefix), _) => Some(Prefix::Fixed(prefix)),
            (None, Some(pool)) if pool.has_links => Some(Prefix::Pool(pool.links.allocate()?)),
            (None, _) => None,
        };
        let delegated = account.delegated_prefix.map(Prefix::Fixed);
        Some(Ipv6Lease { pool: index, link, delegated })
    }
}

impl Pools {
    fn new(
        config: &Config,
        pool: &crate::config::PoolConfig,
        reserved: &BTreeSet<Ipv4Addr>,
    ) -> Result<Self, KindError> {
        let prefixes: Vec<Ipv4Net> = pool.prefixes.iter().filter_map(ipv4).collect();
        let mut ipv4 = None;
        if !prefixes.is_empty() {
            let mut built = Pool::new(&prefixes)?;
            for address in reserved {
                // Held for good: the lease is never given back. Not being of this pool is no fault.
                let _ = built.reserve(*address);
            }
            ipv4 = Some(built);
        }
        let mut links = PrefixPool::new(&pool.ipv6_prefixes, LENGTH_MAX)?;
        let mut delegated = PrefixPool::new(&pool.delegated_prefixes, pool.delegated_length)?;
        for user in &config.user {
            for prefix in [user.ipv6_prefix, user.delegated_prefix].into_iter().flatten() {
                links.reserve(prefix);
                delegated.reserve(prefix);
            }
        }
        let (has_links, has_delegated) =
            (!pool.ipv6_prefixes.is_empty(), !pool.delegated_prefixes.is_empty());
        Ok(Self { name: pool.name.clone(), ipv4, links, delegated, has_links, has_delegated })
    }
}

/// What is only this user's.
fn fixed_of(account: &Account) -> impl Iterator<Item = IpNet> {
    let address = account.address.map(|address| IpNet::from(IpAddr::V4(address)));
    let prefixes = [account.ipv6_prefix, account.delegated_prefix].into_iter().flatten();
    let routes = account.framed_routes.iter().flat_map(|routes| routes.iter().copied());
    address.into_iter().chain(prefixes.map(IpNet::V6)).chain(routes)
}

fn ipv4(prefix: &IpNet) -> Option<Ipv4Net> {
    match prefix {
        IpNet::V4(prefix) => Some(*prefix),
        IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;

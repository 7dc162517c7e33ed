//! Kernel versions: which one runs, and what came with which.

use std::fmt;

/// A version, as far as features go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16);

impl Version {
    /// From what `uname -r` prints.
    pub fn parse(release: &str) -> Option<Self> {
        let mut parts = release.split(|character: char| !character.is_ascii_digit());
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// The first kernel whose AF_XDP has what the rings need (need_wakeup, ring flags), and whose XDP
/// programs can be attached by a link that goes with its process.
pub const LEAST: Version = Version(5, 9);

/// The first kernel on which one system call sends as many frames as asked for in copy mode
/// (XDP_MAX_TX_SKB_BUDGET); before, it is 32.
pub const TRANSMIT_BUDGET: Version = Version(6, 17);

/// The first kernel with preferred busy polling.
pub const BUSY_POLL: Version = Version(5, 11);

/// The first kernel that does not count BPF maps as locked memory.
pub const MAPS_UNLOCKED: Version = Version(5, 11);

/// The first kernel that shows by netlink how a NIC spreads over its queues.
pub const RSS_BY_NETLINK: Version = Version(6, 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_a_version_in_front() {
        assert_eq!(Version::parse("6.18.44-fc"), Some(Version(6, 18)));
        assert_eq!(Version::parse("5.10"), Some(Version(5, 10)));
        assert_eq!(Version::parse("6.1-rc1"), Some(Version(6, 1)));
        for text in ["", "linux", "6", "6.x"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ten_comes_after_nine() {
        assert!(Version(5, 9) < Version(5, 10) && Version(5, 19) < Version(6, 0));
        assert_eq!(Version(6, 1).to_string(), "6.1");
    }
}

//! What an interface is: index, MAC address, MTU, queues.

use std::io;

use super::xsk::kernel;

/// The largest MTU of a port, octets: an Ethernet header, two 802.1Q tags and a frame check
/// sequence around it fill [`FRAME_BYTES_MAX`](crate::frame::FRAME_BYTES_MAX).
pub const MTU_MAX: u16 = 1766;

const _: () = assert!(MTU_MAX as usize + 14 + 2 * 4 + 4 == crate::frame::FRAME_BYTES_MAX);

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name in this network namespace.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// MTU, octets.
    pub mtu: u16,
    /// Whether it is up (administratively).
    pub up: bool,
    /// Queues that both receive and transmit.
    pub queues: u16,
}

/// Why an interface cannot be a port. What to do is in the text.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// Not there, or not readable.
    #[error("interface {name}: {source}")]
    Read {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not Ethernet.
    #[error("interface {name} is not Ethernet: a port has to be")]
    NotEthernet {
        /// The interface.
        name: String,
    },
    /// The MTU does not fit a frame.
    #[error(
        "interface {name} has MTU {mtu}, at most {MTU_MAX} fits a frame: \
         ip link set dev {name} mtu {MTU_MAX}"
    )]
    MtuTooLarge {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
    },
}

impl Interface {
    /// Reads the interface.
    ///
    /// # Errors
    /// [`InterfaceError`].
    pub fn read(name: &str) -> Result<Self, InterfaceError> {
        let failed = |source| InterfaceError::Read { name: name.into(), source };
        let link = kernel::link(name).map_err(failed)?;
        if !link.ethernet {
            return Err(InterfaceError::NotEthernet { name: name.into() });
        }
        let mtu = check_mtu(name, link.mtu)?;
        let index = nix::net::if_::if_nametoindex(name).map_err(|error| failed(error.into()))?;
        Ok(Self {
            name: name.into(),
            index,
            mac: link.mac,
            mtu,
            up: link.up,
            queues: queues(name)?,
        })
    }
}

/// Queues that the interface has now; the count may change when an XDP program is attached.
///
/// # Errors
/// [`InterfaceError::Read`].
pub fn queues(name: &str) -> Result<u16, InterfaceError> {
    let channels = kernel::channels(name)
        .map_err(|source| InterfaceError::Read { name: name.into(), source })?;
    let pairs = channels.map_or(1, |channels| channels.pairs().max(1));
    Ok(u16::try_from(pairs).unwrap_or(u16::MAX))
}

fn check_mtu(name: &str, mtu: u32) -> Result<u16, InterfaceError> {
    u16::try_from(mtu)
        .ok()
        .filter(|mtu| *mtu <= MTU_MAX)
        .ok_or_else(|| InterfaceError::MtuTooLarge { name: name.into(), mtu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_fits_or_is_one_too_large() {
        assert_eq!(check_mtu("eth0", 1500).unwrap(), 1500);
        assert_eq!(check_mtu("eth0", 1766).unwrap(), 1766);
        let error = check_mtu("eth0", 1767).unwrap_err().to_string();
        assert!(error.contains("MTU 1767") && error.contains("mtu 1766"), "{error}");
        assert!(check_mtu("eth0", 65_536 + 1500).is_err());
    }

    #[test]
    fn what_is_no_ethernet_or_not_there_is_refused() {
        assert!(matches!(Interface::read("lo"), Err(InterfaceError::NotEthernet { .. })));
        assert!(matches!(Interface::read("xlns-none"), Err(InterfaceError::Read { .. })));
    }
}

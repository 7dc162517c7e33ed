//! What one interface is, asked once (RTM_GETLINK).

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::ask::{Asker, text, text_attribute};
use super::event::{attributes, number};

const RTM_GETLINK: u16 = 18;

/// `struct ifinfomsg`: family, type, index, flags, change.
const HEADER_BYTES: usize = 16;

const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

// Attributes of linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether it is Ethernet.
    pub ethernet: bool,
    /// Whether it is up (administratively).
    pub up: bool,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// MTU, octets.
    pub mtu: u32,
    /// The largest MTU that its driver takes, octets; 0: it does not say.
    pub mtu_max: u32,
    /// What the kernel calls a virtual interface (`veth`, `bond`); empty: a device.
    pub kind: String,
    /// Index of the interface that it is the other end of, or on top of, in this namespace.
    pub peer: Option<u32>,
    /// Whether that one is in another network namespace.
    pub peer_elsewhere: bool,
    /// An XDP program that is attached: its ID.
    pub xdp_program: Option<u32>,
}

/// Reads the interface of that name in the network namespace of the calling thread.
///
/// # Errors
/// None of that name, or what the kernel says.
pub fn interface_named(name: &str) -> io::Result<Interface> {
    read(&text_attribute(IFLA_IFNAME, name), 0)
}

/// Reads the interface with that index.
///
/// # Errors
/// As [`interface_named`].
pub fn interface_at(index: u32) -> io::Result<Interface> {
    read(&[], index)
}

fn read(attributes: &[u8], index: u32) -> io::Result<Interface> {
    let mut header = [0; HEADER_BYTES];
    if let Some(place) = header.get_mut(4..8) {
        place.copy_from_slice(&index.to_ne_bytes());
    }
    let answer =
        Asker::open(NETLINK_ROUTE)?.ask(RTM_GETLINK, &[&header[..], attributes].concat())?;
    decode(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn decode(payload: &[u8]) -> Option<Interface> {
    let half =
        |from: usize| Some(u16::from_ne_bytes(payload.get(from..from + 2)?.try_into().ok()?));
    let word = |from: usize| number(payload.get(from..from + 4)?);
    let flags = word(8)?;
    let mut interface = Interface {
        index: word(4)?,
        ethernet: half(2)? == ARPHRD_ETHER,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..Interface::default()
    };
    for (kind, value) in attributes(payload, HEADER_BYTES).map_while(Result::ok) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_MTU => interface.mtu = number(value)?,
            IFLA_LINK => interface.peer = number(value).filter(|index| *index != 0),
            IFLA_LINKINFO => {
                interface.kind = nested(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
            }
            IFLA_LINK_NETNSID => interface.peer_elsewhere = true,
            IFLA_XDP => interface.xdp_program = xdp_program(value),
            IFLA_MAX_MTU => interface.mtu_max = number(value)?,
            _ => {}
        }
    }
    Some(interface)
}

/// The program that is attached. Where there are several (driver and above it), any of them.
fn xdp_program(value: &[u8]) -> Option<u32> {
    let is_attached = nested(value, IFLA_XDP_ATTACHED)? != [0];
    is_attached.then(|| nested(value, IFLA_XDP_PROG_ID).and_then(number).unwrap_or_default())
}

fn nested(value: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(value, 0).map_while(Result::ok).find(|(found, _)| *found == kind).map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use super::super::ask::attribute;
    use super::*;

    fn header(ethernet: bool, flags: u32) -> Vec<u8> {
        let kind: u16 = if ethernet { ARPHRD_ETHER } else { 772 };
        [&[0, 0][..], &kind.to_ne_bytes(), &7_u32.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]]
            .concat()
    }

    #[test]
    fn an_interface_is_read() {
        let info = text_attribute(IFLA_INFO_KIND, "veth");
        let xdp = [
            attribute(IFLA_XDP_ATTACHED, &[1]),
            attribute(IFLA_XDP_PROG_ID, &42_u32.to_ne_bytes()),
        ]
        .concat();
        let payload = [
            header(true, IFF_UP),
            text_attribute(IFLA_IFNAME, "v0"),
            attribute(IFLA_MTU, &1500_u32.to_ne_bytes()),
            attribute(IFLA_LINK, &9_u32.to_ne_bytes()),
            attribute(IFLA_LINKINFO, &info),
            attribute(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes()),
            attribute(IFLA_XDP, &xdp),
            attribute(IFLA_MAX_MTU, &65_535_u32.to_ne_bytes()),
        ]
        .concat();
        let expected = Interface {
            name: "v0".to_owned(),
            index: 7,
            ethernet: true,
            up: true,
            carrier: false,
            mtu: 1500,
            mtu_max: 65_535,
            kind: "veth".to_owned(),
            peer: Some(9),
            peer_elsewhere: true,
            xdp_program: Some(42),
        };
        assert_eq!(decode(&payload), Some(expected));
    }

    #[test]
    fn nothing_attached_is_no_program_and_a_short_answer_none() {
        let xdp = attribute(IFLA_XDP_ATTACHED, &[0]);
        let payload = [header(false, 0), attribute(IFLA_XDP, &xdp)].concat();
        let interface = decode(&payload).unwrap();
        assert_eq!(
            (interface.xdp_program, interface.ethernet, interface.peer),
            (None, false, None)
        );
        assert_eq!(decode(&payload[..8]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn the_kernel_knows_the_loopback_and_not_another() {
        let lo = interface_named("lo").unwrap();
        assert!(!lo.ethernet && lo.mtu >= 1280, "{lo:?}");
        assert_eq!(interface_at(lo.index).unwrap().name, "lo");
        assert_eq!(
            interface_named("xlns-none").unwrap_err().raw_os_error(),
            Some(nix::libc::ENODEV)
        );
    }
}

//! Decoding of messages that Linux 6.18 sent, as heard behind their netlink header when the command
//! above each was run. `v0` (index 3) and `v1` (index 2) are a veth pair.

use proptest::prelude::*;

use super::*;

/// `ip addr add 192.0.2.1/24 dev v0`
const ADDRESS_V4: &str = "021880000300000008000100c000020108000200c000020107000300763000000800080080000000 \
        14000600ffffffffffffffff6f0006006f000600";

/// `ip addr add 198.51.100.1 peer 198.51.100.2/32 dev v1`
const ADDRESS_PEER: &str = "022080000200000008000100c633640208000200c633640107000300763100000800080080000000 \
        14000600ffffffffffffffff7000060070000600";

/// `ip addr add 2001:db8::1/64 dev v0 nodad`
const ADDRESS_V6: &str = "0a408200030000001400010020010db800000000000000000000000114000600ffffffffffffffff \
        70000600700006000800080082000000";

/// `ip addr add 192.0.2.1/24 dev v0`
const LOCAL_TABLE: &str = "02200000ff02fe020000000008000f00ff00000008000100c000020108000700c000020108000400 \
        03000000";

/// `ip addr add 192.0.2.1/24 dev v0`
const CONNECTED: &str = "02180000fe02fd010000000008000f00fe00000008000100c000020008000700c000020108000400 \
        03000000";

/// `ip route add 203.0.113.0/24 via 192.0.2.2 dev v0 metric 50`
const VIA: &str = "02180000fe0300010000000008000f00fe00000008000100cb007100080006003200000008000500 \
        c00002020800040003000000";

/// `ip route add 203.0.113.64/26 nexthop via 192.0.2.2 dev v0 nexthop via inet6 2001:db8::2 dev v0`
const MULTIPATH: &str = "021a0000fe0300010000000008000f00fe00000008000100cb007140340009001000000003000000 \
        08000500c00002022000000003000000160012000a0020010db80000000000000000000000020000";

/// `ip route add blackhole 10.0.0.0/8`
const BLACKHOLE: &str = "02080000fe0300060000000008000f00fe000000080001000a000000";

/// `ip route add default via inet6 fe80::1 dev v0`
const DEFAULT_V6: &str = "0a000000fe0300010000000008000f00fe000000080006000004000014000500fe80000000000000 \
        0000000000000001080004000300000024000c000000000000000000000000000000000000000000 \
        0000000000000000000000000500140000000000";

/// `ip -6 route append 2001:db8:1::/48 via 2001:db8::3 dev v0`
const MULTIPATH_V6: &str = "0a300000fe0300010000000008000f00fe0000001400010020010db8000100000000000000000000 \
        08000600000400003c0009001c000000030000001400050020010db8000000000000000000000003 \
        1c000000030000001400050020010db800000000000000000000000224000c000000000000000000 \
        0000000000000000000000000000000000000000000000000500140000000000";

/// `ip -6 route add unreachable 2001:db8:2::/48`
const UNREACHABLE_V6: &str = "0a300000fe0300070000000008000f00fe0000001400010020010db8000200000000000000000000 \
        0800060000040000080004000100000024000c000000000000000000000000000000000000000000 \
        0000000000000000000000000500140000000000";

/// `ip nexthop add id 7 via 192.0.2.9 dev v0;ip route add 10.7.0.0/16 nhid 7`
const NEXT_HOP_OBJECT: &str = "02100000fe0300010000000008000f00fe000000080001000a07000008001e000700000008000500 \
        c00002090800040003000000";

/// `ip route add 10.8.0.0/16 table 100 via 192.0.2.2`
const TABLE_100: &str = "02100000640300010000000008000f0064000000080001000a08000008000500c000020208000400 \
        03000000";

/// `ip -6 route add 2001:db8:3::/48 encap seg6 mode encap segs 2001:db8::9 dev v0`
const ENCAPSULATED: &str = "0a300000fe0300010000000008000f00fe0000001400010020010db8000300000000000000000000 \
        08000600000400000800040003000000240016002000010001000000000204000000000020010db8 \
        000000000000000000000009060015000500000024000c0000000000000000000000000000000000 \
        000000000000000000000000000000000500140000000000";

/// `ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0 nud reachable`
const NEIGHBOR: &str = "02000000030000000200000108000100c00002020a00020002000000000200000800040000000000 \
        1400030000000000000000000000000002000000";

/// `ip neigh change 192.0.2.2 dev v0 nud failed`
const NEIGHBOR_FAILED: &str = "02000000030000002000000108000100c00002020800040000000000140003000000000000000000 \
        0000000001000000";

/// `ip link set v0 down`
const NEIGHBOR_OF_GROUP: &str = "0a000000030000004000000514000100ff0200000000000000000000000000020a00020033330000 \
        00020000080004000000000014000300ab1700003b0000003b00000000000000";

/// `ip link set v0 down, shortened`
const LINK_DOWN: &str = "00000100030000000210000001000000070003007630000008000d00e8030000";

/// `ip link set v0 down, shortened`
const LINK_NO_CARRIER: &str = "00000100020000000310000000000000070003007631000008000d00e8030000";

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decoded(message_type: u16, flags: u16, hexadecimal: &str) -> Option<Change> {
    decode(message_type, flags, &octets(hexadecimal)).unwrap()
}

fn route(flags: u16, hexadecimal: &str) -> Option<Route> {
    match decoded(RTM_NEWROUTE, flags, hexadecimal) {
        Some(Change::Route(route)) => Some(route),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hop(gateway: Option<&str>) -> Hop {
    Hop { link: 3, gateway: gateway.map(ip) }
}

#[test]
fn links() {
    let down = Link { index: 3, name: "v0".into(), up: false, carrier: false };
    assert_eq!(decoded(RTM_NEWLINK, 0, LINK_DOWN), Some(Change::Link(down)));
    let no_carrier = Link { index: 2, name: "v1".into(), up: true, carrier: false };
    assert_eq!(decoded(RTM_NEWLINK, 0, LINK_NO_CARRIER), Some(Change::Link(no_carrier)));
    assert_eq!(decoded(RTM_DELLINK, 0, LINK_DOWN), Some(Change::LinkRemoved { index: 3 }));
    // A bridge that lets go of its port says "removed" in its own family.
    let mut bridge = octets(LINK_DOWN);
    bridge[0] = 7;
    assert_eq!(decode(RTM_DELLINK, 0, &bridge).unwrap(), None);
}

#[test]
fn addresses() {
    let address = |link, address, prefix_length| Address {
        link,
        address: ip(address),
        prefix_length,
        protocol: 0,
    };
    assert_eq!(
        decoded(RTM_NEWADDR, 0, ADDRESS_V4),
        Some(Change::Address(address(3, "192.0.2.1", 24)))
    );
    assert_eq!(
        decoded(RTM_DELADDR, 0, ADDRESS_PEER),
        Some(Change::AddressRemoved(address(2, "198.51.100.1", 32))),
        "our own, not the peer's"
    );
    assert_eq!(
        decoded(RTM_NEWADDR, 0, ADDRESS_V6),
        Some(Change::Address(address(3, "2001:db8::1", 64)))
    );
    let mut duplicate = octets(ADDRESS_V6);
    duplicate[2] |= 0x08;
    assert_eq!(decode(RTM_NEWADDR, 0, &duplicate).unwrap(), None);
}

#[test]
fn routes_of_the_main_table() {
    let connected = route(0x600, CONNECTED).unwrap();
    assert_eq!(connected.prefix, "192.0.2.0/24".parse::<IpNet>().unwrap());
    assert_eq!((connected.metric, connected.protocol), (0, 2));
    assert_eq!(connected.path, Path::Hops(vec![hop(None)]));
    assert_eq!(connected.placement, Placement::First);

    let via = route(0xc00, VIA).unwrap();
    assert_eq!((via.metric, via.placement), (50, Placement::Last));
    assert_eq!(via.path, Path::Hops(vec![hop(Some("192.0.2.2"))]));
    assert_eq!(route(0x100, VIA).unwrap().placement, Placement::Replace);

    let default = route(0, DEFAULT_V6).unwrap();
    assert_eq!(default.prefix, "::/0".parse::<IpNet>().unwrap());
    assert_eq!(default.path, Path::Hops(vec![hop(Some("fe80::1"))]));

    assert_eq!(route(0, LOCAL_TABLE), None);
    assert_eq!(route(0, TABLE_100), None);
}

#[test]
fn routes_with_several_next_hops() {
    assert_eq!(
        route(0, MULTIPATH).unwrap().path,
        Path::Hops(vec![hop(Some("192.0.2.2")), hop(Some("2001:db8::2"))])
    );
    assert_eq!(
        route(0, MULTIPATH_V6).unwrap().path,
        Path::Hops(vec![hop(Some("2001:db8::3")), hop(Some("2001:db8::2"))])
    );
    assert_eq!(route(0, NEXT_HOP_OBJECT).unwrap().path, Path::Hops(vec![hop(Some("192.0.2.9"))]));
}

#[test]
fn routes_that_lead_nowhere_or_where_only_the_kernel_knows() {
    assert_eq!(route(0, BLACKHOLE).unwrap().path, Path::Unreachable);
    assert_eq!(route(0, UNREACHABLE_V6).unwrap().path, Path::Unreachable);
    assert_eq!(route(0, ENCAPSULATED).unwrap().path, Path::Kernel);
    let mut throw = octets(BLACKHOLE);
    throw[7] = 9;
    let throw = decode(RTM_DELROUTE, 0, &throw).unwrap();
    assert!(matches!(throw, Some(Change::RouteRemoved(Route { path: Path::Kernel, .. }))));
    // For one type of service only.
    let mut tos = octets(VIA);
    tos[3] = 0x10;
    assert_eq!(decode(RTM_NEWROUTE, 0, &tos).unwrap(), None);
}

#[test]
fn neighbors() {
    let reachable = Neighbor {
        link: 3,
        address: ip("192.0.2.2"),
        mac: Some([2, 0, 0, 0, 0, 2]),
        state: NeighborState::Reachable,
    };
    assert_eq!(decoded(RTM_NEWNEIGH, 0, NEIGHBOR), Some(Change::Neighbor(reachable)));
    let failed = Neighbor { mac: None, state: NeighborState::Unusable, ..reachable };
    assert_eq!(decoded(RTM_NEWNEIGH, 0, NEIGHBOR_FAILED), Some(Change::Neighbor(failed)));
    assert_eq!(decoded(RTM_DELNEIGH, 0, NEIGHBOR), Some(Change::NeighborRemoved(reachable)));
    assert_eq!(decoded(RTM_DELNEIGH, 0, NEIGHBOR_OF_GROUP), None);
    for (number, state) in [
        (0x01, NeighborState::Unusable),
        (0x02, NeighborState::Reachable),
        (0x04, NeighborState::Stale),
        (0x08, NeighborState::Reachable),
        (0x10, NeighborState::Reachable),
        (0x20, NeighborState::Unusable),
        (0x40, NeighborState::Fixed),
        (0x80, NeighborState::Fixed),
    ] {
        let mut message = octets(NEIGHBOR);
        message[8] = number;
        let expected = Some(Change::Neighbor(Neighbor { state, ..reachable }));
        assert_eq!(decode(RTM_NEWNEIGH, 0, &message).unwrap(), expected, "{number:#x}");
    }
}

#[test]
fn only_individual_mac_addresses_count() {
    assert_eq!(individual_mac(&[2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(individual_mac(&[0xff; 6]), None);
    assert_eq!(individual_mac(&[1, 0, 0x5e, 0, 0, 1]), None);
    assert_eq!(individual_mac(&[0; 6]), None);
    assert_eq!(individual_mac(&[]), None);
    assert_eq!(individual_mac(&[2; 20]), None, "no Ethernet");
}

#[test]
fn other_messages_are_ignored() {
    assert_eq!(decode(32, 0, &octets(VIA)).unwrap(), None);
}

#[test]
fn a_message_cut_short_is_refused() {
    for (message_type, message) in [
        (RTM_NEWLINK, LINK_DOWN),
        (RTM_NEWADDR, ADDRESS_V4),
        (RTM_NEWROUTE, MULTIPATH),
        (RTM_NEWNEIGH, NEIGHBOR),
    ] {
        let whole = octets(message);
        assert!(decode(message_type, 0, &whole[..7]).is_err());
        assert!(decode(message_type, 0, &whole[..whole.len() - 1]).is_err());
    }
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(
        message_type in 14_u16..34,
        family in prop_oneof![Just(2_u8), Just(10), any::<u8>()],
        mut payload in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        if let Some(first) = payload.first_mut() {
            *first = family;
        }
        let _ = decode(message_type, 0, &payload);
    }

    #[test]
    fn nor_do_changed_messages(position in 0_usize..96, value: u8, cut in 0_usize..96) {
        for message in [MULTIPATH, MULTIPATH_V6, NEIGHBOR, ADDRESS_V6, LINK_DOWN] {
            let mut message = octets(message);
            if let Some(octet) = message.get_mut(position) {
                *octet = value;
            }
            message.truncate(message.len().saturating_sub(cut));
            for message_type in [RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWNEIGH] {
                let _ = decode(message_type, 0, &message);
            }
        }
    }
}

//! IPv6 of a call: IPv6CP, router advertisement, prefix delegation, what the data plane is told.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::*;
use crate::ipv6::dhcp::message::{
    Association, AssociationKind, Kind, Message as DhcpMessage, StatusCode,
};
use crate::ipv6::discovery::{self, Message as Icmp, RouterAdvertisement};
use crate::ipv6::packet::{self, Payload};
use crate::ipv6::{ALL_DHCP_SERVERS, ALL_NODES, ALL_ROUTERS, link_local};

const SIX: &str = r#"
[[pool]]
name = "six"
prefixes = ["10.6.0.0/29"]
ipv6_prefixes = ["2001:db8:6::/63"]
delegated_prefixes = ["2001:db8:8000::/55"]
[[pool]]
name = "alone"
ipv6_prefixes = ["2001:db8:a::/64"]
[[user]]
name = "carol"
password = "p"
pool = "six"
[[user]]
name = "dora"
password = "p"
pool = "alone"
[[user]]
name = "erna"
password = "p"
address = "10.0.0.5"
ipv6_prefix = "2001:db8:e::/64"
delegated_prefix = "2001:db8:ee::/48"
framed_routes = ["192.0.2.128/25", "2001:db8:eee::/48"]
[ppp]
ipv6_dns = ["2001:db8::53"]
"#;

/// The subscriber's interface identifier.
const PEER_INTERFACE: u64 = 0x0200_0000_0000_00aa;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl Lab {
    /// Agrees on interface identifiers; returns the LNS's.
    fn ipv6cp(&mut self, session: SessionId) -> u64 {
        let mut request = self.take_frame([0x80, 0x57], 1);
        let local: [u8; 8] = request[10..18].try_into().unwrap();
        request[4] = 2;
        self.frame(session, &request);
        let mut ours = vec![0xff, 3, 0x80, 0x57, 1, 7, 0, 14, 1, 10];
        ours.extend(PEER_INTERFACE.to_be_bytes());
        self.frame(session, &ours);
        self.take_frame([0x80, 0x57], 2);
        u64::from_be_bytes(local)
    }

    /// Sends an IPv6 packet.
    fn ipv6(&mut self, session: SessionId, packet: &[u8]) {
        self.frame(session, &[&[0xff, 3, 0, 0x57], packet].concat());
    }

    /// The next IPv6 packet from the LNS.
    fn take_ipv6(&mut self) -> Vec<u8> {
        self.take_frame([0, 0x57], 0x60).split_off(4)
    }

    fn take_advertisement(&mut self) -> (Ipv6Addr, RouterAdvertisement) {
        let packet = self.take_ipv6();
        let parsed = packet::parse(&packet).unwrap();
        let Payload::Icmp(message) = parsed.payload else { panic!("{parsed:?}") };
        match discovery::parse(&parsed, message).unwrap() {
            Icmp::RouterAdvertisement(advertisement) => (parsed.destination, advertisement),
            other => panic!("{other:?}"),
        }
    }

    /// Asks the DHCPv6 server; returns its answer.
    fn dhcp(
        &mut self,
        session: SessionId,
        kind: Kind,
        server: Option<&DhcpMessage>,
    ) -> DhcpMessage {
        let mut message = DhcpMessage::new(kind, 0x77);
        message.client_id = Some(b"\0\x03client".as_slice().into());
        message.server_id = server.and_then(|server| server.server_id.clone());
        message.associations.push(Association::new(AssociationKind::Prefixes, 1));
        let source = (link_local(PEER_INTERFACE), 546);
        let packet = packet::udp(source, (ALL_DHCP_SERVERS, 547), &message.encode());
        self.ipv6(session, &packet);
        let answer = self.take_ipv6();
        let Payload::Udp { payload, .. } = packet::parse(&answer).unwrap().payload else {
            panic!()
        };
        DhcpMessage::decode(payload).unwrap()
    }

    fn hang_up(&mut self, session: SessionId) {
        let result = ResultCode::call(CallResult::LossOfCarrier, None, "");
        let cdn = Cdn { result, assigned_session_id: None, q931_cause: None, ppp_cause: None };
        self.control(session, &Message::Cdn(Box::new(cdn)));
    }

    /// The data plane has counted the last packet.
    fn ended(&mut self, session: SessionId) {
        let key = self.key(session);
        self.lns.handle_session_ended(self.now, key, SessionCounters::default());
    }

    fn addresses(&self) -> usize {
        self.lns.audit().unwrap().addresses
    }

    /// A call with LCP and authentication behind it.
    fn let_in(&mut self, lac_session: u16, user: &str) -> SessionId {
        let session = self.call(lac_session).expect("accepted");
        self.negotiate(session, user, "p");
        session
    }
}

fn delegated(answer: &DhcpMessage) -> Option<Ipv6Net> {
    answer.associations[0].leases.first().map(|lease| lease.prefix)
}

#[test]
fn a_subscriber_gets_both_families_and_a_prefix_and_gives_all_back() {
    let mut lab = Lab::new(SIX);
    lab.open();
    let session = lab.let_in(5, "carol");
    let local = lab.ipv6cp(session);
    assert_eq!(lab.last_set().prefixes, nets(&["2001:db8:6::/64"]), "IPv6 does not wait for IPv4");
    let (to, advertisement) = lab.take_advertisement();
    assert_eq!(to, ALL_NODES);
    assert_eq!(advertisement.prefixes[0].prefix, "2001:db8:6::/64".parse().unwrap());
    assert_eq!(advertisement.mtu, Some(1400), "the subscriber's MRU");
    assert_eq!(advertisement.dns, ["2001:db8::53".parse::<Ipv6Addr>().unwrap()]);
    let address = lab.address(session);
    let both = nets(&["10.6.0.1/32", "2001:db8:6::/64"]);
    assert_eq!((lab.last_set().prefixes.clone(), address), (both.clone(), [10, 6, 0, 1].into()));
    assert_eq!(lab.count(LnsCounter::CallsUp), 1);
    // A solicitation is answered, to the one who asked.
    let solicitation = discovery::router_solicitation();
    let from = link_local(PEER_INTERFACE);
    lab.ipv6(session, &packet::icmp(from, ALL_ROUTERS, &solicitation));
    assert_eq!(lab.take_advertisement().0, from);
    // An offer is not a delegation, and the commitment comes before the answer.
    let offer = lab.dhcp(session, Kind::Solicit, None);
    assert_eq!((offer.kind, lab.last_set().prefixes.clone()), (Kind::Advertise, both.clone()));
    let reply = lab.dhcp(session, Kind::Request, Some(&offer));
    assert_eq!(delegated(&reply), Some("2001:db8:8000::/56".parse().unwrap()));
    let all = nets(&["10.6.0.1/32", "2001:db8:6::/64", "2001:db8:8000::/56"]);
    assert_eq!(lab.last_set().prefixes, all);
    assert_eq!((lab.addresses(), lab.count(LnsCounter::PrefixesDelegated)), (3, 1));
    // Echo to the router.
    let echo = packet::icmp(from, link_local(local), b"\x80\0\0\0\0\x01\0\x01");
    lab.ipv6(session, &echo);
    assert!(packet::parse(&lab.take_ipv6()).is_ok());
    lab.dhcp(session, Kind::Release, Some(&offer));
    assert_eq!(lab.last_set().prefixes, both);
    lab.hang_up(session);
    assert_eq!(lab.addresses(), 3, "until the last packet is counted");
    lab.ended(session);
    assert_eq!(lab.addresses(), 0);
    assert_eq!(lab.lns.addresses.free_prefixes(), (3, 2));
    assert_eq!(lab.lns.timers.len(), 1, "the tunnel's");
}

#[test]
fn each_family_goes_by_itself() {
    let mut lab = Lab::new(SIX);
    lab.open();
    let session = lab.let_in(5, "carol");
    lab.ipv6cp(session);
    lab.address(session);
    lab.take_advertisement();
    lab.frame(session, &[0xff, 3, 0x80, 0x57, 5, 9, 0, 4]);
    assert_eq!(lab.last_set().prefixes, nets(&["10.6.0.1/32"]));
    let packet = packet::icmp(link_local(1), ALL_ROUTERS, &discovery::router_solicitation());
    lab.ipv6(session, &packet);
    assert!(lab.frames.iter().all(|(_, frame)| frame[2..4] != [0, 0x57]), "nobody serves it");
    assert_eq!(lab.addresses(), 2, "the /64 stays the session's");
    lab.frame(session, &[0xff, 3, 0x80, 0x21, 5, 9, 0, 4]);
    lab.lns.audit().unwrap();
}

#[test]
fn a_subscriber_that_rejects_ipv4_gives_its_address_back() {
    let mut lab = Lab::new(SIX);
    lab.open();
    let session = lab.let_in(5, "carol");
    let shown = |lab: &Lab| {
        let (rows, _) = lab.lns.session_rows(lab.now, &Default::default(), 0, 9);
        rows[0].address
    };
    assert_eq!(shown(&lab), Some(Ipv4Addr::new(10, 6, 0, 1).into()));
    lab.ipv6cp(session);
    assert_eq!(shown(&lab), None, "it may come up yet, and is not");
    assert_eq!(lab.addresses(), 2);
    let protocol_reject = [0xff, 3, 0xc0, 0x21, 8, 1, 0, 6, 0x80, 0x21];
    lab.frame(session, &protocol_reject);
    assert_eq!((lab.addresses(), shown(&lab)), (1, None));
    // LCP begins anew, and with it IPv4.
    renegotiate(&mut lab, session, "carol", "p");
    assert_eq!(lab.addresses(), 2);
    let address = lab.address(session);
    assert_eq!(shown(&lab), Some(address.into()));
    lab.frame(session, &protocol_reject);
    assert_eq!((lab.addresses(), lab.last_set().prefixes.len()), (1, 0));
    lab.hang_up(session);
    lab.ended(session);
    assert_eq!(lab.addresses(), 0);

    // A fixed one as well.
    let session = lab.let_in(6, "erna");
    lab.ipv6cp(session);
    lab.frame(session, &protocol_reject);
    assert_eq!(lab.addresses(), 4);
    renegotiate(&mut lab, session, "erna", "p");
    assert_eq!(lab.addresses(), 5);
}

#[test]
fn a_pool_without_ipv4_serves_ipv6_alone() {
    let mut lab = Lab::new(SIX);
    lab.open();
    let session = lab.let_in(5, "dora");
    lab.ipv6cp(session);
    assert!(lab.frames.iter().all(|(_, frame)| frame[2..4] != [0x80, 0x21]), "IPCP is not spoken");
    assert_eq!(lab.last_set().prefixes, nets(&["2001:db8:a::/64"]));
    lab.take_advertisement();
    let answer = lab.dhcp(session, Kind::Solicit, None);
    assert_eq!(answer.status.map(|status| status.code), Some(StatusCode::NoPrefixAvail));
    assert_eq!(lab.count(LnsCounter::DelegationExhausted), 1);
    // The only /64 is gone: without IPv4 there is nothing left for the next one.
    let second = lab.call(6).unwrap();
    lab.negotiate(second, "dora", "p");
    lab.take_frame([0xc0, 0x23], 3);
    assert_eq!(lab.count(LnsCounter::PoolExhausted), 1);
    assert_eq!(lab.addresses(), 1);
}

#[test]
fn without_a_free_prefix_a_session_has_ipv4_alone() {
    let mut lab = Lab::new(SIX);
    lab.open();
    for lac_session in [5, 6] {
        let session = lab.let_in(lac_session, "carol");
        lab.ipv6cp(session);
        lab.address(session);
        lab.take_advertisement();
        assert!(delegated(&lab.dhcp(session, Kind::Solicit, None)).is_some());
    }
    let session = lab.let_in(7, "carol");
    assert!(lab.frames.iter().all(|(_, frame)| frame[2..4] != [0x80, 0x57]), "IPv6CP not asked");
    lab.address(session);
    assert_eq!(lab.last_set().prefixes, nets(&["10.6.0.3/32"]));
    assert_eq!(lab.count(LnsCounter::PrefixesExhausted), 1);
    assert_eq!(lab.addresses(), 7);
}

#[test]
fn what_is_fixed_is_one_sessions_and_routes_follow_their_family() {
    let mut lab = Lab::new(SIX);
    lab.open();
    let session = lab.let_in(5, "erna");
    lab.address(session);
    assert_eq!(lab.last_set().prefixes, nets(&["10.0.0.5/32", "192.0.2.128/25"]));
    lab.ipv6cp(session);
    lab.take_advertisement();
    let offer = lab.dhcp(session, Kind::Solicit, None);
    let reply = lab.dhcp(session, Kind::Request, Some(&offer));
    assert_eq!(delegated(&reply), Some("2001:db8:ee::/48".parse().unwrap()));
    let all = [
        "10.0.0.5/32",
        "2001:db8:e::/64",
        "2001:db8:ee::/48",
        "192.0.2.128/25",
        "2001:db8:eee::/48",
    ];
    assert_eq!(lab.last_set().prefixes, nets(&all));
    assert_eq!(lab.addresses(), 5);
    // The newest of the user's sessions waits for what the old one has.
    lab.frames.clear();
    let second = lab.let_in(6, "erna");
    assert!(lab.frames.iter().all(|(_, frame)| frame[2..4] != [0x80, 0x21]));
    lab.ended(session);
    lab.drain();
    lab.address(second);
    assert_eq!(lab.last_set().key, lab.key(second));
    assert_eq!(lab.addresses(), 5);
}

#[test]
fn a_binding_that_is_not_renewed_ends_and_advertisements_go_on() {
    let mut lab = Lab::new(&format!("{SIX}ipv6_lifetime_seconds = 3600\n"));
    lab.open();
    let session = lab.let_in(5, "carol");
    lab.ipv6cp(session);
    lab.take_advertisement();
    let offer = lab.dhcp(session, Kind::Solicit, None);
    lab.dhcp(session, Kind::Request, Some(&offer));
    assert_eq!(lab.last_set().prefixes.len(), 2);
    // Only its first acknowledgements keep the tunnel up: HELLOs are not answered here.
    lab.wait(Duration::from_secs(40));
    assert_eq!(lab.take_advertisement().0, ALL_NODES);
    assert_eq!(lab.take_advertisement().0, ALL_NODES);
    let index = lab.lns.calls.iter().next().unwrap().0;
    lab.now = lab.now + Duration::from_secs(3600);
    lab.lns.handle_router_timeout(lab.now, index);
    lab.lns.drive_call(lab.now, index);
    lab.drain();
    assert_eq!(lab.last_set().prefixes, nets(&["2001:db8:6::/64"]));
    assert_eq!(lab.addresses(), 3, "and stays this session's for the next request");
}

#[test]
fn a_small_mru_or_the_configuration_leaves_ipv6_out() {
    let mut lab = Lab::new(&format!("{SIX}ipv6 = false\n"));
    lab.open();
    let session = lab.let_in(5, "carol");
    assert!(lab.frames.iter().all(|(_, frame)| frame[2..4] != [0x80, 0x57]));
    lab.address(session);
    assert_eq!(lab.addresses(), 1);
    let session = lab.let_in(6, "erna");
    lab.address(session);
    assert_eq!(lab.addresses(), 4, "address, both routes");
    lab.hang_up(session);
    lab.ended(session);
    assert_eq!(lab.addresses(), 1);
}

#[test]
fn the_servers_identifier_is_its_own_and_lasts() {
    let id = |more: &str| lns_id(&config(more));
    fn lns_id(config: &Config) -> Box<[u8]> {
        super::super::ipv6::router_config(config).server_id.clone()
    }
    assert_eq!(id(""), id(SIX));
    assert_eq!(
        (id("").len(), &id("")[..2], id("")[8] >> 4, id("")[10] >> 6),
        (18, &[0, 4][..], 3, 2)
    );
    let mut other = Config::clone(&config(""));
    other.lns.listen = vec!["192.0.2.9".parse().unwrap()];
    assert_ne!(lns_id(&other), id(""));
}

//! The server, asked message by message.

use proptest::prelude::*;

use super::super::message::{ASSOCIATIONS_MAX, encode_domain};
use super::*;

const OURS: &[u8] = b"\0\x04server";
const CLIENT: &[u8] = b"\0\x03client";

fn config() -> Config {
    Config {
        server_id: OURS.into(),
        dns: vec!["2001:db8::53".parse().unwrap()],
        domains: encode_domain("example.net"),
        preferred_seconds: 2700,
        valid_seconds: 5400,
        ..Config::default()
    }
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn prefix() -> Ipv6Net {
    "2001:db8:100::/56".parse().unwrap()
}

/// A server on a link, and how often it asked for a prefix.
struct Lab {
    server: Server,
    config: Config,
    link: Link,
    free: Option<Ipv6Net>,
    now: Time,
}

impl Lab {
    fn new() -> Self {
        let link = Link { prefix: Some("2001:db8:0:7::/64".parse().unwrap()), address: None };
        let server = Server::default();
        Self { server, config: config(), link, free: Some(prefix()), now: at(1) }
    }

    fn ask(&mut self, message: &Message) -> Result<Message, Discard> {
        let free = self.free;
        let asked = (message, false);
        self.server.handle(self.now, &self.config, &self.link, asked, &mut || free)
    }

    /// The status and leases of the only association of the answer.
    fn answer(&mut self, message: &Message) -> (Option<StatusCode>, Vec<(String, u32)>) {
        let answer = self.ask(message).unwrap();
        assert_eq!((answer.kind, answer.transaction), (Kind::Reply, message.transaction));
        let association = answer.associations.into_iter().next().unwrap();
        let lease = |lease: &Lease| (lease.prefix.to_string(), lease.valid_seconds);
        (association.status.map(|s| s.code), association.leases.iter().map(lease).collect())
    }
}

/// A message of our client; `server`: with our identifier.
fn message(kind: Kind, ids: &[u32], server: bool) -> Message {
    let association = |id: &u32| Association::new(AssociationKind::Prefixes, *id);
    Message {
        client_id: Some(CLIENT.into()),
        server_id: server.then(|| OURS.into()),
        associations: ids.iter().map(association).collect(),
        ..Message::new(kind, 77)
    }
}

fn naming(mut message: Message, prefixes: &[&str]) -> Message {
    let lease = |text: &&str| Lease {
        prefix: text.parse().unwrap(),
        preferred_seconds: 1,
        valid_seconds: 1,
    };
    message.associations[0].leases = prefixes.iter().map(lease).collect();
    message
}

fn ours(valid: u32) -> (Option<StatusCode>, Vec<(String, u32)>) {
    (None, vec![(prefix().to_string(), valid)])
}

fn only(status: StatusCode) -> (Option<StatusCode>, Vec<(String, u32)>) {
    (Some(status), Vec::new())
}

#[test]
fn four_messages_bind_and_a_renewal_prolongs() {
    let mut lab = Lab::new();
    let offer = lab.ask(&message(Kind::Solicit, &[5], false)).unwrap();
    assert_eq!((offer.kind, offer.preference), (Kind::Advertise, Some(255)));
    assert_eq!(offer.associations[0].leases[0].prefix, prefix());
    assert_eq!(offer.server_id.as_deref(), Some(OURS));
    assert_eq!(offer.client_id.as_deref(), Some(CLIENT));
    assert!(!lab.server.is_bound(), "an offer binds nothing");
    let reply = lab.ask(&message(Kind::Request, &[5], true)).unwrap();
    assert_eq!(reply.dns, config().dns);
    assert!(reply.domains.is_empty(), "not asked for");
    let association = &reply.associations[0];
    assert_eq!((association.renew_seconds, association.rebind_seconds), (1350, 2160));
    assert!(lab.server.is_bound());
    assert_eq!(lab.server.poll_timeout(), Some(at(5401)));
    lab.now = at(1000);
    assert_eq!(lab.answer(&message(Kind::Renew, &[5], true)), ours(5400));
    assert_eq!(lab.server.poll_timeout(), Some(at(6400)));
    lab.server.handle_timeout(at(6399));
    assert!(lab.server.is_bound());
    lab.server.handle_timeout(at(6400));
    assert!(!lab.server.is_bound());
}

#[test]
fn two_messages_bind_where_the_client_wants_so() {
    let mut lab = Lab::new();
    let mut solicit = message(Kind::Solicit, &[5], false);
    solicit.rapid_commit = true;
    solicit.requested = vec![REQUEST_DOMAIN_LIST];
    let reply = lab.ask(&solicit).unwrap();
    assert_eq!((reply.kind, reply.rapid_commit, reply.status), (Kind::Reply, true, None));
    assert_eq!(reply.domains, encode_domain("example.net"));
    assert!(lab.server.is_bound());
    // With nothing to give there is nothing to commit.
    let mut lab = Lab { free: None, ..Lab::new() };
    let offer = lab.ask(&solicit).unwrap();
    assert_eq!((offer.kind, offer.rapid_commit), (Kind::Advertise, false));
    assert_eq!(offer.status.unwrap().code, StatusCode::NoPrefixAvail);
    assert!(!lab.server.is_bound());
}

#[test]
fn one_association_is_served_the_bound_one_first() {
    let mut lab = Lab::new();
    lab.ask(&message(Kind::Request, &[5, 6], true)).unwrap();
    let reply = lab.ask(&message(Kind::Renew, &[4, 5], true)).unwrap();
    let status = |index: usize| reply.associations[index].status.as_ref().map(|s| s.code);
    assert_eq!((status(0), status(1)), (Some(StatusCode::NoBinding), None));
    let reply = lab.ask(&message(Kind::Request, &[4, 5], true)).unwrap();
    let status = |index: usize| reply.associations[index].status.as_ref().map(|s| s.code);
    assert_eq!((status(0), status(1)), (Some(StatusCode::NoPrefixAvail), None));
    let many: Vec<u32> = (0..ASSOCIATIONS_MAX as u32).collect();
    let reply = lab.ask(&message(Kind::Request, &many, true)).unwrap();
    let served = reply.associations.iter().filter(|one| !one.leases.is_empty()).count();
    assert_eq!((reply.associations.len(), served), (many.len(), 1));
}

#[test]
fn another_identifier_takes_the_binding_over() {
    let mut lab = Lab::new();
    lab.ask(&message(Kind::Request, &[5], true)).unwrap();
    let mut other = message(Kind::Request, &[9], true);
    other.client_id = Some(b"\0\x03other".as_slice().into());
    assert_eq!(lab.answer(&other), ours(5400));
    assert_eq!(lab.answer(&message(Kind::Renew, &[5], true)), only(StatusCode::NoBinding));
}

#[test]
fn what_is_not_bound_is_asked_for_anew_or_set_right() {
    let mut lab = Lab::new();
    assert_eq!(lab.answer(&message(Kind::Renew, &[5], true)), only(StatusCode::NoBinding));
    assert!(!lab.server.is_bound());
    let stale = naming(message(Kind::Rebind, &[5], false), &["2001:db8:200::/56"]);
    let (status, leases) = lab.answer(&stale);
    assert_eq!(status, None);
    assert_eq!(
        leases,
        [("2001:db8:200::/56".to_owned(), 0), (prefix().to_string(), 5400)],
        "the old one ends, ours begins"
    );
    assert!(lab.server.is_bound());
    let mut lab = Lab { free: None, ..Lab::new() };
    let (status, leases) = lab.answer(&stale);
    assert_eq!(status, Some(StatusCode::NoPrefixAvail));
    assert_eq!(leases, [("2001:db8:200::/56".to_owned(), 0)]);
}

#[test]
fn a_release_ends_the_binding_once() {
    let mut lab = Lab::new();
    lab.ask(&message(Kind::Request, &[5], true)).unwrap();
    let reply = lab.ask(&message(Kind::Release, &[5], true)).unwrap();
    assert_eq!(reply.status.unwrap().code, StatusCode::Success);
    assert!(reply.associations.is_empty());
    assert!(!lab.server.is_bound());
    let reply = lab.ask(&message(Kind::Release, &[5], true)).unwrap();
    let status = reply.associations[0].status.as_ref().unwrap().code;
    assert_eq!(status, StatusCode::NoBinding);
    assert_eq!(reply.status.unwrap().code, StatusCode::Success);
}

#[test]
fn addresses_are_refused_unless_configured() {
    let mut lab = Lab::new();
    let mut request = message(Kind::Request, &[], true);
    request.associations = vec![Association::new(AssociationKind::Addresses, 3)];
    assert_eq!(lab.answer(&request), only(StatusCode::NoAddrsAvail));
    request.kind = Kind::Renew;
    assert_eq!(lab.answer(&request), only(StatusCode::NoBinding));
    lab.link.address = Some("2001:db8:0:7::9".parse().unwrap());
    request.kind = Kind::Request;
    let expected = (None, vec![("2001:db8:0:7::9/128".to_owned(), 5400)]);
    assert_eq!(lab.answer(&request), expected);
    request.kind = Kind::Renew;
    assert_eq!(lab.answer(&request), expected);
    assert!(!lab.server.is_bound(), "addresses need no memory");
}

#[test]
fn a_confirm_is_answered_for_addresses_alone() {
    let mut lab = Lab::new();
    let confirm = |address: &str| {
        let mut confirm = message(Kind::Confirm, &[3], false);
        confirm.associations[0].kind = AssociationKind::Addresses;
        naming(confirm, &[address])
    };
    let status = |lab: &mut Lab, address| lab.ask(&confirm(address)).unwrap().status.unwrap().code;
    assert_eq!(status(&mut lab, "2001:db8:0:7::1/128"), StatusCode::Success);
    assert_eq!(status(&mut lab, "2001:db8:0:8::1/128"), StatusCode::NotOnLink);
    assert_eq!(lab.ask(&message(Kind::Confirm, &[3], false)), Err(Discard::Invalid));
}

#[test]
fn configuration_alone_is_told_to_everybody() {
    let mut lab = Lab::new();
    let mut inform = Message::new(Kind::InformationRequest, 5);
    let reply = lab.ask(&inform).unwrap();
    assert_eq!((reply.kind, reply.client_id.clone()), (Kind::Reply, None));
    assert_eq!(reply.dns, config().dns);
    inform.server_id = Some(OURS.into());
    assert!(lab.ask(&inform).is_ok());
    inform.server_id = Some(CLIENT.into());
    assert_eq!(lab.ask(&inform), Err(Discard::Invalid));
    inform.server_id = None;
    inform.associations = vec![Association::new(AssociationKind::Prefixes, 1)];
    assert_eq!(lab.ask(&inform), Err(Discard::Invalid));
}

#[test]
fn identifiers_that_must_or_must_not_be_there() {
    let mut lab = Lab::new();
    for (kind, server) in [
        (Kind::Solicit, true),
        (Kind::Rebind, true),
        (Kind::Confirm, true),
        (Kind::Request, false),
        (Kind::Renew, false),
        (Kind::Release, false),
        (Kind::Decline, false),
        (Kind::Advertise, false),
        (Kind::Reply, true),
        (Kind::Reconfigure, false),
    ] {
        assert_eq!(lab.ask(&message(kind, &[1], server)), Err(Discard::Invalid), "{kind:?}");
        let nameless = Message { client_id: None, ..message(kind, &[1], !server) };
        assert_eq!(lab.ask(&nameless), Err(Discard::Invalid), "{kind:?}");
    }
    let mut of_another = message(Kind::Request, &[1], true);
    of_another.server_id = Some(CLIENT.into());
    assert_eq!(lab.ask(&of_another), Err(Discard::Invalid));
    assert!(!lab.server.is_bound());
}

#[test]
fn who_leaves_the_group_out_is_told() {
    let mut lab = Lab::new();
    let (config, link, now) = (config(), lab.link, lab.now);
    let mut ask = |message: &Message| {
        lab.server.handle(now, &config, &link, (message, true), &mut || Some(prefix()))
    };
    let reply = ask(&message(Kind::Request, &[1], true)).unwrap();
    assert_eq!(reply.status.unwrap().code, StatusCode::UseMulticast);
    assert!(reply.associations.is_empty());
    assert_eq!(ask(&message(Kind::Solicit, &[1], false)), Err(Discard::Invalid));
    assert!(!lab.server.is_bound());
}

proptest! {
    #[test]
    fn no_message_ends_the_process_or_binds_what_is_not_there(
        octets in proptest::collection::vec(any::<u8>(), 0..80),
        kind in 1_u8..12,
        free in any::<bool>(),
    ) {
        let mut lab = Lab { free: free.then(prefix), ..Lab::new() };
        for server in [false, true] {
            let mut datagram = message(Kind::Solicit, &[1, 2], server).encode();
            datagram[0] = kind;
            datagram.extend(&octets);
            if let Ok(message) = Message::decode(&datagram) {
                if let Ok(answer) = lab.ask(&message) {
                    prop_assert!(Message::decode(&answer.encode()).is_ok());
                    prop_assert!(answer.encode().len() < 2000);
                }
                prop_assert!(free || !lab.server.is_bound());
            }
        }
    }
}

//! The client against answers written out, and its times against RFC 3315 section 14.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::message::Status;
use super::*;

const DUID: &[u8] = b"\0\x03client";
const SERVER: &[u8] = b"\0\x04server";

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

struct Lab {
    client: Client,
    rng: StdRng,
    now: Time,
}

impl Lab {
    fn soliciting() -> Self {
        let mut rng = StdRng::seed_from_u64(3);
        let mut client = Client::new(DUID.into(), 1);
        client.solicit(at(0), &mut rng);
        Self { client, rng, now: at(0) }
    }

    /// Bound at once, by two messages; T1 1350 s, T2 2160 s, valid 5400 s.
    fn bound() -> Self {
        let mut lab = Self::soliciting();
        let mut reply = lab.reply_to(Kind::Reply, 5400);
        reply.rapid_commit = true;
        lab.handle(&reply).unwrap();
        assert_eq!(lab.client.state(), State::Bound);
        lab
    }

    fn sent(&mut self) -> Message {
        Message::decode(&self.client.poll_transmit().expect("a message")).unwrap()
    }

    /// An answer to the message just sent, with the prefix.
    fn reply_to(&mut self, kind: Kind, valid_seconds: u32) -> Message {
        let asked = self.sent();
        let mut association = Association::new(AssociationKind::Prefixes, 1);
        (association.renew_seconds, association.rebind_seconds) = (1350, 2160);
        association.leases.push(Lease {
            prefix: "2001:db8:100::/56".parse().unwrap(),
            preferred_seconds: valid_seconds / 2,
            valid_seconds,
        });
        Message {
            client_id: Some(DUID.into()),
            server_id: Some(SERVER.into()),
            associations: vec![association],
            dns: vec!["2001:db8::53".parse().unwrap()],
            ..Message::new(kind, asked.transaction)
        }
    }

    fn handle(&mut self, message: &Message) -> Result<(), Discard> {
        self.client.handle(self.now, message, &mut self.rng)
    }

    /// Lets time pass to the next thing to do.
    fn step(&mut self) -> Time {
        self.now = self.client.poll_timeout().expect("something to wait for");
        self.client.handle_timeout(self.now, &mut self.rng);
        self.now
    }
}

#[test]
fn a_solicitation_is_repeated_twice_as_late_each_time_up_to_two_minutes() {
    let mut lab = Lab::soliciting();
    let first = lab.sent();
    assert_eq!((first.kind, first.elapsed, first.rapid_commit), (Kind::Solicit, Some(0), true));
    assert_eq!(first.requested, [23]);
    let mut waits = Vec::new();
    let mut before = lab.now;
    for _ in 0..12 {
        let now = lab.step();
        waits.push(now.since(before).as_secs_f64());
        before = now;
        let again = lab.sent();
        assert_eq!(again.transaction, first.transaction);
        assert!(again.elapsed > first.elapsed);
    }
    assert!((1.0..=1.1).contains(&waits[0]), "{waits:?}");
    for pair in waits[..7].windows(2) {
        assert!((1.9..=2.1).contains(&(pair[1] / pair[0])), "{waits:?}");
    }
    assert!(waits[8..].iter().all(|wait| (108.0..=132.0).contains(wait)), "{waits:?}");
}

#[test]
fn the_best_of_the_offers_of_the_first_second_is_taken() {
    let mut lab = Lab::soliciting();
    let mut offer = lab.reply_to(Kind::Advertise, 5400);
    offer.preference = Some(3);
    lab.handle(&offer).unwrap();
    let mut better = offer.clone();
    better.server_id = Some(b"better".as_slice().into());
    better.preference = Some(4);
    lab.handle(&better).unwrap();
    lab.handle(&offer).unwrap();
    assert_eq!(lab.client.state(), State::Soliciting);
    lab.step();
    let request = lab.sent();
    assert_eq!((lab.client.state(), request.kind), (State::Requesting, Kind::Request));
    assert_eq!(request.server_id.as_deref(), Some(&b"better"[..]));
    let wanted = request.associations[0].leases[0].prefix;
    assert_eq!(wanted, "2001:db8:100::/56".parse().unwrap());
}

#[test]
fn the_highest_preference_is_taken_at_once_and_no_prefix_is_no_offer() {
    let mut lab = Lab::soliciting();
    let mut offer = lab.reply_to(Kind::Advertise, 5400);
    let mut nothing = offer.clone();
    nothing.associations[0].leases.clear();
    nothing.preference = Some(255);
    assert_eq!(lab.handle(&nothing), Err(Discard::Invalid));
    offer.preference = Some(255);
    lab.handle(&offer).unwrap();
    assert_eq!(lab.client.state(), State::Requesting);
}

#[test]
fn a_request_is_given_up_after_ten_and_begun_anew() {
    let mut lab = Lab::soliciting();
    let mut offer = lab.reply_to(Kind::Advertise, 5400);
    offer.preference = Some(255);
    lab.handle(&offer).unwrap();
    for _ in 0..10 {
        assert_eq!(lab.sent().kind, Kind::Request);
        lab.step();
    }
    assert_eq!((lab.client.state(), lab.sent().kind), (State::Soliciting, Kind::Solicit));
}

#[test]
fn renewed_at_t1_rebound_at_t2_lost_at_the_end() {
    let mut lab = Lab::bound();
    assert_eq!(lab.client.prefix(), Some("2001:db8:100::/56".parse().unwrap()));
    assert_eq!(lab.client.dns().len(), 1);
    assert_eq!(lab.step(), at(1350));
    let renew = lab.sent();
    assert_eq!((renew.kind, renew.server_id.as_deref()), (Kind::Renew, Some(SERVER)));
    while lab.client.state() == State::Renewing {
        assert!(lab.step() <= at(2160));
    }
    assert_eq!(lab.now, at(2160));
    let rebind = lab.sent();
    assert_eq!((rebind.kind, rebind.server_id), (Kind::Rebind, None));
    while lab.client.prefix().is_some() {
        assert!(lab.step() <= at(5400));
    }
    assert_eq!((lab.now, lab.client.state()), (at(5400), State::Soliciting));
}

#[test]
fn a_renewal_prolongs_and_any_server_may_rebind() {
    let mut lab = Lab::bound();
    lab.step();
    let mut reply = lab.reply_to(Kind::Reply, 5400);
    reply.server_id = Some(b"stranger".as_slice().into());
    assert_eq!(lab.handle(&reply), Err(Discard::Unsolicited));
    reply.server_id = Some(SERVER.into());
    lab.handle(&reply).unwrap();
    assert_eq!((lab.client.state(), lab.step()), (State::Bound, at(2700)));
    while lab.client.state() == State::Renewing {
        lab.step();
    }
    let mut reply = lab.reply_to(Kind::Reply, 5400);
    reply.server_id = Some(b"stranger".as_slice().into());
    lab.handle(&reply).unwrap();
    assert_eq!(lab.client.state(), State::Bound);
}

#[test]
fn a_server_that_has_forgotten_is_asked_anew_and_one_that_takes_away_is_left() {
    let mut lab = Lab::bound();
    lab.step();
    let mut reply = lab.reply_to(Kind::Reply, 0);
    reply.associations[0].leases.clear();
    reply.associations[0].status = Some(Status::new(StatusCode::NoBinding, ""));
    lab.handle(&reply).unwrap();
    assert_eq!((lab.client.state(), lab.sent().kind), (State::Requesting, Kind::Request));
    assert!(lab.client.prefix().is_some(), "used until it is over");
    let mut lab = Lab::bound();
    lab.step();
    let taken = lab.reply_to(Kind::Reply, 0);
    lab.handle(&taken).unwrap();
    assert_eq!((lab.client.state(), lab.client.prefix()), (State::Soliciting, None));
}

#[test]
fn a_release_is_repeated_five_times_or_acknowledged() {
    let mut lab = Lab::bound();
    let now = lab.now;
    lab.client.release(now, &mut lab.rng);
    assert_eq!(lab.client.prefix(), None);
    for _ in 0..5 {
        let release = lab.sent();
        assert_eq!((release.kind, release.associations[0].leases.len()), (Kind::Release, 1));
        lab.step();
    }
    assert_eq!((lab.client.state(), lab.client.poll_timeout()), (State::Idle, None));
    let mut lab = Lab::bound();
    let now = lab.now;
    lab.client.release(now, &mut lab.rng);
    let reply = lab.reply_to(Kind::Reply, 0);
    lab.handle(&reply).unwrap();
    assert_eq!(lab.client.state(), State::Idle);
}

#[test]
fn answers_to_others_and_to_nothing_have_no_effect() {
    let mut lab = Lab::soliciting();
    let good = lab.reply_to(Kind::Advertise, 5400);
    let other = Message { transaction: good.transaction ^ 1, ..good.clone() };
    assert_eq!(lab.handle(&other), Err(Discard::Unsolicited));
    let other = Message { client_id: Some(SERVER.into()), ..good.clone() };
    assert_eq!(lab.handle(&other), Err(Discard::Unsolicited));
    let other = Message { client_id: None, ..good.clone() };
    assert_eq!(lab.handle(&other), Err(Discard::Unsolicited));
    let other = Message { server_id: None, ..good.clone() };
    assert_eq!(lab.handle(&other), Err(Discard::Invalid));
    let other = Message { kind: Kind::Reply, ..good.clone() };
    assert_eq!(lab.handle(&other), Err(Discard::Unsolicited), "no rapid commit in it");
    let mut backwards = good.clone();
    backwards.associations[0].renew_seconds = 3000;
    assert_eq!(lab.handle(&backwards), Err(Discard::Invalid), "T1 behind T2");
    let mut lab = Lab::bound();
    assert_eq!(lab.handle(&good), Err(Discard::Unsolicited));
}

#[test]
fn a_server_without_a_prefix_is_not_asked_at_once_again() {
    let mut lab = Lab::soliciting();
    let mut reply = lab.reply_to(Kind::Reply, 0);
    reply.rapid_commit = true;
    for code in [StatusCode::Success, StatusCode::NoPrefixAvail, StatusCode::NoBinding] {
        reply.associations[0].status = Some(Status::new(code, ""));
        assert_eq!(lab.handle(&reply), Err(Discard::Invalid), "{code:?}");
        assert_eq!(lab.client.state(), State::Soliciting);
        assert!(lab.client.poll_transmit().is_none(), "{code:?}");
    }
    assert!(lab.step().since(at(0)) >= Duration::from_secs(1));
}

#[test]
fn a_prefix_without_times_is_not_renewed_at_once() {
    for (preferred_seconds, valid_seconds, renew) in [(0, 1000, 500), (1, 1000, 1), (0, 1, 1)] {
        let mut lab = Lab::soliciting();
        let mut reply = lab.reply_to(Kind::Reply, valid_seconds);
        reply.rapid_commit = true;
        let own = &mut reply.associations[0];
        (own.renew_seconds, own.rebind_seconds) = (0, 0);
        own.leases[0].preferred_seconds = preferred_seconds;
        lab.handle(&reply).unwrap();
        assert_eq!(lab.client.state(), State::Bound);
        assert_eq!(lab.client.poll_timeout(), Some(at(renew)), "{preferred_seconds}");
    }
}

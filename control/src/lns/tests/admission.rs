//! How many sessions a user has, who gets a fixed address, and who comes in by which proof.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::ppp::mschap;

const FIXED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

impl Lab {
    fn opened(more: &str) -> Self {
        let mut lab = Self::new(more);
        lab.open();
        lab
    }

    /// The data plane has let go of a session.
    fn let_go(&mut self, session: SessionId) {
        let key = self.key(session);
        assert!(self.commands.contains(&Command::SessionRemove(key)), "{:?}", self.commands);
        self.lns.handle_session_ended(self.now, key, SessionCounters::default());
        self.drain();
        self.lns.audit().unwrap();
    }

    /// Lets seconds pass in which the LAC acknowledges what it gets.
    fn live(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.control(SessionId(0), &Message::Hello);
            self.wait(Duration::from_secs(1));
        }
    }

    /// Places a call and authenticates; what becomes of it is left in `frames`.
    fn dial(&mut self, lac_session: u16, user: &str, password: &str) -> SessionId {
        let session = self.call(lac_session).expect("accepted");
        self.frames.clear_but(lac_session);
        self.negotiate(session, user, password);
        self.lns.audit().unwrap();
        session
    }

    /// Frames of one protocol and code for one of the LAC's sessions.
    fn frames_for(&self, lac_session: u16, protocol: [u8; 2], code: u8) -> usize {
        let wanted = |frame: &[u8]| frame[2..4] == protocol && frame[4] == code;
        let frames = self.frames.iter();
        frames.filter(|(id, frame)| id.0 == lac_session && wanted(frame)).count()
    }

    fn cdn_for(&mut self, lac_session: u16) -> Option<Cdn> {
        let at = self.messages.iter().position(|(id, _)| id.0 == lac_session)?;
        match self.messages.remove(at).1 {
            Message::Cdn(cdn) => Some(*cdn),
            other => panic!("{other:?}"),
        }
    }
}

trait ClearBut {
    fn clear_but(&mut self, lac_session: u16);
}

impl ClearBut for Vec<(SessionId, Vec<u8>)> {
    fn clear_but(&mut self, lac_session: u16) {
        self.retain(|(id, _)| id.0 == lac_session);
    }
}

const PAP: [u8; 2] = [0xc0, 0x23];
const CHAP: [u8; 2] = [0xc2, 0x23];
const LCP: [u8; 2] = [0xc0, 0x21];

#[test]
fn the_newest_session_takes_a_fixed_address_over() {
    let mut lab = Lab::opened("");
    let (old, address) = lab.up(5, "bob", "builder");
    assert_eq!(address, FIXED);
    let new = lab.dial(6, "bob", "builder");
    // The ghost is told in PPP and in L2TP, without waiting for it.
    assert_eq!(lab.frames_for(5, LCP, 5), 1);
    let cdn = lab.cdn_for(5).expect("a CDN");
    assert_eq!(cdn.result.as_call(), CallResult::Administrative);
    assert!(cdn.result.message.contains("newer session"), "{}", cdn.result.message);
    assert_eq!(lab.count(LnsCounter::CallsReplaced), 1);
    // Its last packets are not counted yet, and the newcomer hears nothing.
    assert_eq!((lab.frames_for(6, PAP, 2), lab.frames_for(6, PAP, 3)), (0, 0));
    assert_eq!(lab.lns.audit().unwrap().ending, 1);
    lab.let_go(old);
    assert_eq!(lab.frames_for(6, PAP, 2), 1);
    lab.frames.clear_but(6);
    assert_eq!(lab.address(new), FIXED);
    assert_eq!(lab.last_set().key, lab.key(new));
    lab.lns.audit().unwrap();
}

#[test]
fn of_those_who_wait_the_newest_wins_too() {
    let mut lab = Lab::opened("");
    let (old, _) = lab.up(5, "bob", "builder");
    let second = lab.dial(6, "bob", "builder");
    let third = lab.dial(7, "bob", "builder");
    assert!(lab.cdn_for(6).is_some());
    lab.let_go(old);
    assert_eq!((lab.frames_for(6, PAP, 2), lab.frames_for(7, PAP, 2)), (0, 1));
    lab.frames.clear_but(7);
    assert_eq!(lab.address(third), FIXED);
    lab.let_go(second);
    assert_eq!(lab.lns.calls.len(), 1);
}

#[test]
fn who_waits_may_go_away() {
    let mut lab = Lab::opened("");
    let (old, _) = lab.up(5, "bob", "builder");
    let second = lab.dial(6, "bob", "builder");
    lab.lns.close_call(lab.now, lab.lns_tunnel, second);
    lab.live(10);
    assert_eq!(lab.lns.calls.len(), 0);
    lab.let_go(old);
    lab.let_go(second);
    assert_eq!((lab.count(LnsCounter::AuthenticationAccepted), lab.lns.addresses.in_use()), (1, 0));
    let (_, address) = lab.up(7, "bob", "builder");
    assert_eq!(address, FIXED);
}

#[test]
fn waiting_ends_with_the_time_for_authentication() {
    let mut lab = Lab::opened("");
    lab.up(5, "bob", "builder");
    lab.dial(6, "bob", "builder");
    lab.messages.clear();
    lab.live(29);
    assert!(lab.cdn_for(6).is_none());
    lab.live(8);
    assert!(lab.cdn_for(6).is_some());
    lab.lns.audit().unwrap();
}

#[test]
fn without_a_data_plane_nothing_is_waited_for() {
    let mut lab = Lab::opened("");
    lab.up(5, "bob", "builder");
    lab.lns.handle_dataplane_away(lab.now);
    let second = lab.dial(6, "bob", "builder");
    assert_eq!(lab.frames_for(6, PAP, 2), 1);
    lab.frames.clear_but(6);
    assert_eq!(lab.address(second), FIXED);
    lab.lns.audit().unwrap();
}

#[test]
fn a_resynchronisation_lets_addresses_go() {
    let mut lab = Lab::opened("");
    lab.up(5, "bob", "builder");
    lab.dial(6, "bob", "builder");
    lab.lns.handle_dataplane_away(lab.now);
    lab.lns.handle_dataplane_ready();
    assert_eq!(lab.frames_for(6, PAP, 2), 0);
    lab.lns.handle_synchronised(lab.now);
    lab.drain();
    assert_eq!(lab.frames_for(6, PAP, 2), 1);
    lab.lns.audit().unwrap();
}

#[test]
fn a_user_has_as_many_sessions_as_configured() {
    let more = "[[user]]\nname = \"two\"\npassword = \"t\"\nsessions_max = 2\n";
    let mut lab = Lab::opened(more);
    let (first, _) = lab.up(5, "two", "t");
    let (_, second) = lab.up(6, "two", "t");
    assert_eq!(lab.count(LnsCounter::CallsReplaced), 0);
    // The pool has more: nobody waits.
    let session = lab.dial(7, "two", "t");
    assert_eq!((lab.frames_for(7, PAP, 2), lab.lns.calls.len()), (1, 2));
    lab.frames.clear_but(7);
    assert_ne!(lab.address(session), second);
    assert!(lab.cdn_for(5).is_some(), "the oldest");
    lab.let_go(first);
    assert_eq!(lab.count(LnsCounter::CallsReplaced), 1);
}

#[test]
fn a_user_without_a_limit_has_any_number() {
    let mut lab = Lab::opened("");
    for session in 5..8 {
        lab.up(session, "alice", "wonder");
    }
    assert_eq!((lab.lns.calls.len(), lab.lns.sessions.entries().count()), (3, 0));
}

/// A pool of one address: what the older session lets go is what the newer one gets.
#[test]
fn an_exhausted_pool_is_waited_for_by_who_made_room() {
    let more = "[[pool]]\nname = \"q\"\nprefixes = [\"10.9.0.0/30\"]\n\
        [[user]]\nname = \"carol\"\npassword = \"c\"\npool = \"q\"\nsessions_max = 1\n\
        [[user]]\nname = \"dave\"\npassword = \"d\"\npool = \"q\"\n";
    let mut lab = Lab::opened(more);
    lab.up(4, "dave", "d");
    let (old, address) = lab.up(5, "carol", "c");
    let new = lab.dial(6, "carol", "c");
    assert_eq!((lab.frames_for(6, PAP, 2), lab.frames_for(6, PAP, 3)), (0, 0));
    lab.let_go(old);
    lab.frames.clear_but(6);
    assert_eq!(lab.address(new), address);
}

/// Of several who wait each gets what one of those that made room lets go, and what lets nothing go
/// sends nobody away.
#[test]
fn all_who_made_room_in_an_exhausted_pool_get_in() {
    let more = "[[pool]]\nname = \"q\"\nprefixes = [\"10.9.0.0/30\"]\n\
        [[user]]\nname = \"carol\"\npassword = \"c\"\npool = \"q\"\nsessions_max = 2\n";
    let mut lab = Lab::opened(more);
    let (first, one) = lab.up(5, "carol", "c");
    let (second, two) = lab.up(6, "carol", "c");
    let third = lab.dial(7, "carol", "c");
    let fourth = lab.dial(8, "carol", "c");
    assert_eq!(lab.count(LnsCounter::CallsReplaced), 2);
    lab.dial(9, "carol", "wrong");
    lab.live(5);
    assert_eq!((lab.frames_for(7, PAP, 3), lab.frames_for(8, PAP, 3)), (0, 0));
    lab.let_go(first);
    let kept = lab.frames.clone();
    lab.frames.clear_but(7);
    assert_eq!(lab.address(third), one);
    lab.frames = kept;
    lab.let_go(second);
    lab.frames.clear_but(8);
    assert_eq!(lab.address(fourth), two);
    lab.lns.audit().unwrap();
}

#[test]
fn who_negotiates_anew_does_not_replace_itself() {
    let mut lab = Lab::opened("");
    let (session, address) = lab.up(5, "bob", "builder");
    renegotiate(&mut lab, session, "bob", "builder");
    assert_eq!((lab.address(session), address), (FIXED, FIXED));
    // Neither when another has been here meanwhile.
    renegotiate(&mut lab, session, "alice", "wonder");
    assert_ne!(lab.address(session), FIXED);
    lab.lns.audit().unwrap();
    renegotiate(&mut lab, session, "bob", "builder");
    assert_eq!(lab.address(session), FIXED);
    assert_eq!(lab.count(LnsCounter::CallsReplaced), 0);
    lab.lns.audit().unwrap();
}

#[test]
fn a_wrong_password_ends_nobody_elses_session() {
    let mut lab = Lab::opened("");
    lab.up(5, "bob", "builder");
    lab.dial(6, "bob", "wrecker");
    assert_eq!(lab.frames_for(6, PAP, 3), 1);
    assert_eq!((lab.cdn_for(5), lab.count(LnsCounter::CallsReplaced)), (None, 0));
    lab.live(10);
    assert_eq!(lab.lns.calls.len(), 1);
    lab.lns.audit().unwrap();
}

/// Runs LCP to the end and returns the challenge.
fn challenged(lab: &mut Lab, session: SessionId) -> Vec<u8> {
    let mut request = lab.take_frame(LCP, 1);
    lab.frame(session, &[0xff, 3, 0xc0, 0x21, 1, 1, 0, 4]);
    request[4] = 2;
    lab.frame(session, &request);
    lab.take_frame(CHAP, 1)
}

/// What a subscriber with MS-CHAPv2 answers, and what the Success has to begin with.
fn answer(challenge: &[u8], name: &str, password: &str) -> (Vec<u8>, String) {
    let peer_challenge = [7; mschap::CHALLENGE_OCTETS];
    let exchange = mschap::Exchange {
        authenticator_challenge: challenge[9..25].try_into().unwrap(),
        peer_challenge: &peer_challenge,
        name: name.as_bytes(),
    };
    let nt_response = exchange.nt_response(password);
    let proof = exchange.authenticator_response(password, &nt_response);
    let value = mschap::Response { peer_challenge, nt_response }.emit();
    let length = (5 + value.len() + name.len()) as u8;
    let head = [0xff, 3, 0xc2, 0x23, 2, challenge[5], 0, length, value.len() as u8];
    ([&head[..], &value, name.as_bytes()].concat(), mschap::success_message(&proof, ""))
}

const MSCHAP: &str = "[ppp]\nauthentication = [\"ms-chap-v2\"]\nrechallenge_seconds = 100\n";

#[test]
fn a_subscriber_of_a_domain_comes_in_by_ms_chap_v2() {
    let mut lab = Lab::opened(MSCHAP);
    let session = lab.call(5).unwrap();
    let challenge = challenged(&mut lab, session);
    let (response, proof) = answer(&challenge, "HOME\\alice", "wonder");
    lab.frame(session, &response);
    let success = lab.take_frame(CHAP, 3);
    assert!(success[8..].starts_with(proof.as_bytes()), "{}", String::from_utf8_lossy(&success));
    lab.address(session);
    let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert_eq!((rows[0].user.as_str(), rows[0].authentication.as_str()), ("alice", "ms-chap-v2"));
}

#[test]
fn who_proves_itself_in_between_stays_the_same() {
    for (name, password, stays) in
        [("alice", "wonder", true), ("alice", "blunder", false), ("bob", "builder", false)]
    {
        let mut lab = Lab::opened(MSCHAP);
        let session = lab.call(5).unwrap();
        let challenge = challenged(&mut lab, session);
        lab.frame(session, &answer(&challenge, "alice", "wonder").0);
        lab.take_frame(CHAP, 3);
        let address = lab.address(session);
        lab.commands.clear();
        while lab.frames_for(5, CHAP, 1) == 0 {
            lab.live(1);
        }
        let challenge = lab.take_frame(CHAP, 1);
        lab.frame(session, &answer(&challenge, name, password).0);
        lab.take_frame(CHAP, if stays { 3 } else { 4 });
        lab.lns.audit().unwrap();
        let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
        assert_eq!(rows[0].user, "alice");
        assert_eq!(rows[0].address, Some(address.into()));
        // Not a packet is lost over it.
        assert_eq!((rows[0].state == "open", lab.commands.is_empty()), (stays, stays), "{name}");
        lab.live(60);
        assert_eq!(lab.lns.calls.len(), usize::from(stays));
    }
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn secrets_are_not_logged_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    // With a second one, what other tests have logged first is not lost to this one.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut lab = Lab::opened("");
        lab.up(5, "bob", "builder");
        lab.dial(6, "eve\u{1b}[2J", "blunderer");
        lab.live(10);
        let mut lab = Lab::opened(MSCHAP);
        let session = lab.call(5).unwrap();
        let challenge = challenged(&mut lab, session);
        lab.frame(session, &answer(&challenge, "alice", "wonder").0);
        lab.address(session);
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("bob") && text.contains("eve\u{fffd}[2J"), "{text}");
    for secret in ["builder", "blunder", "wonder"] {
        assert!(!text.contains(secret), "{text}");
    }
}

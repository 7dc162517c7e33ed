//! Both sides of each protocol in virtual time, over a wire that loses what the test says.

use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::*;
use crate::ppp::authenticator::{Authenticator, Conclusion, Outcome, Verdict};
use crate::ppp::frame::Frame;
use crate::ppp::transmit::Transmit;
use crate::ppp::{Config, Credentials, Proof};

const NAME: &str = "HOME\\bob";
const SECRET: &str = "geheim€";
const SECOND: Duration = Duration::from_secs(1);
const ALL: [Authentication; 3] =
    [Authentication::ChapMd5, Authentication::MsChapV2, Authentication::Pap];

fn config(secret: &str) -> Config {
    let methods = ALL.to_vec();
    let account = Account { name: NAME.into(), password: Zeroizing::new(secret.into()), methods };
    Config {
        account: Some(account),
        authentication: ALL.to_vec(),
        rechallenge: Some(100 * SECOND),
        ..Config::default()
    }
}

/// What an owner that knows the secret makes of credentials.
fn verdict(credentials: &Credentials) -> Verdict<'static> {
    assert_eq!(credentials.name, NAME.as_bytes());
    let (right, authenticator_response) = match &credentials.proof {
        Proof::Pap { password } => (password[..] == *SECRET.as_bytes(), None),
        Proof::ChapMd5 { identifier, challenge, response } => {
            (chap::verify(*identifier, SECRET.as_bytes(), challenge, response), None)
        }
        Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response, .. } => {
            let name = NAME.as_bytes();
            let exchange = mschap::Exchange { authenticator_challenge, peer_challenge, name };
            let response = exchange.verify(SECRET, nt_response);
            (response.is_some(), response)
        }
    };
    if right {
        Verdict::Accepted { authenticator_response }
    } else {
        Verdict::Refused { message: "" }
    }
}

/// How an authentication ended, at both ends; `None`: not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct End {
    server: Option<bool>,
    client: Option<Progress>,
}

/// An authenticator, a peer of it, and the wire.
struct Pair {
    config: Config,
    now: Time,
    rng: StdRng,
    server: Authenticator,
    client: Authenticatee,
    server_sends: Transmit,
    client_sends: Transmit,
    /// Frames on the wire so far.
    count: u32,
    /// Which of them are lost.
    lost: fn(u32) -> bool,
    end: End,
    /// The last frame that arrived at each end.
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// A side's time was up.
    timed_out: bool,
    /// Times that the server was satisfied once more.
    again: u32,
}

fn context<'a>(now: Time, config: &'a Config, transmit: &'a mut Transmit) -> Context<'a> {
    Context { now, config, transmit, peer_mru: 1500 }
}

impl Pair {
    fn new(secret: &str, lost: fn(u32) -> bool) -> Self {
        Self {
            config: config(secret),
            now: Time::ZERO,
            rng: StdRng::seed_from_u64(7),
            server: Authenticator::default(),
            client: Authenticatee::default(),
            server_sends: Transmit::default(),
            client_sends: Transmit::default(),
            count: 0,
            lost,
            end: End::default(),
            to_client: Vec::new(),
            to_server: Vec::new(),
            timed_out: false,
            again: 0,
        }
    }

    fn start(&mut self, with: Authentication) {
        let mut sends = context(self.now, &self.config, &mut self.client_sends);
        self.client.start(&mut sends, with, &mut self.rng);
        let mut sends = context(self.now, &self.config, &mut self.server_sends);
        self.server.start(&mut sends, with, &mut self.rng);
        self.exchange();
    }

    /// Carries frames until nobody has any more.
    fn exchange(&mut self) {
        loop {
            if let Some(frame) = self.server_sends.pop() {
                self.count += 1;
                if !(self.lost)(self.count) {
                    let _ = self.hand_to_client(&frame);
                    self.to_client = frame;
                }
            } else if let Some(frame) = self.client_sends.pop() {
                self.count += 1;
                if !(self.lost)(self.count) {
                    let _ = self.hand_to_server(&frame);
                    self.to_server = frame;
                }
            } else {
                return;
            }
        }
    }

    fn hand_to_client(&mut self, octets: &[u8]) -> Result<(), Discard> {
        let frame = Frame::parse(octets)?;
        let packet = Packet::parse(frame.information)?;
        let mut context = context(self.now, &self.config, &mut self.client_sends);
        let progress = match frame.protocol {
            protocol::PAP => self.client.handle_pap(&mut context, &packet)?,
            _ => self.client.handle_chap(&mut context, &packet, None, &mut self.rng)?,
        };
        if progress != Progress::Nothing {
            assert_eq!(self.end.client.replace(progress), None);
        }
        Ok(())
    }

    fn hand_to_server(&mut self, octets: &[u8]) -> Result<(), Discard> {
        let frame = Frame::parse(octets)?;
        let packet = Packet::parse(frame.information)?;
        let mut context = context(self.now, &self.config, &mut self.server_sends);
        let outcome = match frame.protocol {
            protocol::PAP => self.server.handle_pap(&mut context, &packet)?,
            _ => self.server.handle_chap(&mut context, &packet, &mut self.rng)?,
        };
        match outcome {
            Outcome::Nothing => {}
            Outcome::Refused => self.end.server = Some(false),
            Outcome::Credentials(credentials) => {
                match self.server.conclude(&mut context, verdict(&credentials)) {
                    Conclusion::Accepted => self.end.server = Some(true),
                    Conclusion::AcceptedAgain => self.again += 1,
                    Conclusion::Refused => self.end.server = Some(false),
                    Conclusion::Stale => panic!("{credentials:?}"),
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let timers = [self.server.poll_timeout(), self.client.poll_timeout()];
            let due = timers.into_iter().flatten().min().filter(|at| *at <= until);
            let Some(at) = due.filter(|_| !self.timed_out) else { break };
            self.now = self.now.max(at);
            let mut sends = context(self.now, &self.config, &mut self.server_sends);
            self.timed_out |= self.server.handle_timeout(&mut sends, &mut self.rng);
            let mut sends = context(self.now, &self.config, &mut self.client_sends);
            self.timed_out |= self.client.handle_timeout(&mut sends, &mut self.rng);
            self.exchange();
        }
        self.now = until;
    }
}

const GOOD: End = End { server: Some(true), client: Some(Progress::Accepted) };
const BAD: End = End { server: Some(false), client: Some(Progress::Refused) };

#[test]
fn each_protocol_comes_to_a_good_end() {
    for with in ALL {
        let mut pair = Pair::new(SECRET, |_| false);
        assert!(pair.client.is_settled(), "nobody has asked");
        pair.start(with);
        assert_eq!(pair.end, GOOD, "{with:?}");
        assert!(pair.client.is_settled());
        assert_eq!(pair.client.poll_timeout(), None);
        assert_eq!(pair.count, if with == Authentication::Pap { 2 } else { 3 });
    }
}

#[test]
fn each_protocol_refuses_a_wrong_password() {
    for with in ALL {
        let mut pair = Pair::new("geraten", |_| false);
        pair.start(with);
        assert_eq!(pair.end, BAD, "{with:?}");
        assert!(!pair.client.is_settled());
    }
}

/// Half of the frames, in no order.
fn half(count: u32) -> bool {
    count.wrapping_mul(0x9e37_79b9).wrapping_mul(count | 1) >> 31 == 1
}

/// Frame for frame, and then half of them.
#[test]
fn each_protocol_makes_up_for_loss() {
    const LOSSES: [fn(u32) -> bool; 7] = [
        |count| count == 1,
        |count| count == 2,
        |count| count == 3,
        |count| count < 6,
        half,
        |count| !half(count),
        |count| count % 4 == 3,
    ];
    for with in ALL {
        for (place, lost) in LOSSES.into_iter().enumerate() {
            let mut pair = Pair::new(SECRET, lost);
            pair.start(with);
            pair.advance(29 * SECOND);
            assert_eq!(pair.end, GOOD, "{with:?}, loss {place}");
        }
    }
}

#[test]
fn silence_ends_in_time() {
    for with in ALL {
        let mut pair = Pair::new(SECRET, |_| true);
        pair.start(with);
        pair.advance(30 * SECOND - Duration::from_millis(1));
        assert!(!pair.timed_out && pair.client.poll_timeout().is_some());
        pair.advance(Duration::from_millis(1));
        assert!(pair.timed_out, "{with:?}");
        assert_eq!(pair.count, 10, "one every three seconds");
    }
}

/// An Ack that takes longer than the Restart timer is for an older request, and as good.
#[test]
fn a_slow_peer_acknowledges_an_older_request() {
    let mut pair = Pair::new(SECRET, |count| count > 0);
    pair.start(Authentication::Pap);
    pair.advance(7 * SECOND);
    for (identifier, expected) in [
        (0, Err(Discard::Unsolicited)),
        (4, Err(Discard::Unsolicited)),
        (1, Ok(())),
        (1, Err(Discard::Unsolicited)),
    ] {
        let ack = [0xff, 3, 0xc0, 0x23, 2, identifier, 0, 4];
        assert_eq!(pair.hand_to_client(&ack), expected, "{identifier}");
    }
    assert_eq!(pair.end.client, Some(Progress::Accepted));
    assert_eq!(pair.client.poll_timeout(), None);
}

/// Row 39: an Ack without a message, or with a broken one.
#[test]
fn an_ack_needs_no_message() {
    for message in [&[0, 4][..], &[0, 5, 0], &[0, 6, 9, b'x']] {
        let mut pair = Pair::new(SECRET, |count| count > 0);
        pair.start(Authentication::Pap);
        let ack = [&[0xff, 3, 0xc0, 0x23, 2, 1], message].concat();
        assert_eq!(pair.hand_to_client(&ack), Ok(()));
        assert_eq!(pair.end.client, Some(Progress::Accepted));
    }
}

#[test]
fn a_request_is_spelled_as_the_rfc_wants_it() {
    let mut pair = Pair::new("p", |_| false);
    pair.start(Authentication::Pap);
    assert_eq!(pair.to_server, b"\xff\x03\xc0\x23\x01\x01\x00\x0f\x08HOME\\bob\x01p");
}

#[test]
fn a_success_that_does_not_prove_the_server_is_the_end() {
    let mut pair = Pair::new(SECRET, |count| count == 3);
    pair.start(Authentication::MsChapV2);
    assert_eq!(pair.end, End { server: Some(true), client: None });
    let identifier = pair.to_client[5];
    let right = pair.client.run.as_ref().unwrap().exchange.as_ref().unwrap().expected.unwrap();
    for text in ["Welcome".to_owned(), "S=".to_owned(), mschap::success_message(&[1; 20], "")] {
        let mut success = vec![0xff, 3, 0xc2, 0x23, 3, identifier, 0, 4 + text.len() as u8];
        success.extend_from_slice(text.as_bytes());
        pair.end.client = None;
        assert_eq!(pair.hand_to_client(&success), Ok(()));
        assert_eq!(pair.end.client, Some(Progress::Unproven), "{text}");
        assert!(!pair.client.is_settled());
    }
    let text = mschap::success_message(&right, "");
    let mut success = vec![0xff, 3, 0xc2, 0x23, 3, identifier, 0, 4 + text.len() as u8];
    success.extend_from_slice(text.as_bytes());
    pair.end.client = None;
    pair.hand_to_client(&success).unwrap();
    assert_eq!(pair.end.client, Some(Progress::Accepted));
}

#[test]
fn replies_to_nothing_are_discarded() {
    let mut pair = Pair::new(SECRET, |count| count > 1);
    pair.start(Authentication::ChapMd5);
    let identifier = pair.to_client[5];
    for code in [3, 4] {
        let reply = [0xff, 3, 0xc2, 0x23, code, identifier.wrapping_add(1), 0, 4];
        assert_eq!(pair.hand_to_client(&reply), Err(Discard::Unsolicited));
    }
    assert_eq!(pair.hand_to_client(&[0xff, 3, 0xc2, 0x23, 9, 1, 0, 4]), Err(Discard::Code));
    // Of the other protocol, and after the end.
    assert_eq!(pair.hand_to_client(&[0xff, 3, 0xc0, 0x23, 2, 1, 0, 4]), Err(Discard::Unsolicited));
    pair.client.stop();
    let success = [0xff, 3, 0xc2, 0x23, 3, identifier, 0, 4];
    assert_eq!(pair.hand_to_client(&success), Err(Discard::Unsolicited));
}

/// A challenge that comes twice gets the response that it got first: with MS-CHAPv2 another would
/// have another proof.
#[test]
fn a_repeated_challenge_gets_the_same_response() {
    for with in [Authentication::ChapMd5, Authentication::MsChapV2] {
        let mut pair = Pair::new(SECRET, |count| count > 1);
        pair.start(with);
        let challenge = pair.to_client.clone();
        pair.hand_to_client(&challenge).unwrap();
        pair.hand_to_client(&challenge).unwrap();
        let first = pair.client_sends.pop().unwrap();
        assert_eq!(pair.client_sends.pop(), Some(first.clone()));
        // After the Success, too.
        pair.hand_to_server(&first).unwrap();
        let success = pair.server_sends.pop().unwrap();
        pair.hand_to_client(&success).unwrap();
        pair.hand_to_client(&challenge).unwrap();
        assert_eq!(pair.client_sends.pop(), Some(first));
        assert_eq!(pair.client.poll_timeout(), None);
        assert!(pair.client.is_settled());
    }
}

/// A response of one exchange is worth nothing in the next.
#[test]
fn a_replayed_response_is_refused() {
    for with in [Authentication::ChapMd5, Authentication::MsChapV2] {
        let mut pair = Pair::new(SECRET, |_| false);
        pair.start(with);
        assert_eq!(pair.end, GOOD);
        let mut replayed = pair.to_server.clone();
        pair.end = End::default();
        pair.server.stop();
        pair.client.stop();
        let mut sends = context(pair.now, &pair.config, &mut pair.server_sends);
        pair.server.start(&mut sends, with, &mut pair.rng);
        let challenge = pair.server_sends.pop().unwrap();
        assert_eq!(pair.hand_to_server(&replayed), Err(Discard::Unsolicited));
        replayed[5] = challenge[5];
        pair.hand_to_server(&replayed).unwrap();
        assert_eq!(pair.end.server, Some(false), "{with:?}");
    }
}

/// RFC 1994 section 2.3: our own challenge, on its way back, gets no response. Another one does.
#[test]
fn a_reflected_challenge_is_not_answered() {
    for with in [Authentication::ChapMd5, Authentication::MsChapV2] {
        let mut pair = Pair::new(SECRET, |_| true);
        pair.start(with);
        assert!(pair.server.open_challenge().is_some());
        // This end is both: it asks, and is asked.
        pair.advance(3 * SECOND);
        let own = pair.server.open_challenge().unwrap().to_vec();
        let mut frame = [&[0xff, 3, 0xc2, 0x23, 1, 2, 0, 24, 16], &own[..], b"lns"].concat();
        for (reflected, expected) in
            [(true, Err(Discard::Reflected)), (false, Ok(Progress::Nothing))]
        {
            frame[9] ^= u8::from(!reflected);
            let parsed = Frame::parse(&frame).unwrap();
            let packet = Packet::parse(parsed.information).unwrap();
            let mut sends = context(pair.now, &pair.config, &mut pair.client_sends);
            let own = pair.server.open_challenge();
            let result = pair.client.handle_chap(&mut sends, &packet, own, &mut pair.rng);
            assert_eq!(result, expected);
            assert_eq!(pair.client_sends.pop().is_some(), !reflected);
        }
    }
}

#[test]
fn challenges_of_a_wrong_size_are_not_answered() {
    for (size, with, answered) in [
        (1, Authentication::ChapMd5, true),
        (255, Authentication::ChapMd5, true),
        (0, Authentication::ChapMd5, false),
        (16, Authentication::MsChapV2, true),
        (15, Authentication::MsChapV2, false),
        (17, Authentication::MsChapV2, false),
        (16, Authentication::Pap, false),
    ] {
        let mut pair = Pair::new(SECRET, |_| true);
        pair.start(with);
        let length = u16::try_from(5 + size).unwrap().to_be_bytes();
        let head = [0xff, 3, 0xc2, 0x23, 1, 1, length[0], length[1], size as u8];
        let challenge = [&head[..], &vec![9; size]].concat();
        assert_eq!(pair.hand_to_client(&challenge).is_ok(), answered, "{size} {with:?}");
        assert_eq!(pair.client_sends.pop().is_some(), answered);
    }
}

/// A peer that only ever asks learns thirty responses, not thirty thousand.
#[test]
fn responses_are_not_for_collectors() {
    let mut pair = Pair::new(SECRET, |_| true);
    pair.start(Authentication::ChapMd5);
    let mut answers = 0;
    for number in 0..=255 {
        let challenge = [0xff, 3, 0xc2, 0x23, 1, number, 0, 6, 1, number];
        let _ = pair.hand_to_client(&challenge);
        answers += u32::from(pair.client_sends.pop().is_some());
    }
    assert_eq!(answers, u32::from(CHALLENGES_MAX));
}

#[test]
fn a_peer_is_challenged_again_and_nothing_stops() {
    for with in [Authentication::ChapMd5, Authentication::MsChapV2] {
        let mut pair = Pair::new(SECRET, |_| false);
        pair.start(with);
        pair.advance(74 * SECOND);
        assert_eq!((pair.again, pair.count), (0, 3));
        pair.advance(1000 * SECOND);
        assert!((8..=14).contains(&pair.again), "{} in 1000 s", pair.again);
        assert_eq!(pair.count, 3 * (1 + pair.again));
        assert_eq!((pair.end, pair.timed_out), (GOOD, false));
        assert!(pair.client.is_settled());
    }
    let mut pair = Pair::new(SECRET, |_| false);
    pair.start(Authentication::Pap);
    assert_eq!(pair.server.poll_timeout(), None, "PAP has no such thing");
}

#[test]
fn challenges_in_between_survive_loss() {
    for with in [Authentication::ChapMd5, Authentication::MsChapV2] {
        let mut pair = Pair::new(SECRET, |count| count > 3 && half(count));
        pair.start(with);
        pair.advance(2000 * SECOND);
        assert!(pair.again >= 8, "{}", pair.again);
        assert_eq!((pair.end, pair.timed_out), (GOOD, false));
    }
}

#[test]
fn who_does_not_answer_again_is_given_up() {
    let mut pair = Pair::new(SECRET, |count| count > 3);
    pair.start(Authentication::ChapMd5);
    pair.advance(200 * SECOND);
    assert!(pair.timed_out);
}

#[test]
fn who_answers_wrong_the_second_time_is_refused() {
    let mut pair = Pair::new(SECRET, |_| false);
    pair.start(Authentication::MsChapV2);
    pair.config = config("geraten");
    pair.end.client = None;
    pair.advance(200 * SECOND);
    assert_eq!(pair.end, BAD);
}

/// The peer may have been refused at once; a password cannot be changed here.
#[test]
fn a_change_of_password_is_refused() {
    let mut pair = Pair::new(SECRET, |_| true);
    pair.start(Authentication::MsChapV2);
    let mut change = vec![0xff, 3, 0xc2, 0x23, 7, 2, 2, 78];
    change.resize(4 + 590, 0);
    pair.hand_to_server(&change).unwrap();
    let failure = pair.server_sends.pop().unwrap();
    assert_eq!(failure[4..6], [4, 2]);
    assert!(failure[8..].starts_with(b"E=709 R=0 C="), "{failure:02x?}");
    assert_eq!((pair.end.server, pair.server.poll_timeout()), (Some(false), None));
    for with in [Authentication::ChapMd5, Authentication::Pap] {
        let mut pair = Pair::new(SECRET, |_| true);
        pair.start(with);
        assert_eq!(pair.hand_to_server(&change), Err(Discard::Code));
    }
}

/// What Windows compares character by character.
#[test]
fn failures_and_successes_are_complete() {
    let mut pair = Pair::new("geraten", |_| false);
    pair.start(Authentication::MsChapV2);
    let text = String::from_utf8(pair.to_client[8..].to_vec()).unwrap();
    let fields: Vec<&str> = text.splitn(5, ' ').collect();
    assert_eq!((fields[0], fields[1], fields[3]), ("E=691", "R=0", "V=3"), "{text}");
    assert_eq!(fields[4], "M=Name or password is wrong");
    let digits = fields[2].strip_prefix("C=").unwrap();
    assert!(digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{text}");
    let mut pair = Pair::new(SECRET, |_| false);
    pair.start(Authentication::MsChapV2);
    let text = String::from_utf8(pair.to_client[8..].to_vec()).unwrap();
    assert_eq!((&text[..2], text.len(), &text[42..]), ("S=", 42 + 10, " M=Welcome"));
}

/// An owner that cannot prove us to the peer has nothing to let it in with.
#[test]
fn nobody_is_let_in_by_ms_chap_v2_without_a_proof() {
    let mut pair = Pair::new(SECRET, |_| true);
    pair.start(Authentication::MsChapV2);
    let value = [3; mschap::VALUE_OCTETS];
    let head = [0xff, 3, 0xc2, 0x23, 2, 1, 0, 54, 49];
    let frame = [&head[..], &value].concat();
    let parsed = Frame::parse(&frame).unwrap();
    let packet = Packet::parse(parsed.information).unwrap();
    let mut sends = context(pair.now, &pair.config, &mut pair.server_sends);
    let outcome = pair.server.handle_chap(&mut sends, &packet, &mut pair.rng);
    assert!(matches!(outcome, Ok(Outcome::Credentials(_))), "{outcome:?}");
    let accepted = Verdict::Accepted { authenticator_response: None };
    assert_eq!(pair.server.conclude(&mut sends, accepted), Conclusion::Refused);
    assert_eq!(pair.server.conclude(&mut sends, accepted), Conclusion::Stale);
}

/// Row 30: a peer that agreed to PAP gets a challenge of the kind that it responds with.
#[test]
fn who_speaks_chap_after_pap_is_challenged_in_kind() {
    for (size, with) in [(16, Authentication::ChapMd5), (49, Authentication::MsChapV2)] {
        let mut pair = Pair::new(SECRET, |_| true);
        pair.start(Authentication::Pap);
        let head = [0xff, 3, 0xc2, 0x23, 2, 1, 0, 5 + size, size];
        let response = [&head[..], &vec![1; size.into()]].concat();
        pair.hand_to_server(&response).unwrap();
        assert_eq!(pair.server_sends.pop().unwrap()[4], 1);
        let text = format!("{:?}", pair.server);
        assert!(text.contains(&format!("challenged: Some({with:?})")), "{text}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let mut pair = Pair::new(SECRET, |_| true);
    pair.start(Authentication::MsChapV2);
    let text = format!("{:?} {:?}", pair.client, pair.config);
    assert!(!text.contains("geheim"), "{text}");
}

proptest! {
    #[test]
    fn nothing_that_is_said_to_either_side_panics_or_lets_in(
        frames in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), 0..9_u8, 0..4_u8,
             proptest::collection::vec(any::<u8>(), 0..70)),
            0..40,
        ),
        with in 0..3_usize,
    ) {
        let mut pair = Pair::new("something else", |_| true);
        pair.start(ALL[with]);
        for (to_client, is_pap, code, identifier, data) in frames {
            let protocol = if is_pap { 0x23c0_u16 } else { 0x23c2 }.to_le_bytes();
            let length = (4 + data.len()) as u8;
            let head = [0xff, 3, protocol[0], protocol[1], code, identifier, 0, length];
            let frame = [&head[..], &data].concat();
            if to_client {
                pair.end.client = None;
                let _ = pair.hand_to_client(&frame);
            } else {
                let frame = Frame::parse(&frame).unwrap();
                let packet = Packet::parse(frame.information).unwrap();
                let mut sends = context(pair.now, &pair.config, &mut pair.server_sends);
                let _ = match is_pap {
                    true => pair.server.handle_pap(&mut sends, &packet),
                    false => pair.server.handle_chap(&mut sends, &packet, &mut pair.rng),
                };
            }
            pair.exchange();
            pair.advance(SECOND / 2);
        }
        // A Success of MS-CHAPv2 is not guessed.
        prop_assert!(ALL[with] != Authentication::MsChapV2 || !pair.client.is_settled());
    }
}

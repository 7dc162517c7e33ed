//! Signs of life, and tunnels that nobody uses.

use xlns_dataplane::quality::SessionQuality;

use super::*;

impl Lab {
    /// Lets the time pass as the peers and workers would have it: the LAC acknowledges nothing, the
    /// data plane counts `packets` more a second.
    fn silence(&mut self, seconds: u64, session: SessionId, mut packets: impl FnMut(u64) -> u64) {
        for second in 0..seconds {
            self.wait(Duration::from_secs(1));
            let keys = self.lns.poll_life_question();
            if keys.is_empty() {
                continue;
            }
            assert_eq!(keys, [self.key(session)]);
            let upstream_packets = packets(second);
            let counted = SessionCounters { upstream_packets, ..SessionCounters::default() };
            self.lns.handle_counters(self.now, &[(self.key(session), counted)]);
            self.drain();
        }
        self.lns.audit().unwrap();
    }

    /// Echo-Requests of ours.
    fn echoes(&self) -> usize {
        let head = [0xff, 0x03, 0xc0, 0x21, 9];
        self.frames.iter().filter(|(_, frame)| frame.starts_with(&head)).count()
    }

    fn is_open(&self) -> bool {
        let rows = self.lns.tunnel_rows(self.now, 0, 10).0;
        rows.first().is_some_and(|row| row.state == "established")
    }
}

#[test]
fn who_leaves_hellos_unanswered_and_sends_data_lives() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    lab.silence(600, session, |second| second);
    assert!(lab.is_open());
    // The counter stands still: nobody is there any more.
    lab.silence(200, session, |_| 600);
    assert!(!lab.is_open());
}

#[test]
fn data_is_no_sign_of_life_where_the_profile_says_so() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\ndata_is_life = false\n");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    for _ in 0..100 {
        lab.frame(session, &[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
        lab.silence(1, session, |second| second);
    }
    assert!(!lab.is_open());
}

#[test]
fn a_silent_tunnel_without_sessions_is_not_asked_about() {
    let mut lab = Lab::new("");
    lab.open();
    for _ in 0..70 {
        lab.wait(Duration::from_secs(1));
        assert_eq!(lab.lns.poll_life_question(), []);
    }
}

/// Of a session that has left so many requests unanswered.
fn silent(key: SessionKey) -> (SessionKey, SessionQuality) {
    (key, SessionQuality { unanswered: 32, ..SessionQuality::default() })
}

#[test]
fn a_subscriber_that_is_silent_to_the_workers_is_asked_and_given_up() {
    let mut lab = Lab::new("[ppp]\necho_interval_seconds = 10\necho_failures_max = 2\n");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    // From the time on that a network protocol is up.
    let monitored = lab.commands.iter().filter_map(|command| match command {
        Command::SessionSet(session) => Some(session.options.quality),
        _ => None,
    });
    assert_eq!(monitored.collect::<Vec<_>>(), [false, true]);
    lab.frames.clear();
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.echoes(), 0);
    // From the first session on, those that leave more unanswered than may be under way.
    assert_eq!(lab.lns.poll_silence_question(), Some((0, 3)));
    assert_eq!(lab.lns.poll_silence_question(), None);
    let stranger = SessionKey { local_tunnel_id: 1, local_session_id: 1 };
    let key = lab.key(session);
    lab.lns.handle_silence(lab.now, &[silent(stranger), silent(key)], Some(7));
    assert_eq!(lab.lns.poll_silence_question(), Some((7, 3)));
    lab.lns.handle_silence(lab.now, &[], None);
    assert_eq!(lab.lns.poll_silence_question(), None);
    lab.wait(Duration::from_secs(11));
    assert_eq!(lab.echoes(), 2);
    assert_eq!(lab.lns.poll_silence_question(), Some((0, 3)));
    lab.wait(Duration::from_secs(20));
    assert_eq!(lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 9).0.len(), 0);
    lab.lns.audit().unwrap();
}

#[test]
fn where_nothing_is_monitored_control_asks_by_itself() {
    for config in [
        "[quality]\ninterval_ms = 0\n[ppp]\necho_interval_seconds = 10\n",
        "[[lac]]\nname = \"a\"\nquality = false\necho_interval_seconds = 10\n",
    ] {
        let mut lab = Lab::new(config);
        lab.open();
        lab.up(5, "alice", "wonder");
        lab.frames.clear();
        lab.wait(Duration::from_secs(31));
        assert_eq!(lab.echoes(), 3, "{config}");
        assert_eq!(lab.lns.poll_silence_question(), None, "{config}");
    }
}

#[test]
fn of_many_sessions_a_few_are_looked_at() {
    let mut lab = Lab::new("[l2tp]\nhello_interval_seconds = 10\n");
    lab.open();
    for id in 1..=40 {
        lab.call(id).unwrap();
        lab.frames.clear();
    }
    lab.wait(Duration::from_secs(12));
    let keys = lab.lns.poll_life_question();
    assert_eq!(keys.len(), 16);
    assert_eq!(lab.lns.poll_life_question(), []);
}

#[test]
fn a_profile_has_its_own_hello_interval() {
    for (seconds, hellos) in [(10, 1), (0, 0)] {
        let profile = format!("[[lac]]\nname = \"a\"\nhello_interval_seconds = {seconds}\n");
        let mut lab = Lab::new(&profile);
        lab.open();
        lab.wait(Duration::from_secs(10));
        let count = lab.messages.iter().filter(|(_, said)| *said == Message::Hello).count();
        assert_eq!(count, hellos);
    }
}

#[test]
fn a_tunnel_without_sessions_is_closed_after_a_while() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\nidle_seconds = 20\n");
    lab.open();
    lab.wait(Duration::from_secs(15));
    assert!(lab.is_open());
    let session = lab.call(5).unwrap();
    lab.control(SessionId(0), &Message::Hello);
    lab.wait(Duration::from_secs(25));
    assert!(lab.is_open(), "not while it has one");
    let result = ResultCode::call(CallResult::LossOfCarrier, None, "");
    let cdn =
        Cdn { result, assigned_session_id: Some(SessionId(5)), q931_cause: None, ppp_cause: None };
    lab.control(session, &Message::Cdn(Box::new(cdn)));
    lab.wait(Duration::from_secs(19));
    assert!(lab.is_open());
    lab.messages.clear();
    lab.wait(Duration::from_secs(1));
    let Some((_, Message::StopCcn(stop))) = lab.messages.first() else { panic!("no StopCCN") };
    assert_eq!(stop.result.as_tunnel(), TunnelResult::Cleared);
    assert!(!stop.result.message.is_empty());
    lab.lns.audit().unwrap();
}

#[test]
fn an_idle_tunnel_stays_by_default() {
    let mut lab = Lab::new("[l2tp]\nhello_interval_seconds = 3600\n");
    lab.open();
    lab.wait(Duration::from_secs(3000));
    assert!(lab.is_open());
}

#[test]
fn one_turn_does_not_take_all_that_is_due() {
    let mut lab = Lab::new(
        "[l2tp]\nsccrq_per_second_per_source_max = 100000\nsccrq_per_second_max = 100000\ntunnels_half_open_max = 8000\n",
    );
    for id in 1..=5000 {
        (lab.ns, lab.nr, lab.lns_tunnel, lab.lac_tunnel) = (0, 0, TunnelId(0), TunnelId(id));
        let sccrq = lab.sccrq();
        lab.control(SessionId(0), &sccrq);
    }
    lab.now = lab.now + Duration::from_secs(1);
    lab.lns.handle_timeout(lab.now);
    assert!(lab.lns.poll_timeout().is_some_and(|at| at <= lab.now), "the rest is due still");
    lab.lns.handle_timeout(lab.now);
    assert!(lab.lns.poll_timeout().is_some_and(|at| at > lab.now));
}

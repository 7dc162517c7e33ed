//! What LACs say of lines, and calls that they are asked for.

use super::*;
use crate::admin::PlaceCall;
use crate::l2tp::message::{AccessLine, CallErrors, Occn, Ocrp, Sli, Wen};

impl Lab {
    fn line(&self) -> crate::admin::LineRow {
        self.lns.session_rows(self.now, &SessionFilter::default(), 0, 10).0[0].line.as_ref().clone()
    }

    /// Opens a tunnel to a LAC that places calls.
    fn open_to_dialler(&mut self) {
        let Message::Sccrq(mut sccrq) = self.sccrq() else { unreachable!() };
        sccrq.bearer_capabilities = Some(3);
        self.control(SessionId(0), &Message::Sccrq(sccrq));
        let Some((_, Message::Sccrp(sccrp))) = self.messages.pop() else { panic!("no SCCRP") };
        self.lns_tunnel = sccrp.assigned_tunnel_id;
        self.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    }

    fn place(&mut self, user: Option<&str>) -> SessionId {
        let wanted = PlaceCall {
            peer: Some(self.peer.ip()),
            called_number: "0301234".into(),
            user: user.map(Into::into),
            ..PlaceCall::default()
        };
        let key = self.lns.place_outgoing_call(self.now, &wanted).unwrap();
        self.drain();
        assert_eq!(key.local_tunnel_id, self.lns_tunnel.0);
        let Some((_, Message::Ocrq(ocrq))) = self.messages.pop() else { panic!("no OCRQ") };
        assert_eq!(ocrq.called_number, b"0301234");
        assert_eq!(ocrq.assigned_session_id.0, key.local_session_id);
        ocrq.assigned_session_id
    }

    /// The LAC rings, and somebody answers.
    fn answer(&mut self, session: SessionId) {
        let ocrp = Ocrp { assigned_session_id: SessionId(5), ..Ocrp::default() };
        self.control(session, &Message::Ocrp(ocrp));
        assert_eq!(self.lns.poll_call_outcome(), None);
        let occn = Occn {
            tx_connect_speed: 64_000,
            rx_connect_speed: None,
            framing_type: 1,
            sequencing_required: false,
        };
        self.control(session, &Message::Occn(occn));
    }
}

#[test]
fn an_access_line_and_its_errors_are_shown() {
    let mut lab = Lab::new("");
    lab.open();
    let Message::Icrq(mut icrq) = icrq(5) else { unreachable!() };
    icrq.called_number = Some(b"0800\x1b[2J".to_vec());
    let mut access =
        AccessLine { agent_circuit_id: Some(b"dslam 1/7".to_vec()), ..AccessLine::default() };
    access.actual_rate.downstream = Some(50_000_000);
    icrq.access_line = Some(Box::new(access));
    lab.control(SessionId(0), &Message::Icrq(icrq));
    let Some((_, Message::Icrp(icrp))) = lab.messages.pop() else { panic!("no ICRP") };
    let session = icrp.assigned_session_id;
    lab.control(session, &iccn());
    let line = lab.line();
    assert_eq!((line.circuit_id.as_str(), line.actual.downstream), ("dslam 1/7", Some(50_000_000)));
    assert_eq!((line.called_number.as_str(), line.framing.as_str()), ("0800\u{fffd}[2J", "sync"));
    assert_eq!(
        (line.connect.upstream, line.errors, line.send_accm),
        (Some(100_000_000), None, None)
    );
    for crc in [3, 8] {
        let errors = CallErrors { crc, ..CallErrors::default() };
        lab.control(session, &Message::Wen(Wen { errors }));
    }
    let sli = Sli { send_accm: 0xa0000, receive_accm: 1 };
    lab.control(session, &Message::Sli(sli));
    let line = lab.line();
    assert_eq!(line.errors.map(|errors| errors.crc), Some(8), "counted since the call began");
    assert_eq!((line.send_accm, line.receive_accm), (Some(0xa0000), Some(1)));
}

#[test]
fn a_lac_is_asked_to_call_and_the_outcome_told_once() {
    let mut lab = Lab::new("");
    lab.open_to_dialler();
    let session = lab.place(None);
    lab.answer(session);
    assert_eq!(lab.lns.poll_call_outcome(), Some((lab.key(session), Ok(()))));
    lab.negotiate(session, "alice", "wonder");
    lab.address(session);
    let rows = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10).0;
    assert_eq!((rows[0].state.as_str(), rows[0].line.called_number.as_str()), ("open", "0301234"));
    assert_eq!(lab.lns.lac_rows()[0].sessions, 1);
    let which = SessionSelector::Id { tunnel_id: lab.lns_tunnel.0, session_id: session.0 };
    lab.lns.clear_sessions(lab.now, &which);
    lab.wait(Duration::from_secs(20));
    assert_eq!((lab.lns.poll_call_outcome(), lab.lns.calls.len()), (None, 0));
    lab.lns.audit().unwrap();
}

#[test]
fn a_call_that_fails_says_why() {
    let mut lab = Lab::new("");
    lab.open_to_dialler();
    let session = lab.place(None);
    let result = ResultCode::call(CallResult::Busy, None, "engaged");
    let cdn =
        Cdn { result, assigned_session_id: Some(SessionId(5)), q931_cause: None, ppp_cause: None };
    lab.control(session, &Message::Cdn(Box::new(cdn)));
    let Some((key, Err(reason))) = lab.lns.poll_call_outcome() else { panic!("no outcome") };
    assert_eq!(key, lab.key(session));
    assert!(reason.contains("engaged"), "{reason}");
    // Nobody answers for a minute.
    lab.place(None);
    lab.wait(Duration::from_secs(61));
    assert!(matches!(lab.lns.poll_call_outcome(), Some((_, Err(_)))));
    assert_eq!(lab.lns.calls.len(), 0);
    lab.lns.audit().unwrap();
}

#[test]
fn on_a_call_for_one_user_nobody_else_comes_in() {
    for (user, comes_in) in [("alice", true), ("bob", false)] {
        let mut lab = Lab::new("");
        lab.open_to_dialler();
        let session = lab.place(Some("bob"));
        lab.answer(session);
        let (name, password) =
            if user == "alice" { ("bob", "builder") } else { ("alice", "wonder") };
        lab.negotiate(session, name, password);
        let code = if comes_in { 2 } else { 3 };
        lab.take_frame([0xc0, 0x23], code);
    }
}

#[test]
fn a_call_needs_a_tunnel_a_bearer_and_room() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\nsessions_max = 1\n");
    let wanted = |tunnel_id, peer| PlaceCall {
        tunnel_id,
        peer,
        called_number: "1".into(),
        ..PlaceCall::default()
    };
    let peer = Some(lab.peer.ip());
    let refused = |lab: &mut Lab, wanted: &PlaceCall| {
        lab.lns.place_outgoing_call(lab.now, wanted).unwrap_err()
    };
    assert!(refused(&mut lab, &wanted(None, peer)).contains("no tunnel with 198.51.100.7"));
    assert!(refused(&mut lab, &wanted(Some(1), None)).contains("there is no tunnel 1"));
    lab.open();
    let id = Some(lab.lns_tunnel.0);
    assert!(refused(&mut lab, &wanted(id, None)).contains("no bearer"), "it never said it could");
    assert!(lab.call(5).is_some());
    assert!(refused(&mut lab, &wanted(id, None)).contains("no more sessions"));
    assert_eq!(lab.lns.calls.len(), 1);
}

#[test]
fn a_proxied_link_is_taken_over_where_the_profile_says_so() {
    // The LAC's Configure-Request asked for PAP, the subscriber's for an MRU of 1400.
    let handed_over = |lab: &mut Lab| {
        lab.open();
        lab.control(SessionId(0), &icrq(5));
        let Some((_, Message::Icrp(icrp))) = lab.messages.pop() else { panic!("no ICRP") };
        let Message::Iccn(mut iccn) = iccn() else { unreachable!() };
        let subscriber = vec![1, 4, 5, 0x78, 5, 6, 1, 2, 3, 4];
        iccn.initial_received_lcp_confreq = Some(subscriber.clone());
        iccn.last_received_lcp_confreq = Some(subscriber);
        iccn.last_sent_lcp_confreq = Some(vec![1, 4, 5, 0xb4, 3, 4, 0xc0, 0x23, 5, 6, 9, 9, 9, 9]);
        iccn.proxy_authen_type = Some(3);
        iccn.proxy_authen_name = Some(b"alice".to_vec());
        iccn.proxy_authen_id = Some(1);
        iccn.proxy_authen_response = Some(b"wonder"[..].into());
        lab.control(icrp.assigned_session_id, &Message::Iccn(iccn));
        icrp.assigned_session_id
    };
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\ncall_mode = \"proxy\"\n");
    let session = handed_over(&mut lab);
    lab.address(session);
    assert_eq!((lab.last_set().key, lab.last_set().peer_mru), (lab.key(session), 1400));
    assert_eq!(lab.count(LnsCounter::AuthenticationAccepted), 1);
    let mut lab = Lab::new("");
    let session = handed_over(&mut lab);
    lab.negotiate(session, "alice", "wonder");
    lab.address(session);
}

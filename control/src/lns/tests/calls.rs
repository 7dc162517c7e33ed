//! Calls from ICRQ to packets, and what does not disturb them.

use super::*;
use crate::l2tp::result::PppDisconnectCode;

#[test]
fn a_call_comes_up_and_is_forwarded() {
    let mut lab = Lab::new("");
    lab.open();
    assert_eq!(lab.lns.poll_peer_change(), Some(PeerChange::Used(lab.peer.ip())));
    let (session, address) = lab.up(5, "alice", "wonder");
    let set = lab.last_set();
    assert_eq!(set.key, lab.key(session));
    assert_eq!((set.peer_tunnel_id, set.peer_session_id), (77, 5));
    assert_eq!((set.local, set.peer), (lab.local, lab.peer));
    assert_eq!(set.prefixes, [IpNet::from(IpAddr::V4(address))]);
    assert_eq!(set.peer_mru, 1400);
    assert_ne!(set.magic, 0);
    // Echo was served before there was an address.
    let echo = lab.commands.iter().any(
        |command| matches!(command, Command::SessionSet(session) if session.prefixes.is_empty()),
    );
    assert!(echo);
    let (rows, next) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert_eq!((rows.len(), next), (1, None));
    assert_eq!((rows[0].user.as_str(), rows[0].state.as_str()), ("alice", "open"));
    assert_eq!(rows[0].calling_number, "0301234");
    assert_eq!(rows[0].authentication, "pap");
}

#[test]
fn frames_that_overtake_iccn_are_answered() {
    let mut lab = Lab::new("");
    lab.open();
    lab.control(SessionId(0), &icrq(5));
    let Some((_, Message::Icrp(icrp))) = lab.messages.pop() else { panic!("no ICRP") };
    let session = icrp.assigned_session_id;
    let ours = [0xff, 3, 0xc0, 0x21, 1, 1, 0, 14, 1, 4, 5, 0x78, 5, 6, 1, 2, 3, 4];
    lab.frame(session, &ours);
    assert!(lab.frames.is_empty());
    lab.control(session, &iccn());
    lab.take_frame([0xc0, 0x21], 2);
    assert_eq!(lab.count(LnsCounter::DataHeldEarly), 1);
}

#[test]
fn nonsense_from_anywhere_leaves_a_call_alone() {
    let mut lab = Lab::new("");
    let sccrq = lab.open();
    let (session, address) = lab.up(5, "alice", "wonder");
    let before = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10).0;
    let mut rng = StdRng::seed_from_u64(1);
    let stranger: SocketAddr = "203.0.113.200:40000".parse().unwrap();
    let mut data = Vec::new();
    header::emit_data(&mut data, lab.lns_tunnel, session, None, false);
    data.extend_from_slice(&[0xff, 3, 0xc0, 0x21, 5, 1, 0, 4]);
    for round in 0..20_000 {
        let mut octets = match round % 3 {
            0 => (0..rng.random_range(0..80)).map(|_| rng.next_u32() as u8).collect(),
            1 => sccrq.clone(),
            _ => data.clone(),
        };
        for _ in 0..rng.random_range(0..4) {
            if !octets.is_empty() {
                let at = rng.random_range(0..octets.len());
                octets[at] = rng.next_u32() as u8;
            }
        }
        lab.lns.handle_datagram(lab.now, lab.local, stranger, &octets);
        while lab.lns.poll_transmit().is_some() {}
        lab.now = lab.now + Duration::from_millis(1);
    }
    let after = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10).0;
    assert_eq!(
        (after.len(), after[0].session_id, after[0].address),
        (1, session.0, Some(address.into()))
    );
    assert_eq!(after[0].state, before[0].state);
    assert!(lab.lns.tunnels.len() <= 1 + lab.lns.config.l2tp.tunnels_half_open_max as usize);
}

#[test]
fn a_name_that_would_move_the_cursor_is_shown_harmless() {
    let mut lab = Lab::new("");
    lab.open();
    let session = lab.call(5).unwrap();
    lab.negotiate(session, "eve\r\n\u{1b}[2J", "x");
    let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert_eq!(rows[0].user, "eve\u{fffd}\u{fffd}\u{fffd}[2J");
}

#[test]
fn a_subscriber_who_negotiates_anew_keeps_its_address() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, address) = lab.up(5, "alice", "wonder");
    let free = lab.free();
    lab.commands.clear();
    renegotiate(&mut lab, session, "alice", "wonder");
    assert_eq!(lab.last_set().prefixes, [], "nothing but echo meanwhile");
    assert_eq!(lab.address(session), address);
    assert_eq!(lab.last_set().prefixes, [IpNet::from(IpAddr::V4(address))]);
    assert_eq!((lab.last_set().key, lab.last_set().peer_mru), (lab.key(session), 1300));
    // Never removed: its counters go on.
    assert!(!lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    assert_eq!((lab.free(), lab.lns.calls.len()), (free, 1));
}

#[test]
fn another_user_on_the_same_call_gets_an_address_of_its_own() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (session, address) = lab.up(5, "alice", "wonder");
    assert_eq!(lab.free(), free - 1);
    renegotiate(&mut lab, session, "bob", "builder");
    let second = lab.address(session);
    assert_eq!((second, second == address), (Ipv4Addr::new(10, 0, 0, 6), false));
    assert_eq!(lab.free(), free, "that of before went back");
    let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert_eq!((rows.len(), rows[0].user.as_str()), (1, "bob"));
}

#[test]
fn frames_without_effect_are_counted() {
    let mut lab = Lab::new("");
    lab.open();
    let session = lab.call(5).unwrap();
    // IPCP before LCP is open, an Ack to a request that nobody sent, half a protocol number.
    for frame in
        [&[0xff, 3, 0x80, 0x21, 1, 1, 0, 4][..], &[0xff, 3, 0xc0, 0x21, 2, 99, 0, 4], &[0xff, 3, 0]]
    {
        lab.frame(session, frame);
    }
    assert_eq!(lab.count(LnsCounter::PppWithoutEffect), 3);
}

#[test]
fn a_subscriber_that_answers_no_echo_is_ended() {
    let mut lab = Lab::new(
        "[[lac]]\nname = \"watched\"\necho_interval_seconds = 10\nquality = false\n\
         hello_interval_seconds = 0\n",
    );
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    // Our magic number is in its request, its own in the reply.
    let reply = |lab: &mut Lab| {
        let mut echo = lab.take_frame([0xc0, 0x21], 9);
        echo[4] = 10;
        echo[8..12].copy_from_slice(&[1, 2, 3, 4]);
        lab.frame(session, &echo);
        lab.frames.clear();
    };
    for _ in 0..20 {
        lab.wait(Duration::from_secs(10));
        reply(&mut lab);
    }
    // Four of five are lost.
    lab.wait(Duration::from_secs(50));
    reply(&mut lab);
    assert_eq!(lab.lns.audit().unwrap().calls, 1);
    lab.wait(Duration::from_secs(75));
    assert_eq!(lab.lns.audit().unwrap().calls, 0);
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.message, "no answer to echo");
    let code = cdn.ppp_cause.map(|cause| cause.code);
    assert_eq!(code, Some(PppDisconnectCode::LcpEchoTimeout));
}

#[test]
fn nobody_is_asked_for_an_echo_unless_it_is_wanted() {
    let mut lab = Lab::new("");
    lab.open();
    lab.up(5, "alice", "wonder");
    lab.frames.clear();
    lab.wait(Duration::from_secs(50));
    assert!(lab.frames.is_empty(), "{:x?}", lab.frames);
}

#[test]
fn a_subscriber_that_asks_is_told_netbios_name_servers() {
    let mut lab = Lab::new("[ppp]\nnbns = [\"192.0.2.7\", \"192.0.2.8\"]\n");
    lab.open();
    let session = lab.call(5).unwrap();
    lab.negotiate(session, "alice", "wonder");
    let wish = [130, 6, 0, 0, 0, 0, 132, 6, 0, 0, 0, 0];
    lab.frame(session, &[&[0xff, 3, 0x80, 0x21, 1, 1, 0, 16][..], &wish].concat());
    let nak = lab.take_frame([0x80, 0x21], 3);
    assert_eq!(nak[8..20], [130, 6, 192, 0, 2, 7, 132, 6, 192, 0, 2, 8]);
}

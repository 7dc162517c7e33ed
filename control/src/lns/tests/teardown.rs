//! How calls and tunnels end, and what the peer is told.

use super::*;

#[test]
fn a_wrong_password_ends_in_cdn_with_the_cause() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let session = lab.call(5).unwrap();
    lab.negotiate(session, "alice", "blunder");
    lab.take_frame([0xc0, 0x23], 3);
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(session, &terminate);
    let Some((peer_session, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(peer_session, SessionId(5));
    let cause = cdn.ppp_cause.expect("a PPP cause");
    assert_eq!(u16::from(cause.code), 16, "authentication failed");
    assert_eq!(lab.free(), free);
    assert_eq!(lab.count(LnsCounter::AuthenticationRefused), 1);
    assert_eq!(lab.lns.calls.len(), 0);
}

#[test]
fn the_peers_stop_ends_all_its_calls() {
    let mut lab = Lab::new("");
    lab.open();
    let sessions = [lab.up(5, "alice", "wonder").0, lab.up(6, "bob", "builder").0];
    let result = ResultCode::tunnel(TunnelResult::ShuttingDown, None, "");
    let stop = StopCcn { assigned_tunnel_id: Some(lab.lac_tunnel), result };
    lab.control(SessionId(0), &Message::StopCcn(Box::new(stop)));
    for session in sessions {
        assert!(lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    }
    assert_eq!(lab.lns.calls.len(), 0);
    lab.wait(Duration::from_secs(60));
    assert!(lab.lns.tunnels.is_empty() && lab.lns.tunnels_by_peer.is_empty());
    assert_eq!(lab.lns.half_open.len(), 0);
    let changes: Vec<_> = std::iter::from_fn(|| lab.lns.poll_peer_change()).collect();
    assert_eq!(changes.last(), Some(&PeerChange::Unused(lab.peer.ip())));
}

#[test]
fn a_dead_peer_takes_its_tunnel_down() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    lab.wait(Duration::from_secs(60 + 60));
    assert!(lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    lab.wait(Duration::from_secs(60));
    assert!(lab.lns.tunnels.is_empty());
    assert!(lab.messages.iter().any(|(_, message)| *message == Message::Hello));
}

#[test]
fn an_operator_clears_a_tunnel() {
    let mut lab = Lab::new("");
    lab.open();
    lab.up(5, "alice", "wonder");
    assert_eq!(lab.lns.clear_tunnels(lab.now, &TunnelSelector::Id(1)), 0);
    assert_eq!(lab.lns.clear_tunnels(lab.now, &TunnelSelector::Peer(lab.peer.ip())), 1);
    lab.drain();
    assert!(lab.messages.iter().any(|(_, message)| matches!(message, Message::StopCcn(_))));
    assert_eq!(lab.lns.calls.len(), 0);
}

#[test]
fn who_finds_no_address_is_told_so() {
    let more = "[[pool]]\nname = \"q\"\nprefixes = [\"10.9.0.0/30\"]\n\
        [[user]]\nname = \"carol\"\npassword = \"c\"\npool = \"q\"\n";
    let mut lab = Lab::new(more);
    lab.open();
    lab.up(5, "carol", "c");
    lab.up(6, "carol", "c");
    let second = lab.call(7).unwrap();
    lab.negotiate(second, "carol", "c");
    let nak = lab.take_frame([0xc0, 0x23], 3);
    assert_eq!(&nak[9..], b"no address is free");
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(second, &terminate);
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.as_call(), CallResult::NoFacilitiesTemporary);
    assert_eq!(cdn.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(cdn.result.message, "no address is free");
    assert_eq!(lab.count(LnsCounter::AuthenticationRefused), 0);
}

#[test]
fn a_vendors_error_says_what_happened() {
    let mut lab = Lab::new("");
    lab.open();
    let session = lab.call(5).unwrap();
    lab.negotiate(session, "alice", "blunder");
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(session, &terminate);
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.as_call(), CallResult::Error);
    assert_eq!(cdn.result.error, Some(ErrorCode::Vendor));
    assert_eq!(cdn.result.message, "authentication failed");
}

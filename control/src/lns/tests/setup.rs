//! Who opens a tunnel, and which SCCRQ is a new one.

use super::*;

#[test]
fn a_retransmitted_sccrq_finds_its_tunnel() {
    let mut lab = Lab::new("");
    let sccrq = lab.open();
    let rows = lab.lns.tunnel_rows(lab.now, 0, 10).0;
    assert_eq!((rows.len(), rows[0].state.as_str()), (1, "established"));
    lab.datagram(&sccrq);
    assert_eq!(lab.lns.tunnels.len(), 1);
    assert_eq!(lab.count(LnsCounter::SetupDuplicate), 1);
    let (_, address) = lab.up(5, "alice", "wonder");
    assert_ne!(address, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn a_peer_that_started_anew_gets_a_new_tunnel() {
    // The same request octet for octet, when no retransmission can be on its way any more.
    let mut lab = Lab::new("");
    let sccrq = lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    let old = lab.key(session);
    lab.wait(Duration::from_secs(40));
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.datagram(&sccrq);
    lab.ns = 1;
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    assert!(!lab.commands.contains(&Command::SessionRemove(old)), "anybody could have sent it");
    assert_eq!(lab.lns.tunnels.len(), 2);
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    lab.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    assert!(lab.commands.contains(&Command::SessionRemove(old)), "its calls are over");
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupReplaced)), (1, 1));
    lab.up(6, "alice", "wonder");
}

#[test]
fn a_repeated_request_that_comes_to_nothing_leaves_its_tunnel_to_be_found() {
    let mut lab = Lab::new("");
    let sccrq = lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    let old = lab.key(session);
    lab.wait(Duration::from_secs(40));
    // Recorded and sent again by somebody else; nobody answers the SCCRP.
    lab.datagram(&sccrq);
    assert_eq!(lab.lns.tunnels.len(), 2);
    let live = (lab.ns, lab.nr);
    let answered = |lab: &mut Lab| lab.control(SessionId(0), &Message::Hello);
    for _ in 0..7 {
        lab.wait(Duration::from_secs(10));
        lab.nr = live.1;
        answered(&mut lab);
    }
    lab.lns.audit().unwrap();
    assert_eq!(lab.lns.tunnels.len(), 1, "the repeated one is gone");
    assert!(!lab.commands.contains(&Command::SessionRemove(old)));
    // The peer itself starts anew with another request: the old tunnel is still found.
    let Message::Sccrq(mut another) = lab.sccrq() else { unreachable!() };
    another.tie_breaker = Some([1; 8]);
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.messages.clear();
    lab.control(SessionId(0), &Message::Sccrq(another));
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    lab.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    assert!(lab.commands.contains(&Command::SessionRemove(old)), "its calls are over");
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupReplaced)), (1, 1));
}

#[test]
fn forged_requests_with_a_live_identifier_take_nothing_away() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    let live = (lab.ns, lab.nr, lab.lns_tunnel);
    for forged in 0..3 {
        let Message::Sccrq(mut sccrq) = lab.sccrq() else { unreachable!() };
        sccrq.tie_breaker = Some([forged; 8]);
        (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
        lab.control(SessionId(0), &Message::Sccrq(sccrq));
    }
    let result = ResultCode::tunnel(TunnelResult::ShuttingDown, None, "");
    let stop = StopCcn { assigned_tunnel_id: Some(lab.lac_tunnel), result };
    lab.control(SessionId(0), &Message::StopCcn(Box::new(stop)));
    lab.wait(Duration::from_secs(45));
    (lab.ns, lab.nr, lab.lns_tunnel) = live;
    lab.messages.clear();
    assert!(!lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    assert_eq!((lab.lns.tunnels.len(), lab.lns.tunnels_by_peer.len()), (1, 1));
    assert_eq!(lab.lns.half_open.len(), 0);
    lab.up(6, "bob", "builder");
}

#[test]
fn another_request_with_the_same_identifier_replaces_once_it_is_established() {
    let mut lab = Lab::new("");
    lab.open();
    let Message::Sccrq(mut sccrq) = lab.sccrq() else { unreachable!() };
    sccrq.tie_breaker = Some([1; 8]);
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.control(SessionId(0), &Message::Sccrq(sccrq));
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    lab.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupReplaced)), (1, 1));
}

#[test]
fn limits_are_answered() {
    let mut lab = Lab::new("[l2tp]\nsessions_max = 1\ntunnels_per_peer_max = 1\n");
    lab.open();
    assert!(lab.call(5).is_some());
    assert!(lab.call(6).is_none(), "refused by CDN");
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.lac_tunnel = TunnelId(78);
    lab.messages.clear();
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let Some((_, Message::StopCcn(stop))) = lab.messages.pop() else { panic!("no StopCCN") };
    assert_eq!(stop.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(lab.lns.tunnels.len(), 1);
}

#[test]
fn half_open_tunnels_are_bounded_and_go_away() {
    let mut lab = Lab::new("[l2tp]\ntunnels_half_open_max = 3\n");
    for id in 1..=5 {
        (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
        lab.lac_tunnel = TunnelId(id);
        let sccrq = lab.sccrq();
        lab.control(SessionId(0), &sccrq);
    }
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupDisplaced)), (3, 2));
    lab.wait(Duration::from_secs(120));
    assert!(lab.lns.tunnels.is_empty());
    assert_eq!(lab.lns.half_open.len(), 0);
}

#[test]
fn a_profile_decides_who_comes_in() {
    let profile = "[[lac]]\nname = \"wholesale\"\npeers = [\"203.0.113.0/24\"]\n";
    let mut lab = Lab::new(profile);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let Some((_, Message::StopCcn(stop))) = lab.messages.pop() else { panic!("no StopCCN") };
    assert_eq!(stop.result.as_tunnel(), TunnelResult::NotAuthorized);
    let mut lab = Lab::new(profile);
    lab.peer = "203.0.113.9:1701".parse().unwrap();
    lab.open();
    assert_eq!(lab.lns.tunnel_rows(lab.now, 0, 10).0[0].lac, "wholesale");
}

#[test]
fn who_dials_again_right_after_the_end_gets_a_new_tunnel() {
    let mut lab = Lab::new("");
    let sccrq = lab.open();
    let result = ResultCode::tunnel(TunnelResult::ShuttingDown, None, "");
    let stop = StopCcn { assigned_tunnel_id: Some(lab.lac_tunnel), result };
    lab.control(SessionId(0), &Message::StopCcn(Box::new(stop)));
    // Octet for octet the same request, while the old tunnel still waits for repetitions.
    let before = lab.lns_tunnel;
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.datagram(&sccrq);
    lab.ns = 1;
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    assert_ne!(sccrp.assigned_tunnel_id, before);
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    lab.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    lab.up(6, "alice", "wonder");
    lab.wait(Duration::from_secs(45));
    assert_eq!((lab.lns.tunnels.len(), lab.lns.tunnels_by_peer.len()), (1, 1));
    assert_eq!(
        (lab.count(LnsCounter::TunnelsOpened), lab.count(LnsCounter::TunnelsClosed)),
        (2, 1)
    );
}

#[test]
fn at_the_end_nobody_comes_in_any_more() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    lab.lns.shut_down(lab.now);
    assert!(!lab.lns.is_quiet(), "the data plane is not told yet");
    lab.drain();
    assert!(lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    lab.messages.clear();
    (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
    lab.lac_tunnel = TunnelId(78);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let Some((_, Message::StopCcn(stop))) = lab.messages.pop() else { panic!("no StopCCN") };
    assert_eq!(stop.result.as_tunnel(), TunnelResult::ShuttingDown);
    assert_eq!(lab.lns.tunnels.len(), 1, "only the one that is closing");
}

#[test]
fn hosts_behind_one_address_are_peers_of_their_own() {
    // docs/peers.md rows 9 and 10: the same Tunnel ID from other ports, other IDs from one port.
    let mut lab = Lab::new("");
    let mut tunnels = Vec::new();
    for (port, id) in [(1701, 1), (1702, 1), (40_000, 1), (1701, 2)] {
        lab.peer.set_port(port);
        (lab.ns, lab.nr, lab.lns_tunnel, lab.lac_tunnel) = (0, 0, TunnelId(0), TunnelId(id));
        lab.open();
        let (session, _) = lab.up(5, "alice", "wonder");
        tunnels.push((port, lab.lns_tunnel, session));
    }
    assert_eq!((lab.lns.tunnels.len(), lab.lns.calls.len()), (4, 4));
    assert_eq!(lab.count(LnsCounter::SetupReplaced), 0);
    // What one of them sends belongs to itself alone.
    let (_, tunnel, session) = tunnels[0];
    (lab.lns_tunnel, lab.peer) = (tunnel, "198.51.100.7:40000".parse().unwrap());
    lab.frame(session, &[0xff, 3, 0xc0, 0x21, 5, 1, 0, 4]);
    assert_eq!(lab.count(LnsCounter::DataOuterAddress), 1);
    let changes: Vec<_> = std::iter::from_fn(|| lab.lns.poll_peer_change()).collect();
    assert_eq!(changes, [PeerChange::Used(lab.peer.ip())]);
}

#[test]
fn a_tunnel_stays_with_its_address_and_port() {
    let mut lab = Lab::new("");
    lab.open();
    let mut out = Vec::new();
    let numbers = (Sequence(lab.ns), Sequence(lab.nr));
    Message::Hello.emit(&mut out, lab.lns_tunnel, SessionId(0), numbers, None);
    let elsewhere: SocketAddr = "198.51.100.7:1702".parse().unwrap();
    lab.lns.handle_datagram(lab.now, lab.local, elsewhere, &out);
    assert_eq!(lab.count(LnsCounter::ControlOuterAddress), 1);
    // No answer, there or to the peer; the same from the right port is taken.
    assert!(lab.lns.poll_transmit().is_none());
    lab.control(SessionId(0), &icrq(5));
    assert!(matches!(lab.messages[..], [(_, Message::Icrp(_))]));
}

#[test]
fn other_versions_are_counted_and_not_answered() {
    let mut lab = Lab::new("");
    // L2F, L2TPv3, with and without the flag of control messages.
    for octets in [[0, 1], [0xc8, 1], [0, 3], [0xc8, 3]] {
        let mut datagram = octets.to_vec();
        datagram.extend([0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 8, 0, 0, 0, 0, 0, 1]);
        lab.lns.handle_datagram(lab.now, lab.local, lab.peer, &datagram);
    }
    assert_eq!(lab.count(LnsCounter::HeaderMalformed), 4);
    assert!(lab.lns.poll_transmit().is_none());
}

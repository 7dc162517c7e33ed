//! A flood from forged addresses: strangers compete with strangers, peers are served.

use super::*;

/// A lab where strangers ask for tunnels, each from its own address.
fn strangers(lab: &mut Lab, count: u32) {
    let peer = lab.peer;
    for number in 0..count {
        lab.peer = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 1701));
        (lab.ns, lab.nr, lab.lns_tunnel) = (0, 0, TunnelId(0));
        let sccrq = lab.sccrq();
        lab.control(SessionId(0), &sccrq);
        lab.messages.clear();
    }
    (lab.ns, lab.nr, lab.lns_tunnel, lab.peer) = (0, 0, TunnelId(0), peer);
}

#[test]
fn strangers_displace_each_other_and_never_a_peer() {
    let mut lab = Lab::new("[l2tp]\ntunnels_half_open_max = 3\ntunnels_max = 5\n");
    lab.open();
    strangers(&mut lab, 10);
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupDisplaced)), (4, 7));
    lab.lac_tunnel = TunnelId(2);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    strangers(&mut lab, 10);
    assert_eq!(lab.lns.tunnels.len(), 5, "the peer's half-open one stays");
    lab.lac_tunnel = TunnelId(3);
    lab.open();
    assert_eq!((lab.lns.tunnels.len(), lab.count(LnsCounter::SetupRefused)), (5, 10));
    let peers: Vec<_> = lab.lns.tunnels.values().filter(|entry| entry.peer == lab.peer).collect();
    assert_eq!(peers.len(), 3, "it took a stranger's place where there was no other");
    lab.lns.audit().unwrap();
}

#[test]
fn strangers_and_peers_have_rates_of_their_own() {
    let mut lab = Lab::new("[l2tp]\nsccrq_per_second_max = 10\n");
    lab.open();
    strangers(&mut lab, 1000);
    assert!(lab.count(LnsCounter::SetupRateLimited) > 900);
    lab.lac_tunnel = TunnelId(2);
    lab.open();
}

#[test]
fn a_peer_is_named_to_every_data_plane() {
    let mut lab = Lab::new("");
    lab.open();
    let set = Command::PeerSet { address: lab.peer.ip() };
    lab.lns.handle_dataplane_ready();
    assert_eq!(lab.lns.poll_command(), Some(set));
    strangers(&mut lab, 3);
    assert_eq!(lab.lns.poll_command(), None);
}

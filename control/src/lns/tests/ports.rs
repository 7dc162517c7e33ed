//! UDP ports: ours, that tunnels are spread over, and a peer's that changes.

use super::*;

const FOLLOW: &str = "[[lac]]\nname = \"a\"\nfollow_port = true\n";

impl Lab {
    /// A message with these numbers from another port of the peer; what is sent is left there.
    fn say_from(&mut self, port: u16, numbers: (u16, u16), message: Option<&Message>) {
        let mut out = Vec::new();
        let (ns, nr) = (Sequence(numbers.0), Sequence(numbers.1));
        match message {
            Some(message) => {
                message.emit(&mut out, self.lns_tunnel, SessionId(0), (ns, nr), None);
            }
            None => header::emit_zlb(&mut out, self.lns_tunnel, ns, nr),
        }
        let peer = SocketAddr::new(self.peer.ip(), port);
        self.lns.handle_datagram(self.now, self.local, peer, &out);
    }

    fn moved(&mut self, port: u16) -> bool {
        let moved = self.lns.tunnel_rows(self.now, 0, 10).0[0].peer.port() == port;
        if moved {
            self.peer.set_port(port);
        }
        self.drain();
        self.lns.audit().unwrap();
        moved
    }
}

#[test]
fn tunnels_are_spread_over_ports() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\nsource_ports = 4\n");
    let mut ports = BTreeSet::new();
    for id in 1..=32 {
        let Message::Sccrq(mut sccrq) = lab.sccrq() else { unreachable!() };
        sccrq.assigned_tunnel_id = TunnelId(id);
        let mut out = Vec::new();
        let numbers = (Sequence(0), Sequence(0));
        Message::Sccrq(sccrq).emit(&mut out, TunnelId(0), SessionId(0), numbers, None);
        lab.lns.handle_datagram(lab.now, lab.local, lab.peer, &out);
        let sccrp = lab.lns.poll_transmit().unwrap();
        assert_eq!(sccrp.local.ip(), lab.local.ip());
        // The same request again is answered from the same port.
        lab.lns.handle_datagram(lab.now, lab.local, lab.peer, &out);
        ports.insert(sccrp.local.port());
        while lab.lns.poll_transmit().is_some() {}
    }
    assert_eq!(lab.lns.tunnels.len(), 32);
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), [1701, 1702, 1703, 1704]);
}

#[test]
fn a_message_from_a_new_port_moves_tunnel_and_sessions() {
    let mut lab = Lab::new(FOLLOW);
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    lab.commands.clear();
    lab.say_from(40_000, (lab.ns, lab.nr), Some(&Message::Hello));
    lab.ns += 1;
    assert!(lab.moved(40_000));
    assert_eq!((lab.last_set().key, lab.last_set().peer), (lab.key(session), lab.peer));
    assert_eq!(lab.count(LnsCounter::PortFollowed), 1);
    // The old port is not the peer's any more, for now.
    lab.say_from(1701, (lab.ns, lab.nr), Some(&Message::Hello));
    assert!(!lab.moved(1701));
    assert_eq!(lab.count(LnsCounter::ControlOuterAddress), 1);
    lab.wait(Duration::from_secs(5));
    lab.say_from(1701, (lab.ns, lab.nr), Some(&Message::Hello));
    assert!(lab.moved(1701));
}

#[test]
fn who_does_not_know_the_numbers_moves_nothing() {
    let mut lab = Lab::new(FOLLOW);
    lab.open();
    let (ns, nr) = (lab.ns, lab.nr);
    // An Nr that acknowledges what was never sent, or is long past; an Ns out of the window.
    for numbers in
        [(ns, nr + 1), (ns, nr.wrapping_sub(1)), (ns + 64, nr), (ns.wrapping_sub(65), nr)]
    {
        lab.say_from(40_000, numbers, Some(&Message::Hello));
        assert!(!lab.moved(40_000), "{numbers:?}");
    }
    let other_host: SocketAddr = "198.51.100.8:1701".parse().unwrap();
    let mut out = Vec::new();
    Message::Hello.emit(&mut out, lab.lns_tunnel, SessionId(0), (Sequence(ns), Sequence(nr)), None);
    lab.lns.handle_datagram(lab.now, lab.local, other_host, &out);
    assert_eq!(lab.count(LnsCounter::ControlOuterAddress), 5);
    // A message that was received before, as its acknowledgement went to the old port.
    lab.say_from(40_000, (ns - 1, nr), Some(&Message::Hello));
    assert!(lab.moved(40_000));
}

#[test]
fn a_tunnel_in_set_up_keeps_its_port() {
    let mut lab = Lab::new(FOLLOW);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    let scccn = Message::Scccn(Scccn { challenge_response: None });
    lab.say_from(40_000, (1, 1), Some(&scccn));
    assert!(!lab.moved(40_000));
}

#[test]
fn data_from_a_new_port_makes_us_ask_there() {
    let mut lab = Lab::new(FOLLOW);
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    let elsewhere = SocketAddr::new(lab.peer.ip(), 40_000);
    let mut data = Vec::new();
    header::emit_data(&mut data, lab.lns_tunnel, session, None, false);
    data.extend_from_slice(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
    for _ in 0..3 {
        lab.lns.handle_datagram(lab.now, lab.local, elsewhere, &data);
    }
    let mut asked: Vec<SocketAddr> = Vec::new();
    while let Some(transmit) = lab.lns.poll_transmit() {
        let header = header::parse(&transmit.payload).unwrap();
        assert!(header.control, "no answer to what it said");
        asked.push(transmit.peer);
    }
    assert_eq!(asked, [elsewhere, lab.peer], "one HELLO, to both");
    assert_eq!(lab.count(LnsCounter::PortFollowed), 0);
    lab.nr += 1;
    lab.say_from(40_000, (lab.ns, lab.nr), None);
    assert!(lab.moved(40_000));
    assert_eq!(lab.last_set().peer, elsewhere);
}

#[test]
fn without_the_key_nobody_is_asked_or_followed() {
    let mut lab = Lab::new("");
    lab.open();
    let (session, _) = lab.up(5, "alice", "wonder");
    let elsewhere = SocketAddr::new(lab.peer.ip(), 40_000);
    let mut data = Vec::new();
    header::emit_data(&mut data, lab.lns_tunnel, session, None, false);
    data.extend_from_slice(&[0xff, 3, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]);
    lab.lns.handle_datagram(lab.now, lab.local, elsewhere, &data);
    assert!(lab.lns.poll_transmit().is_none());
    lab.say_from(40_000, (lab.ns, lab.nr), Some(&Message::Hello));
    assert!(!lab.moved(40_000));
}

#[test]
fn tunnel_id_0_is_an_established_tunnel_where_the_profile_allows_it() {
    for (quirk, answered) in [("", false), ("tunnel_id_zero = true\n", true)] {
        let mut lab = Lab::new(&format!("[[lac]]\nname = \"a\"\n{quirk}"));
        lab.open();
        let known = std::mem::replace(&mut lab.lns_tunnel, TunnelId(0));
        lab.control(SessionId(0), &icrq(5));
        assert_eq!(matches!(lab.messages[..], [(_, Message::Icrp(_))]), answered);
        // With a second tunnel of the same peer, nobody knows whose it is.
        lab.lns_tunnel = known;
        if answered {
            let first = (lab.ns, lab.nr);
            (lab.ns, lab.nr, lab.lns_tunnel, lab.lac_tunnel) = (0, 0, TunnelId(0), TunnelId(78));
            lab.messages.clear();
            lab.open();
            (lab.ns, lab.nr, lab.lns_tunnel) = (first.0, first.1, TunnelId(0));
            lab.control(SessionId(0), &icrq(6));
            assert_eq!(lab.messages, []);
            assert_eq!(lab.count(LnsCounter::ControlWithoutTunnel), 1);
        }
    }
}

//! Profiles: who has which, and what each gives and limits.

use super::*;
use crate::l2tp::secret;

const TWO: &str = "[[lac]]\nname = \"first\"\nhost_names = [\"lac\"]\nhost_name = \"lns-first\"\n\
    tunnels_max = 2\nsessions_max = 2\n[[lac]]\nname = \"rest\"\n";

fn stopped(lab: &mut Lab) -> StopCcn {
    match lab.messages.pop() {
        Some((_, Message::StopCcn(stop))) => *stop,
        other => panic!("{other:?}"),
    }
}

impl Lab {
    /// Another tunnel of the same peer.
    fn another(&mut self, lac_tunnel: u16) {
        self.messages.clear();
        (self.ns, self.nr, self.lns_tunnel) = (0, 0, TunnelId(0));
        self.lac_tunnel = TunnelId(lac_tunnel);
    }

    fn lac(&self, name: &str) -> crate::admin::LacRow {
        self.lns.audit().unwrap();
        self.lns.lac_rows().into_iter().find(|row| row.name == name).unwrap()
    }
}

#[test]
fn the_address_that_a_peer_came_to_chooses_the_profile() {
    let listen = "192.0.2.1\", \"192.0.2.9";
    let profiles = "[[lac]]\nname = \"nine\"\nlisten = [\"192.0.2.9\"]\n[[lac]]\nname = \"rest\"\n";
    let text = format!("{CONFIG}{profiles}").replacen("192.0.2.1", listen, 1);
    for (local, name) in [("192.0.2.1:1701", "rest"), ("192.0.2.9:1701", "nine")] {
        let mut lab = Lab::new("");
        lab.lns = Lns::new(Arc::new(Config::parse("t", &text).unwrap()), [7; 32]).unwrap();
        lab.local = local.parse().unwrap();
        lab.open();
        assert_eq!(lab.lns.tunnel_rows(lab.now, 0, 10).0[0].lac, name);
    }
}

#[test]
fn a_profile_has_its_own_name_and_limits() {
    let mut lab = Lab::new(TWO);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    assert_eq!(sccrp.host_name, b"lns-first");
    lab.lns_tunnel = sccrp.assigned_tunnel_id;
    lab.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
    lab.another(78);
    lab.open();
    lab.another(79);
    let sccrq = lab.sccrq();
    lab.control(SessionId(0), &sccrq);
    let stop = stopped(&mut lab);
    assert_eq!(stop.result.as_tunnel(), TunnelResult::Error);
    assert_eq!(stop.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(stop.result.message, "no more tunnels for this LAC profile");
    let row = lab.lac("first");
    assert_eq!((row.tunnels, row.tunnels_max, row.tunnels_refused), (2, 2, 1));
    // Another host is of the other profile, which has room.
    lab.another(80);
    let Message::Sccrq(mut other) = lab.sccrq() else { unreachable!() };
    other.host_name = b"other".to_vec();
    lab.control(SessionId(0), &Message::Sccrq(other));
    assert!(matches!(lab.messages[..], [(_, Message::Sccrp(_))]));
    assert_eq!(lab.lac("rest").tunnels, 1);
}

#[test]
fn a_closed_tunnel_makes_room_at_once() {
    let profile = "[[lac]]\nname = \"one\"\ntunnels_max = 1\n";
    let mut lab = Lab::new(profile);
    lab.open();
    let result = ResultCode::tunnel(TunnelResult::ShuttingDown, None, "");
    let stop = StopCcn { assigned_tunnel_id: Some(lab.lac_tunnel), result };
    lab.control(SessionId(0), &Message::StopCcn(Box::new(stop)));
    assert_eq!((lab.lac("one").tunnels, lab.lns.tunnels.len()), (0, 1));
    lab.another(78);
    lab.open();
    assert_eq!((lab.lac("one").tunnels, lab.lac("one").tunnels_opened), (1, 2));
}

#[test]
fn sessions_of_a_profile_are_limited_over_its_tunnels() {
    let mut lab = Lab::new(TWO);
    lab.open();
    let first = lab.call(5).unwrap();
    lab.another(78);
    lab.open();
    assert!(lab.call(5).is_some());
    lab.control(SessionId(0), &icrq(6));
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.as_call(), CallResult::NoFacilitiesTemporary);
    assert_eq!(cdn.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(cdn.result.message, "no more sessions for this LAC profile");
    let row = lab.lac("first");
    assert_eq!((row.sessions, row.calls_connected, row.calls_refused), (2, 2, 1));
    let tunnel = lab.lns.tunnel_rows(lab.now, 0, 10).0;
    let other = tunnel.iter().find(|row| row.peer_tunnel_id == 77).unwrap().tunnel_id;
    let which = SessionSelector::Id { tunnel_id: other, session_id: first.0 };
    lab.lns.clear_sessions(lab.now, &which);
    lab.wait(Duration::from_secs(10));
    assert_eq!(lab.lac("first").sessions, 1);
}

#[test]
fn a_tunnel_takes_as_many_sessions_as_its_profile_says() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\nsessions_per_tunnel_max = 1\n");
    lab.open();
    assert!(lab.call(5).is_some());
    assert!(lab.call(6).is_none());
}

#[test]
fn calls_are_refused_when_the_data_plane_stays_away() {
    let mut lab = Lab::new("");
    lab.open();
    let (stays, _) = lab.up(5, "alice", "wonder");
    lab.lns.handle_dataplane_away(lab.now);
    // Told again while it is away: since when does not change.
    lab.wait(Duration::from_secs(4));
    lab.lns.handle_dataplane_away(lab.now);
    assert!(lab.call(6).is_some(), "it may come back soon");
    lab.wait(Duration::from_secs(1));
    lab.control(SessionId(0), &icrq(7));
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.as_call(), CallResult::NoFacilitiesTemporary);
    assert_eq!(cdn.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(cdn.result.message, "forwarding is down on this LNS");
    let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert!(rows.iter().any(|row| row.session_id == stays.0 && row.state == "open"));
    lab.lns.handle_dataplane_ready();
    assert!(lab.call(8).is_some());
}

/// An SCCRQ with its Host Name hidden.
fn hidden_sccrq(secret: &[u8], host_name: &[u8], tunnel: u16) -> Vec<u8> {
    let avp = |number: u16, value: &[u8]| {
        let fields = [0x8000 | (6 + value.len()) as u16, 0, number].map(u16::to_be_bytes);
        [fields.as_flattened(), value].concat()
    };
    let vector = [9; 16];
    let mut covered = Vec::new();
    secret::hide(7, secret, &vector, host_name, b"", &mut covered);
    let fields = [0xc000 | (6 + covered.len()) as u16, 0, 7].map(u16::to_be_bytes);
    let body = [
        &avp(0, &[0, 1])[..],
        &avp(2, &[1, 0]),
        &avp(3, &[0, 0, 0, 3]),
        &avp(36, &vector),
        fields.as_flattened(),
        &covered,
        &avp(9, &tunnel.to_be_bytes()),
    ]
    .concat();
    let fields = [0xc802, (12 + body.len()) as u16, 0, 0, 0, 0].map(u16::to_be_bytes);
    [fields.as_flattened(), &body[..]].concat()
}

#[test]
fn a_hidden_host_name_finds_the_profile_whose_secret_hides_it() {
    let profiles = "[[lac]]\nname = \"a\"\nhost_names = [\"a.lac\"]\nsecret = \"first\"\n\
        [[lac]]\nname = \"b\"\nhost_names = [\"b.lac\"]\nsecret = \"second\"\n";
    let mut lab = Lab::new(profiles);
    lab.datagram(&hidden_sccrq(b"second", b"b.lac", 77));
    let Some((_, Message::Sccrp(sccrp))) = lab.messages.pop() else { panic!("no SCCRP") };
    assert!(sccrp.challenge.is_some());
    let rows = lab.lns.tunnel_rows(lab.now, 0, 10).0;
    assert_eq!((rows[0].lac.as_str(), rows[0].host_name.as_str()), ("b", "b.lac"));
    // The secret of the one does not open the door of the other.
    lab.datagram(&hidden_sccrq(b"first", b"b.lac", 78));
    assert_eq!(stopped(&mut lab).assigned_tunnel_id.map(|id| id.0 != 0), Some(true));
    lab.datagram(&hidden_sccrq(b"third", b"a.lac", 79));
    stopped(&mut lab);
    assert_eq!(lab.lns.tunnels.len(), 1);
}

#[test]
fn every_frame_has_address_and_control_where_the_profile_says_so() {
    for (value, acfc) in [("negotiated", true), ("always", false)] {
        let profile = format!("[[lac]]\nname = \"a\"\naddress_control = \"{value}\"\nmru = 1454\n");
        let mut lab = Lab::new(&profile);
        lab.open();
        let session = lab.call(5).unwrap();
        let request = lab.take_frame([0xc0, 0x21], 1);
        assert_eq!(&request[8..12], &[1, 4, 5, 0xae], "MRU 1454: {request:x?}");
        // The subscriber offers ACFC and says PAP.
        lab.frame(session, &[0xff, 3, 0xc0, 0x21, 1, 1, 0, 6, 8, 2]);
        lab.take_frame([0xc0, 0x21], 2);
        let nak = [0xff, 3, 0xc0, 0x21, 3, request[5], 0, 8, 3, 4, 0xc0, 0x23];
        lab.frame(session, &nak);
        lab.frames.retain(|(_, frame)| frame[5] != request[5]);
        let mut ack = lab.take_frame([0xc0, 0x21], 1);
        ack[4] = 2;
        lab.frame(session, &ack);
        lab.frames.clear();
        lab.pap(session, "alice", "wonder");
        assert_eq!(lab.last_set().send_acfc, acfc);
        let with = lab.frames.iter().all(|(_, frame)| frame[..2] == [0xff, 3]);
        assert_eq!(with, !acfc, "{:x?}", lab.frames);
    }
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let run = || {
        let mut lab = Lab::new("");
        lab.open();
        let (session, _) = lab.up(5, "alice", "wonder");
        (lab.lns_tunnel, session, lab.last_set().magic)
    };
    assert_eq!(run(), run());
}

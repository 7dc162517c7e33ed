//! Peers that need a profile of their own.

use std::time::Duration;

use crate::lac::{Call, Lac, SESSION_ID, TUNNEL_ID, iccn, icrq, sccrq};
use crate::octets::{
    CDN, CHAP, HELLO, ICCN, ICRP, ICRQ, LCP, Message, PAP, SCCCN, SCCRP, SCCRQ, STOP_CCN, control,
    frame, mandatory, optional,
};
use crate::stage::{LNS, Settings, Stage};

/// xlnsd with one profile.
#[track_caller]
fn stage(name: &str, l2tp: &'static str, profiles: &'static str) -> Stage {
    let l2tp = if l2tp.is_empty() { Settings::default().l2tp } else { l2tp };
    Stage::with(name, &Settings { l2tp, profiles, ..Settings::default() })
}

#[test]
fn android_may_be_held_to_its_answers() {
    let l2tp = "hello_interval_seconds = 60\nretransmit_initial_ms = 100\n\
                retransmit_max_ms = 100\nretransmit_tries = 3\n";
    let profiles = "[[lac]]\nname = \"strict\"\ndata_is_life = false\nhello_interval_seconds = 1\n";
    let stage = stage("row-7-strict", l2tp, profiles);
    let mut phone = stage.lac();
    phone.open_tunnel();
    let call = phone.open_call(SESSION_ID);
    phone.open_lcp(&call, &[]);
    phone.acknowledge();
    // An echo for each HELLO does not help.
    let mut hellos = 0;
    while let Some(datagram) = phone.receive_within(Duration::from_secs(3)) {
        if datagram[0] & 0x80 != 0 && datagram.len() > 12 {
            assert_eq!(Message::read(&datagram).0.number, HELLO);
            hellos += 1;
            phone.send_frame(&call, &frame(LCP, 9, hellos, &[0; 4]));
        }
    }
    assert_eq!(hellos, 4, "one and three repetitions");
    stage.wait_log("peer does not answer");
    stage.wait_count("tunnels", 0);
}

const FOLLOW: &str = "[[lac]]\nname = \"roaming\"\nfollow_port = true\n";

#[test]
fn a_translator_gives_windows_another_port() {
    let stage = stage("row-10-moves", "", FOLLOW);
    let mut windows = stage.lac_at(1701);
    windows.open_tunnel();
    let call = windows.open_call(SESSION_ID);
    windows.open_lcp(&call, &[]);
    windows.acknowledge();
    // The challenge stays on the way to the old port; the subscriber answers none, but says hello.
    windows.move_to(stage.lac_at(40_001));
    windows.fence();
    assert_eq!(stage.show("tunnels")[0]["peer"], windows.address().to_string());
    windows.echo(&call, 7);
    // Somebody else at that address knows the Tunnel ID and no number: nothing moves.
    let stranger = stage.lac_at(40_002);
    let ids = (windows.lns_tunnel_id, 0);
    let hello = mandatory(0, &HELLO.to_be_bytes());
    stranger.send(&control(ids, (windows.ns + 500, windows.nr + 500), &hello));
    windows.assert_quiet();
    assert_eq!(stage.show("tunnels")[0]["peer"], windows.address().to_string());
}

#[test]
fn mikrotik_leaves_port_1701_after_the_set_up() {
    let stage = stage("row-14", "", FOLLOW);
    let mut mikrotik = stage.lac_at(1701);
    mikrotik.open_tunnel();
    mikrotik.move_to(stage.lac_at(41_000));
    let call = mikrotik.open_call(SESSION_ID);
    mikrotik.dial(&call);
    assert_eq!(stage.show("sessions")[0]["peer"], mikrotik.address().to_string());
    assert_eq!(stage.show("tunnels")[0]["is_port_translated"], true);
}

#[test]
fn data_from_another_port_is_asked_for_a_sign() {
    let stage = stage("row-14-data", "", FOLLOW);
    let mut mikrotik = stage.lac_at(1701);
    mikrotik.open_tunnel();
    let call = mikrotik.open_call(SESSION_ID);
    mikrotik.open_lcp(&call, &[]);
    mikrotik.acknowledge();
    mikrotik.move_to(stage.lac_at(41_000));
    // PPP alone gets no answer there, but a HELLO; whoever answers that is the peer.
    mikrotik.send_frame(&call, &frame(LCP, 9, 1, &[0; 4]));
    mikrotik.hear(HELLO);
    mikrotik.acknowledge();
    mikrotik.echo(&call, 2);
    assert_eq!(stage.show("tunnels")[0]["peer"], mikrotik.address().to_string());
}

#[test]
fn huawei_has_an_mru_of_its_own() {
    let profiles = "[[lac]]\nname = \"huawei\"\nhost_names = [\"lac\"]\nmru = 1454\n\
                    [[lac]]\nname = \"others\"\n";
    let stage = stage("row-18-profile", "", profiles);
    for (name, mru) in [(&b"lac"[..], [0x05, 0xae]), (b"other", [0x05, 0xb4])] {
        let mut lac = stage.lac();
        let request = [
            mandatory(2, &[1, 0]),
            mandatory(3, &[0, 0, 0, 3]),
            mandatory(7, name),
            mandatory(9, &TUNNEL_ID.to_be_bytes()),
        ];
        lac.say(0, SCCRQ, &request.concat());
        lac.lns_tunnel_id = lac.hear(SCCRP).id(9);
        lac.say(0, SCCCN, &[]);
        lac.hear_zlb();
        let call = lac.open_call(SESSION_ID);
        let options = lac.acknowledge_lcp(&call);
        assert_eq!(options[..4], [1, 4, mru[0], mru[1]]);
    }
}

/// A call whose LAC has negotiated with alice already: with this MRU, and PAP with this password.
#[track_caller]
fn proxied(stage: &Stage, mru: u16, password: &[u8]) -> (Lac, Call) {
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    let [high, low] = mru.to_be_bytes();
    let proxied = [
        iccn(),
        optional(26, &[1, 4, high, low, 5, 6, 1, 2, 3, 4]),
        optional(27, &[1, 4, 0x05, 0xb4, 3, 4, 0xc0, 0x23, 5, 6, 9, 8, 7, 6]),
        optional(28, &[1, 4, high, low, 5, 6, 1, 2, 3, 4]),
        optional(29, &[0, 3]),
        optional(30, b"alice"),
        optional(32, &[0, 1]),
        optional(33, password),
    ];
    lac.say(call.lns_id, ICCN, &proxied.concat());
    lac.hear_zlb();
    (lac, call)
}

#[test]
fn a_wholesaler_hands_over_what_it_negotiated() {
    let profiles = "[[lac]]\nname = \"wholesale\"\nhost_name = \"lns.wholesale\"\n\
                    address_control = \"always\"\ncall_mode = \"proxy\"\nmru_min = 1400\n";
    let stage = stage("row-20-proxy", "", profiles);
    let mut lac = stage.lac();
    lac.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    assert_eq!(lac.hear(SCCRP).value(7), b"lns.wholesale");
    // LCP is done and alice is known: her PAP request, which the LAC has left open, is answered
    // under its identifier, and IPCP begins, with FF 03 on each frame.
    let (mut lac, call) = proxied(&stage, 1460, b"alice-password");
    assert_eq!(lac.packet(&call, PAP)[..2], [2, 1]);
    lac.open_ipcp(&call);
    assert_eq!(stage.show("sessions")[0]["user"], "alice");

    // An MRU that is out of the question: LCP begins anew.
    let (mut lac, call) = proxied(&stage, 576, b"alice-password");
    lac.acknowledge_lcp(&call);
    // The subscriber takes ACFC; FF 03 stays on what is sent.
    lac.send_frame(&call, &frame(LCP, 1, 1, &[8, 2]));
    lac.expect(&call, LCP, 2, 1, &[8, 2]);
    let challenge = lac.packet(&call, CHAP);
    assert_eq!(challenge[0], 1);
}

#[test]
fn a_wholesalers_subscriber_may_be_challenged_again() {
    let profiles = "[[lac]]\nname = \"wholesale\"\ncall_mode = \"mandatory-chap\"\n\
                    authentication = [\"chap-md5\"]\n";
    let stage = stage("row-20-chap", "", profiles);
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    let proxied = [
        iccn(),
        optional(26, &[5, 6, 1, 2, 3, 4]),
        optional(27, &[1, 4, 0x05, 0xb4, 3, 5, 0xc2, 0x23, 5, 5, 6, 9, 8, 7, 6]),
        optional(28, &[5, 6, 1, 2, 3, 4]),
    ];
    lac.say(call.lns_id, ICCN, &proxied.concat());
    lac.hear_zlb();
    lac.prove(&call);
    lac.open_ipcp(&call);
}

#[test]
fn d_link_forgets_the_tunnel_id() {
    let stage = stage("row-26-profile", "", "[[lac]]\nname = \"old\"\ntunnel_id_zero = true\n");
    let mut router = stage.lac();
    router.open_tunnel();
    let known = std::mem::replace(&mut router.lns_tunnel_id, 0);
    router.say(0, ICRQ, &icrq(SESSION_ID));
    let icrp = router.hear(ICRP);
    let call = Call { id: SESSION_ID, lns_id: icrp.id(14), acfc: false };
    router.say(call.lns_id, ICCN, &iccn());
    router.hear_zlb();
    // Its data has the ID.
    router.lns_tunnel_id = known;
    router.dial(&call);
    // At another port nobody is known by 0.
    let mut stranger = stage.lac();
    stranger.say(0, ICRQ, &icrq(SESSION_ID));
    assert_eq!(stranger.receive_within(Duration::from_millis(200)), None);
}

#[test]
fn an_empty_tunnel_is_closed_by_profile() {
    let stage = stage("row-32-profile", "", "[[lac]]\nname = \"xp\"\nidle_seconds = 1\n");
    let mut windows = stage.lac();
    windows.open_tunnel();
    let call = windows.open_call(SESSION_ID);
    let end = [mandatory(1, &[0, 1, 0, 0]), mandatory(14, &SESSION_ID.to_be_bytes())].concat();
    windows.say(call.lns_id, CDN, &end);
    let stop = loop {
        let datagram = windows.receive_within(Duration::from_secs(4)).unwrap();
        if datagram[0] & 0x80 != 0 && datagram.len() > 12 {
            break Message::read(&datagram).0;
        }
    };
    assert_eq!((stop.number, stop.value(1)[..2].to_vec()), (STOP_CCN, vec![0, 1]));
}

#[test]
fn tunnels_live_on_ports_of_their_own() {
    let stage = stage("source-ports", "", "[[lac]]\nname = \"spread\"\nsource_ports = 4\n");
    for _ in 0..4 {
        let socket = stage.socket();
        let body = [mandatory(0, &SCCRQ.to_be_bytes()), sccrq(TUNNEL_ID)].concat();
        socket.send_to(&control((0, 0), (0, 0), &body), (LNS, 1701)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        let mut octets = [0; 2048];
        let (length, from) = socket.recv_from(&mut octets).unwrap();
        assert!((1701..=1704).contains(&from.port()), "{from}");
        // From now on it is this port's, both ways: a connected socket hears no other.
        socket.connect(from).unwrap();
        let mut lac = Lac::new(socket);
        (lac.ns, lac.nr) = (1, 1);
        lac.lns_tunnel_id = Message::read(&octets[..length]).0.id(9);
        lac.say(0, SCCCN, &[]);
        lac.hear_zlb();
        let call = lac.open_call(SESSION_ID);
        lac.open_lcp(&call, &[]);
        assert_eq!(lac.packet(&call, CHAP)[0], 1);
    }
    assert_eq!(stage.show("lacs")[0]["tunnels"], 4);
}

//! How peers set up and keep a control connection.

use std::time::Duration;

use crate::lac::{Lac, SESSION_ID, TUNNEL_ID, iccn, icrq, sccrq};
use crate::octets::{
    HELLO, ICCN, ICRP, ICRQ, Message, SCCCN, SCCRP, SCCRQ, STOP_CCN, control, hidden, mandatory,
    md5, optional,
};
use crate::stage::{Settings, Stage};

/// A profile with a secret.
const SECRET: &str = "[[lac]]\nname = \"lac\"\nsecret = \"tunnel-secret\"\n";

/// The message type alone.
fn kind(number: u16) -> Vec<u8> {
    mandatory(0, &number.to_be_bytes())
}

/// An SCCRQ as a datagram.
fn sccrq_datagram(avps: &[u8]) -> Vec<u8> {
    control((0, 0), (0, 0), &[kind(SCCRQ), avps.to_vec()].concat())
}

#[test]
fn apple_ends_its_host_name_with_a_nul() {
    let profiles = "[[lac]]\nname = \"mac\"\nhost_names = [\"studio.local\"]\n";
    let stage = Stage::with("row-2", &Settings { profiles, ..Settings::default() });
    let request = |name: &[u8]| {
        [
            mandatory(2, &[1, 0]),
            mandatory(3, &[0, 0, 0, 3]),
            mandatory(7, name),
            mandatory(9, &[0, 1]),
        ]
        .concat()
    };
    let mut mac = stage.lac();
    mac.tunnel_id = 1;
    mac.say(0, SCCRQ, &request(b"studio.local\0"));
    mac.hear(SCCRP);
    assert_eq!(stage.show("tunnels")[0]["host_name"], "studio.local");

    let mut other = stage.lac();
    other.tunnel_id = 1;
    other.say(0, SCCRQ, &request(b"studio.local\0x"));
    assert_eq!(other.hear(STOP_CCN).value(1)[..2], [0, 4]);
}

#[test]
fn apple_gets_nothing_that_it_fails_on() {
    let stage = Stage::start("row-3");
    let mut mac = stage.lac();
    mac.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    let datagram = mac.receive_within(Duration::from_secs(4)).unwrap();
    let (sccrp, _) = Message::read(&datagram);
    let wanted =
        [
            // Message Type, Protocol Version, Framing Capabilities.
            &[
                0x80, 8, 0, 0, 0, 0, 0, 2, 0x80, 8, 0, 0, 0, 2, 1, 0, 0x80, 10, 0, 0, 0, 3, 0, 0,
                0, 3,
            ][..],
            // Host Name, Assigned Tunnel ID.
            &[0x80, 14, 0, 0, 0, 7],
            b"xlns-lab",
            &[0x80, 8, 0, 0, 0, 9],
            sccrp.value(9),
            // Vendor Name, the only one that may be skipped; Receive Window Size. No challenge.
            &[0, 10, 0, 0, 0, 8],
            b"xlns",
            &[0x80, 8, 0, 0, 0, 10, 0, 64],
        ]
        .concat();
    assert_eq!(datagram, control((TUNNEL_ID, 0), (0, 1), &wanted));
}

#[test]
fn apple_asks_every_second_and_does_not_wait_for_the_tunnel() {
    let stage = Stage::start("row-4");
    let mut mac = stage.lac();
    let request = [sccrq(TUNNEL_ID), mandatory(10, &[0, 4])].concat();
    for _ in 0..3 {
        mac.send(&sccrq_datagram(&request));
    }
    mac.ns = 1;
    mac.lns_tunnel_id = mac.hear(SCCRP).id(9);
    // The ICRQ overtakes the SCCCN.
    let ids = (mac.lns_tunnel_id, 0);
    let call = [kind(ICRQ), icrq(SESSION_ID)].concat();
    mac.send(&control(ids, (2, 1), &call));
    mac.send(&control(ids, (1, 1), &kind(SCCCN)));
    mac.ns = 3;
    let call = mac.hear_icrp(SESSION_ID);
    mac.say(call.lns_id, ICCN, &iccn());
    assert_eq!(stage.show("tunnels").len(), 1);

    // Data has the Length field, always.
    let ack = mac.frame(&call);
    let ack = [&[0xff, 3, 0xc0, 0x21, 2], &ack[5..]].concat();
    for frame in [&ack[..], &[0xff, 3, 0xc0, 0x21, 1, 9, 0, 4]] {
        let length = u16::try_from(8 + frame.len()).unwrap();
        let fields = [0x4002, length, mac.lns_tunnel_id, call.lns_id].map(u16::to_be_bytes);
        mac.send(&[fields.as_flattened(), frame].concat());
    }
    mac.expect(&call, crate::octets::LCP, 2, 9, &[]);
    // In one address family the port is the tunnel's only mark of whom to answer.
    assert_eq!(stage.show("tunnels")[0]["peer"], mac.address().to_string());
}

#[test]
fn android_waits_for_a_zlb_and_takes_one_message_at_a_time() {
    let stage = Stage::start("row-5");
    let mut phone = stage.lac();
    phone.say(0, SCCRQ, &[sccrq(TUNNEL_ID), mandatory(10, &[0, 1])].concat());
    phone.lns_tunnel_id = phone.hear(SCCRP).id(9);
    phone.say(0, SCCCN, &[]);
    assert_eq!(phone.hear_zlb(), control((TUNNEL_ID, 0), (1, 2), &[]));
    // Two calls, and no acknowledgement: the second reply has to wait.
    phone.say(0, ICRQ, &icrq(1));
    phone.say(0, ICRQ, &icrq(2));
    let call = phone.hear_icrp(1);
    phone.nr -= 1;
    phone.assert_quiet();
    phone.nr += 1;
    phone.acknowledge();
    phone.hear_icrp(2);
    phone.say(call.lns_id, ICCN, &iccn());
    // A ZLB although the acknowledgement could wait, and before PPP begins.
    assert_eq!(
        phone.receive_within(Duration::from_secs(4)),
        Some(control((TUNNEL_ID, 0), (3, phone.ns), &[]))
    );
    phone.acknowledge_lcp(&call);
}

#[test]
fn android_takes_only_exact_headers() {
    let (l2tp, ppp) = ("hello_interval_seconds = 1\n", "restart_timer_ms = 300\n");
    let settings = Settings { l2tp, ppp, ..Settings::default() };
    let mut stage = Stage::with("row-6", &settings);
    let mut phone = stage.lac();
    // Every message goes through `Message::read`: these are all kinds that an LNS sends.
    phone.open_tunnel();
    let call = phone.open_call(SESSION_ID);
    phone.open_lcp(&call, &[]);
    phone.hear(HELLO);
    phone.send_frame(&call, &crate::octets::frame(crate::octets::LCP, 5, 7, &[]));
    phone.acknowledge();
    let cdn = loop {
        let datagram = phone.receive_within(Duration::from_secs(4)).unwrap();
        if datagram[0] & 0x80 == 0 || datagram.len() == 12 {
            continue;
        }
        let (message, _) = Message::read(&datagram);
        if message.ns == phone.nr {
            break message;
        }
    };
    assert_eq!((cdn.number, cdn.session_id, cdn.id(14)), (14, SESSION_ID, call.lns_id));
    phone.nr += 1;
    phone.acknowledge();
    stage.stop();
    loop {
        let datagram = phone.receive_within(Duration::from_secs(4)).unwrap();
        let (message, is_zlb) = Message::read(&datagram);
        if !is_zlb && message.number == STOP_CCN {
            assert_eq!(
                (message.value(1)[..2].to_vec(), message.id(9)),
                (vec![0, 6], phone.lns_tunnel_id)
            );
            break;
        }
    }
}

#[test]
fn android_never_answers_hello() {
    let l2tp = "hello_interval_seconds = 1\nretransmit_initial_ms = 100\n\
                retransmit_max_ms = 100\nretransmit_tries = 3\n";
    let stage = Stage::with("row-7", &Settings { l2tp, ..Settings::default() });
    let mut phone = stage.lac();
    phone.open_tunnel();
    let call = phone.open_call(SESSION_ID);
    phone.open_lcp(&call, &[]);
    phone.acknowledge();
    // Three times as many HELLOs as a dead peer gets, and an echo for each instead of an answer.
    let mut hellos = 0;
    while hellos < 12 {
        let datagram = phone.receive_within(Duration::from_secs(4)).unwrap();
        if datagram[0] & 0x80 != 0 && datagram.len() > 12 {
            assert_eq!(Message::read(&datagram).0.number, HELLO);
            hellos += 1;
            phone.send_frame(&call, &crate::octets::frame(crate::octets::LCP, 9, hellos, &[0; 4]));
        }
    }
    assert_eq!(stage.show("tunnels")[0]["state"], "established");
    // Now it is silent altogether.
    stage.wait_log("peer does not answer");
    stage.wait_count("tunnels", 0);
}

#[test]
fn hosts_behind_one_nat_use_the_same_ids() {
    let stage = Stage::start("row-10");
    let mut hosts = [stage.lac_at(1701), stage.lac_at(40_001), stage.lac_at(40_002)];
    for host in &mut hosts {
        host.tunnel_id = 1;
        host.open_tunnel();
        let call = host.open_call(1);
        host.open_lcp(&call, &[]);
    }
    assert_eq!(stage.show("tunnels").len(), 3);
    assert_eq!(stage.show("sessions").len(), 3);
    // The end of one is not that of another.
    let [first, second, third] = &mut hosts;
    let stop = [mandatory(9, &[0, 1]), mandatory(1, &[0, 1])].concat();
    second.say(0, STOP_CCN, &stop);
    second.hear_zlb();
    for host in [first, third] {
        host.fence();
    }
    assert_eq!(stage.show("sessions").len(), 2);
}

#[test]
fn windows_acknowledges_late() {
    let stage = Stage::with("row-11", &Settings { l2tp: "", ..Settings::default() });
    let mut windows = stage.lac();
    windows.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    windows.lns_tunnel_id = windows.hear(SCCRP).id(9);
    // Half a second later the SCCRP has not been repeated.
    assert_eq!(windows.receive_within(Duration::from_millis(500)), None);
    windows.say(0, SCCCN, &[]);
    windows.hear_zlb();
    assert_eq!(stage.show("tunnels")[0]["retransmissions"], 0);
}

#[test]
fn juniper_is_answered_from_port_1701_and_says_one_speed() {
    // A LAC's socket is connected: it hears nothing that comes from another port.
    let stage = Stage::start("row-15");
    let mut juniper = stage.lac_at(1701);
    juniper.open_tunnel();
    let call = juniper.offer_call(SESSION_ID);
    let no_receive_speed = [mandatory(24, &[0, 1, 0xf4, 0]), mandatory(19, &[0, 0, 0, 1])].concat();
    juniper.say(call.lns_id, ICCN, &no_receive_speed);
    juniper.hear_zlb();
    juniper.dial(&call);
}

/// Sets up a tunnel with the secret; the response has `more` octets behind it.
#[track_caller]
fn respond(lac: &mut Lac, secret: &[u8], more: &[u8]) {
    lac.say(0, SCCRQ, &[sccrq(TUNNEL_ID), mandatory(10, &[3, 0x20])].concat());
    let sccrp = lac.hear(SCCRP);
    lac.lns_tunnel_id = sccrp.id(9);
    let response = md5(&[&[3], secret, sccrp.value(11)]);
    lac.say(0, SCCCN, &mandatory(13, &[&response[..], more].concat()));
    lac.hear_zlb();
}

#[test]
fn cisco_appends_to_its_challenge_response() {
    let settings = Settings { profiles: SECRET, ..Settings::default() };
    let stage = Stage::with("row-16", &settings);
    let mut cisco = stage.lac();
    respond(&mut cisco, b"tunnel-secret", b"\x00\x01\x02\x03\x04\x05");
    let call = cisco.open_call(SESSION_ID);
    cisco.dial(&call);

    let mut stranger = stage.lac();
    respond(&mut stranger, b"guessed", b"");
    assert_eq!(stranger.hear(STOP_CCN).value(1)[..2], [0, 4]);
}

#[test]
fn a_repeated_sccrq_finds_its_tunnel() {
    let stage = Stage::with("row-21-tunnel", &Settings { l2tp: "", ..Settings::default() });
    let mut lac = stage.lac();
    lac.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    let first = lac.receive_within(Duration::from_secs(4)).unwrap();
    lac.send(&sccrq_datagram(&sccrq(TUNNEL_ID)));
    // Acknowledged at once, and the same reply again when that is due: sooner only where the peer
    // asks again after a quarter of a second.
    assert_eq!(
        lac.receive_within(Duration::from_secs(4)),
        Some(control((TUNNEL_ID, 0), (1, 1), &[]))
    );
    assert_eq!(lac.receive_within(Duration::from_secs(4)), Some(first));
    assert_eq!(stage.show("tunnels").len(), 1);
}

#[test]
fn a_repeated_icrq_finds_its_session() {
    let stage = Stage::start("row-21-session");
    let mut lac = stage.lac();
    lac.open_tunnel();
    lac.say(0, ICRQ, &icrq(SESSION_ID));
    lac.ns -= 1;
    lac.say(0, ICRQ, &icrq(SESSION_ID));
    let call = lac.hear_icrp(SESSION_ID);
    lac.hear_zlb();
    // As a message of its own, too.
    let again = lac.offer_call(SESSION_ID);
    assert_eq!(again.lns_id, call.lns_id);
    lac.assert_quiet();
    assert_eq!(stage.show("sessions").len(), 1);
}

#[test]
fn a_refused_sccrq_is_answered() {
    let l2tp = "tunnels_max = 1\n";
    let profiles = "[[lac]]\nname = \"lac\"\nhost_names = [\"lac\"]\n";
    let stage = Stage::with("row-23", &Settings { l2tp, profiles, ..Settings::default() });
    let refused = |avps: &[u8]| {
        let mut lac = stage.lac();
        lac.say(0, SCCRQ, avps);
        let stop = lac.hear(STOP_CCN);
        assert_eq!((stop.session_id, stop.nr), (0, 1));
        assert_ne!(stop.id(9), 0);
        stop.value(1)[..4].to_vec()
    };
    let stranger = [
        mandatory(2, &[1, 0]),
        mandatory(3, &[0, 0, 0, 3]),
        mandatory(7, b"stranger"),
        mandatory(9, &TUNNEL_ID.to_be_bytes()),
    ];
    assert_eq!(refused(&stranger.concat()), [0, 4, 0, 0], "not authorised");
    stage.lac().open_tunnel();
    assert_eq!(refused(&sccrq(TUNNEL_ID)), [0, 2, 0, 7], "try another");
    assert_eq!(refused(&[sccrq(TUNNEL_ID), mandatory(99, &[])].concat()), [0, 2, 0, 8], "unknown");
    assert_eq!(stage.show("tunnels").len(), 1);
}

#[test]
fn what_is_not_l2tpv2_gets_no_answer_and_leaves_nothing() {
    let stage = Stage::start("row-28");
    let mut lac = stage.lac();
    for version in [1, 3] {
        let mut datagram = sccrq_datagram(&sccrq(TUNNEL_ID));
        datagram[1] = version;
        lac.send(&datagram);
    }
    // Noise of every length, from a small generator of its own.
    let mut state = 1_u32;
    for length in 0..200 {
        let mut octets = Vec::new();
        octets.resize_with(length, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        lac.send(&octets);
    }
    for number in 0..200 {
        lac.send(&control((0, 0), (number, number), &[]));
        lac.send(&control((number, 0), (0, 0), &[]));
    }
    lac.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    let first = lac.receive_within(Duration::from_secs(4)).unwrap();
    assert_eq!(Message::read(&first).0.number, SCCRP);
    assert_eq!(stage.show("tunnels").len(), 1);
    // In the tunnel they are not answered either.
    lac.lns_tunnel_id = Message::read(&first).0.id(9);
    lac.nr = 1;
    lac.say(0, SCCCN, &[]);
    lac.hear_zlb();
    for _ in 0..200 {
        lac.acknowledge();
    }
    lac.assert_quiet();
}

#[test]
fn accel_ppp_hides_all_it_says_in_odd_lengths() {
    let settings = Settings { profiles: SECRET, ..Settings::default() };
    let stage = Stage::with("row-37", &settings);
    let mut accel = stage.lac();
    let secret = b"tunnel-secret";
    let (vector, challenge) = ([0xc3; 136], [0x3c; 134]);
    let cover = |number, value: &[u8], padding| hidden(number, value, secret, &vector, padding);
    let vectored = |avps: &[Vec<u8>]| [mandatory(36, &vector), avps.concat()].concat();
    let request = [
        mandatory(2, &[1, 0]),
        cover(3, &[0, 0, 0, 3], 19),
        mandatory(7, b"accel"),
        cover(9, &TUNNEL_ID.to_be_bytes(), 142),
        cover(8, b"accel-ppp", 20),
        cover(11, &challenge, 77),
    ];
    accel.say(0, SCCRQ, &vectored(&request));
    let sccrp = accel.hear(SCCRP);
    assert_eq!(sccrp.value(13), md5(&[&[2], secret, &challenge]));
    accel.lns_tunnel_id = sccrp.id(9);
    let response = md5(&[&[3], secret, sccrp.value(11)]);
    accel.say(0, SCCCN, &vectored(&[cover(13, &response, 19)]));
    accel.hear_zlb();
    let serial_number = cover(15, &[0, 0, 0, 1], 40);
    accel.say(0, ICRQ, &vectored(&[cover(14, &SESSION_ID.to_be_bytes(), 19), serial_number]));
    let call = accel.hear_icrp(SESSION_ID);
    let speeds = [cover(24, &[0, 0, 0xff, 0xff], 19), cover(19, &[0, 0, 0, 1], 142)];
    accel.say(call.lns_id, ICCN, &[vectored(&speeds), mandatory(39, &[])].concat());
    accel.hear_zlb();
    let end = [cover(1, &[0, 1], 19), cover(14, &SESSION_ID.to_be_bytes(), 20)];
    accel.say(call.lns_id, crate::octets::CDN, &vectored(&end));
    stage.wait_log("peer: loss of carrier");
    let end = [cover(9, &TUNNEL_ID.to_be_bytes(), 19), cover(1, &[0, 6], 60)];
    accel.say(0, STOP_CCN, &vectored(&end));
    accel.hear_zlb();
    stage.wait_log("peer: shutting down");
}

#[test]
fn windows_10_is_a_plain_peer() {
    let stage = Stage::start("row-40-tunnel");
    let mut windows = stage.lac_at(1701);
    windows.tunnel_id = 3;
    let request = [
        mandatory(2, &[1, 0]),
        mandatory(3, &[0, 0, 0, 1]),
        mandatory(4, &[0, 0, 0, 0]),
        optional(6, &[0x0a, 0]),
        mandatory(7, b"DESKTOP-7"),
        optional(8, b"Microsoft"),
        mandatory(9, &[0, 3]),
        mandatory(10, &[0, 8]),
    ];
    windows.say(0, SCCRQ, &request.concat());
    windows.hear(SCCRP);
    let row = &stage.show("tunnels")[0];
    assert_eq!(
        (&row["host_name"], &row["vendor_name"]),
        (&"DESKTOP-7".into(), &"Microsoft".into())
    );
}

#[test]
fn go_l2tp_leaves_out_what_it_may_and_says_hello_early() {
    let stage = Stage::start("row-41");
    let mut go = stage.lac();
    let request = [
        optional(2, &[1, 0]),
        mandatory(3, &[0, 0, 0, 3]),
        mandatory(7, b"go"),
        mandatory(9, &TUNNEL_ID.to_be_bytes()),
    ];
    go.say(0, SCCRQ, &request.concat());
    // The ID of the LNS is still 0 for it.
    go.say(0, HELLO, &[]);
    go.lns_tunnel_id = go.hear(SCCRP).id(9);
    go.say(0, SCCCN, &[]);
    go.hear_zlb();
    for id in [1, 2, 3] {
        go.say(0, ICRQ, &icrq(id));
    }
    for id in [1, 2, 3] {
        assert_eq!(go.hear(ICRP).session_id, id);
        go.acknowledge();
    }
}

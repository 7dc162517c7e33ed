//! What pppd may want of a link otherwise: proofs of its choice, compression, packets of its size.

use serde_json::Value;
use xlns_tests::peer::{Login, Protocol, Session};
use xlns_tests::topology::CORE_ADDRESS;
use xlns_tests::xlns::{Settings, Xlns};
use xlns_tests::{Result, deadline};

use crate::stage::{PATIENCE, assert_reaches, assert_sound, bob, stage, wait_none, wait_open};

/// The shortest time between challenges is 30 s, give or take some.
const RECHALLENGE_WAIT: std::time::Duration = std::time::Duration::from_secs(50);

/// A user whose name is that of his proof.
fn login(name: &str, protocols: &[Protocol]) -> Login {
    Login::new(name, &format!("{name}-password"), protocols)
}

/// xlns asks in this order; these users are known.
fn settings(authentication: &[&'static str], logins: &[Login]) -> Settings {
    let users = logins.iter().map(|login| (login.name.clone(), login.password.clone()));
    Settings {
        users: users.collect(),
        authentication: authentication.into(),
        ..Settings::default()
    }
}

/// The authentication of a user's session.
fn authentication(xlns: &Xlns<'_>, user: &str) -> Value {
    let rows = xlns.show("sessions").unwrap();
    rows.iter()
        .find(|row| row["user"] == user)
        .map_or(Value::Null, |row| row["authentication"].clone())
}

/// Waits for pppd's `nth` line with that text.
fn wait_nth(session: &Session<'_>, text: &str, nth: usize) -> Result<()> {
    let mut seen = 0;
    let found = session.log().wait_map(0, RECHALLENGE_WAIT, |line| {
        seen += usize::from(line.contains(text));
        (seen >= nth).then_some(())
    });
    found.ok_or_else(|| {
        xlns_tests::LabError::new(format!("{seen} of {nth} {text:?} in\n{}", session.log().text()))
    })
}

#[test]
fn the_peer_takes_the_proof_that_it_likes() {
    use Protocol::{Chap, MsChapV2, Pap};
    let logins = [
        login("chap", &[Chap]),
        login("mschap", &[MsChapV2]),
        login("pap", &[Pap]),
        login("second", &[MsChapV2, Pap]),
        login("all", &[Chap, MsChapV2, Pap]),
    ];
    let agreed = ["chap-md5", "ms-chap-v2", "pap", "ms-chap-v2", "chap-md5"];
    let stage = stage();
    let mut settings = settings(&["chap-md5", "ms-chap-v2", "pap"], &logins);
    settings.ppp = "rechallenge_seconds = 30".to_owned();
    let mut xlns = stage.xlns("proofs", &settings).unwrap();
    let dialer = stage.dialer(&logins).unwrap();
    // In one tunnel: Linux does not tell several between the same two ports apart.
    let mut sessions = Vec::new();
    for (login, agreed) in logins.iter().zip(agreed) {
        let session = match sessions.len() {
            0 => dialer.dial(login),
            _ => dialer.dial_in_tunnel(dialer.tunnel_id().unwrap(), login),
        };
        let session = session.unwrap();
        assert_eq!(authentication(&xlns, &login.name), agreed, "{}", login.name);
        sessions.push(session);
    }
    // pppd checks the answer of MS-CHAPv2's other direction, and hangs up where it does not fit.
    assert_eq!(wait_open(&xlns, logins.len()).len(), logins.len());
    // Once more, in the middle of it: those that can be challenged answer, and nobody is cut off.
    for session in &sessions[..2] {
        wait_nth(session, "rcvd [CHAP Challenge", 2).unwrap();
        wait_nth(session, "rcvd [CHAP Success", 2).unwrap();
    }
    for session in &sessions {
        assert_reaches(&xlns, session, CORE_ADDRESS);
        wait_nth(session, "rcvd [LCP EchoRep", 3).unwrap();
    }
    wait_open(&xlns, logins.len());
    assert_sound(&mut xlns);
}

#[test]
fn the_order_of_the_configuration_is_where_it_begins() {
    use Protocol::{Chap, MsChapV2, Pap};
    let logins =
        [login("second", &[MsChapV2, Pap]), login("mschap", &[MsChapV2]), login("chap", &[Chap])];
    let stage = stage();
    let mut xlns = stage.xlns("order", &settings(&["pap", "ms-chap-v2"], &logins)).unwrap();
    let dialer = stage.dialer(&logins).unwrap();
    let first = dialer.dial(&logins[0]).unwrap();
    let tunnel = dialer.tunnel_id().unwrap();
    let second = dialer.dial_in_tunnel(tunnel, &logins[1]).unwrap();
    assert_eq!(authentication(&xlns, "second"), "pap");
    assert_eq!(authentication(&xlns, "mschap"), "ms-chap-v2");
    // Nothing that both would take: no way to the network without a proof.
    let third = dialer.start_call_in_tunnel(tunnel, &logins[2]).unwrap();
    let log = third.wait_down(PATIENCE).unwrap();
    assert!(!log.contains("local  IP address"), "{log}");
    wait_open(&xlns, 2);
    assert_reaches(&xlns, &first, CORE_ADDRESS);
    assert_reaches(&xlns, &second, CORE_ADDRESS);
    assert_sound(&mut xlns);
}

#[test]
fn compression_is_refused_and_the_link_goes_on() {
    let stage = stage();
    let names = ["bsd_comp", "ppp_deflate", "ppp_mppe"].join(" ");
    stage.guest.check(&format!("modprobe -d /run/modules -a {names}"), PATIENCE).unwrap();
    let asks = bob().with("deflate 15").with("bsdcomp 15");
    let insists = login("mppe", &[Protocol::MsChapV2]).with("require-mppe-128");
    let logins = [asks.clone(), insists.clone()];
    let settings = settings(&["chap-md5", "ms-chap-v2"], &logins);
    let mut xlns = stage.xlns("compression", &settings).unwrap();
    let dialer = stage.dialer(&logins).unwrap();
    let session = dialer.dial(&asks).unwrap();
    let log = session.log().text();
    assert!(log.contains("sent [CCP ConfReq"), "{log}");
    session.wait_line(0, PATIENCE, "rcvd [LCP ProtRej").unwrap();
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    // Who will not go without encryption hangs up himself.
    let tunnel = dialer.tunnel_id().unwrap();
    let refused = dialer.start_call_in_tunnel(tunnel, &insists).unwrap();
    let log = refused.wait_down(PATIENCE).unwrap();
    assert!(log.contains("MPPE required but peer negotiation failed"), "{log}");
    assert_eq!(wait_open(&xlns, 1)[0]["user"], "bob");
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    assert_sound(&mut xlns);
}

#[test]
fn packets_of_the_agreed_size_arrive() {
    let stage = stage();
    let small = Login::chap("small", "small-password").with("mru 1400").with("mtu 1400");
    let large = Login::chap("large", "large-password").with("mru 1492").with("mtu 1492");
    let logins = [small, large];
    let mut xlns = stage.xlns("sizes", &settings(&["chap-md5"], &logins)).unwrap();
    let dialer = stage.dialer(&logins).unwrap();
    // The larger one is held to what the configuration has (1460), which pppd is told.
    for (login, mtu) in [(&logins[0], 1400), (&logins[1], 1460)] {
        let session = dialer.dial(login).unwrap();
        let row = &wait_open(&xlns, 1)[0];
        assert_eq!(row["mru"], mtu, "{row}\n{}", session.log().text());
        let interface = session.interface();
        let link = stage.guest.check(&format!("ip link show dev {interface}"), PATIENCE).unwrap();
        assert!(link.contains(&format!(" mtu {mtu} ")), "{link}");
        // Without the headers of IPv4 and ICMP: as large as may be, both ways, in one piece.
        let payload = mtu - 28;
        let up = format!("-c 3 -M do -s {payload} -I {} {CORE_ADDRESS}", session.address);
        assert_eq!(session.ping_with(&up).unwrap(), (3, 3), "{}", login.name);
        let down = format!("ping -n -c 3 -i 0.05 -W 2 -M do -s {payload} {}", session.address);
        assert!(stage.topology.core.run(&down).unwrap().contains(" 3 received"), "{}", login.name);
        drop(session);
        dialer.command(&format!("d {}", login.name)).unwrap();
        wait_none(&xlns, "sessions", PATIENCE);
    }
    assert_sound(&mut xlns);
}

#[test]
fn a_client_that_proves_nothing_gets_nothing() {
    let stage = stage();
    let logins = [login("nothing", &[])];
    let settings = settings(&["chap-md5", "ms-chap-v2", "pap"], &logins);
    let xlns = stage.xlns("nothing", &settings).unwrap();
    let dialer = stage.dialer(&logins).unwrap();
    let session = dialer.start_call(&logins[0], "nothing").unwrap();
    let log = session.wait_down(PATIENCE).unwrap();
    assert!(!log.contains("local  IP address"), "{log}");
    wait_none(&xlns, "sessions", PATIENCE);
    let gone = deadline::poll(PATIENCE, || (xlns.dataplane_sessions() == Some(0)).then_some(()));
    assert!(gone.is_some(), "the data plane keeps it");
}

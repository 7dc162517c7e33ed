//! Calls against the root machine in virtual time: a LAC with a subscriber behind it, whose PPP
//! frames are written out by hand.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use rand::{Rng, RngCore};
use xlns_dataplane::api::CommandError;

use super::*;
use crate::admin::{SessionFilter, SessionSelector, TunnelSelector};
use crate::l2tp::message::{Cdn, Iccn, Icrq, Message, Scccn, Sccrq, StopCcn};
use crate::l2tp::result::{CallResult, ErrorCode, ResultCode, TunnelResult};
use crate::l2tp::sequence::Sequence;

const LOCAL: &str = "192.0.2.1:1701";
const PEER: &str = "198.51.100.7:1701";

const CONFIG: &str = r#"
[lns]
host_name = "lns"
listen = ["192.0.2.1"]
gateway = "10.0.0.1"
[[port]]
interface = "eth0"
[[pool]]
name = "p"
prefixes = ["10.0.0.0/29"]
[[user]]
name = "alice"
password = "wonder"
[[user]]
name = "bob"
password = "builder"
address = "10.0.0.6"
"#;

fn config(more: &str) -> Arc<Config> {
    Arc::new(Config::parse("test", &format!("{CONFIG}{more}")).unwrap())
}

fn icrq(lac_session: u16) -> Message {
    Message::Icrq(Box::new(Icrq {
        assigned_session_id: SessionId(lac_session),
        call_serial_number: 1,
        bearer_type: None,
        physical_channel_id: None,
        calling_number: Some(b"0301234".to_vec()),
        called_number: None,
        sub_address: None,
    }))
}

fn iccn() -> Message {
    Message::Iccn(Box::new(Iccn {
        tx_connect_speed: 100_000_000,
        rx_connect_speed: None,
        framing_type: 1,
        initial_received_lcp_confreq: None,
        last_sent_lcp_confreq: None,
        last_received_lcp_confreq: None,
        proxy_authen_type: None,
        proxy_authen_name: None,
        proxy_authen_challenge: None,
        proxy_authen_id: None,
        proxy_authen_response: None,
        private_group_id: None,
        sequencing_required: false,
    }))
}

/// One tunnel's LAC side and the LNS under test.
struct Lab {
    lns: Lns,
    now: Time,
    local: SocketAddr,
    peer: SocketAddr,
    ns: u16,
    nr: u16,
    /// Our Tunnel ID at the LAC, and the LNS's.
    lac_tunnel: TunnelId,
    lns_tunnel: TunnelId,
    commands: Vec<Command>,
    messages: Vec<(SessionId, Message)>,
    frames: Vec<(SessionId, Vec<u8>)>,
}

impl Lab {
    fn new(more: &str) -> Self {
        let mut lns = Lns::new(config(more), [7; 32]).unwrap();
        lns.handle_dataplane_ready();
        Self {
            lns,
            now: Time::ZERO + Duration::from_secs(1000),
            local: LOCAL.parse().unwrap(),
            peer: PEER.parse().unwrap(),
            ns: 0,
            nr: 0,
            lac_tunnel: TunnelId(77),
            lns_tunnel: TunnelId(0),
            commands: Vec::new(),
            messages: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Takes in what the LNS wants; every message is taken to arrive.
    fn drain(&mut self) {
        while let Some(command) = self.lns.poll_command() {
            self.commands.push(command);
        }
        while let Some(transmit) = self.lns.poll_transmit() {
            assert_eq!((transmit.local, transmit.peer), (self.local, self.peer));
            let header = header::parse(&transmit.payload).unwrap();
            let body = header.payload(&transmit.payload);
            if !header.control {
                self.frames.push((header.session_id, body.to_vec()));
            } else if !body.is_empty() {
                self.nr = self.nr.wrapping_add(1);
                self.messages.push((header.session_id, Message::decode(body, None).unwrap()));
            }
        }
    }

    fn datagram(&mut self, octets: &[u8]) {
        self.lns.handle_datagram(self.now, self.local, self.peer, octets);
        self.drain();
    }

    fn control(&mut self, session: SessionId, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = (Sequence(self.ns), Sequence(self.nr));
        message.emit(&mut out, self.lns_tunnel, session, numbers, None);
        self.ns = self.ns.wrapping_add(1);
        self.datagram(&out);
        out
    }

    fn frame(&mut self, session: SessionId, frame: &[u8]) {
        let mut out = Vec::new();
        header::emit_data(&mut out, self.lns_tunnel, session, None, false);
        out.extend_from_slice(frame);
        self.datagram(&out);
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.lns.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.lns.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn sccrq(&self) -> Message {
        Message::Sccrq(Box::new(Sccrq {
            protocol_version: 0x0100,
            framing_capabilities: 3,
            bearer_capabilities: None,
            host_name: b"lac".to_vec(),
            vendor_name: None,
            firmware_revision: None,
            assigned_tunnel_id: self.lac_tunnel,
            receive_window: Some(16),
            challenge: None,
            tie_breaker: None,
        }))
    }

    /// Opens the tunnel; returns the SCCRQ as sent.
    fn open(&mut self) -> Vec<u8> {
        let sccrq = self.control(SessionId(0), &self.sccrq());
        let Some((_, Message::Sccrp(sccrp))) = self.messages.pop() else { panic!("no SCCRP") };
        self.lns_tunnel = sccrp.assigned_tunnel_id;
        self.control(SessionId(0), &Message::Scccn(Scccn { challenge_response: None }));
        sccrq
    }

    /// Places a call; returns the LNS's Session ID.
    fn call(&mut self, lac_session: u16) -> Option<SessionId> {
        self.control(SessionId(0), &icrq(lac_session));
        match self.messages.pop() {
            Some((_, Message::Icrp(icrp))) => {
                let session = icrp.assigned_session_id;
                self.control(session, &iccn());
                Some(session)
            }
            Some((_, Message::Cdn(_))) => None,
            other => panic!("{other:?}"),
        }
    }

    fn take_frame(&mut self, protocol: [u8; 2], code: u8) -> Vec<u8> {
        let found = self.frames.iter().position(|(_, frame)| {
            frame[..2] == [0xff, 3] && frame[2..4] == protocol && frame[4] == code
        });
        let found =
            found.unwrap_or_else(|| panic!("no {protocol:x?} {code} in {:x?}", self.frames));
        self.frames.remove(found).1
    }

    /// Runs PPP with PAP until the LNS has decided.
    fn negotiate(&mut self, session: SessionId, user: &str, password: &str) {
        let request = self.take_frame([0xc0, 0x21], 1);
        // Ours: MRU 1400, magic number.
        let ours = [0xff, 3, 0xc0, 0x21, 1, 1, 0, 14, 1, 4, 5, 0x78, 5, 6, 1, 2, 3, 4];
        self.frame(session, &ours);
        self.take_frame([0xc0, 0x21], 2);
        // Nak CHAP to PAP, then accept what comes.
        let nak = [0xff, 3, 0xc0, 0x21, 3, request[5], 0, 8, 3, 4, 0xc0, 0x23];
        self.frame(session, &nak);
        self.frames.retain(|(_, frame)| frame[5] != request[5]);
        let mut ack = self.take_frame([0xc0, 0x21], 1);
        ack[4] = 2;
        self.frame(session, &ack);
        self.pap(session, user, password);
    }

    fn pap(&mut self, session: SessionId, user: &str, password: &str) {
        let mut pap = vec![0xff, 3, 0xc0, 0x23, 1, 9, 0, 0, user.len() as u8];
        pap.extend_from_slice(user.as_bytes());
        pap.push(password.len() as u8);
        pap.extend_from_slice(password.as_bytes());
        pap[7] = (pap.len() - 4) as u8;
        self.frame(session, &pap);
    }

    /// Agrees on the address that the LNS gives; returns it.
    fn address(&mut self, session: SessionId) -> Ipv4Addr {
        let mut request = self.take_frame([0x80, 0x21], 1);
        request[4] = 2;
        self.frame(session, &request);
        self.frame(session, &[0xff, 3, 0x80, 0x21, 1, 1, 0, 10, 3, 6, 0, 0, 0, 0]);
        let nak = self.take_frame([0x80, 0x21], 3);
        let octets: [u8; 4] = nak[10..14].try_into().unwrap();
        let mut ask = vec![0xff, 3, 0x80, 0x21, 1, 2, 0, 10, 3, 6];
        ask.extend_from_slice(&octets);
        self.frame(session, &ask);
        self.take_frame([0x80, 0x21], 2);
        octets.into()
    }

    fn up(&mut self, lac_session: u16, user: &str, password: &str) -> (SessionId, Ipv4Addr) {
        let session = self.call(lac_session).expect("accepted");
        self.negotiate(session, user, password);
        let address = self.address(session);
        (session, address)
    }

    fn last_set(&self) -> &api::Session {
        let set = self.commands.iter().rev().find_map(|command| match command {
            Command::SessionSet(session) => Some(session),
            _ => None,
        });
        set.expect("a SessionSet")
    }

    fn key(&self, session: SessionId) -> SessionKey {
        SessionKey { local_tunnel_id: self.lns_tunnel.0, local_session_id: session.0 }
    }

    fn count(&self, counter: LnsCounter) -> u64 {
        self.lns.counters.value(counter)
    }

    fn free(&self) -> usize {
        self.lns.addresses.free()
    }
}

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
fn a_fixed_address_is_given_once() {
    let mut lab = Lab::new("");
    lab.open();
    let (_, address) = lab.up(5, "bob", "builder");
    assert_eq!(address, Ipv4Addr::new(10, 0, 0, 6));
    let second = lab.call(6).unwrap();
    lab.negotiate(second, "bob", "builder");
    lab.take_frame([0xc0, 0x23], 3);
    assert_eq!(lab.count(LnsCounter::PoolExhausted), 1);
}

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
fn an_address_is_free_only_after_the_last_packet_was_counted() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    assert_eq!(lab.free(), free - 1);
    let result = ResultCode::call(CallResult::LossOfCarrier, None, "");
    let cdn =
        Cdn { result, assigned_session_id: Some(SessionId(5)), q931_cause: None, ppp_cause: None };
    lab.control(session, &Message::Cdn(Box::new(cdn)));
    assert!(lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    assert_eq!((lab.free(), lab.lns.calls.len()), (free - 1, 0));
    let counters = SessionCounters { upstream_packets: 3, ..SessionCounters::default() };
    lab.lns.handle_session_ended(lab.now, lab.key(session), counters);
    assert_eq!(lab.free(), free);
    assert_eq!(lab.lns.ended_totals.upstream_packets, 3);
}

#[test]
fn without_a_data_plane_addresses_do_not_wait_for_it() {
    let mut lab = Lab::new("");
    lab.lns.handle_dataplane_away(lab.now);
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    assert!(lab.commands.is_empty());
    assert_eq!(lab.lns.clear_sessions(lab.now, &SessionSelector::User("alice".into())), 1);
    lab.drain();
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(session, &terminate);
    assert_eq!((lab.free(), lab.lns.calls.len()), (free, 0));
}

#[test]
fn a_resynchronisation_names_what_is_up_and_frees_what_ended() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (gone, _) = lab.up(5, "alice", "wonder");
    let (stays, _) = lab.up(6, "bob", "builder");
    let wanted = SessionSelector::Id { tunnel_id: lab.lns_tunnel.0, session_id: gone.0 };
    assert_eq!(lab.lns.clear_sessions(lab.now, &wanted), 1);
    lab.drain();
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(gone, &terminate);
    assert_eq!(lab.free(), free - 1, "held until the data plane answers");
    lab.lns.handle_dataplane_away(lab.now);
    lab.lns.handle_dataplane_ready();
    let mut named = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = lab.lns.resync_page(from, 1, |command| named.push(command));
    }
    let [Command::SessionSet(session)] = named.as_slice() else { panic!("{named:?}") };
    assert_eq!(session.key, lab.key(stays));
    lab.lns.handle_synchronised(lab.now);
    assert_eq!(lab.free(), free);
}

#[test]
fn a_session_that_the_data_plane_refuses_is_disconnected() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    lab.up(5, "alice", "wonder");
    let set = Command::SessionSet(Box::new(lab.last_set().clone()));
    let error = CommandError::Full { table: "session".into(), key: "l2tp.sessions_max".into() };
    lab.lns.handle_refused(lab.now, &set, &error);
    lab.drain();
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(lab.lns.calls.len(), 0);
    // It never had the session, so it says so where it is told to remove it, and no more.
    let remove = lab.commands.pop().expect("SessionRemove");
    assert!(matches!(remove, Command::SessionRemove(_)));
    lab.lns.handle_refused(lab.now, &remove, &CommandError::NoSuchEntry);
    assert_eq!((lab.free(), lab.lns.ending.len()), (free, 0));
}

#[test]
fn packets_of_sessions_that_a_resynchronisation_removed_are_counted() {
    let mut lab = Lab::new("");
    let key = SessionKey { local_tunnel_id: 1, local_session_id: 2 };
    let counters = SessionCounters { downstream_bytes: 7, ..SessionCounters::default() };
    lab.lns.handle_session_ended(lab.now, key, counters);
    assert_eq!(lab.lns.ended_totals.downstream_bytes, 7);
}

#[test]
fn a_session_that_the_data_plane_never_had_holds_no_address() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    let set = Command::SessionSet(Box::new(lab.last_set().clone()));
    let error = CommandError::Full { table: "session".into(), key: "l2tp.sessions_max".into() };
    lab.lns.handle_refused(lab.now, &set, &error);
    lab.drain();
    let remove = Command::SessionRemove(lab.key(session));
    assert_eq!(lab.commands.last(), Some(&remove));
    assert_eq!((lab.free(), lab.lns.audit().unwrap().ending), (free - 1, 1));
    // No final counters come: the removal is refused as well.
    lab.lns.handle_refused(lab.now, &remove, &CommandError::NoSuchEntry);
    assert_eq!((lab.free(), lab.lns.audit().unwrap().ending), (free, 0));
}

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

/// A lab where strangers ask for tunnels, each from its own address.
fn strangers(lab: &mut Lab, count: u32) {
    let peer = lab.peer;
    for number in 0..count {
        lab.peer = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + number), 1701));
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
fn who_finds_no_address_is_told_so() {
    let mut lab = Lab::new("");
    lab.open();
    let (_, _) = lab.up(5, "bob", "builder");
    let second = lab.call(6).unwrap();
    lab.negotiate(second, "bob", "builder");
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
fn a_name_that_would_move_the_cursor_is_shown_harmless() {
    let mut lab = Lab::new("");
    lab.open();
    let session = lab.call(5).unwrap();
    lab.negotiate(session, "eve\r\n\u{1b}[2J", "x");
    let (rows, _) = lab.lns.session_rows(lab.now, &SessionFilter::default(), 0, 10);
    assert_eq!(rows[0].user, "eve\u{fffd}\u{fffd}\u{fffd}[2J");
}

/// Lets the subscriber negotiate LCP once more in the middle of the call.
fn renegotiate(lab: &mut Lab, session: SessionId, user: &str, password: &str) {
    lab.frames.clear();
    let ours = [0xff, 3, 0xc0, 0x21, 1, 77, 0, 14, 1, 4, 5, 0x14, 5, 6, 9, 2, 3, 4];
    lab.frame(session, &ours);
    lab.take_frame([0xc0, 0x21], 2);
    let request = lab.take_frame([0xc0, 0x21], 1);
    let nak = [0xff, 3, 0xc0, 0x21, 3, request[5], 0, 8, 3, 4, 0xc0, 0x23];
    lab.frame(session, &nak);
    let mut ack = lab.take_frame([0xc0, 0x21], 1);
    ack[4] = 2;
    lab.frame(session, &ack);
    lab.pap(session, user, password);
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

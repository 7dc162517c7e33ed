//! Calls against the root machine in virtual time: a LAC with a subscriber behind it, whose PPP
//! frames are written out by hand.

mod admission;
mod calls;
mod dataplane;
mod ipv6;
mod life;
mod lines;
mod ports;
mod profiles;
mod sequence;
mod setup;
mod strangers;
mod teardown;

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
        ..Icrq::default()
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
    /// Sequence numbers of frames that the LNS itself sent.
    numbers: Vec<Option<u16>>,
    /// Frames that it had the data plane send.
    injected: usize,
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
            numbers: Vec::new(),
            injected: 0,
        }
    }

    /// Takes in what the LNS wants; every message is taken to arrive.
    fn drain(&mut self) {
        while let Some(command) = self.lns.poll_command() {
            if let Command::Inject { key, frame } = &command {
                self.injected += 1;
                self.frames.push((SessionId(key.local_session_id), frame.clone()));
            }
            self.commands.push(command);
        }
        while let Some(transmit) = self.lns.poll_transmit() {
            assert_eq!((transmit.local, transmit.peer), (self.local, self.peer));
            let header = header::parse(&transmit.payload).unwrap();
            let body = header.payload(&transmit.payload);
            if !header.control {
                let is_numbered = transmit.payload[0] & 0x08 != 0;
                self.numbers.push(is_numbered.then_some(header.ns.0));
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
            ..Sccrq::default()
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

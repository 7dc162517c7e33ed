//! A LAC and its subscribers, as far as the measurement needs them: they answer what they are asked
//! and never ask twice.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use md5::{Digest, Md5};
use xlns_control::l2tp::message::{Cdn, Iccn, Icrq, Message, Scccn, Sccrq};
use xlns_control::l2tp::result::{CallResult, ResultCode};
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, TunnelId, header};
use xlns_control::lns::Lns;
use xlns_control::time::Time;
use xlns_dataplane::api::Command;
use xlns_dataplane::counters::SessionCounters;

const USER: &[u8] = b"subscriber";
const PASSWORD: &[u8] = b"password";

const LCP: u16 = 0xc021;
const CHAP: u16 = 0xc223;
const IPCP: u16 = 0x8021;

/// Codes of LCP, IPCP and CHAP packets.
const REQUEST: u8 = 1;
const ACK: u8 = 2;
const NAK: u8 = 3;
const CHALLENGE: u8 = 1;

/// A configuration with room for a million subscribers of one name.
pub fn configuration() -> String {
    let user = String::from_utf8_lossy(USER);
    let password = String::from_utf8_lossy(PASSWORD);
    format!(
        r#"
[lns]
host_name = "bench"
listen = ["192.0.2.1"]
gateway = "100.127.255.254"
[l2tp]
sessions_per_tunnel_max = 60000
[[port]]
interface = "none"
[[pool]]
name = "all"
prefixes = ["10.0.0.0/11"]
[[user]]
name = "{user}"
password = "{password}"
"#
    )
}

/// One LAC with one tunnel.
pub struct Lac {
    address: SocketAddr,
    lns: SocketAddr,
    now: Time,
    ns: Sequence,
    nr: Sequence,
    tunnel: TunnelId,
    /// The LNS's IDs of the calls that are up.
    sessions: Vec<SessionId>,
    control: Vec<(SessionId, Message)>,
    frames: Vec<Vec<u8>>,
}

impl Lac {
    /// Opens the tunnel of the LAC with this number.
    ///
    /// # Errors
    /// Where the LNS does not answer as it should.
    pub fn open(lns: &mut Lns, number: u32) -> Result<Self, Box<dyn Error>> {
        let address = std::net::Ipv4Addr::from(0xc633_6400 + number + 1);
        let mut lac = Self {
            address: (address, 1701).into(),
            lns: "192.0.2.1:1701".parse()?,
            now: Time::ZERO + Duration::from_secs(1),
            ns: Sequence(0),
            nr: Sequence(0),
            tunnel: TunnelId::UNASSIGNED,
            sessions: Vec::new(),
            control: Vec::new(),
            frames: Vec::new(),
        };
        let sccrq = Sccrq {
            protocol_version: 0x0100,
            framing_capabilities: 3,
            bearer_capabilities: None,
            host_name: b"lac".to_vec(),
            vendor_name: None,
            firmware_revision: None,
            assigned_tunnel_id: TunnelId(1),
            receive_window: Some(256),
            challenge: None,
            tie_breaker: None,
            ..Sccrq::default()
        };
        lac.say(lns, SessionId::UNASSIGNED, &Message::Sccrq(Box::new(sccrq)));
        let Some((_, Message::Sccrp(sccrp))) = lac.control.pop() else {
            return Err("no SCCRP".into());
        };
        lac.tunnel = sccrp.assigned_tunnel_id;
        let scccn = Message::Scccn(Scccn { challenge_response: None });
        lac.say(lns, SessionId::UNASSIGNED, &scccn);
        Ok(lac)
    }

    /// Places a call and takes it to IPCP open.
    ///
    /// # Errors
    /// Where the LNS does not answer as it should.
    pub fn call(&mut self, lns: &mut Lns) -> Result<(), Box<dyn Error>> {
        let number = u16::try_from(self.sessions.len() + 1)?;
        self.say(lns, SessionId::UNASSIGNED, &icrq(number));
        let Some((_, Message::Icrp(icrp))) = self.control.pop() else {
            return Err("no ICRP".into());
        };
        let session = icrp.assigned_session_id;
        self.say(lns, session, &iccn());
        self.acknowledge(lns, session, LCP)?;
        self.show(lns, session, &packet(LCP, REQUEST, 1, &[1, 4, 5, 0x78, 5, 6, 1, 2, 3, 4]));
        self.take(LCP, ACK)?;
        let challenge = self.take(CHAP, CHALLENGE)?;
        let (identifier, value) = (challenge[5], value_of(&challenge)?);
        let mut digest = Md5::new();
        digest.update([identifier]);
        digest.update(PASSWORD);
        digest.update(value);
        let mut response = vec![16];
        response.extend_from_slice(&digest.finalize());
        response.extend_from_slice(USER);
        self.show(lns, session, &packet(CHAP, 2, identifier, &response));
        self.take(CHAP, 3)?;
        self.acknowledge(lns, session, IPCP)?;
        self.show(lns, session, &packet(IPCP, REQUEST, 1, &[3, 6, 0, 0, 0, 0]));
        let nak = self.take(IPCP, NAK)?;
        let address = nak.get(8..14).ok_or("no address in the Nak")?.to_vec();
        self.show(lns, session, &packet(IPCP, REQUEST, 2, &address));
        self.take(IPCP, ACK)?;
        self.sessions.push(session);
        Ok(())
    }

    /// Ends all calls with CDN.
    ///
    /// # Errors
    /// Where forwarding is not withdrawn.
    pub fn hang_up(&mut self, lns: &mut Lns) -> Result<(), Box<dyn Error>> {
        for (index, session) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            let cdn = Cdn {
                result: ResultCode::call(CallResult::LossOfCarrier, None, ""),
                assigned_session_id: Some(SessionId(u16::try_from(index + 1)?)),
                q931_cause: None,
                ppp_cause: None,
            };
            self.say(lns, session, &Message::Cdn(Box::new(cdn)));
        }
        Ok(())
    }

    /// Acknowledges the LNS's Configure-Request of this protocol.
    fn acknowledge(
        &mut self,
        lns: &mut Lns,
        session: SessionId,
        protocol: u16,
    ) -> Result<(), Box<dyn Error>> {
        let mut request = self.take(protocol, REQUEST)?;
        request[4] = ACK;
        self.show(lns, session, &request);
        Ok(())
    }

    fn say(&mut self, lns: &mut Lns, session: SessionId, message: &Message) {
        let mut datagram = Vec::new();
        message.emit(&mut datagram, self.tunnel, session, (self.ns, self.nr), None);
        self.ns = self.ns.next();
        self.exchange(lns, &datagram);
    }

    fn show(&mut self, lns: &mut Lns, session: SessionId, frame: &[u8]) {
        let mut datagram = Vec::new();
        header::emit_data(&mut datagram, self.tunnel, session, None, false);
        datagram.extend_from_slice(frame);
        self.exchange(lns, &datagram);
    }

    /// Hands a datagram over and takes everything that comes of it; the data plane answers at once.
    fn exchange(&mut self, lns: &mut Lns, datagram: &[u8]) {
        self.now = self.now + Duration::from_micros(1);
        lns.handle_datagram(self.now, self.lns, self.address, datagram);
        while let Some(command) = lns.poll_command() {
            if let Command::SessionRemove(key) = command {
                lns.handle_session_ended(self.now, key, SessionCounters::default());
            }
        }
        while lns.poll_peer_change().is_some() {}
        while let Some(transmit) = lns.poll_transmit() {
            let Ok(header) = header::parse(&transmit.payload) else { continue };
            let payload = header.payload(&transmit.payload);
            if !header.control {
                self.frames.push(payload.to_vec());
            } else if let Ok(message) = Message::decode(payload, None)
                && !payload.is_empty()
            {
                self.nr = self.nr.next();
                self.control.push((header.session_id, message));
            }
        }
    }

    fn take(&mut self, protocol: u16, code: u8) -> Result<Vec<u8>, Box<dyn Error>> {
        let wanted = |frame: &Vec<u8>| {
            frame.get(2..4) == Some(&protocol.to_be_bytes()[..]) && frame.get(4) == Some(&code)
        };
        let found = self.frames.iter().position(wanted);
        let found = found.ok_or_else(|| format!("no frame {protocol:#06x} with code {code}"))?;
        let frame = self.frames.remove(found);
        if self.frames.iter().all(|left| left.get(2..4) == frame.get(2..4)) {
            // What is left of this protocol are repetitions.
            self.frames.clear();
        }
        Ok(frame)
    }
}

fn icrq(number: u16) -> Message {
    Message::Icrq(Box::new(Icrq {
        assigned_session_id: SessionId(number),
        call_serial_number: number.into(),
        bearer_type: None,
        physical_channel_id: None,
        calling_number: None,
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

/// A PPP frame with address and control octets.
fn packet(protocol: u16, code: u8, identifier: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff, 3];
    frame.extend_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(&[code, identifier]);
    frame.extend_from_slice(&(content.len() as u16 + 4).to_be_bytes());
    frame.extend_from_slice(content);
    frame
}

/// The value of a CHAP Challenge.
fn value_of(challenge: &[u8]) -> Result<&[u8], Box<dyn Error>> {
    let length = usize::from(*challenge.get(8).ok_or("a Challenge without a value")?);
    Ok(challenge.get(9..9 + length).ok_or("a Challenge cut short")?)
}

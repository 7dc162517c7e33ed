//! The LAC's side of a run: a LAC with one subscriber, on a wire, by the clock.
//!
//! The LAC and the subscriber are those of the simulation, without sockets or clock; what they say
//! is put into frames here. Once the session is up, test packets go in and out of it beside what
//! both ends have to say to each other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use xlns_control::l2tp::avp::Hide;
use xlns_control::l2tp::header;
use xlns_control::time::Time;

use super::frames::{self, Datagram};
use super::wire::Wire;
use crate::deadline::Deadline;
use crate::sim::lac::{Lac, Manners};
use crate::sim::scripted;
use crate::sim::subscriber::Habits;
use crate::{LabError, Result};

/// UDP port of L2TP.
const L2TP: u16 = 1701;

/// In front of an IPv4 packet in a PPP frame where nothing is compressed (RFC 1661 section 2).
const PPP_IPV4: [u8; 4] = [0xff, 0x03, 0x00, 0x21];

/// Flags of a data message without optional fields, version 2 (RFC 2661 section 3.1).
const DATA_FLAGS: [u8; 2] = [0, 2];

/// How long a session may take from the first message to the address.
const SETUP_WAIT: Duration = Duration::from_secs(60);

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The LAC.
    pub lac: Ipv4Addr,
    /// Where tunnels end.
    pub lns: Ipv4Addr,
    /// Of the tunnel.
    pub secret: &'static str,
    /// The subscriber's name and password.
    pub login: [&'static str; 2],
}

/// A LAC with one subscriber on a wire.
pub struct Access<'a> {
    wire: &'a mut Wire,
    caller: Caller,
    lac: Lac,
    start: Deadline,
    /// What of a data message's header the LNS is to be told by, once the session is up.
    prefix: Vec<u8>,
    /// The subscriber's address.
    address: Ipv4Addr,
}

impl<'a> Access<'a> {
    /// Opens a tunnel and a session in it. The IDs are made of `seed`.
    ///
    /// # Errors
    /// Where the session does not come up.
    pub fn dial(wire: &'a mut Wire, caller: Caller, seed: u16) -> Result<Self> {
        let manners = Manners {
            address: SocketAddr::from((caller.lac, L2TP)),
            tunnel_id: 100 + seed,
            keeps_ids: true,
            secret: Some(caller.secret),
            challenges: true,
            window: 4,
            keeps_ahead: true,
            hide: Hide::Never,
            proxies: false,
            waits: 0,
        };
        let [user, password] = caller.login;
        let habits =
            scripted::Habits { user, password, chap: true, lcp_options: Vec::new(), rejects: None };
        let lns = SocketAddr::from((caller.lns, L2TP));
        let rng = StdRng::seed_from_u64(seed.into());
        let lac = Lac::new(manners, vec![Habits::Scripted(habits)], rng, lns, Time::ZERO);
        let start = Deadline::after(SETUP_WAIT);
        let (prefix, address) = (Vec::new(), Ipv4Addr::UNSPECIFIED);
        let mut access = Self { wire, caller, lac, start, prefix, address };
        while !access.is_up() {
            if access.start.passed() {
                return Err(LabError::new(format!("no session with the LNS {}", caller.lns)));
            }
            access.turn(Duration::from_millis(5))?;
        }
        Ok(access)
    }

    /// The subscriber's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The wire, to wait for it.
    pub fn wire(&self) -> &Wire {
        self.wire
    }

    /// Does what is due, takes what has come, and waits for more, at most `wait`.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn turn(&mut self, wait: Duration) -> Result<()> {
        self.handle_timeout()?;
        while self.receive(|_| ())? {}
        super::wait(&[self.wire], wait);
        Ok(())
    }

    /// Sends a packet of the subscriber's in its session.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let payload = [&self.prefix[..], &PPP_IPV4, packet].concat();
        self.send_datagram(&payload)
    }

    /// Takes one packet of the guest, if one is there; hands it to `packet` where it is an IPv4
    /// packet in the session. Returns whether there was one.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn receive(&mut self, mut packet: impl FnMut(&[u8])) -> Result<bool> {
        let now = self.now();
        let Some(octets) = self.wire.receive()? else { return Ok(false) };
        let Some(datagram) = frames::read_udp(octets) else { return Ok(true) };
        let (lac, lns) = ((self.caller.lac, L2TP), (self.caller.lns, L2TP));
        if (datagram.source, datagram.destination) != (lns, lac) {
            return Ok(true);
        }
        let Ok(header) = header::parse(datagram.payload) else { return Ok(true) };
        if !self.lac.owns(header.tunnel_id) {
            // What the LNS of before still had to say.
            return Ok(true);
        }
        let payload = header.payload(datagram.payload);
        let session = self.lac.lines.first().and_then(|line| line.call).map(|call| call.id);
        let own = session == Some(header.session_id);
        match payload.strip_prefix(&PPP_IPV4) {
            Some(inner) if !header.control && own => packet(inner),
            _ => self.lac.handle_datagram(now, SocketAddr::from(lns), &header, payload),
        }
        Ok(true)
    }

    /// Does what is due, and sends what LAC and subscriber have to say.
    ///
    /// # Errors
    /// Where the guest is stuck.
    pub fn handle_timeout(&mut self) -> Result<()> {
        let now = self.now();
        if self.lac.poll_timeout().is_some_and(|at| at <= now) {
            self.lac.handle_timeout(now);
        }
        for (_, datagram) in self.lac.take_datagrams() {
            self.send_datagram(&datagram)?;
        }
        Ok(())
    }

    /// Whether the session is up; fills in what is known from then on.
    fn is_up(&mut self) -> bool {
        let line = self.lac.lines.first();
        let address = line.and_then(|line| line.subscriber.network().ipv4);
        let session = line.and_then(|line| line.call?.lns_id);
        let (Some(address), Some(session), Some((_, tunnel))) =
            (address, session, self.lac.tunnel())
        else {
            return false;
        };
        self.address = address;
        self.prefix =
            [DATA_FLAGS, tunnel.0.to_be_bytes(), session.0.to_be_bytes()].as_flattened().to_vec();
        true
    }

    fn send_datagram(&self, payload: &[u8]) -> Result<()> {
        let datagram = Datagram {
            source: (self.caller.lac, L2TP),
            destination: (self.caller.lns, L2TP),
            payload,
        };
        self.wire.send(&frames::udp_packet(&datagram, frames::TTL))
    }

    fn now(&self) -> Time {
        Time::from_start(self.start.elapsed())
    }
}

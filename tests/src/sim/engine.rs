//! A subscriber made of the engines' own client side: `ppp::Link` and `ipv6::Host`, as the dialler
//! uses them. So both sides of each protocol meet here.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use xlns_control::ipv6::Host;
use xlns_control::ppp::{self, Account, Authentication, DownCause, Event, Ipv4Config, Link};
use xlns_control::time::Time;

use super::subscriber::Network;

/// Between LCP echoes, and between packets of the subscriber's own.
const ECHO_INTERVAL: Duration = Duration::from_secs(8);

/// An IPv4 packet, as far as anybody here looks at it.
pub const PACKET: &[u8] = &[0xff, 3, 0, 0x21, 0x45, 0, 0, 20];

/// What a subscriber is like.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Name.
    pub user: &'static str,
    /// Password, right or wrong.
    pub password: &'static str,
    /// What it proves itself with, the most wanted first.
    pub methods: Vec<Authentication>,
    /// Speaks IPv4.
    pub ipv4: bool,
    /// Speaks IPv6.
    pub ipv6: bool,
    /// Asks for a prefix.
    pub wants_delegated: bool,
    /// The MRU that it asks for, octets.
    pub mru: u16,
}

/// A subscriber.
#[derive(Debug)]
pub struct Engine {
    habits: Habits,
    config: Arc<ppp::Config>,
    rng: StdRng,
    link: Option<Box<Link>>,
    ipv4: Option<Ipv4Addr>,
    host: Option<Box<Host>>,
    packet_at: Option<Time>,
    wants_end: bool,
    out: Vec<Vec<u8>>,
}

impl Engine {
    /// One that is off.
    pub fn new(habits: Habits, rng: StdRng) -> Self {
        let account = Account {
            name: habits.user.to_owned(),
            password: habits.password.to_owned().into(),
            methods: habits.methods.clone(),
        };
        let ipv4 = Ipv4Config { ask_dns: true, ..Ipv4Config::default() };
        let config = ppp::Config {
            authentication: Vec::new(),
            account: Some(account),
            ipv4: habits.ipv4.then_some(ipv4),
            ipv6: habits.ipv6,
            mru: habits.mru,
            mru_min: habits.mru.min(576),
            restart_timer: Duration::from_secs(1),
            echo_interval: Some(ECHO_INTERVAL),
            echo_failures: 3,
            identification: Some("sim".to_owned()),
            ..ppp::Config::default()
        };
        Self {
            habits,
            config: Arc::new(config),
            rng,
            link: None,
            ipv4: None,
            host: None,
            packet_at: None,
            wants_end: false,
            out: Vec::new(),
        }
    }

    /// The name that it says.
    pub fn user(&self) -> &'static str {
        self.habits.user
    }

    /// What its link is good for.
    pub fn network(&self) -> Network {
        let status = self.host.as_ref().map(|host| host.status());
        Network {
            ipv4: self.ipv4,
            ipv6: self.host.is_some(),
            link: status.and_then(|status| status.prefix),
            delegated: status.and_then(|status| status.delegated),
        }
    }

    /// The call is up: LCP begins.
    pub fn start(&mut self, now: Time) {
        self.stop();
        let mut link = Box::new(Link::new(Arc::clone(&self.config), &mut self.rng));
        link.open(now, &mut self.rng);
        self.link = Some(link);
        self.packet_at = Some(now + ECHO_INTERVAL);
        self.drive(now);
    }

    /// It was switched off and on, so fast that nobody missed it.
    pub fn renegotiate(&mut self, now: Time) {
        self.start(now);
    }

    /// The call is over, or the power went.
    pub fn stop(&mut self) {
        (self.link, self.ipv4, self.host, self.packet_at) = (None, None, None, None);
        self.wants_end = false;
        self.out.clear();
    }

    /// Says goodbye.
    pub fn terminate(&mut self, now: Time) {
        if let Some(host) = &mut self.host {
            host.release(now, &mut self.rng);
        }
        self.send_packets();
        if let Some(link) = &mut self.link {
            link.close(now, DownCause::Closed);
        }
        self.drive(now);
    }

    /// Whether the line should be dropped; asked once.
    pub fn take_wants_end(&mut self) -> bool {
        std::mem::take(&mut self.wants_end)
    }

    /// What it sends.
    pub fn take_frames(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    /// When [`Engine::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        // A line that is to be dropped is dropped at once.
        let end = self.wants_end.then_some(Time::ZERO);
        let link = self.link.as_ref().and_then(|link| link.poll_timeout());
        let host = self.host.as_ref().and_then(|host| host.poll_timeout());
        [end, link, host, self.packet_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(link) = &mut self.link
            && link.poll_timeout().is_some_and(|at| at <= now)
        {
            link.handle_timeout(now, &mut self.rng);
        }
        if let Some(host) = &mut self.host
            && host.poll_timeout().is_some_and(|at| at <= now)
        {
            host.handle_timeout(now, &mut self.rng);
        }
        if self.packet_at.is_some_and(|at| at <= now) {
            self.packet_at = Some(now + ECHO_INTERVAL);
            if self.ipv4.is_some() {
                self.out.push(PACKET.to_vec());
            }
        }
        self.drive(now);
    }

    /// A frame of the LNS.
    pub fn handle_frame(&mut self, now: Time, octets: &[u8]) {
        if let Some(link) = &mut self.link {
            link.handle_frame(now, octets, &mut self.rng);
        }
        self.drive(now);
    }

    fn drive(&mut self, now: Time) {
        while let Some(event) = self.link.as_mut().and_then(|link| link.poll_event()) {
            self.on_event(now, event);
        }
        self.send_packets();
        let Some(link) = &mut self.link else { return };
        while let Some(frame) = link.poll_transmit() {
            self.out.push(frame);
        }
        if self.wants_end {
            self.link = None;
        }
    }

    fn send_packets(&mut self) {
        let (Some(link), Some(host)) = (&mut self.link, &mut self.host) else { return };
        while let Some(packet) = host.poll_transmit() {
            link.send_ipv6(&packet);
        }
    }

    fn on_event(&mut self, now: Time, event: Event) {
        match event {
            Event::LcpUp { .. } => (self.ipv4, self.host) = (None, None),
            Event::Ipv4Up { local, .. } => self.ipv4 = Some(local),
            Event::Ipv4Down => self.ipv4 = None,
            Event::Ipv6Up { local, .. } => {
                let duid: Box<[u8]> = [&[0, 4][..], self.habits.user.as_bytes()].concat().into();
                let wants = self.habits.wants_delegated;
                let mut host = Box::new(Host::new(now, local, duid, wants, &mut self.rng));
                // Its first question is due at once.
                host.handle_timeout(now, &mut self.rng);
                self.host = Some(host);
            }
            Event::Ipv6Down => self.host = None,
            Event::Ipv6Packet(packet) => {
                if let Some(host) = &mut self.host {
                    // What makes no sense has no effect.
                    let _ = host.handle_packet(now, &packet, &mut self.rng);
                }
            }
            Event::Down { .. } => {
                (self.ipv4, self.host, self.packet_at) = (None, None, None);
                self.wants_end = true;
            }
            Event::Authenticate(_) | Event::Refused { .. } | Event::Identification { .. } => {}
        }
    }
}

//! Who is on a line: a client written apart from the engines under test ([`Scripted`]), or the
//! engines' own client side ([`Engine`]), which speaks all that the server side does.

use std::net::Ipv4Addr;

use ipnet::Ipv6Net;
use rand::rngs::StdRng;
use xlns_control::time::Time;

use super::engine::{self, Engine};
use super::scripted::{self, Scripted};

/// What a subscriber is like.
#[derive(Debug, Clone)]
pub enum Habits {
    /// IPv4 by PAP or CHAP, also after a LAC that negotiates in its place.
    Scripted(scripted::Habits),
    /// Everything else.
    Engine(engine::Habits),
}

impl Habits {
    /// The name that it says.
    pub fn user(&self) -> &'static str {
        match self {
            Self::Scripted(habits) => habits.user,
            Self::Engine(habits) => habits.user,
        }
    }
}

/// What the subscriber's link is good for, as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// IPv4 packets flow, from this address.
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6 packets flow.
    pub ipv6: bool,
    /// The link's prefix, once the router has told it.
    pub link: Option<Ipv6Net>,
    /// The prefix delegated to it.
    pub delegated: Option<Ipv6Net>,
}

impl Network {
    /// Whether packets flow at all.
    pub fn is_up(&self) -> bool {
        self.ipv4.is_some() || self.ipv6
    }
}

/// What a LAC hands over that has negotiated with the subscriber itself (RFC 2661 section 4.4.5).
#[derive(Debug, Clone)]
pub struct Handover {
    /// The subscriber's Configure-Request, first and last: options.
    pub received: Vec<u8>,
    /// That of the LAC.
    pub sent: Vec<u8>,
    /// Proxy Authen Type.
    pub kind: u16,
    /// Name.
    pub name: Vec<u8>,
    /// Challenge and its identifier, with CHAP.
    pub challenge: Option<(Vec<u8>, u8)>,
    /// Response or password.
    pub response: Vec<u8>,
}

/// A subscriber.
#[derive(Debug)]
pub enum Subscriber {
    /// See [`Habits::Scripted`].
    Scripted(Box<Scripted>),
    /// See [`Habits::Engine`].
    Engine(Box<Engine>),
}

/// Hands a call on to whichever it is.
macro_rules! either {
    ($self:ident, $each:ident => $call:expr) => {
        match $self {
            Self::Scripted($each) => $call,
            Self::Engine($each) => $call,
        }
    };
}

impl Subscriber {
    /// One that is off.
    pub fn new(habits: Habits, rng: StdRng) -> Self {
        match habits {
            Habits::Scripted(habits) => Self::Scripted(Box::new(Scripted::new(habits))),
            Habits::Engine(habits) => Self::Engine(Box::new(Engine::new(habits, rng))),
        }
    }

    /// The name that it says.
    pub fn user(&self) -> &'static str {
        either!(self, each => each.user())
    }

    /// What its link is good for.
    pub fn network(&self) -> Network {
        either!(self, each => each.network())
    }

    /// The call is up: LCP begins.
    pub fn start(&mut self, now: Time) {
        either!(self, each => each.start(now));
    }

    /// The call is up, and the LAC has gone through LCP and authentication already, where the
    /// subscriber can do that.
    pub fn start_behind(&mut self, now: Time, rng: &mut StdRng) -> Option<Handover> {
        match self {
            Self::Scripted(each) => Some(each.start_behind(now, rng)),
            Self::Engine(each) => {
                each.start(now);
                None
            }
        }
    }

    /// LCP begins anew on the same call.
    pub fn renegotiate(&mut self, now: Time) {
        either!(self, each => each.renegotiate(now));
    }

    /// The call is over, or the power went.
    pub fn stop(&mut self) {
        either!(self, each => each.stop());
    }

    /// Says goodbye.
    pub fn terminate(&mut self, now: Time) {
        either!(self, each => each.terminate(now));
    }

    /// Whether the line should be dropped; asked once.
    pub fn take_wants_end(&mut self) -> bool {
        either!(self, each => each.take_wants_end())
    }

    /// What it sends.
    pub fn take_frames(&mut self) -> Vec<Vec<u8>> {
        either!(self, each => each.take_frames())
    }

    /// When [`Subscriber::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        either!(self, each => each.poll_timeout())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        either!(self, each => each.handle_timeout(now));
    }

    /// A frame of the LNS.
    pub fn handle_frame(&mut self, now: Time, octets: &[u8]) {
        either!(self, each => each.handle_frame(now, octets));
    }
}

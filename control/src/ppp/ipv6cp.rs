//! The IPv6 Control Protocol's option (RFC 5072 section 4), the same for both roles.
//!
//! Each end has an interface identifier, never zero and never the other's. Compression of headers
//! is rejected.

use rand::RngCore;

use super::frame::protocol;
use super::option::{OptionList, Options, RawOption, Reply, Value, Verdict, assemble};
use super::policy::Policy;
use super::{Config, DownCause};

/// Types of options.
pub mod kind {
    /// Interface-Identifier (RFC 5072 section 4.1).
    pub const INTERFACE_IDENTIFIER: u8 = 1;
}

/// The bit of an identifier that says that it is unique in the world.
const UNIVERSAL: u64 = 1 << 57;

/// Why IPv6CP fails.
const NO_IDENTIFIER: DownCause = DownCause::NegotiationFailed("an interface identifier");

/// One end's IPv6CP.
#[derive(Debug)]
pub struct Ipv6cp {
    local: u64,
    /// Acknowledged last; zero: none yet.
    peer: u64,
    /// Suggested to the peer last; zero: none yet.
    suggested: u64,
    /// The peer did not refuse to know our identifier.
    ask: bool,
    /// A peer that does not mention its identifier is told one once, and then not again.
    prompted: bool,
}

impl Ipv6cp {
    /// With an identifier by chance. It is kept for the life of the link, as addresses hang on it.
    pub fn new(rng: &mut dyn RngCore) -> Self {
        let local = random_identifier(rng);
        Self { local, peer: 0, suggested: 0, ask: true, prompted: false }
    }

    /// Our identifier.
    pub fn local(&self) -> u64 {
        self.local
    }

    /// The peer's identifier, once IPv6CP is open.
    pub fn peer(&self) -> u64 {
        self.peer
    }

    /// What the peer may call itself: the same each time, unless that is what we are called.
    fn suggestion(&mut self, rng: &mut dyn RngCore) -> u64 {
        while self.suggested == 0 || self.suggested == self.local {
            self.suggested = random_identifier(rng);
        }
        self.suggested
    }
}

impl Policy for Ipv6cp {
    const PROTOCOL: u16 = protocol::IPV6CP;

    fn reset(&mut self, _config: &Config) {
        self.ask = true;
    }

    fn request(&self, _config: &Config) -> OptionList {
        let mut options = OptionList::default();
        if self.ask {
            options.push(kind::INTERFACE_IDENTIFIER, &self.local.to_be_bytes());
        }
        options
    }

    fn judge(
        &mut self,
        _config: &Config,
        request: &Options<'_>,
        naks_exhausted: bool,
        rng: &mut dyn RngCore,
    ) -> Result<Reply, DownCause> {
        let suggestion = self.suggestion(rng);
        let mut peer = 0;
        let mut named = false;
        let judge = |option: RawOption<'_>| match (option.kind, option.data) {
            (kind::INTERFACE_IDENTIFIER, data) => {
                named = true;
                let identifier = <[u8; 8]>::try_from(data).map_or(0, u64::from_be_bytes);
                if identifier == 0 || identifier == self.local {
                    return Verdict::Nak(Value::from(suggestion));
                }
                peer = identifier;
                Verdict::Ack
            }
            _ => Verdict::Reject,
        };
        // Asked for once (section 4.1).
        let wanted = [(kind::INTERFACE_IDENTIFIER, Value::from(suggestion))];
        let wanted = if self.prompted { &[][..] } else { &wanted[..] };
        let reply = assemble(request, wanted, naks_exhausted, judge);
        self.prompted = !named;
        if reply == Reply::Ack {
            if peer == 0 {
                return Err(NO_IDENTIFIER);
            }
            self.peer = peer;
        }
        Ok(reply)
    }

    fn on_nak(
        &mut self,
        _config: &Config,
        option: RawOption<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), DownCause> {
        if option.kind == kind::INTERFACE_IDENTIFIER {
            let named = <[u8; 8]>::try_from(option.data).map_or(0, u64::from_be_bytes);
            // What we suggest to the peer in the same instant is none for us: the two would go on
            // agreeing with each other (section 4.1).
            let usable = ![0, self.local, self.peer, self.suggested].contains(&named);
            self.local = if usable { named } else { random_identifier(rng) };
        }
        Ok(())
    }

    fn on_reject(&mut self, option: RawOption<'_>) -> Result<(), DownCause> {
        if option.kind == kind::INTERFACE_IDENTIFIER {
            self.ask = false;
        }
        Ok(())
    }
}

/// Any but zero, and none that claims to be unique in the world (section 4.1).
fn random_identifier(rng: &mut dyn RngCore) -> u64 {
    (rng.next_u64() & !UNIVERSAL).max(1)
}

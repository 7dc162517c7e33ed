//! The Link Control Protocol's options, for both roles (RFC 1661 section 6).
//!
//! Asked for: Maximum-Receive-Unit, Magic-Number, and Authentication-Protocol where the peer is to
//! authenticate. Granted: MRU, Magic-Number, Protocol- and Address-and-Control-Field-Compression,
//! Authentication-Protocol where there is an account, and the character map, which has no meaning in
//! L2TP but does no harm. Everything else is rejected.

use rand::RngCore;

use super::frame::{code, protocol};
use super::option::{OptionList, Options, RawOption, Reply, Value, Verdict, assemble};
use super::policy::Policy;
use super::{Account, Agreed, Authentication, Config, DownCause, Framing, MRU_DEFAULT};

/// The most entries of [`Config::authentication`] that are tried: the refused ones are a bit each.
pub const AUTHENTICATIONS_MAX: usize = 8;

/// Types of options (RFC 1661 section 6; RFC 1662 section 7.1 for the character map).
pub mod kind {
    /// Maximum-Receive-Unit.
    pub const MRU: u8 = 1;
    /// Async-Control-Character-Map.
    pub const ACCM: u8 = 2;
    /// Authentication-Protocol.
    pub const AUTHENTICATION: u8 = 3;
    /// Magic-Number.
    pub const MAGIC: u8 = 5;
    /// Protocol-Field-Compression.
    pub const PFC: u8 = 7;
    /// Address-and-Control-Field-Compression.
    pub const ACFC: u8 = 8;
}

/// CHAP's algorithm number of MD5 (RFC 1994 section 3).
const CHAP_MD5: u8 = 5;

/// CHAP's algorithm number of MS-CHAPv2 (RFC 2759 section 3).
const MS_CHAP_V2: u8 = 0x81;

impl Authentication {
    /// The Data field of the Authentication-Protocol option.
    pub fn option_data(self) -> &'static [u8] {
        match self {
            Self::ChapMd5 => &[0xc2, 0x23, CHAP_MD5],
            Self::MsChapV2 => &[0xc2, 0x23, MS_CHAP_V2],
            Self::Pap => &[0xc0, 0x23],
        }
    }

    /// The protocol that an Authentication-Protocol option names, where it is one of ours.
    pub fn from_option_data(data: &[u8]) -> Option<Self> {
        [Self::ChapMd5, Self::MsChapV2, Self::Pap]
            .into_iter()
            .find(|known| known.option_data() == data)
    }
}

/// What the peer asked for and was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    magic: u32,
    mru: u16,
    pfc: bool,
    acfc: bool,
    /// How we are to authenticate.
    authentication: Option<Authentication>,
}

impl Peer {
    /// Without an option its default holds (RFC 1661 section 6).
    const DEFAULT: Self =
        Self { magic: 0, mru: MRU_DEFAULT, pfc: false, acfc: false, authentication: None };

    fn judge(&mut self, config: &Config, option: RawOption<'_>, rng: &mut dyn RngCore) -> Verdict {
        match (option.kind, option.data) {
            (kind::MRU, &[high, low]) => {
                let mru = u16::from_be_bytes([high, low]);
                if mru < config.mru_min {
                    return Verdict::Nak(Value::from(config.mru_min));
                }
                self.mru = mru;
                Verdict::Ack
            }
            // A known option of a wrong length is Nak'ed with what it should be (section 6).
            (kind::MRU, _) => Verdict::Nak(Value::from(MRU_DEFAULT)),
            (kind::MAGIC, &[a, b, c, d]) => match u32::from_be_bytes([a, b, c, d]) {
                // Zero is always Nak'ed (section 6.4).
                0 => Verdict::Nak(Value::from(random_magic(rng))),
                magic => {
                    self.magic = magic;
                    Verdict::Ack
                }
            },
            (kind::MAGIC, _) => Verdict::Nak(Value::from(random_magic(rng))),
            (kind::ACCM, &[_, _, _, _]) => Verdict::Ack,
            (kind::ACCM, _) => Verdict::Nak(Value::from(0_u32)),
            (kind::PFC, &[]) => {
                self.pfc = true;
                Verdict::Ack
            }
            (kind::ACFC, &[]) => {
                self.acfc = true;
                Verdict::Ack
            }
            (kind::AUTHENTICATION, data) => self.judge_authentication(config, data),
            // Options without a value cannot be Nak'ed (section 5.3).
            _ => Verdict::Reject,
        }
    }

    /// Who has no account cannot authenticate; who has one says what it is ready for.
    fn judge_authentication(&mut self, config: &Config, data: &[u8]) -> Verdict {
        let methods: &[_] = config.account.as_ref().map_or(&[], |Account { methods, .. }| methods);
        let named = Authentication::from_option_data(data);
        match (named.filter(|named| methods.contains(named)), methods.first()) {
            (_, None) => Verdict::Reject,
            (None, Some(best)) => Verdict::Nak(Value::from_slice(best.option_data())),
            (named @ Some(_), Some(_)) => {
                self.authentication = named;
                Verdict::Ack
            }
        }
    }
}

/// One end's LCP.
#[derive(Debug)]
pub struct Lcp {
    magic: u32,
    /// `None`: rejected by the peer.
    mru: Option<u16>,
    ask_magic: bool,
    /// Place in [`Config::authentication`] of the protocol asked for.
    authentication: u8,
    /// Places in [`Config::authentication`] that the peer refused, a bit each.
    refused: u8,
    /// Requests in a row that carried our own magic number.
    loops: u32,
    /// Codes from [`code::PROTOCOL_REJECT`] on that the peer does not know, a bit each.
    unknown_codes: u8,
    peer: Peer,
}

impl Lcp {
    /// The wishes of the configuration, with a magic number of its own.
    pub fn new(config: &Config, rng: &mut dyn RngCore) -> Self {
        Self {
            magic: random_magic(rng),
            mru: Some(config.mru),
            ask_magic: true,
            authentication: 0,
            refused: 0,
            loops: 0,
            unknown_codes: 0,
            peer: Peer::DEFAULT,
        }
    }

    /// What two Configure-Requests that both ends have acknowledged amount to, `sent` by somebody in
    /// our place and `received` from the peer. That somebody may have granted what is not granted
    /// here, and asked for less or more.
    ///
    /// # Errors
    /// What is not acceptable.
    pub fn agreed_by_proxy(
        config: &Config,
        sent: &Options<'_>,
        received: &Options<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Self, &'static str> {
        let mut lcp = Self { mru: None, ask_magic: false, ..Self::new(config, rng) };
        let mut peer = Peer::DEFAULT;
        let judge = |option: RawOption<'_>| peer.judge(config, option, &mut *rng);
        if assemble(received, &[], false, judge) != Reply::Ack {
            return Err("the options granted to the subscriber");
        }
        lcp.peer = peer;
        let mut authenticates = false;
        for option in sent.iter() {
            match (option.kind, option.data) {
                (kind::MRU, &[high, low]) => lcp.mru = Some(u16::from_be_bytes([high, low])),
                (kind::AUTHENTICATION, data) => {
                    let named = Authentication::from_option_data(data);
                    let place =
                        config.authentication.iter().position(|known| Some(*known) == named);
                    let place = place.and_then(|place| u8::try_from(place).ok());
                    lcp.authentication = place.ok_or("the authentication protocol")?;
                    authenticates = true;
                }
                (kind::MAGIC, &[a, b, c, d]) => {
                    lcp.magic = u32::from_be_bytes([a, b, c, d]);
                    lcp.ask_magic = true;
                }
                (kind::ACCM, &[_, _, _, _]) | (kind::PFC | kind::ACFC, &[]) => {}
                _ => return Err("the options asked for"),
            }
        }
        if lcp.mru.unwrap_or(MRU_DEFAULT) > config.mru {
            return Err("the MRU asked for");
        }
        if authenticates == config.authentication.is_empty() {
            return Err("the authentication protocol");
        }
        Ok(lcp)
    }

    /// An Echo-Request had our own magic number. Whether the link has to be taken for looped.
    pub fn is_looped_by_echo(&mut self, config: &Config) -> bool {
        self.loops = self.loops.saturating_add(1);
        self.loops >= config.max_failure
    }

    /// What was agreed; before LCP is open, what would hold if the peer agreed to everything.
    pub fn agreed(&self, config: &Config) -> Agreed {
        Agreed {
            peer_mru: self.peer.mru.min(config.mru),
            local_mru: self.mru.unwrap_or(MRU_DEFAULT),
            send_acfc: self.peer.acfc && config.framing == Framing::Negotiated,
            send_pfc: self.peer.pfc,
            magic: self.magic(),
            peer_magic: self.peer.magic,
            authentication: self.wanted(config),
            our_authentication: self.peer.authentication,
        }
    }

    /// The largest packet that the peer is sent.
    pub fn peer_mru(&self, config: &Config) -> u16 {
        self.peer.mru.min(config.mru)
    }

    fn wanted(&self, config: &Config) -> Option<Authentication> {
        config.authentication.get(usize::from(self.authentication)).copied()
    }

    /// The peer does not want the protocol asked for. The one that it names is tried next where it is
    /// allowed, else the next in the order of the configuration; none is tried twice.
    fn next_authentication(
        &mut self,
        config: &Config,
        named: Option<Authentication>,
    ) -> Result<(), DownCause> {
        self.refused |= bit(self.authentication);
        let places = (0_u8..).zip(config.authentication.iter().take(AUTHENTICATIONS_MAX));
        let mut left = places.filter(|(place, _)| self.refused & bit(*place) == 0).peekable();
        let first = left.peek().map(|(place, _)| *place);
        let by_name = left.find(|(_, known)| Some(**known) == named).map(|(place, _)| place);
        self.authentication =
            by_name.or(first).ok_or(DownCause::NegotiationFailed("an authentication protocol"))?;
        Ok(())
    }
}

impl Policy for Lcp {
    const PROTOCOL: u16 = protocol::LCP;

    fn reset(&mut self, config: &Config) {
        self.mru = Some(config.mru);
        self.ask_magic = true;
        self.authentication = 0;
        self.refused = 0;
        self.loops = 0;
        self.unknown_codes = 0;
    }

    fn request(&self, config: &Config) -> OptionList {
        let mut options = OptionList::default();
        // Default values are not to be asked for (section 5.1).
        if let Some(mru) = self.mru.filter(|mru| *mru != MRU_DEFAULT) {
            options.push(kind::MRU, &mru.to_be_bytes());
        }
        if let Some(authentication) = self.wanted(config) {
            options.push(kind::AUTHENTICATION, authentication.option_data());
        }
        if self.ask_magic {
            options.push(kind::MAGIC, &self.magic.to_be_bytes());
        }
        options
    }

    fn judge(
        &mut self,
        config: &Config,
        request: &Options<'_>,
        naks_exhausted: bool,
        rng: &mut dyn RngCore,
    ) -> Result<Reply, DownCause> {
        let ours = self.magic.to_be_bytes();
        let looped = |option: RawOption<'_>| option.kind == kind::MAGIC && option.data == ours;
        if self.ask_magic && request.iter().any(looped) {
            // Possibly our own request: answered by nothing but a Nak with another number, before
            // all other options, so that a looped link does not reject its own wishes (section 6.4).
            self.loops += 1;
            if self.loops >= config.max_failure {
                return Err(DownCause::Looped);
            }
            let mut nak = OptionList::default();
            nak.push(kind::MAGIC, &random_magic(rng).to_be_bytes());
            return Ok(Reply::Nak(nak));
        }
        let mut peer = Peer::DEFAULT;
        let reply =
            assemble(request, &[], naks_exhausted, |option| peer.judge(config, option, rng));
        if reply == Reply::Ack {
            self.peer = peer;
            self.loops = 0;
        }
        Ok(reply)
    }

    fn on_nak(
        &mut self,
        config: &Config,
        option: RawOption<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), DownCause> {
        match (option.kind, option.data) {
            (kind::MRU, &[high, low]) => {
                // 1500 octets have to be taken anyway (section 6.1), so up to there the peer may
                // have its way.
                let mru = u16::from_be_bytes([high, low]);
                if self.mru.is_some() && (config.mru_min..=MRU_DEFAULT).contains(&mru) {
                    self.mru = Some(mru);
                }
            }
            (kind::AUTHENTICATION, data) => {
                self.next_authentication(config, Authentication::from_option_data(data))?;
            }
            // Looped or by chance the same as the peer's: another one in either case (section 6.4).
            (kind::MAGIC, _) => self.magic = random_magic(rng),
            _ => {}
        }
        Ok(())
    }

    fn on_reject(&mut self, option: RawOption<'_>) -> Result<(), DownCause> {
        match option.kind {
            kind::MRU => self.mru = None,
            kind::MAGIC => self.ask_magic = false,
            kind::AUTHENTICATION => {
                return Err(DownCause::NegotiationFailed("an authentication protocol"));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_code_reject(&mut self, code: u8) {
        self.unknown_codes |= bit(code.wrapping_sub(code::PROTOCOL_REJECT));
    }

    fn may_send(&self, code: u8) -> bool {
        self.unknown_codes & bit(code.wrapping_sub(code::PROTOCOL_REJECT)) == 0
    }

    /// Zero where the peer refused the option (section 5.8).
    fn magic(&self) -> u32 {
        if self.ask_magic { self.magic } else { 0 }
    }
}

fn bit(place: u8) -> u8 {
    1_u8.checked_shl(u32::from(place)).unwrap_or(0)
}

/// Any number but zero, which stands for none (section 6.4).
fn random_magic(rng: &mut dyn RngCore) -> u32 {
    rng.next_u32().max(1)
}

//! A subscriber: the dialling end of PPP, as far as it takes to get an address.
//!
//! It answers at once and asks for little: LCP with MRU and Magic-Number, CHAP-MD5 or PAP, IPCP with
//! an address. What it is offered beyond that it rejects.

use super::wire::{self, CHAP, IPCP, LCP, PAP, code};

/// How subscribers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Authentication {
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// PAP (RFC 1334).
    Pap,
}

impl Authentication {
    /// As the configuration of xlns has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChapMd5 => "chap-md5",
            Self::Pap => "pap",
        }
    }

    /// The Authentication-Protocol option that asks for it.
    fn option(self) -> &'static [u8] {
        match self {
            Self::ChapMd5 => &[3, 5, 0xc2, 0x23, 5],
            Self::Pap => &[3, 4, 0xc0, 0x23],
        }
    }
}

/// What all subscribers of a run share.
#[derive(Debug, Clone)]
pub struct Account {
    /// Name.
    pub user: Vec<u8>,
    /// Password.
    pub password: Vec<u8>,
    /// How it is proven.
    pub authentication: Authentication,
}

/// Options of LCP.
const MRU: u8 = 1;
const ACCM: u8 = 2;
const AUTHENTICATION: u8 = 3;
const MAGIC: u8 = 5;
const PFC: u8 = 7;
const ACFC: u8 = 8;

/// The option of IPCP.
const ADDRESS: u8 = 3;

/// Codes of CHAP and PAP: challenge or request, response or acknowledgement, and so on.
const CHAP_CHALLENGE: u8 = 1;
const CHAP_RESPONSE: u8 = 2;
const CHAP_FAILURE: u8 = 4;
const PAP_REQUEST: u8 = 1;
const PAP_NAK: u8 = 3;

/// MRU of a subscriber behind PPPoE and L2TP.
const MRU_BYTES: u16 = 1452;

/// What came of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to tell.
    None,
    /// An echo was answered.
    Echo,
    /// IPCP is open on both sides.
    Open,
    /// It will not come up.
    Failed(&'static str),
}

/// One layer's negotiation.
#[derive(Debug, Clone, Copy, Default)]
struct Negotiation {
    /// They acknowledged ours.
    ours: bool,
    /// We acknowledged theirs.
    theirs: bool,
}

impl Negotiation {
    fn is_open(self) -> bool {
        self.ours && self.theirs
    }
}

/// One subscriber.
#[derive(Debug, Clone)]
pub struct Subscriber {
    magic: u32,
    lcp: Negotiation,
    ipcp: Negotiation,
    /// Identifier of our latest request, of whichever layer.
    identifier: u8,
    mru: Option<u16>,
    with_magic: bool,
    address: [u8; 4],
}

/// A packet to send: protocol and octets.
pub type Packet = (u16, Vec<u8>);

impl Subscriber {
    /// One that has not said anything yet.
    pub fn new(magic: u32) -> Self {
        Self {
            magic,
            lcp: Negotiation::default(),
            ipcp: Negotiation::default(),
            identifier: 0,
            mru: Some(MRU_BYTES),
            with_magic: true,
            address: [0; 4],
        }
    }

    /// Whether IPCP is open.
    pub fn is_open(&self) -> bool {
        self.ipcp.is_open()
    }

    /// The address it was given.
    pub fn address(&self) -> [u8; 4] {
        self.address
    }

    /// Says what it waits for an answer to: first of all, and again where none came.
    pub fn ask(&mut self, account: &Account, out: &mut Vec<Packet>) {
        if !self.lcp.ours {
            self.request_lcp(out);
        } else if self.lcp.is_open() && !self.ipcp.ours {
            if account.authentication == Authentication::Pap && !self.ipcp.theirs {
                self.say_password(account, out);
            }
            self.request_ipcp(out);
        }
    }

    /// Asks whether the other side is there.
    pub fn echo(&mut self, out: &mut Vec<Packet>) {
        // Not that of a request of ours: an answer to either must not be taken for the other's.
        out.push((LCP, wire::ppp(code::ECHO_REQUEST, 0, &self.magic.to_be_bytes())));
    }

    /// Takes a frame in.
    pub fn handle(&mut self, frame: &[u8], account: &Account, out: &mut Vec<Packet>) -> Progress {
        let Some((protocol, octets)) = wire::frame(frame) else { return Progress::None };
        let Some((kind, identifier, content)) = wire::packet(octets) else {
            return Progress::None;
        };
        match protocol {
            LCP => self.on_lcp(kind, identifier, content, account, out),
            CHAP => self.on_chap(kind, identifier, content, account, out),
            PAP if kind == PAP_NAK => Progress::Failed("authentication"),
            PAP => Progress::None,
            IPCP => self.on_ipcp(kind, identifier, content, out),
            // IPv4 and IPv6 themselves are not negotiated with.
            0..0x8000 => Progress::None,
            other => {
                self.identifier = self.identifier.wrapping_add(1);
                let rejected = [&other.to_be_bytes(), octets].concat();
                out.push((LCP, wire::ppp(code::PROTOCOL_REJECT, self.identifier, &rejected)));
                Progress::None
            }
        }
    }

    fn on_lcp(
        &mut self,
        kind: u8,
        identifier: u8,
        content: &[u8],
        account: &Account,
        out: &mut Vec<Packet>,
    ) -> Progress {
        match kind {
            code::CONFIGURE_REQUEST => {
                let before = self.lcp.is_open();
                let (answer, said) = judge_lcp(content, account.authentication);
                self.lcp.theirs = answer == code::CONFIGURE_ACK;
                out.push((LCP, wire::ppp(answer, identifier, &said)));
                self.lcp_may_be_open(before, account, out);
            }
            code::CONFIGURE_ACK if identifier == self.identifier && !self.lcp.ours => {
                self.lcp.ours = true;
                self.lcp_may_be_open(false, account, out);
            }
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT
                if identifier == self.identifier && !self.lcp.ours =>
            {
                for (option, octets) in wire::options(content) {
                    match option {
                        MRU if kind == code::CONFIGURE_NAK => self.mru = wire::word(octets, 2),
                        MRU => self.mru = None,
                        MAGIC if kind == code::CONFIGURE_NAK => self.magic = !self.magic,
                        MAGIC => self.with_magic = false,
                        _ => {}
                    }
                }
                self.request_lcp(out);
            }
            code::TERMINATE_REQUEST => {
                out.push((LCP, wire::ppp(code::TERMINATE_ACK, identifier, &[])));
                return Progress::Failed("terminated");
            }
            code::ECHO_REQUEST => {
                let mut reply = content.to_vec();
                if let Some(magic) = reply.get_mut(..4) {
                    magic.copy_from_slice(&self.magic.to_be_bytes());
                }
                out.push((LCP, wire::ppp(code::ECHO_REPLY, identifier, &reply)));
            }
            code::ECHO_REPLY => return Progress::Echo,
            _ => {}
        }
        Progress::None
    }

    /// LCP opened by what just came: who says a password says it now.
    fn lcp_may_be_open(&mut self, before: bool, account: &Account, out: &mut Vec<Packet>) {
        if !before && self.lcp.is_open() && account.authentication == Authentication::Pap {
            self.say_password(account, out);
        }
    }

    fn on_chap(
        &mut self,
        kind: u8,
        identifier: u8,
        content: &[u8],
        account: &Account,
        out: &mut Vec<Packet>,
    ) -> Progress {
        match kind {
            CHAP_CHALLENGE => {
                let Some((length, rest)) = content.split_first() else { return Progress::None };
                let Some(challenge) = rest.get(..usize::from(*length)) else {
                    return Progress::None;
                };
                let proof = wire::proof(identifier, &account.password, challenge);
                let response = [&[proof.len() as u8], &proof[..], &account.user].concat();
                out.push((CHAP, wire::ppp(CHAP_RESPONSE, identifier, &response)));
                Progress::None
            }
            CHAP_FAILURE => Progress::Failed("authentication"),
            _ => Progress::None,
        }
    }

    fn on_ipcp(
        &mut self,
        kind: u8,
        identifier: u8,
        content: &[u8],
        out: &mut Vec<Packet>,
    ) -> Progress {
        let before = self.is_open();
        match kind {
            code::CONFIGURE_REQUEST => {
                let first = !self.ipcp.theirs;
                let (answer, said) = judge_ipcp(content);
                self.ipcp.theirs = answer == code::CONFIGURE_ACK;
                out.push((IPCP, wire::ppp(answer, identifier, &said)));
                if first && !self.ipcp.ours {
                    self.request_ipcp(out);
                }
            }
            code::CONFIGURE_ACK if identifier == self.identifier && !self.ipcp.ours => {
                self.ipcp.ours = self.address != [0; 4];
            }
            code::CONFIGURE_NAK if identifier == self.identifier && !self.ipcp.ours => {
                let address = wire::options(content).find(|(option, _)| *option == ADDRESS);
                match address.and_then(|(_, octets)| octets.get(2..6)?.try_into().ok()) {
                    Some(address) => self.address = address,
                    None => return Progress::Failed("no address"),
                }
                self.request_ipcp(out);
            }
            code::CONFIGURE_REJECT => return Progress::Failed("no address"),
            _ => {}
        }
        if !before && self.is_open() { Progress::Open } else { Progress::None }
    }

    fn request_lcp(&mut self, out: &mut Vec<Packet>) {
        let mut options = Vec::with_capacity(10);
        if let Some(mru) = self.mru {
            options.extend_from_slice(&[MRU, 4]);
            options.extend_from_slice(&mru.to_be_bytes());
        }
        if self.with_magic {
            options.extend_from_slice(&[MAGIC, 6]);
            options.extend_from_slice(&self.magic.to_be_bytes());
        }
        self.identifier = self.identifier.wrapping_add(1);
        out.push((LCP, wire::ppp(code::CONFIGURE_REQUEST, self.identifier, &options)));
    }

    fn request_ipcp(&mut self, out: &mut Vec<Packet>) {
        let [a, b, c, d] = self.address;
        self.identifier = self.identifier.wrapping_add(1);
        let option = [ADDRESS, 6, a, b, c, d];
        out.push((IPCP, wire::ppp(code::CONFIGURE_REQUEST, self.identifier, &option)));
    }

    fn say_password(&mut self, account: &Account, out: &mut Vec<Packet>) {
        let Account { user, password, .. } = account;
        let content = [&[user.len() as u8], &user[..], &[password.len() as u8], password].concat();
        self.identifier = self.identifier.wrapping_add(1);
        out.push((PAP, wire::ppp(PAP_REQUEST, self.identifier, &content)));
    }
}

/// The answer to their LCP request: everything taken, another way of authentication named, or what
/// is unknown rejected.
fn judge_lcp(content: &[u8], authentication: Authentication) -> (u8, Vec<u8>) {
    let known = |option: &u8| matches!(*option, MRU | ACCM | AUTHENTICATION | MAGIC | PFC | ACFC);
    if let Some(rejected) = all(content, |option, _| !known(&option)) {
        return (code::CONFIGURE_REJECT, rejected);
    }
    let ours = authentication.option();
    let other = all(content, |option, octets| option == AUTHENTICATION && octets != ours);
    match other {
        Some(_) => (code::CONFIGURE_NAK, ours.to_vec()),
        None => (code::CONFIGURE_ACK, content.to_vec()),
    }
}

fn judge_ipcp(content: &[u8]) -> (u8, Vec<u8>) {
    match all(content, |option, _| option != ADDRESS) {
        Some(rejected) => (code::CONFIGURE_REJECT, rejected),
        None => (code::CONFIGURE_ACK, content.to_vec()),
    }
}

/// The options that `test` finds; `None` where it finds none.
fn all(content: &[u8], test: impl Fn(u8, &[u8]) -> bool) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    for (option, octets) in wire::options(content) {
        if test(option, octets) {
            found.extend_from_slice(octets);
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(authentication: Authentication) -> Account {
        Account { user: b"u".to_vec(), password: b"p".to_vec(), authentication }
    }

    fn lcp(octets: Vec<u8>) -> Vec<u8> {
        [&[0xff, 3, 0xc0, 0x21], &octets[..]].concat()
    }

    #[test]
    fn what_is_unknown_is_rejected_and_the_rest_taken() {
        let chap = Authentication::ChapMd5;
        let good = [1, 4, 5, 0xb4, 3, 5, 0xc2, 0x23, 5, 5, 6, 1, 2, 3, 4];
        assert_eq!(judge_lcp(&good, chap), (code::CONFIGURE_ACK, good.to_vec()));
        let multilink = [&good[..], &[17, 4, 5, 0xb4]].concat();
        let rejected = (code::CONFIGURE_REJECT, vec![17, 4, 5, 0xb4]);
        assert_eq!(judge_lcp(&multilink, chap), rejected);
        let nak = (code::CONFIGURE_NAK, vec![3, 4, 0xc0, 0x23]);
        assert_eq!(judge_lcp(&good, Authentication::Pap), nak);
        let compression = [2, 4, 0, 0x2d];
        assert_eq!(judge_ipcp(&compression), (code::CONFIGURE_REJECT, compression.to_vec()));
    }

    #[test]
    fn a_password_is_said_once_the_link_is_open() {
        let account = account(Authentication::Pap);
        let (mut subscriber, mut out) = (Subscriber::new(1), Vec::new());
        subscriber.ask(&account, &mut out);
        let (_, request) = out.pop().unwrap();
        let ack = lcp([&[2], &request[1..]].concat());
        subscriber.handle(&ack, &account, &mut out);
        assert_eq!(out, [], "theirs is not acknowledged yet");
        let theirs = wire::ppp(1, 9, &[3, 4, 0xc0, 0x23]);
        subscriber.handle(&lcp(theirs.clone()), &account, &mut out);
        assert_eq!(out.len(), 2);
        assert_eq!(out[1], (PAP, wire::ppp(1, 2, &[1, b'u', 1, b'p'])));
        out.clear();
        subscriber.handle(&lcp(theirs), &account, &mut out);
        assert_eq!(out.len(), 1, "repeated: acknowledged, the password is not said again");
    }

    #[test]
    fn an_end_is_confirmed_and_told() {
        let account = account(Authentication::ChapMd5);
        let (mut subscriber, mut out) = (Subscriber::new(1), Vec::new());
        let end = lcp(wire::ppp(5, 3, &[]));
        let progress = subscriber.handle(&end, &account, &mut out);
        assert_eq!(progress, Progress::Failed("terminated"));
        assert_eq!(out, [(LCP, wire::ppp(6, 3, &[]))]);
    }

    #[test]
    fn options_of_ours_that_are_refused_are_not_asked_for_again() {
        let account = account(Authentication::ChapMd5);
        let (mut subscriber, mut out) = (Subscriber::new(1), Vec::new());
        subscriber.ask(&account, &mut out);
        let reject = lcp(wire::ppp(4, 1, &[5, 6, 0, 0, 0, 1]));
        subscriber.handle(&reject, &account, &mut out);
        let nak = lcp(wire::ppp(3, 2, &[1, 4, 5, 0]));
        subscriber.handle(&nak, &account, &mut out);
        assert_eq!(out.pop().unwrap(), (LCP, wire::ppp(1, 3, &[1, 4, 5, 0])));
    }
}

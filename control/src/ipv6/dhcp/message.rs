//! Messages between client and server (RFC 3315 sections 6 and 22, RFC 3633 sections 9 and 10,
//! RFC 3646 sections 3 and 4): read from octets and written to them.
//!
//! Options that nobody here needs are skipped. Of what may be repeated only so many are taken as
//! the constants say, so that a message of any length becomes a value of bounded size.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::super::Discard;

/// Identity associations taken of one message, addresses and prefixes together.
pub const ASSOCIATIONS_MAX: usize = 8;

/// Addresses or prefixes taken of one identity association.
pub const LEASES_MAX: usize = 8;

/// Codes taken of an Option Request option.
pub const REQUESTED_MAX: usize = 32;

/// Name servers taken of one message.
pub const DNS_SERVERS_MAX: usize = 4;

/// The longest DUID, octets: 128 and its type (RFC 3315 section 9.1).
pub const DUID_BYTES_MAX: usize = 130;

/// The shortest DUID, octets: a type and something.
pub const DUID_BYTES_MIN: usize = 3;

/// Octets of a status message that are kept.
const STATUS_TEXT_BYTES_MAX: usize = 128;

/// Option codes (RFC 3315 section 24.3, RFC 3633 section 16, RFC 3646 section 6).
mod option {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDRESS: u16 = 5;
    pub const REQUESTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS_SERVERS: u16 = 23;
    pub const DOMAIN_LIST: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const IA_PREFIX: u16 = 26;
}

/// What a client asks for by its Option Request option: name servers.
pub const REQUEST_DNS_SERVERS: u16 = option::DNS_SERVERS;

/// What a client asks for by its Option Request option: domains to search.
pub const REQUEST_DOMAIN_LIST: u16 = option::DOMAIN_LIST;

/// Message types (RFC 3315 section 5.3) between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Who serves here?
    Solicit = 1,
    /// I do, with this.
    Advertise = 2,
    /// I take it.
    Request = 3,
    /// Am I still on the right link?
    Confirm = 4,
    /// May I keep it, of the same server?
    Renew = 5,
    /// May I keep it, of any server?
    Rebind = 6,
    /// The answer.
    Reply = 7,
    /// I need it no more.
    Release = 8,
    /// Somebody else has it.
    Decline = 9,
    /// Ask again.
    Reconfigure = 10,
    /// Only tell me.
    InformationRequest = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Solicit,
        Self::Advertise,
        Self::Request,
        Self::Confirm,
        Self::Renew,
        Self::Rebind,
        Self::Reply,
        Self::Release,
        Self::Decline,
        Self::Reconfigure,
        Self::InformationRequest,
    ];

    fn of_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == octet)
    }
}

/// Status codes (RFC 3315 section 24.4, RFC 3633 section 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusCode {
    /// 0.
    Success,
    /// 1.
    UnspecFail,
    /// 2.
    NoAddrsAvail,
    /// 3.
    NoBinding,
    /// 4.
    NotOnLink,
    /// 5.
    UseMulticast,
    /// 6.
    NoPrefixAvail,
    /// Something newer.
    Other(u16),
}

impl StatusCode {
    fn of_number(number: u16) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::UnspecFail,
            2 => Self::NoAddrsAvail,
            3 => Self::NoBinding,
            4 => Self::NotOnLink,
            5 => Self::UseMulticast,
            6 => Self::NoPrefixAvail,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::UnspecFail => 1,
            Self::NoAddrsAvail => 2,
            Self::NoBinding => 3,
            Self::NotOnLink => 4,
            Self::UseMulticast => 5,
            Self::NoPrefixAvail => 6,
            Self::Other(number) => number,
        }
    }
}

/// A status with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: StatusCode,
    /// For people; the first octets of it.
    pub text: Vec<u8>,
}

impl Status {
    /// A status with a text of ours.
    pub fn new(code: StatusCode, text: &str) -> Self {
        Self { code, text: text.as_bytes().to_vec() }
    }
}

/// What an identity association is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssociationKind {
    /// Addresses: IA_NA (RFC 3315 section 22.4).
    Addresses,
    /// Delegated prefixes: IA_PD (RFC 3633 section 9).
    Prefixes,
}

/// An address (with 128 bits) or a delegated prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// Preferred lifetime, seconds.
    pub preferred_seconds: u32,
    /// Valid lifetime, seconds; 0: not to be used.
    pub valid_seconds: u32,
}

/// An identity association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Addresses or prefixes.
    pub kind: AssociationKind,
    /// The client's number for it.
    pub id: u32,
    /// T1: when to ask the same server, seconds; 0: as the client likes.
    pub renew_seconds: u32,
    /// T2: when to ask any server, seconds; 0: as the client likes.
    pub rebind_seconds: u32,
    /// What is associated, or wished for; at most [`LEASES_MAX`].
    pub leases: Vec<Lease>,
    /// How it went.
    pub status: Option<Status>,
}

impl Association {
    /// One without anything in it.
    pub fn new(kind: AssociationKind, id: u32) -> Self {
        Self { kind, id, renew_seconds: 0, rebind_seconds: 0, leases: Vec::new(), status: None }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: Kind,
    /// Transaction ID, 24 bits.
    pub transaction: u32,
    /// The client's DUID.
    pub client_id: Option<Box<[u8]>>,
    /// The server's DUID.
    pub server_id: Option<Box<[u8]>>,
    /// At most [`ASSOCIATIONS_MAX`].
    pub associations: Vec<Association>,
    /// Of the message as a whole.
    pub status: Option<Status>,
    /// Two messages instead of four (RFC 3315 section 22.14).
    pub rapid_commit: bool,
    /// How much the server wants to be chosen; 255: at once.
    pub preference: Option<u8>,
    /// How long the client has been trying, hundredths of a second.
    pub elapsed: Option<u16>,
    /// Options that the client wants.
    pub requested: Vec<u16>,
    /// Recursive name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search, as in a DNS message (RFC 1035); empty: none told.
    pub domains: Vec<u8>,
}

impl Message {
    /// A message without options.
    pub fn new(kind: Kind, transaction: u32) -> Self {
        Self {
            kind,
            transaction: transaction & 0xff_ffff,
            client_id: None,
            server_id: None,
            associations: Vec::new(),
            status: None,
            rapid_commit: false,
            preference: None,
            elapsed: None,
            requested: Vec::new(),
            dns: Vec::new(),
            domains: Vec::new(),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Discard::Malformed`] for what is cut short or says something twice; [`Discard::Unknown`]
    /// for types that are not between client and server.
    pub fn decode(octets: &[u8]) -> Result<Self, Discard> {
        let ([kind, a, b, c], options) = octets.split_first_chunk().ok_or(Discard::Malformed)?;
        let kind = Kind::of_octet(*kind).ok_or(Discard::Unknown)?;
        let mut message = Self::new(kind, u32::from_be_bytes([0, *a, *b, *c]));
        for option in Options(options) {
            let (code, value) = option?;
            message.decode_option(code, value)?;
        }
        Ok(message)
    }

    fn decode_option(&mut self, code: u16, value: &[u8]) -> Result<(), Discard> {
        match code {
            option::CLIENT_ID => decode_duid(&mut self.client_id, value)?,
            option::SERVER_ID => decode_duid(&mut self.server_id, value)?,
            option::IA_NA => self.decode_association(AssociationKind::Addresses, value)?,
            option::IA_PD => self.decode_association(AssociationKind::Prefixes, value)?,
            option::REQUESTED => {
                let codes = value.chunks_exact(2).filter_map(number);
                let room = REQUESTED_MAX.saturating_sub(self.requested.len());
                self.requested.extend(codes.take(room));
            }
            option::PREFERENCE => self.preference = value.first().copied(),
            option::ELAPSED => self.elapsed = number(value),
            option::STATUS => self.status = Some(decode_status(value)?),
            option::RAPID_COMMIT => self.rapid_commit = true,
            option::DNS_SERVERS => {
                let servers = value.chunks_exact(16).filter_map(address);
                let room = DNS_SERVERS_MAX.saturating_sub(self.dns.len());
                self.dns.extend(servers.take(room));
            }
            // One DUID and one list are enough to find a use for; the list is not looked into.
            option::DOMAIN_LIST => self.domains = value.iter().copied().take(255).collect(),
            _ => {}
        }
        Ok(())
    }

    fn decode_association(&mut self, kind: AssociationKind, value: &[u8]) -> Result<(), Discard> {
        let long = |at: usize| value.get(at..).and_then(long).ok_or(Discard::Malformed);
        let mut association = Association {
            renew_seconds: long(4)?,
            rebind_seconds: long(8)?,
            ..Association::new(kind, long(0)?)
        };
        for option in Options(value.get(12..).unwrap_or_default()) {
            let lease = match (option?, kind) {
                ((option::STATUS, value), _) => {
                    association.status = Some(decode_status(value)?);
                    continue;
                }
                ((option::IA_ADDRESS, value), AssociationKind::Addresses) => decode_address(value),
                ((option::IA_PREFIX, value), AssociationKind::Prefixes) => decode_prefix(value),
                _ => continue,
            };
            let lease = lease.ok_or(Discard::Malformed)?;
            if association.leases.len() < LEASES_MAX {
                association.leases.push(lease);
            }
        }
        if self.associations.len() < ASSOCIATIONS_MAX {
            self.associations.push(association);
        }
        Ok(())
    }

    /// Writes the message.
    pub fn encode(&self) -> Vec<u8> {
        let [_, a, b, c] = self.transaction.to_be_bytes();
        let mut octets = vec![self.kind as u8, a, b, c];
        let out = &mut octets;
        for (code, duid) in
            [(option::CLIENT_ID, &self.client_id), (option::SERVER_ID, &self.server_id)]
        {
            if let Some(duid) = duid {
                push(out, code, |out| out.extend_from_slice(duid));
            }
        }
        if self.rapid_commit {
            push(out, option::RAPID_COMMIT, |_| {});
        }
        if let Some(preference) = self.preference {
            push(out, option::PREFERENCE, |out| out.push(preference));
        }
        if let Some(elapsed) = self.elapsed {
            push(out, option::ELAPSED, |out| out.extend(elapsed.to_be_bytes()));
        }
        if !self.requested.is_empty() {
            let codes = self.requested.iter().flat_map(|code| code.to_be_bytes());
            push(out, option::REQUESTED, |out| out.extend(codes));
        }
        encode_status(out, self.status.as_ref());
        for association in &self.associations {
            encode_association(out, association);
        }
        if !self.dns.is_empty() {
            let servers = self.dns.iter().flat_map(Ipv6Addr::octets);
            push(out, option::DNS_SERVERS, |out| out.extend(servers));
        }
        if !self.domains.is_empty() {
            push(out, option::DOMAIN_LIST, |out| out.extend_from_slice(&self.domains));
        }
        octets
    }
}

/// A name as in a DNS message, not compressed; empty where it is none.
pub fn encode_domain(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 || !label.is_ascii() {
            return Vec::new();
        }
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    if octets.len() > 255 { Vec::new() } else { octets }
}

fn decode_duid(duid: &mut Option<Box<[u8]>>, value: &[u8]) -> Result<(), Discard> {
    let fits = (DUID_BYTES_MIN..=DUID_BYTES_MAX).contains(&value.len());
    if duid.is_some() || !fits {
        return Err(Discard::Malformed);
    }
    *duid = Some(value.into());
    Ok(())
}

fn decode_status(value: &[u8]) -> Result<Status, Discard> {
    let code = number(value).ok_or(Discard::Malformed)?;
    let text = value.iter().skip(2).copied().take(STATUS_TEXT_BYTES_MAX).collect();
    Ok(Status { code: StatusCode::of_number(code), text })
}

fn decode_address(value: &[u8]) -> Option<Lease> {
    Some(Lease {
        prefix: Ipv6Net::from(address(value)?),
        preferred_seconds: long(value.get(16..)?)?,
        valid_seconds: long(value.get(20..)?)?,
    })
}

fn decode_prefix(value: &[u8]) -> Option<Lease> {
    let length = *value.get(8)?;
    Some(Lease {
        preferred_seconds: long(value)?,
        valid_seconds: long(value.get(4..)?)?,
        prefix: Ipv6Net::new(address(value.get(9..)?)?, length).ok()?.trunc(),
    })
}

fn encode_association(out: &mut Vec<u8>, association: &Association) {
    let code = match association.kind {
        AssociationKind::Addresses => option::IA_NA,
        AssociationKind::Prefixes => option::IA_PD,
    };
    push(out, code, |out| {
        out.extend(association.id.to_be_bytes());
        out.extend(association.renew_seconds.to_be_bytes());
        out.extend(association.rebind_seconds.to_be_bytes());
        for lease in &association.leases {
            let (preferred, valid) =
                (lease.preferred_seconds.to_be_bytes(), lease.valid_seconds.to_be_bytes());
            let network = lease.prefix.network().octets();
            match association.kind {
                AssociationKind::Addresses => push(out, option::IA_ADDRESS, |out| {
                    out.extend(network);
                    out.extend(preferred);
                    out.extend(valid);
                }),
                AssociationKind::Prefixes => push(out, option::IA_PREFIX, |out| {
                    out.extend(preferred);
                    out.extend(valid);
                    out.push(lease.prefix.prefix_len());
                    out.extend(network);
                }),
            }
        }
        encode_status(out, association.status.as_ref());
    });
}

fn encode_status(out: &mut Vec<u8>, status: Option<&Status>) {
    let Some(status) = status else { return };
    push(out, option::STATUS, |out| {
        out.extend(status.code.number().to_be_bytes());
        out.extend_from_slice(&status.text);
    });
}

/// Writes an option: its length is known once its value is written.
fn push(out: &mut Vec<u8>, code: u16, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend(code.to_be_bytes());
    let at = out.len();
    out.extend([0; 2]);
    value(out);
    let length = out.len() - at - 2;
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&(length as u16).to_be_bytes());
    }
}

fn number(octets: &[u8]) -> Option<u16> {
    octets.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

fn long(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

fn address(octets: &[u8]) -> Option<Ipv6Addr> {
    octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// Options: code and value, or that the message is malformed.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let header = self.0.split_first_chunk::<4>();
        let option = header.and_then(|([a, b, c, d], rest)| {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let (value, rest) = rest.split_at_checked(length)?;
            Some(((u16::from_be_bytes([*a, *b]), value), rest))
        });
        let Some((option, rest)) = option else {
            self.0 = &[];
            return Some(Err(Discard::Malformed));
        };
        self.0 = rest;
        Some(Ok(option))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Message {
        let prefix = Lease {
            prefix: "2001:db8:100::/56".parse().unwrap(),
            preferred_seconds: 2700,
            valid_seconds: 5400,
        };
        let mut delegated = Association::new(AssociationKind::Prefixes, 7);
        (delegated.renew_seconds, delegated.rebind_seconds) = (1350, 2160);
        delegated.leases.push(prefix);
        let mut addresses = Association::new(AssociationKind::Addresses, 8);
        addresses.leases.push(Lease { prefix: "2001:db8::5/128".parse().unwrap(), ..prefix });
        addresses.status = Some(Status::new(StatusCode::NoAddrsAvail, "none"));
        Message {
            client_id: Some((*b"\0\x03\0\x01client").into()),
            server_id: Some((*b"\0\x04server").into()),
            associations: vec![delegated, addresses],
            status: Some(Status::new(StatusCode::Success, "")),
            rapid_commit: true,
            preference: Some(255),
            elapsed: Some(100),
            requested: vec![23, 24],
            dns: vec!["2001:db8::53".parse().unwrap()],
            domains: encode_domain("example.net"),
            ..Message::new(Kind::Reply, 0x0012_3456)
        }
    }

    #[test]
    fn every_option_there_and_back() {
        let octets = full().encode();
        assert_eq!(Message::decode(&octets), Ok(full()));
        for kind in Kind::ALL {
            let message = Message::new(kind, 1);
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_solicitation_octet_by_octet() {
        let mut message = Message::new(Kind::Solicit, 0xab_cdef);
        message.client_id = Some([0, 3, 0, 1, 2, 0, 0, 0, 0, 1].into());
        message.elapsed = Some(0);
        message.associations.push(Association::new(AssociationKind::Prefixes, 1));
        let text: String = message.encode().iter().map(|octet| format!("{octet:02x}")).collect();
        let expected = "01abcdef\
            0001000a00030001020000000001\
            000800020000\
            0019000c000000010000000000000000";
        assert_eq!(text, expected);
    }

    #[test]
    fn cut_anywhere_it_is_malformed_or_lacks_whole_options() {
        let octets = full().encode();
        let mut whole = 0;
        for length in 0..octets.len() {
            match Message::decode(&octets[..length]) {
                Ok(message) => {
                    whole += 1;
                    assert_ne!(message, full());
                }
                Err(error) => assert_eq!(error, Discard::Malformed, "{length}"),
            }
        }
        assert_eq!(whole, 11, "one for each option but the last, and one without any");
    }

    #[test]
    fn a_length_inside_of_an_association_does_not_lead_outside() {
        let mut octets =
            Message { associations: full().associations, ..Message::new(Kind::Request, 1) }
                .encode();
        // The length of the first IA_PREFIX, one more than there is behind it in the IA_PD.
        octets[4 + 4 + 12 + 3] += 1;
        assert_eq!(Message::decode(&octets), Err(Discard::Malformed));
    }

    #[test]
    fn identifiers_have_a_length_and_come_once() {
        let with = |client_id: &[u8]| {
            let mut message = Message::new(Kind::Solicit, 1);
            message.client_id = Some(client_id.into());
            message.encode()
        };
        assert!(Message::decode(&with(&[1; DUID_BYTES_MAX])).is_ok());
        assert!(Message::decode(&with(&[1; DUID_BYTES_MAX + 1])).is_err());
        assert!(Message::decode(&with(&[1; DUID_BYTES_MIN])).is_ok());
        assert!(Message::decode(&with(&[1; DUID_BYTES_MIN - 1])).is_err());
        let twice = [with(&[1; 9]), with(&[1; 9])[4..].to_vec()].concat();
        assert_eq!(Message::decode(&twice), Err(Discard::Malformed));
        assert_eq!(Message::decode(&[12, 0, 0, 1]), Err(Discard::Unknown), "relayed");
        assert_eq!(Message::decode(&[0, 0, 0, 1]), Err(Discard::Unknown));
    }

    #[test]
    fn what_may_be_repeated_is_bounded() {
        let mut message = Message::new(Kind::Request, 1);
        let mut association = full().associations[0].clone();
        association.leases = vec![association.leases[0]; 50];
        message.associations = vec![association; 20];
        message.requested = (0..500).collect();
        message.dns = vec![Ipv6Addr::LOCALHOST; 50];
        message.domains = vec![1; 900];
        let decoded = Message::decode(&message.encode()).unwrap();
        assert_eq!(decoded.associations.len(), ASSOCIATIONS_MAX);
        assert_eq!(decoded.associations[0].leases.len(), LEASES_MAX);
        assert_eq!(decoded.requested.len(), REQUESTED_MAX);
        assert_eq!(decoded.dns.len(), DNS_SERVERS_MAX);
        assert_eq!(decoded.domains.len(), 255);
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_malformed() {
        let mut octets =
            Message { associations: full().associations, ..Message::new(Kind::Renew, 1) }.encode();
        let length = 4 + 4 + 12 + 4 + 8;
        assert_eq!(octets[length], 56);
        octets[length] = 129;
        assert_eq!(Message::decode(&octets), Err(Discard::Malformed));
    }

    #[test]
    fn domains_are_labels() {
        assert_eq!(encode_domain("a.bc."), b"\x01a\x02bc\0");
        let long = "x".repeat(64);
        let many = "abc.".repeat(64);
        for bad in ["", "a..b", &long, &many] {
            assert_eq!(encode_domain(bad), b"", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_end_the_process(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&octets);
        }

        #[test]
        fn damaged_messages_that_are_read_are_written_the_same(
            at in 0_usize..200,
            octet in any::<u8>(),
        ) {
            let mut octets = full().encode();
            let at = at % octets.len();
            octets[at] = octet;
            if let Ok(message) = Message::decode(&octets) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }
    }
}

//! Answers to DHCPINFORM of subscribers (RFC 2131 sections 3.4 and 4.3.5): routes, name servers and a
//! domain for hosts that have their address from IPCP already. Windows asks inside of PPP when it
//! is not to send everything through the tunnel (docs/peers.md row 31).
//!
//! No state and no socket: a datagram in, an answer or none out. Everything but DHCPINFORM is ignored:
//! addresses are IPCP's business.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

/// UDP port of servers (RFC 2131 section 4.1).
pub const SERVER_PORT: u16 = 67;

/// UDP port of clients (RFC 2131 section 4.1).
pub const CLIENT_PORT: u16 = 68;

/// Octets in front of the options, and of the cookie that begins them (RFC 2131 section 2).
const FIXED_BYTES: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A message is at least as long as one of BOOTP: shorter ones are dropped by some (RFC 1542).
const MESSAGE_BYTES_MIN: usize = 300;

/// Options looked at; more than there are kinds of.
const OPTIONS_MAX: usize = 256;

/// Octets of an option at most.
const OPTION_BYTES_MAX: usize = 255;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const INFORM: u8 = 8;
const ACK: u8 = 5;

/// Option codes (RFC 2132, RFC 3442).
mod option {
    pub const PAD: u8 = 0;
    pub const DNS_SERVERS: u8 = 6;
    pub const DOMAIN: u8 = 15;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// The same under the number that Windows had before there was one.
    pub const CLASSLESS_ROUTES_VENDOR: u8 = 249;
    pub const END: u8 = 255;
}

/// What subscribers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responder {
    /// Our address on the links: the routes' next hop, and our identifier.
    pub gateway: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain; empty: none.
    pub domain: String,
    /// Destinations that are reached through us.
    pub routes: Vec<Ipv4Net>,
}

/// An answer and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// To whom.
    pub to: SocketAddrV4,
    /// The message.
    pub payload: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// Cut short, or no message of DHCP.
    #[error("malformed")]
    Malformed,
    /// Another kind of message.
    #[error("not DHCPINFORM")]
    Kind,
    /// It came through a relay, or says another address than it comes from.
    #[error("not of the subscriber itself")]
    Address,
}

/// What matters of a request.
struct Inform<'a> {
    fixed: &'a [u8; FIXED_BYTES],
    /// What the client wants to know; `None`: whatever there is.
    parameters: Option<&'a [u8]>,
}

impl Responder {
    /// Answers a datagram from `source`, which is known to be a subscriber's address.
    ///
    /// # Errors
    /// [`Ignored`].
    pub fn answer(&self, source: Ipv4Addr, datagram: &[u8]) -> Result<Answer, Ignored> {
        let inform = parse(datagram)?;
        let field = |at: usize| {
            let octets = inform.fixed.get(at..).and_then(|rest| rest.first_chunk::<4>());
            Ipv4Addr::from(octets.copied().unwrap_or_default())
        };
        let (client, relay) = (field(12), field(24));
        if !relay.is_unspecified() || !client.is_unspecified() && client != source {
            return Err(Ignored::Address);
        }
        let payload = self.emit(source, &inform);
        Ok(Answer { to: SocketAddrV4::new(source, CLIENT_PORT), payload })
    }

    fn emit(&self, client: Ipv4Addr, inform: &Inform<'_>) -> Vec<u8> {
        let mut message = inform.fixed.to_vec();
        let mut set = |at: usize, octets: &[u8]| {
            if let Some(field) = message.get_mut(at..at + octets.len()) {
                field.copy_from_slice(octets);
            }
        };
        set(0, &[REPLY]);
        // Hops and seconds; addresses but for the client's own; names of server and file.
        set(3, &[0]);
        set(8, &[0; 2]);
        set(12, &client.octets());
        set(16, &[0; 12]);
        set(44, &[0; 192]);
        message.extend(COOKIE);
        push(&mut message, option::MESSAGE_TYPE, &[ACK]);
        push(&mut message, option::SERVER_ID, &self.gateway.octets());
        let wants = |code| inform.parameters.is_none_or(|wanted| wanted.contains(&code));
        let dns: Vec<u8> = self.dns.iter().flat_map(Ipv4Addr::octets).collect();
        let routes = self.classless_routes();
        for (code, value) in [
            (option::DNS_SERVERS, dns.as_slice()),
            (option::DOMAIN, self.domain.as_bytes()),
            (option::CLASSLESS_ROUTES, &routes),
            (option::CLASSLESS_ROUTES_VENDOR, &routes),
        ] {
            if !value.is_empty() && wants(code) {
                push(&mut message, code, value);
            }
        }
        message.push(option::END);
        message.resize(message.len().max(MESSAGE_BYTES_MIN), option::PAD);
        message
    }

    /// Each destination as its length and no more octets than that has, and the next hop (RFC 3442).
    fn classless_routes(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for route in &self.routes {
            let significant = usize::from(route.prefix_len().div_ceil(8));
            octets.push(route.prefix_len());
            octets.extend(route.network().octets().iter().take(significant));
            octets.extend(self.gateway.octets());
        }
        octets
    }
}

fn push(message: &mut Vec<u8>, code: u8, value: &[u8]) {
    let length = value.len().min(OPTION_BYTES_MAX);
    message.extend([code, length as u8]);
    message.extend(value.iter().take(length));
}

fn parse(datagram: &[u8]) -> Result<Inform<'_>, Ignored> {
    let (fixed, rest) = datagram.split_first_chunk::<FIXED_BYTES>().ok_or(Ignored::Malformed)?;
    let (cookie, options) = rest.split_first_chunk::<4>().ok_or(Ignored::Malformed)?;
    if fixed.first() != Some(&REQUEST) || *cookie != COOKIE {
        return Err(Ignored::Malformed);
    }
    let mut kind = None;
    let mut parameters = None;
    let mut rest = options;
    for _ in 0..OPTIONS_MAX {
        match *rest {
            [] | [option::END, ..] => break,
            [option::PAD, ref tail @ ..] => rest = tail,
            [code, length, ref tail @ ..] => {
                let (value, tail) =
                    tail.split_at_checked(length.into()).ok_or(Ignored::Malformed)?;
                match code {
                    option::MESSAGE_TYPE => kind = value.first().copied(),
                    option::PARAMETERS => parameters = Some(value),
                    _ => {}
                }
                rest = tail;
            }
            [_] => return Err(Ignored::Malformed),
        }
    }
    match kind {
        Some(INFORM) => Ok(Inform { fixed, parameters }),
        Some(_) => Err(Ignored::Kind),
        None => Err(Ignored::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn responder() -> Responder {
        let route = |text: &str| text.parse().unwrap();
        Responder {
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            dns: vec![Ipv4Addr::new(9, 9, 9, 9)],
            domain: "corp.example".into(),
            routes: vec![route("10.17.0.0/16"), route("192.0.2.128/25"), route("0.0.0.0/0")],
        }
    }

    /// What Windows sends: no cookie of BOOTP's vendor area but options, ciaddr filled in.
    fn inform(parameters: Option<&[u8]>) -> Vec<u8> {
        let mut message = vec![1, 8, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 9, 0x80, 0];
        message.extend(CLIENT.octets());
        message.resize(28, 0);
        message.extend([0x52, 0x41, 0x53, 0x20]);
        message.resize(FIXED_BYTES, 0);
        message.extend(COOKIE);
        message.extend([0, 53, 1, 8, 60, 8]);
        message.extend(b"MSFT 5.0");
        if let Some(parameters) = parameters {
            message.extend([55, parameters.len() as u8]);
            message.extend(parameters);
        }
        message.push(255);
        message
    }

    /// The options of an answer.
    fn options(payload: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut options = Vec::new();
        let mut rest = &payload[FIXED_BYTES + 4..];
        while rest[0] != 255 {
            let length = usize::from(rest[1]);
            options.push((rest[0], rest[2..2 + length].to_vec()));
            rest = &rest[2 + length..];
        }
        options
    }

    #[test]
    fn windows_gets_its_routes_under_both_numbers() {
        let asked = inform(Some(&[6, 44, 43, 77, 31, 33, 121, 249, 15]));
        let answer = responder().answer(CLIENT, &asked).unwrap();
        assert_eq!(answer.to, SocketAddrV4::new(CLIENT, 68));
        let payload = &answer.payload;
        assert_eq!(payload[..12], [2, 8, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0]);
        assert_eq!(payload[12..28], [10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(payload[28..32], *b"RAS ", "the client's hardware address");
        assert!(payload.len() >= MESSAGE_BYTES_MIN);
        let gateway = [10, 0, 0, 1];
        let routes =
            [&[16, 10, 17][..], &gateway, &[25, 192, 0, 2, 128], &gateway, &[0], &gateway].concat();
        let expected = [
            (53, vec![5]),
            (54, gateway.to_vec()),
            (6, vec![9, 9, 9, 9]),
            (15, b"corp.example".to_vec()),
            (121, routes.clone()),
            (249, routes),
        ];
        assert_eq!(options(payload), expected);
    }

    #[test]
    fn only_what_is_asked_for_and_known_is_told() {
        let codes = |parameters: Option<&[u8]>, responder: &Responder| -> Vec<u8> {
            let answer = responder.answer(CLIENT, &inform(parameters)).unwrap();
            options(&answer.payload).into_iter().map(|(code, _)| code).collect()
        };
        assert_eq!(codes(Some(&[121]), &responder()), [53, 54, 121]);
        assert_eq!(codes(None, &responder()), [53, 54, 6, 15, 121, 249]);
        assert_eq!(codes(Some(&[]), &responder()), [53, 54]);
        let bare = Responder { dns: vec![], domain: String::new(), routes: vec![], ..responder() };
        assert_eq!(codes(None, &bare), [53, 54]);
    }

    #[test]
    fn as_many_routes_as_may_be_configured_fit_one_option() {
        let route = |net: u8| Ipv4Net::new(Ipv4Addr::new(10, 0, 0, net), 32).unwrap();
        let full = Responder { routes: (0..28).map(route).collect(), ..responder() };
        assert_eq!(full.classless_routes().len(), 252);
    }

    #[test]
    fn everything_else_is_ignored() {
        let answer = |datagram: &[u8]| responder().answer(CLIENT, datagram);
        let good = inform(Some(&[121]));
        // Cut behind a whole option it is shorter, and good.
        for length in (0..good.len() - 4).filter(|length| *length != FIXED_BYTES + 8) {
            assert_eq!(answer(&good[..length]), Err(Ignored::Malformed), "{length}");
        }
        let changed = |at: usize, octet: u8| {
            let mut message = good.clone();
            message[at] = octet;
            answer(&message)
        };
        assert_eq!(changed(0, 2), Err(Ignored::Malformed), "a reply");
        assert_eq!(changed(236, 0), Err(Ignored::Malformed), "BOOTP");
        assert_eq!(changed(243, 1), Err(Ignored::Kind), "DHCPDISCOVER");
        assert_eq!(changed(15, 9), Err(Ignored::Address), "another's address");
        assert_eq!(changed(27, 1), Err(Ignored::Address), "relayed");
        let mut unset = good.clone();
        unset[12..16].fill(0);
        assert_eq!(answer(&unset).map(|answer| answer.to.ip().octets()), Ok(CLIENT.octets()));
    }

    proptest! {
        #[test]
        fn no_octets_end_the_process(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let responder = responder();
            let _ = responder.answer(CLIENT, &octets);
            let message = [&inform(None)[..FIXED_BYTES + 4], &octets].concat();
            if let Ok(answer) = responder.answer(CLIENT, &message) {
                prop_assert!(answer.payload.len() < 1000);
            }
        }
    }
}

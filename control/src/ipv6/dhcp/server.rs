//! The server of one link (RFC 3315 sections 17.2 and 18.2, RFC 3633 sections 11.2 and 12.2).
//!
//! The link has one client, so there is one binding: the delegated prefix. Another client identifier
//! or another IAID in its place is the same router after a change of mind, and takes the binding
//! over. Addresses, where they are assigned at all, follow from the interface identifier and need
//! no memory.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use super::super::{Config, Discard};
use super::message::{
    Association, AssociationKind, Kind, Lease, Message, REQUEST_DOMAIN_LIST, Status, StatusCode,
};
use crate::time::Time;

/// Whoever sees this preference chooses at once (RFC 3315 section 17.1.2): there is no other server
/// to wait for on this link.
const PREFERENCE_MAX: u8 = 255;

/// What the link offers.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// The link's prefix.
    pub prefix: Option<Ipv6Net>,
    /// The address that an IA_NA gets, where that is configured.
    pub address: Option<Ipv6Addr>,
}

/// Who has the delegated prefix.
#[derive(Debug)]
struct Binding {
    client: Box<[u8]>,
    id: u32,
    until: Time,
}

/// The server.
#[derive(Debug, Default)]
pub struct Server {
    binding: Option<Binding>,
}

/// One message and what is needed to answer it.
struct Exchange<'a> {
    now: Time,
    config: &'a Config,
    link: &'a Link,
    client: &'a [u8],
    message: &'a Message,
    /// The prefix to delegate; `None` where there is none. Asked only if somebody wants it.
    delegate: &'a mut dyn FnMut() -> Option<Ipv6Net>,
}

impl Server {
    /// Whether the delegated prefix is bound: whether packets to it may be sent here.
    pub fn is_bound(&self) -> bool {
        self.binding.is_some()
    }

    /// When the binding ends unless it is renewed.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.binding.as_ref().map(|binding| binding.until)
    }

    /// Ends a binding whose time is over.
    pub fn handle_timeout(&mut self, now: Time) {
        self.binding.take_if(|binding| binding.until <= now);
    }

    /// Answers a message. `unicast`: it was not sent to the group of servers. `delegate` gives the
    /// prefix that this link may delegate, the same for as long as the link lives.
    ///
    /// # Errors
    /// [`Discard`]: of RFC 3315 section 15.
    pub fn handle(
        &mut self,
        now: Time,
        config: &Config,
        link: &Link,
        (message, unicast): (&Message, bool),
        delegate: &mut dyn FnMut() -> Option<Ipv6Net>,
    ) -> Result<Message, Discard> {
        validate(config, message)?;
        if unicast {
            return use_multicast(config, message);
        }
        if message.kind == Kind::InformationRequest {
            return Ok(with_configuration(config, message, Kind::Reply));
        }
        let client = message.client_id.as_deref().ok_or(Discard::Invalid)?;
        let exchange = &mut Exchange { now, config, link, client, message, delegate };
        match message.kind {
            Kind::Solicit => Ok(self.solicited(exchange)),
            Kind::Request => Ok(self.assign(exchange, Kind::Reply)),
            Kind::Renew | Kind::Rebind => Ok(self.extend(exchange)),
            Kind::Release | Kind::Decline => Ok(self.release(exchange)),
            Kind::Confirm => confirm(exchange),
            Kind::Advertise | Kind::Reply | Kind::Reconfigure | Kind::InformationRequest => {
                Err(Discard::Invalid)
            }
        }
    }

    fn solicited(&mut self, exchange: &mut Exchange<'_>) -> Message {
        let rapid = exchange.message.rapid_commit;
        let kind = if rapid { Kind::Reply } else { Kind::Advertise };
        let mut answer = self.assign(exchange, kind);
        if answer.associations.iter().any(|association| !association.leases.is_empty()) {
            answer.rapid_commit = rapid;
            return answer;
        }
        // Nothing is committed: the client hears why not, and goes on asking (RFC 3315
        // section 17.2.2, RFC 3633 section 11.2).
        answer.kind = Kind::Advertise;
        answer.preference = Some(PREFERENCE_MAX);
        let first = answer.associations.iter().find_map(|association| association.status.clone());
        answer.status = first;
        answer
    }

    /// What each association gets; bound where the answer is a Reply.
    fn assign(&mut self, exchange: &mut Exchange<'_>, kind: Kind) -> Message {
        let mut answer = with_configuration(exchange.config, exchange.message, kind);
        if kind == Kind::Advertise {
            answer.preference = Some(PREFERENCE_MAX);
        }
        let chosen = self.chosen(exchange);
        for (index, asked) in exchange.message.associations.iter().enumerate() {
            let own = self.own_lease(exchange, chosen.contains(&Some(index)), asked.kind);
            if own.is_some() && kind == Kind::Reply && asked.kind == AssociationKind::Prefixes {
                self.bind(exchange, asked.id);
            }
            answer.associations.push(answered(asked, exchange.config, own, &[]));
        }
        answer
    }

    /// Renew and Rebind: what is still right lives on, what is not gets lifetime zero. A Renew of
    /// what this server does not know makes the client ask anew; a Rebind may come from a router
    /// that kept its memory over a new call, and gets the right prefix at once.
    fn extend(&mut self, exchange: &mut Exchange<'_>) -> Message {
        let mut answer = with_configuration(exchange.config, exchange.message, Kind::Reply);
        let chosen = self.chosen(exchange);
        for (index, asked) in exchange.message.associations.iter().enumerate() {
            let is_chosen = chosen.contains(&Some(index));
            let is_known = match asked.kind {
                AssociationKind::Addresses => exchange.link.address.is_some(),
                AssociationKind::Prefixes => self.is_binding(exchange.client, asked.id),
            };
            if exchange.message.kind == Kind::Renew && !is_known {
                answer.associations.push(unbound(asked));
                continue;
            }
            let own = self.own_lease(exchange, is_chosen, asked.kind);
            if own.is_some() && asked.kind == AssociationKind::Prefixes {
                self.bind(exchange, asked.id);
            }
            answer.associations.push(answered(asked, exchange.config, own, &asked.leases));
        }
        answer
    }

    fn release(&mut self, exchange: &Exchange<'_>) -> Message {
        let mut answer = reply_to(exchange.config, exchange.message, Kind::Reply);
        for asked in &exchange.message.associations {
            let is_known = match asked.kind {
                AssociationKind::Addresses => exchange.link.address.is_some(),
                AssociationKind::Prefixes => self.is_binding(exchange.client, asked.id),
            };
            if !is_known {
                answer.associations.push(unbound(asked));
            } else if asked.kind == AssociationKind::Prefixes {
                self.binding = None;
            }
        }
        answer.status = Some(Status::new(StatusCode::Success, "released"));
        answer
    }

    fn is_binding(&self, client: &[u8], id: u32) -> bool {
        let same = |binding: &Binding| *binding.client == *client && binding.id == id;
        self.binding.as_ref().is_some_and(same)
    }

    /// The associations that are served: one for each kind, the bound one before others.
    fn chosen(&self, exchange: &Exchange<'_>) -> [Option<usize>; 2] {
        let asked = &exchange.message.associations;
        let of = |kind| move |association: &Association| association.kind == kind;
        let is_bound = |association: &Association| {
            association.kind == AssociationKind::Prefixes
                && self.is_binding(exchange.client, association.id)
        };
        let bound = asked.iter().position(is_bound);
        let prefixes = bound.or_else(|| asked.iter().position(of(AssociationKind::Prefixes)));
        [prefixes, asked.iter().position(of(AssociationKind::Addresses))]
    }

    /// The prefix or address that a chosen association has from us.
    fn own_lease(
        &self,
        exchange: &mut Exchange<'_>,
        is_chosen: bool,
        kind: AssociationKind,
    ) -> Option<Lease> {
        let prefix = match kind {
            _ if !is_chosen => None,
            AssociationKind::Prefixes => (exchange.delegate)(),
            AssociationKind::Addresses => exchange.link.address.map(Ipv6Net::from),
        };
        prefix.map(|prefix| Lease {
            prefix,
            preferred_seconds: exchange.config.preferred_seconds,
            valid_seconds: exchange.config.valid_seconds,
        })
    }

    fn bind(&mut self, exchange: &Exchange<'_>, id: u32) {
        let lifetime = Duration::from_secs(exchange.config.valid_seconds.into());
        let until = exchange.now + lifetime;
        match &mut self.binding {
            Some(binding) if *binding.client == *exchange.client && binding.id == id => {
                binding.until = until;
            }
            binding => *binding = Some(Binding { client: exchange.client.into(), id, until }),
        }
    }
}

/// RFC 3315 section 15: which identifiers a message must and must not have.
fn validate(config: &Config, message: &Message) -> Result<(), Discard> {
    let has_client = message.client_id.is_some();
    let server = message.server_id.as_deref();
    let is_ours = server == Some(&*config.server_id);
    let valid = match message.kind {
        Kind::Solicit | Kind::Confirm | Kind::Rebind => has_client && server.is_none(),
        Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => has_client && is_ours,
        Kind::InformationRequest => {
            (server.is_none() || is_ours) && message.associations.is_empty()
        }
        Kind::Advertise | Kind::Reply | Kind::Reconfigure => false,
    };
    if valid { Ok(()) } else { Err(Discard::Invalid) }
}

/// RFC 3315 sections 15 and 18.2: no client was told that it may leave the group out.
fn use_multicast(config: &Config, message: &Message) -> Result<Message, Discard> {
    match message.kind {
        Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => {
            let mut answer = reply_to(config, message, Kind::Reply);
            answer.status = Some(Status::new(StatusCode::UseMulticast, "use ff02::1:2"));
            Ok(answer)
        }
        _ => Err(Discard::Invalid),
    }
}

/// RFC 3315 section 18.2.2: whether addresses belong to the link; without any there is nothing to
/// say.
fn confirm(exchange: &Exchange<'_>) -> Result<Message, Discard> {
    let is_address = |asked: &&Association| asked.kind == AssociationKind::Addresses;
    let associations = exchange.message.associations.iter().filter(is_address);
    let mut addresses = associations.flat_map(|asked| &asked.leases).peekable();
    if addresses.peek().is_none() {
        return Err(Discard::Invalid);
    }
    let on_link =
        |lease: &Lease| exchange.link.prefix.is_some_and(|prefix| prefix.contains(&lease.prefix));
    let status = if addresses.all(on_link) {
        Status::new(StatusCode::Success, "on link")
    } else {
        Status::new(StatusCode::NotOnLink, "not on this link")
    };
    let mut answer = reply_to(exchange.config, exchange.message, Kind::Reply);
    answer.status = Some(status);
    Ok(answer)
}

/// An answer with the identifiers that every answer has.
fn reply_to(config: &Config, message: &Message, kind: Kind) -> Message {
    Message {
        client_id: message.client_id.clone(),
        server_id: Some(config.server_id.clone()),
        ..Message::new(kind, message.transaction)
    }
}

/// An answer with what is told beside prefixes. Name servers are told to everybody, also to clients
/// that forget to ask; domains only to those who ask.
fn with_configuration(config: &Config, message: &Message, kind: Kind) -> Message {
    let mut answer = reply_to(config, message, kind);
    answer.dns.clone_from(&config.dns);
    if message.requested.contains(&REQUEST_DOMAIN_LIST) {
        answer.domains.clone_from(&config.domains);
    }
    answer
}

/// An association with what it gets, and with lifetime zero for everything it named that is not
/// that.
fn answered(
    asked: &Association,
    config: &Config,
    own: Option<Lease>,
    named: &[Lease],
) -> Association {
    let mut answer = Association::new(asked.kind, asked.id);
    let wrong = named.iter().filter(|lease| own.is_none_or(|own| own.prefix != lease.prefix));
    let ended = |lease: &Lease| Lease { preferred_seconds: 0, valid_seconds: 0, ..*lease };
    answer.leases.extend(wrong.map(ended));
    match own {
        Some(own) => {
            // RFC 3633 section 9: 0.5 and 0.8 times the shortest preferred lifetime.
            answer.renew_seconds = config.preferred_seconds / 2;
            answer.rebind_seconds = config.preferred_seconds / 5 * 4;
            answer.leases.push(own);
        }
        None if asked.kind == AssociationKind::Prefixes => {
            answer.status = Some(Status::new(StatusCode::NoPrefixAvail, "no prefix is free"));
        }
        None => {
            let text = "addresses come by router advertisement";
            answer.status = Some(Status::new(StatusCode::NoAddrsAvail, text));
        }
    }
    answer
}

/// An association that is not bound to this client.
fn unbound(asked: &Association) -> Association {
    let mut answer = Association::new(asked.kind, asked.id);
    answer.status = Some(Status::new(StatusCode::NoBinding, "not bound here"));
    answer
}

#[cfg(test)]
mod tests;

//! Local users: who may come in, with which address, and how often. The first answer to the question
//! that RADIUS answers later; knows the proofs of PPP authentication, not its packets.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::{IpNet, Ipv6Net};
use subtle::ConstantTimeEq;
use xlns_dataplane::api::Policer;
use zeroize::Zeroizing;

use crate::config::UserConfig;
use crate::ppp::mschap::{self, AUTHENTICATOR_RESPONSE_OCTETS};
use crate::ppp::{Credentials, Proof, chap};

/// What a user is entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// A fixed address.
    pub address: Option<Ipv4Addr>,
    /// Name of the pool, where no fixed address is given; `None`: the first one.
    pub pool: Option<String>,
    /// Sessions at a time, at least one; `None`: any number.
    pub sessions_max: Option<u32>,
    /// A fixed /64 for the link.
    pub ipv6_prefix: Option<Ipv6Net>,
    /// A fixed prefix to delegate.
    pub delegated_prefix: Option<Ipv6Net>,
    /// More destinations behind the subscriber; `None`: none.
    pub framed_routes: Option<Arc<[IpNet]>>,
    /// What each session may send and be sent, upstream first.
    pub policers: [Option<Policer>; 2],
}

impl Account {
    /// Whether something is only this user's, so that two sessions cannot have it at once.
    pub fn has_fixed(&self) -> bool {
        self.address.is_some()
            || self.ipv6_prefix.is_some()
            || self.delegated_prefix.is_some()
            || self.framed_routes.is_some()
    }
}

struct User {
    name: Box<str>,
    password: Zeroizing<String>,
    account: Account,
}

/// A user whose proof was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated<'a> {
    /// The name in the configuration.
    pub name: &'a str,
    /// What there is for this user.
    pub account: &'a Account,
    /// What proves us in turn, where the user proved itself with MS-CHAPv2.
    pub mschap_success: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
}

/// All local users, by name.
pub struct Users {
    by_name: HashMap<Vec<u8>, User>,
}

impl Users {
    /// From the configuration.
    pub fn new(users: &[UserConfig]) -> Self {
        let entry = |user: &UserConfig| {
            let account = Account {
                address: user.address,
                pool: user.pool.clone(),
                sessions_max: user.sessions_max.or(user.fixed().next().map(|_| 1)),
                ipv6_prefix: user.ipv6_prefix,
                delegated_prefix: user.delegated_prefix,
                framed_routes: (!user.framed_routes.is_empty())
                    .then(|| user.framed_routes.as_slice().into()),
                policers: user.policers(),
            };
            let name = user.name.as_str().into();
            let password = Zeroizing::new(user.password.expose().to_owned());
            (user.name.clone().into_bytes(), User { name, password, account })
        };
        Self { by_name: users.iter().map(entry).collect() }
    }

    /// What there is for the user with this name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.by_name.get(name.as_bytes()).map(|user| &user.account)
    }

    /// Checks a proof. `None`: no such user or a wrong proof; which of them is nobody's business.
    pub fn authenticate(&self, credentials: &Credentials) -> Option<Authenticated<'_>> {
        let user = self.find(&credentials.name)?;
        let password = &user.password;
        let (right, mschap_success) = match &credentials.proof {
            Proof::Pap { password: given } => {
                (bool::from(given.as_slice().ct_eq(password.as_bytes())), None)
            }
            Proof::ChapMd5 { identifier, challenge, response } => {
                (chap::verify(*identifier, password.as_bytes(), challenge, response), None)
            }
            Proof::MsChapV2 {
                identifier: _,
                authenticator_challenge,
                peer_challenge,
                nt_response,
            } => {
                let name = &credentials.name;
                let exchange = mschap::Exchange { authenticator_challenge, peer_challenge, name };
                let success = exchange.verify(password, nt_response);
                (success.is_some(), success)
            }
        };
        let User { name, account, .. } = user;
        right.then_some(Authenticated { name, account, mschap_success })
    }

    /// A user by the name that a peer gave. Windows puts its domain before it where it has one:
    /// `BIGCO\johndoe` is johndoe too, unless the configuration knows the whole (RFC 2759 section 4).
    fn find(&self, name: &[u8]) -> Option<&User> {
        self.by_name.get(name).or_else(|| self.by_name.get(mschap::without_domain(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> UserConfig {
        UserConfig {
            name: name.into(),
            password: password.into(),
            address: None,
            pool: None,
            sessions_max: None,
            ipv6_prefix: None,
            delegated_prefix: None,
            framed_routes: Vec::new(),
            rate_up: None,
            rate_down: None,
            rate_burst_bytes: None,
        }
    }

    const PROOFS: [fn(&str, &str) -> Credentials; 3] = [pap, md5, mschap];

    fn users() -> Users {
        Users::new(&[user("bob", "pässword"), user("BIGCO\\eve", "other"), user("eve", "hers")])
    }

    fn pap(name: &str, password: &str) -> Credentials {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        Credentials { name: name.into(), proof: Proof::Pap { password } }
    }

    fn md5(name: &str, password: &str) -> Credentials {
        let challenge = vec![1, 2, 3];
        let response = chap::respond(9, password.as_bytes(), &challenge);
        Credentials {
            name: name.into(),
            proof: Proof::ChapMd5 { identifier: 9, challenge, response },
        }
    }

    fn mschap(name: &str, password: &str) -> Credentials {
        let (authenticator_challenge, peer_challenge) = ([1; 16], [2; 16]);
        let exchange = mschap::Exchange {
            authenticator_challenge: &authenticator_challenge,
            peer_challenge: &peer_challenge,
            name: name.as_bytes(),
        };
        let nt_response = exchange.nt_response(password);
        let proof =
            Proof::MsChapV2 { identifier: 9, authenticator_challenge, peer_challenge, nt_response };
        Credentials { name: name.into(), proof }
    }

    #[test]
    fn all_kinds_of_proof_are_checked() {
        let users = users();
        for proof in PROOFS {
            let name = |credentials| users.authenticate(&credentials).map(|right| right.name);
            assert_eq!(name(proof("bob", "pässword")), Some("bob"));
            assert_eq!(name(proof("bob", "password")), None);
            assert_eq!(name(proof("bob", "")), None);
            assert_eq!(name(proof("Bob", "pässword")), None);
            assert_eq!(name(proof("", "pässword")), None);
        }
    }

    #[test]
    fn only_mschap_is_proven_in_turn() {
        let users = users();
        for (credentials, proven) in [
            (pap("bob", "pässword"), false),
            (md5("bob", "pässword"), false),
            (mschap("bob", "pässword"), true),
        ] {
            let right = users.authenticate(&credentials).unwrap();
            assert_eq!(right.mschap_success.is_some(), proven, "{credentials:?}");
        }
    }

    /// The whole name comes first, then what is behind the domain.
    #[test]
    fn a_domain_before_the_name_is_optional() {
        let users = users();
        for proof in PROOFS {
            let name = |credentials| users.authenticate(&credentials).map(|right| right.name);
            assert_eq!(name(proof("HOME\\bob", "pässword")), Some("bob"));
            assert_eq!(name(proof("BIGCO\\eve", "other")), Some("BIGCO\\eve"));
            assert_eq!(name(proof("BIGCO\\eve", "hers")), None);
            assert_eq!(name(proof("HOME\\eve", "hers")), Some("eve"));
            assert_eq!(name(proof("bob\\", "pässword")), None);
        }
    }

    #[test]
    fn a_fixed_address_is_for_one_session() {
        let fixed = UserConfig { address: Some(Ipv4Addr::LOCALHOST), ..user("a", "p") };
        let few = UserConfig { sessions_max: Some(3), ..user("b", "p") };
        let users = Users::new(&[fixed, few, user("c", "p")]);
        let limit = |name| users.account(name).and_then(|account| account.sessions_max);
        assert_eq!((limit("a"), limit("b"), limit("c")), (Some(1), Some(3), None));
        assert_eq!(users.account("d"), None);
    }
}

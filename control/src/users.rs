//! Local users: who may come in, and with which address. The first answer to the question that
//! RADIUS answers later; knows the proofs of PPP authentication, not its packets.

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config::UserConfig;
use crate::ppp::{Credentials, Proof, chap};

/// What a user is entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// A fixed address.
    pub address: Option<Ipv4Addr>,
    /// Name of the pool, where no fixed address is given; `None`: the first one.
    pub pool: Option<String>,
}

struct User {
    password: Zeroizing<Vec<u8>>,
    account: Account,
}

/// All local users, by name.
pub struct Users {
    by_name: HashMap<Vec<u8>, User>,
}

impl Users {
    /// From the configuration.
    pub fn new(users: &[UserConfig]) -> Self {
        let entry = |user: &UserConfig| {
            let account = Account { address: user.address, pool: user.pool.clone() };
            let password = Zeroizing::new(user.password.expose().as_bytes().to_vec());
            (user.name.clone().into_bytes(), User { password, account })
        };
        Self { by_name: users.iter().map(entry).collect() }
    }

    /// Checks a proof. `None`: no such user or a wrong proof; which of them is nobody's business.
    pub fn authenticate(&self, credentials: &Credentials) -> Option<&Account> {
        let user = self.by_name.get(credentials.name.as_slice())?;
        let right = match &credentials.proof {
            Proof::Pap { password } => bool::from(password.as_slice().ct_eq(&user.password)),
            Proof::ChapMd5 { identifier, challenge, response } => {
                chap::verify(*identifier, &user.password, challenge, response)
            }
            Proof::MsChapV2 { .. } => false,
        };
        right.then_some(&user.account)
    }
}

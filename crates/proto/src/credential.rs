//! Credentials: the login service's word that a name owns a node, for a while.

use crate::directory::Shared;
use crate::id::NodeId;
use crate::key::{ForgedError, Signed, Statement};
use crate::name::Username;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// How long a credential is good for unless the login service is told otherwise: a day. Shorter
/// would tie the network to the login service; longer would let a revoked node go on for longer.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How far two honest clocks may differ: five minutes, as in Kerberos (RFC 4120, section 8.2).
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// "This name owns this node until then."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Credential {
    /// Who owns the node.
    pub name: Username,
    /// The node that is owned.
    pub node: NodeId,
    /// When it was issued.
    pub issued: UnixTime,
    /// From when on it is worthless.
    pub expires: UnixTime,
    /// When the name was registered. Time is the one thing that a crowd of new names has not, so
    /// the word of a name counts the more the older it is (see [`crate::evidence`]).
    pub registered: UnixTime,
}

impl Statement for Credential {
    const CONTEXT: &'static str = "skein credential 1";
}

/// A credential as it travels.
pub type SignedCredential = Signed<Credential>;

/// Why a credential is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The login service did not sign it: the bearer made it up, or belongs to another network.
    #[error("the credential is not signed by this network's login service")]
    Forged,
    /// It is about another node than the one that shows it.
    #[error("the credential belongs to another node")]
    OtherNode,
    /// Its time is over; the bearer should renew it.
    #[error("the credential has expired")]
    Expired,
    /// Its time has not begun: one of the two clocks is wrong.
    #[error("the credential is from the future: check the clock")]
    NotYetValid,
}

impl From<ForgedError> for CredentialError {
    fn from(_: ForgedError) -> Self {
        Self::Forged
    }
}

impl SignedCredential {
    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// [`CredentialError`] says what is wrong; it is always the bearer's fault, or a clock's.
    pub fn check(
        &self,
        login_key: &NodeId,
        bearer: &NodeId,
        now: UnixTime,
    ) -> Result<&Credential, CredentialError> {
        // The cheap checks come first: a signature costs 100 times as much as all of them.
        self.unverified().check_time(bearer, now)?;
        Ok(self.verify(login_key)?)
    }
}

impl Shared<Credential> {
    /// As [`SignedCredential::check`]; the signature is computed once for all copies.
    ///
    /// # Errors
    /// The same.
    pub fn check(
        &self,
        login_key: &NodeId,
        bearer: &NodeId,
        now: UnixTime,
    ) -> Result<&Credential, CredentialError> {
        self.unverified().check_time(bearer, now)?;
        Ok(self.verify(login_key)?)
    }
}

impl Credential {
    /// Whether it is this node's, and holds now.
    fn check_time(&self, bearer: &NodeId, now: UnixTime) -> Result<(), CredentialError> {
        if self.node != *bearer {
            return Err(CredentialError::OtherNode);
        }
        if now >= self.expires {
            return Err(CredentialError::Expired);
        }
        if self.issued > now.plus(CLOCK_SKEW) {
            return Err(CredentialError::NotYetValid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    fn credential(login: &KeyPair, node: &KeyPair) -> SignedCredential {
        Signed::new(
            Credential {
                name: Username::parse("alice").expect("a name"),
                node: node.node_id(),
                issued: UnixTime(1_000),
                expires: UnixTime(2_000),
                registered: UnixTime(0),
            },
            login,
        )
    }

    #[test]
    fn a_credential_is_good_for_its_node_in_its_time() {
        let (login, node, other) = (
            KeyPair::from_seed(&[1; 32]),
            KeyPair::from_seed(&[2; 32]),
            KeyPair::from_seed(&[3; 32]),
        );
        let credential = credential(&login, &node);
        let check = |bearer: &KeyPair, key: &KeyPair, now| {
            credential
                .check(&key.node_id(), &bearer.node_id(), UnixTime(now))
                .map(|c| c.name.to_string())
        };
        assert_eq!(check(&node, &login, 1_500), Ok("alice".to_owned()));
        assert_eq!(check(&other, &login, 1_500), Err(CredentialError::OtherNode));
        assert_eq!(check(&node, &other, 1_500), Err(CredentialError::Forged));
        assert_eq!(check(&node, &login, 2_000), Err(CredentialError::Expired));
        assert_eq!(check(&node, &login, 600), Err(CredentialError::NotYetValid));
    }

    #[test]
    fn a_clock_that_is_a_little_late_is_forgiven() {
        let (login, node) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let credential = credential(&login, &node);
        assert!(credential.check(&login.node_id(), &node.node_id(), UnixTime(800)).is_ok());
    }
}

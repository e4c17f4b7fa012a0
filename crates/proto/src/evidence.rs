//! Evidence of good conduct, always signed by the *other* side.
//!
//! A voucher or receipt is a running total per pair and day: the newest one replaces the older
//! ones, so evidence stays small however long two nodes deal with each other.

use crate::credential::{CredentialError, SignedCredential};
use crate::id::NodeId;
use crate::key::{Signed, Statement};
use crate::name::Username;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A parent's word about the time that a child was connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voucher {
    /// The parent, who signs.
    pub parent: NodeId,
    /// The child's name.
    pub child: Username,
    /// The UTC day, see [`UnixTime::day`].
    pub day: u32,
    /// Seconds connected on that day so far, at most 86,400.
    pub connected_secs: u32,
}

impl Statement for Voucher {
    const CONTEXT: &'static str = "skein voucher 1";
}

/// A downloader's word about bytes that it received and verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    /// The downloader, who signs.
    pub downloader: NodeId,
    /// The uploader's name.
    pub uploader: Username,
    /// The UTC day, see [`UnixTime::day`].
    pub day: u32,
    /// Bytes verified on that day so far.
    pub bytes: u64,
}

impl Statement for Receipt {
    const CONTEXT: &'static str = "skein receipt 1";
}

/// What vouchers and receipts have in common.
pub trait Testimony: Statement {
    /// The node that signs.
    fn witness(&self) -> &NodeId;
    /// The name that it speaks for.
    fn about(&self) -> &Username;
    /// The UTC day that it speaks of.
    fn day(&self) -> u32;
    /// Whether its numbers are possible at all.
    fn is_possible(&self) -> bool;
}

impl Testimony for Voucher {
    fn witness(&self) -> &NodeId {
        &self.parent
    }

    fn about(&self) -> &Username {
        &self.child
    }

    fn day(&self) -> u32 {
        self.day
    }

    fn is_possible(&self) -> bool {
        u64::from(self.connected_secs) <= UnixTime::DAY
    }
}

impl Testimony for Receipt {
    fn witness(&self) -> &NodeId {
        &self.downloader
    }

    fn about(&self) -> &Username {
        &self.uploader
    }

    fn day(&self) -> u32 {
        self.day
    }

    fn is_possible(&self) -> bool {
        // A full 100 Gbit/s line for a whole day moves 1.08 PB.
        self.bytes <= 1_080_000_000_000_000
    }
}

/// Testimony with the credential that shows whose word it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence<T> {
    /// What was said.
    pub claim: Signed<T>,
    /// Who said it. It must have been valid on the day that the claim speaks of; it may have
    /// expired since.
    pub witness: SignedCredential,
}

/// Why evidence is not believed; always the fault of whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The claim or the credential is not signed by whom it names.
    #[error("the evidence is forged")]
    Forged,
    /// The witness had no valid credential on that day.
    #[error("the witness had no valid credential on that day")]
    WitnessNotCredentialed,
    /// A name speaks for itself.
    #[error("nobody can testify for themselves")]
    SelfPraise,
    /// Numbers that no machine can reach.
    #[error("the claim is not possible")]
    Impossible,
}

impl<T: Testimony> Evidence<T> {
    /// The claim and the name of its witness, if all of it holds.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self, login_key: &NodeId) -> Result<(&T, &Username), EvidenceError> {
        let claimed = self.claim.unverified();
        let credential = self.witness.unverified();
        if !claimed.is_possible() {
            return Err(EvidenceError::Impossible);
        }
        if credential.name == *claimed.about() {
            return Err(EvidenceError::SelfPraise);
        }
        let day_begins = UnixTime(u64::from(claimed.day()) * UnixTime::DAY);
        let day_ends = UnixTime(day_begins.0 + UnixTime::DAY);
        if credential.issued >= day_ends || credential.expires <= day_begins {
            return Err(EvidenceError::WitnessNotCredentialed);
        }
        let at = credential.issued.max(day_begins);
        self.witness.check(login_key, claimed.witness(), at).map_err(|error| match error {
            CredentialError::Forged | CredentialError::OtherNode => EvidenceError::Forged,
            _ => EvidenceError::WitnessNotCredentialed,
        })?;
        let claim = self.claim.verify(claimed.witness()).map_err(|_| EvidenceError::Forged)?;
        Ok((claim, &credential.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;
    use crate::key::KeyPair;

    const DAY: u32 = 20_000;

    fn name(text: &str) -> Username {
        Username::parse(text).expect("a name")
    }

    fn credential(login: &KeyPair, who: &str, node: &KeyPair) -> SignedCredential {
        let issued = UnixTime(u64::from(DAY) * UnixTime::DAY + 3_600);
        let expires = UnixTime(issued.0 + UnixTime::DAY);
        Signed::new(Credential { name: name(who), node: node.node_id(), issued, expires }, login)
    }

    fn receipt(signer: &KeyPair, day: u32, bytes: u64) -> Signed<Receipt> {
        Signed::new(
            Receipt { downloader: signer.node_id(), uploader: name("uma"), day, bytes },
            signer,
        )
    }

    #[test]
    fn evidence_of_a_credentialed_witness_is_believed() {
        let (login, dan) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let evidence =
            Evidence { claim: receipt(&dan, DAY, 77), witness: credential(&login, "dan", &dan) };
        let (claim, witness) = evidence.verify(&login.node_id()).expect("sound evidence");
        assert_eq!((claim.bytes, witness), (77, &name("dan")));
    }

    #[test]
    fn evidence_that_is_not_sound_is_refused() {
        let (login, dan, eve) = (
            KeyPair::from_seed(&[1; 32]),
            KeyPair::from_seed(&[2; 32]),
            KeyPair::from_seed(&[3; 32]),
        );
        let verify = |claim, witness| Evidence { claim, witness }.verify(&login.node_id()).err();

        let forged_credential = credential(&eve, "dan", &dan);
        assert_eq!(verify(receipt(&dan, DAY, 1), forged_credential), Some(EvidenceError::Forged));
        let borrowed = credential(&login, "dan", &dan);
        assert_eq!(verify(receipt(&eve, DAY, 1), borrowed.clone()), Some(EvidenceError::Forged));
        assert_eq!(
            verify(receipt(&dan, DAY - 3, 1), borrowed.clone()),
            Some(EvidenceError::WitnessNotCredentialed)
        );
        assert_eq!(verify(receipt(&dan, DAY, u64::MAX), borrowed), Some(EvidenceError::Impossible));
        assert_eq!(
            verify(receipt(&dan, DAY, 1), credential(&login, "uma", &dan)),
            Some(EvidenceError::SelfPraise)
        );
    }
}

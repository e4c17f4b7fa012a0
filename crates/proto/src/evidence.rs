//! Evidence of conduct, always signed by the *other* side.
//!
//! A voucher or receipt is a running total per pair and day: the newest one replaces the older
//! ones, so evidence stays small however long two nodes deal with each other.
//!
//! What somebody signed that cannot be true is evidence, too: against the signer. See
//! [`crate::misconduct`].

use crate::bounded::BoundedVec;
use crate::credential::{CLOCK_SKEW, CredentialError, SignedCredential};
use crate::id::NodeId;
use crate::key::{Signed, Statement};
use crate::misconduct::Proof;
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
    /// Seconds connected on that day so far.
    pub connected_secs: u32,
    /// When this was signed. No total can be longer than the day was old by then.
    pub signed: UnixTime,
}

impl Statement for Voucher {
    const CONTEXT: &'static str = "skein voucher 1";
}

/// The most bytes of a receipt: a full 100 Gbit/s line for a whole day moves 1.08 PB.
pub const MOST_BYTES: u64 = 1_080_000_000_000_000;

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
        let age = self.signed.since(day_begins(self.day)) + CLOCK_SKEW;
        u64::from(self.connected_secs) <= age.as_secs().min(UnixTime::DAY)
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
        self.bytes <= MOST_BYTES
    }
}

/// The first second of a UTC day.
pub(crate) const fn day_begins(day: u32) -> UnixTime {
    // A u32 of days fits in a u64 of seconds.
    UnixTime(day as u64 * UnixTime::DAY)
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
    pub fn verify(&self, login_key: &NodeId) -> Result<Testified<'_, T>, EvidenceError> {
        let claimed = self.claim.unverified();
        let credential = self.witness.unverified();
        if !claimed.is_possible() {
            return Err(EvidenceError::Impossible);
        }
        if credential.name == *claimed.about() {
            return Err(EvidenceError::SelfPraise);
        }
        held_on(&self.witness, login_key, claimed.witness(), claimed.day())?;
        let claim = self.claim.verify(claimed.witness()).map_err(|_| EvidenceError::Forged)?;
        let age = day_begins(claim.day()).since(credential.registered);
        Ok(Testified {
            claim,
            witness: &credential.name,
            seniority: u32::try_from(age.as_secs() / UnixTime::DAY).unwrap_or(u32::MAX),
        })
    }
}

/// Evidence that was found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testified<'a, T> {
    /// What was said.
    pub claim: &'a T,
    /// The name of the witness.
    pub witness: &'a Username,
    /// For how many days that name had been registered when the day of the claim began.
    pub seniority: u32,
}

/// Whether a credential made `node` the property of its name on that day.
pub(crate) fn held_on(
    credential: &SignedCredential,
    login_key: &NodeId,
    node: &NodeId,
    day: u32,
) -> Result<(), EvidenceError> {
    let held = credential.unverified();
    let (begins, ends) = (day_begins(day), day_begins(day.saturating_add(1)));
    if held.issued >= ends || held.expires <= begins {
        return Err(EvidenceError::WitnessNotCredentialed);
    }
    let at = held.issued.max(begins);
    match credential.check(login_key, node, at) {
        Ok(_) => Ok(()),
        Err(CredentialError::Forged | CredentialError::OtherNode) => Err(EvidenceError::Forged),
        Err(_) => Err(EvidenceError::WitnessNotCredentialed),
    }
}

/// Evidence of either sort, as its owner carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AnyEvidence {
    /// Time that a supernode vouches for.
    Voucher(Evidence<Voucher>),
    /// Bytes that a downloader received.
    Receipt(Evidence<Receipt>),
}

impl AnyEvidence {
    /// The name that it speaks for.
    pub fn about(&self) -> &Username {
        match self {
            Self::Voucher(evidence) => evidence.claim.unverified().about(),
            Self::Receipt(evidence) => evidence.claim.unverified().about(),
        }
    }
}

/// The most statements that a name carries of itself: two for each of more partners than a month
/// brings, in some 60 KiB.
pub const MAX_CARRIED: usize = 256;

/// The most proofs of misconduct that a node keeps for its next start, some 300 KiB. Each took a
/// name that the login service gave, and the youngest are kept: they weigh most.
pub const MAX_PROOFS: usize = 512;

/// What a node keeps of evidence for its next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// What others have signed about its own name, the most valuable first.
    pub own: BoundedVec<AnyEvidence, MAX_CARRIED>,
    /// Proofs against others, the youngest offences first.
    pub proofs: BoundedVec<Proof, MAX_PROOFS>,
}

/// Statements in one message.
pub const PAGE: usize = 48;

/// A supernode vouches for one that is connected. To the one that it speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The total of the day so far. The credential of the signer is in its `Hello`.
    pub voucher: Signed<Voucher>,
}

/// Evidence about one name, part of all that its owner carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowEvidence {
    /// Who shows it: nobody shows what speaks for another name.
    pub owner: SignedCredential,
    /// The statements.
    pub evidence: BoundedVec<AnyEvidence, PAGE>,
}

/// A downloader's receipt, for the uploader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveReceipt {
    /// The total of the day so far.
    pub receipt: Evidence<Receipt>,
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
        let registered = UnixTime(issued.0 - 50 * UnixTime::DAY);
        Signed::new(
            Credential { name: name(who), node: node.node_id(), issued, expires, registered },
            login,
        )
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
        let testified = evidence.verify(&login.node_id()).expect("sound evidence");
        assert_eq!((testified.claim.bytes, testified.witness), (77, &name("dan")));
        assert_eq!(testified.seniority, 49, "whole days before the day of the claim");
    }

    #[test]
    fn nobody_is_connected_for_longer_than_the_day_is_old() {
        let voucher = |connected_secs, hour: u64| Voucher {
            parent: KeyPair::from_seed(&[2; 32]).node_id(),
            child: name("uma"),
            day: DAY,
            connected_secs,
            signed: UnixTime(u64::from(DAY) * UnixTime::DAY + hour * 3_600),
        };
        assert!(voucher(7_200, 2).is_possible());
        assert!(voucher(7_200 + 300, 2).is_possible(), "clocks differ a little");
        assert!(!voucher(7_200 + 301, 2).is_possible());
        assert!(voucher(86_400, 30).is_possible());
        assert!(!voucher(86_401, 30).is_possible());
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

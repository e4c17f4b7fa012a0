//! Misconduct that anyone can check: what somebody signed and cannot be true.
//!
//! Only what is proven by the signer's own signature is here. Wrong bytes, silence, a cut
//! connection are not: nobody else can tell whose word to take.

use crate::credential::{CLOCK_SKEW, SignedCredential};
use crate::evidence::{EvidenceError, Receipt, Testimony, Voucher, held_on};
use crate::id::NodeId;
use crate::key::{ForgedError, Signed};
use crate::name::Username;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What somebody signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Misconduct {
    /// More time than the day had by then.
    ImpossibleVoucher(Signed<Voucher>),
    /// More bytes than any line carries.
    ImpossibleReceipt(Signed<Receipt>),
    /// Two totals of one pair and day of which the later one has grown by more than the time
    /// between them. (A later one may be lower: a parent that was restarted begins anew.)
    Contradiction {
        /// The one signed first.
        earlier: Signed<Voucher>,
        /// The one signed later, or at the same time.
        later: Signed<Voucher>,
    },
}

/// A proof of misconduct, complete in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proof {
    /// What was signed.
    pub what: Misconduct,
    /// Whose key that was, on that day.
    pub signer: SignedCredential,
}

/// Tells a supernode of a proof. It is passed on once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuse {
    /// The proof.
    pub proof: Proof,
}

/// Why a proof proves nothing; always the fault of whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Something is not signed by whom it names, or by somebody without a credential.
    #[error("the proof is forged")]
    Forged,
    /// What was signed can be true.
    #[error("what was signed may well be true")]
    Harmless,
}

impl From<EvidenceError> for ProofError {
    fn from(_: EvidenceError) -> Self {
        Self::Forged
    }
}

impl Misconduct {
    /// Whether what is said here cannot be true, whoever has signed it.
    pub fn is_impossible(&self) -> bool {
        match self {
            Self::ImpossibleVoucher(voucher) => !voucher.unverified().is_possible(),
            Self::ImpossibleReceipt(receipt) => !receipt.unverified().is_possible(),
            Self::Contradiction { earlier, later } => {
                contradict(earlier.unverified(), later.unverified())
            }
        }
    }

    /// The node that has signed all of it, and the day that it speaks of.
    fn signed(&self) -> Result<(NodeId, u32), ForgedError> {
        match self {
            Self::ImpossibleVoucher(voucher) => signer(voucher),
            Self::ImpossibleReceipt(receipt) => signer(receipt),
            Self::Contradiction { earlier, later } => signer(earlier).and(signer(later)),
        }
    }
}

impl Proof {
    /// Whose offence this proves, and on which day.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, login_key: &NodeId) -> Result<(&Username, u32), ProofError> {
        if !self.what.is_impossible() {
            return Err(ProofError::Harmless);
        }
        let (node, day) = self.what.signed().map_err(|_| ProofError::Forged)?;
        held_on(&self.signer, login_key, &node, day)?;
        Ok((&self.signer.unverified().name, day))
    }
}

fn signer<T: Testimony>(statement: &Signed<T>) -> Result<(NodeId, u32), ForgedError> {
    let said = statement.verify(statement.unverified().witness())?;
    Ok((*said.witness(), said.day()))
}

fn contradict(earlier: &Voucher, later: &Voucher) -> bool {
    let pair = |said: &Voucher| (said.parent, said.child.clone(), said.day);
    let passed = later.signed.since(earlier.signed) + CLOCK_SKEW;
    let grown = later.connected_secs.saturating_sub(earlier.connected_secs);
    pair(earlier) == pair(later)
        && earlier.signed <= later.signed
        && u64::from(grown) > passed.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;
    use crate::evidence::MOST_BYTES;
    use crate::key::KeyPair;
    use crate::time::UnixTime;

    const DAY: u32 = 20_000;
    const MORNING: UnixTime = UnixTime(DAY as u64 * UnixTime::DAY + 6 * 3_600);

    fn name(text: &str) -> Username {
        Username::parse(text).expect("a name")
    }

    fn pam() -> KeyPair {
        KeyPair::from_seed(&[2; 32])
    }

    fn login() -> KeyPair {
        KeyPair::from_seed(&[1; 32])
    }

    fn voucher(connected_secs: u32, minutes: u64) -> Signed<Voucher> {
        let signed = UnixTime(MORNING.0 + minutes * 60);
        let parent = pam().node_id();
        Signed::new(
            Voucher { parent, child: name("uma"), day: DAY, connected_secs, signed },
            &pam(),
        )
    }

    fn verdict(what: Misconduct) -> Result<(String, u32), ProofError> {
        let credential = Credential {
            name: name("pam"),
            node: pam().node_id(),
            issued: MORNING,
            expires: UnixTime(MORNING.0 + UnixTime::DAY),
            registered: UnixTime(0),
        };
        let proof = Proof { what, signer: Signed::new(credential, &login()) };
        proof.verify(&login().node_id()).map(|(name, day)| (name.to_string(), day))
    }

    #[test]
    fn impossible_totals_are_proven_by_themselves() {
        let guilty = Ok(("pam".to_owned(), DAY));
        assert_eq!(verdict(Misconduct::ImpossibleVoucher(voucher(8 * 3_600, 0))), guilty);
        let receipt = Receipt {
            downloader: pam().node_id(),
            uploader: name("uma"),
            day: DAY,
            bytes: MOST_BYTES + 1,
        };
        assert_eq!(verdict(Misconduct::ImpossibleReceipt(Signed::new(receipt, &pam()))), guilty);
        assert_eq!(
            verdict(Misconduct::ImpossibleVoucher(voucher(6 * 3_600, 0))),
            Err(ProofError::Harmless)
        );
    }

    #[test]
    fn totals_that_grow_faster_than_time_contradict_each_other() {
        let pair = |earlier, later| verdict(Misconduct::Contradiction { earlier, later });
        assert!(pair(voucher(600, 0), voucher(3_600, 20)).is_ok());
        assert_eq!(pair(voucher(600, 0), voucher(1_800, 20)), Err(ProofError::Harmless));
        assert_eq!(
            pair(voucher(3_600, 0), voucher(60, 20)),
            Err(ProofError::Harmless),
            "a parent that was restarted begins anew"
        );
    }

    #[test]
    fn nobody_is_blamed_for_what_another_signed() {
        let forger = KeyPair::from_seed(&[9; 32]);
        let mut said = voucher(8 * 3_600, 0).unverified().clone();
        let forged = Signed::new(said.clone(), &forger);
        assert_eq!(verdict(Misconduct::ImpossibleVoucher(forged)), Err(ProofError::Forged));
        said.parent = forger.node_id();
        let of_another = Signed::new(said, &forger);
        assert_eq!(verdict(Misconduct::ImpossibleVoucher(of_another)), Err(ProofError::Forged));
    }
}

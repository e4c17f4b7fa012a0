//! From evidence to claims: the one place where signatures of evidence are checked.

use super::formula::{Claim, Deed};
use skein_proto::evidence::{AnyEvidence, EvidenceError};
use skein_proto::{NodeId, Username};

/// Tells names of witnesses apart in eight bytes: the first of the name's BLAKE3 hash. Two names
/// that share them would count as one, which harms only whoever went to the trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partner(u64);

impl Partner {
    /// The partner with this name.
    pub fn of(name: &Username) -> Self {
        let hash = blake3::hash(name.as_str().as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_le_bytes(bytes))
    }
}

/// What evidence says, if all of it holds in the network with this login key.
///
/// # Errors
/// [`EvidenceError`]: whoever shows it is at fault.
pub fn claim(evidence: &AnyEvidence, login_key: &NodeId) -> Result<Claim<Partner>, EvidenceError> {
    match evidence {
        AnyEvidence::Voucher(voucher) => {
            let sound = voucher.verify(login_key)?;
            Ok(Claim {
                witness: Partner::of(sound.witness),
                seniority: sound.seniority,
                day: sound.claim.day,
                deed: Deed::Connected { secs: sound.claim.connected_secs },
            })
        }
        AnyEvidence::Receipt(receipt) => {
            let sound = receipt.verify(login_key)?;
            Ok(Claim {
                witness: Partner::of(sound.witness),
                seniority: sound.seniority,
                day: sound.claim.day,
                deed: Deed::Sent { bytes: sound.claim.bytes },
            })
        }
    }
}

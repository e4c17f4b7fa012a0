//! People who sign things, for tests.
#![allow(clippy::expect_used)]

use skein_proto::evidence::{AnyEvidence, Evidence, Receipt, Voucher};
use skein_proto::{Credential, KeyPair, Signed, SignedCredential, UnixTime, Username};

/// The day on which tests take place.
pub(crate) const DAY: u32 = 20_000;

/// The last second of a day.
fn evening(day: u32) -> UnixTime {
    UnixTime((u64::from(day) + 1) * UnixTime::DAY - 1)
}

pub(crate) fn login() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

/// A name with one of its nodes.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) name: Username,
    pub(crate) key: KeyPair,
    signed_by: KeyPair,
}

impl Person {
    /// A person with the first node of that name.
    pub(crate) fn new(name: &str) -> Self {
        Self::again(name, 1)
    }

    /// A person with another node.
    pub(crate) fn again(name: &str, node: u8) -> Self {
        let mut seed = *blake3::hash(name.as_bytes()).as_bytes();
        seed[0] = node;
        let name = Username::parse(name).expect("a name");
        Self { name, key: KeyPair::from_seed(&seed), signed_by: login() }
    }

    /// Somebody who has made up a credential for another name.
    pub(crate) fn as_if_by(&self, name: &str) -> Self {
        let name = Username::parse(name).expect("a name");
        Self { name, key: self.key.clone(), signed_by: self.key.clone() }
    }

    pub(crate) fn credential(&self, day: u32) -> SignedCredential {
        let issued = UnixTime(u64::from(day) * UnixTime::DAY);
        let credential = Credential {
            name: self.name.clone(),
            node: self.key.node_id(),
            issued,
            expires: UnixTime(issued.0 + UnixTime::DAY),
            registered: UnixTime(0),
        };
        Signed::new(credential, &self.signed_by)
    }

    pub(crate) fn signed_voucher(&self, child: &Self, day: u32, secs: u32) -> Signed<Voucher> {
        let voucher = Voucher {
            parent: self.key.node_id(),
            child: child.name.clone(),
            day,
            connected_secs: secs,
            signed: evening(day),
        };
        Signed::new(voucher, &self.key)
    }

    pub(crate) fn voucher(&self, child: &Self, day: u32, secs: u32) -> AnyEvidence {
        let claim = self.signed_voucher(child, day, secs);
        AnyEvidence::Voucher(Evidence { claim, witness: self.credential(day) })
    }

    pub(crate) fn receipt(&self, uploader: &Self, day: u32, bytes: u64) -> AnyEvidence {
        let receipt =
            Receipt { downloader: self.key.node_id(), uploader: uploader.name.clone(), day, bytes };
        let claim = Signed::new(receipt, &self.key);
        AnyEvidence::Receipt(Evidence { claim, witness: self.credential(day) })
    }
}

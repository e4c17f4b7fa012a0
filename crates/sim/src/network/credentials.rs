//! The credentials of nodes: given when they start, and renewed as long as they run.

use super::run::Happening;
use super::{Network, name_of};
use rand::RngExt;
use skein_proto::{Credential, KeyPair, NodeId, Signed, SignedCredential, UnixTime};
use std::time::Duration;

/// When all names were registered: the network is an old one.
const LONG_AGO: UnixTime = UnixTime(1_700_000_000);

/// How much of its credential's life a node lets pass before it asks for another one, in twelfths,
/// as the daemon does.
const RENEWED_AFTER: std::ops::RangeInclusive<f64> = 7.0..=9.0;

/// How long a node waits when the login service is down.
const RETRY: Duration = Duration::from_secs(600);

/// A credential that the login service gives and has yet to sign.
pub(super) struct Unsigned {
    credential: Credential,
    key: KeyPair,
}

impl Unsigned {
    pub(super) fn sign(self) -> SignedCredential {
        Signed::new(self.credential, &self.key)
    }
}

impl Network {
    /// A credential for a node, signed by `signer`, who need not be the login service.
    pub fn credential(&self, node: &NodeId, number: u32, signer: &KeyPair) -> SignedCredential {
        let issued = self.time().unix;
        let expires = issued.plus(self.settings.credential_lifetime);
        let name = name_of(number);
        let credential = Credential { name, node: *node, issued, expires, registered: LONG_AGO };
        Signed::new(credential, signer)
    }

    /// The login service gives a node a credential, and the node sees to it that it has another one
    /// in time.
    pub(super) fn issue(&mut self, node: u32) -> Unsigned {
        let lifetime = self.settings.credential_lifetime;
        let issued = self.time().unix;
        let (id, name) = (self.id(node), self.disks[node as usize].name.clone());
        let expires = issued.plus(lifetime);
        let credential = Credential { name, node: id, issued, expires, registered: LONG_AGO };
        if self.settings.renewals {
            let share = self.rng.random_range(RENEWED_AFTER) / 12.0;
            self.renew_after(node, lifetime.mul_f64(share));
        }
        Unsigned { credential, key: self.login.key.clone() }
    }

    /// The next credential of a node that still lives the same life.
    pub(super) fn renew(&mut self, node: u32, life: u32) -> Option<SignedCredential> {
        if !self.is_alive(node) || self.life(node) != life {
            return None;
        }
        if self.login.up {
            return Some(self.issue(node).sign());
        }
        self.renew_after(node, RETRY.min(self.settings.credential_lifetime / 12));
        None
    }

    fn renew_after(&mut self, node: u32, pause: Duration) {
        let life = self.life(node);
        self.queue.push(self.now + pause, Happening::Renew { at: node, life });
    }
}

//! Remembers what verifying a signature came to, so that a process that plays thousands of nodes
//! does not compute the same signature thousands of times.
//!
//! It is off unless [`enable`] is called, and belongs to the thread that called it and to those that
//! [`adopt`] what it has [shared](share). What was
//! verified is compared to the last byte, so the answer is always the one that computing it anew
//! would give: there is no hash to be fooled.

use super::Signature;
use crate::id::NodeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

thread_local! {
    static MEMO: RefCell<Option<SharedMemo>> = const { RefCell::new(None) };
}

/// Verdicts that several threads have in common.
#[derive(Clone)]
pub struct SharedMemo(Arc<Mutex<Memo>>);

impl SharedMemo {
    fn with<T>(&self, what: impl FnOnce(&mut Memo) -> T) -> T {
        // One that panics leaves verdicts that are right, or none.
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is remembered in this thread, for [`adopt`] in another one; `None` if nothing is.
pub fn share() -> Option<SharedMemo> {
    MEMO.with_borrow(Clone::clone)
}

/// Remembers in this thread from now on what another one does, and tells it as well.
pub fn adopt(memo: Option<SharedMemo>) {
    MEMO.with_borrow_mut(|slot| *slot = memo);
}

/// What a signature was checked against, and what came of it.
struct Verdict {
    signer: NodeId,
    /// With its context.
    message: Box<[u8]>,
    sound: bool,
}

type Verdicts = HashMap<[u8; 64], Verdict>;

/// Two generations: when the younger one is full, it becomes the older one, which is forgotten.
struct Memo {
    half: usize,
    young: Verdicts,
    old: Verdicts,
    hits: u64,
}

impl Memo {
    fn find(&mut self, signer: &NodeId, message: &[u8], signature: &Signature) -> Option<bool> {
        let fits = |verdict: &Verdict| verdict.signer == *signer && *verdict.message == *message;
        if let Some(verdict) = self.young.get(&signature.0) {
            return fits(verdict).then_some(verdict.sound);
        }
        if !fits(self.old.get(&signature.0)?) {
            return None;
        }
        let verdict = self.old.remove(&signature.0)?;
        let sound = verdict.sound;
        self.insert(signature, verdict);
        Some(sound)
    }

    fn insert(&mut self, signature: &Signature, verdict: Verdict) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(signature.0, verdict);
    }
}

/// Remembers up to `capacity` verdicts in this thread from now on, at some 300 bytes each. What
/// was remembered before is forgotten.
pub fn enable(capacity: usize) {
    let half = capacity.div_ceil(2).max(1);
    let memo = Memo { half, young: Verdicts::new(), old: Verdicts::new(), hits: 0 };
    MEMO.with_borrow_mut(|slot| *slot = Some(SharedMemo(Arc::new(Mutex::new(memo)))));
}

/// Forgets all verdicts of this thread and remembers none any more.
pub fn disable() {
    MEMO.with_borrow_mut(|slot| *slot = None);
}

/// How often a verdict was remembered in this thread since [`enable`].
pub fn hits() -> u64 {
    MEMO.with_borrow(|slot| slot.as_ref().map_or(0, |memo| memo.with(|memo| memo.hits)))
}

/// What verifying this came to, if it is remembered.
pub(super) fn find(signer: &NodeId, message: &[u8], signature: &Signature) -> Option<bool> {
    MEMO.with_borrow(|slot| {
        slot.as_ref()?.with(|memo| {
            let found = memo.find(signer, message, signature)?;
            memo.hits += 1;
            Some(found)
        })
    })
}

/// Remembers what verifying this came to.
pub(super) fn remember(signer: &NodeId, message: &[u8], signature: &Signature, sound: bool) {
    MEMO.with_borrow(|slot| {
        if let Some(memo) = slot {
            let verdict = Verdict { signer: *signer, message: message.into(), sound };
            memo.with(|memo| memo.insert(signature, verdict));
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::super::{KeyPair, verify_bytes};
    use super::*;

    #[test]
    fn a_remembered_verdict_is_only_for_the_very_same_claim() {
        enable(10);
        let (alice, bob) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = alice.sign_bytes("test 1", b"yes");
        let verify = |key: &KeyPair, context: &str, bytes: &[u8], signature: &Signature| {
            verify_bytes(&key.node_id(), context, bytes, signature).is_ok()
        };
        for _ in 0..2 {
            assert!(verify(&alice, "test 1", b"yes", &signature));
            assert!(!verify(&alice, "test 1", b"no", &signature));
            assert!(!verify(&alice, "test 2", b"yes", &signature));
            assert!(!verify(&bob, "test 1", b"yes", &signature));
        }
        let mut forged = signature;
        forged.0[0] ^= 1;
        let before = hits();
        assert!(!verify(&alice, "test 1", b"yes", &forged));
        assert_eq!(hits(), before, "seen for the first time");
        assert!(!verify(&alice, "test 1", b"yes", &forged));
        assert_eq!(hits(), before + 1, "and remembered as forged");
        disable();
        assert!(verify(&alice, "test 1", b"yes", &signature));
        assert_eq!(hits(), 0);
    }

    #[test]
    fn threads_that_share_it_know_what_the_others_have_verified() {
        enable(10);
        let alice = KeyPair::from_seed(&[1; 32]);
        let signature = alice.sign_bytes("test", b"told");
        let memo = share();
        let known = std::thread::spawn(move || {
            adopt(memo);
            find(&alice.node_id(), b"test\0told", &signature)
        });
        assert_eq!(known.join().expect("it ends"), Some(true));
        disable();
    }

    #[test]
    fn no_more_is_remembered_than_was_asked_for() {
        enable(10);
        let alice = KeyPair::from_seed(&[1; 32]);
        let kept = alice.sign_bytes("test", b"kept");
        for number in 0..100_u8 {
            alice.sign_bytes("test", &[number]);
            assert!(verify_bytes(&alice.node_id(), "test", b"kept", &kept).is_ok());
        }
        let memo = share().expect("it was enabled");
        let count = memo.with(|memo| memo.young.len() + memo.old.len());
        assert!(count <= 10, "{count}");
        assert_eq!(hits(), 100, "what is in use stays");
        disable();
    }
}

//! What callers may take of this node: so much for each name, so that one caller leaves something
//! for the others. Names cost something (they are the login service's), nodes do not.

use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use skein_proto::{NodeId, Username};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Introductions that a node may make at once, and each second from then on. Each begins a session
/// on a connection that is there, and tells all who watch sessions of it.
const INTRODUCTIONS: Quota =
    Quota::per_second(NonZeroU32::MIN).allow_burst(NonZeroU32::new(8).expect("eight is not zero"));

/// Slots that this node adds to sessions that others begin, at once, and each five seconds from then
/// on: its parent grants it one a second, for whatever it asks, and its own calls are to find some
/// left.
const ADDED: Quota =
    Quota::per_minute(NonZeroU32::new(12).expect("twelve is not zero")).allow_burst(SIX);

const SIX: NonZeroU32 = NonZeroU32::new(6).expect("six is not zero");

/// Sessions that others began and to which this node has added a slot: half of what a name may have
/// of a relay. The rest is left for its own calls.
const MAX_ADDED: usize = 8;

/// Nodes whose pace is known before those that have their full allowance again are forgotten.
const MAX_PACED: usize = 8_192;

/// Something of which a name may have only so much at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Offers that are being taken: each holds one of a few places for a second or two.
    Taking,
    /// Sessions that were answered and not dialled yet: each has slots of relays.
    Awaited,
    /// Sessions of the name's nodes that they began.
    Sessions,
    /// Sessions of those to which this node has added a slot of its own.
    Added,
}

impl Share {
    /// How many a name may have at a time. A user with many nodes has a session with each.
    const fn most(self) -> u32 {
        match self {
            Self::Taking => 4,
            Self::Awaited => 8,
            Self::Sessions => 64,
            Self::Added => 2,
        }
    }
}

type Taken = Mutex<HashMap<Username, [u32; 4]>>;

/// What each caller has taken. Names that have nothing are not kept, so that there are no more
/// entries than offers, awaited sessions and sessions.
pub(super) struct Callers {
    taken: Arc<Taken>,
    introductions: RateLimiter<NodeId, DashMapStateStore<NodeId>, DefaultClock>,
    added: Arc<Semaphore>,
    pace: DefaultDirectRateLimiter,
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            taken: Arc::default(),
            introductions: RateLimiter::dashmap(INTRODUCTIONS),
            added: Arc::new(Semaphore::new(MAX_ADDED)),
            pace: RateLimiter::direct(ADDED),
        }
    }
}

/// One of what a name may have. It is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Taken>,
    name: Username,
    share: Share,
}

/// Leave to add a slot of this node's to a session that another has begun, for as long as it is held.
#[derive(Debug)]
pub(super) struct Leave {
    _of_name: Place,
    _of_all: OwnedSemaphorePermit,
}

impl Callers {
    /// Leave to add a slot to a session of this name's, unless it has as many as it may, or all have.
    pub(super) fn may_add(&self, name: &Username) -> Option<Leave> {
        let of_name = self.take(name, Share::Added)?;
        let of_all = Arc::clone(&self.added).try_acquire_owned().ok()?;
        Some(Leave { _of_name: of_name, _of_all: of_all })
    }

    /// The same for a session that is being offered, at a pace.
    pub(super) fn may_add_now(&self, name: &Username) -> Option<Leave> {
        self.may_add(name).filter(|_| self.pace.check().is_ok())
    }

    /// A place for one more of `share`, unless the name has as many as it may.
    pub(super) fn take(&self, name: &Username, share: Share) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = &mut taken.entry(name.clone()).or_default()[share as usize];
        if *count >= share.most() {
            return None;
        }
        *count += 1;
        Some(Place { taken: Arc::clone(&self.taken), name: name.clone(), share })
    }

    /// Whether a node may introduce itself now.
    pub(super) fn may_introduce(&self, node: NodeId) -> bool {
        if self.introductions.len() >= MAX_PACED {
            self.introductions.retain_recent();
        }
        self.introductions.len() < MAX_PACED && self.introductions.check_key(&node).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = taken.get_mut(&self.name) {
            let count = &mut counts[self.share as usize];
            *count = count.saturating_sub(1);
            if counts.iter().all(|count| *count == 0) {
                taken.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    #[test]
    fn a_name_has_its_share_and_leaves_the_others_theirs() {
        let callers = Callers::default();
        let held: Vec<_> =
            (0..Share::Taking.most()).map(|_| callers.take(&name("eve"), Share::Taking)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(callers.take(&name("eve"), Share::Taking).is_none());
        assert!(callers.take(&name("eve"), Share::Awaited).is_some(), "another share");
        assert!(callers.take(&name("bob"), Share::Taking).is_some(), "another name");
        drop(held);
        assert!(callers.take(&name("eve"), Share::Taking).is_some(), "given back");
        assert!(callers.taken.lock().unwrap().is_empty(), "nothing is kept of who has nothing");
    }

    #[test]
    fn one_name_does_not_have_all_the_slots_that_are_added() {
        let callers = Callers::default();
        let eves: Vec<_> = (0..9).filter_map(|_| callers.may_add(&name("eve"))).collect();
        assert_eq!(eves.len(), 2);
        let others: Vec<_> =
            (0..9).filter_map(|n| callers.may_add(&name(&format!("caller{n}")))).collect();
        assert_eq!(others.len(), MAX_ADDED - 2);
        drop(eves);
        assert!(callers.may_add(&name("bob")).is_some(), "given back");
        drop(others);
        assert!(callers.may_add(&name("eve")).is_some(), "to the name as well");
    }

    #[test]
    fn slots_are_added_at_a_pace() {
        let callers = Callers::default();
        let added = (0..100).filter(|_| callers.may_add_now(&name("eve")).is_some()).count();
        assert!((6..=7).contains(&added), "{added}");
    }

    #[test]
    fn a_node_introduces_itself_at_a_pace() {
        let callers = Callers::default();
        let node = |number| NodeId::from_bytes([number; 32]);
        let burst = (0..100).filter(|_| callers.may_introduce(node(1))).count();
        assert!((8..=10).contains(&burst), "{burst}");
        assert!(callers.may_introduce(node(2)), "another node");
    }
}

//! How two peers find a path to each other: offers and answers on their way through the parents of
//! both, and slots of relays.
//!
//! An offer goes from the caller to its parent, to the supernode that the callee is attached to,
//! and to the callee; the answer comes back the same way. Each of them remembers for a while where
//! an offer came from, and takes an answer only from where the offer went.

mod dispatch;
mod passages;
mod slots;

pub use slots::SlotOutcome;

use crate::bucket::TokenBucket;
use passages::Passages;
use skein_proto::{Instant, Username};
use slots::Asked;
use std::collections::BTreeMap;

/// Offers that a name may make at each supernode on the way: one every two seconds, and 30 at
/// once. A program that talks to all its friends begins with some dozens; a spammer is as slow as
/// a person.
const OFFERS_EACH_SECONDS: u64 = 2;
const OFFERS_AT_ONCE: u64 = 30;

/// Names whose budgets are kept. A budget is forgotten when it is full again, after a minute; an
/// entry takes some 100 bytes.
const MAX_NAMES: usize = 16_384;

/// What this node has to do with sessions: its own, and those that pass through it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    passages: Passages,
    asked: Asked,
    names: BTreeMap<Username, TokenBucket>,
}

impl Sessions {
    /// Whether this name may make an offer now; if so, it is accounted for.
    fn may_offer(&mut self, name: &Username, now: Instant) -> bool {
        let cost = OFFERS_EACH_SECONDS;
        if let Some(bucket) = self.names.get_mut(name) {
            return bucket.take_many(cost, now);
        }
        if self.names.len() >= MAX_NAMES {
            return false;
        }
        let mut bucket = TokenBucket::new(1, OFFERS_AT_ONCE * cost, now);
        let granted = bucket.take_many(cost, now);
        self.names.insert(name.clone(), bucket);
        granted
    }

    /// Forgets what is over.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.passages.tidy(now);
        self.asked.tidy(now);
        self.names.retain(|_, bucket| !bucket.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_name_offers_a_burst_and_then_one_every_two_seconds() {
        let mut sessions = Sessions::default();
        let name = Username::parse("anna").expect("a name");
        let start = Instant::START;
        let granted = (0..100).filter(|_| sessions.may_offer(&name, start)).count();
        assert_eq!(granted, 30);
        let later = start + Duration::from_secs(10);
        let granted = (0..100).filter(|_| sessions.may_offer(&name, later)).count();
        assert_eq!(granted, 5);
        sessions.tidy(later + Duration::from_secs(60));
        assert!(sessions.names.is_empty(), "a full budget is forgotten");
    }
}

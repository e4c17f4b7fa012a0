//! How many hits are pushed: of one wish, of all wishes of a name, and by whom.
//!
//! A hit needs nothing but a credential, which is public, and a name that matches. Whoever made hits up
//! would use up what a wish may have, and the genuine ones would be lost; so each who sends some has
//! a share of it only, and what was pushed before costs nothing.

use crate::bucket::TokenBucket;
use skein_proto::Instant;
use std::collections::BTreeMap;

/// How many tokens a push takes, so that a bucket of one a second grants six a minute.
const COST: u64 = 10;

/// The share of one who sends hits: a fourth, at once and in the long run.
const SHARE: u64 = 4;

/// Senders that are kept in mind; each of those has pushed something in the last ten minutes, and
/// what all may push is used up by as many.
const MAX_SENDERS: usize = 64;

/// What may be pushed.
#[derive(Debug)]
pub(super) struct Pushes {
    rate: (u64, u64),
    all: TokenBucket,
    /// By a fingerprint of the sender's name.
    senders: BTreeMap<u64, TokenBucket>,
}

impl Pushes {
    /// So many sixths of a push a second, and so many pushes at once.
    pub(super) fn new(rate: (u64, u64), now: Instant) -> Self {
        let (per_second, burst) = rate;
        let all = TokenBucket::new(per_second, burst * COST, now);
        Self { rate, all, senders: BTreeMap::new() }
    }

    /// Whether one more hit of this sender may be pushed.
    pub(super) fn has_room(&mut self, sender: u64, now: Instant) -> bool {
        let has_room = self.all.level(now) >= COST;
        has_room && self.of(sender, now).is_some_and(|of| of.level(now) >= COST * SHARE)
    }

    /// One is pushed.
    pub(super) fn take(&mut self, sender: u64, now: Instant) {
        self.all.take_many(COST, now);
        if let Some(of) = self.of(sender, now) {
            of.take_many(COST * SHARE, now);
        }
    }

    fn of(&mut self, sender: u64, now: Instant) -> Option<&mut TokenBucket> {
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&sender) {
            self.senders.retain(|_, of| !of.is_full(now));
            if self.senders.len() >= MAX_SENDERS {
                return None;
            }
        }
        let (per_second, burst) = self.rate;
        // Each push takes four times as much of it.
        let fresh = || TokenBucket::new(per_second, burst * COST, now);
        Some(self.senders.entry(sender).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_sender_has_a_fourth_and_many_have_no_more_than_all() {
        let mut pushes = Pushes::new((1, 64), Instant::START);
        let mut push = |sender, now| {
            let granted = pushes.has_room(sender, now);
            if granted {
                pushes.take(sender, now);
            }
            granted
        };
        let now = Instant::START;
        assert_eq!((0..100).filter(|_| push(1, now)).count(), 16);
        assert_eq!((0..1_000).filter(|sender| push(*sender, now)).count(), 48);
        let later = now + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| push(2_000, later)).count(), 6);
    }

    #[test]
    fn senders_take_no_more_than_their_room() {
        let mut pushes = Pushes::new((1, 1_000), Instant::START);
        for sender in 0..1_000 {
            if pushes.has_room(sender, Instant::START) {
                pushes.take(sender, Instant::START);
            }
        }
        assert_eq!(pushes.senders.len(), MAX_SENDERS);
    }
}

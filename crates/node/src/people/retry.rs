//! When to try to deliver to whom: at once when something is new, then ever more seldom.

use skein_proto::Username;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Peers that are tried at the same time. Each may wait for the directory and a handshake.
const MAX_RUNNING: usize = 16;

/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. A try costs a look-up in the directory while the peer is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// Nothing is queued for the peer any more.
    Emptied,
    /// Something is left, and will be tried again.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Instant,
    failures: u32,
    running: bool,
    /// Something happened while it was tried: the outcome may be out of date.
    again: bool,
}

/// Everybody for whom something is queued.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: HashMap<Username, Waiting>,
}

impl Retries {
    /// Something is queued for a peer. One that failed lately is not tried sooner for that.
    pub(super) fn queued(&mut self, peer: Username, now: Instant) {
        let fresh = Waiting { due: now, failures: 0, running: false, again: false };
        let waiting = self.waiting.entry(peer).or_insert(fresh);
        waiting.again |= waiting.running;
    }

    /// There is a sign that the peer is there: it is tried at once if anything is queued for it.
    pub(super) fn seen(&mut self, peer: &Username, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(peer) {
            waiting.due = waiting.due.min(now);
            waiting.failures = 0;
            waiting.again |= waiting.running;
        }
    }

    /// The next peer to try now; [`Retries::done`] says how it went.
    pub(super) fn next(&mut self, now: Instant) -> Option<Username> {
        if self.waiting.values().filter(|waiting| waiting.running).count() >= MAX_RUNNING {
            return None;
        }
        let due = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.running);
        let (peer, waiting) = due.min_by_key(|(_, waiting)| waiting.due)?;
        if waiting.due > now {
            return None;
        }
        (waiting.running, waiting.again) = (true, false);
        Some(peer.clone())
    }

    /// When somebody is to be tried next, if there is anybody.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let idle = self.waiting.values().filter(|waiting| !waiting.running);
        idle.map(|waiting| waiting.due).min()
    }

    /// A try has ended. `jitter` is a random share of the pause, 0 to 255, that is added to a
    /// quarter at most: those who all wait for the same peer shall not come at once.
    pub(super) fn done(&mut self, peer: &Username, tried: Tried, jitter: u8, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(peer) else { return };
        waiting.running = false;
        match tried {
            _ if waiting.again => (waiting.due, waiting.failures) = (now, 0),
            Tried::Emptied => drop(self.waiting.remove(peer)),
            Tried::Failed => {
                let pause = FIRST_PAUSE.saturating_mul(1 << waiting.failures.min(16));
                let pause = pause.min(LONGEST_PAUSE);
                waiting.due = now + pause + pause * u32::from(jitter) / 1_024;
                waiting.failures += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bob() -> Username {
        Username::parse("bob").unwrap()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn pauses_grow_to_a_minute_and_a_sign_of_life_ends_them() {
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        retries.queued(bob(), now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(retries.next(now), Some(bob()));
            retries.done(&bob(), Tried::Failed, 0, now);
            assert_eq!(retries.next(now), None);
            let due = retries.next_due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retries.next(now), Some(bob()));
        retries.done(&bob(), Tried::Failed, 255, now);
        assert!(retries.next_due().unwrap() < now + secs(75));
        retries.queued(bob(), now);
        assert_eq!(retries.next(now), None, "another message is no sign of life");
        retries.seen(&bob(), now);
        assert_eq!(retries.next(now), Some(bob()));
    }

    #[test]
    fn what_comes_while_a_try_runs_is_not_lost() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        retries.queued(bob(), now);
        assert_eq!(retries.next(now), Some(bob()));
        assert_eq!(retries.next(now), None, "one try at a time");
        retries.queued(bob(), now);
        retries.done(&bob(), Tried::Emptied, 0, now);
        assert_eq!(retries.next(now), Some(bob()));
        retries.done(&bob(), Tried::Emptied, 0, now);
        assert_eq!((retries.next(now), retries.next_due()), (None, None));
        retries.seen(&bob(), now);
        assert_eq!(retries.next(now), None, "nothing is queued");
    }

    #[test]
    fn few_are_tried_at_a_time_and_who_waited_longest_comes_first() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let name = |number: u64| Username::parse(&format!("user{number}")).unwrap();
        for number in 0..100 {
            retries.queued(name(number), now + secs(number));
        }
        let later = now + secs(1_000);
        for number in 0..MAX_RUNNING as u64 {
            assert_eq!(retries.next(later), Some(name(number)));
        }
        assert_eq!(retries.next(later), None);
        retries.done(&name(3), Tried::Failed, 0, later);
        assert_eq!(retries.next(later), Some(name(MAX_RUNNING as u64)));
    }
}

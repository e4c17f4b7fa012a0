//! How many messages a peer may bring: a generic cell rate algorithm for each name (ITU-T I.371,
//! annex A), which is a token bucket that needs one moment for each.

use skein_proto::Username;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Names whose rates are kept. Those that have been silent for long enough are forgotten; an entry
/// takes some 60 bytes.
const MAX_NAMES: usize = 8_192;

/// How somebody stands with the user of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is taken of them.
    Blocked,
    /// A buddy, or somebody whom the user has written to.
    Known,
    /// Anybody else.
    Stranger,
}

/// So many messages at once, and one more in each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    interval: Duration,
}

impl Standing {
    /// A whole queue of a friend goes through at once. A stranger has to get across who they are,
    /// and wait for an answer.
    const fn rate(self) -> Rate {
        match self {
            Self::Known => Rate { burst: 256, interval: Duration::from_millis(250) },
            Self::Stranger | Self::Blocked => Rate { burst: 8, interval: Duration::from_secs(10) },
        }
    }
}

/// The rates of all who have sent something lately.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// When everything that a name has sent would have come at its steady rate.
    paid_until: HashMap<Username, Instant>,
}

impl Admission {
    /// Whether one more message of this name may be looked at now; if so, it is accounted for.
    pub(super) fn admit(&mut self, name: &Username, standing: Standing, now: Instant) -> bool {
        if self.paid_until.len() >= MAX_NAMES && !self.paid_until.contains_key(name) {
            self.paid_until.retain(|_, until| *until > now);
            if self.paid_until.len() >= MAX_NAMES {
                return false;
            }
        }
        let Rate { burst, interval } = standing.rate();
        let until = self.paid_until.get(name).map_or(now, |until| (*until).max(now));
        if until.duration_since(now) > interval * (burst - 1) {
            return false;
        }
        self.paid_until.insert(name.clone(), until + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(number: usize) -> Username {
        Username::parse(&format!("user{number}")).unwrap()
    }

    #[test]
    fn a_stranger_gets_a_burst_and_then_a_trickle() {
        let (mut admission, start) = (Admission::default(), Instant::now());
        let mut admit = |after: u64| {
            admission.admit(&name(1), Standing::Stranger, start + Duration::from_secs(after))
        };
        assert_eq!((0..20).filter(|_| admit(0)).count(), 8);
        assert!(!admit(9));
        assert!(admit(10) && !admit(10));
        assert_eq!((0..20).filter(|_| admit(10_000)).count(), 8, "it does not save up");
    }

    #[test]
    fn somebody_known_brings_a_whole_queue_at_once() {
        let (mut admission, start) = (Admission::default(), Instant::now());
        assert_eq!(
            (0..300).filter(|_| admission.admit(&name(1), Standing::Known, start)).count(),
            256
        );
        assert!(admission.admit(&name(2), Standing::Stranger, start), "each name has its own");
    }

    #[test]
    fn names_are_forgotten_when_they_have_paid_and_refused_when_there_are_too_many() {
        let (mut admission, start) = (Admission::default(), Instant::now());
        for number in 0..MAX_NAMES {
            assert!(admission.admit(&name(number), Standing::Stranger, start));
        }
        assert!(!admission.admit(&name(MAX_NAMES), Standing::Known, start));
        let later = start + Duration::from_secs(11);
        assert!(admission.admit(&name(MAX_NAMES), Standing::Known, later));
        assert_eq!(admission.paid_until.len(), 1);
    }
}

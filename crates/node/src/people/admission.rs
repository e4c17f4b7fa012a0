//! How many messages a peer may bring.

use super::roster::MAX_PEOPLE;
use crate::rates::{Rate, Rates};
use skein_proto::Username;
use std::time::Duration;
use tokio::time::Instant;

/// Names whom the user does not know and whose rates are kept.
const MAX_NAMES: usize = 8_192;

/// How somebody stands with the user of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is taken of them.
    Blocked,
    /// A buddy, or somebody whom the user has written to.
    Known,
    /// Anybody else.
    Stranger,
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

/// Rates by name, kept apart for those whom the user knows: neither who logs in as a buddy with
/// another key nor any number of strangers uses up what is theirs.
#[derive(Debug)]
pub(crate) struct Budgets {
    known: Rates<Username>,
    others: Rates<Username>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { known: Rates::new(MAX_PEOPLE), others: Rates::new(MAX_NAMES) }
    }
}

impl Budgets {
    /// Whether this name may bring one more; if so, it is accounted for.
    pub(crate) fn admit(
        &mut self,
        name: &Username,
        standing: Standing,
        rate: Rate,
        now: Instant,
    ) -> bool {
        match standing {
            Standing::Blocked => false,
            Standing::Known => self.known.admit(name, rate, now),
            Standing::Stranger => self.others.admit(name, rate, now),
        }
    }
}

/// The rates of all who have sent a message lately.
#[derive(Debug, Default)]
pub(super) struct Admission(Budgets);

impl Admission {
    /// Whether one more message of this name may be looked at now; if so, it is accounted for.
    pub(super) fn admit(&mut self, name: &Username, standing: Standing, now: Instant) -> bool {
        self.0.admit(name, standing, standing.rate(), now)
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
    fn a_stranger_with_the_name_of_somebody_known_uses_up_nothing_of_theirs() {
        let (mut admission, start) = (Admission::default(), Instant::now());
        while admission.admit(&name(1), Standing::Stranger, start) {}
        assert!(admission.admit(&name(1), Standing::Known, start));
        for _ in 0..300 {
            let _ = admission.admit(&name(1), Standing::Known, start);
        }
        let later = start + Duration::from_secs(10);
        assert!(admission.admit(&name(1), Standing::Stranger, later), "nor the other way round");
    }

    #[test]
    fn strangers_however_many_leave_room_for_somebody_known() {
        let (mut admission, start) = (Admission::default(), Instant::now());
        for number in 0..MAX_NAMES {
            assert!(admission.admit(&name(number), Standing::Stranger, start));
        }
        assert!(!admission.admit(&name(MAX_NAMES), Standing::Stranger, start));
        assert!(admission.admit(&name(MAX_NAMES), Standing::Known, start));
        assert!(!admission.admit(&name(1), Standing::Blocked, start));
    }
}

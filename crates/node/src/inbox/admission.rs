//! How much others may say of offers, each for itself.

use crate::people::{Budgets, Standing};
use crate::rates::Rate;
use crate::sessions::PeerSession;
use skein_proto::{NodeId, Username};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What one name may say of offers: each of some dozens of files that it fetches tells once a second
/// how far it is, which is neither written nor looked up.
const SAID: Rate = Rate { burst: 256, interval: Duration::from_millis(20) };

/// How often one name may change what is kept of its offers. Each time waits for the disk, which
/// all people share; an offer that goes well is changed three times.
const WRITTEN: Rate = Rate { burst: 64, interval: Duration::from_secs(10) };

/// What one name may offer, whatever becomes of it.
const OFFERED: Rate = Rate { burst: 60, interval: Duration::from_secs(60) };

/// Who says something of an offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller<'a> {
    pub name: &'a Username,
    pub node: NodeId,
    pub standing: Standing,
}

impl<'a> Teller<'a> {
    pub fn new(
        session: &'a PeerSession,
        standing: impl Fn(&Username, &NodeId) -> Standing,
    ) -> Self {
        let (name, node) = (session.name(), session.node());
        Self { name, node, standing: standing(name, &node) }
    }
}

#[derive(Debug, Default)]
struct Kinds {
    said: Budgets,
    written: Budgets,
    offered: Budgets,
}

/// What everybody may still say.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<Kinds>);

impl Admission {
    /// Whether it is listened to at all.
    pub fn may_say(&self, who: Teller<'_>) -> bool {
        self.kinds().said.admit(who.name, who.standing, SAID, Instant::now())
    }

    /// Whether what is kept may be changed for it.
    pub fn may_write(&self, who: Teller<'_>) -> bool {
        self.kinds().written.admit(who.name, who.standing, WRITTEN, Instant::now())
    }

    /// Whether it may offer one more file.
    pub fn may_offer(&self, who: Teller<'_>) -> bool {
        self.kinds().offered.admit(who.name, who.standing, OFFERED, Instant::now())
    }

    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        // No code that holds it can leave it half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

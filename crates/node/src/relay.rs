//! What this machine gives away as a relay: slots within the donor's limits, what is used of
//! them, and what was.

use crate::daemon::clock::unix_now;
use serde::{Deserialize, Serialize};
use skein_net::relay::{GrantRefused, Relay, RelayLimits, RelayUse};
use skein_proto::session::{SlotGrant, SlotKey, SlotRefusal};
use skein_proto::{BoundedVec, Username};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often unused slots are taken back and the use is noted.
const NOTE: Duration = Duration::from_secs(10);

/// Notes that are kept: six hours of them, 24 bytes each.
const NOTES: usize = 2_160;

/// What a relay has moved in some seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayNote {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Slots at that time.
    pub slots: u32,
    /// Bytes moved since the note before, in ten seconds.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Notes {
    kept: VecDeque<RelayNote>,
    bytes: u64,
}

/// The relay of this machine, and its donor's view of it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Donor {
    relay: Arc<Relay>,
    notes: Arc<Mutex<Notes>>,
}

impl Donor {
    pub(crate) fn new(relay: &Arc<Relay>) -> Self {
        Self { relay: Arc::clone(relay), notes: Arc::default() }
    }

    /// What is given at present.
    pub(crate) fn limits(&self) -> RelayLimits {
        self.relay.limits()
    }

    /// Gives so much from now on.
    pub(crate) fn set_limits(&self, limits: RelayLimits) {
        self.relay.set_limits(limits);
    }

    /// What is used, and was since the start.
    pub(crate) fn usage(&self) -> RelayUse {
        self.relay.usage()
    }

    /// What was used, the oldest note first.
    pub(crate) fn history(&self) -> Vec<RelayNote> {
        self.notes().kept.iter().copied().collect()
    }

    /// A slot for a name, without the relay's addresses.
    pub(crate) fn grant(&self, name: &Username) -> Result<SlotGrant, SlotRefusal> {
        let granted = self.relay.grant(name);
        let granted = granted.map_err(|refused| match refused {
            GrantRefused::OptedOut => SlotRefusal::OptedOut,
            GrantRefused::TooMany => SlotRefusal::TooMany,
            _ => SlotRefusal::Full,
        })?;
        let limits = self.relay.limits();
        Ok(SlotGrant {
            slot: granted.slot.get(),
            keys: granted.keys.map(|key| SlotKey(key.to_bytes())),
            addresses: BoundedVec::default(),
            rate: limits.slot_rate.min(limits.name_rate).min(limits.total_rate),
            idle_secs: u32::try_from(limits.idle.as_secs()).unwrap_or(u32::MAX),
            load_percent: self.load_percent(&limits),
        })
    }

    /// How much of what is given is in use: of the slots, or of the bytes a second in the last
    /// note, whichever is more.
    fn load_percent(&self, limits: &RelayLimits) -> u8 {
        let share = |used: u64, of: u64| (used * 100 / of.max(1)).min(100);
        let slots = share(self.relay.usage().slots.into(), limits.slots.into());
        let last = self.notes().kept.back().map_or(0, |note| note.bytes / NOTE.as_secs());
        let rate = share(last, limits.total_rate.into());
        u8::try_from(slots.max(rate)).unwrap_or(100)
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        let usage = self.relay.usage();
        let mut notes = self.notes();
        let bytes = usage.bytes - notes.bytes;
        notes.bytes = usage.bytes;
        if notes.kept.len() >= NOTES {
            notes.kept.pop_front();
        }
        notes.kept.push_back(RelayNote { at: unix_now().0, slots: usage.slots, bytes });
    }

    /// Takes unused slots back and notes the use, until `ended`.
    pub(crate) async fn tend(self, ended: CancellationToken) {
        let mut ticks = interval(NOTE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset_at(Instant::now() + NOTE);
        while ended.run_until_cancelled(ticks.tick()).await.is_some() {
            self.relay.expire();
            self.note();
        }
    }
}

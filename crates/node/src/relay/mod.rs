//! What this machine gives away as a relay: slots within the donor's limits, what is used of
//! them, and what was.

mod kept;

use crate::api::types::{ApiError, SetRelay};
use crate::daemon::clock::unix_now;
use crate::home::Home;
use kept::Kept;
use serde::{Deserialize, Serialize};
use skein_net::Connection;
use skein_net::relay::frame::SlotNumber;
use skein_net::relay::{GrantRefused, Relay, RelayLimits, RelayUse};
use skein_proto::session::{SlotGrant, SlotKey, SlotRefusal};
use skein_proto::{BoundedVec, Username};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Seconds that a note covers: so often unused slots are taken back and the use is noted.
pub const NOTE_SECS: u64 = 10;
const NOTE: Duration = Duration::from_secs(NOTE_SECS);

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
    /// What the settings say.
    configured: RelayLimits,
    /// What the donor has set instead, while the node ran.
    kept: Arc<Kept>,
}

impl Donor {
    /// A relay that gives what the settings say, which it has by now, and what the donor has set
    /// since.
    pub(crate) fn open(relay: &Arc<Relay>, home: &Home) -> Self {
        let configured = relay.limits();
        let kept = Kept::open(home.relay_file());
        match kept.get().over(configured) {
            Ok(limits) => relay.set_limits(limits),
            // The settings hold, and the donor sees that they do.
            Err(why) => tracing::warn!(why, "what was set of the relay is out of its range"),
        }
        Self { relay: Arc::clone(relay), notes: Arc::default(), configured, kept: Arc::new(kept) }
    }

    /// What is given at present.
    pub(crate) fn limits(&self) -> RelayLimits {
        self.relay.limits()
    }

    /// What the donor has set, over the settings.
    pub(crate) fn set(&self) -> SetRelay {
        self.kept.get()
    }

    /// Gives so much from now on, and after a restart.
    ///
    /// # Errors
    /// A number is out of its range, or it cannot be kept: then nothing has changed.
    pub(crate) async fn change(&self, change: SetRelay) -> Result<(), ApiError> {
        let _turn = self.kept.turn().await;
        self.hold(change.or(self.kept.get())).await
    }

    /// Gives what the settings say, from now on.
    ///
    /// # Errors
    /// It cannot be kept: then nothing has changed.
    pub(crate) async fn reset(&self) -> Result<(), ApiError> {
        let _turn = self.kept.turn().await;
        self.hold(SetRelay::default()).await
    }

    async fn hold(&self, set: SetRelay) -> Result<(), ApiError> {
        let limits = set.over(self.configured).map_err(ApiError::bad_request)?;
        self.kept.put(set).await?;
        self.relay.set_limits(limits);
        Ok(())
    }

    /// What is used, and was since the start.
    pub(crate) fn usage(&self) -> RelayUse {
        self.relay.usage()
    }

    /// What was used, the oldest note first.
    pub(crate) fn history(&self) -> Vec<RelayNote> {
        self.notes().kept.iter().copied().collect()
    }

    /// A slot for a name, without the relay's addresses. Its end is bound to where the asker's
    /// connection comes from, if that is proven.
    pub(crate) fn grant(
        &self,
        name: &Username,
        asker: Option<&Connection>,
    ) -> Result<SlotGrant, SlotRefusal> {
        let granted = self.relay.grant(name);
        let granted = granted.map_err(|refused| match refused {
            GrantRefused::OptedOut => SlotRefusal::OptedOut,
            GrantRefused::TooMany => SlotRefusal::TooMany,
            _ => SlotRefusal::Full,
        })?;
        let bound = asker.is_some_and(|asker| self.relay.bind_asker(granted.slot, asker));
        let limits = self.relay.limits();
        Ok(SlotGrant {
            slot: granted.slot.get(),
            keys: granted.keys.map(|key| SlotKey(key.to_bytes())),
            addresses: BoundedVec::default(),
            rate: limits.slot_rate.min(limits.name_rate).min(limits.total_rate),
            idle_secs: u32::try_from(limits.idle.as_secs()).unwrap_or(u32::MAX),
            load_percent: self.load_percent(&limits),
            bound,
        })
    }

    /// A name gives a slot back.
    pub(crate) fn release(&self, name: &Username, slot: u64) {
        if !self.relay.release_of(name, SlotNumber::new(slot)) {
            tracing::debug!(name = name.as_str(), "a slot that cannot be given back");
        }
    }

    /// How much of what is given is in use: of the slots, or of the bytes a second in the last
    /// note, whichever is more.
    fn load_percent(&self, limits: &RelayLimits) -> u8 {
        let share = |used: u64, of: u64| (used * 100 / of.max(1)).min(100);
        let slots = share(self.relay.usage().slots.into(), limits.slots.into());
        let last = self.notes().kept.back().map_or(0, |note| note.bytes / NOTE_SECS);
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

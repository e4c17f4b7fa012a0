//! Sources: who is asked what it has, who has failed, and when more of them are looked for.

use super::{Download, Failure, Output};
use crate::MAX_FILE_BYTES;
use crate::source::{Have, Phase, Source};
use rand::RngExt;
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// Sources that are fetched from at the same time. More do not make a download faster once the
/// line is full, and each one keeps up to two requests' bytes in flight.
const MAX_ACTIVE: usize = 8;

/// The same with those whose bytes come through a relay: they do not keep the place of a source
/// that can be asked without one.
const MAX_ACTIVE_IN_ALL: usize = 2 * MAX_ACTIVE;

/// Sources that a download knows at most. Eight work, the rest stands by. Who comes later takes the
/// place of one that is of no use, if there is such a one, and is not taken in otherwise: a crowd
/// that has nothing must not keep out the one who does.
const MAX_SOURCES: usize = 256;

/// Banned sources that made place and are still remembered, so that they do not come back.
const MAX_BARRED: usize = 4_096;

/// How often a partial source without anything of interest is asked for news.
pub(super) const REFRESH: Duration = Duration::from_secs(15);

/// The first and the longest time between two calls for more sources. Whoever took a file away
/// for a moment, or started a program anew, expects the download to go on before they look twice;
/// one search a minute is little for what nobody has.
pub(super) const STARVED_WAIT: (Duration, Duration) =
    (Duration::from_secs(5), Duration::from_secs(60));

impl Download {
    pub(super) fn on_found(&mut self, id: NodeId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.revive(now);
        } else if !self.barred.contains(&id) && self.make_room() {
            self.sources.insert(id, Source::new(now));
        } else {
            self.totals.sources_refused += 1;
        }
    }

    /// Forgets the source that is of the least use, if there is no room for one more. Answers
    /// whether there is room then.
    fn make_room(&mut self) -> bool {
        if self.sources.len() < MAX_SOURCES {
            return true;
        }
        let may_bar = self.barred.len() < MAX_BARRED;
        let useless = self.sources.iter().filter_map(|(id, source)| {
            let may_go = may_bar || source.phase != Phase::Banned;
            Some((source.uselessness().filter(|_| may_go)?, *id))
        });
        let Some((_, id)) = useless.max() else { return false };
        if self.sources.remove(&id).is_some_and(|source| source.phase == Phase::Banned) {
            self.barred.insert(id);
        }
        self.outputs.push_back(Output::Forget { source: id });
        true
    }

    /// Whether a source is known and was not forgotten.
    pub fn knows(&self, source: &NodeId) -> bool {
        self.sources.contains_key(source)
    }

    /// Whether a source has brought something right.
    pub fn is_proven(&self, source: &NodeId) -> bool {
        self.sources.get(source).is_some_and(|source| source.proven)
    }

    pub(super) fn on_has(&mut self, id: NodeId, size: u64, have: Have, now: Instant) {
        let proven = self.size;
        let Some(source) = self.sources.get_mut(&id) else { return };
        if matches!(source.phase, Phase::Banned) {
            return;
        }
        if size == 0 || size > MAX_FILE_BYTES || proven.is_some_and(|proven| proven != size) {
            self.blame(id, Failure::WrongBytes, now);
            return;
        }
        source.claim = Some(size);
        source.have = have;
        source.probed = now;
        if source.phase == Phase::Probing {
            source.phase = Phase::Ready;
        }
    }

    pub(super) fn blame(&mut self, id: NodeId, failure: Failure, now: Instant) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        match (source.phase, failure) {
            (Phase::Banned, _) => return,
            (_, Failure::WrongBytes) => {}
            // What one broken connection took down with it counts as one failure.
            (Phase::GivenUp { .. } | Phase::Waiting { busy: false, .. }, _) => return,
            _ => {}
        }
        match failure {
            Failure::Lost => source.failed(now, &mut self.rng),
            Failure::Busy(retry) => source.busy(retry, now),
            Failure::Refused => source.give_up(now),
            Failure::NotFound if source.have == Have::All => source.give_up(now),
            // It said what it has, and lost it since: it may say it anew.
            Failure::NotFound => source.failed(now, &mut self.rng),
            Failure::Local => {
                if source.phase == Phase::Probing {
                    source.phase = Phase::New;
                }
            }
            Failure::WrongBytes => {
                source.phase = Phase::Banned;
                self.totals.banned += 1;
                self.outputs.push_back(Output::Ban { source: id });
                self.call_back_all_of(id);
            }
        }
    }

    pub(super) fn probe(&mut self, now: Instant) {
        let mut working = self.working_sources();
        for (&id, source) in &mut self.sources {
            if !may_probe(working) {
                break;
            }
            let stale = source.may_grow() && now.since(source.probed) >= REFRESH;
            if source.phase == Phase::New || (source.phase == Phase::Ready && stale) {
                source.phase = Phase::Probing;
                self.outputs.push_back(Output::Probe { source: id });
                working.0 += 1;
                working.1 += usize::from(!source.relayed);
            }
        }
    }

    /// Whether one more source may be fetched from.
    pub(super) fn has_room_for(&self, relayed: bool) -> bool {
        let active = |s: &&Source| s.outstanding > 0;
        let direct = self.sources.values().filter(|s| active(s) && !s.relayed).count();
        let all = self.active_sources();
        if relayed { all < MAX_ACTIVE } else { direct < MAX_ACTIVE && all < MAX_ACTIVE_IN_ALL }
    }

    /// Sources that are fetched from or asked what they have: all, and those that are direct.
    pub(super) fn working_sources(&self) -> (usize, usize) {
        let working = |s: &&Source| s.phase == Phase::Probing || s.outstanding > 0;
        let working = self.sources.values().filter(working);
        working.fold((0, 0), |(all, direct), s| (all + 1, direct + usize::from(!s.relayed)))
    }

    pub(super) fn is_starved(&self) -> bool {
        self.working_sources().0 == 0
    }

    pub(super) fn look_for_more(&mut self, now: Instant) {
        if !self.is_starved() || now < self.starved_next {
            return;
        }
        self.outputs.push_back(Output::Starved);
        let wait = self.starved_wait.mul_f64(self.rng.random_range(0.5..1.0));
        self.starved_next = now + wait;
        self.starved_wait = (self.starved_wait * 2).min(STARVED_WAIT.1);
    }
}

/// Whether one more source may be asked what it has, with so many working: all, and direct ones.
pub(super) fn may_probe((working, direct): (usize, usize)) -> bool {
    direct < MAX_ACTIVE && working < MAX_ACTIVE_IN_ALL
}

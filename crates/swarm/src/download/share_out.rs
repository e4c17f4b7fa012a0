//! What is asked of whom: first for proof of the length, then for all that is missing.

use super::Download;
use crate::groups_of;
use crate::pick::{Choice, piece_groups};
use crate::runs::Run;
use crate::source::{Have, Phase, Source};
use skein_proto::fetch::GROUP_BYTES;
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// Requests that one source works on at a time: one whose bytes come, and the next one waiting
/// behind it, so that the line does not fall idle for a round trip between them.
const PIPELINE: u32 = 2;

/// How long one request should keep its source busy. Short enough that the end of a download
/// does not hang on one slow source, long enough that the round trip does not matter.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The largest request in bytes, however fast its source is: what may have to be fetched again
/// when a source is lost without a trace.
const MAX_REQUEST_BYTES: u64 = 16 * 1024 * 1024;

/// How many sources may prove the length at the same time. One is enough if it is honest and
/// awake; three make it likely that one of them is.
const PROOFS: usize = 3;

impl Download {
    pub(super) fn ask_for_proof(&mut self, now: Instant) {
        let mut ready: Vec<(bool, NodeId, u64)> = self
            .sources
            .iter()
            .filter(|(_, s)| s.phase == Phase::Ready && s.outstanding == 0)
            .filter_map(|(&id, s)| s.claim.map(|claim| (id, claim, s)))
            .filter(|(_, claim, s)| s.have.contains_run(last_group(*claim)))
            .map(|(id, claim, s)| (s.relayed, id, claim))
            .collect();
        ready.sort_unstable();
        for (_, id, claim) in ready {
            if self.requests.len() >= PROOFS {
                break;
            }
            self.request(id, last_group(claim), claim, Some(claim), now);
        }
    }

    pub(super) fn share_out(&mut self, now: Instant) {
        let Some(size) = self.size else { return };
        // The fastest choose first; those not measured yet come before all, or they never would be.
        // Those behind a relay come last: what others give is not taken from a relay.
        let mut ready: Vec<(bool, u64, NodeId)> = self
            .sources
            .iter()
            .filter(|(_, s)| s.phase == Phase::Ready)
            .map(|(&id, s)| (!s.relayed, s.rate.get().unwrap_or(u64::MAX), id))
            .collect();
        ready.sort_unstable_by(|a, b| b.cmp(a));
        // Everybody gets a first request before anybody gets a second one.
        for depth in 0..PIPELINE {
            for &(_, _, id) in &ready {
                let Some(source) = self.sources.get(&id) else { continue };
                let joins = source.outstanding == 0;
                if source.outstanding != depth || (joins && !self.has_room_for(source.relayed)) {
                    continue;
                }
                if let Some(run) = self.choose(id, size) {
                    self.request(id, run, size, None, now);
                } else if depth == 0
                    && let Some(run) = self.choose_again(id, size, now)
                {
                    self.totals.end_game_requests += 1;
                    self.request(id, run, size, None, now);
                }
            }
        }
    }

    fn choose(&mut self, id: NodeId, size: u64) -> Option<Run> {
        if self.free.is_empty() {
            return None;
        }
        let source = self.sources.get(&id)?;
        let in_use = |s: &&Source| matches!(s.phase, Phase::Ready | Phase::Waiting { .. });
        let others: Vec<&Have> = self.sources.values().filter(in_use).map(|s| &s.have).collect();
        let groups = groups_of(size);
        let choice = Choice {
            free: &self.free,
            have: &source.have,
            others: &others,
            next_group: source.next_group,
            want: want(source, groups),
            piece: piece_groups(groups),
            groups,
        };
        choice.pick(self.order, &mut self.rng)
    }
}

/// How many groups a source is asked for at once, by its measured rate.
pub(super) fn want(source: &Source, groups: u64) -> u64 {
    let piece = piece_groups(groups);
    let Some(rate) = source.rate.get() else { return piece };
    let bytes = rate.saturating_mul(REQUEST_TIME.as_secs()).min(MAX_REQUEST_BYTES);
    let most = (MAX_REQUEST_BYTES / GROUP_BYTES).max(piece);
    (bytes / GROUP_BYTES).clamp(piece, most)
}

/// The chunk group that proves a length.
fn last_group(size: u64) -> Run {
    let groups = groups_of(size);
    Run { start: groups.saturating_sub(1), end: groups }
}

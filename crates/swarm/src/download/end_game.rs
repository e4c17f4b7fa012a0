//! The end of a download, when all that is missing has been asked for.

use super::Download;
use super::requests::Request;
use super::share_out::{REQUEST_TIME, want};
use crate::groups_of;
use crate::runs::Run;
use crate::source::Have;
use skein_proto::fetch::GROUP_BYTES;
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// A request that brings nothing for so long is taken over by others in the end-game.
const SILENT: Duration = REQUEST_TIME;

impl Download {
    /// In the end-game: the far end of what the slowest other source owes.
    pub(super) fn choose_again(&self, id: NodeId, size: u64, now: Instant) -> Option<Run> {
        if !self.free.is_empty() {
            return None;
        }
        let source = self.sources.get(&id)?;
        let mine = source.rate.get();
        let groups = groups_of(size);
        let eta = |request: &Request, rate: u64| {
            request.remaining.len().saturating_mul(GROUP_BYTES) / rate.max(1)
        };
        let slowest = self
            .requests
            .iter()
            .filter(|(_, request)| request.source != id)
            .filter_map(|(&name, request)| {
                let rate = self.sources.get(&request.source).and_then(|s| s.rate.get());
                // What it was once is no rate for a source that has fallen silent.
                let silent = now.since(request.progress) > SILENT;
                let rate = rate.filter(|_| !silent).unwrap_or(0);
                // Taking over is worth it only from somebody who is not faster.
                (rate <= mine.unwrap_or(u64::MAX))
                    .then(|| (eta(request, rate), request.remaining.len(), name, request))
            })
            .filter_map(|(eta, len, name, request)| {
                let mut once = request.remaining.clone();
                for (&other, twice) in &self.requests {
                    if other != name {
                        once.remove_all(&twice.remaining);
                    }
                }
                let run = match &source.have {
                    Have::All => once.last(),
                    Have::Some(have) => once.intersect(have).last(),
                }?;
                Some((eta, len, run))
            })
            .max_by_key(|&(eta, len, run)| (eta, len, run))?;
        let (_, owed, run) = slowest;
        let most = want(source, groups).min(owed.div_ceil(2)).max(1);
        Some(Run { start: run.start.max(run.end.saturating_sub(most)), end: run.end })
    }
}

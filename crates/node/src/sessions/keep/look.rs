//! What a keeper looks at, at each of its looks.

use super::{Keeper, REFRESH};
use crate::sessions::pulse::Totals;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Acknowledgements after which QUIC's round trip, a mean with an eighth of each, is that of the
/// path, whatever the first one was.
const ENOUGH_SAMPLES: u64 = 16;

/// What a look has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// Frames of the peer's that QUIC has decrypted.
    pub(super) decrypted: u64,
    /// What a round trip takes.
    pub(super) rtt: Duration,
    pub(super) now: Instant,
}

impl Keeper {
    pub(super) async fn look(&mut self) {
        let session = Arc::clone(&self.session);
        let Some(paths) = session.paths() else { return };
        self.tell_whose(paths).await;
        self.tell_dropped().await;
        let now = Instant::now();
        let connection = session.connection();
        let stats = connection.stats();
        let totals = Totals {
            decrypted: stats.decrypted,
            received: paths.heard(),
            asking: stats.eliciting,
            unanswered: connection.unacknowledged(),
        };
        // QUIC's first sample may hold the time that an offer took, and those after a move are of the
        // path before.
        let rtt = match paths.used_rtt() {
            Some(slot) if stats.acknowledgements_in < ENOUGH_SAMPLES => connection.rtt().min(slot),
            Some(slot) => connection.rtt().max(slot),
            None => connection.rtt(),
        };
        let present = Present { decrypted: totals.decrypted, rtt, now };
        let look = self.watch.look(totals, rtt, now);
        let is_direct = paths.direct().is_some();
        // A direct path is watched by what has found it.
        match paths.used().filter(|_| !is_direct) {
            Some(near) => self.judge(look, near, paths, present).await,
            None => self.trust(paths),
        }
        if now >= self.refresh_due {
            // Routers here may be known to forget sooner.
            let keep = self.sessions.inner.parts.endpoint.keep_alive();
            self.refresh_due = now + keep.map_or(REFRESH, |keep| keep.min(REFRESH));
            let unused = paths.used().filter(|_| is_direct);
            unused.into_iter().chain(paths.reserve()).for_each(|near| self.refresh(near));
        }
        if let Some(theirs) = self.theirs.take(now) {
            paths.meet(theirs);
        }
        // One that the peer has named may be on its way.
        let is_coming = self.seeking || self.binding > 0;
        if now >= self.reserve_due && !is_coming && paths.reserve().is_none() {
            self.seek(paths);
        }
    }
}

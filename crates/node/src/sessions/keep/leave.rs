//! Leaves a slot that lets nothing through.

use super::doubt::{Doubt, Resolve};
use super::look::Present;
use super::{CALLEE_WAITS, Done, Keeper};
use crate::sessions::paths::Paths;
use crate::sessions::pulse::Look;
use crate::sessions::relayed::NearEnd;
use skein_proto::session::SessionNews;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a relay may take to answer when it is suspected, beyond two round trips to it. An end
/// that binds anew sends again after 150 ms, so a lost frame does not condemn it.
const PROBE_PATIENCE: Duration = Duration::from_millis(350);

impl Keeper {
    /// Acts on what is to be thought of the slot in use.
    pub(super) async fn judge(
        &mut self,
        look: Look,
        near: Arc<NearEnd>,
        paths: &Paths,
        present: Present,
    ) {
        let Present { decrypted, rtt, now } = present;
        let seen = (paths.session(), decrypted);
        if look == Look::Well {
            let contested =
                self.doubt.as_ref().and_then(|doubt| self.contested.over(doubt, seen, now));
            return match contested {
                Some(bring) => self.leave_silent(&near, &bring).await,
                None => self.trust(paths),
            };
        }
        let session = Arc::clone(&self.session);
        let doubt = self.doubt.get_or_insert_with(|| Doubt::new(decrypted));
        doubt.keep_up(paths);
        if look == Look::Suspicious {
            doubt.is_grave(paths.session(), now);
            session.connection().begin_anew();
        }
        match doubt.resolve(seen, session.is_dialler(), rtt, now) {
            Resolve::Follow(bring) => self.follow(paths, &bring, now),
            Resolve::Leave(bring) => self.leave_silent(&near, &bring).await,
            Resolve::Wait if look == Look::Broken => self.leave_silent(&near, &[]).await,
            Resolve::Wait if matches!(look, Look::Suspicious | Look::Idle) && !self.probing => {
                self.suspect(near, paths, present);
                if look == Look::Suspicious {
                    self.sessions.inner.whereabouts.doubt();
                }
            }
            Resolve::Wait => {}
        }
    }

    /// The dialler sends along another slot.
    fn follow(&mut self, paths: &Paths, bring: &[u64], now: Instant) {
        if paths.follow(bring) {
            self.doubt = None;
            self.watch.restart(now);
            self.session.connection().begin_anew();
            self.session.refresh_path();
        }
    }

    async fn leave_silent(&mut self, near: &NearEnd, bring: &[u64]) {
        tracing::info!(relay = %near.relay.short(), "a relay lets nothing through");
        self.leave(near.slot(), false, bring).await;
        self.watch.restart(Instant::now());
    }

    /// Asks whether the relay lives, and whether it is this node that is elsewhere: no direct path has
    /// died to tell that. The peer may send over another relay than this end does.
    fn suspect(&mut self, near: Arc<NearEnd>, paths: &Paths, present: Present) {
        let others = paths.all().into_iter().filter(|other| other.slot() != near.slot());
        others.for_each(|other| self.refresh(other));
        self.probe(near, present);
    }

    pub(super) fn trust(&mut self, paths: &Paths) {
        if self.doubt.take().is_some() {
            paths.session().trust();
        }
    }

    fn probe(&mut self, near: Arc<NearEnd>, Present { rtt, now: since, .. }: Present) {
        self.probing = true;
        self.running.push(Box::pin(async move {
            // What waits in a queue on the way may be in either of them.
            let patience = PROBE_PATIENCE + near.rtt().max(rtt) * 2;
            let alive = near.renew(patience).await;
            Done::Probed { slot: near.slot(), alive, since }
        }));
    }

    /// Goes on over the reserve, or the best of those that `work`.
    pub(super) async fn leave(&mut self, slot: u64, dead: bool, work: &[u64]) {
        let session = Arc::clone(&self.session);
        let Some(next) = session.paths().and_then(|paths| paths.abandon(slot, dead, work)) else {
            return;
        };
        self.doubt = None;
        let now = Instant::now();
        self.watch.restart(now);
        self.reserve_due = if session.is_dialler() { now } else { now + CALLEE_WAITS };
        self.sessions.inner.counts.moved();
        session.connection().begin_anew();
        session.refresh_path();
        self.tell.tell(SessionNews::Moved { slot: next.slot() }).await;
        tracing::info!(
            peer = %session.node().short(),
            relay = %next.relay.short(),
            "a session goes on over its reserve"
        );
    }
}

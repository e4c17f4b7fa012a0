//! What a session has to know when one of its ends moves to another network.

use super::direct::heard;
use super::paths::Paths;
use super::whereabouts::Own;
use skein_net::Endpoint;
use skein_net::paths::{Candidate as NetCandidate, PathState};
use skein_proto::session::Candidate;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The least time between two lists of the peer's that are taken up. A network settles in steps of
/// about that length; and whatever a peer names, no more than the pace of the probes (one in 20 ms)
/// goes there.
const PACE: Duration = Duration::from_secs(2);

/// What has changed.
#[derive(Debug)]
pub(super) enum Change {
    /// This machine has other addresses: relays have to learn of them.
    Network,
    /// This node may be reached elsewhere, or its router is of another kind than was known.
    Own(Own),
    /// The session takes another path, or is seen elsewhere on it. It is `doubtful` whether this
    /// node is still where it said.
    Path { doubtful: bool },
}

/// Tells of all that has to do with places.
#[derive(Debug)]
pub(super) struct Changes {
    network: watch::Receiver<Vec<IpAddr>>,
    own: Option<watch::Receiver<Own>>,
    path: Option<watch::Receiver<PathState>>,
    direct: Option<SocketAddr>,
    observed: Option<SocketAddr>,
}

impl Changes {
    pub(super) fn new(endpoint: &Endpoint, paths: Option<&Paths>) -> Self {
        let mut network = endpoint.watch_network();
        network.mark_unchanged();
        let own = paths.map(Paths::moves);
        Self { network, own, path: None, direct: None, observed: None }
    }

    /// Follows the search for a direct path, once it has begun.
    pub(super) fn follow(&mut self, paths: Option<&Paths>) {
        if self.path.is_none()
            && let Some(mut path) = paths.and_then(Paths::watch_direct)
        {
            // What it has found meanwhile is news as well: its loss is known by that.
            path.mark_changed();
            self.path = Some(path);
        }
    }

    /// Waits for the next change. It may be dropped while waiting and loses nothing.
    pub(super) async fn next(&mut self) -> Change {
        tokio::select! {
            Ok(()) = self.network.changed() => Change::Network,
            Some(own) = changed(&mut self.own) => Change::Own(own),
            Some(state) = changed(&mut self.path) => {
                let direct = std::mem::replace(&mut self.direct, state.direct);
                let died = direct.is_some() && state.direct.is_none();
                let observed = std::mem::replace(&mut self.observed, state.observed);
                let elsewhere = observed.is_some() && observed != state.observed;
                Change::Path { doubtful: died || elsewhere }
            }
            else => std::future::pending().await,
        }
    }
}

async fn changed<T: Clone>(watched: &mut Option<watch::Receiver<T>>) -> Option<T> {
    let receiver = watched.as_mut()?;
    receiver.changed().await.ok()?;
    Some(receiver.borrow_and_update().clone())
}

/// Where the peer says that it is, taken up at a pace of ours.
#[derive(Debug, Default)]
pub(super) struct Theirs {
    waiting: Option<Vec<NetCandidate>>,
    taken: Option<Instant>,
}

impl Theirs {
    /// The peer names places; earlier ones do not count any more.
    pub(super) fn named(&mut self, candidates: &[Candidate]) {
        self.waiting = Some(heard(candidates));
    }

    /// What is to be probed now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<NetCandidate>> {
        if self.taken.is_some_and(|taken| now.saturating_duration_since(taken) < PACE) {
            return None;
        }
        let candidates = self.waiting.take()?;
        self.taken = Some(now);
        Some(candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::session::CandidateKind;

    fn list(port: u16) -> [Candidate; 1] {
        [Candidate { address: ([192, 0, 2, 1], port).into(), kind: CandidateKind::Observed }]
    }

    #[test]
    fn of_what_a_peer_names_in_haste_the_last_is_taken_when_its_time_has_come() {
        let (mut theirs, start) = (Theirs::default(), Instant::now());
        assert_eq!(theirs.take(start), None, "nothing was said");
        theirs.named(&list(1));
        assert_eq!(theirs.take(start).map(|list| list[0].address.port()), Some(1));
        theirs.named(&list(2));
        theirs.named(&list(3));
        assert_eq!(theirs.take(start + PACE / 2), None);
        assert_eq!(theirs.take(start + PACE).map(|list| list[0].address.port()), Some(3));
        assert_eq!(theirs.take(start + PACE * 9), None, "once");
    }
}

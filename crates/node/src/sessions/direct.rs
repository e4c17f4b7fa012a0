//! What both ends need to find a direct path: where each may be reached, and a secret for probes.

use skein_net::Endpoint;
use skein_net::paths::{
    Candidate as NetCandidate, CandidateKind as NetKind, Gathered, Mapping, PathSettings, ProbeKey,
    Side,
};
use skein_net::relay::frame::SlotNumber;
use skein_proto::session::{Candidate, CandidateKind, NatKind};
use skein_proto::{BoundedVec, KeyPair, NodeId, SessionId};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is said for the key derivation; see the protocol, section 15.
const CONTEXT: &str = "skein session punch 1";

/// How long what was gathered is good for. A router forgets a mapping after 30 s at the earliest,
/// and a guess of its next port sooner; a burst of calls asks once.
const FRESH: Duration = Duration::from_secs(10);

/// Where this node may be reached, as it was found out last.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    last: Mutex<Option<(Instant, Gathered)>>,
}

/// What is told to the other end.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    pub(super) candidates: BoundedVec<Candidate, 24>,
    pub(super) nat: NatKind,
}

impl Whereabouts {
    /// The kind of router, as far as it is known.
    pub(super) fn nat(&self) -> NatKind {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map_or(NatKind::Unknown, |(_, gathered)| nat_of(gathered.mapping))
    }

    /// Finds out where this node may be reached. It takes a round trip to its supernodes.
    pub(super) async fn find(&self, endpoint: &Endpoint) -> Own {
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gathered = match known {
            Some((at, gathered)) if at.elapsed() < FRESH => gathered,
            _ => {
                let gathered = endpoint.gather(&endpoint.connections()).await;
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some((Instant::now(), gathered.clone()));
                gathered
            }
        };
        let candidates = gathered.candidates.iter().filter_map(told);
        Own { candidates: BoundedVec::truncated(candidates), nat: nat_of(gathered.mapping) }
    }
}

fn told(candidate: &NetCandidate) -> Option<Candidate> {
    let kind = match candidate.kind {
        NetKind::Local => CandidateKind::Local,
        NetKind::Observed => CandidateKind::Observed,
        NetKind::Mapped => CandidateKind::Mapped,
        NetKind::Predicted => CandidateKind::Predicted,
        // Known from a probe of one peer, and of no use to another.
        NetKind::Seen => return None,
    };
    Some(Candidate { address: candidate.address, kind })
}

/// What the other end has told.
pub(super) fn heard(candidates: &[Candidate]) -> Vec<NetCandidate> {
    let one = |candidate: &Candidate| NetCandidate {
        address: candidate.address,
        kind: match candidate.kind {
            CandidateKind::Local => NetKind::Local,
            CandidateKind::Observed => NetKind::Observed,
            CandidateKind::Mapped => NetKind::Mapped,
            CandidateKind::Predicted => NetKind::Predicted,
        },
    };
    candidates.iter().map(one).collect()
}

const fn nat_of(mapping: Mapping) -> NatKind {
    match mapping {
        Mapping::Unknown => NatKind::Unknown,
        Mapping::None => NatKind::Public,
        Mapping::EndpointIndependent => NatKind::Cone,
        Mapping::Dependent { .. } => NatKind::Symmetric,
    }
}

/// What probes of a session are made with. `None` if the peer's id is no key, which cannot be of a
/// peer that has signed something.
pub(super) fn settings(
    endpoint: &Endpoint,
    key: &KeyPair,
    peer: &NodeId,
    session: SessionId,
    side: Side,
) -> Option<PathSettings> {
    let secret = key.agree(peer, CONTEXT, session.as_bytes())?;
    let mut probe_key = [0; 32];
    probe_key.copy_from_slice(&secret[..32]);
    let mut number = [0; 8];
    number[1..].copy_from_slice(&secret[32..39]);
    let number = SlotNumber::new(u64::from_be_bytes(number));
    // Who listens on the loopback interface alone has no others to meet.
    let loopback = endpoint.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let settings = PathSettings::new(side, number, ProbeKey::from_bytes(probe_key));
    Some(settings.loopback(loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_as_it_was_but_for_what_others_cannot_use() {
        let address = ([192, 0, 2, 1], 4701).into();
        for kind in [NetKind::Local, NetKind::Observed, NetKind::Mapped, NetKind::Predicted] {
            let candidate = NetCandidate { address, kind };
            let wire = told(&candidate).expect("it is told");
            assert_eq!(heard(&[wire]), [candidate]);
        }
        assert!(told(&NetCandidate { address, kind: NetKind::Seen }).is_none());
    }
}

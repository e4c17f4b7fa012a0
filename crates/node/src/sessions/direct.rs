//! What both ends need to find a direct path: the other's addresses, and a secret for probes.

use skein_net::Endpoint;
use skein_net::paths::{
    Candidate as NetCandidate, CandidateKind as NetKind, PathSettings, ProbeKey, Side,
};
use skein_net::relay::frame::SlotNumber;
use skein_proto::session::{Candidate, CandidateKind};
use skein_proto::{KeyPair, NodeId, SessionId};

/// What is said for the key derivation; see the protocol, section 15.
const CONTEXT: &str = "skein session punch 1";

/// What the other end is told of an address.
pub(super) fn told(candidate: &NetCandidate) -> Option<Candidate> {
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

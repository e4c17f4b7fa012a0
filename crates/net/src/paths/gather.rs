//! Where this node may be reached: what its interfaces say, its routers, and those who see it.

use super::candidate::{Candidate, CandidateKind, tidy};
use super::frame::{Body, ProbeKey, Side};
use super::machine::Families;
use super::nat::Mapping;
use super::prober::Prober;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::relay::frame::SlotNumber;
use crate::session::{Probing, Sessions, is_virtual};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Connections over which it is asked where the node is seen: two tell the kind of its router, a
/// third the step of its ports; one more may be silent.
const OBSERVERS: usize = 4;

/// How long an answer is waited for, and after that once more. A session does not wait for it: it
/// begins over a relay.
const PATIENCE: Duration = Duration::from_millis(300);

/// Where a node may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// At most [`MAX_CANDIDATES`](super::MAX_CANDIDATES), the likeliest first.
    pub candidates: Vec<Candidate>,
    /// What stands between it and others.
    pub mapping: Mapping,
}

impl Endpoint {
    /// Where this node may be reached, asked of itself, its router and those at the other end of
    /// four of these connections, preferably at different places. It takes a round trip to them;
    /// 600 ms if one is silent.
    pub async fn gather(&self, observers: &[Connection]) -> Gathered {
        let observers = observers
            .iter()
            .filter(|connection| connection.observer().is_some() && !connection.is_over_tcp())
            .take(OBSERVERS);
        let answers = join_all(observers.map(Connection::observe)).await;
        let observed: Vec<SocketAddr> = answers.into_iter().flatten().collect();

        let own = self.own_addresses();
        let port = self.local_addr().map_or(0, |address| address.port());
        let mapping = Mapping::of(&observed, &own, port);
        let of_kind = |kind| move |address| Candidate { address, kind };
        let local = own.iter().map(|ip| SocketAddr::new(*ip, port));
        let mut candidates: Vec<Candidate> = local.map(of_kind(CandidateKind::Local)).collect();
        candidates.extend(self.mapped_address().map(of_kind(CandidateKind::Mapped)));
        let predicted = mapping.predict(&observed);
        candidates.extend(observed.into_iter().map(of_kind(CandidateKind::Observed)));
        candidates.extend(predicted.into_iter().map(of_kind(CandidateKind::Predicted)));
        tidy(&mut candidates);
        Gathered { candidates, mapping }
    }

    pub(crate) fn families(&self) -> Families {
        self.local_addr().map_or(Families::Both, Families::of)
    }
}

/// The end of a connection that says where it sees the other end, and asks where it is seen. Both
/// ends draw number and key from the connection's TLS secrets (RFC 5705), so nobody else can make
/// a node answer.
pub(crate) fn observer(
    quic: &quinn::Connection,
    dialler: bool,
    sessions: &Arc<Sessions>,
) -> Option<Probing> {
    if is_virtual(&quic.remote_address()) {
        // Its packets come along many paths; its session knows where it is seen.
        return None;
    }
    let mut secret = [0; 40];
    quic.export_keying_material(&mut secret, b"EXPORTER-skein-observe", b"").ok()?;
    let (number, key) = secret.split_first_chunk()?;
    let number = SlotNumber::new(u64::from_be_bytes(*number));
    let key = ProbeKey::from_bytes(key.try_into().ok()?);
    let side = if dialler { Side::Caller } else { Side::Callee };
    let prober = Arc::new(Prober::of_connection(number, key, side));
    Some(Probing::new(Arc::clone(sessions), prober))
}

impl Connection {
    /// Where the peer sees this node. `None` if it does not answer.
    pub async fn observe(&self) -> Option<SocketAddr> {
        let probing = self.observer()?;
        for _ in 0..2 {
            let (transaction, reply) = probing.prober().await_reply()?;
            let probe = probing.prober().seal(transaction, Body::Probe { in_use: false });
            probing.send(self.remote_address(), &probe);
            if let Ok(Ok(observed)) = timeout(PATIENCE, reply).await {
                return Some(observed);
            }
        }
        None
    }
}

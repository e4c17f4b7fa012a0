//! Inbound connections: from the first packet to a proven peer.

use crate::connection::Connection;
use crate::endpoint::{Shared, peer_of};
use crate::error::CloseReason;
use crate::gate::{Admission, Full, Verdict};
use crate::session;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Takes the inbound attempts of an endpoint until it is closed.
pub(crate) async fn serve(shared: Arc<Shared>, accepted: mpsc::Sender<Connection>) {
    while let Some(attempt) = shared.quic.accept().await {
        let counters = &shared.counters;
        if shared.sessions.has_dialled(&attempt.remote_address()) {
            counters.handshakes_reflected.increment();
            attempt.ignore();
            continue;
        }
        let through = shared.tunnels.as_ref().and_then(|t| t.peer_of(attempt.remote_address()));
        let address = through.unwrap_or_else(|| attempt.remote_address());
        // TCP has shown that who is at the other end receives there; and along a session comes only
        // what a relay or a probe has shown to be of the peer, or what the peer has signed.
        let proven = through.is_some()
            || session::is_virtual(&attempt.remote_address())
            || attempt.remote_address_validated();
        match shared.gate.judge(address.ip(), proven) {
            Verdict::Admit(places) => {
                let handshake = handshake(Arc::clone(&shared), attempt, places, accepted.clone());
                shared.tasks.spawn(handshake);
            }
            Verdict::Retry => {
                counters.handshakes_retried.increment();
                if let Err(error) = attempt.retry() {
                    // The token that it bears shows its address already: nothing is gained by
                    // another one.
                    error.into_incoming().refuse();
                }
            }
            Verdict::Refuse(full) => {
                tracing::debug!(source = ?shown(address), ?full, "handshake refused");
                match full {
                    Full::Rate => counters.handshakes_refused_rate.increment(),
                    Full::Pending => counters.handshakes_refused_pending.increment(),
                    Full::Connections => counters.handshakes_refused_full.increment(),
                }
                attempt.refuse();
            }
        }
    }
}

/// An address for the log: that of a session is a secret of this process.
fn shown(address: SocketAddr) -> Option<SocketAddr> {
    (!session::is_virtual(&address)).then_some(address)
}

async fn handshake(
    shared: Arc<Shared>,
    attempt: quinn::Incoming,
    places: Admission,
    accepted: mpsc::Sender<Connection>,
) {
    let address = shown(attempt.remote_address());
    let counters = &shared.counters;
    let patience = shared.config.timing().handshake;
    let quic = match tokio::time::timeout(patience, async { attempt.accept()?.await }).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            tracing::debug!(?address, %error, "handshake failed");
            match error {
                quinn::ConnectionError::TransportError(_)
                | quinn::ConnectionError::VersionMismatch => {
                    counters.handshakes_failed_peer.increment();
                }
                _ => counters.handshakes_abandoned.increment(),
            }
            return;
        }
        Err(_) => {
            tracing::debug!(?address, "handshake not completed in time");
            counters.handshakes_abandoned.increment();
            return;
        }
    };
    let Some(peer) = peer_of(&quic) else {
        // The verifier has read this very certificate; should it ever not have, nobody gets in.
        counters.handshakes_failed_peer.increment();
        quic.close(CloseReason::NotAllowed.code().into(), b"no certificate");
        return;
    };
    counters.handshakes_accepted.increment();
    let connection = shared.enter(quic, peer, false, places.connection);
    drop(places.handshake);
    shared.dials.offer(&connection);
    if let Err(error) = accepted.try_send(connection) {
        let connection = error.into_inner();
        if shared.is_closing().is_none() {
            counters.connections_dropped_queue_full.increment();
        }
        connection.close(shared.is_closing().unwrap_or(CloseReason::Busy));
    }
}

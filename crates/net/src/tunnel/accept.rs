//! Tunnels that others dial.

use super::carry::{End, IDLE, carry, prepare};
use super::probe::{LABEL, Token};
use super::{Pipe, Tunnels, virtual_address};
use crate::gate::{Admission, Full, Verdict};
use crate::tls;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Tunnels that one IPv4 address, or one IPv6 /64, may have at the same time: a school or an
/// office whose network blocks UDP has many nodes behind one address.
const MAX_PER_SOURCE: usize = 128;

/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(8);

/// How long to wait when the system has no socket left.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// Takes tunnels at one address until the endpoint ends.
pub(super) async fn serve(tunnels: Arc<Tunnels>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tunnels.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(places) = admit(&tunnels, peer) {
                    tunnels.tasks.spawn(tunnel(Arc::clone(&tunnels), stream, peer, places));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a TCP connection cannot be accepted");
                tokio::time::sleep(NO_SOCKET).await;
            }
        }
    }
}

/// The places that a tunnel takes.
struct Places {
    admission: Admission,
    _source: SourcePlace,
}

fn admit(tunnels: &Arc<Tunnels>, peer: SocketAddr) -> Option<Places> {
    let refused = match tunnels.gate.judge(peer.ip(), true) {
        Verdict::Admit(admission) => {
            if let Some(source) = SourcePlace::take(tunnels, peer.ip()) {
                return Some(Places { admission, _source: source });
            }
            &tunnels.counters.tunnels_refused_source
        }
        Verdict::Refuse(Full::Connections) => &tunnels.counters.tunnels_refused_full,
        Verdict::Refuse(_) | Verdict::Retry => &tunnels.counters.tunnels_refused_rate,
    };
    refused.increment();
    tracing::debug!(%peer, "a tunnel is refused");
    None
}

/// One of the tunnels that a source may have.
struct SourcePlace {
    tunnels: Arc<Tunnels>,
    source: IpAddr,
}

impl SourcePlace {
    fn take(tunnels: &Arc<Tunnels>, ip: IpAddr) -> Option<Self> {
        let source = match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut open = tunnels.by_source.entry(source).or_insert(0);
        if *open >= MAX_PER_SOURCE {
            return None;
        }
        *open += 1;
        drop(open);
        Some(Self { tunnels: Arc::clone(tunnels), source })
    }
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        if let Some(mut open) = self.tunnels.by_source.get_mut(&self.source) {
            *open -= 1;
        }
        self.tunnels.by_source.remove_if(&self.source, |_, open| *open == 0);
    }
}

async fn tunnel(tunnels: Arc<Tunnels>, stream: TcpStream, peer: SocketAddr, places: Places) {
    let counters = &tunnels.counters;
    let (stream, pipe) = match timeout(HANDSHAKE, handshake(&tunnels, stream, peer)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            counters.tunnels_failed.increment();
            tracing::debug!(%peer, %error, "a tunnel was not opened");
            return;
        }
        Err(_) => {
            counters.tunnels_failed.increment();
            return;
        }
    };
    let Places { admission, _source } = places;
    let Admission { handshake, connection: _place } = admission;
    drop(handshake);
    if !tunnels.enter(&pipe) {
        // Of 2^104 addresses one was drawn twice.
        return;
    }
    let token = *pipe.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    tunnels.by_token.insert(token, Arc::clone(&pipe));
    counters.tunnels_accepted.increment();
    counters.tunnels_incoming_live.increment();
    tracing::debug!(%peer, node = %pipe.node.short(), "a tunnel is open");
    if tunnels.stop.is_cancelled() {
        pipe.queue.close();
    }
    let end = tokio::select! {
        end = carry(&tunnels, &pipe, stream) => end,
        () = out_of_use(&tunnels, &pipe) => {
            counters.tunnels_unused.increment();
            End::Unused
        }
    };
    tracing::debug!(%peer, node = %pipe.node.short(), %end, "a tunnel has ended");
    tunnels.by_token.remove(&token);
    tunnels.remove(&pipe);
    counters.tunnels_incoming_live.decrement();
}

/// Returns when a tunnel carries neither a connection of its node nor a slot. To open one takes no
/// more than a key, and places are few.
async fn out_of_use(tunnels: &Tunnels, pipe: &Pipe) {
    loop {
        tokio::time::sleep(tunnels.timing.unused).await;
        let relayed = Duration::from_millis(pipe.relayed.load(Ordering::Relaxed));
        let silent = tunnels.started.elapsed().saturating_sub(relayed);
        let relays = !relayed.is_zero() && silent < IDLE;
        let connected = tunnels.connected.get();
        if !relays && connected.is_some_and(|connected| !connected(pipe.node, pipe.address)) {
            return;
        }
    }
}

async fn handshake(
    tunnels: &Tunnels,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<(TlsStream<TcpStream>, Arc<Pipe>)> {
    prepare(&stream);
    let stream = TlsAcceptor::from(Arc::clone(&tunnels.server)).accept(stream).await?;
    let connection = stream.get_ref().1;
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let node = certificate.and_then(|certificate| tls::node_of(certificate).ok());
    let node = node.ok_or_else(|| io::Error::other("it showed no certificate"))?;
    let token: Token = connection
        .export_keying_material(Token::default(), LABEL, None)
        .map_err(io::Error::other)?;
    Ok((stream, Pipe::new(virtual_address(), node, peer, token)))
}

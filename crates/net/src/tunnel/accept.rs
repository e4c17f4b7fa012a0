//! Tunnels that others dial.

use super::carry::{End, IDLE, carry, prepare};
use super::probe::{LABEL, Token};
use super::{Pipe, Tunnels, virtual_address};
use crate::crowd::{Crowded, Place};
use crate::stats::{Counter, Counters};
use crate::tls;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Tunnels that one IPv4 address, or one IPv6 /64, may have at the same time: a school or an
/// office whose network blocks UDP has many nodes behind one address.
pub(super) const MAX_PER_SOURCE: usize = 128;

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
                if let Some(begun) = admit(&tunnels, peer) {
                    tunnels.tasks.spawn(tunnel(Arc::clone(&tunnels), stream, peer, begun));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a TCP connection cannot be accepted");
                tokio::time::sleep(NO_SOCKET).await;
            }
        }
    }
}

/// Lets a TCP connection begin its handshake, for which it gets a place.
fn admit(tunnels: &Arc<Tunnels>, peer: SocketAddr) -> Option<Beginning> {
    let counters = &tunnels.counters;
    let begun = if tunnels.allowances.take(peer.ip(), true) {
        // What would be refused after the handshake is not worth one.
        tunnels.places.has_room(peer.ip()).map_err(|full| refusals(counters, full)).and_then(|()| {
            let stop = CancellationToken::new();
            let place = tunnels.beginnings.enter(peer.ip(), stop.clone());
            place.map(|place| (place, stop)).map_err(|_| &counters.tunnels_refused_rate)
        })
    } else {
        Err(&counters.tunnels_refused_rate)
    };
    match begun {
        Ok((place, stop)) => {
            count_room(counters, &place);
            Some(Beginning { _place: place, stop })
        }
        Err(counter) => {
            counter.increment();
            tracing::debug!(%peer, "a tunnel is refused");
            None
        }
    }
}

/// A handshake under way.
struct Beginning {
    _place: Place,
    stop: CancellationToken,
}

fn refusals(counters: &Counters, full: Crowded) -> &Counter {
    match full {
        Crowded::Source => &counters.tunnels_refused_source,
        Crowded::All => &counters.tunnels_refused_full,
    }
}

fn count_room(counters: &Counters, place: &Place) {
    if place.made_room {
        counters.tunnels_made_room.increment();
    }
}

async fn tunnel(tunnels: Arc<Tunnels>, stream: TcpStream, peer: SocketAddr, begun: Beginning) {
    let counters = &tunnels.counters;
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE, handshake(&tunnels, stream, peer)) => opened,
        () = begun.stop.cancelled() => return,
    };
    drop(begun);
    let (stream, pipe) = match opened {
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
    let place = match tunnels.places.enter(peer.ip(), pipe.stop.clone()) {
        Ok(place) => place,
        Err(full) => return refusals(counters, full).increment(),
    };
    count_room(counters, &place);
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

//! Tunnels that this side dials.

use super::carry::{End, carry, prepare};
use super::probe::{LABEL, Token, UdpProbe};
use super::{BLOCKED, Pipe, Tunnels, UdpState, WORKS};
use crate::connection::canonical;
use crate::socket::Transmit;
use crate::tls::{self, SERVER_NAME};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use skein_proto::NodeId;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The port that passes where no other does (HTTPS).
pub(super) const HTTPS: u16 = 443;

/// When the second port is tried, while the first is still silent: as for addresses (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// How long the handshakes of TCP and TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(6);

/// A tunnel on which something came within this time is used again. Connections through it are
/// proven alive every four seconds.
const ALIVE: Duration = Duration::from_secs(6);

/// Pauses before a broken tunnel is dialled again. QUIC waits 15 s for its peer.
const AGAIN: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1_500),
    Duration::from_secs(4),
];

/// How long UDP is given before TCP is tried.
pub(crate) fn patience(state: UdpState) -> Duration {
    match state {
        UdpState::Blocked | UdpState::Off => Duration::ZERO,
        // Two round trips over the longest paths.
        UdpState::Unknown => Duration::from_millis(600),
        // Most likely the node is gone; but this machine may be in another network by now.
        UdpState::Works => Duration::from_secs(2),
    }
}

/// A tunnel that was opened for a dial. It ends with this, unless it is [kept](Opened::keep).
pub(crate) struct Opened {
    tunnels: Arc<Tunnels>,
    pipe: Arc<Pipe>,
    keep: bool,
}

impl Opened {
    /// Whether what goes to this address goes through it.
    pub(crate) fn leads_to(&self, address: SocketAddr) -> bool {
        self.pipe.address == canonical(address)
    }

    /// What was dialled answers through it. `udp_works` says whether others are connected over UDP:
    /// then only this node's is blocked.
    pub(crate) fn keep(mut self, udp_works: bool) {
        self.keep = true;
        self.pipe.kept.store(true, Ordering::Relaxed);
        if self.tunnels.has_udp && !udp_works {
            self.tunnels.set_udp(BLOCKED);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.keep && self.pipe.ways.load(Ordering::Relaxed) == 0 {
            self.pipe.stop.cancel();
            self.tunnels.remove(&self.pipe);
        }
    }
}

impl Tunnels {
    /// Opens a tunnel to `node`, for what goes to its UDP address from now on. Answers `None` if
    /// there is one already.
    ///
    /// # Errors
    /// What the system or TLS says of the last port that was tried.
    pub(crate) async fn open(
        self: &Arc<Self>,
        node: NodeId,
        address: SocketAddr,
    ) -> io::Result<Option<Opened>> {
        let address = canonical(address);
        if self.has_live(node, address)? {
            return Ok(None);
        }
        let (stream, token) = self.reach(node, address).await?;
        // Another dial may have been quicker, and one that was silent may have spoken.
        if self.has_live(node, address)? {
            return Ok(None);
        }
        self.make_way(address);
        let peer = stream.get_ref().0.peer_addr()?;
        let pipe = Pipe::new(address, node, peer, token);
        pipe.heard.store(self.millis(), Ordering::Relaxed);
        if !self.enter(&pipe) {
            return Ok(None);
        }
        self.counters.tunnels_dialled.increment();
        tracing::debug!(%peer, node = %node.short(), "a tunnel is open");
        self.tasks.spawn(keep(Arc::clone(self), Arc::clone(&pipe), stream));
        Ok(Some(Opened { tunnels: Arc::clone(self), pipe, keep: false }))
    }

    /// Whether a tunnel leads there that works.
    ///
    /// # Errors
    /// It works, and leads to another node. Anybody may name the address of that node as his own,
    /// so it stays.
    pub(super) fn has_live(&self, node: NodeId, address: SocketAddr) -> io::Result<bool> {
        let Some(pipe) = self.by_address.get(&address).map(|pipe| Arc::clone(&pipe)) else {
            return Ok(false);
        };
        let heard = Duration::from_millis(pipe.heard.load(Ordering::Relaxed));
        let works = self.started.elapsed().saturating_sub(heard) < ALIVE;
        match pipe.node == node {
            true => Ok(works && !pipe.over_udp.load(Ordering::Relaxed)),
            false if works || pipe.over_udp.load(Ordering::Relaxed) => {
                Err(io::Error::other("a tunnel to another node leads there"))
            }
            false => Ok(false),
        }
    }

    /// Ends the tunnel that leads there and does not work: whoever was dialled has shown that it
    /// is there.
    fn make_way(&self, address: SocketAddr) {
        if let Some(pipe) = self.by_address.get(&address).map(|pipe| Arc::clone(&pipe)) {
            pipe.stop.cancel();
            self.remove(&pipe);
        }
    }

    /// A TLS connection to the node, at the port of its UDP address or at 443.
    async fn reach(
        &self,
        node: NodeId,
        address: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, Token)> {
        let mut attempts = FuturesUnordered::new();
        let ports = [address.port(), HTTPS];
        let distinct = if address.port() == HTTPS { 1 } else { 2 };
        for (turn, port) in (0..).zip(&ports[..distinct]) {
            let to = SocketAddr::new(address.ip(), *port);
            attempts.push(async move {
                sleep(STAGGER * turn).await;
                self.handshake(node, to).await
            });
        }
        let mut failure = io::Error::from(io::ErrorKind::TimedOut);
        let all = async {
            while let Some(outcome) = attempts.next().await {
                match outcome {
                    Ok(opened) => return Ok(opened),
                    Err(error) => failure = error,
                }
            }
            Err(())
        };
        match timeout(HANDSHAKE, all).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(())) | Err(_) => Err(failure),
        }
    }

    async fn handshake(
        &self,
        node: NodeId,
        to: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, Token)> {
        let stream = TcpStream::connect(to).await?;
        prepare(&stream);
        let (config, _) = tls::expecting(&self.client, node);
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let connection = stream.get_ref().1;
        let token = connection
            .export_keying_material(Token::default(), LABEL, None)
            .map_err(io::Error::other)?;
        Ok((stream, token))
    }
}

/// Keeps a tunnel as long as it is needed: dials again when it breaks, and ends it when UDP works.
async fn keep(tunnels: Arc<Tunnels>, pipe: Arc<Pipe>, stream: TlsStream<TcpStream>) {
    tunnels.counters.tunnels_outgoing_live.increment();
    let mut stream = Some(stream);
    while let Some(open) = stream.take() {
        // The last one may have broken while UDP was tried.
        pipe.over_udp.store(false, Ordering::Relaxed);
        let end = tokio::select! {
            end = carry(&tunnels, &pipe, open) => end,
            () = until_udp_works(&tunnels, &pipe) => End::Closed,
        };
        tracing::debug!(node = %pipe.node.short(), %end, "a tunnel has ended");
        if let End::Broken(_) = end
            && !pipe.queue.is_closed()
        {
            stream = again(&tunnels, &pipe).await;
        }
    }
    tunnels.remove(&pipe);
    tunnels.counters.tunnels_outgoing_live.decrement();
}

/// Dials the other end of a broken tunnel again.
async fn again(tunnels: &Tunnels, pipe: &Pipe) -> Option<TlsStream<TcpStream>> {
    for pause in AGAIN {
        tokio::select! {
            () = pipe.stop.cancelled() => return None,
            () = tunnels.stop.cancelled() => return None,
            () = sleep(pause) => {}
        }
        if let Ok((stream, token)) = tunnels.reach(pipe.node, pipe.address).await {
            *pipe.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
            tunnels.counters.tunnels_redialled.increment();
            return Some(stream);
        }
    }
    None
}

/// Returns when the other end is reached over UDP, and what is left in the tunnel has come.
async fn until_udp_works(tunnels: &Tunnels, pipe: &Pipe) {
    if !tunnels.has_udp {
        return std::future::pending().await;
    }
    let timing = tunnels.timing;
    let mut pause = timing.first_probe;
    loop {
        if !probe(tunnels, pipe, pause).await {
            pause = (pause * 2).min(timing.last_probe);
            continue;
        }
        pipe.udp.datagram.store(false, Ordering::Relaxed);
        pipe.over_udp.store(true, Ordering::Relaxed);
        sleep(timing.trial).await;
        if pipe.udp.datagram.load(Ordering::Relaxed) {
            tunnels.counters.tunnels_left_for_udp.increment();
            tunnels.set_udp(WORKS);
            return sleep(timing.linger).await;
        }
        pipe.over_udp.store(false, Ordering::Relaxed);
        pause = timing.last_probe;
    }
}

/// Sends a probe over UDP; answers after `pause` at the latest whether it was answered.
async fn probe(tunnels: &Tunnels, pipe: &Pipe, pause: Duration) -> bool {
    let token = *pipe.token.lock().unwrap_or_else(PoisonError::into_inner);
    let contents = UdpProbe::Probe(token).encode();
    let answered = pipe.udp.answered.notified();
    let transmit = Transmit {
        destination: tunnels.as_the_base_has_it(pipe.address),
        ecn: None,
        contents: &contents,
        segment_size: None,
        src_ip: None,
    };
    // One that the system does not send is as good as lost.
    if tunnels.base.try_send(&transmit).is_ok() {
        tunnels.counters.datagrams_out.increment();
    }
    timeout(pause, answered).await.is_ok()
}

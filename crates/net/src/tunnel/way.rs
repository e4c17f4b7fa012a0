//! Ways to relays that peers have named: where UDP does not get out, a tunnel for as long as
//! somebody needs it.
//!
//! A peer may name any address. So a way goes only where a relay can be, there are only so many
//! tunnels, and one that was opened for a way alone ends with it.

use super::dial::HTTPS;
use super::{Pipe, Tunnels, UdpState};
use crate::connection::canonical;
use crate::paths::candidate::{Candidate, CandidateKind, is_near, is_private};
use skein_proto::NodeId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tunnels that are opened for peers' relays at most, so that those to one's own supernodes find
/// room. Each is a TCP connection and a task.
const MAX_OUTGOING: u64 = 128;

/// Ports below this one are other services' than Skein's, but for that of HTTPS.
const FIRST_FREE_PORT: u16 = 1_024;

/// A way to a relay. What it needs is kept up while it lives.
pub struct Way {
    tunnel: Option<(Arc<Tunnels>, Arc<Pipe>)>,
}

impl Way {
    /// One that needs nothing.
    pub(crate) const OPEN: Self = Self { tunnel: None };
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("tunnel", &self.tunnel.is_some()).finish()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let Some((tunnels, pipe)) = self.tunnel.take() else { return };
        let last = pipe.ways.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && !pipe.kept.load(Ordering::Relaxed) && !tunnels.is_connected(&pipe) {
            pipe.stop.cancel();
            tunnels.remove(&pipe);
        }
    }
}

impl Tunnels {
    /// See [`crate::Endpoint::prepare`]. `ours` are the addresses of this machine.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        node: NodeId,
        address: SocketAddr,
        ours: &[IpAddr],
    ) -> Option<Way> {
        if !matches!(self.udp_state(), UdpState::Blocked | UdpState::Off) {
            return Some(Way::OPEN);
        }
        if let Some(way) = self.way(node, address) {
            return Some(way);
        }
        let full = self.counters.tunnels_outgoing_live.get() >= MAX_OUTGOING;
        if full || !self.may_be_a_relay(address, ours) {
            self.counters.tunnels_refused_named.increment();
            return None;
        }
        match self.open(node, address).await {
            // Of what is opened the way takes hold before the guard lets go.
            Ok(opened) => self.way(node, address).inspect(|_| drop(opened)),
            Err(error) => {
                tracing::debug!(node = %node.short(), %error, "no tunnel could be opened");
                None
            }
        }
    }

    /// A way through the tunnel that there is.
    fn way(self: &Arc<Self>, node: NodeId, address: SocketAddr) -> Option<Way> {
        if !self.has_live(node, address).ok()? {
            return None;
        }
        let pipe = Arc::clone(&*self.by_address.get(&canonical(address))?);
        pipe.ways.fetch_add(1, Ordering::Relaxed);
        Some(Way { tunnel: Some((Arc::clone(self), pipe)) })
    }

    fn is_connected(&self, pipe: &Pipe) -> bool {
        self.connected.get().is_none_or(|connected| connected(pipe.node, pipe.address))
    }

    fn may_be_a_relay(&self, address: SocketAddr, ours: &[IpAddr]) -> bool {
        let address = canonical(address);
        // Who listens on the loopback interface alone has its whole network there.
        let bound = self.base.local_addr().map(|bound| canonical(bound).ip());
        let loopback = bound.is_ok_and(|bound| bound.is_loopback());
        let named = Candidate { address, kind: CandidateKind::Local };
        let ip = address.ip();
        let near = || ip.is_loopback() || ours.iter().any(|our| is_near(our.to_canonical(), ip));
        let port = address.port();
        named.is_plausible(loopback)
            && (port >= FIRST_FREE_PORT || port == HTTPS)
            && (!is_private(ip) || near())
    }
}

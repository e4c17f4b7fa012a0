//! Links with peers: how they come up, which of two that crossed is kept, and how they end.

use super::task::Task;
use super::{Greeted, Order};
use crate::daemon::link::{LinkEvent, LinkHandle};
use crate::daemon::reach;
use skein_net::{Connection, Stream};
use skein_overlay::Input;
use skein_proto::message::PartingReason;
use skein_proto::{Message, NodeId};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// How long a peer that is connected may take to let this side open a control stream.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// Two control streams that came up within this time may have been opened at the same time, by
/// either side. Later on, a peer that opens another one has given up the one before: it was
/// restarted, or has lost the connection where this side has not noticed yet.
pub(in crate::daemon) const CROSSING: Duration = Duration::from_secs(2);

impl Task {
    /// Of two control streams that crossed, both sides keep the one that the smaller id opened.
    fn keeps_own(&self, peer: &NodeId) -> bool {
        self.parts.endpoint.node_id() < *peer
    }

    pub(super) fn on_inbound(&mut self, Greeted { connection, stream, hello }: Greeted) {
        let peer = connection.peer();
        let crossed = self
            .links
            .get(&peer)
            .is_some_and(|link| link.opened_here && link.since.elapsed() <= CROSSING);
        if crossed && self.keeps_own(&peer) {
            tracing::debug!(peer = %peer.short(), "a control stream that crossed ours is dropped");
            return;
        }
        self.link_up(peer, connection, stream, false);
        self.handle(Input::Received { peer, message: Box::new(hello.into()) });
    }

    pub(super) fn on_dialled(&mut self, peer: NodeId, connection: Connection, stream: Stream) {
        let crossed = self.links.get(&peer).is_some_and(|link| !link.opened_here);
        if crossed && !self.keeps_own(&peer) {
            return;
        }
        self.link_up(peer, connection, stream, true);
    }

    fn link_up(&mut self, peer: NodeId, connection: Connection, stream: Stream, opened_here: bool) {
        if self.links.remove(&peer).is_some() {
            self.handle(Input::LinkDown { peer });
        }
        self.next_generation += 1;
        let address = connection.seen_at();
        let rtt = connection.rtt();
        let link = LinkHandle::start(
            self.next_generation,
            connection,
            stream,
            opened_here,
            self.driver.from_peers.clone(),
            &self.link_tasks,
        );
        self.links.insert(peer, link);
        self.handle(Input::LinkUp { peer, address, rtt });
    }

    pub(super) fn on_link_event(&mut self, peer: NodeId, generation: u64, event: LinkEvent) {
        let current = self.links.get(&peer).is_some_and(|link| link.generation == generation);
        if !current {
            return;
        }
        match event {
            LinkEvent::Message(message) => self.handle(Input::Received { peer, message }),
            LinkEvent::Silent => self.handle(Input::LinkSilent { peer }),
            LinkEvent::Ended => {
                self.links.remove(&peer);
                self.handle(Input::LinkDown { peer });
            }
        }
    }

    pub(super) fn dial(&self, peer: NodeId, addresses: Vec<SocketAddr>) {
        let endpoint = self.parts.endpoint.clone();
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let outcome = match endpoint.connect(peer, &addresses).await {
                Ok(connection) => match timeout(OPEN_PATIENCE, connection.open_stream()).await {
                    Ok(Ok(stream)) => Some((connection, stream)),
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %peer.short(), %error, "no control stream");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(peer = %peer.short(), "no control stream is allowed");
                        None
                    }
                },
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), %error, "not reached");
                    None
                }
            };
            driver.order(Order::Dialled { peer, outcome }).await;
        });
    }

    /// The overlay bounds how many of these are under way.
    pub(super) fn dial_back(&self, dial: u64, node: NodeId, addresses: Vec<SocketAddr>) {
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let reached = reach::reaches_any(node, addresses).await;
            driver.input(Input::DialledBack { dial, reached }).await;
        });
    }

    pub(super) fn send(&mut self, peer: NodeId, message: Box<Message>) {
        let Some(link) = self.links.get(&peer) else { return };
        if !link.send(message) {
            tracing::info!(peer = %peer.short(), "a peer does not read; its link is cut");
            self.links_stalled += 1;
            if let Some(link) = self.links.remove(&peer) {
                link.close(PartingReason::Misbehaved);
            }
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::LinkDown { peer }, now);
        }
    }

    pub(super) fn hang_up(&mut self, peer: NodeId, reason: PartingReason) {
        if let Some(link) = self.links.remove(&peer) {
            link.close(reason);
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::LinkDown { peer }, now);
        }
    }
}

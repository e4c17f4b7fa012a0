//! What people do on sessions: use services of each other's machines.
//!
//! ```text
//!   pipe     a TCP or UDP port of the peer's: pump moves its bytes in pieces, flows its packets
//!   offered  what this node offers, to whom
//!   store    all that is kept, in SQLite
//! ```
//!
//! Who a peer is follows from the credential that it showed when the session began; see
//! [`crate::sessions`].

mod flows;
mod offered;
mod piece;
mod pipe;
mod pump;
mod store;

pub use piece::{MAX_PIECE, PieceReader, PieceWriter};
pub(crate) use store::Store;
pub use store::StoreError;

use crate::api::people::{AddService, OfferedService};
use crate::api::types::ApiError;
use crate::people::People;
use crate::sessions::{PeerName, PeerSession, Sessions};
use flows::Flows;
use pipe::{PipeCounts, Places};
use skein_proto::Message;
use skein_proto::message::MessageKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

/// What services are made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) people: People,
    pub(crate) ended: CancellationToken,
}

/// What people do on sessions. Clones are the same.
#[derive(Clone)]
pub(crate) struct Services {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Sessions,
    people: People,
    store: Store,
    flows: Flows,
    places: Places,
    pipes: PipeCounts,
    ended: CancellationToken,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Services that peers were served.
    pub served: u64,
    /// Refused: there is no such service, or not for the peer.
    pub not_allowed: u64,
    /// Refused: too many were in use.
    pub busy: u64,
    /// Services that broke off, or whose program did not answer.
    pub broken: u64,
    /// Packets that were too large for their path, belonged to no flow, or came faster than they
    /// were taken.
    pub datagrams_dropped: u64,
}

impl Services {
    /// Takes what peers begin from now on.
    pub(crate) fn start(parts: Parts) -> Self {
        let inner = Inner {
            sessions: parts.sessions,
            people: parts.people,
            store: parts.store,
            flows: Flows::default(),
            places: Places::default(),
            pipes: PipeCounts::default(),
            ended: parts.ended,
        };
        let services = Self { inner: Arc::new(inner) };
        services.listen();
        services
    }

    fn listen(&self) {
        // The sessions keep this for as long as they live, and the services keep the sessions.
        let services = Arc::downgrade(&self.inner);
        let serve = move |session, message, stream| {
            let services = services.upgrade().map(|inner| Self { inner });
            async move {
                if let (Some(services), Message::OpenService(asked)) = (services, message) {
                    services.serve_pipe(session, asked, stream).await;
                }
            }
        };
        self.inner.sessions.on_stream(MessageKind::OpenService, serve);
    }

    /// The session with a peer.
    async fn session(&self, peer: &PeerName) -> Result<Arc<PeerSession>, ApiError> {
        Ok(self.inner.sessions.open(peer).await?)
    }

    /// What this node offers.
    pub(crate) async fn offered(&self) -> Result<Vec<OfferedService>, ApiError> {
        Ok(self.inner.store.services().await?)
    }

    /// Offers a service from now on.
    pub(crate) async fn offer(&self, service: AddService) -> Result<OfferedService, ApiError> {
        self.inner.store.offer_service(&service).await?;
        let AddService { name, target, udp, allow } = service;
        Ok(OfferedService { name, target, udp, allow })
    }

    /// Offers a service no longer. Those who use it at present go on.
    pub(crate) async fn withdraw(&self, name: &str) -> Result<(), ApiError> {
        match self.inner.store.withdraw_service(name).await? {
            true => Ok(()),
            false => Err(ApiError::not_found(format!("there is no service {name:?}"))),
        }
    }

    /// Counts since the start.
    pub(crate) fn stats(&self) -> ServiceStats {
        let pipes = &self.inner.pipes;
        ServiceStats {
            served: pipes.served.load(Ordering::Relaxed),
            not_allowed: pipes.not_allowed.load(Ordering::Relaxed),
            busy: pipes.busy.load(Ordering::Relaxed),
            broken: pipes.broken.load(Ordering::Relaxed),
            datagrams_dropped: self.inner.flows.dropped(),
        }
    }

    /// Closes what is kept, after everything has ended.
    pub(crate) async fn close(&self) {
        self.inner.store.close().await;
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

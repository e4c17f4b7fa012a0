//! The daemon: all parts of a node, started together and ended together.
//!
//! ```text
//!            local API ──▶ Backend ──┬──▶ Library ──changes──┐
//!                                    ├──▶ Transfers          ▼
//!   peers ──▶ serve ──control stream─┼────────────────▶ Driver(Overlay) ──▶ peers
//!                   └─fetch stream───┘                       │
//!                                        login tasks ◀─wishes┘
//! ```

mod adapters;
mod backend;
mod calls;
mod capacity;
pub(crate) mod clock;
mod conduct;
mod contacts;
pub(crate) mod driver;
mod link;
mod login;
mod news;
mod outlook;
mod problems;
mod ranking;
mod reach;
mod remember;
mod scrape;
mod search;
mod searchers;
mod serve;
mod settings;
mod start;
mod sweep;
mod tending;
#[cfg(test)]
mod tests;
mod wishes;

pub use start::StartError;

use crate::account::Accounts;
use crate::api::server::ServeError;
use crate::api::types::DaemonEvent;
use crate::config::Config;
use crate::home::InstanceLock;
use crate::inbox::Inbox;
use crate::library::{Library, LibraryError, ShareError};
use crate::metrics::Metrics;
use crate::people::People;
use crate::relay::Donor;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::transfer::Transfers;
use adapters::{Member, OverlaySearch};
use clock::Clock;
use driver::Driver;
use login::LoginView;
use search::LastSearch;
use skein_net::{CloseReason, DatagramSocket, Endpoint};
use skein_proto::{KeyPair, NodeId, Role};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use wishes::WishBook;

/// What a program that starts a daemon wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyInfo {
    /// The address of the local API.
    pub api: SocketAddr,
    /// The UDP address.
    pub listen: SocketAddr,
    /// Who the node is.
    pub node: NodeId,
    /// What it is at the start.
    pub role: Role,
}

/// A running daemon. It ends in an orderly way by [`Daemon::shutdown`]; dropped, it ends as well,
/// but nobody can wait for that, and downloads are cut off where they are.
pub struct Daemon {
    ready: ReadyInfo,
    parts: Arc<Shared>,
    endpoint: Endpoint,
    driver: JoinHandle<()>,
    api: JoinHandle<Result<(), ServeError>>,
    tasks: JoinSet<()>,
    ended: CancellationToken,
    _end: DropGuard,
    _lock: InstanceLock,
}

/// What the tasks of the daemon share.
struct Shared {
    config: Config,
    clock: Clock,
    login_key: NodeId,
    listen: SocketAddr,
    endpoint: Endpoint,
    library: Library,
    transfers: Transfers,
    accounts: Arc<Accounts>,
    driver: Driver,
    sessions: Sessions,
    donor: Donor,
    services: Services,
    people: People,
    inbox: Inbox,
    finder: Arc<OverlaySearch>,
    member: Member,
    login: Arc<LoginView>,
    last_search: LastSearch,
    wishes: WishBook,
    measured: capacity::Measured,
    events: broadcast::Sender<DaemonEvent>,
    metrics: Metrics,
    ended: CancellationToken,
}

impl Daemon {
    /// Starts everything. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, settings::bind).await
    }

    /// As [`Daemon::start`], but over any socket, such as one of a simulated network. The setting
    /// for the UDP address has no meaning then.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_on(
        config: Config,
        socket: Arc<dyn DatagramSocket>,
    ) -> Result<Self, StartError> {
        let open = |key: &KeyPair, config: &Config| {
            Endpoint::with_socket(key, socket, settings::endpoint(config))
        };
        Self::start_with(config, open).await
    }

    /// Where it can be talked to.
    pub fn ready_info(&self) -> ReadyInfo {
        self.ready.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<DaemonEvent> {
        self.parts.events.subscribe()
    }

    /// Shares a folder, as the local API does.
    ///
    /// # Errors
    /// [`LibraryError`].
    pub async fn share(&self, folder: &std::path::Path) -> Result<(), LibraryError> {
        match self.parts.library.add_share(folder).await {
            Err(LibraryError::Unshareable(ShareError::Already(_))) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits until somebody has asked the daemon to end.
    pub async fn wait(&self) {
        self.ended.cancelled().await;
    }

    /// Ends everything: peers are told, downloads are put on record, files are closed.
    pub async fn shutdown(mut self) {
        self.ended.cancel();
        let (driver, ()) = tokio::join!(self.driver, self.parts.transfers.stop());
        if let Err(error) = driver {
            tracing::error!(%error, "the driver broke down");
        }
        self.tasks.shutdown().await;
        match self.api.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the local API ended with an error"),
            Err(error) => tracing::error!(%error, "the local API broke down"),
        }
        self.endpoint.close(CloseReason::Leaving).await;
        self.parts.services.close().await;
        self.parts.library.close().await;
    }
}

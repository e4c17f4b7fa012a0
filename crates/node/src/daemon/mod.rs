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
mod clock;
mod driver;
mod link;
mod login;
mod scrape;
mod search;
mod serve;
mod sweep;

use crate::account::Accounts;
use crate::api::server::{ApiServer, ServeError};
use crate::api::types::DaemonEvent;
use crate::config::Config;
use crate::home::{Home, HomeError, InstanceLock};
use crate::library::{Library, LibraryConfig, LibraryError, ShareError};
use crate::metrics::Metrics;
use crate::transfer::{
    LocalDisk, Membership, TransferConfig, TransferError, TransferParts, Transfers,
};
use adapters::{Member, OverlaySearch};
use backend::NodeBackend;
use clock::Clock;
use driver::Driver;
use login::LoginView;
use rand::RngExt;
use search::LastSearch;
use skein_net::{BindError, CloseReason, Endpoint, EndpointConfig};
use skein_overlay::{Input, Overlay};
use skein_proto::{KeyPair, NodeId, Role};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow listener before it misses some.
const EVENTS_KEPT: usize = 256;

/// Wishes of the overlay that wait for the login service.
const WISHES_WAITING: usize = 8;

/// How long peers are given to read the farewell.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a daemon does not start. Each message says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node belongs to no network yet.
    #[error(
        "this node is in no network yet: run `skein register NAME --ticket TICKET` first, or give \
         --ticket"
    )]
    NoTicket,
    /// The data folder cannot be used, or another daemon uses it.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The UDP address cannot be had.
    #[error(transparent)]
    Network(#[from] BindError),
    /// The system does not say where the UDP socket is.
    #[error("cannot tell the address of the UDP socket: {0}")]
    Socket(#[source] std::io::Error),
    /// The share library cannot be opened.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// What was downloaded before cannot be read.
    #[error(transparent)]
    Transfers(#[from] TransferError),
    /// The address of the local API cannot be had.
    #[error(transparent)]
    Api(#[from] ServeError),
}

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

/// A running daemon. It ends in an orderly way by [`Daemon::shutdown`]; dropped, it ends like a
/// killed process.
pub struct Daemon {
    ready: ReadyInfo,
    parts: Arc<Shared>,
    endpoint: Endpoint,
    driver: JoinHandle<()>,
    api: JoinHandle<Result<(), ServeError>>,
    tasks: Vec<JoinHandle<()>>,
    ended: CancellationToken,
    _lock: InstanceLock,
}

/// What the tasks of the daemon share.
struct Shared {
    config: Config,
    home: Home,
    clock: Clock,
    login_key: NodeId,
    listen: SocketAddr,
    endpoint: Endpoint,
    library: Library,
    transfers: Transfers,
    accounts: Arc<Accounts>,
    driver: Driver,
    finder: Arc<OverlaySearch>,
    member: Member,
    login: Arc<LoginView>,
    renewed: Arc<Notify>,
    last_search: LastSearch,
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
        let home = Home::open(config.data_dir())?;
        let lock = home.lock()?;
        let ticket = home.ticket()?.ok_or(StartError::NoTicket)?;
        let key = home.node_key()?;
        let me = key.node_id();
        let endpoint = bind(&key, &config)?;
        let listen = endpoint.local_addr().map_err(StartError::Socket)?;
        let api = ApiServer::bind(&home, config.api_listen()).await?;

        let clock = Clock::start();
        let ended = CancellationToken::new();
        let metrics = Metrics::new();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let library = Library::open(home.dir(), library_config(&config)).await?;
        let member = Member::new(&home, ticket.login_key, me);
        let accounts =
            Arc::new(Accounts::new(home.clone(), endpoint.clone(), metrics.login.clone()));

        let overlay = overlay(me, ticket.login_key, &config, clock);
        let (wishes, wished) = mpsc::channel(WISHES_WAITING);
        let (driver, driving) = Driver::start(driver::Parts {
            overlay,
            clock,
            endpoint: endpoint.clone(),
            library: library.clone(),
            home: home.clone(),
            events: events.clone(),
            wishes,
            ended: ended.clone(),
        });
        let finder = Arc::new(OverlaySearch { driver: driver.clone(), me });
        let transfers = Transfers::new(TransferParts {
            endpoint: endpoint.clone(),
            journal_dir: home.downloads_dir()?,
            store: Arc::new(library.clone()),
            finder: Arc::clone(&finder) as Arc<_>,
            membership: Arc::new(member.clone()),
            disk: Arc::new(LocalDisk),
            config: transfer_config(&config),
        })?;

        let role = match config.role() {
            skein_proto::message::RoleSetting::Super => Role::Super,
            _ => Role::Ordinary,
        };
        let ready = ReadyInfo { api: api.address(), listen, node: me, role };
        let parts = Arc::new(Shared {
            config,
            home,
            clock,
            login_key: ticket.login_key,
            listen,
            endpoint: endpoint.clone(),
            library,
            transfers,
            accounts,
            driver,
            finder,
            member,
            login: Arc::default(),
            renewed: Arc::default(),
            last_search: LastSearch::default(),
            events,
            metrics,
            ended: ended.clone(),
        });
        parts.begin().await?;
        let tasks = parts.spawn(wished);
        let api_metrics = parts.metrics.api.clone();
        let backend = Arc::new(NodeBackend(Arc::clone(&parts)));
        let api = tokio::spawn(api.run(backend, api_metrics, ended.clone()));
        Ok(Self { ready, parts, endpoint, driver: driving, api, tasks, ended, _lock: lock })
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
    pub async fn shutdown(self) {
        self.ended.cancel();
        self.parts.transfers.stop().await;
        if tokio::time::timeout(FAREWELL, self.driver).await.is_err() {
            tracing::debug!("some peers were not told of the end");
        }
        for task in &self.tasks {
            task.abort();
        }
        match self.api.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the local API ended with an error"),
            Err(error) => tracing::error!(%error, "the local API broke down"),
        }
        self.endpoint.close(CloseReason::Leaving).await;
        self.parts.library.close().await;
    }
}

impl Shared {
    /// Tells the overlay what the data folder knows.
    async fn begin(&self) -> Result<(), HomeError> {
        self.driver.input(Input::Listening(vec![self.listen])).await;
        let entries = self.home.supernodes()?;
        self.driver.input(Input::Bootstrap { entries, invited: false }).await;
        if let Some(credential) = self.member.credential() {
            self.driver.input(Input::Credential(credential)).await;
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>, wishes: mpsc::Receiver<driver::LoginWish>) -> Vec<JoinHandle<()>> {
        let login = login::Parts {
            home: self.home.clone(),
            accounts: Arc::clone(&self.accounts),
            driver: self.driver.clone(),
            member: self.member.clone(),
            view: Arc::clone(&self.login),
            listen: self.listen,
            renewed: Arc::clone(&self.renewed),
            ended: self.ended.clone(),
        };
        let credential = login.credential();
        let driver = self.driver.clone();
        let is_linked = async move || {
            driver.view().await.map_or_else(Vec::new, |view| {
                view.snapshot.peers.iter().map(|peer| peer.node).collect()
            })
        };
        vec![
            tokio::spawn(login::fulfil(login.clone(), wishes)),
            tokio::spawn(login::keep_fresh(login, credential, rand::rng().random())),
            tokio::spawn(serve::serve(
                self.endpoint.clone(),
                self.driver.clone(),
                self.transfers.clone(),
            )),
            tokio::spawn(sweep::sweep(self.endpoint.clone(), is_linked, self.ended.clone())),
            tokio::spawn(pass_changes_on(
                self.library.clone(),
                self.driver.clone(),
                self.events.clone(),
            )),
        ]
    }
}

/// Opens the UDP port. When the usual port is taken, and nobody asked for it, any other will do.
fn bind(key: &KeyPair, config: &Config) -> Result<Endpoint, BindError> {
    let settings = || EndpointConfig::default().announce_dialled(true);
    match Endpoint::bind(key, config.listen(), settings()) {
        Err(BindError::AddressInUse(taken)) if !config.listen_was_given() => {
            tracing::info!(%taken, "the usual port is taken; another one is chosen");
            Endpoint::bind(key, SocketAddr::new(taken.ip(), 0), settings())
        }
        other => other,
    }
}

fn overlay(me: NodeId, login_key: NodeId, config: &Config, clock: Clock) -> Overlay {
    let settings = skein_overlay::Config::new(login_key)
        .role(config.role())
        .max_children(config.max_children())
        .max_neighbours(usize::try_from(config.max_neighbours()).unwrap_or(usize::MAX));
    Overlay::new(me, settings, rand::rng().random(), clock.now())
}

fn library_config(config: &Config) -> LibraryConfig {
    LibraryConfig::default()
        .with_hash_workers(usize::try_from(config.scan_workers()).unwrap_or(usize::MAX))
        .with_rescan(config.rescan_interval())
}

fn transfer_config(config: &Config) -> TransferConfig {
    let mut transfer = TransferConfig::default();
    transfer.upload.slots = usize::try_from(config.upload_slots()).unwrap_or(usize::MAX);
    transfer
}

/// Tells the overlay what changes in the library, and everyone how scans go on.
async fn pass_changes_on(library: Library, driver: Driver, events: broadcast::Sender<DaemonEvent>) {
    let mut changes = library.changes();
    let mut scans = library.events();
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => {
                    let change = Arc::unwrap_or_clone(change);
                    let input =
                        Input::LibraryChanged { added: change.added, removed: change.removed };
                    driver.input(input).await;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    driver.input(Input::LibraryReset).await;
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            scan = scans.recv() => match scan {
                // Nobody may be listening.
                Ok(event) => drop(events.send(event)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

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
mod outlook;
mod ranking;
mod reach;
mod remember;
mod scrape;
mod search;
mod searchers;
mod serve;
mod sweep;
#[cfg(test)]
mod tests;
mod wishes;

use crate::account::Accounts;
use crate::api::server::{ApiServer, ServeError};
use crate::api::types::DaemonEvent;
use crate::config::{Config, Reach};
use crate::home::{Home, HomeError, InstanceLock};
use crate::inbox::{self, Inbox, OfferGrants};
use crate::library::{Library, LibraryChange, LibraryConfig, LibraryError, ShareError};
use crate::metrics::Metrics;
use crate::people::{self, People};
use crate::relay::Donor;
use crate::services::{self, Services, StoreError};
use crate::sessions::{self, Sessions};
use crate::transfer::{
    LocalDisk, Membership, TransferConfig, TransferError, TransferParts, Transfers,
};
use adapters::{Member, OverlaySearch};
use backend::NodeBackend;
use clock::Clock;
use driver::Driver;
use login::LoginView;
use rand::RngExt;
use remember::Memory;
use search::LastSearch;
use skein_net::{BindError, CloseReason, DatagramSocket, Endpoint, EndpointConfig};
use skein_overlay::{Input, Overlay};
use skein_proto::evidence::EvidenceRecord;
use skein_proto::message::RoleSetting;
use skein_proto::{KeyPair, NodeId, Role, SupernodeEntry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use wishes::WishBook;

/// Events that wait for a slow listener before it misses some.
const EVENTS_KEPT: usize = 256;

/// Wishes of the overlay that wait for the login service.
const WISHES_WAITING: usize = 8;

/// Hits of the user's own wishes that wait to be put on record.
const WISH_HITS_WAITING: usize = 256;

/// Inbound connections beside those of children and neighbours: searches for sources, downloads,
/// newcomers that only ask.
const VISITORS: usize = 8_192;

/// Children that keep a supernode as their standby, for each active child that it may have; as
/// many as the overlay allows.
const STANDBYS_PER_CHILD: usize = 2;

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
    /// What is kept of services and people cannot be opened.
    #[error(transparent)]
    People(#[from] StoreError),
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
        Self::start_with(config, bind).await
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
            Endpoint::with_socket(key, socket, endpoint_config(config))
        };
        Self::start_with(config, open).await
    }

    async fn start_with(
        config: Config,
        open: impl FnOnce(&KeyPair, &Config) -> Result<Endpoint, BindError>,
    ) -> Result<Self, StartError> {
        let home = Home::open(config.data_dir())?;
        let lock = home.lock()?;
        let ticket = home.ticket()?.ok_or(StartError::NoTicket)?;
        let key = home.node_key()?;
        let me = key.node_id();
        let remembered = (home.supernodes()?, home.evidence()?);
        let (journal_dir, outbox_dir) = (home.downloads_dir()?, home.outbox_dir()?);
        let endpoint = open(&key, &config)?;
        let listen = endpoint.local_addr().map_err(StartError::Socket)?;
        let api = ApiServer::bind(&home, config.api_listen()).await?;

        let clock = Clock::start();
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let metrics = Metrics::new();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let library = Library::open(home.dir(), library_config(&config)).await?;
        // Before the first page is asked for, so that no change falls between the two.
        let news = LibraryNews { changes: library.changes(), scans: library.events() };
        let member = Member::new(&home, ticket.login_key, me);
        let accounts =
            Arc::new(Accounts::new(home.clone(), endpoint.clone(), metrics.login.clone()));

        let (wishes, wished) = mpsc::channel(WISHES_WAITING);
        let (wish_hits, wish_hits_of) = mpsc::channel(WISH_HITS_WAITING);
        let was_super = remember::was_super(&home);
        let away = remember::away(&home);
        let donor = Donor::open(endpoint.relay(), &home);
        let (session_events, session_events_of) = mpsc::channel(sessions::EVENTS_WAITING);
        let (driver, driving) = Driver::start(driver::Parts {
            overlay: overlay(key.clone(), ticket.login_key, &config, (was_super, away), clock),
            clock,
            endpoint: endpoint.clone(),
            library: library.clone(),
            memory: Memory::start(home.clone()),
            events: events.clone(),
            wishes,
            wish_hits,
            donor: donor.clone(),
            sessions: session_events,
            ended: ended.clone(),
        });
        let sessions = Sessions::new(sessions::Parts {
            endpoint: endpoint.clone(),
            driver: driver.clone(),
            key,
            login_key: ticket.login_key,
            hidden: config.reach() == Reach::RelayOnly,
            credential: member.watch(),
        });
        let started = async {
            let store = services::Store::open(&home).await?;
            let people = People::start(people::Parts {
                store: store.clone(),
                sessions: sessions.clone(),
                ended: ended.clone(),
            });
            Ok::<_, StoreError>((store, people.await?))
        };
        let (store, (people, talking)) = match started.await {
            Ok(started) => started,
            Err(error) => {
                ended.cancel();
                // It has no peers to take leave of, and a panic in it has been reported.
                let _ = driving.await;
                library.close().await;
                return Err(error.into());
            }
        };
        let services = Services::start(services::Parts {
            store: store.clone(),
            sessions: sessions.clone(),
            people: people.clone(),
            ended: ended.clone(),
        });
        let (grants, files_changed) = OfferGrants::new(outbox_dir);
        let grants = Arc::new(grants);
        let finder = Arc::new(OverlaySearch { driver: driver.clone(), me });
        let transfers = Transfers::new(TransferParts {
            endpoint: endpoint.clone(),
            journal_dir,
            store: Arc::new(library.clone()),
            finder: Arc::clone(&finder) as Arc<_>,
            sessions: Some(Arc::new(sessions.clone())),
            grants: Some(Arc::clone(&grants) as Arc<_>),
            membership: Arc::new(member.clone()),
            disk: Arc::new(LocalDisk),
            config: transfer_config(&config),
        });
        let started = async {
            let transfers = transfers?;
            let inbox = Inbox::start(
                inbox::Parts {
                    store,
                    people: people.clone(),
                    sessions: sessions.clone(),
                    transfers: transfers.clone(),
                    grants,
                    dir: config.download_dir().join("inbox"),
                    accept: config.inbox_accept(),
                    ended: ended.clone(),
                },
                files_changed,
            );
            Ok::<_, StartError>((transfers, inbox.await?))
        };
        let (transfers, inbox) = match started.await {
            Ok(started) => started,
            Err(error) => {
                ended.cancel();
                // It has no peers to take leave of, and a panic in it has been reported.
                let _ = driving.await;
                library.close().await;
                return Err(error);
            }
        };

        let role = match config.role() {
            RoleSetting::Super => Role::Super,
            RoleSetting::Auto if was_super => Role::Super,
            _ => Role::Ordinary,
        };
        let ready = ReadyInfo { api: api.address(), listen, node: me, role };
        let parts = Arc::new(Shared {
            config,
            clock,
            login_key: ticket.login_key,
            listen,
            endpoint: endpoint.clone(),
            library,
            transfers,
            accounts,
            driver,
            sessions,
            donor,
            services,
            people,
            inbox,
            finder,
            member,
            login: Arc::default(),
            last_search: LastSearch::default(),
            wishes: WishBook::open(&home),
            measured: capacity::Measured::default(),
            events,
            metrics,
            ended: ended.clone(),
        });
        parts.begin(remembered).await;
        let mut tasks = parts.spawn(wished, news);
        tasks.spawn(parts.sessions.clone().listen(session_events_of));
        tasks.spawn(talking.run());
        tasks.spawn(parts.donor.clone().tend(ended.clone()));
        tasks.spawn(parts.wishes.clone().keep(wish_hits_of, parts.events.clone()));
        let api_metrics = parts.metrics.api.clone();
        let backend = Arc::new(NodeBackend(Arc::clone(&parts)));
        let api = tokio::spawn(api.run(backend, api_metrics, ended.clone()));
        Ok(Self {
            ready,
            parts,
            endpoint,
            driver: driving,
            api,
            tasks,
            ended,
            _end: end,
            _lock: lock,
        })
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

impl Shared {
    /// Tells the overlay what the data folder knows.
    async fn begin(&self, (entries, evidence): (Vec<SupernodeEntry>, EvidenceRecord)) {
        self.driver.input(Input::Listening(vec![self.listen])).await;
        self.driver.input(Input::Bootstrap { entries, invited: false }).await;
        self.driver.input(Input::Evidence(Box::new(evidence))).await;
        if let Some(credential) = self.member.credential() {
            self.driver.input(Input::Credential(credential)).await;
        }
        self.wishes.begin(&self.driver).await;
    }

    fn spawn(
        self: &Arc<Self>,
        wishes: mpsc::Receiver<driver::LoginWish>,
        news: LibraryNews,
    ) -> JoinSet<()> {
        let login = login::Parts {
            accounts: Arc::clone(&self.accounts),
            driver: self.driver.clone(),
            member: self.member.clone(),
            view: Arc::clone(&self.login),
            listen: self.listen,
            ended: self.ended.clone(),
        };
        let driver = self.driver.clone();
        let sessions = self.sessions.clone();
        let linked = async move || {
            let linked = driver.view().await?.linked;
            Some(linked.into_iter().chain(sessions.in_use()).collect())
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(login::fulfil(login.clone(), wishes));
        tasks.spawn(login::keep_fresh(login, rand::rng().random()));
        tasks.spawn(serve::serve(
            self.endpoint.clone(),
            self.driver.clone(),
            self.transfers.clone(),
            self.sessions.clone(),
        ));
        tasks.spawn(capacity::measure(Arc::clone(self)));
        let conduct = self.member.conduct();
        tasks.spawn(conduct.tend(self.endpoint.clone(), self.driver.clone(), self.ended.clone()));
        tasks.spawn(sweep::sweep(self.endpoint.clone(), linked, self.ended.clone()));
        tasks.spawn(news.pass_on(self.driver.clone(), self.events.clone()));
        tasks
    }
}

/// Opens the UDP port. When the usual port is taken, and nobody asked for it, any other will do.
fn bind(key: &KeyPair, config: &Config) -> Result<Endpoint, BindError> {
    let endpoint = match Endpoint::bind(key, config.listen(), endpoint_config(config)) {
        Err(BindError::AddressInUse(taken)) if !config.listen_was_given() => {
            tracing::info!(%taken, "the usual port is taken; another one is chosen");
            Endpoint::bind(key, SocketAddr::new(taken.ip(), 0), endpoint_config(config))?
        }
        other => other?,
    };
    if config.udp() && config.port_mapping() {
        endpoint.map_port();
    }
    Ok(endpoint)
}

/// Links that a supernode with these settings may have.
fn max_links(config: &Config) -> usize {
    let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let children = wide(config.max_children()).saturating_mul(1 + STANDBYS_PER_CHILD);
    children.saturating_add(wide(config.max_neighbours())).saturating_add(VISITORS)
}

/// The settings of the endpoint. It must take in all the children that the overlay may.
fn endpoint_config(config: &Config) -> EndpointConfig {
    EndpointConfig::default()
        .announce_dialled(true)
        .max_incoming(max_links(config))
        .udp(config.udp())
        .tunnel_ports(config.tcp().into())
        .relay(config.relay())
}

fn overlay(
    key: KeyPair,
    login_key: NodeId,
    config: &Config,
    (was_super, away): (bool, Option<Duration>),
    clock: Clock,
) -> Overlay {
    let hidden = config.reach() == Reach::RelayOnly;
    // A supernode has to be found: whoever does not want to be is one only by the user's word.
    let role = match config.role() {
        RoleSetting::Auto if hidden => RoleSetting::Ordinary,
        role => role,
    };
    let settings = skein_overlay::Config::new(login_key)
        .role(role)
        .hidden(hidden)
        .was_super(was_super && role != RoleSetting::Ordinary)
        .away(away)
        .max_children(config.max_children())
        .max_neighbours(usize::try_from(config.max_neighbours()).unwrap_or(usize::MAX))
        .promotion_uptime(config.promotion_uptime())
        .max_links(max_links(config));
    Overlay::new(key, settings, rand::rng().random(), clock.now())
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

/// What the library tells.
struct LibraryNews {
    changes: broadcast::Receiver<Arc<LibraryChange>>,
    scans: broadcast::Receiver<DaemonEvent>,
}

impl LibraryNews {
    /// Tells the overlay what changes in the library, and everyone how scans go on.
    async fn pass_on(mut self, driver: Driver, events: broadcast::Sender<DaemonEvent>) {
        use broadcast::error::RecvError;
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => {
                        let change = Arc::unwrap_or_clone(change);
                        let input =
                            Input::LibraryChanged { added: change.added, removed: change.removed };
                        driver.input(input).await;
                    }
                    Err(RecvError::Lagged(_)) => driver.input(Input::LibraryReset).await,
                    Err(RecvError::Closed) => return,
                },
                scan = self.scans.recv() => match scan {
                    // Nobody may be listening.
                    Ok(event) => drop(events.send(event)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

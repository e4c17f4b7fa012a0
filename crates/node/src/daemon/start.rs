//! Starting a daemon: its parts, each given those that it stands on.

use super::adapters::{Member, OverlaySearch};
use super::backend::NodeBackend;
use super::clock::Clock;
use super::driver::{self, Driver};
use super::news::LibraryNews;
use super::remember::{self, Memory};
use super::search::LastSearch;
use super::wishes::WishBook;
use super::{Daemon, ReadyInfo, Shared, capacity, login, serve, settings, sweep};
use crate::account::Accounts;
use crate::api::server::{ApiServer, ServeError};
use crate::config::{Config, Reach};
use crate::home::{Home, HomeError};
use crate::inbox::{self, Inbox, OfferGrants};
use crate::library::{Library, LibraryError};
use crate::metrics::Metrics;
use crate::people::{self, People};
use crate::relay::Donor;
use crate::services::{self, Services, StoreError};
use crate::sessions::{self, Sessions};
use crate::transfer::{LocalDisk, Membership, TransferError, TransferParts, Transfers};
use rand::RngExt;
use skein_net::{BindError, Endpoint, listening};
use skein_overlay::Input;
use skein_proto::evidence::EvidenceRecord;
use skein_proto::message::RoleSetting;
use skein_proto::{KeyPair, NodeId, Role, SupernodeEntry};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow listener before it misses some.
const EVENTS_KEPT: usize = 256;

/// Wishes of the overlay that wait for the login service.
const WISHES_WAITING: usize = 8;

/// Hits of the user's own wishes that wait to be put on record.
const WISH_HITS_WAITING: usize = 256;

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

/// What the uses of a node stand on.
struct Ground<'a> {
    home: &'a Home,
    config: &'a Config,
    endpoint: &'a Endpoint,
    driver: &'a Driver,
    sessions: &'a Sessions,
    library: &'a Library,
    member: &'a Member,
    ended: &'a CancellationToken,
}

/// What a node is used for.
struct Uses {
    services: Services,
    people: People,
    talking: people::Running,
    finder: Arc<OverlaySearch>,
    transfers: Transfers,
    inbox: Inbox,
}

impl Ground<'_> {
    async fn start(
        self,
        me: NodeId,
        journal_dir: PathBuf,
        outbox_dir: PathBuf,
    ) -> Result<Uses, StartError> {
        let store = services::Store::open(self.home).await?;
        let (people, talking) = People::start(people::Parts {
            store: store.clone(),
            sessions: self.sessions.clone(),
            ended: self.ended.clone(),
        })
        .await?;
        let services = Services::start(services::Parts {
            store: store.clone(),
            sessions: self.sessions.clone(),
            people: people.clone(),
            ended: self.ended.clone(),
        });
        let (grants, files_changed) = OfferGrants::new(outbox_dir);
        let grants = Arc::new(grants);
        let finder = Arc::new(OverlaySearch { driver: self.driver.clone(), me });
        let transfers = Transfers::new(TransferParts {
            endpoint: self.endpoint.clone(),
            journal_dir,
            store: Arc::new(self.library.clone()),
            finder: Arc::clone(&finder) as Arc<_>,
            sessions: Some(Arc::new(self.sessions.clone())),
            grants: Some(Arc::clone(&grants) as Arc<_>),
            membership: Arc::new(self.member.clone()),
            disk: Arc::new(LocalDisk),
            config: settings::transfer(self.config),
        })?;
        let inbox = Inbox::start(
            inbox::Parts {
                store,
                people: people.clone(),
                sessions: self.sessions.clone(),
                transfers: transfers.clone(),
                grants,
                dir: settings::inbox_dir(self.config),
                accept: self.config.inbox_accept(),
                ended: self.ended.clone(),
            },
            files_changed,
        )
        .await?;
        Ok(Uses { services, people, talking, finder, transfers, inbox })
    }
}

impl Daemon {
    pub(super) async fn start_with(
        config: Config,
        open: impl FnOnce(&KeyPair, &Config) -> Result<Endpoint, BindError>,
    ) -> Result<Self, StartError> {
        let home = Home::open(config.data_dir())?;
        home.is_for_a_node()?;
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
        let library = Library::open(home.dir(), settings::library(&config)).await?;
        // Before the first page is asked for, so that no change falls between the two.
        let news = LibraryNews { changes: library.changes(), scans: library.events() };
        let member = Member::new(&home, ticket.login_key, me);
        let accounts =
            Arc::new(Accounts::new(home.clone(), endpoint.clone(), metrics.login.clone()));

        let (wishes, wished) = mpsc::channel(WISHES_WAITING);
        let (wish_hits, wish_hits_of) = mpsc::channel(WISH_HITS_WAITING);
        let was_super = remember::was_super(&home);
        let last_super = remember::last_super(&home);
        let donor = Donor::open(endpoint.relay(), &home);
        let (session_events, session_events_of) = mpsc::channel(sessions::EVENTS_WAITING);
        let (driver, driving) = Driver::start(driver::Parts {
            overlay: settings::overlay(
                key.clone(),
                ticket.login_key,
                &config,
                (was_super, last_super),
                capacity::index_bytes(),
                clock,
            ),
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
        let ground = Ground {
            home: &home,
            config: &config,
            endpoint: &endpoint,
            driver: &driver,
            sessions: &sessions,
            library: &library,
            member: &member,
            ended: &ended,
        };
        let uses = match ground.start(me, journal_dir, outbox_dir).await {
            Ok(uses) => uses,
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
            transfers: uses.transfers,
            accounts,
            driver,
            sessions,
            donor,
            services: uses.services,
            people: uses.people,
            inbox: uses.inbox,
            finder: uses.finder,
            member,
            login: Arc::default(),
            last_search: LastSearch::default(),
            wishes: WishBook::open(&home)?,
            measured: capacity::Measured::default(),
            events,
            metrics,
            ended: ended.clone(),
        });
        parts.begin(remembered).await;
        let mut tasks = parts.spawn(wished, news);
        tasks.spawn(parts.sessions.clone().listen(session_events_of));
        tasks.spawn(uses.talking.run());
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
}

/// How often a node finds out what it goes out from, beside each change of the machine's addresses.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl Shared {
    /// Tells the overlay what the data folder knows.
    async fn begin(&self, (entries, evidence): (Vec<SupernodeEntry>, EvidenceRecord)) {
        self.driver.input(Input::Listening(listening(self.listen))).await;
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
        tasks.spawn(Arc::clone(self).follow_network());
        let conduct = self.member.conduct();
        tasks.spawn(conduct.tend(self.endpoint.clone(), self.driver.clone(), self.ended.clone()));
        tasks.spawn(sweep::sweep(self.endpoint.clone(), linked, self.ended.clone()));
        tasks.spawn(news.pass_on(self.driver.clone(), self.events.clone()));
        tasks
    }

    /// Tells the overlay where this node listens whenever that has changed, until the end. An address
    /// of IPv6 is used only some seconds after it has come, and its route may come later.
    async fn follow_network(self: Arc<Self>) {
        let mut network = self.endpoint.watch_network();
        let mut known = Vec::new();
        loop {
            let addresses = listening(self.listen);
            if addresses != known {
                known.clone_from(&addresses);
                self.driver.input(Input::Listening(addresses)).await;
            }
            let look = async {
                tokio::select! {
                    changed = network.changed() => changed.is_ok(),
                    () = tokio::time::sleep(LOOK_AGAIN) => true,
                }
            };
            if self.ended.run_until_cancelled(look).await != Some(true) {
                return;
            }
        }
    }
}

//! The running service: its socket, its connections, its start and its end.

use super::config::{ConfigError, LoginConfig};
use super::dial::SocketDialBack;
use super::key::{self, KeyFileError};
use super::service::{self, Service};
use super::stats::Stats;
use super::store::{InviteCode, Store, StoreError};
use skein_net::{
    BindError, CloseReason, Connection, Endpoint, EndpointConfig, EndpointStats, Stream,
    bind_everywhere,
};
use skein_proto::{Message, NodeId, Ticket, TicketError};
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// How long a connection may be silent between two requests. A client that asks again within it
/// spares both sides a handshake; a crowd that stays longer would use up the places.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take to come, once its stream is open, and an answer to be taken.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for answers that are under way: longer than a dial-back takes, or
/// the last password in a full queue.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How often supernodes that are long gone are deleted from the store. They are not in the lists
/// anyway; this only keeps the table small.
const TIDY_INTERVAL: Duration = Duration::from_secs(600);

/// Why the service does not start. Each is the operator's to mend.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be made.
    #[error("cannot make the data folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The machine has too little memory, or the system failed in another way.
    #[error("cannot start: {0}")]
    System(io::Error),
}

impl LoginConfig {
    /// Opens the store, and brings its tables up to date. The service need not be stopped for it.
    ///
    /// # Errors
    /// [`StartError::Folder`] or [`StartError::Store`].
    pub async fn open_store(&self) -> Result<Store, StartError> {
        if let Some(url) = &self.database_url {
            return Ok(Store::open(url).await?);
        }
        self.make_data_dir()?;
        Ok(Store::open_file(&self.database_path()).await?)
    }

    /// Makes an invite code, good once within `lifetime`, whether or not the service runs.
    ///
    /// # Errors
    /// See [`LoginConfig::open_store`].
    pub async fn create_invite(&self, lifetime: Duration) -> Result<InviteCode, StartError> {
        let store = self.open_store().await?;
        let code = service::create_invite(&store, self.clock.unix(), lifetime).await;
        store.close().await;
        Ok(code?)
    }

    /// The service's public key; the first time, the key is made.
    ///
    /// # Errors
    /// [`StartError::Folder`] or [`StartError::Key`].
    pub fn login_key(&self) -> Result<NodeId, StartError> {
        self.make_data_dir()?;
        Ok(self.load_key()?.node_id())
    }

    fn load_key(&self) -> Result<skein_proto::KeyPair, KeyFileError> {
        key::load_or_create(&self.key_path(), || Zeroizing::new(rand::random()))
    }

    fn make_data_dir(&self) -> Result<(), StartError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&self.data_dir)
            .map_err(|source| StartError::Folder { path: self.data_dir.clone(), source })
    }
}

/// A running service. It runs until [`Server::shutdown`]; to drop it ends it without waiting for
/// the answers that are under way.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    endpoint: Endpoint,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts the service. When this returns it takes requests.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: LoginConfig) -> Result<Self, StartError> {
        config.check()?;
        config.make_data_dir()?;
        let key = config.load_key()?;
        // The socket before the store: a second instance on one machine fails without having
        // touched the first one's tables.
        let limit = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        let settings =
            EndpointConfig::default().max_incoming(limit).max_streams(4).tunnel_ports(config.tcp);
        let bind = |address| Endpoint::bind(&key, address, settings.clone());
        let endpoint = match config.listen {
            Some(address) => bind(address)?,
            None => bind_everywhere(LoginConfig::DEFAULT_PORT, bind)?,
        };
        let address = endpoint.local_addr().map_err(StartError::System)?;
        let store = config.open_store().await?;
        let dialer = Box::new(SocketDialBack::new(config.dial_back_timeout));
        let service = Service::new(&config, key, store, dialer).map_err(StartError::System)?;
        let server = Self {
            service: Arc::new(service),
            endpoint,
            address,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        server.tasks.spawn(accept_all(
            server.endpoint.clone(),
            Arc::clone(&server.service),
            server.tasks.clone(),
            server.stop.clone(),
        ));
        server.tasks.spawn(tidy_up(Arc::clone(&server.service), server.stop.clone()));
        tracing::info!(address = %server.local_addr(), key = %server.node_id(), "login service up");
        Ok(server)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its public key.
    pub fn node_id(&self) -> NodeId {
        self.service.node_id()
    }

    /// The ticket of this network, with the addresses (`host:port`, one to eight) at which nodes
    /// can reach this service.
    ///
    /// # Errors
    /// [`TicketError::Address`] names an address that is none.
    pub fn ticket(
        &self,
        public_addresses: impl IntoIterator<Item = String>,
    ) -> Result<Ticket, TicketError> {
        Ticket::new(self.node_id(), public_addresses)
    }

    /// A new invite code, good once within `lifetime`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn create_invite(&self, lifetime: Duration) -> Result<InviteCode, StoreError> {
        self.service.create_invite(lifetime).await
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// What went over its socket, and what was refused there: connections over the limit,
    /// handshakes that came too fast.
    pub fn network_stats(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    /// Takes no more requests, answers those that are under way, and closes the store.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some requests were not answered in time");
        }
        self.endpoint.close(CloseReason::Leaving).await;
        self.service.store().close().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without this the tasks would keep the service alive that nobody can reach any more.
        self.stop.cancel();
    }
}

async fn accept_all(
    endpoint: Endpoint,
    service: Arc<Service>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(Some(connection)) = stop.run_until_cancelled(endpoint.accept()).await {
        tasks.spawn(serve(connection, Arc::clone(&service), stop.clone()));
    }
}

async fn tidy_up(service: Arc<Service>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TIDY_INTERVAL)).await.is_some() {
        if let Err(error) = service.tidy().await {
            service.counters().store_failures.add();
            tracing::error!(%error, "old supernodes could not be deleted");
        }
    }
}

/// Why a connection is let go.
enum End {
    Idle,
    Stopping,
    Gone,
    Misbehaved,
}

async fn serve(connection: Connection, service: Arc<Service>, stop: CancellationToken) {
    let counters = service.counters();
    counters.connections_accepted.add();
    counters.connections_open.add();
    let end = loop {
        // One request at a time: who has many to make waits for their answers.
        let stream = timeout(IDLE_TIMEOUT, stop.run_until_cancelled(connection.accept_stream()));
        let stream = match stream.await {
            Err(_) => break End::Idle,
            Ok(None) => break End::Stopping,
            Ok(Some(Err(_))) => break End::Gone,
            Ok(Some(Ok(stream))) => stream,
        };
        if let Err(end) = answer(&connection, stream, &service).await {
            break end;
        }
    };
    counters.connections_open.subtract();
    connection.close(match end {
        End::Idle => {
            counters.connections_idle.add();
            CloseReason::Done
        }
        End::Gone => CloseReason::Done,
        End::Stopping => CloseReason::Leaving,
        End::Misbehaved => {
            counters.bad_requests.add();
            CloseReason::Misbehaved
        }
    });
}

async fn answer(connection: &Connection, mut stream: Stream, service: &Service) -> Result<(), End> {
    let request = match timeout(TRANSFER_TIMEOUT, stream.receiver.recv()).await {
        Ok(Ok(Some(Message::LoginRequest(request)))) => request,
        // A connection that broke off in between is nobody's misbehaviour.
        _ if connection.is_closed() => return Err(End::Gone),
        _ => return Err(End::Misbehaved),
    };
    let reply = service.handle(connection.peer(), connection.remote_address(), request).await;
    let sent = async {
        stream.sender.send(&Message::LoginReply(reply)).await?;
        stream.sender.finish().await?;
        // A shutdown closes the connection next; the answer must be over there by then.
        stream.sender.delivered().await
    };
    match timeout(TRANSFER_TIMEOUT, sent).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Gone),
    }
}

//! The endpoint: all connections of one node, over one UDP port.

use crate::config::EndpointConfig;
use crate::connection::{Connection, canonical};
use crate::dial::Dials;
use crate::error::{BindError, CloseReason, DialError};
use crate::gate::Gate;
use crate::incoming;
use crate::paths::gather;
use crate::paths::network::Surroundings;
use crate::relay::{EndKey, Relay};
use crate::reset::ResetKey;
use crate::session::{self, Binding, Route, Session, Sessions};
use crate::socket::{DatagramSocket, Demultiplexer};
use crate::stats::{Counters, EndpointStats};
use crate::table::Table;
use crate::tls::{self, CertificateFailure, Identity};
use crate::tunnel::{self, Base, Tunnels, UdpState, Way};
use quinn::VarInt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rand::RngExt;
use skein_proto::{KeyPair, NodeId};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

/// How long [`Endpoint::close`] waits for the peers to hear of it. QUIC repeats a farewell for
/// three probe timeouts (RFC 9000, section 10.2), under a second on most paths.
const FAREWELL: Duration = Duration::from_secs(3);

/// Attempts that wait for the gate to judge them. It takes them up between two batches of the
/// socket, and one batch holds 2,048 datagrams at most (32 buffers of 64 segments), so this is
/// never what limits them.
const UNJUDGED: usize = 4_096;

/// Bytes that a dialler may send after its first packet before it is judged: what little of a
/// handshake fits into the first round trip.
const UNJUDGED_BYTES: u64 = 16 * 1024;

/// All connections of one node, over one UDP port. Clones are the same endpoint; when the last
/// one is dropped, it ends as by [`Endpoint::close`], but without waiting.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<Handle>,
}

/// Ends the endpoint with its last clone; the tasks behind it hold only what is inside.
struct Handle {
    shared: Arc<Shared>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
}

/// What the tasks of an endpoint share.
pub(crate) struct Shared {
    pub(crate) quic: quinn::Endpoint,
    pub(crate) node: NodeId,
    pub(crate) config: EndpointConfig,
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) transport: Arc<quinn::TransportConfig>,
    pub(crate) table: Table,
    pub(crate) dials: Dials,
    pub(crate) gate: Gate,
    pub(crate) outgoing: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sessions: Arc<Sessions>,
    relay: Arc<Relay>,
    surroundings: Arc<Surroundings>,
    /// None over a socket of the caller's, which need not be of this machine.
    pub(crate) tunnels: Option<Arc<Tunnels>>,
    pub(crate) tasks: TaskTracker,
    closing: Mutex<Option<CloseReason>>,
    /// Where dialled connections are announced; nowhere once the endpoint is closed.
    announce: Mutex<Option<mpsc::Sender<Connection>>>,
}

impl Endpoint {
    /// Opens a UDP socket at `address` and begins to answer on it, and takes tunnels over TCP where
    /// the [settings](EndpointConfig::tunnel_ports) say so. Port 0 lets the system choose; `[::]`
    /// takes IPv4 as well. Must be called within a tokio runtime. It costs a socket, two
    /// tasks and a receive buffer of 3 MiB of which only what is used takes memory, so that an
    /// endpoint for a single probe is cheap. Probes should go under a key of their own: under this
    /// node's key, the peer takes the probe's connection for its newest to this node.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(
        key: &KeyPair,
        address: SocketAddr,
        config: EndpointConfig,
    ) -> Result<Self, BindError> {
        config.check()?;
        let base = tunnel::open_base(address, &config)?;
        Self::over(key, base, config)
    }

    /// As [`Endpoint::bind`], over what was opened for it.
    pub(crate) fn over(
        key: &KeyPair,
        base: Base,
        config: EndpointConfig,
    ) -> Result<Self, BindError> {
        let identity = Identity::new(key)?;
        let counters = Arc::<Counters>::default();
        let (limits, timing) = (config.tunnel_limits(), config.tunnels().timing);
        let (tunnels, socket) =
            Tunnels::start(base, &identity, Arc::clone(&counters), limits, timing)?;
        Self::start(key, &identity, Arc::new(socket), Some(tunnels), counters, config)
    }

    /// As [`Endpoint::bind`], over any socket, and without tunnels.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn with_socket(
        key: &KeyPair,
        socket: Arc<dyn DatagramSocket>,
        config: EndpointConfig,
    ) -> Result<Self, BindError> {
        config.check()?;
        Self::start(key, &Identity::new(key)?, socket, None, Arc::default(), config)
    }

    fn start(
        key: &KeyPair,
        identity: &Identity,
        socket: Arc<dyn DatagramSocket>,
        tunnels: Option<Arc<Tunnels>>,
        counters: Arc<Counters>,
        config: EndpointConfig,
    ) -> Result<Self, BindError> {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let address =
            socket.local_addr().map_err(|error| BindError::from_io(unspecified, error))?;
        let transport = config.transport();
        let sessions = Arc::new(Sessions::new(Arc::clone(&socket), Arc::clone(&counters)));
        let secret = rand::rng().random();
        let relay =
            Relay::new(Arc::clone(&socket), Arc::clone(&counters), secret, config.relay_limits());
        let relay = Arc::new(relay);
        let server = match config.accepts() {
            true => Some(server_config(identity, Arc::clone(&transport))?),
            false => None,
        };
        let quic = quinn::Endpoint::new_with_abstract_socket(
            ResetKey::new(key, address.port()).endpoint_config(),
            server,
            Arc::new(Demultiplexer::new(
                socket,
                Arc::clone(&counters),
                Arc::clone(&sessions),
                Arc::clone(&relay),
            )),
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(|error| BindError::from_io(address, error))?;
        let limits = config.limits();
        let shared = Arc::new(Shared {
            quic,
            node: key.node_id(),
            tls: identity.client()?,
            transport,
            table: Table::new(key.node_id()),
            dials: Dials::new(limits.dials),
            gate: Gate::new(limits),
            outgoing: Arc::new(Semaphore::new(limits.outgoing)),
            counters,
            sessions,
            relay,
            surroundings: Arc::new(Surroundings::new(canonical(address))),
            tunnels,
            tasks: TaskTracker::new(),
            closing: Mutex::new(None),
            announce: Mutex::new(None),
            config,
        });
        if let Some(tunnels) = &shared.tunnels {
            let shared = Arc::downgrade(&shared);
            tunnels.ask_for_connections(move |node, address| {
                shared.upgrade().is_some_and(|shared| shared.table.leads_to(node, address))
            });
        }
        let (sender, receiver) = mpsc::channel(limits.accepted);
        if shared.config.announces_dialled() {
            *shared.announce.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        }
        if shared.config.accepts() {
            shared.tasks.spawn(incoming::serve(Arc::clone(&shared), sender));
        }
        let accepted = tokio::sync::Mutex::new(receiver);
        Ok(Self { handle: Arc::new(Handle { shared, accepted }) })
    }

    /// Who this node is.
    pub fn node_id(&self) -> NodeId {
        self.shared().node
    }

    /// Where the socket listens; an unspecified address if it listens on all.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.shared().quic.local_addr().map(canonical)
    }

    /// Whether this machine has a way to an address, as far as its routing table says. Over a socket of
    /// the caller's nothing is known of that.
    pub fn has_way_to(&self, address: SocketAddr) -> bool {
        self.shared().has_way_to(address)
    }

    /// A connection to exactly this node: a live one if there is one, else by dialling.
    ///
    /// The first eight addresses are tried in the order given, the next one as soon as the last
    /// one fails or is silent for the [stagger](EndpointConfig::dial_stagger) (Happy Eyeballs,
    /// RFC 8305); the first that answers as this node wins. Calls for the same node at the same
    /// time share one dial. When the node dials in meanwhile, that connection is returned at
    /// once. Dropping the returned future does not end the dial, which others may wait for.
    ///
    /// # Errors
    /// [`DialError`]; when several addresses failed in different ways, the failure that tells
    /// most.
    pub async fn connect(
        &self,
        node: NodeId,
        addresses: &[SocketAddr],
    ) -> Result<Connection, DialError> {
        crate::dial::connect(self.shared(), node, addresses).await
    }

    /// The live connection to a node that new streams should go to, if there is one.
    pub fn connection(&self, node: &NodeId) -> Option<Connection> {
        self.shared().table.get(node)
    }

    /// The live connections, one for each peer.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared().table.all()
    }

    /// Every live connection, also those beside the one that new streams to a peer go to.
    pub fn every_connection(&self) -> Vec<Connection> {
        self.shared().table.every()
    }

    /// The next inbound connection, its peer's key proven; with the setting
    /// [`announce_dialled`](EndpointConfig::announce_dialled) the outbound ones come here, too.
    /// `None` once the endpoint is closed, or if there is nothing to wait for since it only dials.
    /// Inbound connections that nobody takes are closed when too many wait. It may be dropped while
    /// waiting and loses nothing.
    pub async fn accept(&self) -> Option<Connection> {
        self.handle.accepted.lock().await.recv().await
    }

    /// Closes all connections for this reason, answers no more, and waits until the peers have
    /// been told: three seconds at most.
    pub async fn close(&self, reason: CloseReason) {
        let shared = self.shared();
        shared.close(reason);
        let all_done = async {
            shared.surroundings.unmap_port().await;
            shared.tasks.wait().await;
            shared.quic.wait_idle().await;
        };
        if tokio::time::timeout(FAREWELL, all_done).await.is_err() {
            tracing::debug!("some peers could not be told that this endpoint is closed");
        }
        if let Some(tunnels) = &shared.tunnels {
            tunnels.close().await;
        }
    }

    /// What this endpoint does as a relay for others.
    pub fn relay(&self) -> &Arc<Relay> {
        &self.shared().relay
    }

    /// A session without a route: see [`Session`].
    pub fn open_session(&self) -> Session {
        self.shared().sessions.open()
    }

    /// This node's end of a relay's slot, whose key it was given.
    pub fn join_slot(&self, relay: Route, key: EndKey) -> Binding {
        // Who listens on the loopback interface alone has its whole network there.
        let loopback = self.local_addr().is_ok_and(|address| address.ip().is_loopback());
        Binding::new(Arc::clone(&self.shared().sessions), relay, key, loopback)
    }

    /// Whether UDP works, as far as it is known.
    pub fn udp_state(&self) -> UdpState {
        self.shared().tunnels.as_ref().map_or(UdpState::Works, |tunnels| tunnels.udp_state())
    }

    /// Sees to it that datagrams for this UDP address of `node` get there: where UDP is blocked or
    /// off, opens a tunnel, if there is none. For relays that peers name, to which there need not be
    /// a connection. `None` if it is not worth sending there.
    pub async fn prepare(&self, node: NodeId, address: SocketAddr) -> Option<Way> {
        let Some(tunnels) = &self.shared().tunnels else { return Some(Way::OPEN) };
        let ours = self.watch_network().borrow().clone();
        tunnels.prepare(node, address, &ours).await
    }

    /// What has been counted so far.
    pub fn stats(&self) -> EndpointStats {
        let shared = self.shared();
        EndpointStats { datagrams_refused: shared.sessions.refused(), ..shared.counters.snapshot() }
    }

    pub(crate) fn surroundings(&self) -> &Arc<Surroundings> {
        &self.shared().surroundings
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.node_id())
            .field("address", &self.local_addr().ok())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Leaving);
        if let Some(tunnels) = &self.shared.tunnels {
            tunnels.let_go();
        }
    }
}

impl Shared {
    /// As [`Endpoint::has_way_to`].
    pub(crate) fn has_way_to(&self, address: SocketAddr) -> bool {
        self.tunnels.is_none()
            || session::is_virtual(&address)
            || crate::everywhere::source(address.ip()).is_some()
    }

    /// Enters a connection that was just authenticated, and sees to it that it leaves the table
    /// when it ends. The connection counts against its limit until then.
    pub(crate) fn enter(
        self: &Arc<Self>,
        quic: quinn::Connection,
        peer: NodeId,
        dialler: bool,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Connection {
        let counters = Arc::clone(&self.counters);
        let window = self.config.wide_window();
        let tunnels = self.tunnels.clone();
        let address = quic.remote_address();
        self.sessions.carries(&address, Some(quic.clone()));
        let observer = gather::observer(&quic, dialler, &self.sessions);
        let connection = Connection::new(quic, peer, dialler, window, counters, tunnels);
        connection.observe_with(observer);
        let route = connection.route_address();
        if let Some(tunnels) = &self.tunnels
            && !connection.is_over_tcp()
            && !session::is_virtual(&route)
        {
            tunnels.reached_over_udp(route);
        }
        if let Some(superseded) = self.table.insert(connection.clone()) {
            self.counters.connections_superseded.increment();
            superseded.close(CloseReason::Superseded);
        }
        self.live(dialler).increment();
        let (shared, watched) = (Arc::clone(self), connection.clone());
        self.tasks.spawn(async move {
            let reason = watched.closed().await;
            tracing::debug!(peer = %watched.peer().short(), %reason, "connection ended");
            shared.table.remove(&watched);
            watched.observe_with(None);
            shared.sessions.carries(&address, None);
            shared.live(dialler).decrement();
            drop(place);
        });
        if let Some(reason) = self.is_closing() {
            connection.close(reason);
        }
        if dialler {
            self.announce(&connection);
        }
        connection
    }

    /// Gives a dialled connection out by [`Endpoint::accept`], where that is wanted.
    fn announce(&self, connection: &Connection) {
        let announce = self.announce.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(accepted) = &*announce
            && accepted.try_send(connection.clone()).is_err()
        {
            // It works for the dialler all the same; only what the peer opens on it is not served.
            self.counters.connections_unannounced.increment();
        }
    }

    /// Why this endpoint is being closed, if it is.
    pub(crate) fn is_closing(&self) -> Option<CloseReason> {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, dialler: bool) -> &crate::stats::Counter {
        match dialler {
            true => &self.counters.connections_outgoing_live,
            false => &self.counters.connections_incoming_live,
        }
    }

    fn close(&self, reason: CloseReason) {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        // Whoever waits in `accept` learns of the end by the last sender going away.
        *self.announce.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for connection in self.table.every() {
            connection.note_reason(reason);
        }
        self.quic.close(VarInt::from_u32(reason.code()), reason.to_string().as_bytes());
        self.tasks.close();
    }
}

fn server_config(
    identity: &Identity,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ServerConfig, CertificateFailure> {
    let tls = QuicServerConfig::try_from(identity.server()?).map_err(CertificateFailure::of)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(transport)
        .max_incoming(UNJUDGED)
        .incoming_buffer_size(UNJUDGED_BYTES)
        .incoming_buffer_size_total(UNJUDGED_BYTES * 256);
    // Tokens that a client keeps for its next visit are not given out: they would tie its visits
    // together, and only save a round trip under load.
    server.validation_token.sent(0);
    Ok(server)
}

/// The QUIC settings to dial exactly one node.
pub(crate) fn client_config(
    shared: &Shared,
    node: NodeId,
) -> Result<(quinn::ClientConfig, Arc<tls::ExactlyNode>), CertificateFailure> {
    let (tls, verifier) = tls::expecting(&shared.tls, node);
    let tls = QuicClientConfig::try_from(tls).map_err(CertificateFailure::of)?;
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client
        .transport_config(Arc::clone(&shared.transport))
        .token_store(Arc::new(quinn::NoneTokenStore));
    Ok((client, verifier))
}

/// The node at the other end of a connection whose handshake is done.
pub(crate) fn peer_of(quic: &quinn::Connection) -> Option<NodeId> {
    let chain = quic.peer_identity()?;
    let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    tls::node_of(chain.first()?).ok()
}

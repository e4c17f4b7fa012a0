//! Outbound connections: one dial for each node at a time, racing its addresses.

use crate::connection::{Connection, canonical};
use crate::endpoint::{Shared, client_config, peer_of};
use crate::error::{CloseReason, DialError, printable};
use crate::session;
use crate::tls::SERVER_NAME;
use crate::tunnel::{self, Opened, UdpState};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use skein_proto::NodeId;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Addresses that one dial tries. A node has a few of its own and those that others saw it at;
/// more is somebody's attempt to have strangers flooded.
const MAX_ADDRESSES: usize = 8;

type Outcome = Option<Result<Connection, DialError>>;

/// The dials under way, by node and by whether they go to a session. The path of a session is
/// there already: whoever dials over one does not wait until addresses have turned out to be dead.
#[derive(Debug)]
pub(crate) struct Dials {
    limit: usize,
    running: DashMap<(NodeId, bool), Arc<Dial>>,
}

/// One dial, and all who wait for it.
#[derive(Debug)]
struct Dial {
    addresses: Vec<SocketAddr>,
    outcome: watch::Sender<Outcome>,
}

impl Dial {
    /// The first outcome stands.
    fn settle(&self, result: Result<Connection, DialError>) {
        self.outcome.send_if_modified(|outcome| {
            let first = outcome.is_none();
            if first {
                *outcome = Some(result);
            }
            first
        });
    }
}

impl Dials {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, running: DashMap::new() }
    }

    /// Tells whoever waits for a dial that the node has dialled in. The dial itself goes on: the
    /// peer may have seen its end already and put streams on it.
    pub(crate) fn offer(&self, connection: &Connection) {
        for over_session in [false, true] {
            if let Some(dial) = self.running.get(&(connection.peer(), over_session)) {
                dial.settle(Ok(connection.clone()));
            }
        }
    }
}

/// See [`crate::Endpoint::connect`].
pub(crate) async fn connect(
    shared: &Arc<Shared>,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<Connection, DialError> {
    if node == shared.node {
        return Err(DialError::Own);
    }
    let wanted = distinct(addresses);
    loop {
        if shared.is_closing().is_some() {
            return Err(DialError::Closed);
        }
        if let Some(connection) = shared.table.get(&node) {
            return Ok(connection);
        }
        if wanted.is_empty() {
            return Err(DialError::NoAddresses(node));
        }
        let dial = join_or_start(shared, node, &wanted)?;
        let mut outcome = dial.outcome.subscribe();
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            // The sender lives as long as `dial` here does.
            Err(_) => return Err(DialError::Closed),
        };
        match result {
            Some(Ok(connection)) => return Ok(connection),
            // Somebody else's dial may have had other addresses than this caller knows.
            Some(Err(_)) if wanted.iter().any(|own| !dial.addresses.contains(own)) => {}
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
}

fn join_or_start(
    shared: &Arc<Shared>,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<Arc<Dial>, DialError> {
    let dials = &shared.dials;
    let over_limit = |what, limit| {
        shared.counters.dials_over_limit.increment();
        DialError::OverLimit { what, limit }
    };
    // Looked at before the entry is locked, since it locks every part of the map in turn; a few
    // dials too many in a race are no harm.
    let running = dials.running.len();
    let key = (node, addresses.iter().all(session::is_virtual));
    match dials.running.entry(key) {
        Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
        Entry::Vacant(entry) => {
            // A connection may have come since the caller looked. From here on, one that comes
            // finds this entry, since it is entered into the table before it is offered.
            if let Some(connection) = shared.table.get(&node) {
                let (outcome, _) = watch::channel(Some(Ok(connection)));
                return Ok(Arc::new(Dial { addresses: Vec::new(), outcome }));
            }
            if running >= dials.limit {
                return Err(over_limit("dials at a time", dials.limit));
            }
            let Ok(place) = Arc::clone(&shared.outgoing).try_acquire_owned() else {
                return Err(over_limit("outbound connections", shared.config.limits().outgoing));
            };
            let (outcome, _) = watch::channel(None);
            let dial = Arc::new(Dial { addresses: addresses.to_vec(), outcome });
            entry.insert(Arc::clone(&dial));
            let (shared, running) = (Arc::clone(shared), Arc::clone(&dial));
            let tasks = shared.tasks.clone();
            tasks.spawn(async move {
                let result = race(&shared, node, &running.addresses).await;
                // Closing fails every attempt in its own way.
                let result = match shared.is_closing() {
                    Some(_) => Err(DialError::Closed),
                    None => result,
                };
                let result = result.map(|quic| {
                    shared.counters.handshakes_dialled.increment();
                    shared.enter(quic, node, true, place)
                });
                if let Err(error) = &result {
                    tracing::debug!(node = %node.short(), %error, "dial failed");
                    shared.counters.dials_failed.increment();
                }
                // Whoever comes from now on finds the connection in the table, or dials anew.
                shared.dials.running.remove(&key);
                running.settle(result);
            });
            Ok(dial)
        }
    }
}

/// Tries one address after the other, without waiting for the last one to fail, and, where UDP
/// brings nothing, each of them through a tunnel; the first that answers as `node` wins, and the
/// others are let go.
async fn race(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<quinn::Connection, DialError> {
    let timing = shared.config.timing();
    let deadline = Instant::now() + timing.handshake;
    // Without UDP only the addresses of sessions have a path of their own.
    let has_udp = shared.tunnels.as_ref().is_none_or(|t| t.udp_state() != UdpState::Off);
    let direct: Vec<SocketAddr> =
        addresses.iter().copied().filter(|a| has_udp || session::is_virtual(a)).collect();
    let mut waiting = direct.into_iter();
    let mut attempts = FuturesUnordered::new();
    let opened = Mutex::new(Vec::new());
    let mut tunnelled: FuturesUnordered<_> = (0..)
        .zip(addresses)
        .map(|(turn, address)| {
            through_tunnel(shared, node, *address, timing.stagger * turn, &opened)
        })
        .collect();
    let mut failure = DialError::Unreachable { node, tried: addresses.len() };
    let mut next_start = Instant::now();
    let all = async {
        loop {
            tokio::select! {
                biased;
                Some(result) = attempts.next() => match result {
                    Ok(quic) => return Ok(quic),
                    Err(error) => {
                        failure = more_telling(failure.clone(), error);
                        next_start = Instant::now();
                        let answered = failure.weight() > DialError::SILENCE;
                        if answered && attempts.is_empty() && waiting.len() == 0 {
                            // TCP would bring the same answer.
                            return Err(());
                        }
                    }
                },
                Some(result) = tunnelled.next() => match result {
                    Ok(quic) => return Ok(quic),
                    Err(error) => failure = more_telling(failure.clone(), error),
                },
                () = sleep_until(next_start), if waiting.len() > 0 => {
                    if let Some(address) = waiting.next() {
                        attempts.push(attempt(shared, node, address));
                        next_start = Instant::now() + timing.stagger;
                    }
                }
                else => return Err(()),
            }
        }
    };
    let outcome = timeout_at(deadline, all).await;
    drop(tunnelled);
    let Ok(Ok(quic)) = outcome else { return Err(failure) };
    // Whichever attempt has won: what goes to its address goes through the tunnel there, if one
    // was opened.
    for tunnel in opened.into_inner().unwrap_or_else(PoisonError::into_inner) {
        if tunnel.leads_to(quic.remote_address()) {
            let udp_works = shared.table.every().iter().any(|other| !other.is_over_tcp());
            tunnel.keep(udp_works);
        }
    }
    Ok(quic)
}

/// Tries an address through a tunnel, after UDP has had its time.
async fn through_tunnel(
    shared: &Shared,
    node: NodeId,
    address: SocketAddr,
    turn: Duration,
    opened: &Mutex<Vec<Opened>>,
) -> Result<quinn::Connection, DialError> {
    let unreachable = DialError::Unreachable { node, tried: 1 };
    let Some(tunnels) = shared.tunnels.as_ref().filter(|_| shared.config.tunnels().fall_back)
    else {
        return Err(unreachable);
    };
    if session::is_virtual(&address) {
        return Err(unreachable);
    }
    sleep(tunnel::patience(tunnels.udp_state()) + turn).await;
    match tunnels.open(node, address).await {
        Ok(tunnel) => opened.lock().unwrap_or_else(PoisonError::into_inner).extend(tunnel),
        Err(error) => {
            tracing::debug!(%address, %error, "no tunnel could be opened");
            return Err(unreachable);
        }
    }
    attempt(shared, node, address).await
}

fn more_telling(one: DialError, other: DialError) -> DialError {
    if other.weight() > one.weight() { other } else { one }
}

async fn attempt(
    shared: &Shared,
    node: NodeId,
    address: SocketAddr,
) -> Result<quinn::Connection, DialError> {
    let incompatible = |why: String| DialError::Incompatible { address, why: printable(&why) };
    let unreachable = DialError::Unreachable { node, tried: 1 };
    // A datagram without a way is lost like any other, and the dial would wait for an answer. Few
    // machines are without IPv4.
    if address.is_ipv6() && !shared.has_way_to(address) {
        return Err(unreachable);
    }
    let (config, verifier) =
        client_config(shared, node).map_err(|error| incompatible(error.to_string()))?;
    shared.sessions.dials(&address);
    let connecting = match shared.quic.connect_with(config, address, SERVER_NAME) {
        Ok(connecting) => connecting,
        Err(quinn::ConnectError::EndpointStopping) => return Err(DialError::Closed),
        // An IPv6 address on an IPv4 socket, port 0, or 0.0.0.0: no packet can get there.
        Err(quinn::ConnectError::InvalidRemoteAddress(_)) => return Err(unreachable),
        Err(error) => return Err(incompatible(error.to_string())),
    };
    let ended = session::is_virtual(&address).then(|| shared.sessions.ended(&address));
    let ended = async {
        match ended {
            Some(ended) => ended.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let connected = tokio::select! {
        connected = connecting => connected,
        // There is no path any more, and nothing will come of it.
        () = ended => return Err(unreachable),
    };
    match connected {
        Ok(quic) if peer_of(&quic) == Some(node) => Ok(quic),
        Ok(quic) => {
            // The verifier has accepted exactly this node; should it ever not have, nothing is
            // sent to a stranger.
            quic.close(CloseReason::NotAllowed.code().into(), b"wrong identity");
            Err(incompatible("it showed no certificate".to_owned()))
        }
        Err(error) => Err(match (verifier.impostor(), error) {
            (Some(found), _) => DialError::WrongIdentity { address, expected: node, found },
            (None, quinn::ConnectionError::TimedOut | quinn::ConnectionError::Reset) => unreachable,
            (None, quinn::ConnectionError::LocallyClosed) => DialError::Closed,
            (None, quinn::ConnectionError::ConnectionClosed(close))
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                DialError::Refused { address }
            }
            (None, quinn::ConnectionError::ApplicationClosed(_)) => DialError::Refused { address },
            (None, error) => incompatible(error.to_string()),
        }),
    }
}

/// The first addresses without repeats, in the caller's order.
fn distinct(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut distinct = Vec::with_capacity(addresses.len().min(MAX_ADDRESSES));
    for address in addresses.iter().copied().map(canonical) {
        if distinct.len() == MAX_ADDRESSES {
            break;
        }
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

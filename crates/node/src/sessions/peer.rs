//! A session with one peer.

use super::callers::Place;
use super::hello::{Own, Theirs};
use super::path::{PathKind, PathState};
use super::paths::{MAX_SLOTS, Paths};
use crate::api::types::SessionPath;
use crate::daemon::clock::unix_now;
use skein_net::Connection;
use skein_proto::session::NatKind;
use skein_proto::{Credential, NodeId, UnixTime, Username};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Relays whose names are kept, the latest: those of all slots that a session may have, and of
/// those that went before them.
const MAX_RELAY_NAMES: usize = 2 * MAX_SLOTS;

/// A session with one peer: one connection, whatever path its packets take. All uses of a peer
/// share it. While somebody holds it, it is not closed for want of use.
pub struct PeerSession {
    name: Username,
    connection: Connection,
    begun: Instant,
    path: watch::Sender<PathState>,
    /// Where the packets go; nothing for a connection that was dialled directly.
    paths: Option<Arc<Paths>>,
    /// Whose nodes the relays are, as far as that is known.
    relay_names: Mutex<Vec<(NodeId, Username)>>,
    dialler: bool,
    /// Streams of the peer that are being served.
    served: AtomicUsize,
    /// When the credential that the peer has shown runs out, in seconds since 1970.
    expires: AtomicU64,
    /// When the one runs out that the peer was shown, likewise.
    shown: AtomicU64,
    /// Its task runs, or has run.
    kept: AtomicBool,
    /// What it takes of the share of the caller's name, where that is not held elsewhere.
    place: OnceLock<Place>,
}

impl PeerSession {
    pub(super) fn new(
        theirs: Theirs,
        own: &Own,
        connection: Connection,
        paths: Option<Arc<Paths>>,
    ) -> Self {
        let kind = kind_of(&connection, paths.as_deref());
        let state = PathState {
            kind,
            rtt: connection.rtt(),
            nat_here: own.nat,
            nat_there: theirs.nat,
            reserve: reserve_of(paths.as_deref()),
            since: unix_now().0,
            direct_after: kind.is_direct().then_some(Duration::ZERO),
        };
        let dialler = connection.is_dialler();
        let (path, served) = (watch::Sender::new(state), AtomicUsize::new(0));
        let expires = AtomicU64::new(theirs.expires.0);
        let (name, shown) = (theirs.name, AtomicU64::new(own.expires().0));
        let (relay_names, kept, place) =
            (Mutex::default(), AtomicBool::new(false), OnceLock::new());
        Self {
            name,
            connection,
            begun: Instant::now(),
            path,
            paths,
            relay_names,
            dialler,
            served,
            expires,
            shown,
            kept,
            place,
        }
    }

    /// Whether what the peer has shown holds no more.
    pub(super) fn has_expired(&self, now: UnixTime) -> bool {
        now.0 >= self.expires.load(Ordering::Relaxed)
    }

    /// The peer has shown another credential, or what it has shown shall hold no longer than this.
    pub(super) fn holds_until(&self, expires: UnixTime) {
        self.expires.store(expires.0, Ordering::Relaxed);
    }

    /// Whether the peer has not been shown what runs out then; from now on it has.
    pub(super) fn is_news(&self, expires: UnixTime) -> bool {
        self.shown.swap(expires.0, Ordering::Relaxed) != expires.0
    }

    /// When what the peer has shown runs out.
    #[cfg(test)]
    pub(crate) fn expires(&self) -> UnixTime {
        UnixTime(self.expires.load(Ordering::Relaxed))
    }

    /// The relays and slots that it has.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> Vec<(NodeId, u64)> {
        let all = self.paths.as_ref().map_or_else(Vec::new, |paths| paths.all());
        all.iter().map(|near| (near.relay, near.slot())).collect()
    }

    /// Lets what the peer has shown run out.
    #[cfg(test)]
    pub(crate) fn expire(&self) {
        self.holds_until(UnixTime(0));
    }

    /// Whose node the peer is; its credential was checked.
    pub fn name(&self) -> &Username {
        &self.name
    }

    /// The peer.
    pub fn node(&self) -> NodeId {
        self.connection.peer()
    }

    /// The connection; it stays the same for as long as the session lives.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The path of the moment, and each change of it.
    pub fn path(&self) -> watch::Receiver<PathState> {
        self.path.subscribe()
    }

    /// The path of the moment, with the round trip of the moment.
    pub fn path_now(&self) -> PathState {
        let mut path = *self.path.borrow();
        path.rtt = self.connection.rtt();
        path
    }

    /// A path of it as it is shown.
    pub(crate) fn shown(&self, path: PathState) -> SessionPath {
        let names = self.relay_names();
        let name = |relay: Option<NodeId>| {
            let relay = relay?;
            names.iter().find(|(known, _)| *known == relay).map(|(_, name)| name.clone())
        };
        let relay = match path.kind {
            PathKind::Relayed { relay, .. } => Some(relay),
            PathKind::Direct { .. } => None,
        };
        SessionPath::new(path, name(relay), name(path.reserve))
    }

    /// Takes note of whose node a relay is; the credential was checked.
    pub(super) fn learn_relay(&self, credential: &Credential) {
        let mut names = self.relay_names();
        names.retain(|(known, _)| *known != credential.node);
        if names.len() >= MAX_RELAY_NAMES {
            names.remove(0);
        }
        names.push((credential.node, credential.name.clone()));
    }

    fn relay_names(&self) -> MutexGuard<'_, Vec<(NodeId, Username)>> {
        self.relay_names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the packets go, if that may change.
    pub(super) fn paths(&self) -> Option<&Paths> {
        self.paths.as_deref()
    }

    /// The same, to be held beyond the session.
    pub(super) fn keep_paths(&self) -> Option<Arc<Paths>> {
        self.paths.clone()
    }

    /// Whether this side has dialled.
    pub(crate) fn is_dialler(&self) -> bool {
        self.dialler
    }

    /// Tells those who watch the path what has become of it.
    pub(super) fn refresh_path(&self) {
        let kind = kind_of(&self.connection, self.paths.as_deref());
        let reserve = reserve_of(self.paths.as_deref());
        let rtt = self.connection.rtt();
        self.path.send_if_modified(|path| {
            if path.kind != kind {
                path.since = unix_now().0;
            }
            if kind.is_direct() {
                path.direct_after.get_or_insert_with(|| self.begun.elapsed());
            }
            let changed = path.kind != kind || path.reserve != reserve;
            (path.kind, path.reserve) = (kind, reserve);
            if changed {
                path.rtt = rtt;
            }
            changed
        });
    }

    /// What stands between either end and others has changed.
    pub(super) fn set_nats(&self, here: Option<NatKind>, there: Option<NatKind>) {
        self.path.send_if_modified(|path| {
            let before = (path.nat_here, path.nat_there);
            let now = (here.unwrap_or(before.0), there.unwrap_or(before.1));
            (path.nat_here, path.nat_there) = now;
            before != now
        });
    }

    /// Whether anybody but the sessions themselves holds it, or a stream of the peer is served. The
    /// task that keeps it holds it, and the table of live sessions if it is `entered` there: where two
    /// have called each other, another one is.
    pub(super) fn is_used(self: &Arc<Self>, entered: bool) -> bool {
        let own_holders = 1 + usize::from(entered);
        Arc::strong_count(self) > own_holders || self.served.load(Ordering::Relaxed) > 0
    }

    /// Holds this for as long as it lives.
    pub(super) fn holds(&self, place: Place) {
        // There is one of it.
        let _ = self.place.set(place);
    }

    /// Notes that its task begins. Answers false if it had begun before.
    pub(super) fn begin_keeping(&self) -> bool {
        !self.kept.swap(true, Ordering::Relaxed)
    }

    /// Whether its task has begun.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn serve(&self) -> Served<'_> {
        self.served.fetch_add(1, Ordering::Relaxed);
        Served(self)
    }
}

impl std::fmt::Debug for PeerSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerSession")
            .field("name", &self.name.as_str())
            .field("node", &self.node().short())
            .field("path", &self.path.borrow().kind)
            .finish_non_exhaustive()
    }
}

/// A stream of the peer is being served.
pub(super) struct Served<'a>(&'a PeerSession);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
    }
}

fn kind_of(connection: &Connection, paths: Option<&Paths>) -> PathKind {
    if let Some(address) = paths.and_then(Paths::direct) {
        return PathKind::Direct { address };
    }
    match paths.and_then(Paths::used) {
        Some(near) => PathKind::Relayed { relay: near.relay, address: near.route().to },
        None => PathKind::Direct { address: connection.shown_at() },
    }
}

fn reserve_of(paths: Option<&Paths>) -> Option<NodeId> {
    paths?.reserve().map(|near| near.relay)
}

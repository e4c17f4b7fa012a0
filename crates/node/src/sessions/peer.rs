//! A session with one peer.

use super::path::PathState;
use skein_net::Connection;
use skein_proto::{NodeId, Username};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// A session with one peer: one connection, whatever path its packets take. All uses of a peer
/// share it. While somebody holds it, it is not closed for want of use.
pub struct PeerSession {
    name: Username,
    connection: Connection,
    path: watch::Sender<PathState>,
    /// Streams of the peer that are being served.
    served: AtomicUsize,
}

impl PeerSession {
    pub(super) fn new(name: Username, connection: Connection, path: PathState) -> Self {
        let (path, served) = (watch::Sender::new(path), AtomicUsize::new(0));
        Self { name, connection, path, served }
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

    /// Changes what is known of the path, if `change` says that there is a difference.
    pub(super) fn update_path(&self, change: impl FnOnce(&mut PathState)) {
        let rtt = self.connection.rtt();
        self.path.send_if_modified(|path| {
            let before = *path;
            change(path);
            let changed = before != *path;
            if changed {
                path.rtt = rtt;
            }
            changed
        });
    }

    pub(super) fn serve(&self) -> Served<'_> {
        self.served.fetch_add(1, Ordering::Relaxed);
        Served(self)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0
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

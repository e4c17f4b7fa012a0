//! What transfers need of the rest of the daemon.

use crate::api::types::{Source, SourcePath};
use crate::library::Library;
use crate::sessions::SessionError;
use futures_util::future::BoxFuture;
use skein_net::Connection;
use skein_proto::{ContentId, NodeId, SignedCredential, UnixTime, Username};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A whole file that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes when it was hashed.
    pub size: u64,
    /// Where its hash tree is, in the post-order layout of `bao-tree` over chunk groups of
    /// 16 KiB; `None` for a file of one chunk group, which needs none.
    pub outboard: Option<PathBuf>,
}

/// Knows the files that this node shares.
pub trait ContentStore: Send + Sync + 'static {
    /// The file with this content, if it is shared.
    fn locate<'a>(&'a self, content: &'a ContentId) -> BoxFuture<'a, Option<StoredFile>>;

    /// A file turned out to be gone, or to have other bytes than it had.
    fn changed<'a>(&'a self, content: &'a ContentId, file: &'a StoredFile) -> BoxFuture<'a, ()>;
}

/// The share library. That a file was replaced between being located and being read does not
/// matter: no byte is sent that does not belong to the content.
impl ContentStore for Library {
    fn locate<'a>(&'a self, content: &'a ContentId) -> BoxFuture<'a, Option<StoredFile>> {
        Box::pin(async move {
            match Library::locate(self, content).await {
                Ok(located) => located.map(|file| StoredFile {
                    path: file.path,
                    size: file.size,
                    outboard: file.outboard,
                }),
                Err(error) => {
                    tracing::warn!(%error, "cannot look for a file in the library");
                    None
                }
            }
        })
    }

    fn changed<'a>(&'a self, content: &'a ContentId, _file: &'a StoredFile) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.recheck(content).await {
                tracing::warn!(%error, "cannot have a file read again");
            }
        })
    }
}

/// A file that is not shared and that somebody may fetch all the same.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The file.
    pub file: StoredFile,
    /// By which grant.
    pub number: u64,
    /// Cancelled when the grant is taken back: nothing more is sent from then on.
    pub gone: CancellationToken,
}

/// Knows what is not shared and may be fetched by some all the same.
pub trait Grants: Send + Sync + 'static {
    /// The file with this content, if this node of this name may fetch it.
    fn granted<'a>(
        &'a self,
        content: &'a ContentId,
        node: &'a NodeId,
        name: &'a Username,
    ) -> BoxFuture<'a, Option<Granted>>;

    /// The file of a grant turned out to be gone, or to have other bytes than it had.
    fn changed(&self, number: u64);
}

/// Finds sources, and makes this node known as one; the daemon asks the overlay.
pub trait SourceFinder: Send + Sync + 'static {
    /// Everybody who is said to have it.
    fn find<'a>(&'a self, content: &'a ContentId) -> BoxFuture<'a, Vec<Source>>;

    /// A download serves to others what it has verified, or does so no more.
    fn serving(&self, content: ContentId, serving: bool);
}

/// A session with a source: a connection, whatever path its packets take. It is kept open while
/// somebody holds it.
pub trait SessionWay: Send + Sync + 'static {
    /// The connection.
    fn connection(&self) -> &Connection;

    /// Which way its packets go at present.
    fn path(&self) -> SourcePath;
}

/// Opens sessions with sources that cannot be dialled.
pub trait SourceSessions: Send + Sync + 'static {
    /// Whether nobody is to be shown where this node is, so that no source is dialled.
    fn is_hidden(&self) -> bool;

    /// The session with a node that is open already.
    fn live(&self, node: &NodeId) -> Option<Arc<dyn SessionWay>>;

    /// A session with a source. The error says why there is none.
    fn open<'a>(
        &'a self,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<Arc<dyn SessionWay>, SessionError>>;
}

/// Who this node is, and how it tells members from strangers.
pub trait Membership: Send + Sync + 'static {
    /// What this node shows to those whom it asks.
    fn credential(&self) -> Option<SignedCredential>;

    /// The key of the login service that signs credentials, once a network is set.
    fn login_key(&self) -> Option<NodeId>;

    /// Calendar time.
    fn now(&self) -> UnixTime;

    /// How much a member deserves to be served before others; the higher the sooner.
    fn rank(&self, _member: &Username) -> u32 {
        0
    }

    /// Bytes of a source were verified and written.
    fn verified(&self, _source: &NodeId, _name: &Username, _bytes: u64) {}

    /// A node of this name has sent bytes that do not belong to the content.
    fn wrong_bytes(&self, _source: &NodeId, _name: &Username) {}

    /// A source could not be reached, or has not what it is said to offer.
    fn failed(&self, _source: &NodeId) {}

    /// A source has answered that it has some of what it offers.
    fn answered(&self, _source: &NodeId) {}

    /// A source has put this node into its queue.
    fn waits_for(&self, _source: &NodeId) {}
}

//! What the local API says, as JSON. The command line and every other client use these types.
//!
//! | call | answers with |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `POST /v1/shutdown` | 202; the daemon ends cleanly |
//! | `GET /v1/shares` | a list of [`Share`] |
//! | `POST /v1/shares` with [`AddShare`] | [`Share`] |
//! | `DELETE /v1/shares` with [`RemoveShare`] | 204 |
//! | `POST /v1/shares/rescan` with [`RescanShare`] | [`Share`], once the scan is over, or still scanning after some seconds |
//! | `GET /v1/events` | a stream of [`DaemonEvent`] |
//! | `POST /v1/searches` with [`StartSearch`] | a stream of [`SearchEvent`]; hanging up cancels |
//! | `GET /v1/wishes` | a list of [`Wish`] |
//! | `POST /v1/wishes` with [`AddWish`] | [`Wish`]; what comes of it is a [`DaemonEvent::WishHit`] |
//! | `DELETE /v1/wishes/{number}` | 204 |
//! | `POST /v1/downloads` with [`StartDownload`] | [`Download`] |
//! | `GET /v1/downloads` | a list of [`Download`] |
//! | `GET /v1/downloads/{id}/events` | a stream of [`Download`], the last one finished or failed |
//! | `DELETE /v1/downloads/{id}` | 204; what was fetched is kept for a later try; a conflict if it is complete |
//! | `POST /v1/downloads/{id}/forget` | [`ForgottenDownload`]; a conflict while it runs |
//! | `GET /v1/names/{name}` | a list of [`NamedNode`], the nodes of a user; 404 where nobody is known by that name |
//! | `GET /v1/peers` | a list of [`Peer`] |
//! | `GET /v1/sessions` | a list of [`SessionInfo`] |
//! | `POST /v1/sessions/ping` with [`StartPing`] | a stream of [`PingEvent`]; hanging up ends it |
//! | `GET /v1/relay` | [`RelayStatus`] |
//! | `PUT /v1/relay` with [`SetRelay`] | [`RelayStatus`]; it holds over restarts |
//! | `DELETE /v1/relay` | [`RelayStatus`], as the settings say from then on |
//! | `POST /v1/account/register` with [`RegisterAccount`] | [`Identity`] |
//! | `POST /v1/account/login` with [`LoginAccount`] | [`Identity`] |
//! | `GET /metrics` | OpenMetrics text |
//!
//! Every call but none carries `Authorization: Bearer` with the token of the data folder. Streams
//! are server-sent events whose `data` is one JSON value. What fails answers with [`ApiError`].

pub use super::reputation::ReputationStatus;
pub use super::session::{PingEvent, RelayStatus, SessionInfo, SessionPath, SetRelay, StartPing};
use serde::{Deserialize, Serialize};
use skein_proto::login::Password;
pub use skein_proto::message::RoleSetting;
use skein_proto::query::{Coverage, Filter, StopReason};
use skein_proto::{ContentId, Kind, MediaTags, NodeId, Role, Username};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// One line for people: what is wrong and what to do.
    pub error: String,
    /// One word for programs.
    pub code: ErrorCode,
}

/// Who is at fault, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is wrong: 400.
    BadRequest,
    /// No token, a wrong one, or a wrong Host or Origin: 401 or 403.
    Denied,
    /// What was named does not exist: 404.
    NotFound,
    /// It clashes with what is there: 409.
    Conflict,
    /// The login service said no: 422.
    Refused,
    /// The network or the disk does not allow it now: 503.
    Unavailable,
    /// A defect of the daemon: 500.
    Internal,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// Its name, once it has registered or logged in.
    pub name: Option<Username>,
    /// When its credential runs out, in seconds since 1970.
    pub credential_expires: Option<u64>,
    /// The network ticket.
    pub ticket: Option<String>,
    /// Where its data is.
    pub data_dir: PathBuf,
}

/// What is known of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Udp {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It works.
    Works,
    /// The network blocks it: everything goes over TCP.
    Blocked,
    /// The user has turned it off: everything goes over TCP.
    Off,
}

/// How the daemon is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Who it is.
    pub identity: Identity,
    /// What it is at present.
    pub role: Role,
    /// What the user wants it to be.
    pub role_setting: RoleSetting,
    /// Why it has that role, in one sentence.
    pub role_reason: String,
    /// The same in one word for programs, which stays the same from version to version.
    #[serde(default)]
    pub role_code: String,
    /// For how many seconds that has been the reason.
    #[serde(default)]
    pub role_for_secs: u64,
    /// The UDP address that it listens on.
    pub listen: SocketAddr,
    /// How others see it.
    pub observed: Option<SocketAddr>,
    /// Whether UDP works, or everything goes over TCP.
    #[serde(default)]
    pub udp: Udp,
    /// Whether, and how, it is attached.
    pub attachment: Attachment,
    /// When the login service last answered, in seconds ago.
    pub login_seen_secs_ago: Option<u64>,
    /// What the user should know, one line each; empty when all is well.
    pub problems: Vec<String>,
    /// The share library.
    pub library: LibraryStatus,
    /// The reputation of its name, with where it comes from.
    #[serde(default)]
    pub reputation: ReputationStatus,
    /// What the machine could hold as a supernode; `None` before it was measured.
    #[serde(default)]
    pub capacity: Option<CapacityStatus>,
    /// What it does as a supernode; `None` for an ordinary node.
    pub supernode: Option<SupernodeStatus>,
    /// Supernodes that it knows.
    pub supernodes_known: u32,
    /// Downloads that run.
    pub downloads_active: u32,
    /// Uploads that run.
    pub uploads_active: u32,
}

/// The tie of an ordinary node to its supernodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The active parent.
    pub parent: Option<NodeId>,
    /// Its name, if it has shown one.
    pub parent_name: Option<Username>,
    /// Round trip to it in microseconds.
    pub parent_rtt_us: Option<u64>,
    /// Seconds since the node attached to it.
    pub since_secs: Option<u64>,
    /// The warm standby.
    pub standby: Option<NodeId>,
    /// Its name, if it has shown one.
    #[serde(default)]
    pub standby_name: Option<Username>,
    /// Records that the parent has taken in.
    pub published: u64,
    /// Records that still have to be sent.
    pub publish_pending: u64,
    /// How often a parent was lost since the start.
    pub parents_lost: u64,
    /// Milliseconds from the last loss of a parent until the new one had all metadata.
    pub last_recovery_ms: Option<u64>,
}

/// The share library in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryStatus {
    /// Shared folders.
    pub shares: u32,
    /// Files known.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a scan runs.
    pub scanning: bool,
}

/// A supernode in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupernodeStatus {
    /// Children attached.
    pub children: u32,
    /// Standby bonds kept.
    pub standbys: u32,
    /// Children that it would take at most.
    pub capacity: u32,
    /// Neighbours linked.
    pub neighbours: u32,
    /// Records in its index.
    pub records: u64,
    /// Bytes that the index reckons to hold.
    pub index_bytes: u64,
    /// Searches answered since the start.
    pub searches: u64,
    /// Queries of neighbours answered since the start.
    pub floods: u64,
    /// How many supernodes the network has and wants, as this one sees it.
    #[serde(default)]
    pub outlook: OutlookStatus,
}

/// How many supernodes the network has and wants, as one of them sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlookStatus {
    /// Supernodes known, this one included.
    pub supernodes: u32,
    /// The supernodes that there should be.
    pub wanted: u32,
    /// How full all of them are together, in percent, with the nodes that wait for room.
    pub fill_percent: u32,
    /// Supernodes that are to be added now.
    pub missing: u32,
    /// Supernodes that may go now.
    pub spare: u32,
    /// Whether there is no room left for a failure.
    pub urgent: bool,
    /// Children here that could become supernodes and are known to be reachable.
    pub candidates_ready: u32,
    /// What that comes to, in one sentence.
    pub words: String,
}

/// What a machine could hold as a supernode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityStatus {
    /// Children that it could hold.
    pub children: u32,
    /// What limits that, in plain words.
    pub limited_by: String,
    /// Whether it runs on a battery.
    pub on_battery: bool,
}

/// A shared folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where it is.
    pub path: PathBuf,
    /// The name that its files' paths begin with.
    pub name: String,
    /// Files known.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The scan that runs, if one does.
    pub scan: Option<ScanProgress>,
    /// Files and folders that could not be read at the last scan.
    pub unreadable: u64,
    /// The first of them, one line each with the reason.
    #[serde(default)]
    pub unreadable_examples: Vec<String>,
    /// Files that are not offered yet since they were being written a moment ago: they are looked
    /// at again when they have been left alone.
    #[serde(default)]
    pub waiting_files: u64,
    /// Why the last scan failed as a whole, if it did.
    pub problem: Option<String>,
}

/// How far a scan is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanProgress {
    /// Files seen in the folder so far.
    pub files_seen: u64,
    /// Whether all files have been seen, so that the totals are final.
    pub walked: bool,
    /// Files that had to be hashed, so far and in total as known now.
    pub files_hashed: u64,
    /// Files that have to be hashed, as known now.
    pub files_to_hash: u64,
    /// Bytes hashed so far.
    pub bytes_hashed: u64,
    /// Bytes to hash, as known now.
    pub bytes_to_hash: u64,
}

/// Shares a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddShare {
    /// An absolute path.
    pub path: PathBuf,
}

/// Shares a folder no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveShare {
    /// The path that was added.
    pub path: PathBuf,
}

/// Scans a shared folder now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescanShare {
    /// The path that was added.
    pub path: PathBuf,
}

/// Something happened in the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DaemonEvent {
    /// A scan went on.
    Scan {
        /// The folder with its progress.
        share: Share,
    },
    /// A scan is over.
    ScanDone {
        /// The folder as it is now.
        share: Share,
    },
    /// The node has a parent, and the parent has all its metadata.
    Attached {
        /// The parent.
        parent: NodeId,
    },
    /// The node has no parent any more.
    Detached {
        /// Why, in words.
        reason: String,
    },
    /// The node is a supernode from now on, or no longer.
    RoleChanged {
        /// What it is now.
        role: Role,
        /// Why.
        reason: String,
    },
    /// Something that was wished for is shared now. Each content is told once.
    WishHit {
        /// The number of the wish.
        wish: u64,
        /// Its words.
        words: String,
        /// What is shared.
        hit: Box<ContentHit>,
    },
}

/// Starts a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSearch {
    /// The words, as typed, or a content id.
    #[serde(default)]
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
    /// How many different contents are enough, 1 to 1,000; 100 if not given.
    pub limit: Option<u16>,
    /// Go on with the last search: with its words and conditions in place of these, and without what
    /// it has shown.
    #[serde(default)]
    pub more: bool,
}

/// Wishes to be told of whatever is shared from now on and matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddWish {
    /// The words, as typed, or a content id.
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
}

/// A wish, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The number to give to `skein wish rm`.
    pub number: u64,
    /// The words, as typed, or a content id.
    pub words: String,
    /// Conditions.
    #[serde(default)]
    pub filter: Filter,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What came of it, the newest last; at most 100.
    pub hits: Vec<ContentHit>,
}

/// What comes back of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SearchEvent {
    /// A new content, or a known one with more sources.
    Hit(Box<ContentHit>),
    /// The search is over.
    Done(SearchReport),
}

/// One content that was found, with all who offer it as known by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentHit {
    /// The number to give to `skein get`; it stays with this content throughout the search.
    pub number: u32,
    /// The content.
    pub content: ContentId,
    /// The file name that the first source gave it.
    pub name: String,
    /// The path that the first source gave it.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its sort.
    pub kind: Kind,
    /// Its tags.
    pub tags: Option<Box<MediaTags>>,
    /// Who offers it.
    pub sources: Vec<Source>,
}

/// A node of a user, as the directory knows it. What it says was signed by that node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The node.
    pub node: NodeId,
    /// The user that it belongs to, from a credential that was checked.
    pub name: Username,
    /// Whether it is there, as far as the directory knows.
    pub online: bool,
    /// When it last said that it is there, or was lost, in seconds since 1970.
    pub seen: u64,
    /// Where it may be reached, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it is attached to; a supernode has none.
    pub parent: Option<NodeId>,
    /// Where that listens.
    pub parent_addresses: Vec<SocketAddr>,
}

/// Somebody who offers a content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The node.
    pub node: NodeId,
    /// Its name, from a credential that was checked.
    pub name: Username,
    /// Where it may be reached, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it is attached to.
    pub parent: NodeId,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Different contents found.
    pub contents: u32,
    /// Different nodes that offer them.
    pub sources: u32,
    /// Milliseconds until the first hit.
    pub first_hit_ms: Option<u64>,
    /// Milliseconds until the end.
    pub took_ms: u64,
    /// How complete it is.
    pub coverage: Coverage,
    /// `coverage.stopped`, in words.
    pub stopped: String,
}

impl SearchReport {
    /// Whether everyone who could be asked has answered, or enough was found.
    pub fn is_complete(&self) -> bool {
        matches!(self.coverage.stopped, StopReason::Exhausted | StopReason::Enough)
    }
}

/// Starts a download, or goes on with one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartDownload {
    /// What to fetch.
    pub target: DownloadTarget,
    /// The folder to put it in, absolute. A file that is complete already is copied there; while
    /// it comes into another folder, the answer is a conflict. If not given, the configured one,
    /// or where it is or goes already.
    pub dir: Option<PathBuf>,
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownloadTarget {
    /// A number of the last search.
    Number(u32),
    /// A content, wherever it is.
    Content(ContentId),
}

/// A download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// Its number.
    pub id: u64,
    /// What is fetched.
    pub content: ContentId,
    /// The name of the file that it becomes.
    pub name: String,
    /// The file that it becomes, or became: a free name is chosen at the end.
    pub path: PathBuf,
    /// How it stands.
    pub state: DownloadState,
    /// Its bytes, once known.
    pub size: Option<u64>,
    /// Bytes that are here and verified.
    pub verified: u64,
    /// Of these, bytes that were here before this run began.
    pub resumed: u64,
    /// Bytes a second over the last seconds.
    pub rate: u64,
    /// Sources in use.
    pub sources_active: u32,
    /// Sources known.
    pub sources_known: u32,
    /// Which way bytes came from which source in this run of the daemon, and come at present: the
    /// 16 ways that brought most.
    #[serde(default)]
    pub via: Vec<SourceUsed>,
    /// Sources that failed, one line each, the last ones.
    pub trouble: Vec<String>,
}

/// What a source has brought one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUsed {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: Username,
    /// Which way the bytes come.
    pub path: SourcePath,
    /// Verified bytes that came this way.
    pub bytes: u64,
    /// Whether more is asked of it this way at present.
    pub active: bool,
}

/// Which way the bytes of a source come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourcePath {
    /// From its address, which answered.
    Direct,
    /// Over a session that has found a direct path.
    SessionDirect,
    /// Over a session through the relay of a supernode.
    SessionRelayed,
}

/// How a download stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DownloadState {
    /// No source is known or none answers; it goes on by itself when one does.
    Waiting {
        /// What it waits for, in words.
        reason: String,
    },
    /// Bytes come.
    Running,
    /// All bytes are here and verified.
    Done,
    /// It cannot go on.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// The user called it off.
    Cancelled,
}

impl DownloadState {
    /// Whether nothing more will happen.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. } | Self::Cancelled)
    }
}

/// A download that is no longer listed. A complete file stays where it is; what had come of an
/// incomplete one is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenDownload {
    /// Bytes of the disk that became free.
    pub freed_bytes: u64,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub node: NodeId,
    /// Its name, from a credential that was checked.
    pub name: Option<Username>,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is to this node.
    pub relation: Relation,
    /// Round trip in microseconds.
    pub rtt_us: u64,
    /// Seconds since it was connected.
    pub connected_secs: u64,
    /// Program and version, as it says.
    pub agent: String,
}

/// What a peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The active parent.
    Parent,
    /// The warm standby.
    Standby,
    /// A child.
    Child,
    /// A child that keeps this node as its standby.
    StandbyChild,
    /// A fellow supernode.
    Neighbour,
    /// Connected for something else, such as a transfer.
    Other,
}

/// Takes a new name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterAccount {
    /// The name, as typed.
    pub name: String,
    /// Its password.
    pub password: Password,
    /// An invite code.
    pub invite: Option<String>,
    /// The network, where none is set yet or another is wanted.
    pub ticket: Option<String>,
    /// Whether the node shall leave the network in which it has a name, for that of the ticket.
    /// Without it, the ticket of another network is refused.
    #[serde(default)]
    pub replace_network: bool,
}

/// Adds this node to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAccount {
    /// The name, as typed.
    pub name: String,
    /// Its password.
    pub password: Password,
    /// The network, where none is set yet or another is wanted.
    pub ticket: Option<String>,
    /// Whether the node shall leave the network in which it has a name, for that of the ticket.
    /// Without it, the ticket of another network is refused.
    #[serde(default)]
    pub replace_network: bool,
}

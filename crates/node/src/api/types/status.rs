//! What the local API says about how the daemon is doing.

use super::ReputationStatus;
use serde::{Deserialize, Serialize};
use skein_proto::message::RoleSetting;
use skein_proto::{NodeId, Role, Username};
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// Of these, downloads that look what is there already before they go on.
    #[serde(default)]
    pub downloads_checking: u32,
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

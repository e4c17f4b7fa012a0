//! How the overlay is doing, for people and metrics.

use crate::directory::DirectorySnapshot;
use crate::election::RoleReason;
use crate::election::outlook::Outlook;
use crate::io::Now;
use crate::overlay::Overlay;
use crate::reputation::formula::Assessment;
use skein_proto::message::Bond;
use skein_proto::{NodeId, Role, Username};
use std::net::SocketAddr;
use std::time::Duration;

/// How the overlay is doing.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What this node is.
    pub role: Role,
    /// Why.
    pub role_reason: RoleReason,
    /// For how long that has been the reason.
    pub role_for: Duration,
    /// How others see this node.
    pub observed: Option<SocketAddr>,
    /// The ties of an ordinary node.
    pub parent: ParentSnapshot,
    /// What it does as a supernode.
    pub supernode: Option<SupernodeSnapshot>,
    /// The reputation of this node's name, with where it comes from.
    pub reputation: Assessment,
    /// Supernodes known.
    pub supernodes_known: usize,
    /// All who are linked.
    pub peers: Vec<PeerSnapshot>,
}

/// The ties of an ordinary node.
#[derive(Clone, Debug, Default)]
pub struct ParentSnapshot {
    /// The active parent.
    pub parent: Option<NodeId>,
    /// For how long it has been.
    pub since: Option<Duration>,
    /// The warm standby.
    pub standby: Option<NodeId>,
    /// Records that the parent, or this supernode's own index, has taken in.
    pub published: u64,
    /// Changes that were not sent yet.
    pub pending: u64,
    /// Whether the parent has all of it.
    pub complete: bool,
    /// Records that the parent did not take since this node's quota is full.
    pub over_quota: u64,
    /// How often a parent was lost.
    pub lost: u64,
    /// The time from the last loss until all was published again.
    pub last_recovery: Option<Duration>,
}

/// A supernode in numbers.
#[derive(Clone, Debug, Default)]
pub struct SupernodeSnapshot {
    /// Children attached.
    pub children: u32,
    /// Standby bonds kept.
    pub standbys: u32,
    /// Children that it takes.
    pub capacity: u32,
    /// Neighbours linked.
    pub neighbours: u32,
    /// Records in the index.
    pub records: u64,
    /// Records of those who have gone that are still to be forgotten: nobody finds them, but they take
    /// memory.
    pub leaving_records: u64,
    /// Bytes that the index takes.
    pub index_bytes: u64,
    /// Bytes that the index may take: then it refuses records.
    pub index_bytes_limit: u64,
    /// Parts of which the index is made: the fewer, the faster it is searched.
    pub index_segments: u64,
    /// Searches of the index for a beginning of more words than it looks through.
    pub prefixes_cut: u64,
    /// Searches of the index that ended before all was looked through, for that is bounded.
    pub searches_cut: u64,
    /// Bits of its query routing table.
    pub table_bits: u64,
    /// How many of them are set: the share to the power of six is the rate of false positives.
    pub table_bits_set: u64,
    /// Bytes that the neighbours' tables take.
    pub tables_bytes: u64,
    /// How many supernodes there are and should be, as far as it knows.
    pub outlook: Outlook,
    /// Children that could become supernodes and are known to be reachable.
    pub candidates_ready: u32,
    /// Standing queries of everybody that it holds.
    pub wishes: u64,
    /// What it keeps of the directory.
    pub directory: DirectorySnapshot,
}

/// What a peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing yet, or nothing any more.
    Other,
}

/// A peer that is linked.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// Who it is.
    pub node: NodeId,
    /// Its name, from a credential that was checked.
    pub name: Option<Username>,
    /// The reputation of that name, as far as this node has seen evidence of it.
    pub reputation: u16,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is to this node.
    pub relation: Relation,
    /// The round trip when it was linked.
    pub rtt: Duration,
    /// For how long it has been linked.
    pub linked: Duration,
    /// Program and version, as it says.
    pub agent: String,
}

impl Overlay {
    /// What this node is.
    pub fn role(&self) -> Role {
        self.core.role
    }

    /// The active parent of an ordinary node.
    pub fn parent(&self) -> Option<NodeId> {
        self.join.parent()
    }

    /// Whether all that this node shares can be found: it is a supernode, or its parent holds it.
    pub fn is_searchable(&self) -> bool {
        match self.core.role {
            Role::Super => !self.local_copy.is_running(),
            Role::Ordinary => self.join.parent().is_some() && self.publisher.is_complete(),
        }
    }

    /// Children attached to this supernode, standby ones not counted.
    pub fn children(&self) -> u32 {
        self.children.actives()
    }

    /// How this node is doing.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let is_super = self.core.role == Role::Super;
        let published = if is_super {
            self.children.index.owner_records(&self.core.me)
        } else {
            self.publisher.published
        };
        let parent = ParentSnapshot {
            parent: self.join.parent(),
            since: self.join.parent_since().map(|since| now.instant.since(since)),
            standby: self.join.standby(),
            published,
            pending: self.publisher.pending(),
            complete: if is_super {
                !self.local_copy.is_running()
            } else {
                self.publisher.is_complete()
            },
            over_quota: self.publisher.over_quota,
            lost: self.join.parents_lost,
            last_recovery: self.last_recovery,
        };
        let supernode =
            is_super.then(|| SupernodeSnapshot {
                children: self.children.actives(),
                standbys: self.children.standbys(),
                capacity: self.core.config.max_children,
                neighbours: u32::try_from(self.neighbours.count()).unwrap_or(u32::MAX),
                records: self.children.index.records(),
                leaving_records: self.children.index.leaving_records(),
                index_bytes: self.children.index.memory_bytes(),
                index_bytes_limit: self.core.config.index_limits.total_bytes,
                index_segments: self.children.index.segments() as u64,
                prefixes_cut: self.children.index.prefixes_cut(),
                searches_cut: self.children.index.searches_cut(),
                table_bits: self.tables.own_fill().1,
                table_bits_set: self.tables.own_fill().0,
                tables_bytes: self.tables.bytes(),
                outlook: self
                    .election
                    .office
                    .as_ref()
                    .map(|office| office.outlook())
                    .unwrap_or_default(),
                candidates_ready: self.election.office.as_ref().map_or(0, |office| {
                    u32::try_from(office.ready(now.instant)).unwrap_or(u32::MAX)
                }),
                wishes: self.core.membership.wishes.len() as u64,
                directory: self.directory.snapshot(),
            });
        let mut peers: Vec<PeerSnapshot> = self
            .core
            .peers
            .iter()
            .map(|(node, peer)| PeerSnapshot {
                node: *node,
                name: peer.name().cloned(),
                reputation: peer.name().map_or(0, |name| self.core.reputations.of(name)),
                address: peer.address,
                relation: self.relation(node),
                rtt: peer.rtt,
                linked: now.instant.since(peer.since),
                agent: peer.hello.as_ref().map(|hello| hello.agent.clone()).unwrap_or_default(),
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.node);
        Snapshot {
            role: self.core.role,
            role_reason: self.election.reason(now.instant),
            role_for: now.instant.since(self.election.reason_since()),
            observed: self.core.observed.best(),
            parent,
            supernode,
            supernodes_known: if is_super {
                self.core.known.len().max(self.core.membership.len())
            } else {
                self.core.known.len()
            },
            reputation: self.own_assessment(),
            peers,
        }
    }

    pub(crate) fn relation(&self, node: &NodeId) -> Relation {
        if self.join.parent() == Some(*node) {
            return Relation::Parent;
        }
        if self.join.standby() == Some(*node) {
            return Relation::Standby;
        }
        match self.children.bond(node) {
            Some(Bond::Active) => Relation::Child,
            Some(Bond::Standby) => Relation::StandbyChild,
            None if self.neighbours.is_linked(node) => Relation::Neighbour,
            None => Relation::Other,
        }
    }
}

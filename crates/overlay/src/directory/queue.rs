//! Records that wait for one holder: owners take turns.
//!
//! A holder takes only so much of one supernode in a second, and what comes beyond is lost until
//! its owner says it again, hours later. So whoever has a large library must not be served before
//! the others.

use skein_proto::directory::{NodeRecord, Presence, Shared, SourceClaim};
use skein_proto::{Credential, Instant, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Records of one owner that are sent at once when others wait as well: the credential beside them
/// is half as long as all of them, and with 150 children that all have a library each has its turn
/// every quarter of a minute.
const TURN: usize = 16;

/// A record on its way.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Node(NodeRecord),
    Source(Shared<Credential>, Option<Shared<Presence>>, Shared<SourceClaim>),
}

impl Parcel {
    /// Whose word it is.
    pub(super) fn owner(&self) -> NodeId {
        match self {
            Self::Node(record) => record.credential.unverified().node,
            Self::Source(credential, ..) => credential.unverified().node,
        }
    }
}

/// The work that a holder has with so many records of one owner, as it counts it.
pub(super) fn work_of<'a>(parcels: impl Iterator<Item = &'a Parcel>) -> u64 {
    let (mut nodes, mut claims) = (0, 0);
    for parcel in parcels {
        match parcel {
            Parcel::Node(_) => nodes += 1,
            Parcel::Source(..) => claims += 1,
        }
    }
    2 * nodes + claims + if claims > 0 { 2 } else { 0 }
}

/// Records that wait for one holder.
#[derive(Debug)]
pub(super) struct Queue {
    /// When they are sent.
    pub(super) due: Instant,
    /// As they came. Nearly always the holder takes all of them at once.
    fresh: Vec<Parcel>,
    /// What it did not take at once.
    backlog: Option<Box<Backlog>>,
}

/// What waits for its turn, by owners.
#[derive(Debug, Default)]
struct Backlog {
    shares: BTreeMap<NodeId, VecDeque<Parcel>>,
    /// Who was served last.
    served: Option<NodeId>,
}

impl Queue {
    pub(super) fn new(due: Instant) -> Self {
        Self { due, fresh: Vec::new(), backlog: None }
    }

    pub(super) fn push(&mut self, parcel: Parcel) {
        self.fresh.push(parcel);
    }

    /// Takes out what this allows, which is asked about so much work at a time.
    pub(super) fn take(&mut self, mut allows: impl FnMut(u64) -> bool) -> Vec<Parcel> {
        let fresh = std::mem::take(&mut self.fresh);
        if self.backlog.is_none() {
            // Each is counted as if its owner had no other.
            let work = fresh.iter().map(|parcel| work_of(std::iter::once(parcel))).sum();
            if allows(work) {
                return fresh;
            }
        }
        let backlog = self.backlog.get_or_insert_default();
        for parcel in fresh {
            backlog.push(parcel);
        }
        let taken = std::iter::from_fn(|| backlog.next_turn(&mut allows)).flatten().collect();
        if backlog.shares.is_empty() {
            self.backlog = None;
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.backlog.is_none()
    }
}

impl Backlog {
    fn push(&mut self, parcel: Parcel) {
        let share = self.shares.entry(parcel.owner()).or_default();
        match parcel {
            // Where a node is does not wait behind what it has.
            Parcel::Node(_) => share.push_front(parcel),
            Parcel::Source(..) => share.push_back(parcel),
        }
    }

    /// The next records, all of one owner, unless they are more work than this allows.
    fn next_turn(&mut self, allows: &mut impl FnMut(u64) -> bool) -> Option<Vec<Parcel>> {
        let behind = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.shares.range((behind, Bound::Unbounded)).next();
        let owner = *next.or_else(|| self.shares.first_key_value())?.0;
        let share = self.shares.get_mut(&owner)?;
        let count = share.len().min(TURN);
        if !allows(work_of(share.iter().take(count))) {
            return None;
        }
        let parcels = share.drain(..count).collect();
        if share.is_empty() {
            self.shares.remove(&owner);
        }
        self.served = Some(owner);
        Some(parcels)
    }
}

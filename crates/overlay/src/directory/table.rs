//! The records that a supernode keeps for the ring.
//!
//! An owner's credential and presence are kept once, however many of its contents are here, and a
//! record is a key and an address: some 70 bytes in the tree, and the statement that it points to.

use crate::hashed::HashMap;
use crate::membership::Place;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use skein_proto::directory::{
    DirectoryKey, Loss, NodeRecord, Presence, Shared, SourceClaim, SourceRecords, SourceState,
};
use skein_proto::{BoundedVec, Credential, NodeId, UnixTime};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::answer::is_online;
use super::arc::Arc;
use super::lots::{self, Ticket, Worth};

/// Claims kept in all: about 150 MB. A network of 100,000 nodes with 20 contents each gives each of
/// its 950 supernodes some 6,000.
const MAX_SOURCES: usize = 500_000;

/// Nodes kept under their names: about 40 MB. The same network gives each some 300.
const MAX_NODES: usize = 100_000;

/// Claims kept of one owner. In a network of three supernodes each of them keeps all claims of
/// everyone.
const MAX_OWNED: u32 = 50_000;

/// The nodes of one name together have at most this part of the room that is left: so the more is
/// taken, the less anybody may have, and it takes 68 greedy names until there is no room for the
/// 20 contents of one more. Anybody can make up contents that lie where they want.
const GREED: usize = 8;

/// Sources kept of one content: a download takes from fewer at once, and three holders that choose
/// each by its own lot know up to three times as many.
pub(super) const MAX_PER_CONTENT: usize = 64;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept.
    Kept,
    /// What is here already is as fresh, or fresher.
    Stale,
    /// Its content has so many sources that there is no room for this one.
    Crowded,
    /// The table, or the owner's share of it, is full.
    Full,
}

#[derive(Debug)]
struct Owner {
    credential: Shared<Credential>,
    presence: Option<Shared<Presence>>,
    loss: Option<Shared<Loss>>,
    /// Where it is kept under its name.
    name: Option<Box<Place>>,
    claims: u32,
    /// Under what its claims are counted in [`Table::by_name`].
    account: u64,
    /// By which its lot is drawn. All sources of a popular content are gone through for each that comes,
    /// and what stands in their credentials is elsewhere in memory.
    number: u64,
}

/// A claim, and what of it is asked for where all claims of a content are gone through.
#[derive(Debug)]
struct Source {
    claim: Shared<SourceClaim>,
    worth: Worth,
}

/// The records that a supernode keeps for the ring.
#[derive(Debug)]
pub(super) struct Table {
    owners: Vec<Option<Owner>>,
    free: Vec<u32>,
    by_node: HashMap<NodeId, u32>,
    /// Claims of all nodes of a name, by eight bytes of its hash.
    by_name: HashMap<u64, u32>,
    nodes: BTreeSet<(Place, u32)>,
    sources: BTreeMap<(Place, u32), Source>,
    /// The most claims, and the most nodes under their names.
    most: (usize, usize),
    /// Known to this supernode alone, so that nobody can choose a key that always wins.
    salt: u64,
}

/// Where a key is on the ring.
pub(crate) fn place_of(key: &DirectoryKey) -> Place {
    match key {
        DirectoryKey::Name(name) => Place::of(b"skein ring name", name.as_str().as_bytes()),
        DirectoryKey::Content(content) => Place::of(b"skein ring content", content.as_bytes()),
    }
}

/// Of two statements of one node the later holds. No two of one run are of the same second: one that
/// is there has been started again since it was gone.
fn fresher_presence(new: &Presence, old: &Presence) -> bool {
    (new.issued, new.online) > (old.issued, old.online)
}

pub(super) fn fresher_claim(new: &SourceClaim, old: &SourceClaim) -> bool {
    (new.issued, new.state) > (old.issued, old.state)
}

/// Whether `new` says something that `old` does not.
pub(super) fn fresher_node(new: &NodeRecord, old: &NodeRecord) -> bool {
    let (said, known) = (new.presence.unverified(), old.presence.unverified());
    fresher_presence(said, known)
        || (said == known && new.loss.is_some() && old.loss.is_none())
        || (said == known
            && new.credential.unverified().issued > old.credential.unverified().issued)
}

impl Table {
    pub(super) fn new(salt: u64) -> Self {
        Self::with_room(salt, (MAX_SOURCES, MAX_NODES))
    }

    /// A table with room for so many claims, and so many nodes.
    pub(super) fn with_room(salt: u64, most: (usize, usize)) -> Self {
        Self {
            owners: Vec::new(),
            free: Vec::new(),
            by_node: HashMap::default(),
            by_name: HashMap::default(),
            nodes: BTreeSet::new(),
            sources: BTreeMap::new(),
            most,
            salt,
        }
    }

    /// Claims kept, and nodes kept under their names.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sources.len(), self.nodes.len())
    }

    fn owner(&self, number: u32) -> Option<&Owner> {
        self.owners.get(number as usize)?.as_ref()
    }

    fn owner_mut(&mut self, number: u32) -> Option<&mut Owner> {
        self.owners.get_mut(number as usize)?.as_mut()
    }

    fn record(&self, number: u32) -> Option<NodeRecord> {
        let owner = self.owner(number)?;
        Some(NodeRecord {
            credential: owner.credential.clone(),
            presence: owner.presence.clone()?,
            loss: owner.loss.clone(),
        })
    }

    /// The credential kept of a node: one that equals it need not be checked again.
    pub(super) fn credential(&self, node: &NodeId) -> Option<&Shared<Credential>> {
        Some(&self.owner(*self.by_node.get(node)?)?.credential)
    }

    /// Whether a node's record would change what is kept: if not, it need not be checked.
    pub(super) fn wants_node(&self, place: Place, record: &NodeRecord) -> bool {
        let node = record.credential.unverified().node;
        let Some(number) = self.by_node.get(&node) else { return true };
        let known = self.record(*number).filter(|_| self.nodes.contains(&(place, *number)));
        known.is_none_or(|known| fresher_node(record, &known))
    }

    /// Whether a claim would change what is kept: if not, it need not be checked.
    pub(super) fn wants_claim(&self, place: Place, node: &NodeId, claim: &SourceClaim) -> bool {
        let known = self.by_node.get(node).and_then(|number| self.sources.get(&(place, *number)));
        known.is_none_or(|known| fresher_claim(claim, known.claim.unverified()))
    }

    /// Keeps a node under its name. The record was checked.
    pub(super) fn put_node(&mut self, place: Place, record: NodeRecord) -> Taken {
        if !self.wants_node(place, &record) {
            return Taken::Stale;
        }
        // What is kept already goes on being kept up to date.
        let node = record.credential.unverified().node;
        let known = self.by_node.get(&node).and_then(|number| self.owner(*number));
        if self.nodes.len() >= self.most.1 && known.is_none_or(|owner| owner.name.is_none()) {
            return Taken::Full;
        }
        let number = self.enter(&record.credential);
        let Some(owner) = self.owner_mut(number) else { return Taken::Full };
        let before = owner.name.replace(Box::new(place)).filter(|before| **before != place);
        owner.locate(record.presence, record.loss);
        if let Some(before) = before {
            self.nodes.remove(&(*before, number));
        }
        self.nodes.insert((place, number));
        Taken::Kept
    }

    /// Keeps a claim. It, the credential and the presence were checked.
    pub(super) fn put_source(
        &mut self,
        place: Place,
        credential: &Shared<Credential>,
        presence: Option<&Shared<Presence>>,
        claim: Shared<SourceClaim>,
        now: UnixTime,
    ) -> Taken {
        let node = credential.unverified().node;
        let number = self.by_node.get(&node).copied();
        let before = number.and_then(|number| self.sources.get(&(place, number)));
        if before
            .is_some_and(|before| !fresher_claim(claim.unverified(), before.claim.unverified()))
        {
            return Taken::Stale;
        }
        let known = before.is_some();
        if !known {
            let owned = number.and_then(|number| self.owner(number)).map_or(0, |own| own.claims);
            let account = number.and_then(|number| self.owner(number)).map(|owner| owner.account);
            let account = account.unwrap_or_else(|| account_of(credential));
            let of_name = self.by_name.get(&account).map_or(0, |count| *count as usize);
            let room = self.most.0.saturating_sub(self.sources.len());
            if owned >= MAX_OWNED || of_name >= room / GREED {
                return Taken::Full;
            }
            if !self.make_room(place, (&node, account), claim.unverified().state, now) {
                return Taken::Crowded;
            }
        }
        let number = self.enter(credential);
        let Some(owner) = self.owner_mut(number) else { return Taken::Full };
        if let Some(presence) = presence {
            owner.locate(presence.clone(), None);
        }
        owner.claims += u32::from(!known);
        let account = owner.account;
        if !known {
            *self.by_name.entry(account).or_default() += 1;
        }
        let worth = Worth::of(claim.unverified().state);
        self.sources.insert((place, number), Source { claim, worth });
        Taken::Kept
    }

    /// Whether there is room for one more source of a content; the one that the lot falls upon
    /// makes it, which may be the new one itself.
    fn make_room(
        &mut self,
        place: Place,
        (new, account): (&NodeId, u64),
        state: SourceState,
        now: UnixTime,
    ) -> bool {
        let there = self.sources.range((place, 0)..=(place, u32::MAX));
        if there.clone().take(MAX_PER_CONTENT).count() < MAX_PER_CONTENT {
            return true;
        }
        let salt = lots::of_the_hour(self.salt, now);
        let ticket = |worth, account, node: u64, number| Ticket {
            worth,
            name: lots::draw(account, salt),
            node: lots::draw(node, salt),
            number,
        };
        let mut tickets: Vec<Ticket<Option<u32>>> = there
            .filter_map(|((_, number), source)| {
                let owner = self.owner(*number)?;
                Some(ticket(source.worth, owner.account, owner.number, Some(*number)))
            })
            .collect();
        tickets.push(ticket(Worth::of(state), account, lots::of_node(new), None));
        match lots::last(tickets) {
            Some(number) => {
                self.remove_source(place, number);
                true
            }
            None => false,
        }
    }

    /// The number of an owner, entered if it is new; the later credential is kept.
    fn enter(&mut self, credential: &Shared<Credential>) -> u32 {
        let node = credential.unverified().node;
        if let Some(number) = self.by_node.get(&node).copied() {
            if let Some(owner) = self.owner_mut(number)
                && credential.unverified().issued > owner.credential.unverified().issued
            {
                owner.credential = credential.clone();
            }
            return number;
        }
        let credential = credential.clone();
        let account = account_of(&credential);
        let owner = Owner {
            credential,
            presence: None,
            loss: None,
            name: None,
            claims: 0,
            account,
            number: lots::of_node(&node),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.owners.push(None);
            // Far fewer than u32 can count: each owner has a record, and those are bounded.
            u32::try_from(self.owners.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.owners.get_mut(number as usize) {
            *slot = Some(owner);
        }
        self.by_node.insert(node, number);
        number
    }

    fn leave_if_unused(&mut self, number: u32) {
        let Some(owner) = self.owner(number) else { return };
        if owner.claims == 0 && owner.name.is_none() {
            let node = owner.credential.unverified().node;
            self.by_node.remove(&node);
            self.owners[number as usize] = None;
            self.free.push(number);
        }
    }

    fn remove_source(&mut self, place: Place, number: u32) {
        if self.sources.remove(&(place, number)).is_some()
            && let Some(owner) = self.owner_mut(number)
        {
            owner.claims -= 1;
            let account = owner.account;
            if let Some(count) = self.by_name.get_mut(&account) {
                *count -= 1;
                if *count == 0 {
                    self.by_name.remove(&account);
                }
            }
            self.leave_if_unused(number);
        }
    }

    fn remove_node(&mut self, place: Place, number: u32) {
        if self.nodes.remove(&(place, number))
            && let Some(owner) = self.owner_mut(number)
        {
            owner.name = None;
            self.leave_if_unused(number);
        }
    }

    /// The nodes kept under a name: those that are there before the others, and the latest word
    /// first, since an answer does not hold any number of them.
    pub(super) fn nodes(&self, place: Place, now: UnixTime) -> Vec<NodeRecord> {
        let mut nodes: Vec<NodeRecord> = self
            .nodes
            .range((place, 0)..=(place, u32::MAX))
            .filter_map(|(_, number)| self.record(*number))
            .filter(|record| now < record.credential.unverified().expires)
            .collect();
        nodes.sort_by_key(|record| {
            (!is_online(record, now), Reverse(record.presence.unverified().issued))
        });
        nodes
    }

    /// Sources of a content, at most so many of them, drawn at random: one of each name, then a
    /// second one of each, until there are enough.
    pub(super) fn sources(
        &self,
        place: Place,
        count: usize,
        now: UnixTime,
        rng: &mut StdRng,
    ) -> Vec<SourceRecords> {
        let there = self.sources.range((place, 0)..=(place, u32::MAX));
        let mut found: Vec<SourceRecords> = there
            .filter(|(_, source)| source.worth != Worth::None)
            .filter_map(|((_, number), source)| self.source(*number, &source.claim))
            .filter(|source| is_alive(source, now))
            .collect();
        if found.len() > count {
            found.shuffle(rng);
            let account = |source: &SourceRecords| account_of(&source.credential);
            lots::by_turns(&mut found, account);
            found.truncate(count);
        }
        found
    }

    fn source(&self, number: u32, claim: &Shared<SourceClaim>) -> Option<SourceRecords> {
        let owner = self.owner(number)?;
        Some(SourceRecords {
            credential: owner.credential.clone(),
            presence: owner.presence.clone(),
            claims: BoundedVec::truncated([claim.clone()]),
        })
    }

    /// All nodes whose names lie on an arc, with their places.
    pub(super) fn nodes_on(&self, arc: Arc) -> impl Iterator<Item = (Place, NodeRecord)> {
        self.nodes_at(arc, |_| true)
    }

    /// Those of them at certain places: the others are not looked at.
    pub(super) fn nodes_at(
        &self,
        arc: Arc,
        which: impl Fn(Place) -> bool,
    ) -> impl Iterator<Item = (Place, NodeRecord)> {
        let all = ranges(arc).into_iter().flat_map(|range| self.nodes.range(range));
        let some = all.filter(move |(place, _)| which(*place));
        some.filter_map(|(place, number)| Some((*place, self.record(*number)?)))
    }

    /// All claims of contents on an arc, withdrawn ones as well, with their places.
    pub(super) fn sources_on(&self, arc: Arc) -> impl Iterator<Item = (Place, SourceRecords)> {
        self.sources_at(arc, |_| true)
    }

    /// Those of them at certain places: the others are not looked at.
    pub(super) fn sources_at(
        &self,
        arc: Arc,
        which: impl Fn(Place) -> bool,
    ) -> impl Iterator<Item = (Place, SourceRecords)> {
        let all = ranges(arc).into_iter().flat_map(|range| self.sources.range(range));
        let some = all.filter(move |((place, _), _)| which(*place));
        some.filter_map(|((place, number), source)| {
            Some((*place, self.source(*number, &source.claim)?))
        })
    }

    /// Drops what has expired, and what is none of this supernode's business any more. Answers how
    /// many records of the two sorts went.
    pub(super) fn sweep(&mut self, now: UnixTime, keep: impl Fn(Place) -> bool) -> (u64, u64) {
        let expires = |number: u32| {
            self.owner(number).map_or(UnixTime(0), |owner| owner.credential.unverified().expires)
        };
        let (mut gone, mut nodes, mut foreign) = (Vec::new(), Vec::new(), 0);
        for ((place, number), source) in &self.sources {
            let dead = now >= source.claim.unverified().expires || now >= expires(*number);
            if dead || !keep(*place) {
                foreign += u64::from(!dead);
                gone.push((*place, *number));
            }
        }
        for (place, number) in &self.nodes {
            let dead = now >= expires(*number);
            if dead || !keep(*place) {
                foreign += u64::from(!dead);
                nodes.push((*place, *number));
            }
        }
        let all = (gone.len() + nodes.len()) as u64;
        for (place, number) in gone {
            self.remove_source(place, number);
        }
        for (place, number) in nodes {
            self.remove_node(place, number);
        }
        (all - foreign, foreign)
    }
}

impl Owner {
    /// Takes in where the owner is, if that is news.
    fn locate(&mut self, presence: Shared<Presence>, loss: Option<Shared<Loss>>) {
        let known = self.presence.as_ref().map(|known| known.unverified());
        if known == Some(presence.unverified()) {
            self.loss = loss.or(self.loss.take());
        } else if known.is_none_or(|known| fresher_presence(presence.unverified(), known)) {
            self.presence = Some(presence);
            self.loss = loss;
        }
    }
}

fn is_alive(source: &SourceRecords, now: UnixTime) -> bool {
    now < source.credential.unverified().expires
        && source.claims.iter().all(|claim| now < claim.unverified().expires)
}

fn account_of(credential: &Shared<Credential>) -> u64 {
    let name = credential.unverified().name.as_str();
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

type Range = (Bound<(Place, u32)>, Bound<(Place, u32)>);

/// An arc as ranges of keys: two where it goes over the end of the numbers.
fn ranges(arc: Arc) -> Vec<Range> {
    let after = Bound::Excluded((arc.after, u32::MAX));
    let to = Bound::Included((arc.to, u32::MAX));
    if arc.after < arc.to {
        vec![(after, to)]
    } else {
        vec![(after, Bound::Unbounded), (Bound::Unbounded, to)]
    }
}

//! Look-ups that a supernode makes, for its own user or for a child.
//!
//! With all supernodes known, one question is enough: the nearest of those who keep the key is
//! asked. The next one is asked when nothing comes in time, and when it has nothing, or nothing
//! that shows a node to be there: it may be new, or lie. That there is nothing is said by all
//! holders together: each that has not failed has spoken. What counts is how many of them have, not
//! how many answers came: a holder speaks once, and whoever is asked only because a holder has
//! pointed there speaks with that holder's voice.
//!
//! Of a content the sources that the first one names are enough, though it may name those only that
//! it likes: an answer is given once, and to wait for a second list would cost each look-up its time.

use crate::core::{Core, earlier};
use crate::io::Now;
use crate::membership::Place;
use rand::RngExt;
use skein_proto::directory::{DirectoryKey, Find, FindOutcome, Found, NodeRecord, SourceRecords};
use skein_proto::rumour::OwnerNumber;
use skein_proto::{BoundedVec, Instant, NodeId, QueryId, SupernodeEntry};
use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{Answer, retain_sound};
use super::table::{fresher_node, place_of};
use super::{COPIES, Holder};

/// How long an answer may take over a link that is there, beyond what the path takes four times.
const LINKED_PATIENCE: Duration = Duration::from_millis(500);

/// How long it may take where a link has to be made first.
const DIAL_PATIENCE: Duration = Duration::from_millis(2_500);

/// Look-ups at the same time, and those of one child: a person's client has as many.
const MAX_LOOKUPS: usize = 4_096;
const MAX_OF_CHILD: u32 = 64;

/// The children of one name together have at most this part of the room that is left: so whoever
/// has many nodes leaves room for the next name. One alone comes to 455 look-ups.
const SHARE: usize = 8;

/// Supernodes that are asked only because one that is no holder points to them.
const MAX_POINTED: usize = 2;

/// Who is asked at most: those, and always all three holders.
const MAX_ASKED: usize = COPIES + MAX_POINTED;

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    User(QueryId),
    Child(NodeId, QueryId),
}

/// Somebody who is asked, or may be.
#[derive(Clone, Copy, Debug)]
struct Holding {
    node: NodeId,
    /// The holder whose voice it has: its own, or that of the one who pointed to it.
    voice: NodeId,
    has_answered: bool,
}

#[derive(Debug)]
struct Lookup {
    key: DirectoryKey,
    asker: Asker,
    /// The name of the child that asks.
    owner: Option<OwnerNumber>,
    /// Who may be asked, the best last.
    left: Vec<Holding>,
    asked: Vec<Holding>,
    /// When the last one of those who were asked is late.
    deadline: Instant,
    nodes: Vec<NodeRecord>,
    sources: Vec<SourceRecords>,
    /// Holders that have said what they have.
    voices: Vec<NodeId>,
    /// Whether a holder is still fetching what it keeps.
    fetching: bool,
    redirected: bool,
}

/// Look-ups under way, by the ids under which holders are asked.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    running: BTreeMap<QueryId, Lookup>,
    /// How many of them each child waits for.
    of_children: BTreeMap<NodeId, u32>,
    /// How many of them the children of each name wait for.
    of_names: BTreeMap<OwnerNumber, u32>,
    next: Option<Instant>,
}

impl Holding {
    fn new(node: NodeId) -> Self {
        Self { node, voice: node, has_answered: false }
    }
}

impl Lookup {
    /// Whether what has come is worth the user's while.
    fn is_satisfied(&self, now: Now) -> bool {
        self.voices.len() >= COPIES
            || !self.sources.is_empty()
            || self.nodes.iter().any(|record| super::answer::is_online(record, now.unix))
    }

    /// A holder has said what it has.
    fn hear(&mut self, voice: NodeId) {
        if !self.voices.contains(&voice) {
            self.voices.push(voice);
        }
    }

    /// Whether somebody was asked who may still answer in time.
    fn is_open(&self) -> bool {
        self.asked.last().is_some_and(|last| !last.has_answered)
    }

    /// Takes in records that were checked; of two about one node, the later holds.
    fn merge(&mut self, nodes: Vec<NodeRecord>, sources: Vec<SourceRecords>) {
        for record in nodes {
            let owner = record.credential.unverified().node;
            let same = |known: &&mut NodeRecord| known.credential.unverified().node == owner;
            match self.nodes.iter_mut().find(same) {
                Some(known) if fresher_node(&record, known) => *known = record,
                Some(_) => {}
                None => self.nodes.push(record),
            }
        }
        for source in sources {
            let owner = source.credential.unverified().node;
            if !self.sources.iter().any(|known| known.credential.unverified().node == owner) {
                self.sources.push(source);
            }
        }
    }
}

impl Holder {
    /// Begins a look-up.
    pub(super) fn look_up(&mut self, core: &mut Core, key: DirectoryKey, asker: Asker, now: Now) {
        if self.lookups.running.len() >= MAX_LOOKUPS || !self.lookups.has_room(&asker) {
            core.counters.directory_finds_over_limit += 1;
            Answer::nothing(FindOutcome::OverBudget).give(core, asker, now);
            return;
        }
        let owner = match asker {
            // Whoever has shown no name shares the room of all who have not.
            Asker::Child(child, _) => {
                Some(core.peers.get(&child).and_then(|peer| peer.owner()).unwrap_or_default())
            }
            Asker::User(_) => None,
        };
        if owner.is_some_and(|owner| !self.lookups.has_room_for(owner)) {
            core.counters.directory_finds_over_share += 1;
            Answer::nothing(FindOutcome::OverBudget).give(core, asker, now);
            return;
        }
        core.counters.directory_lookups += 1;
        let place = place_of(&key);
        let holders = core.membership.successors(place, COPIES);
        let mut lookup = Lookup {
            left: ranked(core, &holders),
            key,
            asker,
            owner,
            asked: Vec::new(),
            deadline: now.instant,
            nodes: Vec::new(),
            sources: Vec::new(),
            voices: Vec::new(),
            fetching: false,
            redirected: false,
        };
        if holders.contains(&core.me) {
            let (nodes, sources) = self.kept(core, &lookup.key, now);
            lookup.merge(nodes, sources);
            // What is here may not be all while the arc is still being fetched.
            let whole = self.is_whole(core, place, now);
            if whole {
                lookup.hear(core.me);
            }
            lookup.fetching = !whole;
            if lookup.is_satisfied(now) || (whole && lookup.left.is_empty()) {
                core.counters.directory_first_try += 1;
                finish(core, lookup, now);
                return;
            }
        }
        let id = QueryId::from_bytes(core.rng.random());
        if let Asker::Child(child, _) = asker {
            *self.lookups.of_children.entry(child).or_default() += 1;
        }
        if let Some(owner) = owner {
            *self.lookups.of_names.entry(owner).or_default() += 1;
        }
        self.go_on(core, id, lookup, now);
    }

    /// What is kept here of a key.
    pub(super) fn kept(
        &mut self,
        core: &mut Core,
        key: &DirectoryKey,
        now: Now,
    ) -> (Vec<NodeRecord>, Vec<SourceRecords>) {
        let place = place_of(key);
        match key {
            DirectoryKey::Name(_) => (self.table.nodes(place, now.unix), Vec::new()),
            DirectoryKey::Content(_) => {
                let count = BoundedVec::<SourceRecords, 32>::LIMIT;
                (Vec::new(), self.table.sources(place, count, now.unix, &mut core.rng))
            }
        }
    }

    /// Asks the next one, or ends the look-up.
    fn go_on(&mut self, core: &mut Core, id: QueryId, mut lookup: Lookup, now: Now) {
        let next = if lookup.asked.len() < MAX_ASKED && !lookup.is_satisfied(now) {
            lookup.left.pop()
        } else {
            None
        };
        let Some(next) = next else {
            self.lookups.ended(&lookup);
            finish(core, lookup, now);
            return;
        };
        let holder = next.node;
        let patience = match core.peers.get(&holder) {
            Some(peer) if peer.hello.is_some() => LINKED_PATIENCE + peer.rtt * 4,
            _ => DIAL_PATIENCE,
        };
        lookup.asked.push(next);
        lookup.deadline = now.instant + patience;
        core.deliver(holder, Find { id, key: lookup.key.clone() }, now);
        self.lookups.next = earlier(self.lookups.next, Some(lookup.deadline));
        self.lookups.running.insert(id, lookup);
    }

    /// An answer came.
    pub(super) fn on_found(&mut self, core: &mut Core, peer: NodeId, mut found: Found, now: Now) {
        // Nobody answers twice: a second answer would pass for that of another holder.
        let asked = self.lookups.running.get_mut(&found.id).and_then(|lookup| {
            lookup.asked.iter_mut().find(|asked| asked.node == peer && !asked.has_answered)
        });
        let Some(asked) = asked else {
            core.counters.directory_answers_unasked += 1;
            return;
        };
        asked.has_answered = true;
        let voice = asked.voice;
        let Some(mut lookup) = self.lookups.running.remove(&found.id) else { return };
        retain_sound(core, &lookup.key, &mut found, now);
        let first = lookup.asked.len() == 1 && lookup.voices.is_empty();
        match found.outcome {
            FindOutcome::Answered => {
                lookup.merge(found.nodes.into_vec(), found.sources.into_vec());
                lookup.hear(voice);
            }
            FindOutcome::Elsewhere => {
                core.counters.directory_redirected += 1;
                follow(core, &mut lookup, (peer, voice), &found.holders, now);
            }
            FindOutcome::Fetching => {
                lookup.merge(found.nodes.into_vec(), found.sources.into_vec());
                lookup.fetching = true;
            }
            FindOutcome::Unreachable | FindOutcome::OverBudget | FindOutcome::NotAttached => {}
        }
        // Also of one that has not all of its arc yet: what it was asked for was there.
        if first && lookup.is_satisfied(now) {
            core.counters.directory_first_try += 1;
        }
        if lookup.is_open() && !lookup.is_satisfied(now) {
            // This one was late; the next one has been asked already.
            self.lookups.running.insert(found.id, lookup);
        } else {
            self.go_on(core, found.id, lookup, now);
        }
    }

    /// Goes on with those whose answer does not come, and the one whose question was not delivered.
    pub(super) fn on_find_failed(&mut self, core: &mut Core, peer: NodeId, id: QueryId, now: Now) {
        if let Some(lookup) = self.lookups.running.remove(&id) {
            if lookup.asked.last().is_some_and(|last| last.node == peer && !last.has_answered) {
                core.counters.directory_unanswered += 1;
                self.go_on(core, id, lookup, now);
            } else {
                self.lookups.running.insert(id, lookup);
            }
        }
    }

    /// Look-ups that this supernode will not end.
    pub(super) fn take_lookups(&mut self) -> Vec<(Asker, DirectoryKey)> {
        let running = std::mem::take(&mut self.lookups.running);
        self.lookups.of_children.clear();
        self.lookups.of_names.clear();
        running.into_values().map(|lookup| (lookup.asker, lookup.key)).collect()
    }

    pub(super) fn step_lookups(&mut self, core: &mut Core, now: Now) {
        if self.lookups.next.is_none_or(|next| now.instant < next) {
            return;
        }
        let late = |lookup: &Lookup| now.instant >= lookup.deadline;
        let late: Vec<QueryId> = self
            .lookups
            .running
            .iter()
            .filter(|(_, lookup)| late(lookup))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(lookup) = self.lookups.running.remove(&id) {
                core.counters.directory_unanswered += 1;
                self.go_on(core, id, lookup, now);
            }
        }
        let deadlines = self.lookups.running.values().map(|lookup| lookup.deadline);
        self.lookups.next = deadlines.min();
    }
}

impl Lookups {
    fn has_room(&self, asker: &Asker) -> bool {
        let Asker::Child(child, _) = asker else { return true };
        self.of_children.get(child).is_none_or(|count| *count < MAX_OF_CHILD)
    }

    /// Whether a child of this name may have one more.
    fn has_room_for(&self, owner: OwnerNumber) -> bool {
        let room = MAX_LOOKUPS.saturating_sub(self.running.len()) / SHARE;
        self.of_names.get(&owner).is_none_or(|count| (*count as usize) < room)
    }

    fn ended(&mut self, lookup: &Lookup) {
        if let Asker::Child(child, _) = &lookup.asker {
            count_down(&mut self.of_children, child);
        }
        if let Some(owner) = &lookup.owner {
            count_down(&mut self.of_names, owner);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.next
    }
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The holders in the order in which they are asked, the first one last: those that are linked by
/// their round trip, then the others by their load.
fn ranked(core: &mut Core, holders: &[NodeId]) -> Vec<Holding> {
    let mut ranked: Vec<((bool, u128), u32, NodeId)> = Vec::new();
    for holder in holders.iter().filter(|holder| **holder != core.me) {
        let linked = core.peers.get(holder).filter(|peer| peer.hello.is_some());
        let cost = match linked {
            Some(peer) => (false, peer.rtt.as_micros()),
            None => {
                let load = core.membership.get(holder).map_or(100, |member| member.load.percent());
                (true, u128::from(load / 10))
            }
        };
        // Equals are asked in any order, so that the first of three is not asked by everyone.
        ranked.push((cost, core.rng.random(), *holder));
    }
    ranked.sort_unstable();
    ranked.into_iter().rev().map(|(_, _, holder)| Holding::new(holder)).collect()
}

/// Takes up whom one points to that is no holder itself, if that brings the look-up nearer.
fn follow(
    core: &mut Core,
    lookup: &mut Lookup,
    (peer, voice): (NodeId, NodeId),
    holders: &[SupernodeEntry],
    now: Now,
) {
    if std::mem::replace(&mut lookup.redirected, true) {
        return;
    }
    let place = place_of(&lookup.key);
    let distance = |node: &NodeId| Place::of_node(node).0.wrapping_sub(place.0);
    let nearer: Vec<SupernodeEntry> = holders
        .iter()
        .filter(|entry| entry.node != core.me && distance(&entry.node) < distance(&peer))
        .filter(|entry| lookup.asked.iter().all(|asked| asked.node != entry.node))
        .cloned()
        .collect();
    core.hear_of(&nearer, false, now);
    let mut pointed = 0;
    let next: Vec<Holding> = nearer
        .iter()
        .filter_map(|entry| {
            // Whoever this supernode takes for a holder itself speaks for itself.
            if let Some(at) = lookup.left.iter().position(|left| left.node == entry.node) {
                return Some(lookup.left.remove(at));
            }
            pointed += 1;
            let other = Holding { voice, ..Holding::new(entry.node) };
            (pointed <= MAX_POINTED).then_some(other)
        })
        .collect();
    lookup.left.extend(next.into_iter().rev());
}

fn finish(core: &mut Core, lookup: Lookup, now: Now) {
    let found_some = !(lookup.nodes.is_empty() && lookup.sources.is_empty());
    let outcome = if !lookup.voices.is_empty() || found_some {
        FindOutcome::Answered
    } else if lookup.fetching {
        FindOutcome::Fetching
    } else {
        FindOutcome::Unreachable
    };
    let Lookup { asker, nodes, sources, .. } = lookup;
    let empty = !nodes.iter().any(|record| super::answer::is_online(record, now.unix))
        && sources.is_empty();
    core.counters.directory_found_nothing += u64::from(empty);
    Answer { outcome, nodes, sources }.give(core, asker, now);
}

#[cfg(test)]
impl Holder {
    /// How many look-ups are under way.
    pub(super) fn running_lookups(&self) -> usize {
        self.lookups.running.len()
    }

    /// A look-up under way, and who was asked last.
    pub(super) fn running_lookup(&self) -> Option<(QueryId, NodeId)> {
        let (id, lookup) = self.lookups.running.first_key_value()?;
        Some((*id, lookup.asked.last()?.node))
    }
}

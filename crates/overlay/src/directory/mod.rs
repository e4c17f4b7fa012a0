//! The directory: names and content ids looked up exactly, in about one hop.
//!
//! Every supernode knows all others on the ring ([`crate::membership`]); a key belongs to the
//! [`COPIES`] supernodes that follow it. Records are signed by their owners and expire; an owner
//! hands them to its parent, which puts them where they belong. One hop with full membership:
//! Gupta, Liskov and Rodrigues, NSDI 2004; the ring: Karger et al., STOC 1997.
//!
//! | file | decides |
//! |---|---|
//! | `announce` | what a node says of itself, and when |
//! | `cards` | what a parent passes on of its children |
//! | `bond` | whose child a node is, by its own word |
//! | `outbox`, `queue` | when records travel, and together with which |
//! | `check` | which records are believed |
//! | `table` | which records are kept |
//! | `lots` | which sources of a popular content are |
//! | `arc`, `reach` | which arc of the ring is kept, and where its records come from |
//! | `pages` | how those of an arc go to another one |
//! | `lookup` | who is asked for a key, and who next |
//! | `finds` | the look-ups of an ordinary node |
//! | `answer` | what is told of what was found |

mod announce;
mod answer;
mod arc;
mod bond;
mod cards;
mod check;
mod dispatch;
mod finds;
mod lookup;
mod lots;
mod outbox;
mod pages;
mod queue;
mod reach;
pub(crate) mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_announcer;
#[cfg(test)]
mod tests_of_holders;

pub use answer::{FoundNode, FoundSource};
pub use dispatch::DirectorySnapshot;

use crate::bucket::TokenBucket;
use crate::core::{Core, earlier};
use crate::hashed::HashMap;
use crate::io::Now;
use crate::membership::Place;
use announce::Announcer;
use arc::Arc;
use cards::Cards;
use finds::Finds;
use lookup::Lookups;
use outbox::{Hurry, Outbox};
use queue::Parcel;
use rand::RngExt;
use reach::Reach;
use skein_proto::directory::{
    DirectoryKey, Find, FindOutcome, Found, NodeRecord, Put, SourceRecords,
};
use skein_proto::{BoundedVec, Instant, NodeId, SupernodeEntry};
use std::collections::BTreeMap;
use std::time::Duration;
use table::{Table, Taken, place_of};

/// Supernodes that keep a key: while 30 % of all die at once, 97 % of all keys are kept by
/// another one.
pub(crate) const COPIES: usize = 3;

/// A record is taken by so many more supernodes than keep it in the end: two views of the ring may
/// differ by those who have just come or gone.
const SLACK: usize = 2;

/// How old a supernode is when it looks whether it has put and taken records where they do not
/// belong: one that has just become one knows few of the others.
const SETTLED: [Duration; 3] =
    [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(180)];

/// How often what has expired or moved away is dropped.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// Work that a peer may cause with its records, and as much with its questions: a signature check or
/// a record sent costs one, 50 µs at most. The burst is a second of one core. The two are counted
/// apart, so that whoever puts its children's libraries can still look something up.
const WORK: (u64, u64) = (200, 20_000);

/// Budgets that are kept in mind: of those linked within the 100 s that one takes to fill.
const MAX_METERED: usize = 131_072;

/// The directory as this node takes part in it. An ordinary node has the first two parts only.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    announcer: Announcer,
    finds: Finds,
    holder: Option<Box<Holder>>,
}

/// What a peer causes work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    Records,
    Questions,
}

/// What a supernode does for the directory.
#[derive(Debug)]
struct Holder {
    table: Table,
    outbox: Outbox,
    reach: Reach,
    lookups: Lookups,
    cards: Cards,
    meters: HashMap<(NodeId, Cause), TokenBucket>,
    /// When it is settled, a little more each time; the last one first.
    settled: Vec<Instant>,
    next_sweep: Instant,
}

impl Holder {
    fn new(core: &mut Core, now: Now) -> Self {
        Self {
            table: Table::new(core.rng.random()),
            outbox: Outbox::new(now.instant),
            reach: Reach::default(),
            lookups: Lookups::default(),
            cards: Cards::default(),
            meters: HashMap::default(),
            settled: SETTLED.iter().rev().map(|age| now.instant + *age).collect(),
            next_sweep: now.instant + core.jitter(SWEEP),
        }
    }

    /// Whether a peer may cause so much work now; if so, it is accounted for.
    fn may_cause(
        &mut self,
        core: &mut Core,
        (peer, cause): (NodeId, Cause),
        work: usize,
        now: Now,
    ) -> bool {
        let meter = (peer, cause);
        let room = self.meters.contains_key(&meter) || self.meters.len() < MAX_METERED;
        let full = || TokenBucket::new(WORK.0, WORK.1, now.instant);
        let granted = room
            && self.meters.entry(meter).or_insert_with(full).take_many(work as u64, now.instant);
        core.counters.directory_over_budget += u64::from(!granted);
        granted
    }

    /// Puts a record where its key belongs, here included.
    fn publish(
        &mut self,
        core: &mut Core,
        key: &DirectoryKey,
        (parcel, hurry): (Parcel, Hurry),
        now: Now,
    ) {
        let place = place_of(key);
        for holder in core.membership.successors(place, COPIES) {
            if holder == core.me {
                _ = self.keep(core, place, parcel.clone(), now);
            } else {
                self.outbox.put(core, holder, (parcel.clone(), hurry), now);
            }
        }
    }

    /// Keeps a record that was checked. Answers whether it is here now, or a later one.
    fn keep(&mut self, core: &mut Core, place: Place, parcel: Parcel, now: Now) -> bool {
        let taken = match parcel {
            Parcel::Node(record) => self.table.put_node(place, record),
            Parcel::Source(credential, presence, claim) => {
                self.table.put_source(place, &credential, presence.as_ref(), claim, now.unix)
            }
        };
        match taken {
            Taken::Kept => core.counters.directory_taken += 1,
            Taken::Stale => core.counters.directory_stale += 1,
            Taken::Crowded => core.counters.directory_refused_crowded += 1,
            Taken::Full => core.counters.directory_refused_full += 1,
        }
        matches!(taken, Taken::Kept | Taken::Stale)
    }

    /// Records come from another supernode.
    fn on_put(&mut self, core: &mut Core, peer: NodeId, put: Put, now: Now) {
        for record in put.nodes {
            let key = DirectoryKey::Name(record.credential.unverified().name.clone());
            let place = place_of(&key);
            let is_here = self.on_node(core, place, record, now);
            self.reach.on_record(peer, place, is_here);
        }
        for source in put.sources {
            self.on_source(core, peer, source, now);
        }
    }

    /// Takes in a node if it belongs here and is sound. Answers whether it is here now.
    fn on_node(&mut self, core: &mut Core, place: Place, record: NodeRecord, now: Now) -> bool {
        if !is_mine(core, place) {
            core.counters.directory_refused_foreign += 1;
            return false;
        }
        if !self.table.wants_node(place, &record) {
            core.counters.directory_stale += 1;
            return true;
        }
        let checked = self
            .check_credential(core, &record.credential, now)
            .and_then(|()| check::presence(&record.credential, &record.presence, now))
            .and_then(|()| match &record.loss {
                Some(loss) => check::loss(&record.credential, &record.presence, loss, now),
                None => Ok(()),
            });
        match checked {
            Ok(()) => self.keep(core, place, Parcel::Node(record), now),
            Err(fault) => {
                fault.count(core);
                false
            }
        }
    }

    fn on_source(&mut self, core: &mut Core, peer: NodeId, source: SourceRecords, now: Now) {
        let SourceRecords { credential, presence, claims } = source;
        let node = credential.unverified().node;
        // The owner is checked with the first claim that is of interest.
        let mut owner = None;
        for claim in claims {
            let place = place_of(&DirectoryKey::Content(claim.unverified().content));
            let is_here = if !is_mine(core, place) {
                core.counters.directory_refused_foreign += 1;
                false
            } else if !self.table.wants_claim(place, &node, claim.unverified()) {
                core.counters.directory_stale += 1;
                true
            } else {
                let sound = *owner.get_or_insert_with(|| {
                    self.check_credential(core, &credential, now).and_then(|()| match &presence {
                        Some(presence) => check::presence(&credential, presence, now),
                        None => Ok(()),
                    })
                });
                match sound.and_then(|()| check::claim(&credential, &claim, now)) {
                    Ok(()) => {
                        let parcel = Parcel::Source(credential.clone(), presence.clone(), claim);
                        self.keep(core, place, parcel, now)
                    }
                    Err(fault) => {
                        fault.count(core);
                        false
                    }
                }
            };
            self.reach.on_record(peer, place, is_here);
        }
    }

    fn check_credential(
        &self,
        core: &Core,
        credential: &skein_proto::directory::Shared<skein_proto::Credential>,
        now: Now,
    ) -> Result<(), check::Fault> {
        let known = self.table.credential(&credential.unverified().node);
        if known == Some(credential) && now.unix < credential.unverified().expires {
            return Ok(());
        }
        check::credential(core, credential, now)
    }

    /// Another supernode asks what is kept here of a key.
    fn on_find(&mut self, core: &mut Core, peer: NodeId, find: Find, now: Now) {
        let place = place_of(&find.key);
        let (nodes, sources) = self.kept(core, &find.key, now);
        let holders = core.membership.successors(place, COPIES);
        let nothing = nodes.is_empty() && sources.is_empty();
        let is_holder = holders.contains(&core.me);
        let found = if nothing && !is_holder {
            let entries = holders.iter().filter_map(|node| entry_of(core, node));
            let entries = BoundedVec::truncated(entries);
            Found { holders: entries, ..Found::nothing(find.id, FindOutcome::Elsewhere) }
        } else {
            // To say that this is all would be to speak of what is not here yet.
            let outcome = if is_holder && !self.is_whole(core, place, now) {
                FindOutcome::Fetching
            } else {
                FindOutcome::Answered
            };
            Found {
                nodes: BoundedVec::truncated(nodes),
                sources: BoundedVec::truncated(sources),
                ..Found::nothing(find.id, outcome)
            }
        };
        core.counters.directory_answered += 1;
        core.send(peer, found);
    }

    /// Whether all that there is of a place that belongs to this supernode is here, as far as it
    /// can know. Where no other supernode is known, there is nobody to fetch it from.
    fn is_whole(&self, core: &Core, place: Place, now: Now) -> bool {
        core.membership.len() == 0 || !self.reach.is_pending(place, now)
    }

    /// Sends on what was put here, or elsewhere, while few of the others were known.
    fn settle(&mut self, core: &mut Core, now: Now) {
        let whole = Arc::whole(Place::of_node(&core.me));
        let foreign = |place| !core.membership.is_mine(place, COPIES);
        let nodes = self.table.nodes_at(whole, foreign);
        let sources = self.table.sources_at(whole, foreign);
        let moved: Vec<(Place, Parcel)> = nodes
            .map(|(place, record)| (place, Parcel::Node(record)))
            .chain(sources.flat_map(|(place, source)| {
                parcels(source).into_iter().map(move |parcel| (place, parcel))
            }))
            .collect();
        for (place, parcel) in moved {
            for holder in core.membership.successors(place, COPIES) {
                self.outbox.put(core, holder, (parcel.clone(), Hurry::Soon), now);
            }
        }
        self.publish_cards(core, now);
    }

    fn step(&mut self, core: &mut Core, now: Now) {
        if self.settled.pop_if(|at| now.instant >= *at).is_some() {
            self.settle(core, now);
        }
        self.reach.step(core, now);
        self.step_lookups(core, now);
        self.outbox.step(core, now);
        if now.instant >= self.next_sweep {
            self.next_sweep = now.instant + core.jitter(SWEEP);
            let (expired, moved) = self.table.sweep(now.unix, |place| self.reach.keeps(place));
            core.counters.directory_ended += expired;
            core.counters.directory_let_go += moved;
            self.reach.swept();
            self.meters.retain(|_, bucket| !bucket.is_full(now.instant));
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let mut wake = earlier(Some(self.next_sweep), self.outbox.next_wakeup());
        wake = earlier(wake, self.reach.next_wakeup());
        wake = earlier(wake, self.settled.last().copied());
        earlier(wake, self.lookups.next_wakeup())
    }

    /// Hands what is kept here to those who keep it when this supernode is gone.
    fn hand_over(&mut self, core: &mut Core, now: Now) {
        let whole = Arc::whole(Place::of_node(&core.me));
        let nodes: Vec<_> = self
            .table
            .nodes_on(whole)
            .map(|(place, record)| (place, vec![Parcel::Node(record)]))
            .collect();
        let sources: Vec<_> =
            self.table.sources_on(whole).map(|(place, source)| (place, parcels(source))).collect();
        let mut heirs: BTreeMap<NodeId, Vec<Parcel>> = BTreeMap::new();
        for (place, parcels) in nodes.into_iter().chain(sources) {
            if let Some(heir) = core.membership.heir(place, COPIES) {
                heirs.entry(heir).or_default().extend(parcels);
            }
        }
        // What children have just said is nowhere else.
        self.outbox.flush(core, now);
        for (heir, parcels) in heirs {
            let records = self.outbox.hand_over(core, heir, parcels, now);
            core.counters.directory_records_moved += u64::from(records);
        }
    }
}

/// Whether a key at this place is among those that may be put here.
fn is_mine(core: &Core, place: Place) -> bool {
    core.membership.is_mine(place, COPIES + SLACK)
}

fn parcels(source: SourceRecords) -> Vec<Parcel> {
    let SourceRecords { credential, presence, claims } = source;
    claims
        .into_iter()
        .map(|claim| Parcel::Source(credential.clone(), presence.clone(), claim))
        .collect()
}

fn entry_of(core: &Core, node: &NodeId) -> Option<SupernodeEntry> {
    let member = core.membership.get(node)?;
    Some(SupernodeEntry {
        node: *node,
        addresses: BoundedVec::truncated(member.addresses.iter().copied()),
        load_percent: member.load.percent(),
        seen: member.issued,
    })
}

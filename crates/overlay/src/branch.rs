//! One query on its way: who waits for its hits, who is still being waited for, and which hits
//! are passed on.

use crate::core::Core;
use crate::covered::{number, tag};
use crate::hashed::HashSet;
use crate::io::{Now, Output};
use crate::relayed::{HITS_PER_WANTED, Relayed};
use crate::sieve::{Moment, Sieve};
use crate::sources::Wanted;
use crate::waves::Waves;
use skein_proto::message::{CancelSearch, Flood};
use skein_proto::query::{Coverage, StopReason};
use skein_proto::routing::SharedBytes;
use skein_proto::{
    BoundedVec, Common, ContentId, CredentialError, FileMeta, HitGroup, Instant, NodeId, Owner,
    Query, QueryId, Tag, Username, pack,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tags of covered supernodes in one `SearchDone`: those of the neighbours of forty neighbours.
const MAX_TAGS: usize = BoundedVec::<Tag, 2048>::LIMIT;

/// Neighbours of one supernode: more than are ever chosen. Whoever was asked what its neighbours'
/// tables say has no more tags to tell.
const MAX_DEGREE: usize = 64;

/// Groups of hits that are kept for whoever asks the same; an answer that large is not popular.
const MAX_ANSWER_GROUPS: usize = 1_024;

/// Reputation that makes a holder count for one more: a newcomer (10) counts once, the best fifty
/// times.
const STANDING: u32 = 20;

/// Who waits for the hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReplyTo {
    User,
    Peer(NodeId),
}

/// A neighbour that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Until when it is waited for.
    pub(crate) deadline: Instant,
    /// How far it was to pass the query on.
    pub(crate) hops: u8,
    /// Whether it has sent hits.
    pub(crate) brought: bool,
    /// Hits that are still taken from it.
    pub(crate) hits_left: usize,
}

/// What becomes of a query once this supernode's own index was searched for it.
#[derive(Debug)]
pub(crate) enum Then {
    /// It is passed on, as far as the neighbour said from whom it came.
    Relay { from: NodeId, hops: u8, besides: SharedBytes<6144> },
    /// It began here, and goes on in waves.
    Widen,
}

/// One query on its way.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) reply_to: ReplyTo,
    /// Under which id whoever waits has asked.
    pub(crate) reply_id: QueryId,
    /// Which search it belongs to.
    pub(crate) search: QueryId,
    pub(crate) query: Common<Query>,
    pub(crate) looked_for: Arc<Wanted>,
    wanted: usize,
    /// The contents passed on, where it began here.
    contents: HashSet<ContentId>,
    /// What was passed on, where it is somebody else's query.
    relayed: Relayed,
    /// Neighbours that have not said the end yet.
    pub(crate) waiting: BTreeMap<NodeId, Asked>,
    /// Neighbours whose index was searched for it.
    searched: BTreeSet<NodeId>,
    pub(crate) coverage: Coverage,
    /// The tags of the supernodes that are covered, as numbers, where it is somebody else's query; some
    /// twice.
    covered: Vec<u32>,
    /// How it is widened, where it began here.
    pub(crate) waves: Option<Box<Waves>>,
    /// What of its hits is held back, where it began here.
    sieve: Option<Box<Sieve>>,
    /// What was passed on of the hits of others, for whoever asks the same.
    answer: Vec<HitGroup>,
    /// Hits that are passed on together with the end, if that comes at once.
    unsent: Vec<HitGroup>,
    /// The look-up in this supernode's own index that is waited for, and what follows it; nothing
    /// does if the others are being asked meanwhile.
    pub(crate) look_up: Option<(u64, Option<Then>)>,
    /// Whether this supernode's own index was asked for, and has not been searched.
    pub(crate) owes_index: bool,
    /// When it is looked at again.
    pub(crate) deadline: Instant,
    /// When it is over whatever comes.
    pub(crate) ends: Instant,
}

impl Branch {
    /// A query that has not covered anything yet, of a search, and of whoever waits under that id.
    pub(crate) fn new(
        (reply_to, reply_id, search): (ReplyTo, QueryId, QueryId),
        query: Common<Query>,
        looked_for: Arc<Wanted>,
        wanted: usize,
    ) -> Self {
        let coverage = Coverage {
            supernodes_asked: 0,
            supernodes_known: 0,
            nodes_covered: 0,
            stopped: StopReason::Exhausted,
        };
        let relayed = Relayed::new(wanted, query.filter.owner.is_some());
        Self {
            reply_to,
            reply_id,
            search,
            query,
            looked_for,
            wanted,
            contents: HashSet::default(),
            relayed,
            waiting: BTreeMap::new(),
            searched: BTreeSet::new(),
            coverage,
            covered: Vec::new(),
            waves: None,
            sieve: None,
            answer: Vec::new(),
            unsent: Vec::new(),
            look_up: None,
            owes_index: false,
            deadline: Instant::START,
            ends: Instant::START,
        }
    }

    /// A query that begins here.
    pub(crate) fn origin(
        way: (ReplyTo, QueryId, QueryId),
        query: Common<Query>,
        looked_for: Arc<Wanted>,
        wanted: usize,
    ) -> Self {
        let sieve = Box::new(Sieve::new(wanted, query.filter.owner.is_some()));
        let branch = Self::new(way, query, looked_for, wanted);
        Self { sieve: Some(sieve), owes_index: true, ..branch }
    }

    /// By what whoever waits for it knows it, where that is not the id under which others are asked.
    pub(crate) fn way(&self) -> Option<(ReplyTo, QueryId)> {
        let is_own = self.sieve.is_some() && self.reply_id == self.search;
        (!is_own).then_some((self.reply_to, self.reply_id))
    }

    /// This supernode's own index was searched, or need not be: it covers so much.
    pub(crate) fn count_own(&mut self, own: Coverage) {
        self.owes_index = false;
        let coverage = &mut self.coverage;
        coverage.supernodes_asked = coverage.supernodes_asked.saturating_add(own.supernodes_asked);
        coverage.nodes_covered = coverage.nodes_covered.saturating_add(own.nodes_covered);
    }

    /// Names found so far: the made-up contents of one name must not be taken for enough. Where it
    /// began here, contents that were passed on count as well, since decoys are not.
    pub(crate) fn found(&self) -> usize {
        match &self.sieve {
            Some(sieve) => sieve.names().max(self.contents.len()),
            None => self.relayed.names(),
        }
    }

    /// How many are wanted in all.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// What was passed on of the hits of others.
    pub(crate) fn take_answer(&mut self) -> Vec<HitGroup> {
        std::mem::take(&mut self.answer)
    }

    /// Passes the query on to neighbours, who leave those with the tags beside them alone.
    pub(crate) fn ask(
        &mut self,
        core: &mut Core,
        id: QueryId,
        group: impl IntoIterator<Item = (NodeId, SharedBytes<6144>)>,
        hops: u8,
        deadline: Instant,
    ) {
        let hits_left = self.still_wanted().saturating_mul(HITS_PER_WANTED);
        let wanted = u16::try_from(self.still_wanted()).unwrap_or(u16::MAX);
        for (node, besides) in group {
            core.counters.floods_forwarded += 1;
            let flood = Flood {
                id,
                search: self.search,
                query: self.query.clone(),
                wanted,
                hops_left: hops,
                index: !self.searched.contains(&node),
                besides,
            };
            core.send(node, flood);
            self.waiting.insert(node, Asked { deadline, hops, brought: false, hits_left });
        }
    }

    /// A neighbour that was asked has searched its index, or said that its own table excludes it.
    pub(crate) fn answered(&mut self, node: NodeId) {
        let tag = self.search.tag(&node);
        self.searched.insert(node);
        match &mut self.waves {
            Some(waves) => waves.on_answered(tag),
            None => self.cover([tag]),
        }
    }

    /// A neighbour that was asked has not searched its index: others may speak for it.
    pub(crate) fn refused(&mut self, node: &NodeId) {
        if let Some(waves) = self.waves.as_mut().filter(|_| !self.searched.contains(node)) {
            waves.on_refused(node);
        }
    }

    /// A neighbour that was asked has not answered in time, or is gone.
    pub(crate) fn unanswered(&mut self, node: &NodeId) {
        self.coverage.stopped = self.coverage.stopped.worse(StopReason::TimedOut);
        if let Some(waves) = &mut self.waves {
            waves.on_unanswered(node);
        }
    }

    /// Supernodes that were asked, or that their tables exclude, as a neighbour that was asked says.
    pub(crate) fn told(&mut self, by: &NodeId, tags: &[Tag]) {
        match &mut self.waves {
            Some(waves) => waves.on_told(by, tags),
            None => self.cover(tags.iter().copied()),
        }
    }

    /// Supernodes that need not be asked any more, where it is somebody else's query.
    pub(crate) fn cover(&mut self, tags: impl IntoIterator<Item = Tag>) {
        self.covered.extend(tags.into_iter().map(number));
        if self.covered.len() > 4 * MAX_TAGS {
            self.sum_up_covered();
        }
    }

    /// Makes room for so many more of them.
    pub(crate) fn reserve_covered(&mut self, count: usize) {
        self.covered.reserve(count);
    }

    /// Leaves each covered supernode once.
    fn sum_up_covered(&mut self) {
        self.covered.sort_unstable();
        self.covered.dedup();
    }

    /// As many of the covered supernodes as fit into a message: those whose tags follow one's own, so
    /// that others leave out others.
    fn told_covered(&mut self, me: &NodeId) -> BoundedVec<Tag, MAX_TAGS> {
        self.sum_up_covered();
        let from = number(self.search.tag(me));
        let covered = std::mem::take(&mut self.covered);
        let (before, after) = covered.split_at(covered.partition_point(|tag| *tag < from));
        BoundedVec::truncated(after.iter().chain(before).map(|number| tag(*number)))
    }

    /// Tags of others that are believed of one who was asked to pass the query on so many times:
    /// whoever could name the whole network would end a search of others' that way.
    pub(crate) fn believable_tags(&self, hops: u8) -> usize {
        MAX_DEGREE.saturating_pow(hops.into()).min(MAX_TAGS) * usize::from(hops > 0)
    }

    /// Gives up on those whose time is over.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<NodeId> {
        let late: Vec<NodeId> = self
            .waiting
            .iter()
            .filter(|(_, asked)| now >= asked.deadline)
            .map(|(node, _)| *node)
            .collect();
        for node in &late {
            self.waiting.remove(node);
        }
        late
    }

    /// Whether as many contents as were wanted have come.
    pub(crate) fn is_full(&self) -> bool {
        self.still_wanted() == 0
    }

    pub(crate) fn still_wanted(&self) -> usize {
        self.wanted.saturating_sub(self.found())
    }

    /// Tells those who are waited for that nothing more is wanted.
    pub(crate) fn cancel_waiting(&mut self, core: &mut Core, id: QueryId) {
        for node in std::mem::take(&mut self.waiting).into_keys() {
            core.send(node, CancelSearch { id });
        }
    }

    /// Takes in hits that came by a neighbour or are in the own index, and passes on as many of them
    /// as are still wanted.
    pub(crate) fn pass_on(
        &mut self,
        core: &mut Core,
        mut groups: Vec<HitGroup>,
        link: Option<NodeId>,
    ) {
        let readings = &self.looked_for.readings;
        let groups = match &mut self.sieve {
            None => {
                let relayed = &mut self.relayed;
                core.counters.hits_over_wanted += retain(&mut groups, |owner, file| {
                    let holder = owner.credential.unverified().name.as_str();
                    relayed.admit(file, holder, link, |file| readings.name_of(file))
                });
                groups
            }
            Some(sieve) => {
                let standing = |name: &_| 1 + u32::from(core.reputations.of(name)) / STANDING;
                sieve.take_in(groups, link, standing, |file| readings.name_of(file));
                let mut groups = sieve.release(Moment::Arrival);
                self.admit(core, &mut groups);
                groups
            }
        };
        self.send_on(core, groups);
    }

    /// A wave is over: passes on what nobody contests.
    pub(crate) fn pass_on_wave(&mut self, core: &mut Core) {
        if let Some(sieve) = &mut self.sieve {
            let mut groups = sieve.release(Moment::Wave);
            self.admit(core, &mut groups);
            self.send_on(core, groups);
        }
    }

    /// Passes on what was held back, but for decoys.
    pub(crate) fn pass_on_rest(&mut self, core: &mut Core) {
        let Some(sieve) = &mut self.sieve else { return };
        let mut groups = sieve.release(Moment::End);
        core.counters.hits_decoys += sieve.left_out();
        core.counters.hits_over_wanted += sieve.overflown;
        sieve.close();
        self.admit(core, &mut groups);
        self.send_on(core, groups);
    }

    /// Leaves as many contents as are wanted, where the query began here.
    fn admit(&mut self, core: &mut Core, groups: &mut Vec<HitGroup>) {
        let (contents, wanted) = (&mut self.contents, self.wanted);
        core.counters.hits_over_wanted += retain(groups, |_, file| {
            let has_room = contents.len() < wanted || contents.contains(&file.content);
            if has_room {
                contents.insert(file.content);
            }
            has_room
        });
    }

    fn send_on(&mut self, core: &mut Core, kept: Vec<HitGroup>) {
        let id = self.reply_id;
        if kept.is_empty() {
            return;
        }
        core.counters.hits_passed += kept.iter().map(|group| group.files.len() as u64).sum::<u64>();
        if self.waves.is_some() && self.answer.len() < MAX_ANSWER_GROUPS {
            self.answer.extend(kept.iter().filter(|group| group.owner.parent != core.me).cloned());
        }
        match self.reply_to {
            ReplyTo::User => core.outputs.push_back(Output::Hits { id, groups: kept }),
            ReplyTo::Peer(_) => self.unsent.extend(kept),
        }
    }

    /// Whether hits wait to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether as many wait as fit into a message.
    pub(crate) fn has_many_unsent(&self) -> bool {
        self.unsent.len() >= BoundedVec::<HitGroup, 64>::LIMIT
    }

    /// Sends the hits that are to be passed on to a neighbour or a child: it goes on, so they cannot
    /// go with the end.
    pub(crate) fn send_unsent(&mut self, core: &mut Core) {
        let ReplyTo::Peer(peer) = self.reply_to else { return };
        for hits in pack::hits(self.reply_id, std::mem::take(&mut self.unsent)) {
            core.send(peer, hits);
        }
    }
}

/// Leaves the hits that are let through, and answers how many others there were.
fn retain(
    groups: &mut Vec<HitGroup>,
    mut let_through: impl FnMut(&Owner, &FileMeta) -> bool,
) -> u64 {
    let mut dropped = 0;
    groups.retain_mut(|group| {
        let count = group.files.len();
        let mut files = std::mem::take(&mut group.files).into_vec();
        files.retain(|file| let_through(&group.owner, file));
        dropped += (count - files.len()) as u64;
        group.files = BoundedVec::truncated(files);
        !group.files.is_empty()
    });
    dropped
}

/// Leaves as many hits as are still taken from whoever sent them, and answers how many others there
/// were.
pub(crate) fn take_up_to(groups: &mut Vec<HitGroup>, left: &mut usize) -> u64 {
    retain(groups, |_, _| {
        let has_room = *left > 0;
        *left = left.saturating_sub(1);
        has_room
    })
}

/// Tells whoever asked that a query is over.
pub(crate) fn finish(core: &mut Core, mut branch: Box<Branch>) {
    branch.pass_on_rest(core);
    let id = branch.reply_id;
    if branch.owes_index && branch.coverage.stopped != StopReason::Enough {
        branch.coverage.stopped = branch.coverage.stopped.worse(StopReason::TimedOut);
    }
    let mut covered = BoundedVec::default();
    // Whoever began the search counts; a child gets the numbers only.
    if branch.sieve.is_none() {
        covered = branch.told_covered(&core.me);
        if branch.owes_index {
            // By this whoever asked knows that nobody has looked here.
            branch.coverage.supernodes_asked = 0;
        }
    }
    let unsent = std::mem::take(&mut branch.unsent);
    send_end(core, branch.reply_to, (id, branch.coverage, covered), unsent);
}

/// Tells whoever asked that a query is over, in numbers.
pub(crate) fn tell_end(core: &mut Core, reply_to: ReplyTo, id: QueryId, coverage: Coverage) {
    send_end(core, reply_to, (id, coverage, BoundedVec::default()), Vec::new());
}

fn send_end(
    core: &mut Core,
    reply_to: ReplyTo,
    (id, coverage, covered): (QueryId, Coverage, BoundedVec<Tag, MAX_TAGS>),
    groups: Vec<HitGroup>,
) {
    match reply_to {
        ReplyTo::User => core.outputs.push_back(Output::SearchDone { id, coverage }),
        ReplyTo::Peer(peer) => {
            let (before, done) = pack::end(id, groups, coverage, covered);
            for hits in before {
                core.send(peer, hits);
            }
            core.send(peer, done);
        }
    }
}

/// Drops the hits that do not match, and those whose owner's credential does not hold: the name
/// that a user sees, and the key that is dialled, must belong together.
///
/// Answers false where a credential is forged: since every hop checks them, it was the sender who
/// passed it on against the rules. One that has just expired may be an honest crossing.
#[must_use]
pub(crate) fn retain_sound(
    core: &mut Core,
    matches: impl Fn(&FileMeta, &Username) -> bool,
    groups: &mut Vec<HitGroup>,
    now: Now,
) -> bool {
    let mut honest = true;
    groups.retain_mut(|group| {
        let count = group.files.len();
        let name = &group.owner.credential.unverified().name;
        let mut matching = std::mem::take(&mut group.files).into_vec();
        matching.retain(|file| matches(file, name));
        core.counters.hits_unasked += (count - matching.len()) as u64;
        if matching.is_empty() {
            return false;
        }
        let count = matching.len();
        group.files = BoundedVec::truncated(matching);
        let owner = &group.owner;
        let checked = core.credentials.check(&owner.credential, &owner.node, now.unix);
        if let Err(error) = checked {
            core.counters.hits_forged += count as u64;
            honest &= matches!(error, CredentialError::Expired | CredentialError::NotYetValid);
        }
        checked.is_ok()
    });
    honest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::query::Filter;
    use skein_proto::{Ask, BoundedString};

    #[test]
    fn nobody_who_was_asked_for_little_names_the_whole_network() {
        let ask = Ask::Words(BoundedString::truncated("song"));
        let query = Query { ask, filter: Filter::default() };
        let query = Common::from(query);
        let looked_for = Wanted::of(&query).expect("a query");
        let id = QueryId::from_bytes([1; 16]);
        let branch = Branch::origin((ReplyTo::User, id, id), query, looked_for, 10);
        assert_eq!([0, 1, 2, 9].map(|hops| branch.believable_tags(hops)), [0, 64, 2_048, 2_048]);
    }
}

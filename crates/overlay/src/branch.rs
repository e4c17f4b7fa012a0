//! One query on its way: who waits for its hits, who is still being waited for, and which hits
//! are passed on.

use crate::core::Core;
use crate::io::{Now, Output};
use skein_index::text::ParsedQuery;
use skein_proto::message::{CancelSearch, SearchDone};
use skein_proto::query::Coverage;
use skein_proto::{
    BoundedVec, ContentId, CredentialError, FileMeta, HitGroup, Instant, NodeId, QueryId, pack,
};
use std::collections::{BTreeSet, HashMap};

/// Sources of one content that are worth passing on: a download uses fewer at once.
const SOURCES_PER_CONTENT: u8 = 16;

/// Who waits for the hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    User,
    Peer(NodeId),
}

/// One query on its way.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) reply_to: ReplyTo,
    pub(crate) query: ParsedQuery,
    wanted: usize,
    /// The contents passed on, each with how many of its sources.
    contents: HashMap<ContentId, u8>,
    /// Neighbours that have not said the end yet.
    pub(crate) waiting: BTreeSet<NodeId>,
    pub(crate) coverage: Coverage,
    pub(crate) deadline: Instant,
}

impl Branch {
    pub(crate) fn new(
        reply_to: ReplyTo,
        query: ParsedQuery,
        wanted: usize,
        coverage: Coverage,
        deadline: Instant,
    ) -> Self {
        Self {
            reply_to,
            query,
            wanted,
            contents: HashMap::new(),
            waiting: BTreeSet::new(),
            coverage,
            deadline,
        }
    }

    /// Whether as many contents as were wanted have come.
    pub(crate) fn is_full(&self) -> bool {
        self.still_wanted() == 0
    }

    pub(crate) fn still_wanted(&self) -> usize {
        self.wanted.saturating_sub(self.contents.len())
    }

    /// Tells those who are waited for that nothing more is wanted.
    pub(crate) fn cancel_waiting(&mut self, core: &mut Core, id: QueryId) {
        for node in std::mem::take(&mut self.waiting) {
            core.send(node, CancelSearch { id });
        }
    }

    /// Passes on as many of the hits as are still wanted.
    pub(crate) fn pass_on(&mut self, core: &mut Core, id: QueryId, groups: Vec<HitGroup>) {
        let mut kept = Vec::new();
        for group in groups {
            let before = group.files.len();
            let files: Vec<FileMeta> =
                group.files.into_iter().filter(|file| self.admit(file.content)).collect();
            core.counters.hits_over_wanted += (before - files.len()) as u64;
            core.counters.hits_passed += files.len() as u64;
            if !files.is_empty() {
                kept.push(HitGroup { owner: group.owner, files: BoundedVec::truncated(files) });
            }
        }
        if kept.is_empty() {
            return;
        }
        match self.reply_to {
            ReplyTo::User => core.outputs.push_back(Output::Hits { id, groups: kept }),
            ReplyTo::Peer(peer) => {
                for hits in pack::hits(id, kept) {
                    core.send(peer, hits);
                }
            }
        }
    }

    fn admit(&mut self, content: ContentId) -> bool {
        if self.is_full() && !self.contents.contains_key(&content) {
            return false;
        }
        let sources = self.contents.entry(content).or_default();
        if *sources >= SOURCES_PER_CONTENT {
            return false;
        }
        *sources += 1;
        true
    }
}

/// Tells whoever asked that a query is over.
pub(crate) fn finish(core: &mut Core, reply_to: ReplyTo, id: QueryId, coverage: Coverage) {
    match reply_to {
        ReplyTo::User => core.outputs.push_back(Output::SearchDone { id, coverage }),
        ReplyTo::Peer(peer) => core.send(peer, SearchDone { id, coverage }),
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
    query: &ParsedQuery,
    groups: &mut Vec<HitGroup>,
    now: Now,
) -> bool {
    let mut honest = true;
    groups.retain_mut(|group| {
        let count = group.files.len();
        let name = &group.owner.credential.unverified().name;
        let matching: Vec<FileMeta> =
            group.files.iter().filter(|file| query.matches(file, name)).cloned().collect();
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

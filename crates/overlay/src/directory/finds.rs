//! The look-ups of an ordinary node's user: the parent makes them. When it is lost, the next parent
//! is asked.

use crate::core::{Core, earlier};
use crate::io::Now;
use skein_proto::directory::{DirectoryKey, Find, FindOutcome, Found};
use skein_proto::{Instant, NodeId, QueryId};
use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{retain_sound, tell};

/// How long a look-up waits for a parent, where there is none: a node that has just started
/// attaches within that time.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);

/// How long a parent may take: it asks five supernodes at most, 2.5 s each.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a look-up may take in all, over however many parents.
const TOTAL_PATIENCE: Duration = Duration::from_secs(30);

/// Look-ups at the same time.
const MAX_FINDS: usize = 64;

#[derive(Debug)]
struct Pending {
    key: DirectoryKey,
    asked: Option<NodeId>,
    deadline: Instant,
    /// When it is over whatever comes.
    ends: Instant,
}

/// The look-ups of an ordinary node's user.
#[derive(Debug, Default)]
pub(super) struct Finds {
    pending: BTreeMap<QueryId, Pending>,
}

impl Finds {
    pub(super) fn start(
        &mut self,
        core: &mut Core,
        parent: Option<NodeId>,
        (id, key): (QueryId, DirectoryKey),
        now: Now,
    ) {
        if self.pending.len() >= MAX_FINDS {
            core.counters.directory_finds_over_limit += 1;
            tell(core, id, FindOutcome::OverBudget, &[], &[], now);
            return;
        }
        let ends = now.instant + TOTAL_PATIENCE;
        let deadline = now.instant + ATTACH_PATIENCE;
        self.pending.insert(id, Pending { key, asked: None, deadline, ends });
        if let Some(parent) = parent {
            self.on_parent(core, parent, now);
        }
    }

    /// Whether nothing is being looked up.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// There is a parent: it is asked what nobody is being asked.
    pub(super) fn on_parent(&mut self, core: &mut Core, parent: NodeId, now: Now) {
        for (id, find) in self.pending.iter_mut().filter(|(_, find)| find.asked.is_none()) {
            find.asked = Some(parent);
            find.deadline = (now.instant + PATIENCE).min(find.ends);
            core.send(parent, Find { id: *id, key: find.key.clone() });
        }
    }

    /// The parent is gone: its answers will not come.
    pub(super) fn on_parent_lost(&mut self, parent: NodeId, now: Now) {
        for find in self.pending.values_mut().filter(|find| find.asked == Some(parent)) {
            find.asked = None;
            find.deadline = (now.instant + ATTACH_PATIENCE).min(find.ends);
        }
    }

    /// This node looks up for itself from now on, or leaves: what is pending is handed back.
    pub(super) fn take_all(&mut self) -> Vec<(QueryId, DirectoryKey)> {
        std::mem::take(&mut self.pending).into_iter().map(|(id, find)| (id, find.key)).collect()
    }

    pub(super) fn on_found(&mut self, core: &mut Core, peer: NodeId, mut found: Found, now: Now) {
        let asked = |find: &Pending| find.asked == Some(peer);
        if !self.pending.get(&found.id).is_some_and(asked) {
            core.counters.directory_answers_unasked += 1;
            return;
        }
        let Some(find) = self.pending.remove(&found.id) else { return };
        retain_sound(core, &find.key, &mut found, now);
        tell(core, found.id, found.outcome, &found.nodes, &found.sources, now);
    }

    pub(super) fn step(&mut self, core: &mut Core, now: Now) {
        while let Some((id, asked)) = self
            .pending
            .iter()
            .find(|(_, find)| now.instant >= find.deadline)
            .map(|(id, find)| (*id, find.asked))
        {
            self.pending.remove(&id);
            let outcome = match asked {
                Some(_) => FindOutcome::Unreachable,
                None => FindOutcome::NotAttached,
            };
            tell(core, id, outcome, &[], &[], now);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.pending.values().map(|find| find.deadline).fold(None, |a, b| earlier(a, Some(b)))
    }
}

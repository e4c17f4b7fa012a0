//! What was shared before this supernode heard of a wish: its own index is searched once for each.
//!
//! News of a wish takes some seconds to get around, and a minute where some of it was lost. What is
//! published in the meantime at a supernode that has not heard of it is held against nothing, and
//! would never be told.

use super::Wishes;
use crate::io::Now;
use crate::lookup::LookedUp;
use crate::overlay::Overlay;
use crate::sources::Wanted;
use skein_proto::{Common, FileMeta, Instant, NodeId, Query, QueryId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Wishes that wait for their look. A newcomer among the supernodes hears of all wishes at once; the
/// index of one that hears of more than this in a minute has had little time to fill.
const MAX_FRESH: usize = 2_048;

/// The least time between two looks: a search of the index takes up to some milliseconds, and those
/// of users go before.
const PAUSE: Duration = Duration::from_millis(50);

/// Hits of one look at most, so that a word that everybody's files have brings no more than some from
/// each supernode. Each is a push like any other, within what is allowed to a wish and its name.
const HITS: usize = 8;

/// The wishes that the own index has not been searched for, and the searches under way.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    fresh: VecDeque<u64>,
    /// By the number of the search.
    under_way: BTreeMap<u64, (NodeId, QueryId)>,
    next: Instant,
}

impl Looks {
    /// A wish has been heard of for the first time. Answers whether it will be looked for.
    pub(super) fn add(&mut self, place: u64) -> bool {
        let has_room = self.fresh.len() < MAX_FRESH;
        if has_room {
            self.fresh.push_back(place);
        }
        has_room
    }

    /// When the next one is due.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        (!self.fresh.is_empty()).then_some(self.next)
    }
}

impl Wishes {
    /// The next wish that the own index should be searched for: where it is filed, whose it is,
    /// which, and what for.
    fn next_look(&mut self, now: Now) -> Option<(u64, NodeId, QueryId, Query)> {
        if now.instant < self.looks.next {
            return None;
        }
        while let Some(place) = self.looks.fresh.pop_front() {
            let held = self.held.get(&place).and_then(super::Held::standing);
            let wish = held.map(|standing| standing.wish.unverified());
            if let Some(wish) = wish.filter(|wish| !wish.withdrawn) {
                return Some((place, wish.owner, wish.id, wish.query.clone()));
            }
        }
        None
    }
}

impl Overlay {
    /// Has the own index searched for the next wish that is new here, if its table does not say
    /// that there is nothing.
    pub(super) fn look_for_wishes(&mut self, now: Now) {
        while let Some((place, wisher, id, query)) = self.core.membership.wishes.next_look(now) {
            let Some(wanted) = Wanted::of(&Common::from(query)) else { continue };
            if self.tables.own_excludes(&self.children.index, &wanted.keys) {
                continue;
            }
            let look = (id, wanted, HITS);
            let begun = self.floods.look_up_besides(&mut self.core, &self.children.index, look);
            let looks = &mut self.core.membership.wishes.looks;
            looks.next = now.instant + PAUSE;
            match begun {
                Some(number) => drop(looks.under_way.insert(number, (wisher, id))),
                None => looks.fresh.push_front(place),
            }
        }
    }

    /// The own index has been searched. Answers whether that was for a wish; if so its owner is
    /// told.
    pub(crate) fn on_looked_up_for_wish(&mut self, looked_up: &mut LookedUp, now: Now) -> bool {
        let under_way = &mut self.core.membership.wishes.looks.under_way;
        let Some((wisher, id)) = under_way.remove(&looked_up.number) else { return false };
        self.floods.end_look_up();
        let mut found: BTreeMap<NodeId, Vec<(FileMeta, NodeId, QueryId)>> = BTreeMap::new();
        for of in std::mem::take(&mut looked_up.found) {
            found.entry(of.owner).or_default().push((of.file, wisher, id));
        }
        for (owner, files) in found {
            self.push_matches(owner, files, now);
        }
        true
    }
}

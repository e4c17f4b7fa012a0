//! The wishes of this node's own user.

use super::parse;
use crate::branch::retain_sound;
use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use skein_index::text::ParsedQuery;
use skein_proto::wish::{StandingQuery, WISH_SPACING_SECS, Wish, WishHit};
use skein_proto::{
    BoundedVec, ContentId, HitGroup, Instant, NodeId, Query, QueryId, Signed, UnixTime,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often a wish is renewed: some times before it expires.
const RENEW: Duration = Duration::from_secs(6 * 60 * 60);

/// How long after a wish was said to a parent for the first and second time it is said again: whoever
/// has refused it, since it had too many, does not say so, and whoever knows it passes on nothing.
const AGAIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(5 * 60)];

/// Contents of a wish that the user was told of, so that nothing is told twice. The oldest are
/// forgotten first.
const MAX_SEEN: usize = 1_024;

#[derive(Debug)]
struct OwnWish {
    query: Query,
    parsed: ParsedQuery,
    seen: VecDeque<ContentId>,
    /// The version that was said last.
    issued: UnixTime,
    /// Which parent was told.
    told: Option<NodeId>,
    /// How often.
    times: usize,
    renew_at: Instant,
}

/// The wishes of this node's own user.
#[derive(Debug, Default)]
pub(crate) struct OwnWishes {
    wishes: BTreeMap<QueryId, OwnWish>,
    /// Those that were withdrawn while there was nobody to tell, or that are to be withdrawn.
    withdrawn: VecDeque<Withdrawn>,
}

#[derive(Debug)]
struct Withdrawn {
    id: QueryId,
    query: Query,
    issued: UnixTime,
    times: usize,
    say_at: Instant,
}

impl OwnWishes {
    /// The user wishes for something, and was told of these contents before.
    pub(crate) fn add(
        &mut self,
        core: &mut Core,
        (id, query, seen): (QueryId, Query, Vec<ContentId>),
        now: Now,
    ) {
        let Some(parsed) =
            parse(&query).filter(|_| self.wishes.len() < super::MAX_PER_NAME as usize)
        else {
            core.counters.wishes_over_limit += 1;
            return;
        };
        let skipped = seen.len().saturating_sub(MAX_SEEN);
        let seen = seen.into_iter().skip(skipped).collect();
        let issued = UnixTime(0);
        let renew_at = now.instant;
        self.wishes
            .insert(id, OwnWish { query, parsed, seen, issued, told: None, times: 0, renew_at });
    }

    /// The user wishes for it no longer.
    pub(crate) fn end(&mut self, id: QueryId, now: Now) {
        if let Some(wish) = self.wishes.remove(&id)
            && wish.told.is_some()
        {
            if self.withdrawn.len() >= super::MAX_PER_NAME as usize {
                self.withdrawn.pop_front();
            }
            let (query, issued) = (wish.query, wish.issued);
            let say_at = now.instant;
            self.withdrawn.push_back(Withdrawn { id, query, issued, times: 0, say_at });
        }
    }

    /// What is to be said to the parent now. A supernode is its own parent.
    pub(crate) fn step(
        &mut self,
        core: &Core,
        parent: Option<NodeId>,
        now: Now,
    ) -> Vec<StandingQuery> {
        if self.wishes.is_empty() && self.withdrawn.is_empty() {
            return Vec::new();
        }
        let Some(parent) = parent else { return Vec::new() };
        let Some(credential) = core.credential.clone().filter(|_| core.has_credential(now.unix))
        else {
            self.put_off(now);
            return Vec::new();
        };
        let say = |id, query: &Query, last: UnixTime, withdrawn| {
            let issued = now.unix.max(UnixTime(last.0 + WISH_SPACING_SECS));
            let query = query.clone();
            let wish = Wish { id, owner: core.me, query, parent, issued, withdrawn };
            StandingQuery { wish: Signed::new(wish, &core.key), credential: credential.clone() }
        };
        let mut said: Vec<StandingQuery> = Vec::new();
        // The parent may be gone before it has spread the word; the next one hears it as well.
        self.withdrawn.retain_mut(|gone| {
            if now.instant < gone.say_at {
                return true;
            }
            let standing = say(gone.id, &gone.query, gone.issued, true);
            gone.issued = standing.wish.unverified().issued;
            said.push(standing);
            let again = AGAIN.get(gone.times);
            gone.times += 1;
            again.is_some_and(|pause| {
                gone.say_at = now.instant + *pause;
                true
            })
        });
        let left = credential.unverified().expires.0.saturating_sub(now.unix.0);
        let pause = RENEW.min(Duration::from_secs(left / 2)).max(Duration::from_secs(60));
        for (id, wish) in &mut self.wishes {
            if wish.told == Some(parent) && now.instant < wish.renew_at {
                continue;
            }
            let standing = say(*id, &wish.query, wish.issued, false);
            wish.issued = standing.wish.unverified().issued;
            wish.times = if wish.told == Some(parent) { wish.times + 1 } else { 0 };
            wish.told = Some(parent);
            let again = AGAIN.get(wish.times).copied().unwrap_or(pause);
            wish.renew_at = now.instant + pause.min(again);
            said.push(standing);
        }
        said
    }

    /// Nothing can be signed at present.
    fn put_off(&mut self, now: Now) {
        let later = now.instant + AGAIN[0];
        for wish in self.wishes.values_mut().filter(|wish| now.instant >= wish.renew_at) {
            wish.renew_at = later;
        }
        for gone in self.withdrawn.iter_mut().filter(|gone| now.instant >= gone.say_at) {
            gone.say_at = later;
        }
    }

    pub(crate) fn next_wakeup(&self, parent: Option<NodeId>) -> Option<Instant> {
        parent?;
        let due = self.wishes.values().filter(|wish| wish.told.is_some());
        let due = due.map(|wish| wish.renew_at);
        let withdrawn = self.withdrawn.iter().map(|gone| gone.say_at);
        due.chain(withdrawn).fold(None, |a, b| earlier(a, Some(b)))
    }

    /// What was wished for is there: the user is told, of each content once. Answers whether the
    /// hit was by the rules.
    #[must_use]
    pub(crate) fn on_hit(&mut self, core: &mut Core, hit: WishHit, now: Now) -> bool {
        let Some(wish) = self.wishes.get_mut(&hit.id).filter(|_| hit.wisher == core.me) else {
            core.counters.wish_hits_unasked += 1;
            return true;
        };
        let content = hit.file.content;
        let files = BoundedVec::truncated([hit.file]);
        let mut groups = vec![HitGroup { owner: hit.owner, files }];
        let parsed = &wish.parsed;
        let matches = |file: &_, owner: &_| parsed.matches(file, owner);
        let honest = retain_sound(core, matches, &mut groups, now);
        let is_own = groups.iter().any(|group| group.owner.node == core.me);
        if groups.is_empty() || is_own {
            return honest;
        }
        if wish.seen.contains(&content) {
            core.counters.wish_hits_repeated += 1;
            return honest;
        }
        if wish.seen.len() >= MAX_SEEN {
            wish.seen.pop_front();
        }
        wish.seen.push_back(content);
        core.counters.wish_hits += 1;
        core.outputs.push_back(Output::WishHits { id: hit.id, groups });
        honest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::Config;
    use skein_proto::query::Filter;
    use skein_proto::{Ask, BoundedString, Credential, KeyPair, Username};

    fn core() -> Core {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        let name = Username::parse("wisher").expect("a name");
        let (node, issued, expires) = (key.node_id(), UnixTime(0), UnixTime(1 << 30));
        let credential = Credential { name, node, issued, expires, registered: issued };
        core.credential = Some(Signed::new(credential, &key));
        core
    }

    fn at(secs: u64) -> Now {
        Now { instant: Instant::START + Duration::from_secs(secs), unix: UnixTime(1_000 + secs) }
    }

    fn add(own: &mut OwnWishes, core: &mut Core, number: u8) -> QueryId {
        let ask = Ask::Words(BoundedString::truncated("song "));
        let id = QueryId::from_bytes([number; 16]);
        own.add(core, (id, Query { ask, filter: Filter::default() }, Vec::new()), at(0));
        id
    }

    const PARENT: Option<NodeId> = Some(NodeId::from_bytes([9; 32]));

    /// Follows its own clock to the end, and says when something was said.
    fn said(own: &mut OwnWishes, core: &Core, until: u64) -> Vec<(u64, bool)> {
        let mut said = Vec::new();
        for secs in 0..until {
            let due = own.next_wakeup(PARENT).is_none_or(|wake| wake <= at(secs).instant);
            for standing in due.then(|| own.step(core, PARENT, at(secs))).into_iter().flatten() {
                said.push((secs, standing.wish.unverified().withdrawn));
            }
        }
        said
    }

    #[test]
    fn a_wish_is_said_again_in_case_it_was_refused_and_then_rests() {
        let (mut core, mut own) = (core(), OwnWishes::default());
        add(&mut own, &mut core, 1);
        assert_eq!(said(&mut own, &core, 3_600), [(0, false), (60, false), (360, false)]);
    }

    #[test]
    fn the_end_of_a_wish_is_said_until_some_parent_has_spread_it() {
        let (mut core, mut own) = (core(), OwnWishes::default());
        let id = add(&mut own, &mut core, 1);
        own.step(&core, PARENT, at(0));
        own.end(id, at(0));
        assert_eq!(said(&mut own, &core, 3_600), [(0, true), (60, true), (360, true)]);
        assert!(own.withdrawn.is_empty() && own.next_wakeup(PARENT).is_none());
    }

    #[test]
    fn of_too_many_that_were_withdrawn_the_newest_are_said() {
        let (mut core, mut own) = (core(), OwnWishes::default());
        for number in 0..40 {
            let id = add(&mut own, &mut core, number);
            own.step(&core, PARENT, at(0));
            own.withdrawn.iter_mut().for_each(|gone| gone.say_at = at(100).instant);
            own.end(id, at(50));
        }
        let said = own.step(&core, PARENT, at(100));
        assert_eq!(said.len(), 32);
        let last = said.last().map(|standing| standing.wish.unverified().id);
        assert_eq!(last, Some(QueryId::from_bytes([39; 16])));
    }
}

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
    /// Which parent knows it.
    told: Option<NodeId>,
    renew_at: Instant,
}

/// The wishes of this node's own user.
#[derive(Debug, Default)]
pub(crate) struct OwnWishes {
    wishes: BTreeMap<QueryId, OwnWish>,
    /// Those that were withdrawn while there was nobody to tell, or that are to be withdrawn.
    withdrawn: Vec<(QueryId, Query, UnixTime)>,
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
        self.wishes.insert(id, OwnWish { query, parsed, seen, issued, told: None, renew_at });
    }

    /// The user wishes for it no longer.
    pub(crate) fn end(&mut self, id: QueryId) {
        if let Some(wish) = self.wishes.remove(&id)
            && wish.told.is_some()
        {
            self.withdrawn.truncate(super::MAX_PER_NAME as usize);
            self.withdrawn.push((id, wish.query, wish.issued));
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
            return Vec::new();
        };
        let say = |id, query: &Query, last: UnixTime, withdrawn| {
            let issued = now.unix.max(UnixTime(last.0 + WISH_SPACING_SECS));
            let query = query.clone();
            let wish = Wish { id, owner: core.me, query, parent, issued, withdrawn };
            StandingQuery { wish: Signed::new(wish, &core.key), credential: credential.clone() }
        };
        let mut said: Vec<StandingQuery> = Vec::new();
        for (id, query, last) in std::mem::take(&mut self.withdrawn) {
            said.push(say(id, &query, last, true));
        }
        let left = credential.unverified().expires.0.saturating_sub(now.unix.0);
        let pause = RENEW.min(Duration::from_secs(left / 2)).max(Duration::from_secs(60));
        for (id, wish) in &mut self.wishes {
            if wish.told == Some(parent) && now.instant < wish.renew_at {
                continue;
            }
            let standing = say(*id, &wish.query, wish.issued, false);
            wish.issued = standing.wish.unverified().issued;
            wish.told = Some(parent);
            wish.renew_at = now.instant + pause;
            said.push(standing);
        }
        said
    }

    pub(crate) fn next_wakeup(&self, parent: Option<NodeId>) -> Option<Instant> {
        parent?;
        let due = self.wishes.values().filter(|wish| wish.told.is_some());
        due.map(|wish| wish.renew_at).fold(None, |a, b| earlier(a, Some(b)))
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
        let honest = retain_sound(core, &wish.parsed, &mut groups, now);
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

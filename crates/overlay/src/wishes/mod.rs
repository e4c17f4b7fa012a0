//! Standing queries, as supernodes hold them: whatever is published is held against them.
//!
//! All supernodes know all wishes, by the epidemic of [`crate::membership`]; so a match is found
//! where it is published, and nobody asks again and again. A wish is filed under the rarest-looking
//! of the hashes that every match has, so that a record is compared with those wishes only that
//! share a word with it.

mod dispatch;
pub(crate) mod look;
pub(crate) mod own;
mod pushes;

use crate::hashed::HashMap;
use crate::io::Now;
use crate::sieve::fingerprint;
use pushes::Pushes;
use skein_index::text::{
    ParsedQuery, TermMatch, beginning_hash, beginnings, record_words, word_hash,
};
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::rumour::News;
use skein_proto::wish::{StandingQuery, WISH_SPACING_SECS, Wish, WishHit};
use skein_proto::{ContentId, FileMeta, Instant, NodeId, QueryId, Rumour, Username};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Wishes of one name.
pub(crate) const MAX_PER_NAME: u32 = 32;

/// Wishes of all: each takes about a kilobyte.
const MAX_WISHES: usize = 32_768;

/// Hits of one wish that are pushed from here: a word that everybody's files have must not bury the
/// one who wished for it. 6 a minute in the long run.
const PUSHES: (u64, u64) = (1, 64);

/// Hits of all wishes of one name that are pushed from here: 24 a minute in the long run. A wish
/// says itself to which supernode its hits go, so a name with many wishes could have every
/// supernode of the network send to one.
const PUSHES_OF_NAME: (u64, u64) = (4, 128);

/// How soon a wish that is the same as before may be signed anew.
const RENEWAL_SPACING: Duration = Duration::from_secs(10 * 60);

/// Hits of one wish, the newest, that are kept: its owner may move, or its parent have died without
/// anybody noticing. They are sent once more where the wish comes from a new parent soon.
const MAX_KEPT: usize = 8;
const KEEP: Duration = Duration::from_secs(10 * 60);

/// Contents of a wish that were pushed lately, so that a hit which is repeated neither counts nor takes
/// the place of those that are kept. What may be pushed at once.
const MAX_PUSHED: usize = 64;

#[derive(Debug)]
struct Held {
    rumour: Rumour,
    parsed: ParsedQuery,
    key: u64,
    pushes: Pushes,
    /// The contents that were pushed in the last ten minutes; whole, because whoever makes up a hit
    /// chooses as much of its id as it likes.
    pushed: VecDeque<(Instant, ContentId)>,
    kept: VecDeque<(Instant, WishHit)>,
}

/// What becomes of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Granted,
    /// It was pushed a moment ago.
    Repeated,
    OverBudget,
}

impl Held {
    fn standing(&self) -> Option<&StandingQuery> {
        match self.rumour.news() {
            News::Wish(standing) => Some(standing),
            _ => None,
        }
    }
}

/// What one name has.
#[derive(Debug)]
struct OfName {
    wishes: u32,
    pushes: Pushes,
}

/// The wishes of everybody.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    held: BTreeMap<u64, Held>,
    by_key: HashMap<u64, BTreeSet<u64>>,
    per_name: HashMap<Username, OfName>,
    ready: Vec<WishHit>,
    pub(crate) looks: look::Looks,
}

/// The hash that a wish is filed under: that of its longest word, else of its longest beginning, or
/// of its content. `None` if it would have to be held against everything.
fn key_of(query: &ParsedQuery) -> Option<u64> {
    if let Some(content) = query.content() {
        return Some(content_key(content));
    }
    let mut terms: Vec<_> = query.terms().iter().collect();
    terms.sort_by_key(|term| (term.by == TermMatch::Exact, term.text.len()));
    let term = terms.last()?;
    match term.by {
        TermMatch::Exact => Some(word_hash(&term.text)),
        TermMatch::Prefix | TermMatch::Character => {
            beginnings(&term.text).next().map(beginning_hash)
        }
    }
}

fn content_key(content: &ContentId) -> u64 {
    content.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A query that can be wished for.
pub(crate) fn parse(query: &skein_proto::Query) -> Option<ParsedQuery> {
    ParsedQuery::parse(query).ok().filter(|parsed| key_of(parsed).is_some())
}

impl Wishes {
    /// Whether a wish would be taken if its signatures hold.
    pub(crate) fn would_take(&self, standing: &StandingQuery, now: Now) -> bool {
        let wish = standing.wish.unverified();
        if wish.issued > now.unix.plus(CLOCK_SKEW) || parse(&wish.query).is_none() {
            return false;
        }
        let place = Wish::place_of(&wish.owner, &wish.id).short();
        if let Some(before) = self.held.get(&place) {
            return wish.issued.0 >= before.rumour.id().version.saturating_add(WISH_SPACING_SECS);
        }
        let name = &standing.credential.unverified().name;
        self.held.len() < MAX_WISHES
            && self.per_name.get(name).is_none_or(|of| of.wishes < MAX_PER_NAME)
    }

    /// Whether a wish is what it was a moment ago, under the same parent. Everybody hears of each
    /// version, and an honest owner signs such a one every six hours.
    pub(crate) fn says_nothing_new(&self, standing: &StandingQuery) -> bool {
        let wish = standing.wish.unverified();
        let before = self.held.get(&Wish::place_of(&wish.owner, &wish.id).short());
        let Some(known) = before.and_then(|held| held.standing()) else { return false };
        let before = known.wish.unverified();
        let same = before.parent == wish.parent
            && before.withdrawn == wish.withdrawn
            && known.credential.unverified().expires == standing.credential.unverified().expires;
        same && wish.issued.since(before.issued) < RENEWAL_SPACING
    }

    /// Takes in a wish that was found to be sound, in the place of its earlier version. Answers
    /// whether what is shared here already will be held against it, if it is new.
    pub(crate) fn insert(&mut self, rumour: Rumour, now: Now) -> bool {
        let News::Wish(standing) = rumour.news() else { return true };
        let Some(parsed) = parse(&standing.wish.unverified().query) else { return true };
        let Some(key) = key_of(&parsed) else { return true };
        let place = rumour.id().place;
        let name = standing.credential.unverified().name.clone();
        // Before the earlier version goes, so that a renewal does not refill the name's budget.
        let fresh = || OfName { wishes: 0, pushes: Pushes::new(PUSHES_OF_NAME, now.instant) };
        self.per_name.entry(name).or_insert_with(fresh).wishes += 1;
        let before = self.take_out(place);
        let is_new = before.is_none();
        let parent = |standing: &StandingQuery| standing.wish.unverified().parent;
        let has_moved =
            before.as_ref().and_then(Held::standing).map(parent) != Some(parent(standing));
        let (pushes, pushed, mut kept) = match before {
            Some(before) => (before.pushes, before.pushed, before.kept),
            None => (Pushes::new(PUSHES, now.instant), VecDeque::new(), VecDeque::new()),
        };
        let mut will_look = true;
        if standing.wish.unverified().withdrawn {
            kept.clear();
        } else {
            will_look = !is_new || self.looks.add(place);
            self.by_key.entry(key).or_default().insert(place);
        }
        if has_moved {
            let fresh = kept.drain(..).filter(|(at, _)| now.instant.since(*at) < KEEP);
            self.ready.extend(fresh.map(|(_, hit)| hit));
        }
        self.held.insert(place, Held { rumour, parsed, key, pushes, pushed, kept });
        will_look
    }

    /// A wish has expired.
    pub(crate) fn remove(&mut self, place: u64) {
        self.take_out(place);
    }

    fn take_out(&mut self, place: u64) -> Option<Held> {
        let held = self.held.remove(&place)?;
        if let Some(places) = self.by_key.get_mut(&held.key) {
            places.remove(&place);
            if places.is_empty() {
                self.by_key.remove(&held.key);
            }
        }
        if let Some(standing) = held.standing() {
            let name = &standing.credential.unverified().name;
            if let Some(of) = self.per_name.get_mut(name) {
                of.wishes -= 1;
                if of.wishes == 0 {
                    self.per_name.remove(name);
                }
            }
        }
        Some(held)
    }

    /// Wishes held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// The wish of this node with this id, if it is still one.
    fn get(&self, wisher: &NodeId, id: &QueryId) -> Option<&Held> {
        let held = self.held.get(&Wish::place_of(wisher, id).short())?;
        let wish = held.standing()?.wish.unverified();
        (wish.owner == *wisher && wish.id == *id && !wish.withdrawn).then_some(held)
    }

    /// The supernode that a wisher is attached to, as its newest wish says, and what it wishes for.
    pub(crate) fn find(&self, wisher: &NodeId, id: &QueryId) -> Option<(NodeId, &ParsedQuery)> {
        let held = self.get(wisher, id)?;
        Some((held.standing()?.wish.unverified().parent, &held.parsed))
    }

    /// The wishes that files of this name satisfy: which file, whose wish, and which.
    pub(crate) fn matches(
        &self,
        files: &[FileMeta],
        name: &Username,
    ) -> Vec<(usize, NodeId, QueryId)> {
        let mut found = BTreeSet::new();
        if self.by_key.is_empty() {
            return Vec::new();
        }
        for (number, file) in files.iter().enumerate() {
            let mut keys = BTreeSet::from([content_key(&file.content)]);
            for word in record_words(file) {
                keys.insert(word_hash(&word.text));
                keys.extend(beginnings(&word.text).map(beginning_hash));
            }
            let places = keys.iter().filter_map(|key| self.by_key.get(key)).flatten();
            for held in places.filter_map(|place| self.held.get(place)) {
                if held.parsed.matches(file, name)
                    && let Some(standing) = held.standing()
                {
                    let wish = standing.wish.unverified();
                    found.insert((number, wish.owner, wish.id));
                }
            }
        }
        found.into_iter().collect()
    }

    /// Whether one more hit of a wish may be pushed now that this sender has, a supernode or a child
    /// here; if so, it is accounted for.
    pub(crate) fn may_push(
        &mut self,
        (wisher, id): (&NodeId, &QueryId),
        content: &ContentId,
        sender: &Username,
        now: Now,
    ) -> Push {
        let Some(held) = self.held.get_mut(&Wish::place_of(wisher, id).short()) else {
            return Push::OverBudget;
        };
        let now = now.instant;
        while held.pushed.front().is_some_and(|(at, _)| now.since(*at) >= KEEP) {
            held.pushed.pop_front();
        }
        if held.pushed.iter().any(|(_, known)| known == content) {
            return Push::Repeated;
        }
        let sender = fingerprint(sender.as_str());
        let name = held.standing().map(|standing| standing.credential.unverified().name.clone());
        let of = name.and_then(|name| self.per_name.get_mut(&name));
        let Some(of) = of.filter(|_| held.pushes.has_room(sender, now)) else {
            return Push::OverBudget;
        };
        if !of.pushes.has_room(sender, now) {
            return Push::OverBudget;
        }
        held.pushes.take(sender, now);
        of.pushes.take(sender, now);
        if held.pushed.len() >= MAX_PUSHED {
            held.pushed.pop_front();
        }
        held.pushed.push_back((now, *content));
        Push::Granted
    }

    /// Keeps a hit for the case that the wisher has moved. Answers whether the wish is known.
    pub(crate) fn keep(&mut self, hit: WishHit, now: Now) -> bool {
        let held = self.held.get_mut(&Wish::place_of(&hit.wisher, &hit.id).short());
        let Some(held) = held else { return false };
        if held.kept.iter().any(|(_, kept)| kept.file.content == hit.file.content) {
            return true;
        }
        if held.kept.len() >= MAX_KEPT {
            held.kept.pop_front();
        }
        held.kept.push_back((now.instant, hit));
        true
    }

    /// Kept hits whose wishers have a new parent.
    pub(crate) fn take_ready(&mut self) -> Vec<WishHit> {
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::query::Filter;
    use skein_proto::{
        Ask, BoundedString, Credential, FilePath, KeyPair, Kind, Query, Signed, UnixTime,
    };

    const NOW: Now = Now { instant: Instant::START, unix: UnixTime(1_000) };

    fn standing(key: u8, number: u8, words: &str, issued: u64) -> StandingQuery {
        let key = KeyPair::from_seed(&[key; 32]);
        let owner = key.node_id();
        let query =
            Query { ask: Ask::Words(BoundedString::truncated(words)), filter: Filter::default() };
        let wish = Wish {
            id: QueryId::from_bytes([number; 16]),
            owner,
            query,
            parent: NodeId::from_bytes([9; 32]),
            issued: UnixTime(issued),
            withdrawn: false,
        };
        let name = Username::parse("wisher").expect("a name");
        let (issued, expires) = (UnixTime(0), UnixTime(1 << 30));
        let credential = Credential { name, node: owner, issued, expires, registered: issued };
        StandingQuery { wish: Signed::new(wish, &key), credential: Signed::new(credential, &key) }
    }

    fn add(wishes: &mut Wishes, standing: StandingQuery) -> bool {
        let taken = wishes.would_take(&standing, NOW);
        if taken {
            wishes.insert(Rumour::new(News::Wish(standing)), NOW);
        }
        taken
    }

    fn file(path: &str) -> FileMeta {
        FileMeta {
            content: ContentId::from_bytes([1; 32]),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(path).expect("a path"),
            tags: None,
        }
    }

    fn matching(wishes: &Wishes, path: &str) -> usize {
        wishes.matches(&[file(path)], &Username::parse("bob").expect("a name")).len()
    }

    #[test]
    fn a_record_meets_the_wishes_that_it_satisfies() {
        let mut wishes = Wishes::default();
        assert!(add(&mut wishes, standing(1, 1, "rare melody ", 1_000)));
        assert!(add(&mut wishes, standing(1, 2, "mel", 1_000)));
        assert_eq!(matching(&wishes, "a/Rare Melody.ogg"), 2);
        assert_eq!(matching(&wishes, "a/melodies.ogg"), 1);
        assert_eq!(matching(&wishes, "a/rare.ogg"), 0);
        wishes.remove(
            Wish::place_of(
                &standing(1, 2, "x", 1).wish.unverified().owner,
                &QueryId::from_bytes([2; 16]),
            )
            .short(),
        );
        assert_eq!(matching(&wishes, "a/melodies.ogg"), 0);
        assert_eq!(wishes.len(), 1);
    }

    #[test]
    fn a_wish_is_renewed_with_pauses_and_ends_when_it_is_withdrawn() {
        let mut wishes = Wishes::default();
        assert!(add(&mut wishes, standing(1, 1, "melody ", 900)));
        assert!(!add(&mut wishes, standing(1, 1, "melody ", 909)), "too soon");
        assert!(!add(&mut wishes, standing(1, 1, "melody ", 5_000)), "from the future");
        let mut withdrawn = standing(1, 1, "melody ", 950).wish.unverified().clone();
        withdrawn.withdrawn = true;
        let key = KeyPair::from_seed(&[1; 32]);
        let credential = standing(1, 1, "x", 1).credential;
        assert!(add(&mut wishes, StandingQuery { wish: Signed::new(withdrawn, &key), credential }));
        assert_eq!(matching(&wishes, "melody"), 0);
    }

    #[test]
    fn one_name_has_so_many_wishes_and_none_for_everything() {
        let mut wishes = Wishes::default();
        let taken = (0..40).filter(|n| add(&mut wishes, standing(1, *n, "song ", 1_000))).count();
        assert_eq!(taken, MAX_PER_NAME as usize);
        let mut other = standing(2, 1, "", 1_000);
        let name = Username::parse("other").expect("a name");
        let mut credential = other.credential.unverified().clone();
        credential.name = name;
        other.credential = Signed::new(credential, &KeyPair::from_seed(&[2; 32]));
        assert!(!add(&mut wishes, other), "it has no word");
    }

    fn push(wishes: &mut Wishes, id: &QueryId, content: u8, sender: &Username) -> Push {
        let wisher = KeyPair::from_seed(&[1; 32]).node_id();
        wishes.may_push((&wisher, id), &ContentId::from_bytes([content; 32]), sender, NOW)
    }

    #[test]
    fn one_who_makes_hits_up_or_repeats_them_silences_no_wish() {
        let mut wishes = Wishes::default();
        assert!(add(&mut wishes, standing(1, 1, "song ", 900)));
        let id = QueryId::from_bytes([1; 16]);
        let [liar, honest] = ["liar", "honest"].map(|name| Username::parse(name).expect("a name"));
        let made_up = (0..200).filter(|n| push(&mut wishes, &id, *n, &liar) == Push::Granted);
        assert_eq!(made_up.count(), 16);
        assert_eq!(push(&mut wishes, &id, 200, &honest), Push::Granted);
        for _ in 0..100 {
            assert_eq!(push(&mut wishes, &id, 200, &honest), Push::Repeated);
        }
        assert_eq!(push(&mut wishes, &id, 201, &honest), Push::Granted);

        // One whose content begins as that of a genuine hit does.
        let mut content = [201; 32];
        content[31] = 0;
        let wisher = KeyPair::from_seed(&[1; 32]).node_id();
        let content = ContentId::from_bytes(content);
        let pushed = wishes.may_push((&wisher, &id), &content, &honest, NOW);
        assert_eq!(pushed, Push::Granted);
    }

    #[test]
    fn the_wishes_of_one_name_share_what_is_pushed_and_renewal_does_not_refill_it() {
        let mut wishes = Wishes::default();
        for number in 0..30 {
            assert!(add(&mut wishes, standing(1, number, "song ", 900)));
        }
        let pushed = |wishes: &mut Wishes| {
            let ids = (0..30).flat_map(|number| [QueryId::from_bytes([number; 16]); 6]);
            let granted = (0_u8..).zip(ids).filter(|(number, id)| {
                let sender = Username::parse(&format!("sender{}", number % 20)).expect("a name");
                push(wishes, id, *number, &sender) == Push::Granted
            });
            granted.count() as u64
        };
        assert_eq!(pushed(&mut wishes), PUSHES_OF_NAME.1, "and not 180");
        for number in 0..30 {
            assert!(add(&mut wishes, standing(1, number, "song ", 950)));
        }
        assert_eq!(pushed(&mut wishes), 0);
    }

    #[test]
    fn a_renewed_wish_must_be_one_as_well() {
        let mut wishes = Wishes::default();
        assert!(add(&mut wishes, standing(1, 1, "song ", 900)));
        assert!(!add(&mut wishes, standing(1, 1, "", 950)));
    }

    #[test]
    fn what_was_found_lately_is_ready_when_the_wisher_has_moved() {
        let mut wishes = Wishes::default();
        add(&mut wishes, standing(1, 1, "song ", 900));
        let skein_proto::Message::WishHit(mut hit) =
            skein_proto::testing::largest_message(skein_proto::message::MessageKind::WishHit)
        else {
            unreachable!("it is one");
        };
        hit.wisher = KeyPair::from_seed(&[1; 32]).node_id();
        hit.id = QueryId::from_bytes([1; 16]);
        for number in 0..20 {
            hit.file.content = ContentId::from_bytes([number / 2; 32]);
            assert!(wishes.keep(hit.clone(), NOW));
        }
        add(&mut wishes, standing(1, 1, "song ", 950));
        assert!(wishes.take_ready().is_empty(), "it is where it was");
        let key = KeyPair::from_seed(&[1; 32]);
        let mut moved = standing(1, 1, "song ", 980);
        let mut wish = moved.wish.unverified().clone();
        wish.parent = NodeId::from_bytes([10; 32]);
        moved.wish = Signed::new(wish, &key);
        add(&mut wishes, moved);
        assert_eq!(wishes.take_ready().len(), MAX_KEPT, "each content once, the newest");
    }
}

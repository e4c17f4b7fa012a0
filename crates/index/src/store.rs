//! What is indexed: the segments, and what is on its way into them.

use crate::class::class;
use crate::interner::WordHasher;
use crate::presence::Presence;
use crate::register::{OwnerNo, Register};
use crate::segment::draft::Draft;
use crate::segment::merge::Merge;
use crate::segment::room::Room;
use crate::segment::{Holder, Place, Probe, Segment};
use crate::slab::Slab;
use crate::snapshot::{Shared, Snapshot};
use crate::sources::{OwnerSet, Share};
use crate::spare::{self, Own};
use crate::tally::Tally;
use crate::tending::Away;
use crate::text::{MAX_RECORD_WORDS, RecordWords};
use crate::thinned::Thinned;
use crate::vocabulary::Pending;
use crate::waste::Waste;
use skein_proto::{ContentId, FileMeta, MediaTags};
use std::collections::HashSet;
use std::sync::Arc;

/// Documents that are gathered at most before they become a segment. The more, the less is merged
/// later, of what one call brings; a draft of so many takes about 6 MB.
const MAX_DRAFT: usize = 16 * 1024;

/// Bytes of different strings that are gathered at most: four times what so many documents usually
/// have.
const MAX_DRAFT_STRINGS: usize = 4 * 1024 * 1024;

/// Documents of one who goes that are read before their words are forgotten: so many looks at memory
/// wait for it together.
const FORGOTTEN_AT_A_TIME: usize = 16;

/// Where a document is, until the end of the change at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Drafted(usize),
    Stored(usize, Place),
}

/// Who has joined a share, and who has left one.
#[derive(Debug, Default)]
pub(crate) struct ShareChange {
    pub(crate) joined: Vec<(OwnerNo, u32)>,
    pub(crate) left: Vec<(OwnerNo, u32)>,
}

/// Which segments may have which of some contents: see [`Store::admitting`].
#[derive(Debug)]
pub(crate) struct Admitted {
    /// That of the segments, which there are no others by now.
    version: u64,
    /// A bit for each content that may be there at all.
    present: u64,
    /// Segments that may have any of them, and a bit for each of those that they may have.
    masks: Vec<(usize, u64)>,
}

impl Admitted {
    /// The segments that may have the content of this number.
    fn segments(&self, number: usize) -> impl Iterator<Item = usize> {
        let is_present = self.present >> number & 1 == 1;
        let before = (self.present & ((1 << number) - 1)).count_ones();
        let masks = if is_present { &*self.masks } else { &[] };
        masks.iter().filter(move |(_, mask)| mask >> before & 1 == 1).map(|(at, _)| *at)
    }
}

/// All documents.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) thinned: Thinned,
    /// Asked before the segments are. Every live document is counted in it.
    pub(super) presence: Presence,
    /// Another one for each change of the segments.
    pub(super) version: u64,
    pub(super) merges: Vec<Merge>,
    draft: Draft,
    /// What the room of earlier drafts takes, which the next one uses again.
    kept_bytes: u64,
    /// Mappings that were used and will be used again. While it is changed the thread has them.
    own: Own,
    /// What is to go when the draft has become a segment, so that what moves from one segment to
    /// another is never missed.
    killed: HashSet<(usize, Place)>,
    pub(super) tally: Tally,
    pub(super) pending: Pending,
    /// The content of each document that several owners have.
    shares: Slab<ContentId>,
    share_bytes: u64,
    pub(super) hasher: WordHasher,
    #[expect(
        clippy::vec_box,
        reason = "each is lent for a moment, and moving all of it takes longer"
    )]
    spare: Vec<Box<RecordWords>>,
    pub(super) next_id: u64,
    /// Documents that merges are still to go on by for what has come and gone.
    pub(super) owed: usize,
    /// What is no longer needed.
    pub(super) waste: Waste,
    /// Whether readers see other segments than there are.
    pub(super) has_moved: bool,
    /// What segments and merges took at the last upkeep.
    pub(super) settled_bytes: u64,
    documents: usize,
    postings: u64,
    /// Documents that came and that went since the last upkeep.
    came: usize,
    gone: usize,
    /// As [`Index::work`](crate::Index::work).
    pub(super) work: u64,
    /// What it was at the end of the last call.
    pub(super) work_before: u64,
    /// The merge that is being done elsewhere.
    pub(super) away: Option<Away>,
    pub(super) last_away: u64,
    /// Documents that have come and gone so far.
    pub(super) all_changes: u64,
    /// Documents that merging beyond what is due may still copy.
    pub(super) credit: u64,
}

impl Store {
    pub(crate) const fn documents(&self) -> usize {
        self.documents
    }

    pub(crate) const fn postings(&self) -> u64 {
        self.postings
    }

    pub(crate) const fn segments(&self) -> usize {
        self.segments.len()
    }

    pub(crate) const fn words(&self) -> usize {
        self.tally.len()
    }

    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.tally.has(self.hasher.hash(word.as_bytes()))
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.settled_bytes
            + (self.waste.bytes() - self.waste.spare_bytes())
            + self.thinned.bytes()
            + self.draft.bytes().max(self.kept_bytes)
            + self.spare_bytes()
            + self.tally.bytes()
            + self.pending.bytes()
            + self.shares.bytes()
            + self.share_bytes
    }

    /// Takes out what is kept to be used again, for a change.
    pub(crate) fn take_spare(&mut self) -> Own {
        std::mem::take(&mut self.own)
    }

    /// Keeps what a change has left to be used again, as far as there are so many bytes left.
    pub(crate) fn keep_spare(&mut self, own: Own, left: u64) {
        self.own = own.limited_by(self.settled_bytes, left, &mut self.waste);
    }

    /// Gives up the filter of all contents, since memory is short.
    pub(crate) fn give_up_presence(&mut self) {
        self.presence.give_up(&mut self.waste);
    }

    /// Bytes of what only makes changes faster, and is given up when memory is short.
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.own.bytes() + spare::lent_bytes() + self.presence.bytes() + self.waste.spare_bytes()
    }

    /// Reads the words of a record. Give them back with [`Store::put_back`].
    pub(crate) fn read_words(&mut self, file: &FileMeta) -> Box<RecordWords> {
        self.read_words_of(file.path.as_str(), file.tags.as_deref())
    }

    fn read_words_of(&mut self, path: &str, tags: Option<&MediaTags>) -> Box<RecordWords> {
        let mut words = self.spare.pop().unwrap_or_default();
        words.read_hashed(path, tags, &self.hasher);
        words
    }

    pub(crate) fn put_back(&mut self, words: Box<RecordWords>) {
        if self.spare.len() < FORGOTTEN_AT_A_TIME {
            self.spare.push(words);
        }
    }

    /// Whether there may be more different words than so many with those of one more record.
    pub(crate) fn may_lack_words(&self, limit: u64) -> bool {
        (self.tally.len() + self.draft.strings() + MAX_RECORD_WORDS) as u64 > limit
    }

    /// Whether there would be at most so many different words with these.
    pub(crate) fn has_room_for(&mut self, words: &RecordWords, limit: u64) -> bool {
        let drafted = self.draft.strings();
        (self.tally.len() + drafted + words.len()) as u64 <= limit || {
            self.count_words();
            let new = words.hashes().filter(|hash| !self.tally.has(*hash)).count();
            (self.tally.len() + new) as u64 <= limit
        }
    }

    /// Adds a document.
    pub(crate) fn add(&mut self, file: &mut FileMeta, holder: Holder, words: &RecordWords) {
        self.pending.document(words, true);
        self.documents += 1;
        self.postings += words.len() as u64;
        self.draft(file, holder, words, false);
    }

    /// Drafts a document, which may have moved from a segment.
    fn draft(&mut self, file: &mut FileMeta, holder: Holder, words: &RecordWords, is_moved: bool) {
        self.came += 1;
        self.work += 1;
        self.presence.came(&file.content);
        self.draft.push(file, holder, words, is_moved, &self.hasher);
    }

    /// Counts the words of what is drafted: once for all documents that have one, where so many
    /// come that most of their words are those of others too.
    fn count_words(&mut self) {
        self.draft.count_words(|words| {
            self.tally.touch(words.iter().map(|it| it.hash));
            for it in words {
                if self.tally.add(it.hash, it.documents) {
                    let word = std::str::from_utf8(it.text).unwrap_or_default();
                    self.pending.word_appeared(word);
                }
            }
        });
    }

    /// Takes a document away with its words.
    fn forget(&mut self, at: At, words: &RecordWords) {
        if self.kill(at) {
            self.tally.touch(words.hashes());
            self.forget_words(words);
        }
        self.pending.document(words, false);
        self.documents -= 1;
        self.postings -= words.len() as u64;
    }

    fn forget_words(&mut self, words: &RecordWords) {
        for ((word, _), hash) in words.iter().zip(words.hashes()) {
            if self.tally.remove(hash) {
                self.pending.word_vanished(word);
            }
        }
    }

    /// Which segments may have which of at most 64 contents. Something is read of where the draft would
    /// have each of them, and of each path: who takes them in next waits for memory once instead of once
    /// for each.
    pub(crate) fn admitting(&self, files: &[FileMeta]) -> Admitted {
        let present = self.presence.may_have_of(files.iter().map(|it| &it.content));
        let mut probes = [Probe::default(); u64::BITS as usize];
        let mut count = 0;
        let mut touched = 0;
        for (number, file) in files.iter().enumerate() {
            touched ^= self.draft.touch(&file.content, &self.hasher);
            touched ^= file.path.as_str().as_bytes().first().map_or(0, |byte| u32::from(*byte));
            if present >> number & 1 == 1
                && let Some(free) = probes.get_mut(count)
            {
                *free = Probe::new(file.content.as_bytes());
                count += 1;
            }
        }
        std::hint::black_box(touched);
        let probes = probes.get(..count).unwrap_or_default();
        if probes.is_empty() {
            return Admitted { version: self.version, present, masks: Vec::new() };
        }
        let masks = self.segments.iter().map(|segment| match self.thinned.of(segment) {
            Some(filter) => filter.may_have_of(probes),
            None => segment.admits_of(probes),
        });
        let masks = (0..).zip(masks).filter(|(_, mask)| *mask != 0).collect();
        Admitted { version: self.version, present, masks }
    }

    /// An owner's record of a content as it is now, and the document with exactly this metadata.
    /// `admitted` may tell where the content, which was of this number among those, may be.
    pub(crate) fn find(
        &self,
        owner: OwnerNo,
        file: &FileMeta,
        admitted: Option<(&Admitted, usize)>,
    ) -> (Option<At>, Option<At>) {
        let content = &file.content;
        if !self.presence.may_have(content) {
            debug_assert!(!self.has_few_with(content), "what is there is counted");
            return (None, None);
        }
        let (mut own, mut same) = (None, None);
        for number in self.draft.find(content, &self.hasher) {
            if self.draft.is_of(number, owner) {
                own = Some(At::Drafted(number));
            }
            if self.draft.file(number).as_ref() == Some(file) {
                same = Some(At::Drafted(number));
            }
        }
        let mut see = |at: usize, segment: &Segment| {
            if own.is_none() {
                own = self.own_in(at, segment, owner, content);
            }
            let is_same = |place: &Place| {
                !self.killed.contains(&(at, *place)) && segment.file(*place).as_ref() == Some(file)
            };
            let class = class(file.path.file_name().chars().count(), 1);
            let alone = segment.find_ranks(class, content).map(|rank| segment.place(rank));
            let shared = segment.find_places(segment.shared_places(), content);
            if let Some(place) = alone.chain(shared).find(is_same) {
                same = Some(At::Stored(at, place));
            }
        };
        if let Some((admitted, number)) = admitted.filter(|it| it.0.version == self.version) {
            for at in admitted.segments(number) {
                self.segments.get(at).into_iter().for_each(|segment| see(at, segment));
            }
        } else {
            let probe = Probe::new(content.as_bytes());
            let segments = self.segments.iter().enumerate();
            segments.filter(|(_, it)| it.admits(probe)).for_each(|(at, it)| see(at, it));
        }
        (own, same)
    }

    /// Whether there is a live document of a content, if there are so few that each can be looked at.
    fn has_few_with(&self, content: &ContentId) -> bool {
        const FEW: usize = 2_000;
        self.documents <= FEW
            && (self.draft.find(content, &self.hasher).next().is_some()
                || self.segments.iter().any(|it| it.has_live(content)))
    }

    /// An owner's record of a content.
    pub(crate) fn find_own(&self, owner: OwnerNo, content: &ContentId) -> Option<At> {
        if !self.presence.may_have(content) {
            return None;
        }
        let is_own = |at: &usize| self.draft.is_of(*at, owner);
        if let Some(number) = self.draft.find(content, &self.hasher).find(is_own) {
            return Some(At::Drafted(number));
        }
        let probe = Probe::new(content.as_bytes());
        let mut segments = self.segments.iter().enumerate().filter(|(_, it)| it.admits(probe));
        segments.find_map(|(at, segment)| self.own_in(at, segment, owner, content))
    }

    fn own_in(
        &self,
        at: usize,
        segment: &Segment,
        owner: OwnerNo,
        content: &ContentId,
    ) -> Option<At> {
        let own = segment.find_places(segment.places_of(owner), content);
        let shared = segment.find_places(segment.shared_places(), content);
        let shared = shared.filter(|place| {
            segment.share(*place).is_some_and(|share| share.owners().contains(owner))
        });
        let mut all = own.chain(shared).filter(|place| !self.killed.contains(&(at, *place)));
        all.next().map(|place| At::Stored(at, place))
    }

    /// The document of a share.
    pub(crate) fn find_share(&self, number: u32) -> Option<At> {
        let content = *self.shares.get(number)?;
        let is_it = |holder: &Holder| match holder {
            Holder::One(_) => false,
            Holder::Several(share) => share.number == number,
        };
        let is_drafted = |at: &usize| self.draft.holder(*at).is_some_and(|it| is_it(&it));
        if let Some(number) = self.draft.find(&content, &self.hasher).find(is_drafted) {
            return Some(At::Drafted(number));
        }
        for (at, segment) in self.segments.iter().enumerate() {
            if segment.may_have(&content) {
                let mut places = segment.find_places(segment.shared_places(), &content);
                let is_stored = |place: &Place| {
                    !self.killed.contains(&(at, *place)) && is_it(&segment.holder(*place))
                };
                if let Some(place) = places.find(is_stored) {
                    return Some(At::Stored(at, place));
                }
            }
        }
        None
    }

    pub(crate) fn file(&self, at: At) -> Option<FileMeta> {
        match at {
            At::Drafted(number) => self.draft.file(number),
            At::Stored(segment, place) => self.segments.get(segment)?.file(place),
        }
    }

    pub(crate) fn holder(&self, at: At) -> Option<Holder> {
        match at {
            At::Drafted(number) => self.draft.holder(number),
            At::Stored(segment, place) => Some(self.segments.get(segment)?.holder(place)),
        }
    }

    /// Adds an owner to a document with exactly this metadata.
    pub(crate) fn add_owner(
        &mut self,
        at: At,
        owner: OwnerNo,
        file: &mut FileMeta,
        words: &RecordWords,
    ) -> ShareChange {
        let mut change = ShareChange::default();
        match self.holder(at) {
            None => {}
            Some(Holder::One(other)) => {
                let owners = OwnerSet::of_two(other, owner);
                let number = self.shares.vacant();
                let share = Arc::new(Share::new(number, owners));
                self.share_bytes += share.bytes();
                self.shares.insert(file.content);
                self.set_holder(at, Holder::Several(share), file, words);
                change.joined = vec![(other, number), (owner, number)];
            }
            Some(Holder::Several(share)) => {
                let owners = share.owners().with(owner);
                change.joined.push((owner, share.number));
                self.set_owners(at, share, owners, file, words);
            }
        }
        change
    }

    /// Takes a document, of which the metadata are given, from an owner, and away if nobody else has
    /// it.
    pub(crate) fn remove_owner(
        &mut self,
        at: At,
        owner: OwnerNo,
        file: &mut FileMeta,
        words: &RecordWords,
    ) -> ShareChange {
        let mut change = ShareChange::default();
        match self.holder(at) {
            None => {}
            Some(Holder::One(_)) => {
                self.forget(at, words);
            }
            Some(Holder::Several(share)) => {
                let owners = share.owners().without(owner);
                change.left.push((owner, share.number));
                let mut rest = owners.iter();
                match (rest.next(), rest.next()) {
                    (Some(rest), None) => {
                        change.left.push((rest, share.number));
                        self.share_bytes -= share.bytes();
                        self.shares.remove(share.number);
                        self.set_holder(at, Holder::One(rest), file, words);
                    }
                    _ => {
                        drop(rest);
                        self.set_owners(at, share, owners, file, words);
                    }
                }
            }
        }
        change
    }

    /// Changes who shares a document, which may put it into another class.
    fn set_owners(
        &mut self,
        at: At,
        share: Arc<Share>,
        owners: OwnerSet,
        file: &mut FileMeta,
        words: &RecordWords,
    ) {
        let moves = class(1, owners.len()) != class(1, share.owners().len());
        self.share_bytes -= share.bytes();
        share.set(owners);
        self.share_bytes += share.bytes();
        if moves {
            self.set_holder(at, Holder::Several(share), file, words);
        }
    }

    /// Changes the holder of a document. One that is stored moves into the draft.
    fn set_holder(&mut self, at: At, holder: Holder, file: &mut FileMeta, words: &RecordWords) {
        match at {
            At::Drafted(number) => self.draft.set_holder(number, holder),
            At::Stored(_, _) => {
                self.kill(at);
                self.draft(file, holder, words, true);
            }
        }
    }

    /// Takes a document away. Answers whether its words have been counted.
    fn kill(&mut self, at: At) -> bool {
        self.gone += 1;
        self.work += 1;
        match at {
            At::Drafted(number) => {
                if let Some(content) = self.draft.content(number) {
                    self.presence.drafted_is_gone(&content);
                }
                self.draft.kill(number)
            }
            At::Stored(segment, place) => {
                self.killed.insert((segment, place));
                true
            }
        }
    }

    /// Takes away at most so many documents of what an owner alone offers, and says how many those
    /// are. Nothing is drafted.
    pub(crate) fn remove_some_of(&mut self, owner: OwnerNo, most: usize) -> usize {
        let mut removed = 0;
        let mut room = Box::new(Room::new());
        for segment in self.segments.clone() {
            let places = segment.live_places_of(owner).take(most - removed);
            let places: Vec<Place> = places.collect();
            removed += places.len();
            for some in places.chunks(FORGOTTEN_AT_A_TIME) {
                let mut all = Vec::with_capacity(some.len());
                for place in some {
                    let texts = segment.texts_in(*place, &mut room);
                    debug_assert!(texts.is_some(), "what was written of a document is read again");
                    if let Some((path, tags)) = texts {
                        all.push(self.read_words_of(path, tags.as_deref()));
                    }
                    segment.kill(*place);
                    self.documents -= 1;
                }
                // Where the counts of all their words are is seen at once.
                self.tally.touch(all.iter().flat_map(|words| words.hashes()));
                for words in all {
                    self.forget_words(&words);
                    self.pending.document(&words, false);
                    self.postings -= words.len() as u64;
                    self.put_back(words);
                }
            }
            self.presence.are_gone(&segment, &places);
            self.note_killed(&segment, &places);
        }
        self.gone += removed;
        // Nothing is written for them.
        self.work += removed as u64 / 2;
        removed
    }

    /// The contents of what an owner alone offers.
    pub(crate) fn contents_of(&self, owner: OwnerNo) -> Vec<ContentId> {
        let mut contents = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            let places = segment.live_places_of(owner);
            let places = places.filter(|place| !self.killed.contains(&(at, *place)));
            contents.extend(places.filter_map(|place| segment.content(place)));
        }
        contents.extend(self.draft.only_of(owner));
        contents
    }

    /// The content of a share.
    pub(crate) fn content_of_share(&self, number: u32) -> Option<ContentId> {
        self.shares.get(number).copied()
    }

    /// Whether the draft is to become a segment before more comes.
    pub(crate) fn is_large(&self) -> bool {
        self.draft.len() >= MAX_DRAFT || self.draft.string_bytes() >= MAX_DRAFT_STRINGS
    }

    pub(crate) fn flush_if_large(&mut self, register: &Register, shared: &Shared) {
        if self.is_large() {
            self.flush(register, shared);
        }
    }

    /// Ends a change: [`Store::seal`], and merges go on.
    pub(crate) fn flush(&mut self, register: &Register, shared: &Shared) {
        self.seal(register, shared);
        let (came, gone) = (std::mem::take(&mut self.came), std::mem::take(&mut self.gone));
        self.earn(came + gone);
        if self.draft.len() == 0 {
            let (documents, changed) = (self.documents, came + gone);
            self.work += self.presence.step(&self.segments, documents, changed, &mut self.waste);
        }
        self.merge_along(came, gone, register, shared);
    }

    /// Makes a segment of what is drafted, shows it to readers, and then takes away what has gone.
    pub(crate) fn seal(&mut self, register: &Register, shared: &Shared) {
        self.show_drafted(register, shared);
        self.take_away_killed();
    }

    /// Makes a segment of what is drafted, and shows it to readers. Until what has gone is taken away,
    /// they see what moves twice.
    pub(crate) fn show_drafted(&mut self, register: &Register, shared: &Shared) {
        self.count_words();
        if self.draft.len() > 0 {
            let segment = self.draft.build(self.next_id);
            self.kept_bytes = self.kept_bytes.max(self.draft.bytes());
            self.draft.clear();
            if let Some(segment) = segment {
                self.next_id += 1;
                self.version += 1;
                self.segments.push(Arc::new(segment));
                self.show(register, shared);
            }
        }
    }

    fn take_away_killed(&mut self) {
        let mut killed: Vec<(usize, Place)> =
            std::mem::take(&mut self.killed).into_iter().collect();
        killed.sort_unstable();
        for of_one in killed.chunk_by(|a, b| a.0 == b.0) {
            let segment = of_one.first().and_then(|(segment, _)| self.segments.get(*segment));
            let Some(segment) = segment.cloned() else { continue };
            let places = of_one.iter().map(|(_, place)| *place);
            let places: Vec<Place> = places.filter(|place| segment.kill(*place)).collect();
            self.presence.are_gone(&segment, &places);
            self.note_killed(&segment, &places);
        }
    }

    /// Gives up the room of earlier drafts, when it is calm.
    pub(super) fn give_up_room(&mut self) {
        if self.draft.len() == 0 {
            self.draft = Draft::default();
            self.kept_bytes = 0;
            self.pending.give_up_room();
            self.presence.give_up(&mut self.waste);
            spare::give_up(&mut self.waste);
        }
    }

    /// Lets readers see what there is now.
    pub(crate) fn show(&self, register: &Register, shared: &Shared) {
        let snapshot = Snapshot {
            segments: self.segments.clone(),
            directory: register.directory.clone(),
            has_leaving: register.has_leaving(),
        };
        shared.snapshot.store(Arc::new(snapshot));
    }
}

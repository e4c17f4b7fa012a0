//! How many different words an owner has: what its quota of words is about.
//!
//! They are only counted when there may be too many. What the owner has by then is counted by and
//! by, along with what it publishes: to read all its records at once would take as long as to
//! publish them. A record whose content is among those that are still to be counted is not
//! counted yet, whatever becomes of it meanwhile.

use crate::index::Index;
use crate::memory;
use crate::register::OwnerNo;
use crate::tally::Tally;
use crate::text::RecordWords;
use skein_proto::ContentId;

/// Of so many parts of the quota, words are counted from [`FIRST`] on: as long as the words of all
/// records together, each counted in each record, are fewer, no different ones can be too many.
const PARTS: u64 = 8;
const FIRST: u64 = 3;

/// Words that are counted for each [`PARTS`] new ones: then all are counted before the quota is
/// reached, as long as no more than [`MOST_COUNTED`] records have them.
const PACE: u64 = 5;

/// Records that are counted at most for each one that comes, so that no message takes long whatever
/// an owner had before. Those with six times as many words as the earlier ones still keep the pace;
/// who goes beyond that is refused more words than its quota until the rest is counted.
const MOST_COUNTED: usize = 4;

/// Contents that take as long to be listed in their order as a document takes to be written.
const LISTED: usize = 32;

/// The words of an owner, with the number of its records that have each.
#[derive(Debug, Default)]
pub(crate) struct Distinct {
    counts: Tally,
    /// Contents of records that are not counted yet, in ascending order; the last one is next.
    todo: Vec<ContentId>,
    /// Words that are to be counted for those that came, in parts of one; less than none if there was
    /// more in a record than was to be counted, much more than none if few words were in many.
    owed: i64,
}

impl Distinct {
    /// Notes a record that the owner has from now on.
    pub(crate) fn add(&mut self, content: &ContentId, words: &RecordWords) {
        if self.todo.binary_search(content).is_err() {
            self.count(words);
        } else {
            // What it has now is among what is still to be counted.
            self.owed += (uses_of(words) * PARTS) as i64;
        }
    }

    /// Notes a record that the owner has no more.
    pub(crate) fn remove(&mut self, content: &ContentId, words: &RecordWords) {
        if self.todo.binary_search(content).is_err() {
            words.hashes().for_each(|hash| {
                self.counts.remove(hash);
            });
        }
    }

    fn count(&mut self, words: &RecordWords) {
        words.hashes().for_each(|hash| {
            self.counts.add(hash, 1);
        });
    }

    /// Bytes of memory.
    pub(crate) const fn bytes(&self) -> u64 {
        memory::allocation(size_of::<Self>())
            + self.counts.bytes()
            + memory::vector::<ContentId>(self.todo.capacity())
    }
}

/// What a record counts among the uses of words: one if it has no words, for it takes as long to be
/// looked at.
pub(crate) fn uses_of(words: &RecordWords) -> u64 {
    (words.len() as u64).max(1)
}

/// Whether so few words are used that they need not be counted any more.
pub(crate) const fn are_few(word_uses: u64, limit: u64) -> bool {
    word_uses <= limit / 4
}

impl Index {
    /// Whether an owner's different words stay within the limit with those of one more record. Where
    /// they cannot be told yet, they do not.
    pub(crate) fn words_fit(&mut self, owner: OwnerNo, words: &RecordWords) -> bool {
        let limit = self.limits.owner_words;
        let Some(known) = self.register.get(owner) else { return false };
        let uses = known.word_uses + uses_of(words);
        if known.words.is_none() && uses <= limit / PARTS * FIRST {
            return true;
        }
        let mut all = match self.register.take_words(owner) {
            Some(all) => all,
            None => Box::new(Distinct { todo: self.contents_of(owner), ..Distinct::default() }),
        };
        all.owed += (uses_of(words) * PACE) as i64;
        let mut left = MOST_COUNTED;
        while left > 0
            && (all.owed > 0 || uses > limit)
            && let Some(content) = all.todo.pop()
        {
            left -= 1;
            all.owed -= (self.count_record(owner, &content, &mut all) * PARTS) as i64;
        }
        if all.todo.is_empty() {
            (all.todo, all.owed) = (Vec::new(), 0);
        }
        let new = || words.hashes().filter(|hash| !all.counts.has(*hash)).count();
        let fits =
            uses <= limit || (all.todo.is_empty() && (all.counts.len() + new()) as u64 <= limit);
        self.register.change(owner, |known| known.words = Some(all));
        fits
    }

    /// Counts the words of an owner's record, if it still has one of that content. Answers how many
    /// there are, or one if there are none.
    fn count_record(&mut self, owner: OwnerNo, content: &ContentId, all: &mut Distinct) -> u64 {
        self.store.work += 1;
        let at = self.store.find_own(owner, content);
        let Some(file) = at.and_then(|at| self.store.file(at)) else { return 1 };
        let words = self.store.read_words(&file);
        all.count(&words);
        let count = uses_of(&words);
        self.store.put_back(words);
        count
    }

    /// The contents of an owner's records, in ascending order.
    fn contents_of(&mut self, owner: OwnerNo) -> Vec<ContentId> {
        let mut contents = self.store.contents_of(owner);
        let shares = self.register.get(owner).into_iter().flat_map(|it| &it.shares);
        contents.extend(shares.filter_map(|share| self.store.content_of_share(*share)));
        // Those of one segment are in order already.
        contents.sort();
        self.store.work += (contents.len() / LISTED) as u64;
        contents
    }
}

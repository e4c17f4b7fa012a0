//! Posting lists: which documents of a segment have a word, in the order of their rank.
//!
//! A list has one of three forms, whichever suits its length.
//!
//! - *Short*, below 128: the distances as variable-length numbers.
//! - *Blocked*: blocks of 128 distances, each packed to the width of its widest, by SIMD (Lemire
//!   and Boytsov, "Decoding billions of integers per second through vectorization", 2015). In front
//!   stands the last document and the width of each block, so that those which cannot matter
//!   are skipped. What is left over is written as a short list is.
//! - *Dense*, from one document in ten: a bit for each document of the segment. It costs little
//!   more than the blocks would, and one look tells whether a document is in it.

mod write;

use crate::code::varint;
use bitpacking::{BitPacker as _, BitPacker4x};
pub(crate) use write::{Numbers, write};

/// Numbers of one block.
const BLOCK: usize = BitPacker4x::BLOCK_LEN;

/// Bytes in front of the blocks for each of them: the last document and the width.
const SKIP_BYTES: usize = 5;

/// Where a block has more than so many numbers for each one that is sought, those are sought by
/// halves.
const FEW: usize = 12;

/// Numbers from the first to the last of a block, up to which it is spread out as bits to be looked
/// up: with these, 4 KiB.
const MAX_SPAN: u32 = 32 * 1024;

/// Words of these bits.
const WINDOW: usize = MAX_SPAN as usize / 64;

/// Numbers that a search looks at together: as many as one word has bits to mark them.
///
/// What is done for each of many numbers without a question in between, the processor does for
/// several at the same time, and it waits for memory once instead of once for each.
pub(crate) const BATCH: usize = 64;

/// A word has few documents or many: how they are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Short,
    Blocked,
    Dense,
}

impl Form {
    /// Two bits, as they stand in the dictionary.
    pub(crate) const fn tag(self) -> u64 {
        self as u64
    }

    pub(crate) const fn from_tag(tag: u64) -> Self {
        match tag & 3 {
            0 => Self::Short,
            1 => Self::Blocked,
            _ => Self::Dense,
        }
    }
}

/// A list that is read from its front to its end.
#[derive(Clone, Debug)]
pub(crate) enum Cursor<'a> {
    Packed(Box<Packed<'a>>),
    Dense(Dense<'a>),
    /// A union of lists.
    Bitmap(Bitmap),
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(form: Form, mut bytes: &'a [u8]) -> Self {
        match form {
            Form::Short => Self::Packed(Box::new(Packed::new(0, bytes))),
            Form::Blocked => {
                let count = varint::take(&mut bytes) as usize;
                Self::Packed(Box::new(Packed::new(count / BLOCK, bytes)))
            }
            Form::Dense => {
                let count = varint::take(&mut bytes) as usize;
                Self::Dense(Dense { count, bytes })
            }
        }
    }

    /// About how many numbers there are: exact but for short lists, which are taken for full.
    pub(crate) fn estimate(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.estimate(),
            Self::Dense(dense) => dense.count,
            Self::Bitmap(bitmap) => bitmap.count,
        }
    }

    /// How much it takes to unite the list with others, in numbers that are looked at one by one.
    pub(crate) fn effort(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.estimate(),
            Self::Dense(dense) => dense.bytes.len() / 8,
            Self::Bitmap(bitmap) => bitmap.words.len(),
        }
    }

    /// Takes the next numbers that are not below `least`, and says how many those are: none behind
    /// the end, at most [`BATCH`]. It never goes back: `least` must not fall.
    pub(crate) fn fill(&mut self, least: u32, out: &mut [u32; BATCH]) -> usize {
        match self {
            Self::Packed(packed) => packed.fill(least, out),
            Self::Dense(dense) => fill_bits(|at| dense.word(at), least, out),
            Self::Bitmap(bitmap) => fill_bits(|at| bitmap.words.get(at).copied(), least, out),
        }
    }

    /// Which of at most [`BATCH`] ascending numbers are in the list: a bit for each. As with
    /// [`Cursor::fill`], it never goes back.
    pub(crate) fn mark(&mut self, numbers: &[u32]) -> u64 {
        match self {
            Self::Packed(packed) => packed.mark(numbers),
            Self::Dense(dense) => mark_bits(|at| dense.word(at), numbers),
            Self::Bitmap(bitmap) => mark_bits(|at| bitmap.words.get(at).copied(), numbers),
        }
    }

    /// Calls with each number in turn.
    pub(crate) fn for_each(self, mut see: impl FnMut(u32)) {
        self.for_each_batch(|numbers| numbers.iter().for_each(|number| see(*number)));
    }

    /// Calls with all numbers, at most [`BATCH`] at a time.
    pub(crate) fn for_each_batch(mut self, mut see: impl FnMut(&[u32])) {
        let mut numbers = [0; BATCH];
        let mut least = 0;
        loop {
            let count = self.fill(least, &mut numbers);
            see(numbers.get(..count).unwrap_or_default());
            let last = numbers.get(count.wrapping_sub(1)).and_then(|last| last.checked_add(1));
            let Some(next) = last else { return };
            least = next;
        }
    }
}

/// The next numbers of a bitmap that are not below `least`.
fn fill_bits(word: impl Fn(usize) -> Option<u64>, least: u32, out: &mut [u32; BATCH]) -> usize {
    let mut at = least as usize / 64;
    let mut mask = u64::MAX << (least % 64);
    let mut count = 0;
    while let Some(word) = word(at) {
        let mut rest = word & mask;
        while rest != 0 {
            let Some(slot) = out.get_mut(count) else { return count };
            *slot = at as u32 * 64 + rest.trailing_zeros();
            count += 1;
            rest &= rest - 1;
        }
        mask = u64::MAX;
        at += 1;
    }
    count
}

/// Which numbers are in a bitmap.
fn mark_bits(word: impl Fn(usize) -> Option<u64>, numbers: &[u32]) -> u64 {
    marks(numbers, |number| word(number as usize / 64).unwrap_or(0) >> (number % 64))
}

/// A bit for each of at most [`BATCH`] numbers, the lowest one of what it has.
#[inline]
fn marks(numbers: &[u32], has: impl Fn(u32) -> u64) -> u64 {
    // Bits come in from above, for a shift by a fixed width costs less than one by a varying one.
    let mask = numbers.iter().fold(0, |mask, number| mask >> 1 | has(*number) << 63);
    mask.checked_shr((BATCH - numbers.len().min(BATCH)) as u32).unwrap_or(0)
}

/// A short or a blocked list.
#[derive(Clone, Debug)]
pub(crate) struct Packed<'a> {
    skips: &'a [[u8; SKIP_BYTES]],
    /// The blocks that are not unpacked yet, then the distances of the rest.
    bytes: &'a [u8],
    /// The last number before `bytes`.
    before: Option<u32>,
    /// The numbers that are unpacked: `buffer[at..len]` are still to come.
    buffer: [u32; BLOCK],
    at: usize,
    len: usize,
    rest_is_read: bool,
    /// The unpacked numbers as bits, counted from this one, if that has been of use.
    window: Option<Box<[u64; WINDOW]>>,
    window_start: Option<u32>,
}

impl<'a> Packed<'a> {
    fn new(blocks: usize, bytes: &'a [u8]) -> Self {
        let (skips, bytes) = bytes.split_at((blocks * SKIP_BYTES).min(bytes.len()));
        let (skips, _) = skips.as_chunks();
        Self {
            skips,
            bytes,
            before: None,
            buffer: [0; BLOCK],
            at: 0,
            len: 0,
            rest_is_read: false,
            window: None,
            window_start: None,
        }
    }

    fn estimate(&self) -> usize {
        // A short list has a byte or two for each number.
        self.skips.len() * BLOCK + if self.skips.is_empty() { self.bytes.len() } else { BLOCK }
    }

    #[inline]
    fn seek(&mut self, least: u32) -> Option<u32> {
        loop {
            if self.len > 0 && self.buffer[self.len - 1] >= least {
                let ahead = &self.buffer[self.at..self.len];
                // Most steps are short ones.
                let short = ahead.iter().take(4).position(|number| *number >= least);
                self.at += short.unwrap_or_else(|| ahead.partition_point(|it| *it < least));
                return Some(self.buffer[self.at]);
            }
            if !self.next_block(least) {
                return None;
            }
        }
    }

    fn fill(&mut self, least: u32, out: &mut [u32; BATCH]) -> usize {
        if self.seek(least).is_none() {
            return 0;
        }
        let ahead = self.buffer.get(self.at..self.len).unwrap_or_default();
        let count = ahead.len().min(BATCH);
        out[..count].copy_from_slice(&ahead[..count]);
        self.at += count;
        count
    }

    fn mark(&mut self, numbers: &[u32]) -> u64 {
        let mut mask = 0;
        let mut i = 0;
        while let Some(least) = numbers.get(i) {
            let Some(last) = self.buffer[..self.len].last().filter(|last| *last >= least) else {
                if self.next_block(*least) {
                    continue;
                }
                break;
            };
            let end = i + numbers[i..].partition_point(|number| number <= last);
            if (end - i) * FEW >= self.len - self.at
                && let Some((start, window)) = self.spread()
            {
                // No branch depends on what is found, for that cannot be foreseen.
                i += numbers[i..end].partition_point(|number| *number < start);
                let found = marks(&numbers[i..end], |number| {
                    let bit = number.wrapping_sub(start);
                    window[bit as usize / 64 % WINDOW] >> (bit % 64)
                });
                mask |= found.checked_shl(i as u32).unwrap_or(0);
                i = end;
            } else {
                let list = &self.buffer[..self.len];
                for number in &numbers[i..end] {
                    self.at += list[self.at..].partition_point(|other| other < number);
                    mask |= u64::from(list.get(self.at) == Some(number)) << i;
                    i += 1;
                }
            }
        }
        mask
    }

    /// The unpacked numbers spread out as bits, with the first of them, unless they are too far apart.
    fn spread(&mut self) -> Option<(u32, &[u64; WINDOW])> {
        if self.window_start.is_none() {
            let list = &self.buffer[..self.len];
            let (first, last) = (*list.first()?, list.last()?);
            let span = last.checked_sub(first).filter(|span| *span < MAX_SPAN)?;
            let window = self.window.get_or_insert_with(|| Box::new([0; WINDOW]));
            window[..=span as usize / 64].fill(0);
            for number in list {
                let bit = number.wrapping_sub(first);
                window[bit as usize / 64 % WINDOW] |= 1 << (bit % 64);
            }
            self.window_start = Some(first);
        }
        Some((self.window_start?, self.window.as_deref()?))
    }

    /// Unpacks the next block that may hold such a number.
    fn next_block(&mut self, least: u32) -> bool {
        self.window_start = None;
        while let [[a, b, c, d, width], later @ ..] = self.skips {
            let last = u32::from_le_bytes([*a, *b, *c, *d]);
            let size = BitPacker4x::compressed_block_size(*width);
            let block = varint::take_bytes(&mut self.bytes, size);
            self.skips = later;
            if last >= least {
                BitPacker4x::new().decompress_strictly_sorted(
                    self.before,
                    block,
                    &mut self.buffer,
                    *width,
                );
                (self.at, self.len, self.before) = (0, BLOCK, Some(last));
                return true;
            }
            self.before = Some(last);
        }
        if self.rest_is_read {
            return false;
        }
        self.rest_is_read = true;
        (self.at, self.len) = (0, 0);
        while !self.bytes.is_empty() && self.len < BLOCK {
            let distance = varint::take32(&mut self.bytes);
            let number = self.before.map_or(0, |before| before.wrapping_add(1));
            let number = number.wrapping_add(distance);
            self.buffer[self.len] = number;
            self.before = Some(number);
            self.len += 1;
        }
        self.len > 0
    }
}

/// A bit for each document, as it is in the segment.
#[derive(Clone, Debug)]
pub(crate) struct Dense<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl Dense<'_> {
    #[inline]
    fn word(&self, at: usize) -> Option<u64> {
        let (words, _) = self.bytes.as_chunks();
        words.get(at).map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// A bit for each document that any of several lists has.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    count: usize,
}

impl Bitmap {
    pub(crate) fn new(universe: usize) -> Self {
        Self { words: vec![0; universe.div_ceil(64)], count: 0 }
    }

    pub(crate) fn add(&mut self, list: Cursor<'_>) {
        if let Cursor::Dense(dense) = list {
            // What is behind the last document is nothing.
            for (at, word) in self.words.iter_mut().enumerate() {
                let more = dense.word(at).unwrap_or(0) & !*word;
                self.count += more.count_ones() as usize;
                *word |= more;
            }
            return;
        }
        list.for_each(|number| {
            if let Some(word) = self.words.get_mut(number as usize / 64) {
                self.count += usize::from(*word >> (number % 64) & 1 == 0);
                *word |= 1 << (number % 64);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    fn read(form: Form, bytes: &[u8]) -> Vec<u32> {
        let mut numbers = Vec::new();
        Cursor::new(form, bytes).for_each(|number| numbers.push(number));
        numbers
    }

    #[test]
    fn each_form_gives_back_its_list() {
        let universe = 100_000;
        for (step, count, expected) in [
            (1_u32, 0_u32, Form::Short),
            (7, 127, Form::Short),
            (700, 128, Form::Blocked),
            (33, 3_000, Form::Blocked),
            (3, 33_333, Form::Dense),
        ] {
            let list: Vec<u32> = (0..count).map(|i| i * step + i % step.min(3)).collect();
            let mut bytes = Vec::new();
            let form = write(Numbers::Listed(&list), universe, &mut bytes);
            assert_eq!((form, read(form, &bytes)), (expected, list));
        }
    }

    #[test]
    fn dense_lists_are_united_with_others_as_if_number_by_number() {
        let universe = 1_000;
        let lists: [Vec<u32>; 3] = [
            (0..universe).step_by(3).collect(),
            (0..universe).filter(|number| number % 7 == 2).collect(),
            vec![5, 6, 999],
        ];
        let mut union = Bitmap::new(universe as usize);
        let mut forms = Vec::new();
        for list in &lists {
            let mut bytes = Vec::new();
            forms.push(write(Numbers::Listed(list), universe as usize, &mut bytes));
            union.add(Cursor::new(forms[forms.len() - 1], &bytes));
        }
        assert_eq!(forms, [Form::Dense, Form::Dense, Form::Short]);
        let all: std::collections::BTreeSet<u32> = lists.into_iter().flatten().collect();
        assert_eq!(union.count, all.len());
        let mut united = Vec::new();
        Cursor::Bitmap(union).for_each(|number| united.push(number));
        assert_eq!(united, all.into_iter().collect::<Vec<_>>());
    }

    /// The first number that is not below `least`.
    fn seek(cursor: &mut Cursor<'_>, least: u32) -> Option<u32> {
        let mut numbers = [0; BATCH];
        // Of those behind it no other one is asked for.
        let mut ahead = cursor.clone();
        let count = ahead.fill(least, &mut numbers);
        numbers[..count].first().copied()
    }

    proptest! {
        #[test]
        fn seeking_finds_what_a_set_would(
            list in btree_set(0_u32..5_000, 0..700),
            sought in btree_set(0_u32..5_010, 0..500),
        ) {
            let sought: Vec<u32> = sought.into_iter().collect();
            let numbers: Vec<u32> = list.iter().copied().collect();
            for universe in [5_000, 100_000] {
                let mut bytes = Vec::new();
                let form = write(Numbers::Listed(&numbers), universe, &mut bytes);
                let mut cursor = Cursor::new(form, &bytes);
                let mut union = Bitmap::new(universe);
                union.add(cursor.clone());
                let mut union = Cursor::Bitmap(union);
                for batch in sought.chunks(BATCH / 3) {
                    let (mut cursor, mut union) = (Cursor::new(form, &bytes), union.clone());
                    // From wherever it stands.
                    cursor.mark(&[batch[0] / 2]);
                    let bits = |it: (u32, &u32)| u64::from(list.contains(it.1)) << it.0;
                    let expected: u64 = (0..).zip(batch).map(bits).sum();
                    prop_assert_eq!(cursor.mark(batch), expected);
                    prop_assert_eq!(union.mark(batch), expected);
                    prop_assert_eq!(seek(&mut cursor, 5_000), None);
                }
                for least in &sought {
                    let expected = list.range(least..).next().copied();
                    prop_assert_eq!(seek(&mut cursor, *least), expected);
                    prop_assert_eq!(seek(&mut union, *least), expected);
                }
            }
        }

        #[test]
        fn garbage_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut cursor = Cursor::new(Form::Short, &bytes);
            for least in 0..10 {
                cursor.mark(&[least * 1000]);
            }
        }
    }
}

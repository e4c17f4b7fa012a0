//! Arrays that give their memory back to the system.
//!
//! A large array has a mapping of its own, whatever allocator the program has. An allocator keeps
//! much of what is freed for later, and merging frees as much as it makes: with glibc's the process
//! would stay twice as large as its index is. A page of a mapping exists from when it is first
//! written to, so that room beyond the end costs nothing.

use crate::mapped::Mapped;
use crate::memory;
use crate::spare::{self, Used};
use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions};
use std::mem::size_of;
use std::ops::{Deref, DerefMut};

/// Bytes from which on an array has a mapping of its own: on average half a page of it, an eighth of
/// the smallest, is left empty. What is smaller fits into the holes that others leave. With twice as
/// much the holes took 1.2 MB more, and building and changing as long.
const MAPPED: usize = 16 * 1024;

/// The unit of a mapping.
pub(crate) const PAGE: usize = 4096;

/// A large page: what lies at random in such ones is found with one look at the tables of addresses less,
/// by which searches take a twentieth less.
const LARGE: usize = 2 * 1024 * 1024;

/// Plain values one after the other.
#[derive(Debug)]
pub(crate) struct Array<T: Pod> {
    memory: Memory<T>,
    len: usize,
    /// So many bytes from the front may be in large pages, of which the system gives each as a whole.
    large: usize,
}

/// All of it is initialised, with zeros or with what was there when it was used before.
#[derive(Debug)]
enum Memory<T: Pod> {
    Heap(Vec<T>),
    Mapped(Mapped<T>),
}

/// When the pages of a mapping come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    /// Each when it is first written to; until then there are zeros in it.
    Later,
    /// All at once, if they are few: nothing takes long that grows with the index. One that is read
    /// before it is written to costs two faults, and the second one interrupts all other threads. There
    /// may be anything in them.
    Now,
    /// As [`Pages::Now`], with zeros in them.
    Zeroed,
}

impl<T: Pod> Memory<T> {
    fn new(capacity: usize, pages: Pages) -> Self {
        Self::with_large(capacity, pages, 0).0
    }

    /// As [`Memory::new`], of which so many bytes from the front are to be in large pages. Answers for how
    /// many the system may give some; if it has none, it gives small ones.
    fn with_large(capacity: usize, pages: Pages, large: usize) -> (Self, usize) {
        let bytes = capacity.saturating_mul(size_of::<T>());
        if bytes < MAPPED {
            return (Self::Heap(vec![T::zeroed(); capacity]), 0);
        }
        let mut options = MmapOptions::new();
        let mut len = bytes;
        let is_populated = pages != Pages::Later && bytes <= spare::LARGEST;
        if is_populated {
            if PAGE.is_multiple_of(size_of::<T>()) {
                // Whole pages, which can be used again for anything.
                len = bytes.next_multiple_of(PAGE);
                if let Some(mut used) = spare::take_near(len) {
                    if pages == Pages::Zeroed {
                        used.mapping.fill(0);
                    }
                    return (Self::Mapped(Mapped::new(used)), 0);
                }
            }
            options.populate();
        }
        if large > 0 && LARGE.is_multiple_of(size_of::<T>()) {
            // From Linux 6.7 on, a mapping of so much begins where a large page does. Where it begins
            // elsewhere, there are small ones before the first and behind the last large one.
            len = bytes.next_multiple_of(LARGE);
        }
        // A system without mappings, or with too many of them, has its allocator.
        match options.len(len).map_anon() {
            Ok(mapping) => {
                let large = if ask_for_large(&mapping, large) { large } else { 0 };
                let touched = if is_populated { mapping.len() } else { 0 };
                (Self::Mapped(Mapped::new(Used { mapping, touched })), large)
            }
            Err(_) => (Self::Heap(vec![T::zeroed(); capacity]), 0),
        }
    }

    /// As [`Memory::new`], for what is needed for a short time, in a mapping that was used before if
    /// there is one of `largest` bytes at most. Answers whether it was: then there is
    /// anything in it.
    fn lent(capacity: usize, largest: usize) -> (Self, bool) {
        let bytes = capacity.saturating_mul(size_of::<T>());
        let is_kept = (MAPPED..=largest).contains(&bytes);
        if !is_kept || !PAGE.is_multiple_of(size_of::<T>()) {
            return (Self::new(capacity, Pages::Later), false);
        }
        match spare::take(bytes, largest) {
            Some(used) => (Self::Mapped(Mapped::new(used)), true),
            // Whole pages can be used again for anything.
            None => (Self::new(bytes.next_multiple_of(PAGE) / size_of::<T>(), Pages::Later), false),
        }
    }

    #[inline]
    fn slice(&self) -> &[T] {
        match self {
            Self::Heap(vector) => vector,
            Self::Mapped(mapped) => mapped.values(),
        }
    }

    #[inline]
    fn slice_mut(&mut self) -> &mut [T] {
        match self {
            Self::Heap(vector) => vector,
            Self::Mapped(mapped) => mapped.values_mut(),
        }
    }
}

/// Asks for large pages for the front of a mapping. Answers whether the system knows such.
#[cfg(target_os = "linux")]
fn ask_for_large(mapping: &MmapMut, bytes: usize) -> bool {
    bytes > 0 && mapping.advise_range(memmap2::Advice::HugePage, 0, bytes).is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn ask_for_large(_: &MmapMut, _: usize) -> bool {
    false
}

impl<T: Pod> Default for Array<T> {
    fn default() -> Self {
        Self { memory: Memory::Heap(Vec::new()), len: 0, large: 0 }
    }
}

impl<T: Pod> Array<T> {
    /// An empty array with room for so many values, to be filled to the end. There may be more room.
    pub(crate) fn to_fill(capacity: usize) -> Self {
        Self { memory: Memory::new(capacity, Pages::Now), len: 0, large: 0 }
    }

    /// As [`Array::to_fill`], in large pages as far as it has any whole ones. It takes a millisecond now and
    /// then until the system gives one out.
    pub(crate) fn to_fill_large(capacity: usize) -> Self {
        Self::with_large(capacity, Pages::Now, capacity)
    }

    /// As [`Array::to_fill`], for what is needed for a short time.
    pub(crate) fn lent(capacity: usize) -> Self {
        Self { memory: Memory::lent(capacity, spare::OWN_LARGEST).0, len: 0, large: 0 }
    }

    /// As [`Array::to_fill`], for what will need much less when it is [`Array::finished`]: a large one has
    /// room that costs nothing, and is not copied then.
    pub(crate) fn to_finish(capacity: usize) -> Self {
        Self { memory: Memory::lent(capacity, spare::LARGEST).0, len: 0, large: 0 }
    }

    /// As [`Array::to_finish`], of which so many will be filled, or few less.
    pub(crate) fn to_finish_large(capacity: usize, least: usize) -> Self {
        if least.saturating_mul(size_of::<T>()) < LARGE {
            return Self::to_finish(capacity);
        }
        Self::with_large(capacity, Pages::Later, least)
    }

    /// An empty array, of which so much will be filled: whole large pages of that cost no more than small
    /// ones do.
    fn with_large(capacity: usize, pages: Pages, least: usize) -> Self {
        let bytes = least.min(capacity).saturating_mul(size_of::<T>());
        let (memory, large) = Memory::with_large(capacity, pages, bytes - bytes % LARGE);
        Self { memory, len: 0, large }
    }

    /// As [`Array::zeroed`], for what is needed for a short time.
    pub(crate) fn lent_zeroed(len: usize) -> Self {
        // To clear a large one takes long, which is not done at once.
        let (memory, is_used) = Memory::lent(len, spare::LARGEST);
        let mut lent = Self { memory, len, large: 0 };
        if is_used {
            lent.fill(T::zeroed());
        }
        lent
    }

    /// So many zeros, to be read and written all over.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { memory: Memory::new(len, Pages::Zeroed), len, large: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.slice().len()
    }

    pub(crate) fn clear(&mut self) {
        self.truncate(0);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.note_touched();
        self.len = self.len.min(len);
    }

    /// Notes how much of a mapping there is memory for by now.
    fn note_touched(&mut self) {
        let bytes = self.len * size_of::<T>();
        if let Memory::Mapped(mapped) = &mut self.memory {
            mapped.touched = bytes.next_multiple_of(PAGE).min(mapped.len()).max(mapped.touched);
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        let at = self.len;
        if let Some(slot) = self.memory.slice_mut().get_mut(at) {
            *slot = value;
            self.len += 1;
        } else {
            self.extend_from_slice(&[value]);
        }
    }

    #[inline]
    pub(crate) fn extend_from_slice(&mut self, values: &[T]) {
        let end = self.len + values.len();
        if end > self.capacity() {
            self.grow(end);
        }
        if let Some(free) = self.memory.slice_mut().get_mut(self.len..end) {
            free.copy_from_slice(values);
            self.len = end;
        }
    }

    /// Appends so many zeros.
    pub(crate) fn extend_zeroed(&mut self, more: usize) {
        self.reserve(more);
        let start = self.len;
        if let Some(free) = self.memory.slice_mut().get_mut(start..start + more) {
            free.fill(T::zeroed());
            self.len += more;
        }
    }

    /// Makes sure that there is room for so many more.
    #[inline]
    pub(crate) fn reserve(&mut self, more: usize) {
        let end = self.len + more;
        if end > self.capacity() {
            self.grow(end);
        }
    }

    /// All of it with what lies behind the end, and how much is taken, which must not grow beyond it:
    /// who adds many finds the room once.
    #[inline]
    pub(crate) fn with_room(&mut self) -> (&mut [T], &mut usize) {
        (self.memory.slice_mut(), &mut self.len)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, least: usize) {
        let mut memory = Memory::new(least.max(self.len * 2), Pages::Later);
        if let Some(to) = memory.slice_mut().get_mut(..self.len) {
            to.copy_from_slice(self);
        }
        self.memory = memory;
        self.large = 0;
    }

    /// Gives back the room behind the end, as far as it costs anything. What stands in a mapping that
    /// is used again and again goes to one of its own.
    pub(crate) fn finished(mut self) -> Self {
        let needed = (self.len * size_of::<T>()).next_multiple_of(PAGE);
        match &mut self.memory {
            Memory::Heap(vector) => {
                vector.truncate(self.len);
                vector.shrink_to_fit();
            }
            Memory::Mapped(mapped)
                if mapped.len() <= spare::LARGEST && !spare::is_near(mapped.len(), needed) =>
            {
                let mut own = Self::to_fill(self.len);
                own.extend_from_slice(&self);
                return own;
            }
            Memory::Mapped(_) => {}
        }
        self
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.memory {
            Memory::Heap(vector) => memory::vector::<T>(vector.capacity()),
            Memory::Mapped(mapped) => {
                let used = self.len * size_of::<T>();
                let page = if used < self.large { LARGE } else { PAGE };
                let needed = used.next_multiple_of(page).max(mapped.touched);
                // One that was used before is a little longer.
                let all = if spare::is_near(mapped.len(), needed) { mapped.len() } else { needed };
                all as u64
            }
        }
    }
}

impl<T: Pod> Drop for Array<T> {
    fn drop(&mut self) {
        self.note_touched();
        // Of one in large pages it is not known for what there is memory.
        if self.large == 0
            && let Memory::Mapped(_) = self.memory
            && let Memory::Mapped(mapped) =
                std::mem::replace(&mut self.memory, Memory::Heap(Vec::new()))
        {
            spare::keep(mapped.into_used());
        }
    }
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.memory.slice().get(..self.len).unwrap_or_default()
    }
}

impl<T: Pod> DerefMut for Array<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let len = self.len;
        self.memory.slice_mut().get_mut(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_holds_what_it_was_given_however_large_it_grows() {
        for room in [0, 10, MAPPED] {
            let mut array = Array::lent(room);
            for number in 0..3 * MAPPED as u32 / 4 {
                array.push(number);
            }
            let array = array.finished();
            assert_eq!(array.len(), 3 * MAPPED / 4);
            assert!((0..).zip(array.iter()).all(|(i, number)| i == *number));
            assert!(matches!(array.memory, Memory::Mapped(_)));
        }
        let mut zeros = Array::<u64>::zeroed(MAPPED);
        assert!(zeros.iter().all(|it| *it == 0));
        zeros[7] = 1;
        assert_eq!((zeros[7], zeros.len()), (1, MAPPED));
    }

    #[test]
    fn what_is_lent_again_is_zero_or_empty() {
        for _ in 0..4 {
            let mut lent = Array::<u32>::lent_zeroed(MAPPED);
            assert_eq!(lent.len(), MAPPED);
            assert!(lent.iter().all(|it| *it == 0));
            lent.fill(u32::MAX);
            drop(lent);
            let mut lent = Array::<u64>::lent(MAPPED / 4);
            assert!(lent.is_empty() && lent.capacity() >= MAPPED / 4);
            (0..MAPPED as u64).for_each(|number| lent.push(number));
            assert!((0..).zip(lent.iter()).all(|(i, number)| i == *number));
            // Twelve bytes are no part of a page.
            assert_eq!(Array::<[u32; 3]>::lent_zeroed(MAPPED).len(), MAPPED);
        }
    }

    #[test]
    fn what_is_finished_takes_no_more_than_it_has() {
        let mut long = Array::<u32>::lent(MAPPED);
        (0..MAPPED as u32 / 2).for_each(|number| long.push(number));
        let long = long.finished();
        assert!((0..).zip(long.iter()).all(|(i, number)| i == *number));
        assert_eq!(long.len(), MAPPED / 2);
        // In a mapping that was used before there may be room for some more.
        let bytes = long.capacity() * size_of::<u32>();
        assert!(spare::is_near(bytes, MAPPED * 2), "{bytes} bytes");
        assert_eq!(long.bytes(), bytes as u64);
        let mut short = Array::<u32>::lent(MAPPED);
        short.push(7);
        let short = short.finished();
        assert!(matches!(short.memory, Memory::Heap(_)));
        assert_eq!(&*short, &[7]);
    }

    #[test]
    fn what_large_pages_take_is_reckoned_and_no_more() {
        // A system may have none.
        let has = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let large = |pages: usize| if has { pages * LARGE } else { 0 };
        let mut array = Array::<u8>::to_finish_large(7 * LARGE + 1, 3 * LARGE + LARGE / 2);
        assert_eq!((array.large, array.bytes()), (large(3), 0));
        array.push(1);
        assert_eq!(array.bytes(), if has { LARGE } else { PAGE } as u64);
        array.extend_zeroed(3 * LARGE);
        assert_eq!(array.bytes(), (3 * LARGE + PAGE) as u64);
        array.extend_zeroed(5 * LARGE);
        assert_eq!((array.len(), array.large), (8 * LARGE + 1, 0));
        assert_eq!((array[0], array[3 * LARGE]), (1, 0));
        assert_eq!(array.bytes(), (8 * LARGE + PAGE) as u64);
        // What is of no large page has none, and there are none where there is no room.
        assert_eq!(Array::<u8>::to_finish_large(7 * LARGE, LARGE - 1).large, 0);
        assert_eq!(Array::<u8>::to_finish_large(LARGE, 7 * LARGE).large, large(1));
        assert_eq!(Array::<u64>::to_fill_large(LARGE / 4).large, large(2));
        assert_eq!(Array::<u64>::to_fill(LARGE / 4).large, 0);
        let mut odd = Array::<u64>::to_fill_large(LARGE / 4 - 1);
        odd.extend_zeroed(LARGE / 4 - 1);
        assert_eq!((odd.large, odd.bytes()), (large(1), 2 * LARGE as u64));
    }

    #[test]
    fn what_was_written_to_is_reckoned_whatever_became_of_it() {
        let mut array = Array::<u8>::lent(40 * MAPPED);
        array.extend_zeroed(10 * MAPPED);
        array.truncate(7);
        array.push(1);
        assert_eq!((array.len(), array.bytes()), (8, 10 * MAPPED as u64));
        array.extend_zeroed(20 * MAPPED);
        array.clear();
        assert_eq!(array.bytes(), (20 * MAPPED + PAGE) as u64);
    }

    #[test]
    fn room_that_is_not_used_is_not_reckoned() {
        let mut array = Array::<u8>::lent(1_000 * MAPPED);
        assert_eq!(array.bytes(), 0);
        array.extend_from_slice(&[1; 5000]);
        assert_eq!(array.bytes(), 2 * PAGE as u64);
        let mut small = Array::<u8>::to_fill(1000);
        small.push(1);
        assert_eq!(small.finished().bytes(), memory::vector::<u8>(1));
    }
}

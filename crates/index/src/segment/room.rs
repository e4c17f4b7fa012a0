//! Room in which texts are put together.

use skein_proto::FilePath;

/// The longest text: a path, and a space that is put into it before it is known whether there is one.
const MOST: usize = FilePath::MAX_BYTES + 1;

/// Bytes that are copied at once. Most pieces of names are shorter: a copy of fixed length behind
/// which the next piece is put costs a tenth of one of just as many bytes.
pub(crate) const STEP: usize = 16;

/// A text on its way, in memory that is used again and again.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: [u8; MOST + STEP],
    /// At most `MOST`.
    len: usize,
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MOST + STEP], len: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends bytes, as far as there is room.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let end = (self.len + text.len()).min(MOST);
        let text = text.get(..end - self.len).unwrap_or_default();
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(text);
        }
        self.len = end;
    }

    /// Appends a space or nothing, without a branch between the two.
    #[inline]
    pub(crate) fn push_space_if(&mut self, wanted: bool) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = b' ';
        }
        self.len = (self.len + usize::from(wanted)).min(MOST);
    }

    /// Takes one byte out of the text.
    pub(crate) fn remove(&mut self, at: usize) {
        if at < self.len {
            self.bytes.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    /// As [`Room::push`] for `text[from..to]`, which is quicker when it is short and when there are
    /// [`STEP`] bytes behind `from`.
    #[inline]
    pub(crate) fn push_part(&mut self, text: &[u8], from: usize, to: usize) {
        if to.wrapping_sub(from) <= STEP && self.copy_step(self.len, text, from) {
            self.len = (self.len + to - from).min(MOST);
        } else {
            self.push(text.get(from..to).unwrap_or_default());
        }
    }

    /// Copies [`STEP`] bytes from somewhere in a text to a place that may be behind the end. Answers
    /// false when there are not so many, or no room for them.
    #[inline]
    pub(crate) fn copy_step(&mut self, at: usize, text: &[u8], from: usize) -> bool {
        let Some(from) = text.get(from..from.wrapping_add(STEP)) else { return false };
        let Some(to) = self.bytes.get_mut(at..at.wrapping_add(STEP)) else { return false };
        to.copy_from_slice(from);
        true
    }

    /// What has been copied is the text up to here.
    #[inline]
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(MOST);
    }

    /// Copies bytes to a place that may be behind the end, as far as there is room.
    pub(crate) fn copy(&mut self, at: usize, text: &[u8]) {
        let to = self.bytes.iter_mut().skip(at);
        to.zip(text).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_make_up_a_text_that_ends_where_the_room_does(
            text in proptest::collection::vec(any::<u8>(), 0..100),
            parts in proptest::collection::vec((0_usize..100, 0_usize..40), 0..40),
        ) {
            let mut room = Room::new();
            let mut expected = Vec::new();
            for (from, len) in parts {
                let from = from.min(text.len());
                let to = (from + len).min(text.len());
                room.push_part(&text, from, to);
                expected.extend_from_slice(&text[from..to]);
                expected.truncate(MOST);
                prop_assert_eq!(room.bytes(), &expected[..]);
            }
        }
    }
}

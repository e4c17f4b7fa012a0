//! What is no longer needed, given back to the system a piece at a time: for a hundred megabytes at
//! once it takes several milliseconds.

use crate::memory;
use crate::segment::Segment;
use crate::sources::Share;
use crate::spare;
use std::any::Any;
use std::sync::Arc;

/// Bytes that one share stands for: it lies anywhere in memory, so that to give it up takes about
/// as long as half a page does.
const SHARE: u64 = 2048;

/// A piece of more bytes than a change gives back is large, since it goes at once or not at all.
pub(crate) const LARGE: u64 = 4 * 1024 * 1024;

/// Large pieces are left for whoever has another thread for them, unless there were more bytes of such
/// already when the last change ended.
const MOST_LARGE: u64 = 32 * 1024 * 1024;

/// Something that is dropped at once.
#[derive(Debug)]
struct Piece {
    what: Box<dyn Any + Send + Sync>,
    bytes: u64,
    /// It only made changes faster.
    is_spare: bool,
}

/// What is still to be given back.
#[derive(Debug, Default)]
pub(crate) struct Waste {
    /// Segments, at which readers may still look, and what they take.
    segments: Vec<(Arc<Segment>, u64)>,
    pieces: Vec<Piece>,
    large: Vec<Piece>,
    large_bytes: u64,
    /// What that was when some was given back last.
    left_large: u64,
    /// None is empty.
    shares: Vec<Vec<Arc<Share>>>,
    /// Of all of it.
    bytes: u64,
    /// Of the pieces that only made changes faster.
    spare_bytes: u64,
}

impl Waste {
    /// A segment that is no longer shown to readers.
    pub(crate) fn add_segment(&mut self, segment: Arc<Segment>) {
        let bytes = segment.bytes();
        self.bytes += bytes;
        self.segments.push((segment, bytes));
    }

    /// Anything else of so many bytes.
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, piece: T, bytes: u64) {
        self.add_piece(Piece { what: Box::new(piece), bytes, is_spare: false });
    }

    /// The same of what only made changes faster.
    pub(crate) fn add_spare<T: Send + Sync + 'static>(&mut self, piece: T, bytes: u64) {
        self.spare_bytes += bytes;
        self.add_piece(Piece { what: Box::new(piece), bytes, is_spare: true });
    }

    fn add_piece(&mut self, piece: Piece) {
        self.bytes += piece.bytes;
        if piece.bytes > LARGE {
            self.large_bytes += piece.bytes;
            self.large.push(piece);
        } else {
            self.pieces.push(piece);
        }
    }

    /// The holders of shared documents.
    pub(crate) fn add_shares(&mut self, shares: Vec<Arc<Share>>) {
        if !shares.is_empty() {
            self.bytes += memory::vector::<Arc<Share>>(shares.capacity());
            self.shares.push(shares);
        }
    }

    /// Gives back at most so many bytes, and says how many those were; more only where much more is left
    /// that nobody takes ([`Waste::take_due`]) and that cannot be given back in parts. What readers
    /// still look at is kept, so that none of them has to.
    pub(crate) fn give_back(&mut self, most: u64) -> u64 {
        let is_left = self.left_large.min(self.large_bytes) > MOST_LARGE;
        let mut given = if is_left { self.give_back_large() } else { 0 };
        while given < most {
            if let Some(mut shares) = self.shares.pop() {
                let count = ((most - given).div_ceil(SHARE) as usize).min(shares.len());
                shares.truncate(shares.len() - count);
                given += count as u64 * SHARE;
                if shares.is_empty() {
                    self.bytes -= memory::vector::<Arc<Share>>(shares.capacity());
                } else {
                    self.shares.push(shares);
                }
            } else if let Some(piece) = self.pieces.pop_if(|it| given + it.bytes <= most) {
                given += self.drop_piece(piece);
            } else if !self.pieces.is_empty() || !self.take_apart() {
                break;
            }
        }
        if self.is_empty() {
            *self = Self::default();
        }
        self.left_large = self.large_bytes;
        given
    }

    /// Gives back one of what cannot be given back in parts, and says how many bytes it had.
    pub(crate) fn give_back_large(&mut self) -> u64 {
        self.large.pop().map_or(0, |piece| self.drop_piece(piece))
    }

    fn drop_piece(&mut self, piece: Piece) -> u64 {
        let Piece { what, bytes, is_spare } = piece;
        drop(what);
        self.bytes -= bytes;
        if is_spare {
            self.spare_bytes -= bytes;
        }
        if bytes > LARGE {
            self.large_bytes -= bytes;
        }
        bytes
    }

    /// Takes a segment apart at which nobody looks any more; answers false if there is none.
    fn take_apart(&mut self) -> bool {
        let Some(at) = self.segments.iter().position(is_alone) else { return false };
        let (segment, bytes) = self.segments.swap_remove(at);
        self.bytes -= bytes;
        if let Some(segment) = Arc::into_inner(segment) {
            segment.take_apart(self);
        }
        true
    }

    /// Takes out what is large, if there is any.
    pub(crate) fn take_large(&mut self) -> Option<Unneeded> {
        if self.large.is_empty() {
            return None;
        }
        let mut large = Self::default();
        for piece in std::mem::take(&mut self.large) {
            self.bytes -= piece.bytes;
            self.large_bytes -= piece.bytes;
            if piece.is_spare {
                self.spare_bytes -= piece.bytes;
                large.spare_bytes += piece.bytes;
            }
            large.add_piece(piece);
        }
        Some(Unneeded(large))
    }

    /// Takes out all that could be given back now, if there is any.
    pub(crate) fn take_due(&mut self) -> Option<Unneeded> {
        if !self.is_due() {
            return None;
        }
        let mut due = std::mem::take(self);
        for (segment, bytes) in due.segments.extract_if(.., |it| !is_alone(it)) {
            self.bytes += bytes;
            self.segments.push((segment, bytes));
        }
        due.bytes -= self.bytes;
        Some(Unneeded(due))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
            && self.pieces.is_empty()
            && self.large.is_empty()
            && self.shares.is_empty()
    }

    /// Whether there is something that could be given back now.
    pub(crate) fn is_due(&self) -> bool {
        !self.pieces.is_empty()
            || !self.large.is_empty()
            || !self.shares.is_empty()
            || self.segments.iter().any(is_alone)
    }

    /// Bytes of memory.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As many of them as are of what only made changes faster.
    pub(crate) const fn spare_bytes(&self) -> u64 {
        self.spare_bytes
    }
}

/// Whether nobody looks at a segment any more.
fn is_alone((segment, _): &(Arc<Segment>, u64)) -> bool {
    Arc::strong_count(segment) == 1
}

/// Memory that an index does not need any more: see [`Index::take_unneeded`](crate::Index::take_unneeded).
#[derive(Debug)]
pub struct Unneeded(Waste);

impl Unneeded {
    /// Gives some of it back to the system, which takes up to two milliseconds, or where a piece of it is
    /// larger a quarter of one for each of its megabytes. Answers what is left. (What is merely dropped
    /// may be kept to be used again.)
    #[must_use]
    pub fn give_back_some(mut self) -> Option<Self> {
        spare::without_keeping(|| {
            if self.0.give_back_large() == 0 {
                self.0.give_back(2 * LARGE);
            }
        });
        self.0.is_due().then_some(self)
    }

    /// How many bytes that are.
    pub const fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what was dropped.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pieces of so many bytes, and how many have been dropped.
    fn waste(pieces: impl IntoIterator<Item = u64>) -> (Waste, Arc<AtomicUsize>) {
        let (mut waste, dropped) = (Waste::default(), Arc::default());
        for bytes in pieces {
            waste.add(Counted(Arc::clone(&dropped)), bytes);
        }
        (waste, dropped)
    }

    #[test]
    fn what_is_given_back_at_a_time_is_bounded() {
        let (mut waste, dropped) = waste([LARGE, LARGE / 2, LARGE / 4, LARGE / 2]);
        // The next piece would be more than there may be.
        assert_eq!((waste.give_back(LARGE), dropped.load(Ordering::Relaxed)), (LARGE * 3 / 4, 2));
        assert_eq!((waste.give_back(LARGE), dropped.load(Ordering::Relaxed)), (LARGE / 2, 3));
        assert_eq!(waste.bytes(), LARGE);
        assert_eq!((waste.give_back(LARGE), dropped.load(Ordering::Relaxed)), (LARGE, 4));
        assert!(waste.is_empty() && waste.give_back(LARGE) == 0);
    }

    #[test]
    fn large_pieces_are_left_for_others_as_long_as_they_are_few() {
        let most = MOST_LARGE / (2 * LARGE);
        let (mut waste, dropped) = waste((0..=most).map(|_| 2 * LARGE).chain([LARGE]));
        waste.add_spare((), 2 * LARGE);
        let mut give_back = || {
            let given = waste.give_back(LARGE);
            (given, dropped.load(Ordering::Relaxed), waste.spare_bytes())
        };
        // Whoever has another thread may still take them.
        assert_eq!(give_back(), (LARGE, 1, 2 * LARGE));
        assert_eq!(give_back(), (2 * LARGE, 1, 0));
        assert_eq!(give_back(), (2 * LARGE, 2, 0));
        assert_eq!(give_back(), (0, 2, 0));
        assert_eq!((waste.give_back_large(), waste.bytes()), (2 * LARGE, MOST_LARGE - 2 * LARGE));
        waste.add_spare((), 2 * LARGE);
        waste.add_spare((), LARGE);
        let taken = waste.take_large().expect("there are large ones");
        assert_eq!((taken.bytes(), taken.0.spare_bytes()), (MOST_LARGE, 2 * LARGE));
        assert_eq!((waste.bytes(), waste.spare_bytes()), (LARGE, LARGE));
        assert!(waste.take_large().is_none());
        let rest = waste.take_due().expect("nobody looks at it");
        assert_eq!((rest.bytes(), rest.0.spare_bytes()), (LARGE, LARGE));
        assert!(waste.is_empty() && waste.take_due().is_none());
        assert_eq!((waste.bytes(), waste.spare_bytes(), waste.give_back_large()), (0, 0, 0));
        // One large piece at a time.
        let mut left = Some(taken);
        let count = std::iter::from_fn(|| left.take().map(|it| left = it.give_back_some())).count();
        assert_eq!((count as u64, dropped.load(Ordering::Relaxed) as u64), (most, most + 2));
    }
}

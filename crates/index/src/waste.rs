//! What is no longer needed, given back to the system a piece at a time: for a hundred megabytes at
//! once it takes several milliseconds.

use crate::memory;
use crate::segment::Segment;
use crate::sources::Share;
use std::any::Any;
use std::sync::Arc;

/// Bytes that one share stands for: it lies anywhere in memory, so that to give it up takes about
/// as long as half a page does.
const SHARE: u64 = 2048;

/// Something of so many bytes that is dropped at once.
type Piece = (Box<dyn Any + Send + Sync>, u64);

/// What is still to be given back.
#[derive(Debug, Default)]
pub(crate) struct Waste {
    /// Segments, at which readers may still look, and what they take.
    segments: Vec<(Arc<Segment>, u64)>,
    pieces: Vec<Piece>,
    /// None is empty.
    shares: Vec<Vec<Arc<Share>>>,
    bytes: u64,
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
        self.bytes += bytes;
        self.pieces.push((Box::new(piece), bytes));
    }

    /// The holders of shared documents.
    pub(crate) fn add_shares(&mut self, shares: Vec<Arc<Share>>) {
        if !shares.is_empty() {
            self.bytes += memory::vector::<Arc<Share>>(shares.capacity());
            self.shares.push(shares);
        }
    }

    /// Gives back about so many bytes, and says how many those were. What readers still look at is
    /// kept, so that none of them has to.
    pub(crate) fn give_back(&mut self, most: u64) -> u64 {
        let mut left = most;
        while left > 0 {
            if let Some(mut shares) = self.shares.pop() {
                let count = (left.div_ceil(SHARE) as usize).min(shares.len());
                shares.truncate(shares.len() - count);
                left = left.saturating_sub(count as u64 * SHARE);
                if shares.is_empty() {
                    self.bytes -= memory::vector::<Arc<Share>>(shares.capacity());
                } else {
                    self.shares.push(shares);
                }
            } else if let Some((piece, bytes)) = self.pieces.pop() {
                drop(piece);
                self.bytes -= bytes;
                left = left.saturating_sub(bytes.max(1));
            } else if !self.take_apart() {
                break;
            }
        }
        if self.is_empty() {
            *self = Self::default();
        }
        most - left
    }

    /// Takes a segment apart at which nobody looks any more; answers false if there is none.
    fn take_apart(&mut self) -> bool {
        let is_alone = |(segment, _): &(Arc<Segment>, u64)| Arc::strong_count(segment) == 1;
        let Some(at) = self.segments.iter().position(is_alone) else { return false };
        let (segment, bytes) = self.segments.swap_remove(at);
        self.bytes -= bytes;
        if let Some(segment) = Arc::into_inner(segment) {
            segment.take_apart(self);
        }
        true
    }

    /// Adds what another one has.
    pub(crate) fn append(&mut self, other: Self) {
        self.segments.extend(other.segments);
        self.pieces.extend(other.pieces);
        self.shares.extend(other.shares);
        self.bytes += other.bytes;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.pieces.is_empty() && self.shares.is_empty()
    }

    /// Whether there is something that could be given back now.
    pub(crate) fn is_due(&self) -> bool {
        !self.pieces.is_empty()
            || !self.shares.is_empty()
            || self.segments.iter().any(|(segment, _)| Arc::strong_count(segment) == 1)
    }

    /// Bytes of memory.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

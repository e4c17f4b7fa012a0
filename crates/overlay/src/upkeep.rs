//! What is done for the index when there is nothing else to do.
//!
//! Every change does its share by itself, so that nothing here is needed for the index to work, and
//! a simulator need not do it. A driver that does makes searches faster and memory less.

use crate::overlay::Overlay;
use skein_index::{Unneeded, Upkeep};

/// Records of children who have gone that are forgotten at a time: about a millisecond.
const PIECE: usize = 512;

impl Overlay {
    /// How much has come and gone in the index so far: whoever looks now and then sees whether it is
    /// calm.
    pub fn index_changes(&self) -> u64 {
        self.children.index.changes()
    }

    /// Takes a merge that is worth doing, to be done on another thread piece by piece, and handed to
    /// [`Overlay::give_back_upkeep`] after each piece. `None` if there is nothing to do.
    pub fn take_upkeep(&mut self) -> Option<Upkeep> {
        self.children.index.take_upkeep()
    }

    /// Takes back what [`Overlay::take_upkeep`] gave; `None` if it was lost.
    pub fn give_back_upkeep(&mut self, upkeep: Option<Upkeep>) {
        match upkeep {
            Some(upkeep) => self.children.index.give_back(upkeep),
            None => self.children.index.give_up_upkeep(),
        }
    }

    /// Takes memory that the index does not need any more, to be given back to the system by another
    /// thread: pieces of more than four megabytes, or all if it is calm. `None` if there is none, or
    /// searches still look at it.
    pub fn take_unneeded(&mut self, is_calm: bool) -> Option<Unneeded> {
        self.children.index.take_unneeded(is_calm)
    }

    /// Whether there is any, also such as searches still look at.
    pub fn has_unneeded(&self) -> bool {
        self.children.index.has_unneeded()
    }

    /// Whether records of children who have gone are still in the index.
    pub fn has_leftovers(&self) -> bool {
        self.children.index.has_leaving()
    }

    /// Forgets some of those records, which takes about a millisecond.
    pub fn clear_leftovers(&mut self) {
        self.children.index.maintain(PIECE);
    }
}

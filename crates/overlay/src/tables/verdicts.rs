//! What tables were found to say of a query, for others in the same process who hold the same ones.
//!
//! In a simulator the forty neighbours of a supernode share one copy of its table, and each of them is
//! asked about the same query. What a table says of it is worked out once for all of them: to look at
//! what was noted is a look at a page that is at hand, and to look at a table one at memory that is not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tables of which it is noted, as a power of two: the thousand supernodes of a simulation of 100,000
/// nodes have places of their own, most of them. It takes 16 KiB.
const PLACES: usize = 1 << 12;

/// Bits of the number of a table that tell it apart. Only after a billion tables two have the same.
const NUMBER_BITS: u32 = 30;

/// What tables say of one query. The last one at each place is kept.
#[derive(Debug, Default)]
pub(super) struct Verdicts(OnceLock<Box<[AtomicU32]>>);

impl Verdicts {
    /// From now on it is kept: there are several who are asked.
    pub(super) fn keep(&self) {
        self.0.get_or_init(|| (0..PLACES).map(|_| AtomicU32::new(0)).collect());
    }

    /// What a table, which has pairs or not, was found to say.
    pub(super) fn get(&self, table: u32, pairs: bool) -> Option<bool> {
        let noted = self.place(table)?.load(Ordering::Relaxed);
        (noted >> 1 == key(table, pairs)).then_some(noted & 1 == 1)
    }

    /// Notes it, if it is kept.
    pub(super) fn note(&self, table: u32, pairs: bool, may: bool) {
        if let Some(place) = self.place(table) {
            place.store(key(table, pairs) << 1 | u32::from(may), Ordering::Relaxed);
        }
    }

    fn place(&self, table: u32) -> Option<&AtomicU32> {
        self.0.get()?.get(table as usize % PLACES)
    }
}

/// Never zero, since that stands for nothing.
fn key(table: u32, pairs: bool) -> u32 {
    let number = table % (1 << NUMBER_BITS);
    number.max(1) << 1 | u32::from(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_of_the_last_table_alone() {
        let verdicts = Verdicts::default();
        verdicts.note(7, true, true);
        assert_eq!(verdicts.get(7, true), None, "it is not kept");
        verdicts.keep();
        assert_eq!([0, 1, u32::MAX].map(|table| verdicts.get(table, false)), [None; 3]);
        verdicts.note(7, true, true);
        assert_eq!((verdicts.get(7, true), verdicts.get(7, false)), (Some(true), None));
        let other = 7 + PLACES as u32;
        verdicts.note(other, false, false);
        assert_eq!((verdicts.get(7, true), verdicts.get(other, false)), (None, Some(false)));
    }
}

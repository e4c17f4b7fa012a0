//! Names that sign for each other whatever the formula takes.

use skein_overlay::reputation::formula::{Claim, Deed};
use std::ops::RangeInclusive;

/// The numbers of a clique's names: honest nodes have lower ones.
const FIRST_NAME: u32 = u32::MAX / 2;

/// What the others of a clique of so many names sign about one of them, if all of them were
/// registered so many days before the first of these days: each one, each day, the longest time and
/// more bytes than anybody sends. No choice of claims is worth more, since a further claim never
/// lowers a reputation.
pub fn clique(names: u32, age: u32, days: RangeInclusive<u32>) -> Vec<Claim<u32>> {
    let others = FIRST_NAME..FIRST_NAME + names.saturating_sub(1);
    let registered = days.start().saturating_sub(age);
    days.flat_map(|day| {
        others.clone().flat_map(move |witness| {
            [Deed::Connected { secs: 86_400 }, Deed::Sent { bytes: 1 << 49 }].map(|deed| Claim {
                seniority: day - registered,
                witness,
                day,
                deed,
            })
        })
    })
    .collect()
}

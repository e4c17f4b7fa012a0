//! Which sources of a popular content are kept, and which are named.
//!
//! Names take turns: the best source of each comes before the second one of any, so that a name
//! with many nodes has no more of what there is room for than the others leave. A name costs
//! something to get, and a node nothing.

use crate::hashed::HashMap;
use skein_proto::directory::SourceState;
use skein_proto::{NodeId, UnixTime};

/// How often the lot changes by which sources are chosen.
const LOT_SECS: u64 = 60 * 60;

/// How good a source is; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It has all of the content.
    Complete,
    /// It has a part.
    Partial,
    /// It has none of it, and its word is kept so that an earlier one is not brought up again.
    None,
}

impl Worth {
    pub(super) fn of(state: SourceState) -> Self {
        match state {
            SourceState::Complete => Self::Complete,
            SourceState::Partial => Self::Partial,
            SourceState::Withdrawn => Self::None,
        }
    }
}

/// A source among those that there is room for one less than there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket<T> {
    pub(super) worth: Worth,
    /// The lots of its name and of itself; low ones stay.
    pub(super) name: u64,
    pub(super) node: u64,
    /// Which one it is.
    pub(super) number: T,
}

/// The one that has to go.
pub(super) fn last<T: Default>(mut tickets: Vec<Ticket<T>>) -> T {
    tickets.sort_by_key(|ticket| (ticket.worth, ticket.node));
    let mut turns: HashMap<u64, usize> = HashMap::default();
    let ranked = tickets.into_iter().map(|ticket| {
        let turn = turns.entry(ticket.name).or_default();
        *turn += 1;
        // What is kept against being brought up again takes nobody's room who has something.
        let rank = (ticket.worth == Worth::None, *turn, ticket.worth, ticket.name, ticket.node);
        (rank, ticket.number)
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, number)| number).unwrap_or_default()
}

/// Puts what comes in any order into one in which names take turns: the first of each name, in the
/// order that they have, then the second of each.
pub(super) fn by_turns<T>(all: &mut [T], name: impl Fn(&T) -> u64) {
    let mut seen: HashMap<u64, usize> = HashMap::default();
    all.sort_by_cached_key(|one| {
        let turn = seen.entry(name(one)).or_default();
        *turn += 1;
        *turn
    });
}

/// The salt of this hour: what nobody can foresee who does not know the holder's own.
pub(super) fn of_the_hour(salt: u64, now: UnixTime) -> u64 {
    mix(salt ^ (now.0 / LOT_SECS))
}

/// The lot of a number.
pub(super) fn draw(number: u64, salt: u64) -> u64 {
    mix(number ^ salt)
}

/// The number of a node.
pub(super) fn of_node(node: &NodeId) -> u64 {
    node.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every
/// bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(worth: Worth, name: u64, node: u64) -> Ticket<Option<(u64, u64)>> {
        Ticket { worth, name, node, number: Some((name, node)) }
    }

    #[test]
    fn the_name_with_the_most_sources_goes_first_and_its_worst_one() {
        use Worth::{Complete, None, Partial};
        let greedy = [(Complete, 1), (Complete, 2), (Partial, 0)];
        let mut tickets: Vec<_> =
            greedy.iter().map(|(worth, node)| ticket(*worth, 0, *node)).collect();
        tickets.push(ticket(Partial, 9, 9));
        assert_eq!(last(tickets.clone()), Some((0, 0)), "a part, and the third of its name");
        tickets.remove(2);
        assert_eq!(last(tickets.clone()), Some((0, 2)), "a second one, though it has all");
        tickets.push(ticket(None, 3, 3));
        assert_eq!(last(tickets), Some((3, 3)), "what has been taken back is of use to nobody");
    }

    #[test]
    fn names_take_turns_in_the_order_that_they_have() {
        let mut all = [(7, 'a'), (7, 'b'), (7, 'c'), (5, 'd'), (3, 'e'), (5, 'f')];
        by_turns(&mut all, |(name, _)| *name);
        assert_eq!(all.map(|(_, one)| one), ['a', 'd', 'e', 'b', 'f', 'c']);
    }
}

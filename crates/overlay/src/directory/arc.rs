//! A stretch of the ring.

use crate::membership::Place;

/// The places behind `after`, up to and with `to`; where both are the same, the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arc {
    pub(super) after: Place,
    pub(super) to: Place,
}

impl Arc {
    /// The whole ring, ending here.
    pub(super) fn whole(to: Place) -> Self {
        Self { after: to, to }
    }

    /// Whether a place lies on it.
    pub(super) fn contains(&self, place: Place) -> bool {
        // The place itself counts, the one before does not: measured from the place behind `after`.
        let offset = |place: Place| place.0.wrapping_sub(self.after.0).wrapping_sub(1);
        offset(place) <= offset(self.to)
    }

    /// What this one has at its beginning that `other`, which has the same end, has not.
    pub(super) fn beyond(&self, other: &Self) -> Option<Self> {
        let reach = |arc: &Self| arc.to.0.wrapping_sub(arc.after.0).wrapping_sub(1);
        (reach(self) > reach(other)).then_some(Self { after: self.after, to: other.after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arc(after: u128, to: u128) -> Arc {
        Arc { after: Place(after), to: Place(to) }
    }

    #[test]
    fn an_arc_holds_its_end_and_not_the_place_before_it() {
        let plain = arc(10, 20);
        let held = |arc: &Arc, place| arc.contains(Place(place));
        assert!(!held(&plain, 10) && held(&plain, 11) && held(&plain, 20) && !held(&plain, 21));
        let around = arc(u128::MAX - 1, 1);
        assert!(held(&around, u128::MAX) && held(&around, 0) && held(&around, 1));
        assert!(!held(&around, u128::MAX - 1) && !held(&around, 2));
        let whole = Arc::whole(Place(7));
        assert!([0, 6, 7, 8, u128::MAX].into_iter().all(|place| held(&whole, place)));
    }

    #[test]
    fn what_is_new_of_a_longer_arc_is_its_beginning() {
        assert_eq!(arc(5, 20).beyond(&arc(10, 20)), Some(arc(5, 10)));
        assert_eq!(arc(10, 20).beyond(&arc(5, 20)), None);
        assert_eq!(arc(10, 20).beyond(&arc(10, 20)), None);
        assert_eq!(arc(u128::MAX, 20).beyond(&arc(10, 20)), Some(arc(u128::MAX, 10)));
        assert_eq!(Arc::whole(Place(20)).beyond(&arc(10, 20)), Some(arc(20, 10)));
        assert_eq!(arc(10, 20).beyond(&Arc::whole(Place(20))), None);
    }
}

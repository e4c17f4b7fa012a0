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
        self.offset(place) <= self.offset(self.to)
    }

    /// How far a place lies from its beginning. The end belongs to it, the place before does not:
    /// measured from the place behind `after`.
    pub(super) fn offset(&self, place: Place) -> u128 {
        place.0.wrapping_sub(self.after.0).wrapping_sub(1)
    }

    /// Whether the two have a place in common.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.contains(other.to) || other.contains(self.to)
    }

    /// Its parts between these places, which come in the order of the arc.
    pub(super) fn cut(self, places: impl Iterator<Item = Place>) -> Vec<Self> {
        let (mut parts, mut rest) = (Vec::new(), self);
        for place in places.filter(|place| *place != self.to) {
            if rest.contains(place) {
                parts.push(Self { after: rest.after, to: place });
                rest.after = place;
            }
        }
        parts.push(rest);
        parts
    }

    /// What this one has at its beginning that `other`, which has the same end, has not.
    pub(super) fn beyond(&self, other: &Self) -> Option<Self> {
        let reach = |arc: &Self| arc.offset(arc.to);
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
    fn an_arc_is_cut_at_the_places_that_lie_on_it() {
        let cuts = |places: &[u128]| places.iter().copied().map(Place).collect::<Vec<_>>();
        let parts = arc(10, 20).cut(cuts(&[5, 12, 20]).into_iter());
        assert_eq!(parts, [arc(10, 12), arc(12, 20)]);
        let around = arc(u128::MAX - 5, 9).cut(cuts(&[u128::MAX, 4]).into_iter());
        assert_eq!(around, [arc(u128::MAX - 5, u128::MAX), arc(u128::MAX, 4), arc(4, 9)]);
        let whole = Arc::whole(Place(7)).cut(cuts(&[9]).into_iter());
        assert_eq!(whole, [arc(7, 9), arc(9, 7)]);
    }

    #[test]
    fn arcs_meet_where_they_share_a_place() {
        assert!(arc(10, 20).meets(&arc(15, 30)) && arc(15, 30).meets(&arc(10, 20)));
        assert!(arc(10, 20).meets(&arc(12, 14)) && arc(12, 14).meets(&arc(10, 20)));
        assert!(!arc(10, 20).meets(&arc(20, 30)) && !arc(20, 30).meets(&arc(10, 20)));
        assert!(Arc::whole(Place(3)).meets(&arc(20, 30)));
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

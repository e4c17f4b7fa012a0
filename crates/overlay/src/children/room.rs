//! For how many children there is room, as far as the index goes.

/// How many children a supernode can hold that would take `most`, has `held`, and whose index is filled
/// to this share (1 is full), of which its own records are that share (1 is all).
///
/// So a supernode whose index is full is as full as one that has all the children that it takes, and
/// one whose index is half full as one that has half of them: by steps as small as the children are.
/// If it counted as full when it takes nobody more and as empty before, supernodes would be added
/// and step down again by turns.
pub(crate) fn capacity(most: u32, held: u32, filled: f64, own: f64) -> u32 {
    let filled = filled.clamp(0.0, 1.0);
    let theirs = filled * (1.0 - own.clamp(0.0, 1.0));
    if filled >= 1.0 {
        return held.clamp(1, most);
    }
    if held == 0 || theirs <= 0.0 {
        // Nobody is there to tell by.
        return most;
    }
    let left = 1.0 - (filled - theirs);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It saturates.
    let held_then = (f64::from(held) * left / theirs) as u32;
    held_then.clamp(held.clamp(1, most), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_room_for_as_many_as_it_would_hold_of_those_who_are_there() {
        assert_eq!(capacity(150, 30, 0.3, 0.0), 100);
        assert_eq!(capacity(150, 30, 0.1, 0.0), 150, "there is more than is taken");
        assert_eq!(capacity(150, 75, 1.0, 0.0), 75);
        assert_eq!(capacity(150, 75, 1.5, 0.0), 75, "less has become allowed");
        assert_eq!(capacity(150, 200, 1.0, 0.0), 150, "it has taken the children of dead ones in");
        assert_eq!(capacity(150, 200, 0.9, 0.0), 150);
        assert_eq!(capacity(150, 20, 0.6, 0.5), 46, "what is its own does not grow with them");
    }

    #[test]
    fn where_nobody_is_there_to_tell_by_there_is_room_for_all_until_the_index_is_full() {
        assert_eq!(capacity(150, 0, 0.0, 0.0), 150);
        assert_eq!(capacity(150, 0, 0.2, 0.0), 150, "they have gone, and are to be forgotten");
        assert_eq!(capacity(150, 0, 0.9, 1.0), 150, "all of it is its own");
        assert_eq!(capacity(150, 0, 1.0, 1.0), 1, "and there is room for nobody");
    }
}

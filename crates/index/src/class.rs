//! The class of a document: how good a result it is whatever is asked, as one small number.

/// The smaller, the better. A name that is half as long is worth as much as twice the sources.
pub(crate) type Class = u8;

/// Steps for which a name doubles its length.
const STEPS: u32 = 8;

/// From 2¹⁰ sources on, more of them make no difference.
const MAX_DOUBLINGS: u32 = 10;

/// The class of a document with a file name of so many characters, which so many owners offer.
/// The length counts by eighths of doublings, the number of owners by whole doublings only, so that
/// a document seldom changes its class.
pub(crate) fn class(name_chars: usize, sources: usize) -> Class {
    let chars = u32::try_from(name_chars).unwrap_or(u32::MAX).clamp(1, 512);
    let octave = chars.ilog2();
    // Between two powers of two the logarithm is taken for straight.
    let length = STEPS * octave + ((chars * STEPS) >> octave) - STEPS;
    let doublings = sources.max(1).ilog2().min(MAX_DOUBLINGS);
    // At most 80 + 72.
    (STEPS * (MAX_DOUBLINGS - doublings) + length) as Class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_names_and_more_sources_are_better() {
        assert!(class(8, 1) < class(9, 1));
        assert!(class(8, 2) < class(8, 1));
        assert_eq!(class(8, 2), class(4, 1));
        assert_eq!(class(8, 3), class(8, 2));
        assert_eq!(class(0, 0), class(1, 1));
        assert_eq!(class(usize::MAX, 1), class(512, 1));
        assert_eq!(class(1, usize::MAX), 0);
    }

    #[test]
    fn it_grows_steadily_with_the_length() {
        assert!((1..1000).all(|chars| class(chars, 1) <= class(chars + 1, 1)));
    }
}

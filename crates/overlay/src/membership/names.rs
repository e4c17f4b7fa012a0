//! Which names own supernodes: a name that owns many must not fill the view. That it does not own all
//! who keep a key is for [`super::holders`] to see to.

use skein_proto::Username;

/// Supernodes that one name may own. A name costs something to get; a key costs nothing.
pub(crate) const MAX_PER_NAME: usize = 4;

/// Bits for each supernode, and bits set for each: of the names that are new one in 24,000 is taken
/// for one that may be known (Bloom 1970), and then looked for among all. Where each of 10,000
/// supernodes hears of each, and one look at all of them is 10,000 looks at cold memory, one in 500
/// would cost more than all the rest of the gossip.
const BITS_EACH: usize = 24;
const HASHES: u32 = 8;

/// A Bloom filter of the names that own supernodes. It takes three to six bytes for each; a table of
/// the names themselves would take fifty.
#[derive(Debug, Default)]
pub(crate) struct Names {
    words: Vec<u64>,
    /// Names taken in since it was last made.
    count: usize,
}

impl Names {
    /// Whether this name may own a supernode already.
    pub(crate) fn may_contain(&self, name: &Username) -> bool {
        !self.words.is_empty()
            && positions(name, self.words.len())
                .all(|(word, bit)| self.words.get(word).is_some_and(|word| word & (1 << bit) != 0))
    }

    /// Whether there are so many names in it that it has to be made again, larger.
    pub(crate) fn is_full(&self) -> bool {
        self.count * BITS_EACH >= self.words.len() * 64
    }

    /// Makes it again from the names that there are.
    pub(crate) fn rebuild<'a>(&mut self, names: impl Iterator<Item = &'a Username>, count: usize) {
        // Twice the room, so that this is seldom.
        let words = (2 * count * BITS_EACH / 64).max(16);
        self.words.clear();
        self.words.resize(words, 0);
        self.count = 0;
        for name in names {
            self.insert(name);
        }
    }

    /// Takes in a name.
    pub(crate) fn insert(&mut self, name: &Username) {
        self.count += 1;
        let words = self.words.len();
        for (word, bit) in positions(name, words) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }
}

/// Where the bits of a name are: double hashing (Kirsch and Mitzenmacher 2006) over 16 bytes of
/// its BLAKE3 hash.
fn positions(name: &Username, words: usize) -> impl Iterator<Item = (usize, u32)> {
    let hash = blake3::hash(name.as_str().as_bytes());
    let half = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (first, step) = (half(0), half(8) | 1);
    let bits = (words.max(1) as u64).saturating_mul(64);
    (0..HASHES).map(move |number| {
        let at = first.wrapping_add(step.wrapping_mul(number.into())) % bits;
        (usize::try_from(at / 64).unwrap_or(0), (at % 64) as u32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Username {
        Username::parse(&format!("name{number}")).expect("a name")
    }

    #[test]
    fn a_name_that_was_taken_in_is_always_known_and_few_others_are() {
        let all: Vec<Username> = (0..1_000).map(name).collect();
        let mut names = Names::default();
        assert!(!names.may_contain(&name(0)) && names.is_full());
        names.rebuild(all.iter(), all.len());
        assert!(all.iter().all(|name| names.may_contain(name)) && !names.is_full());
        let mistaken = (1_000..11_000).filter(|n| names.may_contain(&name(*n))).count();
        assert!(mistaken < 50, "{mistaken} of 10,000");
    }
}

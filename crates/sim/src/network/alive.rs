//! Which nodes run.

use std::sync::Arc;

/// Which nodes run, a bit for each. A copy costs nothing and stays as it is; the next change after
/// it is made in a new list.
#[derive(Clone, Debug, Default)]
pub struct Alive(Arc<Vec<u64>>);

impl Alive {
    /// Whether a node runs; one that is not known does not.
    pub fn has(&self, node: u32) -> bool {
        let word = self.0.get(node as usize / 64).copied().unwrap_or(0);
        word >> (node % 64) & 1 == 1
    }

    /// Notes that a node runs, or does not.
    pub(super) fn set(&mut self, node: u32, runs: bool) {
        if self.has(node) == runs {
            return;
        }
        let words = Arc::make_mut(&mut self.0);
        let at = node as usize / 64;
        if words.len() <= at {
            words.resize(at + 1, 0);
        }
        words[at] ^= 1 << (node % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut alive = Alive::default();
        [3, 64, 1_000].into_iter().for_each(|node| alive.set(node, true));
        let before = alive.clone();
        alive.set(64, false);
        alive.set(65, true);
        alive.set(5_000, false);
        let of = |alive: &Alive| (0..2_000).filter(|node| alive.has(*node)).collect::<Vec<_>>();
        assert_eq!(of(&before), [3, 64, 1_000]);
        assert_eq!(of(&alive), [3, 65, 1_000]);
    }
}

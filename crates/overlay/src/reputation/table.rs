//! The reputations of those whose evidence this node has seen.

use super::formula::START;
use skein_proto::Username;
use std::collections::HashMap;

/// The reputations of those whose evidence this node has seen.
#[derive(Debug, Default)]
pub(crate) struct Reputations {
    values: HashMap<Username, u16>,
}

impl Reputations {
    /// The reputation of a name, 0 to 1,000; that of a newcomer if nothing is known.
    pub(crate) fn of(&self, name: &Username) -> u16 {
        self.values.get(name).copied().unwrap_or(START)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_of_which_nothing_is_known_has_the_reputation_of_a_newcomer() {
        let name = Username::parse("nobody").expect("a name");
        assert_eq!(Reputations::default().of(&name), 10);
    }
}

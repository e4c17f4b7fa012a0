//! Which way bytes came, from whom.

use crate::api::types::{Source, SourcePath, SourceUsed};
use skein_proto::{NodeId, Username};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Ways that are shown.
const MAX_SHOWN: usize = 16;

/// Ways that are counted: two of each source that a download knows. A source changes its way from
/// a relay to a direct path, seldom more than that.
const MAX_COUNTED: usize = 512;

/// What each source has brought each way.
#[derive(Debug, Default)]
pub(super) struct Via(BTreeMap<(NodeId, SourcePath), (Username, u64)>);

impl Via {
    /// Verified bytes came.
    pub fn brought(&mut self, source: &Source, path: SourcePath, bytes: u64) {
        let key = (source.node, path);
        if self.0.len() < MAX_COUNTED || self.0.contains_key(&key) {
            self.0.entry(key).or_insert_with(|| (source.name.clone(), 0)).1 += bytes;
        }
    }

    /// The ways that brought most, with those in use at present.
    pub fn shown<'a>(
        &self,
        in_use: impl Iterator<Item = (&'a Source, SourcePath)>,
    ) -> Vec<SourceUsed> {
        let used = |(&(node, path), (name, bytes)): (&(NodeId, SourcePath), &(Username, u64))| {
            SourceUsed { node, name: name.clone(), path, bytes: *bytes, active: false }
        };
        let mut all: Vec<SourceUsed> = self.0.iter().map(used).collect();
        for (source, path) in in_use {
            match all.iter_mut().find(|used| used.node == source.node && used.path == path) {
                Some(known) => known.active = true,
                None => {
                    let (node, name) = (source.node, source.name.clone());
                    all.push(SourceUsed { node, name, path, bytes: 0, active: true });
                }
            }
        }
        all.sort_by_key(|used| (Reverse(used.bytes), used.node, used.path));
        all.truncate(MAX_SHOWN);
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(number: u8) -> Source {
        let node = NodeId::from_bytes([number; 32]);
        let name = Username::parse("alice").unwrap();
        Source { node, name, addresses: Vec::new(), parent: node }
    }

    #[test]
    fn a_source_that_went_from_a_relay_to_a_direct_path_is_shown_with_both() {
        let mut via = Via::default();
        via.brought(&source(1), SourcePath::SessionRelayed, 10);
        via.brought(&source(1), SourcePath::SessionDirect, 20);
        via.brought(&source(1), SourcePath::SessionDirect, 20);
        let one = source(1);
        let shown = via.shown([(&one, SourcePath::SessionDirect)].into_iter());
        let shown: Vec<_> = shown.iter().map(|used| (used.path, used.bytes, used.active)).collect();
        let (direct, relayed) = (SourcePath::SessionDirect, SourcePath::SessionRelayed);
        assert_eq!(shown, [(direct, 40, true), (relayed, 10, false)]);
    }

    #[test]
    fn those_that_brought_most_are_shown() {
        let mut via = Via::default();
        for number in 0..100 {
            via.brought(&source(number), SourcePath::Direct, number.into());
        }
        let shown = via.shown(std::iter::empty());
        assert_eq!(shown.len(), MAX_SHOWN);
        assert_eq!(shown[0].bytes, 99);
    }
}

//! The hits of a search as a user gets them: numbered as they come, those behind that nobody sound
//! offers.
//!
//! Whoever poisons an index offers what it has not. A source that this node could not reach, that
//! had not what it offered, or that sent wrong bytes is named behind the others; a content that only
//! such sources offer is kept back until all others have been shown.

use crate::api::types::{ContentHit, Source};
use skein_proto::{ContentId, FileMeta, NodeId};
use std::collections::{HashMap, HashSet};

/// Sources that are kept of one content: as many as a download takes in. Each new one is told with
/// all those before it, so that without a limit a popular file would cost the square of its sources.
const MAX_SOURCES: usize = 256;

#[derive(Debug)]
struct Ranked {
    /// Its number is 0 as long as it is kept back.
    hit: ContentHit,
    /// How many of its sources, the first ones, are sound.
    sound: usize,
}

/// The hits of one search.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    hits: HashMap<ContentId, Ranked>,
    /// Contents that are kept back, in the order in which they came.
    held: Vec<ContentId>,
    numbered: u32,
    sources: HashSet<NodeId>,
}

impl Ranking {
    /// One that numbers what comes behind what was shown before.
    pub(super) fn behind(shown: usize) -> Self {
        Self { numbered: u32::try_from(shown).unwrap_or(u32::MAX), ..Self::default() }
    }

    /// Different contents.
    pub(super) fn contents(&self) -> usize {
        self.hits.len()
    }

    /// Different nodes that offer them.
    pub(super) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Takes in that somebody offers a content. Answers with the hit that is to be shown, if there
    /// is one with news.
    pub(super) fn add(
        &mut self,
        (content, file, source): (ContentId, FileMeta, Source),
        is_doubtful: bool,
    ) -> Option<ContentHit> {
        let held = &mut self.held;
        let ranked = self.hits.entry(content).or_insert_with(|| {
            held.push(content);
            let hit = ContentHit {
                number: 0,
                content,
                name: file.path.file_name().to_owned(),
                path: file.path.to_string(),
                size: file.size,
                kind: file.kind,
                tags: file.tags,
                sources: Vec::new(),
            };
            Ranked { hit, sound: 0 }
        });
        let hit = &mut ranked.hit;
        // A source that lies about the size of a content would fail to prove it; it does not
        // change what the first one said.
        if hit.size != file.size || hit.sources.iter().any(|known| known.node == source.node) {
            return None;
        }
        self.sources.insert(source.node);
        if hit.sources.len() >= MAX_SOURCES {
            return None;
        }
        if is_doubtful {
            hit.sources.push(source);
        } else {
            hit.sources.insert(ranked.sound, source);
            ranked.sound += 1;
        }
        if ranked.sound == 0 && hit.number == 0 {
            return None;
        }
        if hit.number == 0 {
            self.numbered += 1;
            hit.number = self.numbered;
            held.retain(|kept| *kept != content);
        }
        Some(hit.clone())
    }

    /// What was kept back, now that all others have been shown.
    pub(super) fn take_held(&mut self) -> Vec<ContentHit> {
        let mut shown = Vec::new();
        for content in std::mem::take(&mut self.held) {
            let Some(ranked) = self.hits.get_mut(&content) else { continue };
            if ranked.hit.sources.is_empty() {
                continue;
            }
            self.numbered += 1;
            ranked.hit.number = self.numbered;
            shown.push(ranked.hit.clone());
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::file::Kind;
    use skein_proto::{FilePath, Username};

    fn offer(content: u8, source: u8) -> (ContentId, FileMeta, Source) {
        let id = ContentId::from_bytes([content; 32]);
        let path = FilePath::new(format!("geese/{content}.ogg")).unwrap();
        let file = FileMeta { content: id, size: 7, kind: Kind::Audio, path, tags: None };
        let node = NodeId::from_bytes([source; 32]);
        let name = Username::parse(&format!("peer{source}")).unwrap();
        (id, file, Source { node, name, addresses: Vec::new(), parent: node })
    }

    fn nodes(hit: &ContentHit) -> Vec<u8> {
        hit.sources.iter().map(|source| source.node.as_bytes()[0]).collect()
    }

    #[test]
    fn what_only_doubtful_sources_offer_is_shown_last() {
        let mut ranking = Ranking::default();
        assert_eq!(ranking.add(offer(1, 66), true), None);
        let shown = ranking.add(offer(2, 10), false).unwrap();
        assert_eq!(shown.number, 1);
        let held = ranking.take_held();
        assert_eq!((held.len(), held[0].number, nodes(&held[0])), (1, 2, vec![66]));
        assert_eq!((ranking.contents(), ranking.sources()), (2, 2));
    }

    #[test]
    fn doubtful_sources_are_named_behind_the_others() {
        let mut ranking = Ranking::default();
        assert_eq!(ranking.add(offer(1, 66), true), None);
        let shown = ranking.add(offer(1, 10), false).unwrap();
        assert_eq!((shown.number, nodes(&shown)), (1, vec![10, 66]));
        let more = ranking.add(offer(1, 11), false).unwrap();
        assert_eq!((more.number, nodes(&more)), (1, vec![10, 11, 66]));
        assert!(ranking.take_held().is_empty());
    }

    #[test]
    fn a_source_that_says_the_same_again_is_no_news() {
        let mut ranking = Ranking::default();
        assert!(ranking.add(offer(1, 10), false).is_some());
        assert_eq!(ranking.add(offer(1, 10), false), None);
        let (content, file, source) = offer(1, 11);
        let liar = FileMeta { size: 8, ..file };
        assert_eq!(ranking.add((content, liar, source), false), None);
        assert_eq!(ranking.sources(), 1);
    }
}

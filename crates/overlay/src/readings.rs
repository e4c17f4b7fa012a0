//! What was read of the files that a search brings: whether they match, and what they are called.
//!
//! Most hits of a search are copies of some few files, and to read the words of a name takes longer
//! than all else that is done with a hit. So it is kept for the copies; in a simulator also for the
//! others who pass the same query on.

use crate::hashed::HashMap;
use crate::sieve::name_of;
use skein_index::text::ParsedQuery;
use skein_proto::{ContentId, FileMeta, Username};
use std::sync::{Mutex, PoisonError};

/// Contents of which it is kept: a kilobyte each at most, mostly a fifth of it, for as long as a search
/// lasts.
const MAX_CONTENTS: usize = 128;

#[derive(Debug)]
struct Reading {
    file: FileMeta,
    matches: Option<bool>,
    name: Option<u64>,
}

/// What was read of the files that a search brings.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<HashMap<ContentId, Reading>>);

impl Readings {
    /// As [`ParsedQuery::matches`], always of the same query.
    pub(crate) fn matches(&self, query: &ParsedQuery, file: &FileMeta, owner: &Username) -> bool {
        let matches = || query.matches(file, owner);
        if query.filter().owner.is_some() {
            // It depends on who offers it.
            return matches();
        }
        self.keep(file, |reading| *reading.matches.get_or_insert_with(matches), matches)
    }

    /// As [`name_of`].
    pub(crate) fn name_of(&self, file: &FileMeta) -> u64 {
        let name = || name_of(file);
        self.keep(file, |reading| *reading.name.get_or_insert_with(name), name)
    }

    /// Looks into what is kept of a file, or reads it where that is of another one, or there is no room.
    fn keep<T>(
        &self,
        file: &FileMeta,
        look: impl FnOnce(&mut Reading) -> T,
        read: impl FnOnce() -> T,
    ) -> T {
        // Nothing that may panic leaves half a reading behind.
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = readings.get_mut(&file.content) {
            // What others call the same content is another matter.
            return if reading.file == *file { look(reading) } else { read() };
        }
        let mut reading = Reading { file: file.clone(), matches: None, name: None };
        let found = look(&mut reading);
        if readings.len() < MAX_CONTENTS {
            readings.insert(file.content, reading);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::{Ask, BoundedString, FilePath, Filter, Kind, Query};

    fn file(content: u32, path: &str) -> FileMeta {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&content.to_be_bytes());
        FileMeta {
            content: ContentId::from_bytes(id),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(path).expect("a path"),
            tags: None,
        }
    }

    fn parsed(words: &str, owner: Option<&Username>) -> ParsedQuery {
        let filter = Filter { owner: owner.cloned(), ..Filter::default() };
        let ask = Ask::Words(BoundedString::truncated(words));
        ParsedQuery::parse(&Query { ask, filter }).expect("a query")
    }

    #[test]
    fn copies_are_read_as_the_first_one_was_and_others_of_the_same_content_for_themselves() {
        let (readings, query) = (Readings::default(), parsed("song", None));
        let alice = Username::parse("alice").expect("a name");
        for _ in 0..2 {
            for (path, matches) in [("a/My Song.ogg", true), ("b/other.ogg", false)] {
                let file = file(1, path);
                assert_eq!(readings.matches(&query, &file, &alice), matches, "{path}");
                assert_eq!(readings.name_of(&file), name_of(&file), "{path}");
            }
        }
        let bob = Username::parse("bob").expect("a name");
        let (readings, query) = (Readings::default(), parsed("song", Some(&bob)));
        let song = file(1, "song.ogg");
        let of = |owner| readings.matches(&query, &song, owner);
        assert_eq!([of(&alice), of(&bob), of(&alice)], [false, true, false]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let (readings, query) = (Readings::default(), parsed("song", None));
        let alice = Username::parse("alice").expect("a name");
        for content in 0..2 * u32::try_from(MAX_CONTENTS).expect("it is small") {
            assert!(readings.matches(&query, &file(content, "song.ogg"), &alice));
        }
        assert_eq!(readings.0.lock().expect("it is sound").len(), MAX_CONTENTS);
    }
}

//! What the tests of several modules index.
#![allow(clippy::expect_used)]

use skein_proto::{ContentId, FileMeta, FilePath, Kind};

/// A file whose content is that of its number.
pub(crate) fn file_at(number: u32, path: &str) -> FileMeta {
    FileMeta {
        content: ContentId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes()),
        size: 1,
        kind: Kind::Other,
        path: FilePath::new(path).expect("a path"),
        tags: None,
    }
}

//! Short ways to make what the tests index and ask.
#![allow(dead_code, clippy::expect_used)] // Each test program uses some of them.

use skein_index::Found;
use skein_proto::{
    Ask, BoundedString, ContentId, FileMeta, FilePath, Filter, Kind, NodeId, Query, Username,
};

pub fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

pub fn name(text: &str) -> Username {
    Username::parse(text).expect("a name")
}

/// A content as spread as contents are; but some begin alike, and a few of those are told apart only
/// by bytes that no filter looks at.
pub fn content(number: u64) -> ContentId {
    let mut bytes = *blake3::hash(&number.to_le_bytes()).as_bytes();
    match number % 16 {
        3 => bytes[..8].fill(0x77),
        7 => bytes[..4].fill(0x77),
        11 => bytes[..24].fill(0x77),
        _ => {}
    }
    ContentId::from_bytes(bytes)
}

/// The contents of these numbers in their order, which decides where all else is equal.
pub fn in_order(numbers: impl IntoIterator<Item = u64>) -> Vec<ContentId> {
    let mut contents: Vec<ContentId> = numbers.into_iter().map(content).collect();
    contents.sort();
    contents
}

/// The number of what was made by [`file`].
pub fn number(file: &FileMeta) -> u64 {
    file.size - 1000
}

pub fn file(number: u64, path: &str) -> FileMeta {
    let path = FilePath::new(path).expect("a path");
    let kind = path.extension().map(Kind::from_extension).unwrap_or_default();
    FileMeta { content: content(number), size: 1000 + number, kind, path, tags: None }
}

pub fn words(text: &str) -> Query {
    Query { ask: Ask::Words(BoundedString::truncated(text)), filter: Filter::default() }
}

pub fn contents(found: &[Found]) -> Vec<ContentId> {
    let mut contents: Vec<_> = found.iter().map(|found| found.file.content).collect();
    contents.dedup();
    contents
}

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

pub fn content(number: u64) -> ContentId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ContentId::from_bytes(bytes)
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

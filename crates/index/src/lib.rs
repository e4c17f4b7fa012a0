//! A supernode's keyword index over the metadata of its children.
//!
//! [`Index`] has one writer and any number of readers: it changes by `&mut self` and is searched
//! by [`Reader`]s, which never wait. What a word is, and how a query is read, is said in [`text`].
//!
//! What comes is put into *segments*, which do not change any more: documents in few bytes, a sorted
//! dictionary, packed posting lists. A document is one content under one set of metadata, shared by
//! all owners who publish exactly that, so that whatever matches does so by metadata that its
//! owner really published. What goes is marked as gone, and left out when segments are merged,
//! which happens by and by in small steps. `docs/index.md` shows where every byte is.
//!
//! The results of all calls depend on the calls before them alone: no clock, no hash order.
//!
//! ```
//! use skein_index::{Index, Limits};
//! use skein_proto::{Ask, BoundedString, ContentId, FileMeta, FilePath, Kind, NodeId, Query, Username};
//!
//! let alice = NodeId::from_bytes([1; 32]);
//! let song = FileMeta {
//!     content: ContentId::from_bytes([7; 32]),
//!     size: 4_000_000,
//!     kind: Kind::Audio,
//!     path: FilePath::new("Music/Beyoncé/01 Halo.mp3")?,
//!     tags: None,
//! };
//! let mut index = Index::new(Limits::default());
//! index.set_owner(alice, &Username::parse("alice")?);
//! assert_eq!(index.publish(&alice, [song.clone()]).accepted, 1);
//!
//! let ask = Ask::Words(BoundedString::new("beyonce hal")?);
//! let found = index.search(&Query { ask, filter: Default::default() }, 10);
//! assert_eq!((found[0].owner, &found[0].file), (alice, &song));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod array;
mod budget;
mod class;
mod code;
mod departure;
mod distinct;
mod index;
mod interner;
mod limits;
mod lists;
mod mapped;
mod memory;
mod presence;
mod quota;
mod rank;
mod register;
mod scan;
mod search;
mod segment;
mod slab;
mod snapshot;
mod sources;
mod spare;
mod spread;
mod store;
mod survey;
mod table;
mod tally;
mod tending;
#[cfg(test)]
mod testing;
pub mod text;
mod thinned;
mod upkeep;
mod vocabulary;
mod waste;

pub use budget::MAX_SEARCH_WORK;
pub use index::Index;
pub use limits::{Limits, PublishOutcome};
pub use scan::MAX_PREFIX_WORDS;
pub use search::{Found, MAX_SOURCES_PER_CONTENT, Reader};
pub use survey::KeyScan;
pub use tending::Upkeep;
pub use vocabulary::VocabularyChanges;
pub use waste::Unneeded;

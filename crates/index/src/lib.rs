//! A supernode's keyword index over the metadata of its children.
//!
//! [`Index`] has one writer and any number of readers: it changes by `&mut self` and is searched
//! by `&self`. What a word is, and how a query is read, is said in [`text`].
//!
//! Inside there are four stores. A *dictionary* maps words to posting lists. A *catalogue* holds
//! entries: one entry is one content under one set of metadata, shared by all owners who publish
//! exactly that. Posting lists name entries, never contents or owners, so that whatever matches
//! does so by metadata that its owner really published. A *register* of owners knows who holds
//! which entry and how much of the quota is used. Every store gives back what is removed, at once
//! and to the last word.
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

mod catalogue;
mod dictionary;
mod index;
mod limits;
mod memory;
mod rank;
mod register;
mod search;
mod slab;
mod table;
pub mod text;
mod vocabulary;

pub use index::Index;
pub use limits::{Limits, PublishOutcome};
pub use search::{Found, MAX_PREFIX_WORDS, MAX_SOURCES_PER_CONTENT};
pub use vocabulary::VocabularyChanges;

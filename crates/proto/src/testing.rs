//! Messages to test with: any message, and the largest one of each kind.
//!
//! Only there with the feature `testing`; other crates and the fuzz targets share it, so that
//! each new message is tested everywhere as soon as it is added here.
//!
//! Keys and signatures are real, so that what is made here also passes for honest; a test that
//! wants forgeries makes them of it.

#![allow(clippy::expect_used)] // What fails here is a test's arrangement: it should stop the test.

mod any_message;
mod chat;
mod directory;
mod election;
mod gossip;
mod inbox;
mod largest;
mod service;
mod session;
mod values;

pub use any_message::{any_message, any_message_of};
pub use gossip::{announcement, announcement_of, any_rumour, supernode_key};
pub use largest::{largest_file, largest_message, largest_owner};
pub use values::{
    any_address, any_content_id, any_credential, any_evidence, any_file, any_file_path, any_filter,
    any_hit_group, any_load, any_node_id, any_owner, any_password, any_query, any_query_id,
    any_supernode_entry, any_text, any_username,
};

//! The local API: HTTP and JSON on loopback, for the command line and every other face.
//!
//! [`server`] serves it, guarded by [`token`] and by the checks of where a request comes from;
//! [`backend`] is what a daemon does for it; [`client`] is the other end.

mod announce;
pub mod backend;
pub mod buddies;
mod buddy_routes;
pub mod chat;
mod chat_routes;
pub mod client;
mod client_buddies;
mod client_chat;
mod client_inbox;
mod client_people;
mod error;
mod guard;
pub mod inbox;
mod inbox_routes;
pub mod people;
mod people_routes;
mod routes;
pub mod server;
mod stream;
pub mod token;
pub mod types;

pub use announce::Announcement;
pub use backend::{Backend, EventStream};
pub use client::{ApiClient, ApiStream, ClientError};
pub use client_people::PipeEnds;
pub use server::{ApiServer, ServeError};

#[cfg(test)]
mod tests;

//! The local API: HTTP, JSON and server-sent events on loopback.

pub mod types;

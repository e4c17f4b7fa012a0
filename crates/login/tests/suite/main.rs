//! The login service as a whole: its store and its answers on SQLite and on PostgreSQL, and client
//! and server over QUIC.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;
mod network;
mod postgres;
mod service;
mod store;

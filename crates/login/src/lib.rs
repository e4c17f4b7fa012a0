//! The login and bootstrap service, and its client.
//!
//! The service gives names and first contacts, and nothing else: it owns the accounts, signs the
//! credentials by which nodes know each other's names, and keeps a list of supernodes for
//! newcomers. All of it travels on QUIC, with the service's key pinned by the network ticket.
//!
//! * [`client`]: what a node needs. Always built.
//! * `server`: the service and its store, behind the feature of the same name, so that a node does
//!   not carry a database and a password hash that it never uses.

pub mod client;
#[cfg(feature = "server")]
pub mod server;

pub use client::{Bootstrap, LoginClient, LoginError};
#[cfg(feature = "server")]
pub use server::{LoginConfig, Policy, Server, StartError, Stats};

use std::time::Duration;

/// How often a supernode reports to the login service. A minute keeps the list fresher than the
/// half hour that a FastTrack node stayed at one supernode, at three small requests a second for a
/// list of 200.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// After how long without a report a supernode leaves the list: two missed ones, and half an
/// interval for the one that is on its way.
pub const REPORT_EXPIRY: Duration = Duration::from_secs(150);

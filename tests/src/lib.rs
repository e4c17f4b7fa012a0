//! End-to-end tests of real processes, and what they stand on.
//!
//! A [`Network`] is a login service and any number of nodes, each a process of its own with a data
//! folder of its own and ports that the system chose. What a test asks of a node it asks as a user
//! would, with the `skein` command; only what happens by itself is awaited over the local API.
//!
//! Nothing outlives a test: every process is killed and reaped when it is dropped, and ends by
//! itself when the test's own process is killed. What the processes logged is shown when the test
//! fails.
//!
//! Everything here panics when it does not work: that is how a test fails.
#![allow(clippy::expect_used, clippy::panic)]

pub mod binary;
pub mod command;
pub mod drill;
pub mod files;
pub mod intruder;
pub mod natlab;
pub mod network;
pub mod node;
pub mod process;

pub use command::Outcome;
pub use network::Network;
pub use node::{Found, Node, User};
pub use process::Process;

use std::io::Write as _;
use std::time::Duration;

/// How long anything may take before the test counts as failed. It is never waited out when all
/// is well: it is as long as a dozen processes on two busy cores may need.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for something, but not for ever.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub async fn within_patience<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited for {} s, but {what}", PATIENCE.as_secs()),
    }
}

/// Says that a test was not run here, and why, where the harness hides nothing: a test that could
/// not fail shall not look as if it had passed.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Straight to standard error: what the print macros write is shown only of tests that fail.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {name}: {why}");
}

//! A seeded discrete-event network that drives the very same [`skein_overlay::Overlay`] as the
//! daemon does: virtual time, latency by coordinates, byte-exact message sizes from the real codec.
//!
//! The same seed gives the same run, to the last message.

pub mod bars;
pub mod baselines;
pub mod catalogue;
pub mod exact;
mod find;
pub mod network;
pub mod physics;
pub mod population;
mod puppet;
pub mod queue;
pub mod report;
pub mod reputation;
pub mod scenario;
mod search;
pub mod show;
pub mod workload;

pub use find::Lookup;
pub use network::{Network, Settings};
pub use search::SearchOutcome;

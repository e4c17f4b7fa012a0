//! The figures, one to a file.

pub mod codec;
pub mod first_byte;
pub mod handshake;
pub mod idle_connection;
pub mod index;
pub mod paths;
pub mod relay;
pub mod scan;
pub mod search_latency;
pub mod transfer;

use crate::figure::Figure;

/// All figures.
pub const FIGURES: &[Figure] = &[
    idle_connection::FIGURE,
    handshake::FIGURE,
    transfer::FIGURE,
    scan::FIGURE,
    index::MEMORY,
    index::SEARCH,
    index::BUILD,
    index::CHANGE,
    index::CHURN,
    index::PAUSES,
    index::LARGE,
    index::OWNERS,
    index::VOCABULARY,
    index::PACKAGES,
    index::PACKAGES_CHANGE,
    index::PACKAGES_CHURN,
    index::PACKAGES_PAUSES,
    codec::FIGURE,
    search_latency::FIGURE,
    first_byte::FIGURE,
    relay::CPU,
    relay::GOODPUT,
    relay::DIRECT,
    relay::SLOTS,
    paths::TO_DIRECT,
    paths::KILLED,
    paths::PAIRS,
];

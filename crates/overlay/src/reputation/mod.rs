//! Reputation: what others signed about a name, and what follows from it.

pub mod formula;
mod table;

pub(crate) use table::Reputations;

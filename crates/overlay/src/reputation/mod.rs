//! Reputation: what others signed about a name, and what follows from it.
//!
//! | module | what |
//! |---|---|
//! | [`formula`] | the reputation as a pure function of claims |
//! | `claim` | claims from signed evidence |
//! | `wallet` | the evidence that a name carries about itself |
//! | `table` | the reputations of others |
//! | `vouching` | what a supernode signs for those connected with it |
//! | `receipts` | what a downloader signs for an uploader |
//! | `exchange` | how evidence travels |

mod claim;
pub(crate) mod exchange;
pub mod formula;
mod receipts;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod vouching;
mod wallet;

pub use claim::{Partner, claim};
pub(crate) use exchange::Conduct;
pub(crate) use table::Reputations;
pub use wallet::assess_record;

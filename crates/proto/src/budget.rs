//! Budgets of names, which follow them from supernode to supernode.

use crate::directory::NodeRecord;
use crate::name::Username;
use serde::{Deserialize, Serialize};

/// A name has searched. By a parent, to those who keep the name's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendReport {
    /// Shows whose child has searched: the node's credential bears the name, and in its presence it
    /// names the sender as its parent.
    pub record: NodeRecord,
    /// How many searches since the last report.
    pub spent: u16,
}

/// Asks what is left of a name's budget. By a parent, to those who keep the name's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetWanted {
    /// The name.
    pub name: Username,
}

/// What is left of a name's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLeft {
    /// The name.
    pub name: Username,
    /// Searches that it may start at once.
    pub left: u16,
}

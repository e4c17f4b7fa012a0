//! The systems before this one, to compare with: each a state machine of its own, over the same
//! queue, the same wires, the same workload and the same churn as Skein's runs.
//!
//! | module | what it is | messages and rules as in |
//! |---|---|---|
//! | [`napster`] | a central directory | the OpenNap description of Napster's messages |
//! | [`gnutella`] | blind flooding | the Gnutella protocol specification 0.4 |
//! | [`fasttrack`] | flooding among supernodes, without query routing tables | measurements of the network, since the protocol was never published |
//! | [`chord`] | a ring with fingers | Stoica et al., SIGCOMM 2001 and Transactions on Networking 2003 |
//! | [`pastry`] | prefixes with locality | Rowstron and Druschel, Middleware 2001; Castro et al., DSN 2004 |
//! | [`kelips`] | groups of the square root of all | Gupta et al., IPTPS 2003 |
//!
//! A network starts as it would be after a long quiet time, and then nodes come and go by the rules
//! of each protocol. Sizes of messages are those of the specifications, without the headers of
//! packets; where a paper gives no format, the module says what is counted.

pub mod chord;
pub mod command;
pub mod compare;
pub mod equal_recall;
pub mod fasttrack;
pub mod gnutella;
pub mod kelips;
pub mod library;
pub mod napster;
pub mod pastry;
pub mod world;

pub use world::{Address, Operation, World};

#[cfg(test)]
mod testing;

//! What a node decides: whom to attach to, what to publish, whom to ask, what to pass on.
//!
//! [`Overlay`] is a state machine without I/O and without a clock. Whoever drives it (the daemon
//! over real connections, the simulator over a virtual network) hands in what happened and what
//! time it is, takes out what shall be done, and comes back when [`Overlay::next_wakeup`] says so:
//!
//! ```text
//!              handle(Input, Now)          poll_output() -> Option<Output>
//!   driver  ───────────────────────▶ Overlay ───────────────────────▶ driver
//!                                       │
//!                                       └── next_wakeup() -> Option<Instant>
//! ```
//!
//! | module | decides |
//! |---|---|
//! | [`known`] | which supernodes are worth a try |
//! | `join` | an ordinary node's parent and standby |
//! | `publish` | which metadata the parent still needs |
//! | `children` | whom a supernode takes, and what its index holds |
//! | `neighbours` | which supernodes are linked |
//! | `variety` | which supernodes make a good set of neighbours |
//! | `flood` | how a query goes through the supernodes and its hits come back |
//! | `waves` | how the supernode where a search begins widens it |
//! | `sieve` | which hits are decoys |
//! | `shares` | how much one neighbour or holder brings of what is wanted |
//! | `relayed` | what is passed back of a query that began elsewhere |
//! | `lookup` | searches of the own index, which the driver carries out |
//! | `cache` | what others answered to popular searches a moment ago |
//! | `wishes` | who is told of what is published |
//! | `tables` | which neighbours need not be asked |
//! | `membership` | all supernodes, on the ring |
//! | `directory` | names and content ids looked up exactly |
//! | `sessions` | offers and answers between peers on their way through the parents, slots of relays |
//! | `contacts` | where supernodes are, kept once for all overlays of a process |
//! | `courier` | messages to supernodes that are not linked |
//! | `search` | the searches of this node's own user |
//! | `allowance` | how often a name may search, wherever it is attached |
//! | `budget` | how often a peer may ask |
//! | [`reputation`] | what a name has earned, by what others signed |
//! | [`election`] | how many supernodes there should be, and which |
//! | `links` | what follows when a link comes up, is greeted over, and goes |
//! | `tidy` | what is to be done from time to time |
//! | `role` | what this node is, and what follows when that changes |

mod allowance;
mod branch;
mod bucket;
mod budget;
mod cache;
mod children;
mod config;
mod contacts;
mod core;
mod counters;
mod courier;
mod covered;
mod departed;
mod directory;
mod dispatch;
pub mod election;
mod flood;
mod hashed;
mod io;
mod join;
pub mod known;
mod library;
mod links;
mod lookup;
mod membership;
mod neighbours;
mod overlay;
mod packed;
mod peers;
mod publish;
mod rare;
mod readings;
mod relayed;
pub mod reputation;
mod role;
mod search;
mod seen;
mod sessions;
mod shares;
mod sieve;
mod snapshot;
mod sources;
mod spending;
mod tables;
mod tidy;
mod upkeep;
mod variety;
mod views;
mod waves;
mod wishes;

pub use config::Config;
pub use contacts::Contacts;
pub use counters::Counters;
pub use directory::{DirectorySnapshot, FoundNode, FoundSource};
pub use election::RoleReason;
pub use io::{Event, Input, Now, Output};
pub use lookup::{LookUp, LookedUp};
pub use overlay::Overlay;
pub use sessions::SlotOutcome;
pub use snapshot::{ParentSnapshot, PeerSnapshot, Relation, Snapshot, SupernodeSnapshot};

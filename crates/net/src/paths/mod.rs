//! Direct paths between the two ends of a session: found by probing, chosen by what works.
//!
//! A session begins over a relay. Meanwhile each end [gathers](crate::Endpoint::gather) the
//! addresses at which it may be reached, both tell each other (over whatever connects them then),
//! and both start [`Paths`] at about the same time. Each sends probes to the addresses of the
//! other: those that leave open the own router for what comes from there, and those that come in
//! are answered. The first direct path that answers takes the session over; if it falls silent, the
//! session goes back to the relay at once, and tries again.
//!
//! ```text
//!   gather     local, mapped, observed and predicted addresses          gather, network, nat
//!   Paths      one session: a task around the machine                   driver
//!   Machine    what is probed, used, given up; no I/O                   machine, path, keepalive
//!   Prober     proofs are checked where datagrams come in               prober, frame
//! ```
//!
//! How to use it:
//!
//! ```no_run
//! # async fn example(
//! #     endpoint: skein_net::Endpoint,
//! #     session: std::sync::Arc<skein_net::session::Session>,
//! #     relay: skein_net::session::Route,
//! #     key: skein_net::paths::ProbeKey,
//! #     number: skein_net::relay::frame::SlotNumber,
//! #     theirs: Vec<skein_net::paths::Candidate>,
//! # ) {
//! use skein_net::paths::{PathSettings, Paths, Side, observers};
//!
//! // Goes into the offer or the answer; the other end's candidates come from there.
//! let observers = observers(&[], &endpoint.connections());
//! let mine = endpoint.gather(&observers).await;
//! let settings = PathSettings::new(Side::Caller, number, key);
//! let paths = Paths::start(&endpoint, session, settings);
//! paths.relay_over(Some(relay));
//! paths.meet(theirs);
//! let mut state = paths.watch();
//! while state.changed().await.is_ok() {
//!     println!("{:?}", *state.borrow_and_update());
//! }
//! # }
//! ```
//!
//! From [`Paths::start`] on, nobody else calls [`send_along`](crate::session::Session::send_along)
//! on the session: a relay is changed by [`Paths::relay_over`].

pub(crate) mod candidate;
mod driver;
pub mod frame;
pub(crate) mod gather;
mod keepalive;
mod machine;
mod mapping;
mod nat;
pub(crate) mod network;
mod pace;
mod path;
pub(crate) mod prober;

pub use candidate::{Candidate, CandidateKind, MAX_CANDIDATES, PathClass};
pub use driver::{PathSettings, PathState, Paths};
pub use frame::{ProbeKey, Side};
pub use gather::{Gathered, observers};
pub use nat::Mapping;

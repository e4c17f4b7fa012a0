//! Real routers between real nodes, without a network: the NAT lab.
//!
//! Each machine of the lab is a network namespace of the kernel, so its NATs are the kernel's own,
//! and its nodes are the real program. The whole lab is made in namespaces of its own, of users,
//! mounts, processes and networks, so it needs no privilege where the machine lets users make them,
//! touches nothing outside, and is gone with the test's process, however that ends.
//!
//! ```text
//!   login, supernodes, public hosts ──┐
//!   host ── router with a NAT ────────┼── bridge: the internet, 198.18.0.0/16
//!   host ── NAT ── NAT ───────────────┘
//! ```
//!
//! [`Lab::build_dual`] adds IPv6 (2001:2::/48, RFC 5180): the bridge is a router for it, and so are
//! those of the hosts, which translate nothing there and let in only what belongs to something that
//! went out.
//!
//! [`inside`] runs a test in there; [`Lab`] is what it finds. A [`Matrix`] is the lab with all kinds
//! of NATs, and the sessions between them.

mod host;
mod matrix;
mod nat;
mod space;
mod talk;
mod topology;

pub use host::{Host, Running};
pub use matrix::{DIRECT_BAR, Figures, Matrix, Outcome, Table};
pub use nat::Kind;
pub use space::{inside, inside_with_ipv6, program_inside};
pub use talk::{EchoPipe, Watched};
pub use topology::Lab;

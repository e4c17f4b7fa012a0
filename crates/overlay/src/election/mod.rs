//! Who is a supernode: as many as the network needs, and the fittest.
//!
//! Every supernode follows the [demand](demand), keeps the fittest of its children in mind with
//! their reachability proven, and invites one of them when its turn comes. `docs/election.md` says
//! how all of it fits together, with the time scales.
//!
//! | module | subject |
//! |---|---|
//! | [`demand`] | how many are wanted; the same numbers for everybody |
//! | [`outlook`] | what follows from that, and how fast |
//! | [`census`](mod@census) | the announced loads of all supernodes in one number |
//! | `fitness`, `candidates` | which child is fit, and what is known of each |
//! | `absent` | who was invited and did not come |
//! | `dialback` | whether a node can be reached; dialling for others |
//! | `office` | what a supernode does about it: inviting, handing over, stepping down |
//! | `turn` | which of them invites now |
//! | `trial` | whether a supernode that has just begun is needed |
//! | `handover` | which children move where |
//! | `candidacy` | what an ordinary node does: offering itself, accepting, moving |
//! | `reason` | why a node is what it is, in plain words |

mod absent;
mod candidacy;
mod candidates;
pub mod census;
pub mod demand;
mod dialback;
mod dispatch;
mod fitness;
mod handover;
mod office;
pub mod outlook;
mod pace;
mod reason;
mod trial;
mod turn;

pub(crate) use office::Office;
pub use reason::RoleReason;
pub(crate) use trial::Trial;

use crate::core::Core;
use skein_proto::election::Candidacy;
use skein_proto::{Instant, NodeId, Username};
use std::time::Duration;

/// How often a supernode looks at the demand; jittered. With it, a mass failure is answered in a
/// few rounds within a minute.
pub(crate) const REVIEW: Duration = Duration::from_secs(10);

/// What the election knows at this node, whatever its role.
#[derive(Debug)]
pub(crate) struct Election {
    /// Why the node is what it is, and since when that is so.
    reason: RoleReason,
    reason_since: Instant,
    /// Whether the machine runs on a battery.
    on_battery: bool,
    /// What the present parent was told.
    told: Option<Candidacy>,
    /// Who asked this node to be a supernode where none was needed, and when that was found out.
    misled: Option<(NodeId, Instant)>,
    /// When this node stepped down.
    resigned: Option<Instant>,
    /// When a parent last asked it to move.
    redirected: Option<Instant>,
    /// What it does as a supernode. Boxed, since most nodes are none.
    pub(crate) office: Option<Box<Office>>,
}

impl Election {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            reason: RoleReason::NotWeighed,
            reason_since: now,
            on_battery: false,
            told: None,
            misled: None,
            resigned: None,
            redirected: None,
            office: None,
        }
    }

    /// Why the node is what it is, as of now.
    pub(crate) fn reason(&self, now: Instant) -> RoleReason {
        let passed = now.since(self.reason_since);
        match self.reason {
            // It has grown older since it was told.
            RoleReason::TooYoung { up, asked } => {
                RoleReason::TooYoung { up: (up + passed).min(asked), asked }
            }
            ref reason => reason.clone(),
        }
    }

    /// Since when the node is what it is, for this reason.
    pub(crate) fn reason_since(&self) -> Instant {
        self.reason_since
    }

    pub(crate) fn set_reason(&mut self, reason: RoleReason, now: Instant) {
        self.reason = reason;
        self.reason_since = now;
    }
}

/// The reputation of a name.
fn reputation(core: &Core, name: &Username) -> u16 {
    core.reputations.of(name)
}

//! Which children a supernode asks to move, and where to.
//!
//! Few at a time: a child that moves publishes all of its metadata anew. A child looks at the
//! other supernode for itself, and stays when that one is no better.

use crate::children::Children;
use crate::core::Core;
use rand::seq::{IndexedRandom, IteratorRandom};
use skein_proto::election::Redirect;
use skein_proto::{BoundedVec, NodeId, SupernodeEntry, UnixTime};
use std::time::Duration;

/// How often a full supernode asks some children to move, and how many of them at most: a
/// hundredth, so that the other side is never swamped by what several of them send.
pub(crate) const EVERY: Duration = Duration::from_secs(30);
const SHARE: u32 = 100;
const AT_LEAST: u32 = 2;

/// How much fuller than the average a supernode must be before it asks children to move. Children
/// choose parents by round trip, too: unevenness up to this is their choice.
const EXCESS: f64 = 0.15;

/// Supernodes that are looked at to find an emptier one. The emptiest of a few drawn at random
/// spreads the load nearly as evenly as the emptiest of all (Mitzenmacher 2001, "the power of two
/// choices"), and not all of the full ones send their children to the same place.
const LOOKED_AT: usize = 4;

/// How often one that steps down asks a share of those children that are left to move, and how large
/// that is: of a hundred that all do, the last is asked after little more than three minutes.
pub(crate) const RESIGN_EVERY: Duration = Duration::from_secs(5);
const RESIGN_SHARE: u32 = 20;

/// How full, in hundredths, one may be that children are sent to.
const ROOM_BELOW: f64 = 0.70;

fn fill_of(children: u32, capacity: u32) -> f64 {
    if capacity == 0 { 1.0 } else { f64::from(children) / f64::from(capacity) }
}

/// Asks some children to move if this supernode is much fuller than the others; to `first`, if
/// there is one that has just been added. Answers how many.
pub(crate) fn relieve(
    core: &mut Core,
    children: &Children,
    mean_fill: f64,
    first: Option<NodeId>,
    now: UnixTime,
) -> u32 {
    let (held, capacity) = (children.actives(), children.capacity(core));
    let own = fill_of(held, capacity);
    if held < 2 || own < mean_fill + EXCESS {
        return 0;
    }
    let over = (own - mean_fill) * f64::from(capacity);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Some of the children.
    let most = (over as u32).max(1);
    let count = (held / SHARE).max(AT_LEAST).min(most);
    send_some(core, children, count, first, own - EXCESS, now)
}

/// Asks the next share of the children of one that steps down to move.
pub(crate) fn dismiss_some(core: &mut Core, children: &Children, now: UnixTime) -> u32 {
    let count = (children.actives() / RESIGN_SHARE).max(AT_LEAST);
    send_some(core, children, count, None, ROOM_BELOW, now)
}

fn send_some(
    core: &mut Core,
    children: &Children,
    count: u32,
    first: Option<NodeId>,
    below: f64,
    now: UnixTime,
) -> u32 {
    let mut movers = children.actives_by_id();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    movers = movers.sample(&mut core.rng, count).copied().collect();
    movers.sort_unstable();
    let mut asked = 0;
    for child in movers {
        let Some(to) = emptier(core, first, below, now) else { break };
        core.counters.children_redirected += 1;
        core.send(child, Redirect { to });
        asked += 1;
    }
    asked
}

/// A supernode that takes children and is emptier than that.
fn emptier(
    core: &mut Core,
    first: Option<NodeId>,
    below: f64,
    now: UnixTime,
) -> Option<SupernodeEntry> {
    let fits = |member: &&crate::membership::Member| {
        let load = &member.load;
        load.accepting
            && load.capacity > 0
            && fill_of(load.children, load.capacity) < below
            && !member.addresses.is_empty()
    };
    let chosen = first.and_then(|node| core.membership.get(&node)).filter(fits).or_else(|| {
        let some = core.membership.iter().filter(fits).sample(&mut core.rng, LOOKED_AT);
        some.into_iter().min_by(|a, b| {
            let fill = |member: &crate::membership::Member| {
                fill_of(member.load.children, member.load.capacity)
            };
            fill(a).total_cmp(&fill(b)).then(a.node.cmp(&b.node))
        })
    })?;
    Some(SupernodeEntry {
        node: chosen.node,
        addresses: BoundedVec::truncated(chosen.addresses.iter().copied()),
        load_percent: chosen.load.percent(),
        seen: now,
    })
}

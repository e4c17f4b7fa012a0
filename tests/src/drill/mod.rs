//! The drill: a network of real processes grows its own supernodes, a third of them is killed with
//! `kill -9` while users search, and everybody has to find their way back.
//!
//! What is awaited is what `skein status` shows: that every node is a supernode or has a parent
//! that lives and holds all that it shares, that all supernodes know how many there are, and that they
//! want no more; and then that every user who searches finds what every node shares, since what a
//! parent holds is known to the other supernodes only with its next table.

mod searching;

pub use searching::Tally;

use crate::{Network, Node, files};
use searching::Searching;
use skein_node::api::types::{Status, SupernodeStatus};
use skein_proto::{NodeId, Role};
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// How often all nodes are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// One search in so many, or the rest of them, may find nothing while a third of the supernodes is dead, of those which
/// neither somebody makes whose parent was killed, nor are for what such a one shares.
const FEW: u32 = 5;

/// Processes that are started at a time.
const STARTS: usize = 6;

/// How large a drill is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nodes, all of them with the role `auto`.
    pub nodes: usize,
    /// Children that each takes as a supernode.
    pub max_children: u32,
    /// Nodes that search, each about once a second.
    pub searchers: usize,
    /// How long users search before the supernodes die, and once all is well again.
    pub calm: Duration,
    /// How long the network may take to grow, and to heal.
    pub patience: Duration,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nodes started.
    pub nodes: usize,
    /// From the first start until everybody was attached and there were supernodes enough.
    pub grown_after: Duration,
    /// Supernodes before, those that were killed, and supernodes at the end.
    pub supernodes: (usize, usize, usize),
    /// Nodes that lost their parent.
    pub orphans: usize,
    /// From the kill until a living parent held all that every node that is left shares.
    pub attached_after: Duration,
    /// From the kill until the supernodes knew who was dead and missed nobody any more, too.
    pub healed_after: Duration,
    /// From the first start until all who search had found what every node shares, and from the
    /// kill until they had found it again.
    pub found_after: (Duration, Duration),
    /// The longest that a node took from noticing its loss until it was searchable.
    pub longest_recovery: Duration,
    /// Searches in the time before the kill in which none failed at last, from the kill until none
    /// failed any more, and in that last time.
    pub searches: [Tally; 3],
    /// Nodes whose file was found at the first try when all that are left were looked for once more.
    pub found_at_once: usize,
    /// Those that were found then, at the first try or a later one.
    pub found_at_the_end: usize,
}

impl Report {
    /// Whether everybody is found again, and meanwhile searches of those whose parents live found
    /// each other's files. How many of all searches do depends on how many have lost their parent,
    /// and for how long there is no room for them elsewhere.
    pub fn is_whole(&self) -> bool {
        let (spared, failed) = self.searches[1].spared;
        let all_are_back = self.found_at_the_end == self.nodes - self.supernodes.1;
        all_are_back && spared > 0 && failed <= spared.div_ceil(FEW)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, killed, after) = self.supernodes;
        let [calm, hurt, healed] = &self.searches;
        let mut line = |what: &str, figure: String| writeln!(f, "{what:58} {figure}");
        line("nodes, all of them with the role auto", self.nodes.to_string())?;
        line("all attached, and supernodes enough, after", secs(self.grown_after))?;
        line("everything found by all who search, after", secs(self.found_after.0))?;
        line(
            "supernodes: before, killed with -9, at the end",
            format!("{before}, {killed}, {after}"),
        )?;
        line("nodes that lost their parent", self.orphans.to_string())?;
        line("all attached and published again after", secs(self.attached_after))?;
        line("  of which from noticing the loss on, at most", secs(self.longest_recovery))?;
        line("the dead known to all, and supernodes enough again, after", secs(self.healed_after))?;
        line("everything found again by all who search, after", secs(self.found_after.1))?;
        line("searches before, once none failed", calm.to_string())?;
        line("searches from the kill until none failed", hurt.to_string())?;
        let (spared, failed) = hurt.spared;
        line(
            "  of which by and for those whose parents live",
            format!("{spared}, of which {failed} found nothing"),
        )?;
        line("searches afterwards, while none failed", healed.to_string())?;
        let left = self.nodes - killed;
        line("nodes found by a search at the end", format!("{} of {left}", self.found_at_the_end))?;
        line("  of which at the first try", self.found_at_once.to_string())
    }
}

fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Runs a drill; `say` is told how it goes on.
///
/// # Panics
/// If the network does not grow or heal in time; the message says who is not well.
pub async fn run(plan: Plan, say: impl Fn(&str)) -> Report {
    let network = Network::start().await;
    let begun = Instant::now();
    let nodes = start(&network, plan).await;
    say(&format!("{} nodes run after {}", nodes.len(), secs(begun.elapsed())));
    let before = until_well(&nodes, plan.patience, &say).await;
    let grown_after = begun.elapsed();
    let supernodes = before.iter().filter(|status| status.role == Role::Super).count();
    say(&format!("{supernodes} supernodes, all attached after {}", secs(grown_after)));

    // A third, to the nearest.
    let killed = (supernodes + 1) / 3;
    assert!(killed > 0, "{supernodes} supernodes are too few for a drill");
    let dead = fullest(&before, killed);
    let (doomed, mut left): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| dead.contains(&node.id()));
    // One at least of those who search shall not lose their parent.
    let is_super = |node: &Node| {
        let own = before.iter().find(|status| status.identity.node == node.id());
        own.is_some_and(|status| status.role == Role::Super)
    };
    if let Some(at) = left.iter().position(is_super) {
        left.swap(0, at);
    }

    let searchers = left.get(..plan.searchers).unwrap_or(&left);
    let searching = Searching::start(searchers, &left);
    let (found_after, _, calm) = until_steady(&searching, (searchers, &left), plan, begun).await;
    say(&format!("everything is found after {}", secs(found_after)));
    let at_last = look(&left).await;
    let lost =
        |status: &&Status| status.attachment.parent.is_some_and(|parent| dead.contains(&parent));
    let orphaned = |(node, status): (&Node, &Status)| lost(&status).then(|| node.name().to_owned());
    let orphans: BTreeSet<String> = left.iter().zip(&at_last).filter_map(orphaned).collect();
    let struck = orphans.clone();
    let orphans = orphans.len();
    let kill = Instant::now();
    searching.strike(struck);
    for node in doomed {
        let _ = node.kill();
    }
    say(&format!("{killed} supernodes are dead; {orphans} nodes have no parent"));
    let mut attached_after = None;
    let healed = loop {
        let all = look(&left).await;
        let unwell = who_is_unattached(&left, &all, &dead);
        if unwell.is_empty() && attached_after.is_none() {
            attached_after = Some(kill.elapsed());
            say(&format!("all are attached again after {}", secs(kill.elapsed())));
        }
        if unwell.is_empty() && are_enough(&all) {
            break all;
        }
        assert!(kill.elapsed() < plan.patience, "not healed: {unwell:?}, {}", describe(&all));
        tokio::time::sleep(LOOK).await;
    };
    let healed_after = kill.elapsed();
    say(&format!("supernodes enough again after {}", secs(healed_after)));
    let (found_again_after, hurt, afterwards) =
        until_steady(&searching, (searchers, &left), plan, kill).await;
    say(&format!("everything is found again after {}", secs(found_again_after)));
    searching.end().await;

    let asker = left.first().expect("two thirds are left");
    let (found_at_once, found_at_the_end) = searching::roll_call(asker, &left, plan.patience).await;
    let recoveries = healed.iter().filter_map(|status| status.attachment.last_recovery_ms);
    Report {
        nodes: before.len(),
        grown_after,
        supernodes: (
            supernodes,
            killed,
            healed.iter().filter(|status| status.role == Role::Super).count(),
        ),
        orphans,
        attached_after: attached_after.unwrap_or(healed_after),
        healed_after,
        found_after: (found_after, found_again_after),
        longest_recovery: Duration::from_millis(recoveries.max().unwrap_or(0)),
        searches: [calm, hurt, afterwards],
        found_at_once,
        found_at_the_end,
    }
}

/// Waits until each user has found what each node shares, and no search has failed for a while since:
/// a child that moves to another supernode is not found there until others have heard of it. Answers
/// how long that was after `begun`, and how searches went until then and since.
///
/// # Panics
/// If that takes longer than it may.
async fn until_steady(
    searching: &Searching,
    (users, nodes): (&[Node], &[Node]),
    plan: Plan,
    begun: Instant,
) -> (Duration, Tally, Tally) {
    let end = Instant::now() + plan.patience;
    let mut until = Tally::default();
    loop {
        searching::until_found(users, nodes, plan.patience).await;
        let found = begun.elapsed();
        until.add(searching.take());
        tokio::time::sleep(plan.calm).await;
        let since = searching.take();
        if since.failed.is_empty() {
            return (found, until, since);
        }
        assert!(Instant::now() < end, "searches go on to fail: {since}");
        until.add(since);
    }
}

/// Starts all nodes, each with a file of its own.
async fn start(network: &Network, plan: Plan) -> Vec<Node> {
    use futures_util::StreamExt as _;
    let max_children = plan.max_children.to_string();
    let starts = (0..plan.nodes).map(|number| {
        let max_children = max_children.clone();
        async move {
            let name = format!("peer{number}");
            let nest = network.folder(&format!("of-{name}"));
            files::write_text(&nest.join(format!("nest of {name}.txt")), &name);
            let nest = nest.to_string_lossy().into_owned();
            let words = ["--max-children", &max_children, "--share", &nest];
            network.registered(&name).await.up(&words).await
        }
    });
    futures_util::stream::iter(starts).buffered(STARTS).collect().await
}

/// The supernodes with the most children: without them there is most to heal.
fn fullest(all: &[Status], count: usize) -> BTreeSet<NodeId> {
    let children = |status: &Status| status.supernode.as_ref().map(|own| own.children);
    let mut supernodes: Vec<&Status> =
        all.iter().filter(|status| status.role == Role::Super).collect();
    supernodes.sort_by_key(|status| std::cmp::Reverse(children(status)));
    supernodes.iter().take(count).map(|status| status.identity.node).collect()
}

async fn look(nodes: &[Node]) -> Vec<Status> {
    futures_util::future::join_all(nodes.iter().map(Node::status)).await
}

/// Waits until everybody is attached and there are supernodes enough.
async fn until_well(nodes: &[Node], patience: Duration, say: &impl Fn(&str)) -> Vec<Status> {
    let begun = Instant::now();
    let mut told = (0, 0);
    loop {
        let all = look(nodes).await;
        let unwell = who_is_unattached(nodes, &all, &BTreeSet::new());
        if unwell.is_empty() && are_enough(&all) {
            return all;
        }
        let supernodes = all.iter().filter(|status| status.role == Role::Super).count();
        if told != (supernodes, unwell.len()) {
            told = (supernodes, unwell.len());
            say(&format!("{supernodes} supernodes, {} nodes are not attached yet", unwell.len()));
        }
        assert!(begun.elapsed() < patience, "not grown: {unwell:?}, {}", describe(&all));
        tokio::time::sleep(LOOK).await;
    }
}

/// Those that are neither a supernode nor have a parent that lives and holds all that they share.
fn who_is_unattached(nodes: &[Node], all: &[Status], dead: &BTreeSet<NodeId>) -> Vec<String> {
    let is_well = |status: &Status| {
        let ties = &status.attachment;
        let tied =
            status.role == Role::Super || ties.parent.is_some_and(|parent| !dead.contains(&parent));
        tied && status.library.files == 1 && !status.library.scanning && ties.publish_pending == 0
    };
    let unwell = nodes.iter().zip(all).filter(|(_, status)| !is_well(status));
    unwell.map(|(node, status)| format!("{}: {}", node.name(), status.role_reason)).collect()
}

/// Whether all supernodes know how many there are, and miss none.
fn are_enough(all: &[Status]) -> bool {
    let supernodes: Vec<_> = all.iter().filter_map(|status| status.supernode.as_ref()).collect();
    // Until a death is known to be one, the dead count as if they could hold children.
    let knows = |own: &&SupernodeStatus| {
        usize::try_from(own.outlook.supernodes).is_ok_and(|known| known == supernodes.len())
    };
    !supernodes.is_empty() && supernodes.iter().all(|own| knows(own) && own.outlook.missing == 0)
}

/// What the supernodes say.
fn describe(all: &[Status]) -> String {
    let said = all.iter().filter_map(|status| {
        let own = status.supernode.as_ref()?;
        Some(format!("{} children, {}", own.children, own.outlook.words))
    });
    said.collect::<Vec<_>>().join("; ")
}

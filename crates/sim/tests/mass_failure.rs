//! Many supernodes die at once, and many nodes restart: a small version of the large drill.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::seconds;
use skein_proto::NodeId;
use skein_proto::directory::DirectoryKey;
use skein_proto::message::RoleSetting;
use skein_sim::population::file;
use skein_sim::{Network, Settings};

/// Children that a supernode takes, and has at first: it is filled to 0.7.
const CAPACITY: u32 = 20;
const NORMAL: u32 = 14;

struct Drill {
    network: Network,
    supers: Vec<NodeId>,
    children: Vec<NodeId>,
}

impl Drill {
    fn new(supernodes: u32) -> Self {
        let settings = Settings {
            seed: 11,
            max_children: CAPACITY,
            max_neighbours: 12,
            ..Settings::default()
        };
        let mut network = Network::new(settings);
        let supers: Vec<NodeId> =
            (0..supernodes).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
        network.run_for(seconds(20));
        let children: Vec<NodeId> = (0..supernodes * NORMAL)
            .map(|number| {
                let files = vec![file(&format!("common/rare{number} song.mp3"))];
                network.add_node(RoleSetting::Ordinary, files)
            })
            .collect();
        assert!(network.run_until_all(&children, seconds(120)));
        network.run_for(seconds(60));
        Self { network, supers, children }
    }

    fn fullest(&self) -> u32 {
        let supers = self.supers.iter().filter_map(|node| self.network.snapshot(*node)?.supernode);
        supers.map(|supernode| supernode.children).max().unwrap_or_default()
    }
}

#[test]
fn a_third_of_all_supernodes_dies_while_forty_percent_of_nodes_restart() {
    let mut drill = Drill::new(40);
    let normal = drill.fullest();
    assert!(normal <= CAPACITY);
    // One more than 30 %: those that are left have no room for all by their usual limits.
    let (dead, alive) = drill.supers.split_at(13);
    let restarted: Vec<NodeId> = drill
        .children
        .iter()
        .copied()
        .step_by(5)
        .chain(drill.children.iter().copied().skip(1).step_by(5))
        .collect();
    assert_eq!(restarted.len() * 5, drill.children.len() * 2);
    for node in dead.iter().chain(&restarted) {
        drill.network.kill(*node);
    }
    drill.network.run_for(seconds(5));
    for node in &restarted {
        drill.network.restart(*node);
    }
    let alive = alive.to_vec();
    let mut peak = 0;
    for _ in 0..60 {
        drill.network.run_for(seconds(1));
        peak = peak.max(drill.fullest());
    }
    let attached = drill.network.attached(&drill.children);
    assert!(attached * 100 >= drill.children.len() * 99, "{attached} of {}", drill.children.len());
    assert!(peak <= 2 * NORMAL, "{peak} children at most, {normal} before");
    for node in alive {
        assert!(drill.network.snapshot(node).unwrap().supernode.is_some(), "nobody exits");
    }
}

#[test]
fn a_child_and_its_standby_cost_little_while_nothing_happens() {
    let mut drill = Drill::new(8);
    let before = control_bytes(&drill.network);
    drill.network.run_for(seconds(3_600));
    let bytes = control_bytes(&drill.network) - before;
    // All that goes between a supernode and its children, in both directions.
    let each = bytes / 3_600 / drill.children.len() as u64;
    assert!(each <= 20, "{each} bytes a second for each child");
}

fn control_bytes(network: &Network) -> u64 {
    let names = [
        "Supernodes",
        "LoadUpdate",
        "Probe",
        "ProbeReply",
        "Attach",
        "AttachReply",
        "Hello",
        "Detach",
    ];
    let traffic = network.traffic();
    names.iter().filter_map(|name| traffic.get(name)).map(|(_, bytes)| bytes).sum()
}

#[test]
fn the_children_of_a_full_supernode_move_on_one_by_one() {
    let settings =
        Settings { seed: 12, max_children: 30, max_neighbours: 12, ..Settings::default() };
    let mut network = Network::new(settings);
    let first = network.add_node(RoleSetting::Super, Vec::new());
    let second = network.add_node(RoleSetting::Super, Vec::new());
    let children: Vec<NodeId> = (0..40)
        .map(|n| network.add_node(RoleSetting::Ordinary, vec![file(&format!("a/b{n}"))]))
        .collect();
    assert!(network.run_until_all(&children, seconds(120)));
    let held = |network: &Network, node: NodeId| {
        network.snapshot(node).unwrap().supernode.unwrap().children
    };
    let before = held(&network, first).max(held(&network, second));
    assert!(before >= 20);
    let fresh: Vec<NodeId> =
        (0..2).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    let mut last: u32 = fresh.iter().map(|node| held(&network, *node)).sum();
    for _ in 0..240 {
        network.run_for(seconds(30));
        let now: u32 = fresh.iter().map(|node| held(&network, *node)).sum();
        // Each of the two full ones asks two of its children to move every half minute; some more
        // find by themselves that they are better off.
        assert!(now <= last + 6, "from {last} to {now} within half a minute is a herd");
        last = now;
    }
    assert_eq!(network.attached(&children), children.len(), "nobody is lost on the way");
    assert!(held(&network, first).max(held(&network, second)) <= before);
    let moved: u64 = children
        .iter()
        .map(|child| network.overlay(*child).unwrap().counters().parents_moved)
        .sum();
    assert!(moved > 0 && moved <= 40, "{moved} moves: nobody goes to and fro");
    for child in children {
        let name = DirectoryKey::Name(network.name(child).unwrap());
        let found = network.find(first, name).nodes;
        let parent = network.snapshot(child).unwrap().parent.parent;
        assert_eq!(found.len(), 1);
        assert!(found[0].online, "whoever has moved is there");
        assert_eq!(found[0].parent.as_ref().map(|parent| parent.node), parent);
    }
}

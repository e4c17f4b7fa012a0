//! Nodes and files to fill a network with.

use crate::network::Network;
use skein_proto::message::RoleSetting;
use skein_proto::{ContentId, FileMeta, FilePath, Kind, NodeId};
use std::time::Duration;

/// A file whose path has these words; its content id is the hash of the path.
#[allow(clippy::expect_used)]
pub fn file(path: &str) -> FileMeta {
    FileMeta {
        content: ContentId::from_bytes(*blake3::hash(path.as_bytes()).as_bytes()),
        size: 1_000_000,
        kind: Kind::Audio,
        path: FilePath::new(path).expect("the caller gives a plain relative path"),
        tags: None,
    }
}

/// A network of so many supernodes and ordinary nodes, each ordinary node with one file
/// "common/rare<number> song.mp3", run until all of them are searchable.
///
/// Answers whether it came to that within two minutes of virtual time.
pub fn settle(
    network: &mut Network,
    supernodes: usize,
    ordinary: usize,
) -> (Vec<NodeId>, Vec<NodeId>, bool) {
    let supers: Vec<NodeId> =
        (0..supernodes).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    let children: Vec<NodeId> = (0..ordinary)
        .map(|number| {
            let files = vec![file(&format!("common/rare{number} song.mp3"))];
            network.add_node(RoleSetting::Ordinary, files)
        })
        .collect();
    let mut settled = network.run_until_all(&children, Duration::from_secs(120));
    let neighbours = supernodes.saturating_sub(1).min(network.max_neighbours());
    let linked = |network: &Network, neighbours: usize| {
        supers.iter().filter_map(|node| network.snapshot(*node)?.supernode).all(|supernode| {
            usize::try_from(supernode.neighbours).is_ok_and(|count| count >= neighbours)
        })
    };
    let deadline = network.now() + Duration::from_secs(120);
    while !linked(network, neighbours) {
        if network.now() >= deadline {
            // Where all others have as many as they want, the last few find the last of theirs when
            // somebody lets go of one.
            let enough = if neighbours + 1 < supernodes { neighbours * 9 / 10 } else { neighbours };
            settled &= linked(network, enough);
            break;
        }
        network.run_for(Duration::from_millis(200));
    }
    (supers, children, settled)
}

impl Network {
    /// Runs until the parents of all of these nodes hold all that they share.
    pub fn run_until_all(&mut self, nodes: &[NodeId], at_most: Duration) -> bool {
        let deadline = self.now() + at_most;
        // To look at everyone after each message would cost more than the network itself.
        while self.now() < deadline {
            self.run_for(Duration::from_millis(200));
            if self.attached(nodes) == nodes.len() {
                return true;
            }
        }
        false
    }

    /// How many of these nodes have a parent that holds all that they share.
    pub fn attached(&self, nodes: &[NodeId]) -> usize {
        nodes
            .iter()
            .filter_map(|node| self.snapshot(*node))
            .filter(|s| s.supernode.is_some() || (s.parent.parent.is_some() && s.parent.complete))
            .count()
    }
}

//! The directory, told as stories in virtual time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{network, seconds};
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::{NodeId, Username};
use skein_sim::Network;
use skein_sim::population::{file, settle};

fn name(network: &Network, node: NodeId) -> DirectoryKey {
    DirectoryKey::Name(network.name(node).unwrap())
}

fn song(number: usize) -> DirectoryKey {
    DirectoryKey::Content(file(&format!("common/rare{number} song.mp3")).content)
}

#[test]
fn everyone_is_found_by_name_with_the_parent() {
    let mut network = network();
    let (_, children, settled) = settle(&mut network, 6, 30);
    assert!(settled);
    network.run_for(seconds(20));
    for child in &children {
        let key = name(&network, *child);
        let found = network.find(children[0], key);
        assert_eq!(found.outcome, Some(FindOutcome::Answered));
        assert_eq!(found.nodes.len(), 1, "{child:?}");
        let node = &found.nodes[0];
        assert_eq!((node.node, node.online), (*child, true));
        assert_eq!(node.addresses.first(), network.address(*child).as_ref());
        let parent = network.snapshot(*child).unwrap().parent.parent;
        assert_eq!(node.parent.as_ref().map(|parent| parent.node), parent);
    }
    let nobody = DirectoryKey::Name(Username::parse("nobody").unwrap());
    let found = network.find(children[0], nobody);
    assert_eq!((found.outcome, found.nodes.len()), (Some(FindOutcome::Answered), 0));
}

#[test]
fn every_content_is_found_by_its_id() {
    let mut network = network();
    let (supers, children, _) = settle(&mut network, 6, 30);
    network.run_for(seconds(30));
    for (number, child) in children.iter().enumerate() {
        let found = network.find(supers[number % 6], song(number));
        assert_eq!(found.sources.len(), 1, "{number}");
        assert_eq!((found.sources[0].node, found.sources[0].complete), (*child, true));
        assert_eq!(found.sources[0].addresses.first(), network.address(*child).as_ref());
    }
}

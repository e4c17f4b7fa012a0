//! How the records of an arc of the ring come to those who keep it next.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{counters, key, lone_super, neighbour, network, seconds};
use skein_proto::directory::{Put, Shared, SourceClaim, SourceRecords, SourceState};
use skein_proto::message::RoleSetting;
use skein_proto::{BoundedVec, ContentId, Credential, KeyPair, NodeId, Signed, UnixTime};
use skein_sim::Network;

/// Contents of which both owners are sources: an owner is said with each, so that one record is as
/// much work as three, and all of them are more than a supernode takes of another one unasked.
const CONTENTS: u32 = 4_500;

fn claim(owner: &KeyPair, number: u32, now: UnixTime) -> Shared<SourceClaim> {
    let mut content = [0; 32];
    content[..4].copy_from_slice(&number.to_be_bytes());
    let claim = SourceClaim {
        content: ContentId::from_bytes(content),
        state: SourceState::Complete,
        issued: now,
        expires: UnixTime(now.0 + 3_600),
    };
    Signed::new(claim, owner).into()
}

/// Puts the claims of two owners where they belong.
fn fill(network: &mut Network, supernode: NodeId) {
    let putter = neighbour(network, supernode, 77);
    let now = network.time().unix;
    for number in [60, 61] {
        let owner = key(number);
        let credential: Shared<Credential> =
            network.honest_credential(&owner, u32::from(number)).into();
        let numbers: Vec<u32> = (0..CONTENTS).collect();
        for page in numbers.chunks(64) {
            let claims = page.iter().map(|number| claim(&owner, *number, now));
            let source = SourceRecords {
                credential: credential.clone(),
                presence: None,
                claims: BoundedVec::truncated(claims),
            };
            let put = Put { sources: BoundedVec::truncated([source]), ..Put::default() };
            network.say_later(putter, supernode, put);
        }
    }
    network.run_for(seconds(2));
    network.hang_up_as(putter, supernode);
}

fn sources(network: &Network, node: NodeId) -> u64 {
    network.snapshot(node).unwrap().supernode.unwrap().directory.sources
}

#[test]
fn an_arc_of_many_thousand_records_comes_to_a_newcomer_whole() {
    let mut network = network();
    let old = lone_super(&mut network);
    fill(&mut network, old);
    let all = u64::from(2 * CONTENTS);
    assert_eq!(sources(&network, old), all);
    let newcomer = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(60));
    assert_eq!(sources(&network, newcomer), all);
    assert_eq!(counters(&network, newcomer).directory_over_budget, 0);
    let asked = counters(&network, old).directory_records_moved;
    assert!(asked < 2 * all + all / 2, "{asked} of {all} were sent");
}

#[test]
fn what_a_supernode_cannot_hand_over_at_once_comes_from_those_who_keep_it_too() {
    let mut network = network();
    let old = lone_super(&mut network);
    fill(&mut network, old);
    let others: Vec<NodeId> =
        (0..3).map(|_| network.add_node(RoleSetting::Super, Vec::new())).collect();
    network.run_for(seconds(400));
    network.leave(old);
    network.run_for(seconds(2));
    network.kill(old);
    network.run_for(seconds(120));
    for node in others {
        assert_eq!(sources(&network, node), u64::from(2 * CONTENTS));
    }
}

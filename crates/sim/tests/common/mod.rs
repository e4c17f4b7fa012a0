//! What the stories share.
#![allow(dead_code, clippy::expect_used, clippy::unwrap_used)] // No story needs all of it.

use skein_overlay::{Counters, Input};
use skein_proto::directory::{Announce, Contact, Presence, Shared};
use skein_proto::message::{AttachReply, Bond, Link, LinkReply, ProbeReply, Role, RoleSetting};
use skein_proto::supernode::Load;
use skein_proto::{Ask, BoundedString};
use skein_proto::{
    BoundedVec, KeyPair, Message, NodeId, Query, Signed, SupernodeEntry, UnixTime,
    query::{Filter, HitGroup},
};
use skein_sim::{Network, Settings};
use std::net::SocketAddr;
use std::time::Duration;

pub const SEED: u64 = 20;

pub fn network() -> Network {
    Network::new(Settings { seed: SEED, ..Settings::default() })
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A node whose parent is not that of `other`.
pub fn elsewhere(network: &Network, nodes: &[NodeId], other: NodeId) -> NodeId {
    let parent = |node| network.snapshot(node).unwrap().parent.parent;
    nodes.iter().copied().find(|node| parent(*node) != parent(other)).expect("two parents")
}

pub fn counters(network: &Network, node: NodeId) -> Counters {
    *network.overlay(node).unwrap().counters()
}

pub fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

/// Room for everyone.
pub fn roomy() -> Load {
    Load { children: 0, capacity: 100, neighbours: 1, records: 0, accepting: true }
}

pub fn words(text: &str) -> Query {
    Query { ask: Ask::Words(BoundedString::truncated(text)), filter: Filter::default() }
}

/// The hits that a message brings.
pub fn hits_in(message: &Message) -> &[HitGroup] {
    match message {
        Message::Hits(hits) => &hits.groups,
        Message::SearchDone(done) => &done.groups,
        _ => &[],
    }
}

/// So many supernodes that do not exist, made up by number.
pub fn made_up(from: u16, count: u16) -> Vec<SupernodeEntry> {
    (from..from + count)
        .map(|number| {
            let mut id = [0x77; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            SupernodeEntry {
                node: NodeId::from_bytes(id),
                addresses: BoundedVec::truncated([SocketAddr::from(([192, 0, 2, 1], 4701))]),
                load_percent: 0,
                seen: UnixTime(u64::MAX),
            }
        })
        .collect()
}

/// A puppet supernode that a node knows from its list: it dials it by itself.
pub fn known_puppet(network: &mut Network, victim: NodeId, number: u8) -> NodeId {
    let puppet = network.add_puppet(&key(number));
    let entries = vec![network.entry(puppet).unwrap()];
    network.feed(victim, Input::Bootstrap { entries, invited: false });
    puppet
}

/// Whoever asks the puppet for a bond gets it, for so long. Answers what else it heard.
pub fn play_parent(network: &mut Network, puppet: NodeId, time: Duration) -> Vec<Message> {
    let mut rest = Vec::new();
    let end = network.now() + time;
    while network.now() < end {
        network.run_for(Duration::from_millis(20));
        for (peer, message) in network.heard(puppet) {
            match message {
                Message::Hello(_) => {
                    let credential = network.honest_credential(&key_of(network, puppet), 900);
                    let hello = Network::greeting(Role::Super, Some(credential));
                    network.say_later(puppet, peer, hello);
                }
                Message::Probe(_) => {
                    let reply = ProbeReply { role: Role::Super, load: roomy() };
                    network.say_later(puppet, peer, reply);
                }
                Message::Attach(attach) => {
                    let reply =
                        AttachReply { outcome: Ok(attach.bond), others: BoundedVec::default() };
                    network.say_later(puppet, peer, reply);
                }
                other => rest.push(other),
            }
        }
    }
    rest
}

fn key_of(_: &Network, puppet: NodeId) -> KeyPair {
    (0..=u8::MAX).map(key).find(|key| key.node_id() == puppet).expect("a puppet's key")
}

/// A puppet with a good credential that is a neighbour of a supernode.
pub fn neighbour(network: &mut Network, victim: NodeId, number: u8) -> NodeId {
    let credential = network.honest_credential(&key(number), 900 + u32::from(number));
    let hello = Network::greeting(Role::Super, Some(credential));
    let puppet = network.add_greeting_puppet(&key(number), victim, hello);
    network.say(puppet, victim, Link { load: roomy() });
    let heard = network.heard(puppet);
    let agreed = heard.iter().any(|(_, message)| {
        matches!(message, Message::LinkReply(LinkReply { outcome: Ok(_), .. }))
    });
    assert!(agreed, "{heard:?}");
    puppet
}

/// A puppet with a good credential that is a child of a supernode.
pub fn child(network: &mut Network, victim: NodeId, number: u8, bond: Bond) -> NodeId {
    child_of_user(network, victim, (number, 900 + u32::from(number)), bond)
}

/// The same of a user who may have several.
pub fn child_of_user(
    network: &mut Network,
    victim: NodeId,
    (number, user): (u8, u32),
    bond: Bond,
) -> NodeId {
    let credential = network.honest_credential(&key(number), user);
    let hello = Network::greeting(Role::Ordinary, Some(credential));
    let puppet = network.add_greeting_puppet(&key(number), victim, hello);
    network.say(puppet, victim, skein_proto::message::Attach { bond });
    puppet
}

/// What a puppet signs when it is a child of this supernode.
pub fn presence(network: &Network, puppet: NodeId, parent: NodeId) -> Shared<Presence> {
    let now = network.time().unix;
    let contact = Contact { node: parent, addresses: BoundedVec::default() };
    let presence = Presence {
        issued: now,
        expires: UnixTime(now.0 + 3_600),
        online: true,
        addresses: BoundedVec::default(),
        parent: Some(contact),
    };
    Signed::new(presence, &key_of(network, puppet)).into()
}

/// A puppet says that it is a child of this supernode, as an honest one does at once.
pub fn say_where(network: &mut Network, puppet: NodeId, parent: NodeId) {
    let presence = Some(presence(network, puppet, parent));
    network.say(puppet, parent, Announce { presence, claims: BoundedVec::default() });
}

/// A supernode that is alone.
pub fn lone_super(network: &mut Network) -> NodeId {
    let node = network.add_node(RoleSetting::Super, Vec::new());
    network.run_for(seconds(1));
    node
}

pub fn neighbours(network: &Network, node: NodeId) -> u32 {
    network.snapshot(node).unwrap().supernode.unwrap().neighbours
}

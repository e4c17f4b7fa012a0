//! Announcements, suspicions and the messages that spread them.

use super::any_message::any_standing_query;
use super::values::{any_address, any_credential, any_key, any_load, any_node_id, few};
use crate::bounded::BoundedVec;
use crate::credential::Credential;
use crate::key::{KeyPair, Signed};
use crate::membership::{
    Announcement, Gossip, GossipDigest, GossipInventory, GossipOffer, GossipWant, SupernodeRecord,
    SupernodeState, Suspicion,
};
use crate::message::{Message, MessageKind};
use crate::name::Username;
use crate::rumour::{News, Rumour, RumourId, Topic};
use crate::supernode::Load;
use crate::time::UnixTime;
use proptest::prelude::*;
use std::net::SocketAddr;

/// The key of the supernode with this number.
pub fn supernode_key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

/// The announcement of the supernode with this number, made at the second 1,000; its credential
/// is signed by `login`.
pub fn announcement(number: u8, login: &KeyPair) -> Announcement {
    announcement_of(&supernode_key(number), &format!("super{number}"), login, |record| {
        record.addresses = BoundedVec::truncated([SocketAddr::from(([10, 0, 0, number], 4701))]);
    })
}

/// An announcement by this key, changed before it is signed; its credential is signed by `login`.
pub fn announcement_of(
    key: &KeyPair,
    name: &str,
    login: &KeyPair,
    change: impl FnOnce(&mut SupernodeRecord),
) -> Announcement {
    let node = key.node_id();
    let mut record = SupernodeRecord {
        node,
        addresses: BoundedVec::truncated([SocketAddr::from(([10, 0, 0, 1], 4701))]),
        load: Load { capacity: 150, accepting: true, ..Load::default() },
        since: UnixTime(900),
        issued: UnixTime(1_000),
        lifetime_secs: 1_800,
        state: SupernodeState::Serving,
    };
    change(&mut record);
    let name = Username::parse(name).expect("a name");
    // From the beginning until long after any test.
    let (issued, registered) = (UnixTime(0), UnixTime(0));
    let expires = UnixTime(1 << 40);
    let credential = Credential { name, node, issued, expires, registered };
    Announcement { record: Signed::new(record, key), credential: Signed::new(credential, login) }
}

/// Some rumour.
pub fn any_rumour() -> impl Strategy<Value = Rumour> {
    let announcement = (
        any_key(),
        few(any_address()),
        any_load(),
        any::<[u64; 2]>(),
        any::<u32>(),
        any_state(),
        any_credential(),
    )
        .prop_map(
            |(key, addresses, load, [since, issued], lifetime_secs, state, credential)| {
                let record = SupernodeRecord {
                    node: key.node_id(),
                    addresses,
                    load,
                    since: UnixTime(since),
                    issued: UnixTime(issued),
                    lifetime_secs,
                    state,
                };
                News::Announcement(Announcement { record: Signed::new(record, &key), credential })
            },
        );
    let suspicion = (any_key(), any_node_id(), any::<[u64; 2]>()).prop_map(
        |(key, subject, [version, issued])| {
            let (version, issued) = (UnixTime(version), UnixTime(issued));
            let suspicion = Suspicion { subject, version, witness: key.node_id(), issued };
            News::Suspicion(Signed::new(suspicion, &key))
        },
    );
    let wish = any_standing_query().prop_map(News::Wish);
    prop_oneof![announcement, suspicion, wish].prop_map(Rumour::new)
}

fn any_state() -> impl Strategy<Value = SupernodeState> {
    proptest::sample::select(
        &[SupernodeState::Warming, SupernodeState::Serving, SupernodeState::Leaving][..],
    )
}

fn any_topic() -> impl Strategy<Value = Topic> {
    proptest::sample::select(&Topic::ALL[..])
}

fn any_id() -> impl Strategy<Value = RumourId> {
    any::<[u64; 2]>().prop_map(|[place, version]| RumourId { place, version })
}

/// A message of the epidemic of this kind; of another kind, a [`Gossip`].
pub(super) fn any_gossip_of(kind: MessageKind) -> BoxedStrategy<Message> {
    match kind {
        MessageKind::GossipOffer => (any_topic(), few(any_id()))
            .prop_map(|(topic, ids)| GossipOffer { topic, ids }.into())
            .boxed(),
        MessageKind::GossipWant => (any_topic(), few(any::<u64>()))
            .prop_map(|(topic, places)| GossipWant { topic, places }.into())
            .boxed(),
        MessageKind::GossipDigest => (any_topic(), few(any::<u32>()))
            .prop_map(|(topic, buckets)| GossipDigest { topic, buckets }.into())
            .boxed(),
        MessageKind::GossipInventory => (any_topic(), few(any::<u8>()), few(any_id()))
            .prop_map(|(topic, buckets, ids)| GossipInventory { topic, buckets, ids }.into())
            .boxed(),
        _ => few(any_rumour()).prop_map(|rumours| Gossip { rumours }.into()).boxed(),
    }
}

/// The largest message of the epidemic of this kind; of another kind, a [`Gossip`].
pub(super) fn largest_gossip(kind: MessageKind, rumour: &Rumour) -> Message {
    let topic = Topic::Wishes;
    let id = RumourId { place: u64::MAX, version: u64::MAX };
    match kind {
        MessageKind::GossipOffer => GossipOffer { topic, ids: full(id) }.into(),
        MessageKind::GossipWant => GossipWant { topic, places: full(u64::MAX) }.into(),
        MessageKind::GossipDigest => GossipDigest { topic, buckets: full(u32::MAX) }.into(),
        MessageKind::GossipInventory => {
            GossipInventory { topic, buckets: full(u8::MAX), ids: full(id) }.into()
        }
        _ => Gossip { rumours: full(rumour.clone()) }.into(),
    }
}

fn full<T: Clone, const N: usize>(element: T) -> BoundedVec<T, N> {
    BoundedVec::truncated(vec![element; N])
}

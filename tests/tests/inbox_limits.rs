//! What an inbox takes of strangers, and how much: they speak the protocol by hand, and offer more
//! than any `skein send` would.

#![allow(clippy::expect_used)]

use skein_node::api::inbox::{FileOffer, OfferStage};
use skein_proto::id::OfferId;
use skein_proto::inbox::{OfferFile, OfferState};
use skein_proto::{BoundedString, ContentId, Message};
use skein_tests::intruder::{Intruder, PeerSession};
use skein_tests::{Network, Node};
use std::time::Instant;

/// Undecided offers that a node holds of one name and of all; those that it takes of one name at
/// once, whatever becomes of them, and one more in a minute.
const OF_PEER: u8 = 20;
const IN_ALL: usize = 200;
const AT_ONCE: u8 = 60;

/// The largest file that can be offered, 16 TiB.
const LARGEST_BYTES: u64 = 1 << 44;

/// A session of a stranger with a node.
struct Stranger {
    session: PeerSession,
    _intruder: Intruder,
}

impl Stranger {
    async fn meet(network: &Network, node: &Node, number: u8) -> Self {
        let intruder = Intruder::new(100 + number);
        let name = format!("stranger{number}");
        let credential =
            Network::credential(&network.login_key(), &name, intruder.id(), -60, 3_600);
        let session = intruder.session(node.id(), node.address(), credential).await;
        Self { session, _intruder: intruder }
    }

    /// Offers a file, and says what the node makes of it.
    async fn offer(&self, number: u8, size: u64) -> OfferState {
        let offer = OfferFile {
            offer: OfferId::from_bytes([number; 16]),
            name: BoundedString::truncated("song.flac"),
            size,
            content: ContentId::from_bytes([number; 32]),
            note: BoundedString::truncated(""),
        };
        match self.session.ask(offer).await {
            Some(Message::OfferNews(news)) => news.state,
            other => panic!("no answer to an offer: {other:?}"),
        }
    }
}

/// Somebody in a network with one supernode.
async fn bob(network: &Network, words: &[&str]) -> (Node, Node) {
    let [goose] = network.supernodes(["goose"], &[]).await;
    let words = [&["--role", "ordinary"], words].concat();
    let bob = network.registered("bob").await.up(&words).await;
    bob.until("has a parent", |status| status.attachment.parent.is_some()).await;
    (goose, bob)
}

async fn undecided(node: &Node) -> Vec<FileOffer> {
    let mut offers: Vec<FileOffer> = node.run(&["inbox"]).await.worked().json();
    offers.retain(|offer| offer.state == OfferStage::Offered);
    offers
}

#[tokio::test]
async fn one_name_can_have_so_many_offers_waiting_and_a_decision_makes_room() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &[]).await;
    let stranger = Stranger::meet(&network, &bob, 0).await;
    for number in 0..OF_PEER {
        assert_eq!(stranger.offer(number, 1_000).await, OfferState::Held, "offer {number}");
    }
    assert_eq!(stranger.offer(OF_PEER, 1_000).await, OfferState::Full);
    assert_eq!(stranger.offer(0, 1_000).await, OfferState::Held, "one that is there already");
    let waiting = undecided(&bob).await;
    assert_eq!(waiting.len(), usize::from(OF_PEER));
    assert_eq!(bob.counted("skein_inbox_refused_total{reason=\"full\"}").await, 1);

    let ids = [0, 1].map(|at: usize| waiting[at].id.to_string());
    let _ = bob.run(&["inbox", "refuse", &ids[0], &ids[1]]).await.worked();
    for number in [OF_PEER, OF_PEER + 1] {
        assert_eq!(stranger.offer(number, 1_000).await, OfferState::Held, "there is room again");
    }
    assert_eq!(undecided(&bob).await.len(), usize::from(OF_PEER));
}

#[tokio::test]
async fn one_name_can_make_so_many_offers_whatever_becomes_of_them() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &[]).await;
    let stranger = Stranger::meet(&network, &bob, 0).await;
    let begun = Instant::now();
    let mut taken = 0;
    while stranger.offer(taken, 1_000).await == OfferState::Held {
        taken += 1;
        for offer in bob.api().offers().await.expect("the daemon answers") {
            if offer.state == OfferStage::Offered {
                let _ = bob.api().refuse_offer(offer.id).await.expect("it can be refused");
            }
        }
    }
    let minutes = begun.elapsed().as_secs() / 60;
    let most = u64::from(AT_ONCE) + minutes + 1;
    assert!((u64::from(AT_ONCE)..=most).contains(&taken.into()), "{taken} in {minutes} minutes");
    let other = Stranger::meet(&network, &bob, 1).await;
    assert_eq!(other.offer(0, 1_000).await, OfferState::Held, "others are not kept out");
}

#[tokio::test]
async fn all_strangers_together_cannot_bury_a_person_in_offers() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &[]).await;
    let mut held = 0;
    let mut last = OfferState::Held;
    for number in 0..=10 {
        let stranger = Stranger::meet(&network, &bob, number).await;
        for offer in 0..OF_PEER {
            last = stranger.offer(offer, 1_000).await;
            held += usize::from(last == OfferState::Held);
        }
    }
    assert_eq!((held, last), (IN_ALL, OfferState::Full));
    assert_eq!(undecided(&bob).await.len(), IN_ALL);
}

#[tokio::test]
async fn a_file_of_a_size_that_none_can_have_is_not_taken() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &[]).await;
    let stranger = Stranger::meet(&network, &bob, 0).await;
    for (number, size) in [(0, 0), (1, LARGEST_BYTES + 1), (2, u64::MAX)] {
        assert_eq!(stranger.offer(number, size).await, OfferState::Failed, "{size} bytes");
    }
    assert_eq!(undecided(&bob).await, []);
    assert_eq!(bob.counted("skein_inbox_refused_total{reason=\"unsound\"}").await, 3);
    assert_eq!(stranger.offer(3, LARGEST_BYTES).await, OfferState::Held);
}

#[tokio::test]
async fn who_takes_files_of_buddies_only_hears_nothing_of_others() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &["--inbox-accept", "buddies"]).await;
    let [friend, stranger] =
        [Stranger::meet(&network, &bob, 0).await, Stranger::meet(&network, &bob, 1).await];
    let _ = bob.run(&["buddies", "add", "@stranger0"]).await.worked();
    assert_eq!(friend.offer(0, 1_000).await, OfferState::Held);
    assert_eq!(stranger.offer(0, 1_000).await, OfferState::Refused);
    let _ = bob.run(&["inbox", "always", "@stranger1"]).await.worked();
    assert_ne!(stranger.offer(1, 1_000).await, OfferState::Refused, "bob has said so");

    // The name is borne by another node, which the buddy is not known by.
    let thief = Intruder::new(200);
    let key = network.login_key();
    let credential = Network::credential(&key, "stranger0", thief.id(), -60, 3_600);
    let session = thief.session(bob.id(), bob.address(), credential).await;
    let thief = Stranger { session, _intruder: thief };
    assert_eq!(thief.offer(7, 1_000).await, OfferState::Refused);
    assert_eq!(bob.counted("skein_inbox_refused_total{reason=\"not-wanted\"}").await, 2);
}

#[tokio::test]
async fn who_takes_no_files_hears_of_none() {
    let network = Network::start().await;
    let (_goose, bob) = bob(&network, &["--inbox-accept", "nobody"]).await;
    let friend = Stranger::meet(&network, &bob, 0).await;
    let _ = bob.run(&["buddies", "add", "@stranger0"]).await.worked();
    assert_eq!(friend.offer(0, 1_000).await, OfferState::Refused);
    assert_eq!(undecided(&bob).await, []);
}

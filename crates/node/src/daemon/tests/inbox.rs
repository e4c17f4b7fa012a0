//! Files from person to person between whole nodes, one of which does not keep to the rules.

use super::*;
use crate::api::inbox::{FileOffer, OfferStage, SendFile};
use crate::sessions::PeerName;
use skein_proto::id::OfferId;
use skein_proto::inbox::{OfferFile, OfferNews, OfferState, WithdrawOffer};

/// What a person does not do by hand in a moment.
const OFTEN: usize = 300;

/// A supernode with two children: user11 is who breaks rules, user12 keeps them.
struct Scene {
    _network: Network,
    goose: Node,
    eve: Node,
    bob: Node,
}

impl Scene {
    async fn new() -> Self {
        let network = Network::new(10);
        let goose = supernode(&network).await;
        let (eve, bob) = (child(&network, 11, &goose).await, child(&network, 12, &goose).await);
        let scene = Self { _network: network, goose, eve, bob };
        for (node, other) in [(&scene.eve, "user12"), (&scene.bob, "user11")] {
            knows(node, other).await;
        }
        scene
    }

    /// Says something to bob on eve's session with him, by hand.
    async fn say(&self, message: impl Into<Message>) -> OfferState {
        ask(&self.eve, "@user12", message.into()).await
    }

    async fn offer(&self, number: u8) -> OfferState {
        self.say(OfferFile {
            offer: OfferId::from_bytes([number; 16]),
            name: BoundedString::truncated("song.flac"),
            size: 1_000,
            content: ContentId::from_bytes([number; 32]),
            note: BoundedString::truncated(""),
        })
        .await
    }

    async fn withdraw(&self, number: u8) -> OfferState {
        self.say(WithdrawOffer { offer: OfferId::from_bytes([number; 16]) }).await
    }

    async fn end(self) {
        for node in [self.eve, self.bob, self.goose] {
            node.daemon.shutdown().await;
        }
    }
}

/// Waits until the directory knows a name.
async fn knows(node: &Node, name: &str) {
    let name = Username::parse(name).unwrap();
    let look = async {
        while !node.backend().find(name.clone()).await.is_ok_and(|found| found[0].online) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it is found");
}

/// Says something about an offer, and tells what the other side makes of it.
async fn ask(from: &Node, to: &str, message: Message) -> OfferState {
    let peer: PeerName = to.parse().unwrap();
    let session = from.daemon.parts.sessions.open(&peer).await.unwrap();
    let mut stream = session.connection().open_stream().await.unwrap();
    match stream.request(&message, PATIENCE).await.unwrap() {
        Some(Message::OfferNews(news)) => news.state,
        other => panic!("no answer: {other:?}"),
    }
}

/// What is told of the offers of a node until nothing more is told for a moment.
async fn told(
    events: &mut (impl futures_util::Stream<Item = FileOffer> + Unpin),
) -> Vec<OfferStage> {
    let mut stages = Vec::new();
    while let Ok(Some(offer)) =
        tokio::time::timeout(Duration::from_millis(500), events.next()).await
    {
        stages.push(offer.state);
    }
    stages
}

/// The one offer of a node.
async fn offer_of(node: &Node) -> FileOffer {
    node.daemon.parts.inbox.offers().await.pop().expect("an offer")
}

/// Waits until the one offer of a node is as wanted.
async fn until(node: &Node, wanted: impl Fn(&FileOffer) -> bool) -> FileOffer {
    let mut events = node.daemon.parts.inbox.events().await;
    let wait = async {
        loop {
            let offer = events.next().await.expect("the inbox goes on");
            if wanted(&offer) {
                return offer;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(offer) => offer,
        Err(_) => panic!("it stays {:?}", node.daemon.parts.inbox.offers().await),
    }
}

/// Bob offers eve a file; the path of it, and the offer as it is known to both.
async fn sent_to_eve(scene: &Scene) -> (std::path::PathBuf, FileOffer, OfferId) {
    let path = scene.bob.plan.data.path().join("letter");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let file = SendFile { peer: "@user11".into(), path: path.clone(), note: String::new() };
    let sent = scene.bob.daemon.parts.inbox.send(file).await.unwrap();
    until(&scene.bob, |offer| offer.state == OfferStage::Offered).await;
    let id = scene.bob.daemon.parts.inbox.wire_id(sent.id).await;
    (path, sent, id)
}

#[tokio::test]
async fn what_a_sender_repeats_is_neither_written_nor_told_again() {
    let scene = Scene::new().await;
    let mut events = scene.bob.daemon.parts.inbox.events().await;
    assert_eq!(scene.offer(1).await, OfferState::Held);
    for _ in 0..OFTEN {
        let _ = scene.withdraw(1).await;
        let _ = scene.offer(1).await;
    }
    assert_eq!(told(&mut events).await, [OfferStage::Offered, OfferStage::Withdrawn]);

    // What the user has refused stays refused.
    assert_eq!(scene.offer(2).await, OfferState::Held);
    let id = until(&scene.bob, |offer| offer.state == OfferStage::Offered).await.id;
    scene.bob.daemon.parts.inbox.refuse(id).await.unwrap();
    assert_eq!(scene.withdraw(2).await, OfferState::Refused);
    assert_eq!(offer_of(&scene.bob).await.state, OfferStage::Refused);
    scene.end().await;
}

#[tokio::test]
async fn a_receiver_that_changes_its_mind_all_the_time_is_not_listened_to() {
    let scene = Scene::new().await;
    let (_, _, offer) = sent_to_eve(&scene).await;
    let mut events = scene.bob.daemon.parts.inbox.events().await;
    let states = [OfferState::Accepted { verified: 0 }, OfferState::Failed];
    let mut held = 0;
    for turn in 0..OFTEN {
        let answer = scene.say(OfferNews { offer, state: states[turn % 2] }).await;
        held += usize::from(answer == OfferState::Held);
    }
    assert!(held > OFTEN / 3, "{held} were to be said again later");
    let changes = told(&mut events).await.len();
    assert!(changes < 100, "{changes} changes were written");
    assert!(scene.bob.metric("skein_inbox_refused_total{reason=\"too-fast\"}").await > 0);
    scene.end().await;
}

#[tokio::test]
async fn what_failed_at_the_receiver_can_be_taken_back() {
    let scene = Scene::new().await;
    let (_, sent, offer) = sent_to_eve(&scene).await;
    assert_eq!(scene.say(OfferNews { offer, state: OfferState::Failed }).await, OfferState::Failed);
    let withdrawn = scene.bob.daemon.parts.inbox.withdraw(sent.id).await.unwrap();
    assert_eq!(withdrawn.state, OfferStage::Withdrawn);
    let again = OfferNews { offer, state: OfferState::Accepted { verified: 0 } };
    assert_eq!(scene.say(again).await, OfferState::Withdrawn);
    scene.end().await;
}

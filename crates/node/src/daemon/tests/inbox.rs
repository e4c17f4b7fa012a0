//! Files from person to person between whole nodes, one of which does not keep to the rules.

use super::*;
use crate::api::ApiClient;
use crate::api::inbox::{AcceptOffer, FileOffer, OfferStage, SendFile};
use crate::api::people::AddService;
use crate::sessions::PeerName;
use crate::transfer::Folder;
use skein_proto::fetch::{ByteRange, FetchReply, FetchRequest};
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
    // The clock is a real one: a busy machine may keep somebody waiting for a slot for too long.
    let opened = async {
        loop {
            if let Ok(session) = from.daemon.parts.sessions.open(&peer).await {
                return session;
            }
        }
    };
    let session = tokio::time::timeout(PATIENCE, opened).await.expect("a session");
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

/// Asks a node for bytes of a content by hand, as somebody with this name.
async fn fetch(
    connection: &Connection,
    (name, node): (&str, NodeId),
    content: ContentId,
    ranges: &[(u64, u64)],
) -> (Option<Message>, Stream) {
    let ranges = ranges.iter().map(|&(start, end)| ByteRange { start, end });
    let credential = Some(credential(name, node));
    let request = FetchRequest { content, ranges: BoundedVec::truncated(ranges), credential };
    let mut stream = connection.open_stream().await.unwrap();
    let answer = stream.request(&request.into(), PATIENCE).await.unwrap();
    (answer, stream)
}

fn is_sending(answer: &Option<Message>) -> bool {
    matches!(answer, Some(Message::FetchReply(FetchReply::Sending { .. })))
}

fn is_not_found(answer: &Option<Message>) -> bool {
    matches!(answer, Some(Message::FetchReply(FetchReply::NotFound)))
}

/// Bob offers eve a file of 100,000 bytes; the path of it, and the offer as it is known to both.
async fn sent_to_eve(scene: &Scene) -> (std::path::PathBuf, FileOffer, OfferId) {
    sent_bytes_to_eve(scene, 100_000).await
}

async fn sent_bytes_to_eve(
    scene: &Scene,
    bytes: usize,
) -> (std::path::PathBuf, FileOffer, OfferId) {
    let path = scene.bob.plan.data.path().join("letter");
    std::fs::write(&path, vec![7; bytes]).unwrap();
    let file = SendFile { peer: "@user11".into(), path: path.clone(), note: String::new() };
    let sent = scene.bob.daemon.parts.inbox.send(file).await.unwrap();
    let sent =
        until(&scene.bob, |offer| offer.id == sent.id && offer.state == OfferStage::Offered).await;
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

/// Eve accepts what bob has sent, of so many bytes, into a folder of its own.
async fn accepted(scene: &Scene, bytes: usize, dir: &Path) -> u64 {
    let size = bytes as u64;
    let is_it = |offer: &FileOffer| offer.size == size && offer.state == OfferStage::Offered;
    let offered = until(&scene.eve, is_it).await;
    std::fs::create_dir(dir).unwrap();
    let accept = AcceptOffer { dir: Some(dir.to_owned()) };
    scene.eve.daemon.parts.inbox.accept(offered.id, accept).await.unwrap();
    offered.id
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn a_refusal_holds_or_comes_too_late_and_both_sides_say_the_same() {
    let scene = Scene::new().await;
    let inbox = &scene.eve.daemon.parts.inbox;
    let folder = tempfile::tempdir().unwrap();
    // It closes in on the moment at which the file is there, whenever that is on this machine.
    let (mut wait, mut step, mut held) = (Duration::ZERO, Duration::from_millis(16), true);
    // Not as many as one name may have written in a short time.
    for round in 0..30 {
        let bytes = 1_000 + round;
        let (_, sent, _) = sent_bytes_to_eve(&scene, bytes).await;
        let dir = folder.path().join(round.to_string());
        let id = accepted(&scene, bytes, &dir).await;
        tokio::time::sleep(wait).await;
        let refused = inbox.refuse(id).await;
        if refused.is_ok() != held {
            (held, step) = (!held, (step / 2).max(Duration::from_millis(1)));
        }
        wait = if held { wait + step } else { wait.saturating_sub(step) };
        let (expected, files) = match refused {
            Ok(_) => (OfferStage::Refused, 0),
            Err(error) => {
                assert!(error.error.contains("here already"), "{error}");
                (OfferStage::Done, 1)
            }
        };
        assert_eq!(files_in(&dir), files, "round {round}: {expected:?}");
        let is_over = |id| move |offer: &FileOffer| offer.id == id && offer.state.is_final();
        assert_eq!(until(&scene.eve, is_over(id)).await.state, expected, "round {round}");
        assert_eq!(until(&scene.bob, is_over(sent.id)).await.state, expected, "round {round}");
    }
    scene.end().await;
}

#[tokio::test]
async fn what_is_refused_midway_leaves_nothing() {
    let scene = Scene::new().await;
    // Nothing ends before it is refused.
    let slow = LinkProfile::default().rate(2_000_000);
    scene._network.set_profile(address(12), slow);
    let folder = tempfile::tempdir().unwrap();
    let (bytes, dir) = (20_000_000, folder.path().join("into"));
    let _ = sent_bytes_to_eve(&scene, bytes).await;
    let id = accepted(&scene, bytes, &dir).await;
    until(&scene.eve, |offer| offer.bytes > 0).await;
    assert_eq!(files_in(&dir), 1, "a part of it");
    let elsewhere = AcceptOffer { dir: Some(folder.path().to_owned()) };
    let again = scene.eve.daemon.parts.inbox.accept(id, elsewhere).await;
    assert!(again.unwrap_err().error.contains("another folder"));
    let refused = scene.eve.daemon.parts.inbox.refuse(id).await.unwrap();
    assert_eq!(refused.state, OfferStage::Refused);
    assert_eq!(files_in(&dir), 0);
    assert_eq!(scene.eve.daemon.parts.transfers.list(), []);
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

#[tokio::test]
async fn what_was_offered_to_somebody_is_served_to_no_other_name_and_no_other_node() {
    let scene = Scene::new().await;
    let (_, sent, _) = sent_to_eve(&scene).await;
    let content = sent.content.unwrap();
    let bob = (scene.bob.id(), [address(12)]);
    let own = scene.eve.daemon.endpoint.connect(bob.0, &bob.1).await.unwrap();
    let (answer, _stream) = fetch(&own, ("user11", scene.eve.id()), content, &[]).await;
    assert!(is_sending(&answer), "{answer:?}");
    for (host, name) in [(13, "user13"), (14, "user11")] {
        let other = Stranger::new(&scene._network, host, KeyPair::from_seed(&[host; 32]));
        let connection = other.endpoint.connect(bob.0, &bob.1).await.unwrap();
        let asker = (name, other.key.node_id());
        let (answer, _stream) = fetch(&connection, asker, content, &[(0, 16_384)]).await;
        assert!(is_not_found(&answer), "{name}: {answer:?}");
    }
    scene.end().await;
}

#[tokio::test]
async fn nothing_more_is_sent_of_what_is_taken_back_while_it_flows() {
    /// More than what may be on its way unread.
    const BYTES: usize = 32 << 20;
    let scene = Scene::new().await;
    let (_, sent, _) = sent_bytes_to_eve(&scene, BYTES).await;
    let bob = (scene.bob.id(), [address(12)]);
    let connection = scene.eve.daemon.endpoint.connect(bob.0, &bob.1).await.unwrap();
    let eve = ("user11", scene.eve.id());
    let (answer, mut stream) =
        fetch(&connection, eve, sent.content.unwrap(), &[(0, u64::MAX)]).await;
    assert!(is_sending(&answer), "{answer:?}");
    let some = stream.receiver.recv_raw(16_384).await.unwrap();
    assert!(some.is_some());
    scene.bob.daemon.parts.inbox.withdraw(sent.id).await.unwrap();
    let rest = async {
        let mut received = 0;
        while let Ok(Some(bytes)) = stream.receiver.recv_raw(1 << 20).await {
            received += bytes.len();
        }
        received
    };
    let received = tokio::time::timeout(PATIENCE, rest).await.expect("an end");
    assert!(received < BYTES * 3 / 4, "{received} bytes came");
    scene.end().await;
}

#[tokio::test]
async fn an_offer_whose_hash_tree_is_gone_fails_and_its_sender_is_told() {
    let scene = Scene::new().await;
    let (_, sent, _) = sent_to_eve(&scene).await;
    let outbox = scene.bob.plan.data.path().join("home/outbox");
    std::fs::remove_dir_all(&outbox).unwrap();
    let bob = (scene.bob.id(), [address(12)]);
    let connection = scene.eve.daemon.endpoint.connect(bob.0, &bob.1).await.unwrap();
    let eve = ("user11", scene.eve.id());
    let (answer, _stream) = fetch(&connection, eve, sent.content.unwrap(), &[(0, 16_384)]).await;
    assert!(is_not_found(&answer), "{answer:?}");
    until(&scene.bob, |offer| matches!(offer.state, OfferStage::Failed { .. })).await;
    scene.end().await;
}

#[tokio::test]
async fn who_is_blocked_gets_nothing_more() {
    let scene = Scene::new().await;
    let eve_name = Username::parse("user11").unwrap();
    // A program that is there for eve, and an offer each way.
    let program = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let target = program.local_addr().unwrap();
    let service =
        AddService { name: "web".into(), target, udp: false, allow: vec![eve_name.clone()] };
    scene.bob.daemon.parts.services.offer(service).await.unwrap();
    let peer: PeerName = "@user12".parse().unwrap();
    let pipe = scene.eve.daemon.parts.services.open_pipe(&peer, "web", false).await.unwrap();
    let (near, mut far) = tokio::io::duplex(1_024);
    let (reader, writer) = tokio::io::split(near);
    let piping = tokio::spawn(pipe.run(reader, writer));
    let (mut accepted, _) = program.accept().await.unwrap();
    let (_, sent, offer) = sent_to_eve(&scene).await;
    assert_eq!(scene.offer(1).await, OfferState::Held);
    scene.bob.daemon.parts.inbox.set_always(&eve_name, true).await.unwrap();

    let home = Home::open(scene.bob.plan.data.path().join("home")).unwrap();
    ApiClient::from_home(&home).unwrap().block(&eve_name).await.unwrap();
    let offers = scene.bob.daemon.parts.inbox.offers().await;
    let stages: Vec<&OfferStage> = offers.iter().map(|offer| &offer.state).collect();
    assert_eq!(stages, [&OfferStage::Withdrawn, &OfferStage::Refused]);
    assert_eq!(scene.bob.daemon.parts.inbox.always().await.unwrap(), []);
    // What ran has ended, and nothing new begins.
    let ended = tokio::time::timeout(PATIENCE, piping).await.expect("the service ends");
    drop(ended);
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut accepted, &mut rest).await;
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut far, &mut rest).await;
    let refused = scene.eve.daemon.parts.services.open_pipe(&peer, "web", false).await;
    assert_eq!(refused.unwrap_err().code, crate::api::types::ErrorCode::Denied);
    let accepted = OfferNews { offer, state: OfferState::Accepted { verified: 0 } };
    assert_eq!(scene.say(accepted).await, OfferState::Withdrawn);
    assert_eq!(scene.offer(2).await, OfferState::Refused);
    let bob = (scene.bob.id(), [address(12)]);
    let connection = scene.eve.daemon.endpoint.connect(bob.0, &bob.1).await.unwrap();
    let eve = ("user11", scene.eve.id());
    let (answer, _stream) = fetch(&connection, eve, sent.content.unwrap(), &[]).await;
    assert!(is_not_found(&answer), "{answer:?}");
    scene.end().await;
}

#[tokio::test]
async fn offers_to_who_is_blocked_are_taken_back_also_when_messages_cannot_be_deleted() {
    let scene = Scene::new().await;
    // Nobody bears this name, so that nothing is delivered.
    let away = Username::parse("user19").unwrap();
    let parts = &scene.bob.daemon.parts;
    let path = scene.bob.plan.data.path().join("letter");
    std::fs::write(&path, "letter").unwrap();
    let file = SendFile { peer: "@user19".into(), path, note: String::new() };
    parts.inbox.send(file).await.unwrap();
    parts.people.say(&away, "hello").await.unwrap();
    parts.people.delete_nothing_more().await;

    let home = Home::open(scene.bob.plan.data.path().join("home")).unwrap();
    ApiClient::from_home(&home).unwrap().block(&away).await.unwrap_err();
    assert!(parts.people.has_blocked(&away));
    assert_eq!(offer_of(&scene.bob).await.state, OfferStage::Withdrawn);
    parts.people.unblock(&away).await.unwrap_err();
    assert!(parts.people.has_blocked(&away), "what is queued would be delivered");
    scene.end().await;
}

#[tokio::test]
async fn a_buddys_service_is_not_for_a_key_that_the_buddy_is_not_known_by() {
    let scene = Scene::new().await;
    let eve_name = Username::parse("user11").unwrap();
    let target = ([127, 0, 0, 1], 9).into();
    let service =
        AddService { name: "web".into(), target, udp: false, allow: vec![eve_name.clone()] };
    scene.bob.daemon.parts.services.offer(service).await.unwrap();
    // Known by another node than the one that eve has.
    let people = &scene.bob.daemon.parts.people;
    people.add_buddy(&eve_name).await.unwrap();
    people.know_only(&eve_name, NodeId::from_bytes([9; 32])).await;
    let peer: PeerName = "@user12".parse().unwrap();
    let refused = scene.eve.daemon.parts.services.open_pipe(&peer, "web", false).await;
    assert_eq!(refused.unwrap_err().code, crate::api::types::ErrorCode::Denied);
    scene.end().await;
}

#[tokio::test]
async fn whoever_offers_what_the_user_fetches_anyway_cannot_call_that_off() {
    let scene = Scene::new().await;
    let content = ContentId::from_bytes([5; 32]);
    let transfers = &scene.bob.daemon.parts.transfers;
    let folder = scene.bob.plan.data.path().join("own");
    let folder = Folder::Usual(&folder);
    let own = transfers.start(content, "song.flac", Vec::new(), folder).await.unwrap();
    assert_eq!(scene.offer(5).await, OfferState::Held);
    let id = offer_of(&scene.bob).await.id;
    scene.bob.daemon.parts.inbox.accept(id, AcceptOffer::default()).await.unwrap();
    // Eve's node knows nothing of what she has offered by hand, and says so.
    until(&scene.bob, |offer| offer.state == OfferStage::Withdrawn).await;
    let inbox = &scene.bob.daemon.parts.inbox;
    let idle = async {
        while inbox.is_tending(id) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.expect("nothing is fetched for the offer");
    let view = transfers.watch(own).unwrap();
    assert!(!view.borrow().state.is_final(), "{:?}", view.borrow());
    scene.end().await;
}

#[tokio::test]
async fn what_cannot_be_kept_of_an_offer_is_tried_again_with_pauses() {
    let scene = Scene::new().await;
    let inbox = &scene.bob.daemon.parts.inbox;
    inbox.keep_nothing_more().await;
    let path = scene.bob.plan.data.path().join("note");
    std::fs::write(&path, "read again and again").unwrap();
    let file = SendFile { peer: "@user11".into(), path, note: String::new() };
    inbox.send(file).await.unwrap();
    let tried = async {
        while inbox.failed_to_keep().await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("it is tried");
    // The pauses are of seconds; without them it would be tried hundreds of times.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tries = inbox.failed_to_keep().await;
    assert!(tries < 10, "it was tried {tries} times");
    assert_eq!(offer_of(&scene.bob).await.state, OfferStage::Hashing);
    scene.end().await;
}

#[tokio::test]
async fn what_is_here_already_is_not_taken_for_a_file_of_another_size() {
    let scene = Scene::new().await;
    let path = scene.eve.plan.data.path().join("letter");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let file = SendFile { peer: "@user12".into(), path, note: String::new() };
    scene.eve.daemon.parts.inbox.send(file).await.unwrap();
    let inbox = &scene.bob.daemon.parts.inbox;
    let dir = Some(scene.bob.plan.data.path().join("taken"));
    let offered = until(&scene.bob, |offer| offer.state == OfferStage::Offered).await;
    inbox.accept(offered.id, AcceptOffer { dir: dir.clone() }).await.unwrap();
    until(&scene.bob, |offer| offer.state == OfferStage::Done).await;

    let lie = OfferFile {
        offer: OfferId::from_bytes([1; 16]),
        name: BoundedString::truncated("film"),
        size: 1 << 30,
        content: offered.content.unwrap(),
        note: BoundedString::truncated(""),
    };
    assert_eq!(scene.say(lie).await, OfferState::Held);
    let lie = until(&scene.bob, |offer| offer.state == OfferStage::Offered).await;
    inbox.accept(lie.id, AcceptOffer { dir }).await.unwrap();
    let failed = until(&scene.bob, |offer| offer.id == lie.id && offer.state.is_final()).await;
    let OfferStage::Failed { reason } = &failed.state else { panic!("{failed:?}") };
    assert!(reason.contains("size"), "{reason}");
    scene.end().await;
}

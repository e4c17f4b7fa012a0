//! Files that people send each other: nothing without consent, and nothing lost.

#![allow(clippy::expect_used)]

use skein_node::api::inbox::{FileOffer, OfferStage};
use skein_node::api::types::{Download, DownloadState};
use skein_tests::{Network, Node, Process, files, within_patience};
use std::path::Path;
use std::time::Duration;

/// A file that takes long enough on loopback to be interrupted.
const LARGE_BYTES: usize = 384 * 1024 * 1024;

/// How often offers are looked at that nobody follows.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

async fn knows(node: &Node, name: &str) {
    node.find_until(name, |_, nodes| nodes.iter().any(|node| node.online)).await;
}

/// A supernode, and alice and bob, who know each other.
async fn friends(network: &Network) -> (Node, Node, Node) {
    let [goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    knows(&alice, "bob").await;
    knows(&bob, "alice").await;
    (goose, alice, bob)
}

/// Starts to send a file, and does not wait.
fn start_send(network: &Network, from: &Node, to: &str, file: &Path, more: &[&str]) -> Process {
    let file = file.to_str().expect("a plain path");
    let command = from.command(&[&["send", to, file], more].concat());
    Process::spawn("send", command, &network.folder("logs").join("send"))
}

/// Follows a sending until it is as wanted.
async fn follow(send: &mut Process, wanted: impl Fn(&FileOffer) -> bool) -> FileOffer {
    loop {
        let Some(offer) = send.next_json::<FileOffer>().await else {
            panic!("the sending ended too early; it logged: {}", send.log());
        };
        if wanted(&offer) {
            return offer;
        }
        assert!(!offer.state.is_final(), "the sending ended too early: {offer:?}");
    }
}

/// The one offer of a node, once it is as wanted.
async fn offer(node: &Node, wanted: impl Fn(&FileOffer) -> bool) -> FileOffer {
    let what = format!("the offer of {} is another", node.name());
    within_patience(&what, async {
        loop {
            let offers: Vec<FileOffer> = node.run(&["inbox", "--sent"]).await.worked().json();
            match &offers[..] {
                [] => {}
                [offer] if !wanted(offer) => {}
                [offer] => return offer.clone(),
                more => panic!("one offer, but there are {more:?}"),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}

fn is(stage: OfferStage) -> impl Fn(&FileOffer) -> bool {
    move |offer| offer.state == stage
}

async fn accept(node: &Node, id: u64, into: &Path) {
    let (id, into) = (id.to_string(), into.to_str().expect("a plain path"));
    let _ = node.run(&["inbox", "accept", &id, "-o", into]).await.worked();
}

#[tokio::test]
async fn a_file_is_sent_once_the_other_side_has_said_yes() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let file = network.folder("of alice").join("song.bin");
    let content = files::write_noise(&file, "song", 3_000_001);

    let mut send = start_send(&network, &alice, "@bob", &file, &["--note", "for\tyou"]);
    let _ = follow(&mut send, is(OfferStage::Offered)).await;
    let offered = offer(&bob, is(OfferStage::Offered)).await;
    assert_eq!((offered.name.as_str(), offered.note.as_str()), ("song.bin", "for you"));
    assert_eq!((offered.size, offered.content), (3_000_001, Some(content)));
    assert_eq!(offered.peer.as_str(), "alice");
    assert_eq!(bob.run(&["downloads"]).await.worked().json::<Download>(), [], "nothing before");

    let into = network.folder("of bob");
    accept(&bob, offered.id, &into).await;
    let sent = follow(&mut send, is(OfferStage::Done)).await;
    assert_eq!(sent.bytes, 3_000_001);
    assert!(send.ended().await.success());
    let done = offer(&bob, is(OfferStage::Done)).await;
    assert_eq!(done.path.as_deref(), Some(&*into.join("song.bin")));
    assert_eq!(files::content_of(&into.join("song.bin")), content);
}

#[tokio::test]
async fn what_was_sent_is_for_nobody_else() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let [carol] = network.nodes(["carol"]).await;
    let file = network.folder("of alice").join("letter.bin");
    let content = files::write_noise(&file, "letter", 200_000);
    let mut send = start_send(&network, &alice, "@bob", &file, &[]);
    let offered = offer(&bob, is(OfferStage::Offered)).await;
    accept(&bob, offered.id, &network.folder("of bob")).await;
    let _ = follow(&mut send, is(OfferStage::Done)).await;

    // Whoever knows the content id finds no source: neither of the two says that it has it.
    let mut get = carol.start_get(content, &network.folder("of carol"));
    let is_sourceless = |download: &Download| match &download.state {
        DownloadState::Waiting { reason } => reason.contains("no source is known"),
        _ => false,
    };
    let waiting = skein_tests::node::follow(&mut get, is_sourceless).await;
    assert_eq!(waiting.sources_known, 0);
    assert!(alice.counted("skein_transfer_bytes_up_total").await > 0);
    assert_eq!(bob.counted("skein_transfer_bytes_up_total").await, 0);
}

#[tokio::test]
async fn a_refusal_ends_the_sending_and_nothing_was_sent() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let file = network.folder("of alice").join("song.bin");
    let _ = files::write_noise(&file, "song", 100_000);
    let mut send = start_send(&network, &alice, "@bob", &file, &[]);
    let offered = offer(&bob, is(OfferStage::Offered)).await;
    let _ = bob.run(&["inbox", "refuse", &offered.id.to_string()]).await.worked();
    let _ = follow(&mut send, is(OfferStage::Refused)).await;
    assert_eq!(send.ended().await.code(), Some(1));
    assert_eq!(alice.counted("skein_transfer_bytes_up_total").await, 0);
    let again = bob.run(&["inbox", "accept", &offered.id.to_string()]).await;
    assert!(again.refusal().contains("refused"), "{}", again.refusal());
}

#[tokio::test]
async fn an_interrupted_sending_takes_the_offer_back() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let file = network.folder("of alice").join("song.bin");
    let _ = files::write_noise(&file, "song", 100_000);
    let mut send = start_send(&network, &alice, "@bob", &file, &[]);
    let _ = follow(&mut send, is(OfferStage::Offered)).await;
    send.interrupt();
    assert_eq!(send.ended().await.code(), Some(130));
    let _ = offer(&bob, is(OfferStage::Withdrawn)).await;
}

#[tokio::test]
async fn an_offer_to_somebody_who_is_away_waits_for_them() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let bob = bob.kill();
    let file = network.folder("of alice").join("song.bin");
    let content = files::write_noise(&file, "song", 100_000);
    let path = file.to_str().expect("a plain path");
    let _ = alice.run(&["send", "@bob", path, "--detach"]).await.worked();
    let _ = offer(&alice, is(OfferStage::Queued)).await;

    let bob = bob.up(&["--role", "ordinary"]).await;
    let offered = offer(&bob, is(OfferStage::Offered)).await;
    let into = network.folder("of bob");
    accept(&bob, offered.id, &into).await;
    let _ = offer(&alice, is(OfferStage::Done)).await;
    assert_eq!(files::content_of(&into.join("song.bin")), content);
}

#[tokio::test]
async fn a_file_goes_on_after_either_side_was_killed() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let file = network.folder("of alice").join("large.bin");
    let content = files::write_noise(&file, "large", LARGE_BYTES);
    let path = file.to_str().expect("a plain path");
    let _ = alice.run(&["send", "@bob", path, "--detach"]).await.worked();
    let offered = offer(&bob, is(OfferStage::Offered)).await;
    let into = network.folder("of bob");
    accept(&bob, offered.id, &into).await;

    let some = |offer: &FileOffer| offer.bytes > LARGE_BYTES as u64 / 8;
    let _ = offer(&bob, some).await;
    let alice = alice.kill().up(&["--role", "ordinary"]).await;
    let _ = offer(&bob, |offer| offer.bytes > LARGE_BYTES as u64 / 2).await;
    let bob = bob.kill().up(&["--role", "ordinary"]).await;

    let _ = offer(&alice, is(OfferStage::Done)).await;
    let _ = offer(&bob, is(OfferStage::Done)).await;
    assert_eq!(files::content_of(&into.join("large.bin")), content);
    let downloads: Vec<Download> = bob.run(&["downloads"]).await.worked().json();
    assert!(downloads.iter().all(|download| download.verified == LARGE_BYTES as u64));
}

#[tokio::test]
async fn files_of_certain_people_are_accepted_without_a_question() {
    let network = Network::start().await;
    let (_goose, alice, bob) = friends(&network).await;
    let _ = bob.run(&["inbox", "always", "@alice"]).await.worked();
    let file = network.folder("of alice").join("song.bin");
    let content = files::write_noise(&file, "song", 100_000);
    let mut send = start_send(&network, &alice, "@bob", &file, &[]);
    let _ = follow(&mut send, is(OfferStage::Done)).await;
    let done = offer(&bob, is(OfferStage::Done)).await;
    let path = done.path.expect("it is there");
    assert_eq!(path.parent().and_then(Path::file_name), Some("inbox".as_ref()), "{path:?}");
    assert_eq!(files::content_of(&path), content);

    let _ = bob.run(&["inbox", "always", "@alice", "--remove"]).await.worked();
    let second = network.folder("of alice").join("second.bin");
    let _ = files::write_noise(&second, "second", 100_000);
    let mut send = start_send(&network, &alice, "@bob", &second, &[]);
    let _ = follow(&mut send, is(OfferStage::Offered)).await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_advice() {
    let network = Network::start().await;
    let (_goose, alice, _bob) = friends(&network).await;
    let folder = network.folder("of alice");
    let _ = files::write_text(&folder.join("empty"), "");
    let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    for (words, part) in [
        (vec!["send", "@bob", "/nowhere/at/all"], "read"),
        (vec!["send", "@bob", &path("empty")], "empty"),
        (vec!["send", "not a name!", &path("empty")], "no peer"),
        (vec!["inbox", "accept", "99"], "no offer number 99"),
    ] {
        let outcome = alice.run(&words).await;
        assert_eq!(outcome.code(), Some(2), "{words:?}: {outcome:?}");
        assert!(outcome.refusal().contains(part), "{words:?}: {}", outcome.refusal());
    }
}

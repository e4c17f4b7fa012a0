//! People behind NATs, in the [NAT lab](skein_tests::natlab): what they say and send arrives.
#![allow(clippy::expect_used)]

use futures_util::future::join_all;
use skein_node::api::chat::{ChatLine, ChatState};
use skein_node::api::inbox::{FileOffer, OfferStage};
use skein_tests::natlab::{self, Kind, Lab, Running};
use skein_tests::{files, within_patience};
use std::time::Duration;

/// How often is looked at what no event tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Says something to somebody who is there, and waits until they have it.
async fn say(from: &Running, to: &str, text: &str) -> ChatLine {
    let words = ["chat", to, "--send", text, "--wait", "60s"];
    let said: Vec<ChatLine> = from.run(&words).await.worked().json();
    said.into_iter().next_back().expect("the message")
}

/// Which side of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Sends,
    Receives,
}

/// The offer of a node, once it is in this stage.
async fn offer(node: &Running, side: Side, stage: OfferStage) -> FileOffer {
    let what = format!("no offer of {} is {stage:?}", node.name());
    within_patience(&what, async {
        loop {
            let offers: Vec<FileOffer> = node.run(&["inbox", "--sent"]).await.worked().json();
            let is_it =
                |offer: &FileOffer| offer.outgoing == (side == Side::Sends) && offer.state == stage;
            if let Some(offer) = offers.into_iter().find(is_it) {
                return offer;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}

#[test]
fn people_behind_nats_that_let_no_punch_through_chat_and_send_files() {
    natlab::inside("people_behind_nats_that_let_no_punch_through_chat_and_send_files", async {
        let kinds = [Kind::Symmetric, Kind::PortRestricted, Kind::UdpBlocked];
        let lab = Lab::build(2, &kinds).await;
        let (geese, others) = lab.hosts().split_at(2);
        let _supernodes = join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
        let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
        join_all(nodes.iter().map(|node| async {
            let is_so = "has a parent";
            node.until(is_so, |status| status.attachment.parent.is_some()).await
        }))
        .await;
        let [symmetric, port, blocked] = &nodes[..] else { panic!("three nodes") };

        for (from, to) in [(symmetric, port), (port, blocked), (blocked, symmetric)] {
            let (ours, theirs) = (format!("@{}", from.name()), format!("@{}", to.name()));
            from.until_found(to.name()).await;
            let said = say(from, &theirs, "see you at 8").await;
            assert_eq!(said.state, ChatState::Delivered, "{ours} to {theirs}: {said:?}");
            let unread: Vec<ChatLine> = to.run(&["chat", "--unread"]).await.worked().json();
            let texts: Vec<&str> = unread.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(texts, ["see you at 8"], "{ours} to {theirs}");
        }

        let file = lab.folder("sent").join("song.bin");
        let content = files::write_noise(&file, "song", 3_000_001);
        let path = file.to_str().expect("a plain path");
        for (from, to) in [(symmetric, port), (port, blocked)] {
            let theirs = format!("@{}", to.name());
            let _ = from.run(&["send", &theirs, path, "--detach"]).await.worked();
            let offered = offer(to, Side::Receives, OfferStage::Offered).await;
            assert_eq!((offered.peer.as_str(), offered.size), (from.name(), 3_000_001));
            let into = lab.folder(&format!("{} receives", to.name()));
            let (id, output) = (offered.id.to_string(), into.to_str().expect("a plain path"));
            let _ = to.run(&["inbox", "accept", &id, "-o", output]).await.worked();
            let done = offer(to, Side::Receives, OfferStage::Done).await;
            assert_eq!(done.path.as_deref(), Some(&*into.join("song.bin")));
            assert_eq!(files::content_of(&into.join("song.bin")), content);
            let _ = offer(from, Side::Sends, OfferStage::Done).await;
        }
    });
}

//! Nodes behind every kind of NAT, in the [NAT lab](skein_tests::natlab).
#![allow(clippy::expect_used)]

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use skein_node::api::types::{DownloadState, PingEvent, SourcePath, Udp};
use skein_node::sessions::PathKind;
use skein_tests::files;
use skein_tests::natlab::{self, Host, Kind, Lab};
use std::time::Duration;

/// Pairs that are looked at side by side: enough to be done soon, few enough for two cores.
const PAIRS_AT_ONCE: usize = 6;

/// How long a session may take to become direct here, where all nodes share two cores.
const DIRECT_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_node_behind_every_kind_of_nat_attaches_searches_and_downloads() {
    natlab::inside("a_node_behind_every_kind_of_nat_attaches_searches_and_downloads", async {
        let lab = Lab::build(3, &Kind::ALL).await;
        let (geese, others) = lab.hosts().split_at(3);
        let _supernodes = join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
        let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
        let attached = nodes.iter().map(|node| async {
            let is_so = "has a parent";
            node.until(is_so, |status| status.attachment.parent.is_some()).await
        });
        for (node, status) in nodes.iter().zip(join_all(attached).await) {
            let expected = if node.kind().has_udp() { Udp::Works } else { Udp::Blocked };
            assert_eq!(status.udp, expected, "{}", node.name());
        }

        let sharer = nodes.iter().find(|node| node.kind() == Kind::Public).expect("a public one");
        let content = files::write_noise(&lab.folder("shared").join("geese.bin"), "geese", 500_001);
        sharer.share(&lab.folder("shared"), 1).await;
        let fetched = nodes.iter().filter(|node| node.kind() != Kind::Public).map(|node| async {
            let hit = node.find("geese").await;
            assert_eq!(hit.only().content, content, "{}", node.name());
            let done = node.get(content, &lab.folder(&format!("{} fetched", node.name()))).await;
            assert_eq!(done.state, DownloadState::Done, "{}", node.name());
            assert_eq!(files::content_of(&done.path), content, "{}", node.name());
        });
        join_all(fetched).await;
    });
}

#[test]
fn what_nodes_behind_nats_share_is_found_and_fetched_by_those_behind_others() {
    natlab::inside(
        "what_nodes_behind_nats_share_is_found_and_fetched_by_those_behind_others",
        async {
            let kinds = [Kind::Symmetric, Kind::UdpBlocked, Kind::PortRestricted, Kind::Double];
            let lab = Lab::build(3, &kinds).await;
            let (geese, others) = lab.hosts().split_at(3);
            let _supernodes =
                join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
            let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
            let [symmetric, blocked, port, double] = &nodes[..] else { panic!("four nodes") };

            let shared = join_all([symmetric, blocked, double].map(|node| async {
                let word = format!("from{}", node.name());
                let folder = lab.folder(&format!("{} shares", node.name()));
                let file = folder.join(format!("{word}.bin"));
                let content = files::write_noise(&file, &word, 3_000_001);
                node.share(&folder, 1).await;
                (node.kind(), word, content)
            }))
            .await;
            for (kind, word, content) in shared {
                let hit = port.find(&word).await;
                assert_eq!(hit.only().content, content, "{kind}");
                let done = port.get(content, &lab.folder("fetched")).await;
                assert_eq!(done.state, DownloadState::Done, "{kind}: {done:?}");
                assert_eq!(files::content_of(&done.path), content, "{kind}");
                let ways: Vec<SourcePath> = done.via.iter().map(|used| used.path).collect();
                eprintln!("{kind}: {:?}", done.via);
                assert!(
                    !ways.is_empty() && !ways.contains(&SourcePath::Direct),
                    "{kind}: {ways:?}"
                );
                if !kind.can_punch(port.kind()) {
                    assert_eq!(ways, [SourcePath::SessionRelayed], "{kind}");
                }
            }
        },
    );
}

/// What became of a session between two nodes.
#[derive(Debug)]
struct Outcome {
    pair: (Kind, Kind),
    connected_us: Option<u64>,
    direct: bool,
    answered: bool,
}

impl Outcome {
    fn take(&mut self, event: &PingEvent) {
        let path = match event {
            PingEvent::Connected { took_us, path, .. } => {
                self.connected_us = Some(*took_us);
                path
            }
            PingEvent::Path { path } => path,
            PingEvent::Pong { .. } => {
                self.answered = true;
                return;
            }
            _ => return,
        };
        self.direct = matches!(path.kind, PathKind::Direct { .. });
        self.answered = false;
    }

    fn is_right(&self) -> bool {
        let (one, other) = self.pair;
        self.answered && self.connected_us.is_some() && self.direct >= one.can_punch(other)
    }
}

/// Pings until what the NATs allow is reached, and answered once more after that.
async fn session(from: &Host, to: &Host) -> Outcome {
    let pair = (from.kind(), to.kind());
    let mut outcome = Outcome { pair, connected_us: None, direct: false, answered: false };
    let name = format!("@{}", to.name());
    let reached = async {
        loop {
            // A peer whose whereabouts are not yet in the directory is not found: then again.
            let mut ping = from.start("ping", &["ping", &name, "--interval", "100ms"]);
            while let Some(event) = ping.next_json::<PingEvent>().await {
                outcome.take(&event);
                if outcome.is_right() {
                    return;
                }
            }
        }
    };
    // What is not reached is seen by the outcome.
    let _ = tokio::time::timeout(DIRECT_WITHIN, reached).await;
    outcome
}

#[test]
fn every_pair_holds_a_session_and_a_direct_one_where_a_punch_can_succeed() {
    natlab::inside(
        "every_pair_holds_a_session_and_a_direct_one_where_a_punch_can_succeed",
        async {
            let twice: Vec<Kind> = [Kind::ALL, Kind::ALL].concat();
            let lab = Lab::build(3, &twice).await;
            let (geese, others) = lab.hosts().split_at(3);
            let _supernodes =
                join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
            let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
            join_all(nodes.iter().map(|node| async {
                let is_so = "has a parent";
                node.until(is_so, |status| status.attachment.parent.is_some()).await
            }))
            .await;

            let (first, second) = nodes.split_at(Kind::ALL.len());
            let pairs = first
                .iter()
                .enumerate()
                .flat_map(|(place, from)| second[place..].iter().map(move |to| session(from, to)));
            let outcomes: Vec<Outcome> =
                stream::iter(pairs).buffer_unordered(PAIRS_AT_ONCE).collect().await;
            for outcome in &outcomes {
                eprintln!("{outcome:?}");
            }
            let wrong: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| !outcome.is_right()).collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            assert_eq!(outcomes.len(), 36);
        },
    );
}

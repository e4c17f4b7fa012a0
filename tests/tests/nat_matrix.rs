//! Nodes behind every kind of NAT, in the [NAT lab](skein_tests::natlab).
#![allow(clippy::expect_used)]

use futures_util::future::join_all;
use skein_node::api::types::{DownloadState, SourcePath, Udp};
use skein_tests::natlab::{self, Kind, Lab, Matrix, Outcome, Table};
use skein_tests::{PATIENCE, files};

/// Pairs that are looked at side by side: enough to be done soon, few enough for two cores.
const PAIRS_AT_ONCE: usize = 6;

#[test]
fn a_node_behind_every_kind_of_nat_attaches_searches_and_downloads() {
    natlab::inside("a_node_behind_every_kind_of_nat_attaches_searches_and_downloads", async {
        let lab = Lab::build(3, &Kind::ALL).await;
        let (geese, others) = lab.hosts().split_at(3);
        let _supernodes = join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
        let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
        join_all(nodes.iter().map(|node| async {
            let expected = if node.kind().has_udp() { Udp::Works } else { Udp::Blocked };
            node.until("has a parent and knows whether it has UDP", |status| {
                status.attachment.parent.is_some() && status.udp == expected
            })
            .await
        }))
        .await;

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

#[test]
fn every_pair_holds_a_session_and_a_direct_one_where_a_punch_can_succeed() {
    natlab::inside(
        "every_pair_holds_a_session_and_a_direct_one_where_a_punch_can_succeed",
        async {
            let matrix = Matrix::build().await;
            let outcomes = matrix.sessions(false, PAIRS_AT_ONCE, PATIENCE).await;
            // How soon is for `cargo run -p skein-tests --bin natmatrix`: here they share the machine
            // with one another and with other tests.
            eprintln!("{}", Table(&outcomes));
            let wrong: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| !outcome.is_right()).collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            assert_eq!(outcomes.len(), 36);
        },
    );
}

//! Nodes behind every kind of NAT, in the [NAT lab](skein_tests::natlab).
#![allow(clippy::expect_used)]

use futures_util::future::join_all;
use skein_node::api::types::{DownloadState, Udp};
use skein_tests::files;
use skein_tests::natlab::{self, Kind, Lab};

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

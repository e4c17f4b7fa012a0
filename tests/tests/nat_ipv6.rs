//! IPv6 in the [NAT lab](skein_tests::natlab): beside IPv4, instead of it, and where only it gets
//! through.
#![allow(clippy::expect_used)]

use skein_node::api::types::DownloadState;
use skein_tests::files;
use skein_tests::natlab::{self, EchoPipe, Kind, Lab, Watched};

/// This crate's program for machines of the lab.
const MACHINE: &str = env!("CARGO_BIN_EXE_machine");

#[test]
fn a_node_with_ipv6_alone_shares_and_talks_with_one_that_has_ipv4_alone() {
    natlab::inside_with_ipv6(
        "a_node_with_ipv6_alone_shares_and_talks_with_one_that_has_ipv4_alone",
        async {
            let lab = Lab::build_dual(2, &[Kind::Public, Kind::PortRestricted]).await;
            lab.without_ip(4, "public");
            lab.without_ip(6, "port");
            let (_supernodes, nodes) = lab.attached().await;
            let [new, old] = &nodes[..] else { panic!("two nodes") };

            let content = files::write_noise(&lab.folder("shared").join("w.bin"), "both", 300_001);
            new.share(&lab.folder("shared"), 1).await;
            let found = old.find("w").await;
            assert_eq!(found.hits[0].content, content);
            let done = old.get(content, &lab.folder("fetched")).await;
            assert_eq!(done.state, DownloadState::Done, "{done:?}");
            assert_eq!(files::content_of(&done.path), content);

            // Both reach the relay, and nothing else of each other.
            for (near, far) in [(new, old), (old, new)] {
                near.until_found(far.name()).await;
                let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
                pipe.carries(1_000).await;
            }
        },
    );
}

#[test]
fn two_behind_symmetric_routers_meet_over_ipv6() {
    natlab::inside_with_ipv6("two_behind_symmetric_routers_meet_over_ipv6", async {
        let lab = Lab::build_dual(2, &[Kind::Symmetric, Kind::Symmetric]).await;
        let (_supernodes, nodes) = lab.attached().await;
        let [near, far] = &nodes[..] else { panic!("two nodes") };
        near.until_found(far.name()).await;
        let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
        pipe.carries(1_000).await;
        let mut session = Watched::start(near, far).await;
        session.until("goes directly", |session| session.direct().is_some()).await;
        assert!(session.direct().is_some_and(|at| at.is_ipv6()), "{:?}", session.path());
        pipe.carries(1_000).await;
    });
}

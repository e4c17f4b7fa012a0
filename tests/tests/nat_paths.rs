//! Ways that are narrow, or change, in the [NAT lab](skein_tests::natlab).
#![allow(clippy::expect_used)]

use skein_node::api::types::DownloadState;
use skein_tests::natlab::{self, EchoPipe, Kind, Lab, Watched};
use skein_tests::{files, within_patience};

/// This crate's program for machines of the lab.
const MACHINE: &str = env!("CARGO_BIN_EXE_machine");

#[test]
fn a_session_is_direct_and_whole_where_the_lines_of_both_ends_are_narrow() {
    natlab::inside(
        "a_session_is_direct_and_whole_where_the_lines_of_both_ends_are_narrow",
        async {
            let lab = Lab::build(2, &[Kind::PortRestricted, Kind::FullCone]).await;
            // As a tunnel's, and as one that is in a tunnel itself: only the router knows of it.
            for (router, mtu) in [("port-r", 1_280), ("fullcone-r", 1_400)] {
                let narrow = ["lan", "wan"].map(|end| format!("link set {end} mtu {mtu}"));
                lab.ip(router, &narrow.each_ref().map(String::as_str));
            }
            let (_supernodes, nodes) = lab.attached().await;
            let [near, far] = &nodes[..] else { panic!("two nodes") };
            near.until_found(far.name()).await;

            let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
            pipe.carries(1_000).await;
            let mut session = Watched::start(near, far).await;
            session.until("goes directly", |session| session.direct().is_some()).await;
            pipe.carries(1_000).await;

            let content =
                files::write_noise(&lab.folder("shared").join("w.bin"), "wide", 3_000_001);
            far.share(&lab.folder("shared"), 1).await;
            let done = near.get(content, &lab.folder("fetched")).await;
            assert_eq!(done.state, DownloadState::Done, "{done:?}");
            assert_eq!(files::content_of(&done.path), content);
            session.catch_up().await;
            // A direct way is left for a while when it is silent for a moment.
            session.until("goes directly still", |session| session.direct().is_some()).await;
        },
    );
}

#[test]
fn a_session_loses_nothing_by_a_direct_way_that_is_narrower_than_the_relayed_one() {
    natlab::inside(
        "a_session_loses_nothing_by_a_direct_way_that_is_narrower_than_the_relayed_one",
        async {
            let lab = Lab::build(2, &[Kind::Symmetric, Kind::Symmetric]).await;
            lab.shortcut("vpn", "symmetric", "symmetric2");
            let is_wide = "meta length > 1280 counter name wide";
            lab.rules(
                "vpn",
                &format!(
                    "table ip see {{ counter wide {{ }}; chain pre {{ type filter hook \
                     prerouting priority 0; {is_wide}; }}; }}"
                ),
            );
            let narrow = |mtu: &str| {
                for (net, end) in [(1, "left"), (2, "right")] {
                    let way = format!("route replace 10.7.{net}.0/24 dev {end} mtu lock {mtu}");
                    lab.ip("vpn", &[&way]);
                }
            };
            narrow("1280");
            let (_supernodes, nodes) = lab.attached().await;
            let [near, far] = &nodes[..] else { panic!("two nodes") };
            near.until_found(far.name()).await;

            // The routers let no punch through, so QUIC gets to know how much fits over the relay.
            let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
            pipe.carries(1_000).await;
            let mut session = Watched::start(near, far).await;
            assert_eq!(session.direct(), None);

            lab.use_shortcut(near.name(), far.name());
            // Full packets are tried there, in vain; or QUIC has lost so many of them to the limits
            // of the relay that it sends shorter ones, which fit.
            within_patience("nobody tries whether full packets get through", async {
                while lab.counted("vpn", "ip see wide") == 0 && session.direct().is_none() {
                    session.catch_up().await;
                }
            })
            .await;
            pipe.carries(1_000).await;
            session.catch_up().await;

            narrow("1500");
            lab.ip(near.name(), &["addr add 10.7.1.3/24 dev vpn"]);
            session.until("goes directly", |session| session.direct().is_some()).await;
            pipe.carries(1_000).await;
        },
    );
}

#[test]
fn a_pipe_outlives_the_move_of_one_end_to_another_address() {
    natlab::inside("a_pipe_outlives_the_move_of_one_end_to_another_address", async {
        let lab = Lab::build(2, &[Kind::PortRestricted, Kind::FullCone]).await;
        let (_supernodes, nodes) = lab.attached().await;
        let [near, far] = &nodes[..] else { panic!("two nodes") };
        near.until_found(far.name()).await;
        let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
        let mut session = Watched::start(near, far).await;
        session.until("goes directly", |session| session.direct().is_some()).await;
        pipe.carries(500).await;

        lab.ip(
            near.name(),
            &[
                "addr flush dev eth0",
                "addr add 192.168.1.9/24 dev eth0",
                "route add default via 192.168.1.1",
            ],
        );
        // Whoever watches would panic at the end of the session.
        pipe.carries(500).await;
        session.catch_up().await;
        session.until("goes directly again", |session| session.direct().is_some()).await;
        pipe.carries(500).await;
    });
}

#[test]
fn two_behind_symmetric_routers_meet_where_one_of_those_opens_a_port() {
    natlab::inside("two_behind_symmetric_routers_meet_where_one_of_those_opens_a_port", async {
        let lab = Lab::build(2, &[Kind::Symmetric, Kind::Symmetric]).await;
        let mut router = lab.program("symmetric2-r", MACHINE, &["nat-pmp"]);
        assert_eq!(router.next_line().await.as_deref(), Some("ready"));
        let (_supernodes, nodes) = lab.attached().await;
        let [near, far] = &nodes[..] else { panic!("two nodes") };
        let opened = router.next_line().await.expect("a port is asked for");
        near.until_found(far.name()).await;

        let mut pipe = EchoPipe::open(&lab, MACHINE, near, far).await;
        let mut session = Watched::start(near, far).await;
        session.until("goes directly", |session| session.direct().is_some()).await;
        assert_eq!(session.direct().map(|at| at.to_string()), Some(opened.clone()));
        pipe.carries(500).await;
        // The same port is asked for again before its time is over.
        for _ in 0..2 {
            assert_eq!(router.next_line().await, Some(opened.clone()));
        }
        session.catch_up().await;
        session.until("goes directly still", |session| session.direct().is_some()).await;
    });
}

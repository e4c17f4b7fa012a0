//! One end of a session loses its end of the relay's slot, and the other end does not.

use super::relay_death::{BAR, Flows, silences};
use super::sessions::Scene;
use super::*;
use skein_net::simnet::NatKind;

/// Who sends: either end, each of whom the other one only answers, and both, as in a call.
const FLOWS: [Flows; 3] = [
    Flows { to_bob: true, to_alice: false, pace: None },
    Flows { to_bob: false, to_alice: true, pace: None },
    Flows { to_bob: true, to_alice: true, pace: Some(Duration::from_millis(20)) },
];

#[tokio::test]
async fn an_end_whose_router_forgets_it_is_met_again_within_a_second_and_the_other_stays() {
    for flows in FLOWS {
        // First the caller's, then the callee's.
        for end in [0, 1] {
            let router = Some(NatKind::PortRestricted);
            let scene = Scene::behind(router, Reach::RelayOnly).await;
            let forget = |scene: &Scene, _: &Node| scene.network.forget_mappings(scene.homes[end]);
            let (silences, _) = silences(&scene, flows, forget).await;
            for silence in silences {
                eprintln!("{flows:?}, end {end}: nothing came for {silence:?}");
                assert!(silence < BAR, "{flows:?}, end {end}: nothing came for {silence:?}");
            }
        }
    }
}

#[tokio::test]
async fn both_ends_leave_a_relay_within_a_second_that_only_one_of_them_has_lost() {
    for flows in FLOWS {
        for host in [11, 12] {
            let scene = Scene::new(Reach::RelayOnly).await;
            let block = |scene: &Scene, relay: &Node| {
                scene.network.block(address(host), address(relay.plan.host));
            };
            let (silences, moved) = silences(&scene, flows, block).await;
            assert!(moved, "{flows:?}, node {host}: it stays with a relay that has one end");
            for silence in silences {
                eprintln!("{flows:?}, node {host}: nothing came for {silence:?}");
                assert!(silence < BAR, "{flows:?}, node {host}: nothing came for {silence:?}");
            }
        }
    }
}

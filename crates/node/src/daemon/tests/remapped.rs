//! A router that begins to map in another way while a session rests.

use super::sessions::Scene;
use super::*;
use crate::sessions::PeerName;
use skein_net::simnet::NatKind;
use tokio::time::{Instant, sleep, timeout};

/// Within so long of the change it is known where the node is seen now.
const BAR: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_node_learns_in_a_pause_that_its_router_maps_it_elsewhere() {
    for end in [0, 1] {
        let scene = Scene::behind(Some(NatKind::Symmetric), Reach::Open).await;
        tokio::time::pause();
        let bob: PeerName = "@user12".parse().unwrap();
        let session = scene.alice.daemon.parts.sessions.open(&bob).await.expect("a session");
        // What is looked for at the beginning of a session has been found.
        sleep(Duration::from_secs(60)).await;
        let sessions = &[&scene.alice, &scene.bob][end].daemon.parts.sessions;
        let before = sessions.places();
        assert!(!before.is_empty());
        let begun = Instant::now();
        scene.network.forget_mappings(scene.homes[end]);
        let moved = async {
            while sessions.places() == before {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(BAR, moved).await.expect("it looks where it is");
        eprintln!("end {end}: known after {:?}", begun.elapsed());
        tokio::time::resume();
        assert!(!session.connection().is_closed());
    }
}

//! Which of two relays a session takes.

use super::sessions::{Scene, relay_of};
use super::*;
use skein_net::relay::RelayLimits;
use tokio::time::{sleep, timeout};

/// By how much the ways from alice and from bob to a relay are longer than their lines.
type Ways = [Duration; 2];

const fn ways(alice: u64, bob: u64) -> Ways {
    [Duration::from_millis(alice), Duration::from_millis(bob)]
}

/// Too long to be taken by anybody.
const FAR: Ways = ways(200, 200);

/// How long it takes until a connection knows that its way has become longer: some dozen keep-alives.
const SETTLED: Duration = Duration::from_secs(120);

/// Two nodes that hide, with these ways to alice's parent and to her standby. The clock stands still
async fn scene(to_parent: Ways, to_standby: Ways) -> (Scene, [NodeId; 2]) {
    let scene = Scene::new(Reach::RelayOnly).await;
    let attachment = scene.alice.backend().status().await.unwrap().attachment;
    let tied = [attachment.parent.unwrap(), attachment.standby.unwrap()];
    for relay in &scene.supers {
        let ways = match tied.iter().position(|node| *node == relay.id()) {
            Some(0) => to_parent,
            Some(_) => to_standby,
            None => FAR,
        };
        for (end, way) in [11, 12].into_iter().zip(ways) {
            scene.network.lengthen(address(end), address(relay.plan.host), way);
        }
    }
    sleep(SETTLED).await;
    let attachment = scene.alice.backend().status().await.unwrap().attachment;
    assert_eq!([attachment.parent.unwrap(), attachment.standby.unwrap()], tied, "as before");
    (scene, tied)
}

/// The relay that a new session goes over, and the one that it has in reserve. Slots of both are there
/// when it begins: which of them comes first has no part in it.
async fn chosen(scene: &Scene) -> [NodeId; 2] {
    let sessions = &scene.alice.daemon.parts.sessions;
    sessions.call_off_an_offer().await;
    let session = sessions.open(&"@user12".parse().unwrap()).await.expect("a session");
    let both = async {
        loop {
            let path = session.shown(session.path_now());
            if let (Some(relay), Some(reserve)) = (relay_of(&path), path.reserve) {
                return [relay, reserve];
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, both).await.expect("a relay, and a reserve")
}

#[tokio::test]
async fn of_two_relays_a_session_takes_the_one_with_the_shorter_way_from_end_to_end() {
    // The one that is nearer to who calls is the farther one in all.
    let (near_to_alice, shorter) = (ways(0, 90), ways(30, 10));
    let (scene, [parent, standby]) = scene(near_to_alice, shorter).await;
    assert_eq!(chosen(&scene).await, [standby, parent]);
}

#[tokio::test]
async fn whether_it_is_the_parent_or_the_standby_makes_no_difference() {
    let (scene, [parent, standby]) = scene(ways(30, 10), ways(0, 90)).await;
    assert_eq!(chosen(&scene).await, [parent, standby]);
}

#[tokio::test]
async fn of_two_relays_at_the_same_distance_a_session_takes_the_one_with_less_to_do() {
    for full in [0, 1] {
        let (scene, tied) = scene(ways(30, 30), ways(30, 30)).await;
        let relay = scene.supers.iter().find(|node| node.id() == tied[full]).expect("one of them");
        let relay = relay.daemon.parts.endpoint.relay();
        relay.set_limits(RelayLimits { slots: 5, ..relay.limits() });
        let somebody = Username::parse("somebody").unwrap();
        for _ in 0..4 {
            relay.grant(&somebody).expect("a slot");
        }
        assert_eq!(chosen(&scene).await, [tied[1 - full], tied[full]]);
        tokio::time::resume();
    }
}

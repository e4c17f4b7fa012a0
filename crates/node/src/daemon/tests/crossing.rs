//! Two who call each other, and calls of one node under several names: one session comes of it.

use super::sessions::{Scene, relay_of};
use super::*;
use crate::sessions::{PeerName, PeerSession};
use tokio::time::{Instant, sleep, timeout};

/// The delay of either node's line, so that each step of a call takes its time.
const LINE: Duration = Duration::from_millis(40);

/// How long sessions are kept that nobody uses.
const UNUSED: Duration = Duration::from_millis(300);

async fn scene() -> Scene {
    let scene = Scene::new(Reach::RelayOnly).await;
    for node in [&scene.alice, &scene.bob] {
        let line = LinkProfile::default().latency(LINE);
        scene.network.set_profile(address(node.plan.host), line);
        node.daemon.parts.sessions.keep_unused(UNUSED);
    }
    scene
}

async fn call(node: &Node, peer: &str, after: Duration) -> Arc<PeerSession> {
    sleep(after).await;
    let peer: PeerName = peer.parse().unwrap();
    let session = node.daemon.parts.sessions.open(&peer).await;
    session.unwrap_or_else(|error| panic!("{peer} after {after:?}: {error}"))
}

fn all(node: &Node) -> Vec<Arc<PeerSession>> {
    node.daemon.parts.sessions.all()
}

/// Waits until neither has a session.
async fn over(scene: &Scene, what: &str) {
    let over = async {
        let in_use = |node: &Node| !node.daemon.parts.sessions.in_use().is_empty();
        while !all(&scene.alice).is_empty()
            || !all(&scene.bob).is_empty()
            || in_use(&scene.alice)
            || in_use(&scene.bob)
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = timeout(Duration::from_secs(10), over).await;
    ended.unwrap_or_else(|_| panic!("it does not end: {what}"));
}

#[tokio::test]
async fn two_who_call_each_other_have_one_relayed_session_that_ends_when_nobody_uses_it() {
    let scene = scene().await;
    // A node introduces itself eight times at once, in real time.
    const ROUNDS: usize = 6;
    let rounds: [u64; ROUNDS] = [0, 50, 100, 200, 300, 400];
    for after in rounds.map(Duration::from_millis) {
        let begun = Instant::now();
        let (theirs, ours) = tokio::join!(
            call(&scene.bob, "@user11", Duration::ZERO),
            call(&scene.alice, "@user12", after)
        );
        for session in [&ours, &theirs] {
            let path = session.shown(session.path_now());
            assert!(relay_of(&path).is_some(), "after {after:?}: {path:?}");
        }
        // The one that each has called by may be another than the one that its peer has.
        sleep(UNUSED * 3).await;
        for (node, session) in [(&scene.alice, &ours), (&scene.bob, &theirs)] {
            assert!(!session.connection().is_closed(), "after {after:?}: it is used");
            let in_use = node.daemon.parts.sessions.in_use();
            assert!(in_use.contains(&session.connection().id()), "after {after:?}: {in_use:?}");
        }
        assert_eq!((all(&scene.alice).len(), all(&scene.bob).len()), (1, 1), "after {after:?}");
        drop((ours, theirs));
        over(&scene, &format!("after {after:?}")).await;
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let mut begun = 0;
    for node in [&scene.alice, &scene.bob] {
        let counts = node.daemon.parts.sessions.counts();
        assert_eq!(counts.over_share, 0);
        begun += counts.begun_relayed;
    }
    // Two in each round, unless both calls were made before either had come: then they crossed.
    assert!(begun > 2 * ROUNDS as u64, "no two calls crossed: {begun} sessions");
}

#[tokio::test]
async fn calls_of_one_node_under_two_names_share_a_session() {
    let scene = scene().await;
    let node = format!("@user12/{}", scene.bob.id());
    for after in [0, 20, 100, 180, 260].map(Duration::from_millis) {
        let (one, other) = tokio::join!(
            call(&scene.alice, "@user12", Duration::ZERO),
            call(&scene.alice, &node, after)
        );
        assert!(Arc::ptr_eq(&one, &other), "after {after:?}");
        assert!(relay_of(&one.shown(one.path_now())).is_some(), "after {after:?}");
        assert!(!one.connection().is_closed(), "after {after:?}");
        drop((one, other));
        over(&scene, &format!("after {after:?}")).await;
    }
}

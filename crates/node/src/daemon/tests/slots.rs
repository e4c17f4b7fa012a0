//! Slots of relays: what nobody needs any more is given back.
//!
//! The clock of a scene is a paused one: sleeps here are the times that are tested, and take none.

use super::first_byte::offer_by_hand;
use super::sessions::Scene;
use super::*;
use crate::sessions::{NoSlot, PeerName};
use skein_net::CloseReason;
use tokio::time::{Instant, sleep};

/// What the relays of a scene have granted so far, and what of it is not over.
fn slots(scene: &Scene) -> (u64, u32) {
    let usages = scene.supers.iter().map(|node| node.daemon.parts.donor.usage());
    usages.fold((0, 0), |(granted, held), usage| (granted + usage.granted, held + usage.slots))
}

/// Waits until all slots were given back; they would expire by themselves much later.
async fn given_back(scene: &Scene, within: Duration) {
    let begun = Instant::now();
    while slots(scene).1 > 0 {
        assert!(begun.elapsed() < within, "{:?} of the slots are left", slots(scene).1);
        sleep(Duration::from_millis(100)).await;
    }
    let released = scene.supers.iter().map(|node| node.daemon.parts.donor.usage().released);
    assert_eq!(released.sum::<u64>(), slots(scene).0, "none has expired");
}

#[tokio::test]
async fn offers_that_nobody_dials_on_take_few_slots_of_the_callee_and_give_them_back() {
    let scene = Scene::new(Reach::Open).await;
    for number in 0..8 {
        offer_by_hand(&scene, number, Vec::new(), BoundedVec::default()).await;
        // The next ones are taken when this one was answered.
        sleep(Duration::from_millis(500)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let held = slots(&scene).1;
    assert!((1..=2).contains(&held), "the callee has {held} slots of its own for them");
    let counts = scene.bob.daemon.parts.sessions.counts();
    assert_eq!(counts.slots_withheld, 8 - u64::from(held));
    given_back(&scene, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_session_that_ends_gives_its_slots_back() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let bob: PeerName = "@user12".parse().unwrap();
    let session = scene.alice.daemon.parts.sessions.open(&bob).await.expect("a session");
    assert!(slots(&scene).1 > 0, "it has slots");
    session.connection().close(CloseReason::Done);
    drop(session);
    // A slot that was not needed is kept for the next call for a minute.
    given_back(&scene, Duration::from_secs(70)).await;
    let (ours, theirs) = (&scene.alice.daemon.parts.sessions, &scene.bob.daemon.parts.sessions);
    assert!(ours.counts().slots_given_back > 0);
    assert_eq!((ours.all().len(), theirs.all().len()), (0, 0));
}

#[tokio::test]
async fn slots_that_a_call_did_not_need_are_there_for_the_next_one_within_a_minute() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let sessions = &scene.alice.daemon.parts.sessions;
    let before = slots(&scene).0;
    sessions.call_off_an_offer().await;
    assert_eq!(slots(&scene), (before + 2, 2));
    sleep(Duration::from_secs(59)).await;
    sessions.call_off_an_offer().await;
    assert_eq!(slots(&scene), (before + 2, 2), "the next one has the same");
    given_back(&scene, Duration::from_secs(70)).await;
    sessions.call_off_an_offer().await;
    assert_eq!(slots(&scene), (before + 4, 2), "after that it has others");
}

#[tokio::test]
async fn a_supernode_that_is_silent_is_passed_over_for_the_next() {
    let scene = Scene::new(Reach::RelayOnly).await;
    let ties = scene.alice.backend().status().await.unwrap().attachment;
    let parent = scene.supers.iter().find(|node| Some(node.id()) == ties.parent).expect("a parent");
    scene.network.cut(address(parent.plan.host));
    let begun = Instant::now();
    let relay = scene.alice.daemon.parts.sessions.relay_of_a_slot().await;
    assert!(ties.standby.is_some() && relay.ok() == ties.standby, "{relay:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for node in &scene.supers {
        scene.network.cut(address(node.plan.host));
    }
    let relay = scene.alice.daemon.parts.sessions.relay_of_a_slot().await;
    assert_eq!(relay, Err(NoSlot::Silent), "nobody has refused");
}

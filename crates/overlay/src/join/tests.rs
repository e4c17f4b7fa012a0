//! When a node turns to whom.

use super::*;
use crate::config::Config;
use crate::io::Output;
use skein_proto::{KeyPair, Message};

#[test]
fn a_standby_that_died_with_the_parent_is_not_waited_for() {
    let key = KeyPair::from_seed(&[1; 32]);
    let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let [parent, standby] = [2, 3].map(|number| NodeId::from_bytes([number; 32]));
    let tie = |node| Some(Tie { node, state: TieState::Agreed, since: now.instant, children: 0 });
    let mut join = Join { parent: tie(parent), standby: tie(standby), ..Join::default() };

    let change = join.on_link_silent(&mut core, parent, now);
    assert_eq!(change, Some(ParentChange::Lost(parent)));
    assert!(join.uses(&standby), "it is asked to take over");
    core.outputs.clear();
    join.on_link_silent(&mut core, standby, now);
    assert!(!join.uses(&standby));
    let hung_up = core
        .outputs
        .iter()
        .any(|output| matches!(output, Output::HangUp { peer, .. } if *peer == standby));
    assert!(hung_up && join.next_seek < now.instant + REPLY_PATIENCE, "others are tried");
}

/// Moments within a time at which so many act: none of them, nor any tenth of the time, is that
/// of most.
fn are_spread(times: &[Duration], from: Duration, to: Duration) -> bool {
    let mut tenths = [0; 10];
    for time in times {
        assert!((from..to).contains(time), "{time:?}");
        let at = (*time - from).as_secs_f64() / (to - from).as_secs_f64();
        tenths[(at * 10.0) as usize] += 1;
    }
    tenths.iter().all(|count| (1..=times.len() / 4).contains(count))
}

#[test]
fn those_who_lose_the_same_parent_look_for_another_one_at_different_moments() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let parent = NodeId::from_bytes([2; 32]);
    let key = KeyPair::from_seed(&[1; 32]);
    let node = |seed: u8| {
        let core = Core::new(key.clone(), Config::new(key.node_id()), [seed; 32]);
        let tie = Tie { node: parent, state: TieState::Agreed, since: now.instant, children: 0 };
        (core, Join { parent: Some(tie), ..Join::default() })
    };
    let mut lost: Vec<Duration> = Vec::new();
    let mut credentialed: Vec<Duration> = Vec::new();
    let mut refused: Vec<Duration> = Vec::new();
    for seed in 0..100 {
        let (mut core, mut join) = node(seed);
        join.on_link_lost(&mut core, parent, now);
        lost.push(join.next_seek.since(now.instant));
        join.on_credential(&mut core, now);
        credentialed.push(join.next_seek.since(now.instant));
        // The login service is away for all of them: they ask it again after 1, 2, 4 s ….
        join.bootstrap_failures = 3;
        join.on_bootstrap(&mut core, now, false);
        refused.push(join.next_bootstrap.since(now.instant));
    }
    let millis = Duration::from_millis;
    assert!(are_spread(&lost, millis(0), millis(500)), "{lost:?}");
    assert!(are_spread(&credentialed, millis(0), millis(500)), "{credentialed:?}");
    assert!(are_spread(&refused, millis(4_000), millis(8_000)), "{refused:?}");
}

impl Join {
    /// Whether this one was asked to be the parent.
    fn is_asked(&self, node: &NodeId) -> bool {
        let is_asked = |tie: Tie| matches!(tie.state, TieState::Asked { .. });
        self.parent.is_some_and(|tie| tie.node == *node && is_asked(tie))
    }
}

/// A hundred nodes with one parent and one standby that have so many children each.
fn siblings(children: u32) -> Vec<(Core, Join)> {
    let key = KeyPair::from_seed(&[1; 32]);
    let tie = |number| {
        let node = NodeId::from_bytes([number; 32]);
        let (state, since) = (TieState::Agreed, Instant::START);
        Some(Tie { node, state, since, children })
    };
    let sibling = |seed| {
        let core = Core::new(key.clone(), Config::new(key.node_id()), [seed; 32]);
        (core, Join { parent: tie(2), standby: tie(3), ..Join::default() })
    };
    (0..100).map(sibling).collect()
}

#[test]
fn the_children_of_a_dead_parent_turn_to_their_standbys_one_after_the_other() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let [parent, standby] = [2, 3].map(|number| NodeId::from_bytes([number; 32]));
    // However many it says that it has.
    for (children, longest) in [(u32::MAX, 3_000), (150, 3_000), (10, 200)] {
        let longest = Duration::from_millis(longest);
        let mut turns = Vec::new();
        for (mut core, mut join) in siblings(children) {
            assert_eq!(join.on_link_silent(&mut core, parent, now), None);
            assert_eq!(join.parent(), Some(parent), "it may still be heard");
            let at = join.next_wakeup(&core, now).expect("its turn");
            turns.push(at.since(now.instant));
            let then = Now { instant: at, ..now };
            let change = join.step(&mut core, then);
            assert_eq!(change, Some(ParentChange::Lost(parent)));
            assert!(join.is_asked(&standby));
        }
        assert!(are_spread(&turns, Duration::ZERO, longest), "{children}: {turns:?}");
    }
}

#[test]
fn a_parent_that_is_heard_before_the_turn_of_its_child_is_kept() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let parent = NodeId::from_bytes([2; 32]);
    let (mut core, mut join) = siblings(150).remove(0);
    core.outputs.clear();
    join.on_link_silent(&mut core, parent, now);
    let is_probe = |output: &Output| {
        matches!(output, Output::Send { peer, message }
            if *peer == parent && matches!(**message, Message::Probe(_)))
    };
    assert!(core.outputs.iter().any(is_probe), "it is asked whether it is there");
    join.on_heard(&parent);
    let later = Now { instant: now.instant + Duration::from_secs(60), ..now };
    assert_eq!(join.step(&mut core, later), None);
    assert_eq!(join.parent(), Some(parent));
}

#[test]
fn whoever_has_lost_more_at_once_waits_longer_and_whoever_lacks_a_standby_alone_longest() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let [parent, standby] = [2, 3].map(|number| NodeId::from_bytes([number; 32]));
    let (mut both, mut one) = (Vec::new(), Vec::new());
    for (mut core, mut join) in siblings(150) {
        join.on_link_silent(&mut core, parent, now);
        join.on_link_silent(&mut core, standby, now);
        both.push(join.next_seek.since(now.instant));
    }
    for (mut core, mut join) in siblings(150) {
        join.on_link_silent(&mut core, standby, now);
        one.push(join.next_seek.since(now.instant));
    }
    let seconds = Duration::from_secs;
    assert!(are_spread(&both, seconds(0), seconds(15)), "{both:?}");
    assert!(are_spread(&one, seconds(0), seconds(45)), "{one:?}");
}

#[test]
fn whose_user_waits_for_an_answer_takes_its_turn_at_once() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let [parent, standby] = [2, 3].map(|number| NodeId::from_bytes([number; 32]));
    for (mut core, mut join) in siblings(150) {
        join.on_link_silent(&mut core, parent, now);
        join.hurry(now.instant);
        assert_eq!(join.step(&mut core, now), Some(ParentChange::Lost(parent)));
        assert!(join.is_asked(&standby));
    }
    for (mut core, mut join) in siblings(150) {
        join.on_link_silent(&mut core, standby, now);
        let at = join.next_seek;
        join.hurry(now.instant);
        assert_eq!(join.next_seek, at, "its parent is there to answer");
        join.on_link_lost(&mut core, parent, now);
        join.hurry(now.instant);
        assert_eq!(join.next_seek, now.instant);
        let at = now.instant + Duration::from_secs(1);
        (join.seek_failures, join.next_seek) = (1, at);
        join.hurry(now.instant);
        assert_eq!(join.next_seek, at, "it has looked in vain");
    }
}

#[test]
fn only_who_has_lost_a_parent_together_with_others_waits_for_a_turn() {
    let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
    let [parent, standby] = [2, 3].map(|number| NodeId::from_bytes([number; 32]));
    let soon = START_SPREAD;
    for (mut core, mut join) in siblings(150) {
        join.standby = None;
        join.leave(&mut core, parent, PartingReason::Moved, now);
        assert!(join.next_seek.since(now.instant) <= soon, "it has left by itself");
    }
    for (mut core, mut join) in siblings(150) {
        join.on_link_lost(&mut core, parent, now);
        assert!(join.is_asked(&standby));
        join.on_link_lost(&mut core, standby, now);
        assert!(join.next_seek.since(now.instant) <= soon, "it had not agreed to be the parent");
    }
}

#[test]
fn pauses_double_up_to_the_longest_one_and_are_never_the_same_for_all() {
    let key = KeyPair::from_seed(&[1; 32]);
    for (failures, longest) in [(0, 1), (1, 2), (6, 64), (7, 120), (40, 120)] {
        let pauses: Vec<Duration> = (0..100)
            .map(|seed| {
                let mut core = Core::new(key.clone(), Config::new(key.node_id()), [seed; 32]);
                core.back_off(failures, FIRST_BOOTSTRAP_PAUSE, LONGEST_BOOTSTRAP_PAUSE)
            })
            .collect();
        let longest = Duration::from_secs(longest);
        assert!(are_spread(&pauses, longest / 2, longest), "{failures}: {pauses:?}");
    }
}

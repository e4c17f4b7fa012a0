//! What a node says of its files, as its parent gets it.
#![allow(clippy::expect_used)]

use super::announce::Announcer;
use super::table::fresher_claim;
use super::tests::{NOW, key, login};
use crate::config::Config;
use crate::core::Core;
use crate::io::{Now, Output};
use skein_proto::credential::CLOCK_SKEW;
use skein_proto::directory::{Presence, SourceClaim, SourceState};
use skein_proto::{
    ContentId, Credential, FileMeta, FilePath, Instant, Kind, Signed, UnixTime, Username,
};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A node that has a parent, and files.
struct Node {
    core: Core,
    announcer: Announcer,
    files: BTreeMap<ContentId, FileMeta>,
    /// Since the start.
    time: Duration,
    /// By how much its clock has been set back.
    set_back: Duration,
    /// What it has said of its files, and when.
    said: Vec<(Duration, SourceClaim)>,
    /// What everybody takes for the last word about each.
    last: BTreeMap<ContentId, SourceClaim>,
    presences: Vec<Presence>,
}

fn content(number: u16) -> ContentId {
    let mut content = [0; 32];
    content[..2].copy_from_slice(&number.to_be_bytes());
    ContentId::from_bytes(content)
}

fn file(number: u16) -> FileMeta {
    FileMeta {
        content: content(number),
        size: 1,
        kind: Kind::Other,
        path: FilePath::new("song").expect("a path"),
        tags: None,
    }
}

impl Node {
    fn new(files: u16, credential_ends: Duration) -> Self {
        let core = Core::new(key(1), Config::new(login().node_id()), [0; 32]);
        let mut node = Self {
            core,
            announcer: Announcer::default(),
            files: (0..files).map(|number| (content(number), file(number))).collect(),
            time: Duration::ZERO,
            set_back: Duration::ZERO,
            said: Vec::new(),
            last: BTreeMap::new(),
            presences: Vec::new(),
        };
        node.log_in(credential_ends);
        let now = node.now();
        node.announcer.start(&mut node.core, key(9).node_id(), now);
        node
    }

    fn now(&self) -> Now {
        let unix = UnixTime(NOW.plus(self.time).0 - self.set_back.as_secs());
        Now { instant: Instant::START + self.time, unix }
    }

    /// It gets a credential that ends so long after the start.
    fn log_in(&mut self, ends: Duration) {
        let credential = Credential {
            name: Username::parse("alice").expect("a name"),
            node: key(1).node_id(),
            registered: NOW,
            issued: NOW.plus(self.time),
            expires: NOW.plus(ends),
        };
        self.core.credential = Some(Signed::new(credential, &login()));
        let now = self.now();
        self.announcer.on_credential(&mut self.core, now);
    }

    /// Does what is to be done now; its library answers at once.
    fn step(&mut self) {
        loop {
            let now = self.now();
            if let Some((_, announce)) = self.announcer.step(&mut self.core, now) {
                self.presences.extend(announce.presence.map(|said| said.unverified().clone()));
                for claim in announce.claims {
                    let claim = claim.unverified().clone();
                    assert!(claim.issued <= now.unix.plus(CLOCK_SKEW), "nobody would believe it");
                    let last = self.last.entry(claim.content).or_insert_with(|| claim.clone());
                    if fresher_claim(&claim, last) {
                        *last = claim.clone();
                    }
                    self.said.push((self.time, claim));
                }
            }
            let mut answered = false;
            for output in std::mem::take(&mut self.core.outputs) {
                let Output::WantFiles { page, after, limit } = output else { continue };
                let behind = |content: &&ContentId| after.is_none_or(|after| **content > after);
                let mut files: Vec<FileMeta> =
                    self.files.keys().filter(behind).map(|at| self.files[at].clone()).collect();
                let last = files.len() <= limit;
                files.truncate(limit);
                answered |= self.announcer.on_files(page, &files, last);
            }
            if !answered {
                return;
            }
        }
    }

    /// Until so long after the start.
    fn run(&mut self, until: Duration) {
        loop {
            self.step();
            let holds = self.core.has_credential(self.now().unix);
            let next = self.announcer.next_wakeup().filter(|_| holds);
            let next = next.map_or(until, |next| next.since(Instant::START));
            if next >= until {
                self.time = until;
                return;
            }
            assert!(next > self.time, "it wakes up again and again at {next:?}");
            self.time = next;
        }
    }

    /// Whether it has said by now of all its files that it has them, and said it in good time.
    fn all_hold(&self) -> bool {
        let now = self.now().unix;
        let holds = |last: &SourceClaim| last.state == SourceState::Complete && now < last.expires;
        self.files.keys().all(|content| self.last.get(content).is_some_and(holds))
    }

    /// A download of this number is served, or is no more.
    fn serve(&mut self, number: u16, serving: bool) {
        let now = self.now();
        self.announcer.on_partial(&mut self.core, (content(number), serving), now);
        self.step();
    }

    /// The library has this file from now on, or has it no more.
    fn share(&mut self, number: u16, shared: bool) {
        let now = self.now();
        if shared {
            self.files.insert(content(number), file(number));
            self.announcer.on_change(&mut self.core, (&[file(number)], &[]), now);
        } else {
            self.files.remove(&content(number));
            self.announcer.on_change(&mut self.core, (&[], &[content(number)]), now);
        }
        self.step();
    }

    fn state(&self, number: u16) -> Option<SourceState> {
        self.last.get(&content(number)).map(|claim| claim.state)
    }

    /// How many claims it has made since so long after the start.
    fn said_since(&self, time: Duration) -> usize {
        self.said.iter().filter(|(at, _)| *at >= time).count()
    }
}

#[test]
fn what_ends_with_the_old_credential_is_said_again_in_time_under_the_new_one() {
    for files in [10, 6_400] {
        // The login service is away until shortly before the credential ends.
        let mut node = Node::new(files, 2 * HOUR);
        node.run(2 * HOUR - 10 * MINUTE);
        assert_eq!(node.said.len(), usize::from(files), "each of them once");
        node.log_in(26 * HOUR);
        for minute in 0..6 * 60 {
            node.run(node.time + MINUTE);
            assert!(node.all_hold(), "{files} files, {minute} minutes later");
        }
    }
}

#[test]
fn whoever_has_time_to_say_it_again_does_not_do_so_with_all_the_others() {
    let mut begun = Vec::new();
    for seed in 0..20 {
        let mut node = Node::new(10, 2 * HOUR);
        node.core.rng = rand::SeedableRng::from_seed([seed; 32]);
        node.run(2 * HOUR - 30 * MINUTE);
        let from = node.time;
        node.log_in(26 * HOUR);
        node.run(2 * HOUR);
        let at = node.said.iter().map(|(at, _)| *at).find(|at| *at >= from);
        begun.push(at.expect("it says it again") - from);
    }
    let (first, last) = (begun.iter().min(), begun.iter().max());
    assert!(last.expect("the last") > &(*first.expect("the first") + 8 * MINUTE), "{begun:?}");
}

#[test]
fn what_has_ended_is_said_again_quickly() {
    let mut node = Node::new(6_400, HOUR);
    node.run(3 * HOUR);
    assert!(!node.all_hold());
    node.log_in(27 * HOUR);
    node.run(3 * HOUR + 4 * MINUTE);
    assert!(node.all_hold(), "{} of 6,400", node.said_since(3 * HOUR));
}

#[test]
fn a_walk_that_the_outage_fell_into_is_ended_quickly() {
    let mut node = Node::new(6_400, 5 * HOUR);
    node.run(5 * HOUR);
    assert!(node.said.len() > 6_400, "the second walk has begun");
    node.time = 6 * HOUR;
    node.log_in(30 * HOUR);
    node.run(6 * HOUR + 4 * MINUTE);
    assert!(node.all_hold());
}

#[test]
fn a_large_library_is_said_again_at_leisure_while_credentials_are_renewed_in_time() {
    let mut node = Node::new(6_400, 24 * HOUR);
    node.run(10 * MINUTE);
    assert_eq!(node.said.len(), 6_400, "the first time quickly");
    for minutes in 10..48 * 60 {
        if minutes % (16 * 60) == 0 {
            node.log_in(node.time + 24 * HOUR);
        }
        let before = node.said.len();
        node.run(node.time + MINUTE);
        let said = node.said.len() - before;
        assert!(said <= 3 * 64, "{said} in a minute after {minutes} minutes");
    }
    let walks = node.said.len() / 6_400;
    assert!((8..=12).contains(&walks), "{walks} walks in two days");
}

#[test]
fn a_renewal_long_before_the_end_makes_nobody_say_more() {
    let mut node = Node::new(100, 24 * HOUR);
    node.run(2 * HOUR);
    node.log_in(26 * HOUR);
    node.run(2 * HOUR + 30 * MINUTE);
    assert_eq!(node.said.len(), 100);
    assert_eq!(node.presences.last().map(|said| said.issued), Some(UnixTime(NOW.0 + 7_200)));
}

#[test]
fn a_download_that_is_complete_is_listed_in_whatever_second_it_ends() {
    // The pause between two messages is drawn, and is shorter than a second at times.
    for seed in 0..20 {
        let mut node = Node::new(0, 24 * HOUR);
        node.core.rng = rand::SeedableRng::from_seed([seed; 32]);
        node.run(MINUTE);
        node.serve(7, true);
        node.run(2 * MINUTE);
        assert_eq!(node.state(7), Some(SourceState::Partial));
        node.serve(7, false);
        node.run(node.time + Duration::from_millis(500));
        node.share(7, true);
        node.run(3 * MINUTE);
        assert_eq!(node.state(7), Some(SourceState::Complete), "with seed {seed}");
        assert_eq!(node.said.len(), 3);
    }
}

#[test]
fn a_download_that_ends_after_the_library_has_the_file_takes_nothing_back() {
    let mut node = Node::new(0, 24 * HOUR);
    node.run(MINUTE);
    node.serve(7, true);
    node.share(7, true);
    node.serve(7, false);
    node.run(2 * MINUTE);
    assert_eq!(node.state(7), Some(SourceState::Complete));
    node.serve(7, true);
    node.share(7, false);
    node.run(3 * MINUTE);
    assert_eq!(node.state(7), Some(SourceState::Partial));
    node.serve(7, false);
    node.run(4 * MINUTE);
    assert_eq!(node.state(7), Some(SourceState::Withdrawn));
}

#[test]
fn a_file_that_a_walk_meets_is_not_taken_back_with_a_download_of_it() {
    let mut node = Node::new(1, 24 * HOUR);
    node.serve(0, true);
    node.run(MINUTE);
    node.serve(0, false);
    node.run(2 * MINUTE);
    assert_eq!(node.state(0), Some(SourceState::Complete));
}

#[test]
fn what_is_removed_while_a_walk_goes_through_it_is_not_claimed() {
    let mut node = Node::new(40, 24 * HOUR);
    // More changes than leave room for the page that the walk is at.
    let added: Vec<FileMeta> = (1_000..1_060).map(file).collect();
    node.time = MINUTE;
    let now = node.now();
    node.announcer.on_change(&mut node.core, (&added, &[]), now);
    node.step();
    node.announcer.on_change(&mut node.core, (&added, &[]), now);
    while node.said.len() < 124 {
        node.run(node.time + Duration::from_millis(100));
    }
    let waits = (0..40).find(|number| node.state(*number).is_none());
    let waits = waits.expect("not all of the page went with the changes");
    node.share(waits, false);
    node.run(2 * MINUTE);
    assert_eq!(node.state(waits), Some(SourceState::Withdrawn));
    let said = node.said.iter().filter(|(_, claim)| claim.content == content(waits));
    assert_eq!(said.count(), 1, "it is not claimed after it is gone");
}

#[test]
fn a_page_that_was_read_before_a_removal_is_read_again() {
    let mut node = Node::new(2, 24 * HOUR);
    node.time = MINUTE;
    let now = node.now();
    node.announcer.step(&mut node.core, now);
    let asked = node.core.outputs.drain(..).find_map(|output| match output {
        Output::WantFiles { page, .. } => Some(page),
        _ => None,
    });
    let old: Vec<FileMeta> = node.files.values().cloned().collect();
    node.files.remove(&content(1));
    node.announcer.on_change(&mut node.core, (&[], &[content(1)]), now);
    assert!(!node.announcer.on_files(asked.expect("a page"), &old, true));
    node.run(2 * MINUTE);
    assert_eq!(node.state(0), Some(SourceState::Complete));
    assert_eq!(node.state(1), Some(SourceState::Withdrawn));
}

#[test]
fn a_clock_that_was_set_back_makes_no_claims_that_nobody_believes() {
    let mut node = Node::new(0, 24 * HOUR);
    node.run(MINUTE);
    node.share(7, true);
    node.run(2 * MINUTE);
    node.set_back = 10 * MINUTE;
    for _ in 0..10 {
        node.share(7, false);
        node.share(7, true);
        node.run(node.time + Duration::from_secs(2));
    }
    assert!(node.said.len() > 10, "each is looked at when it is said");
}

#[test]
fn what_changes_during_a_walk_is_said_at_once_and_the_walk_keeps_its_pace() {
    let mut node = Node::new(640, 24 * HOUR);
    while node.said.len() <= 640 {
        node.run(node.time + MINUTE);
    }
    let (begun, before) = (node.time, node.said.len());
    for number in 0..100 {
        node.run(node.time + Duration::from_secs(1));
        node.share(10_000 + number, true);
        node.run(node.time + Duration::from_secs(2));
        assert_eq!(node.state(10_000 + number), Some(SourceState::Complete), "{number}");
    }
    let walked = node.said_since(begun) - 100;
    assert!(node.said.len() - before > 100 && (5 * 64..=10 * 64).contains(&walked), "{walked}");
}

#[test]
fn downloads_and_changes_beyond_what_is_kept_in_mind_are_counted() {
    let mut node = Node::new(0, 24 * HOUR);
    node.announcer.stop();
    for number in 0..260 {
        node.serve(number, true);
        node.serve(number, true);
    }
    assert_eq!(node.core.counters.directory_partial_over_limit, 8, "four, each said twice");
    for number in 260..5_000 {
        node.share(number, false);
    }
    let kept = 4_096 - 256;
    assert_eq!(node.core.counters.directory_changes_over_limit, 5_000 - 260 - kept);
}

//! What a node says of its files, as its parent gets it.
#![allow(clippy::expect_used)]

use super::announce::Announcer;
use super::tests::{NOW, key, login};
use crate::config::Config;
use crate::core::Core;
use crate::io::{Now, Output};
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
    /// What it has said of its files, and when.
    said: Vec<(Duration, SourceClaim)>,
    /// The last word of each.
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
        Now { instant: Instant::START + self.time, unix: NOW.plus(self.time) }
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
                    self.last.insert(claim.content, claim.clone());
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

//! Downloads against sources that fail, lie, dawdle and come late, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::fetch::GROUP_BYTES;
use skein_proto::{Instant, NodeId};
use skein_swarm::{
    Download, Failure, Have, Input, Order, Output, RequestId, Run, RunSet, bytes_of, groups_of,
    groups_within,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a simulated source behaves.
#[derive(Clone, Debug)]
struct Behaviour {
    /// When it is found, in seconds.
    appears: u64,
    /// What it has; `None` is all.
    have: Option<RunSet>,
    /// Chunk groups a second.
    rate: u64,
    /// How many answers in a hundred break off.
    breaks: u32,
    /// How many in a hundred are put off.
    busy: u32,
    /// Whether it sends wrong bytes.
    lies: bool,
    /// Whether it claims another length.
    claims: Option<u64>,
    /// Whether its bytes come through a relay.
    relayed: bool,
}

impl Behaviour {
    fn honest(rate: u64) -> Self {
        let relayed = false;
        Self {
            appears: 0,
            have: None,
            rate,
            breaks: 0,
            busy: 0,
            lies: false,
            claims: None,
            relayed,
        }
    }

    fn is_honest(&self) -> bool {
        !self.lies && self.claims.is_none()
    }
}

#[derive(Debug)]
enum Event {
    Found(NodeId),
    Answer(NodeId),
    Deliver(RequestId),
}

struct Pending {
    source: NodeId,
    rest: Run,
    proof: bool,
}

/// Drives one download over simulated sources.
struct Simulation {
    size: u64,
    sources: BTreeMap<NodeId, Behaviour>,
    rng: StdRng,
    download: Download,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    now: Instant,
    pending: BTreeMap<RequestId, Pending>,
    delivered: BTreeMap<NodeId, u64>,
    banned: Vec<NodeId>,
    completed: bool,
    starved: u32,
}

impl Simulation {
    fn new(size: u64, order: Order, seed: u64, sources: Vec<Behaviour>) -> Self {
        Self::of(Download::new(order, seed), size, seed, sources)
    }

    fn of(download: Download, size: u64, seed: u64, sources: Vec<Behaviour>) -> Self {
        let mut simulation = Self {
            size,
            sources: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            download,
            events: BTreeMap::new(),
            sequence: 0,
            now: Instant::START,
            pending: BTreeMap::new(),
            delivered: BTreeMap::new(),
            banned: Vec::new(),
            completed: false,
            starved: 0,
        };
        for (number, behaviour) in sources.into_iter().enumerate() {
            let id = NodeId::from_bytes([u8::try_from(number + 1).unwrap(); 32]);
            simulation.after(Duration::from_secs(behaviour.appears), Event::Found(id));
            simulation.sources.insert(id, behaviour);
        }
        simulation
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + wait, self.sequence), event);
    }

    /// Runs until it is complete or the time is up. Every step checks what must always hold.
    fn run(&mut self, limit: Duration) {
        let end = Instant::START + limit;
        while !self.completed {
            self.drain();
            let event = self.events.keys().next().map(|(at, _)| *at);
            let wake = self.download.next_wakeup();
            assert!(wake.is_none_or(|wake| wake > self.now), "it wants to be woken in the past");
            let Some(next) = event.into_iter().chain(wake).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Found(source) => self.tell(Input::SourceFound { source }),
            Event::Answer(source) => {
                let behaviour = &self.sources[&source];
                let input = if self.rng.random_range(0..100) < behaviour.breaks {
                    Input::ProbeFailed { source, failure: Failure::Lost }
                } else {
                    let relayed = behaviour.relayed;
                    self.download.handle(Input::Path { source, relayed }, self.now);
                    let have = behaviour.have.clone().map_or(Have::All, Have::Some);
                    Input::Has { source, size: behaviour.claims.unwrap_or(self.size), have }
                };
                self.tell(input);
            }
            Event::Deliver(id) => self.deliver(id),
        }
    }

    fn deliver(&mut self, id: RequestId) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let behaviour = &self.sources[&pending.source];
        let fate = self.rng.random_range(0..100);
        let failure = if !behaviour.is_honest() {
            Some(Failure::WrongBytes)
        } else if fate < behaviour.breaks {
            Some(Failure::Lost)
        } else if fate < behaviour.breaks + behaviour.busy {
            Some(Failure::Busy(Duration::from_secs(2)))
        } else {
            None
        };
        if let Some(failure) = failure {
            self.pending.remove(&id);
            return self.tell(Input::Failed { request: id, failure });
        }
        let run = Run { start: pending.rest.start, end: pending.rest.start + 1 };
        pending.rest.start += 1;
        let wait = Duration::from_secs(1) / u32::try_from(behaviour.rate).unwrap();
        *self.delivered.entry(pending.source).or_default() += 1;
        if pending.rest.is_empty() {
            self.pending.remove(&id);
        } else {
            self.after(wait, Event::Deliver(id));
        }
        self.tell(Input::Verified { request: id, run });
    }

    fn tell(&mut self, input: Input) {
        self.download.handle(input, self.now);
    }

    fn drain(&mut self) {
        let mut spins = 0;
        while let Some(output) = self.download.poll_output(self.now) {
            spins += 1;
            assert!(spins < 10_000, "it never comes to rest");
            match output {
                Output::Probe { source } => {
                    self.after(Duration::from_millis(50), Event::Answer(source));
                }
                Output::Request { id, source, range, size } => {
                    self.requested(id, source, range, size)
                }
                Output::Cancel { id } => drop(self.pending.remove(&id)),
                Output::Ban { source } => {
                    assert!(!self.sources[&source].is_honest(), "an honest source is banned");
                    self.banned.push(source);
                }
                Output::Starved => self.starved += 1,
                Output::SizeProven { size } => assert_eq!(size, self.size),
                Output::Completed => self.completed = true,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn requested(
        &mut self,
        id: RequestId,
        source: NodeId,
        range: skein_proto::fetch::ByteRange,
        size: u64,
    ) {
        let run = groups_within(range, size);
        assert!(!run.is_empty() && bytes_of(run, size) == range, "whole groups: {range:?}");
        assert!(range.len() <= 16 * 1024 * 1024);
        assert!(!self.banned.contains(&source), "a banned source is asked");
        let behaviour = &self.sources[&source];
        let has = behaviour.have.as_ref().is_none_or(|have| have.contains_run(run));
        assert!(has, "asked for what it has not");
        let proof = self.download.size().is_none();
        let same: Vec<&Pending> = self.pending.values().filter(|p| p.source == source).collect();
        assert!(same.len() < 2, "more than two requests with one source");
        // A group that is asked of two sources: only in the end-game, and for the proof of length.
        let twice = self
            .pending
            .values()
            .filter(|other| !other.rest.intersect(&run).is_empty() && !other.proof)
            .count();
        assert!(twice == 0 || proof || self.download.in_end_game(), "asked twice too early");
        assert!(twice <= 1 || proof, "asked three times");
        self.pending.insert(id, Pending { source, rest: run, proof });
        let active: std::collections::BTreeSet<_> =
            self.pending.values().map(|pending| pending.source).collect();
        let (relayed, direct): (Vec<NodeId>, Vec<NodeId>) =
            active.iter().copied().partition(|source| self.sources[source].relayed);
        assert!(direct.len() <= 8, "more than eight sources at once");
        assert!(relayed.len() <= 8, "more than eight sources behind relays at once");
        self.after(Duration::from_millis(20), Event::Deliver(id));
    }
}

const MIB: u64 = 1024 * 1024;

#[test]
fn a_download_shares_its_parts_out_by_the_rates_of_the_sources() {
    let sources = vec![Behaviour::honest(400), Behaviour::honest(100)];
    let mut simulation = Simulation::new(64 * MIB, Order::RarestFirst, 3, sources);
    simulation.run(Duration::from_secs(60));
    assert!(simulation.completed);
    let counts: Vec<u64> = simulation.delivered.values().copied().collect();
    assert!(counts[0] > 2 * counts[1] && counts[1] > 400, "{counts:?}");
    // 4,096 groups at 500 a second are 8.2 s; pipelines in two's mean twice that rate here.
    assert!(simulation.now < Instant::START + Duration::from_secs(10), "{:?}", simulation.now);
}

#[test]
fn sources_behind_relays_leave_room_for_one_that_needs_none() {
    let relayed = Behaviour { relayed: true, ..Behaviour::honest(10) };
    let mut sources = vec![relayed; 12];
    sources.push(Behaviour { appears: 2, ..Behaviour::honest(1_000) });
    let mut simulation = Simulation::new(64 * MIB, Order::RarestFirst, 3, sources);
    simulation.run(Duration::from_secs(60));
    assert!(simulation.completed);
    let direct = NodeId::from_bytes([13; 32]);
    let of_direct = simulation.delivered.get(&direct).copied().unwrap_or(0);
    assert!(of_direct > 3_000, "{of_direct} of 4,096 groups");
    assert!(simulation.now < Instant::START + Duration::from_secs(8), "{:?}", simulation.now);
}

#[test]
fn a_length_is_proven_by_a_source_without_a_relay_where_there_is_one() {
    let mut download = Download::new(Order::RarestFirst, 1);
    let [relayed, direct] = [1, 2].map(|number| NodeId::from_bytes([number; 32]));
    for source in [relayed, direct] {
        download.handle(Input::SourceFound { source }, Instant::START);
    }
    while download.poll_output(Instant::START).is_some() {}
    download.handle(Input::Path { source: relayed, relayed: true }, Instant::START);
    for source in [relayed, direct] {
        let input = Input::Has { source, size: 64 * MIB, have: Have::All };
        download.handle(input, Instant::START);
    }
    let first = download.poll_output(Instant::START);
    assert!(matches!(first, Some(Output::Request { source, .. }) if source == direct), "{first:?}");
}

#[test]
fn the_end_does_not_hang_on_a_source_that_falls_silent() {
    let mut silent = Behaviour::honest(1);
    silent.rate = 1;
    let sources = vec![Behaviour::honest(200), silent];
    let mut simulation = Simulation::new(8 * MIB, Order::RarestFirst, 3, sources);
    simulation.run(Duration::from_secs(60));
    assert!(simulation.completed);
    assert!(simulation.now < Instant::START + Duration::from_secs(8), "{:?}", simulation.now);
    assert!(simulation.download.totals().end_game_requests > 0);
    assert!(simulation.pending.is_empty(), "what others brought is called back");
}

#[test]
fn a_liar_about_the_length_is_found_out() {
    for claimed in [7 * MIB, 8 * MIB - 1, 9 * MIB, 1 << 60, 0] {
        let mut liar = Behaviour::honest(1000);
        liar.claims = Some(claimed);
        let sources = vec![liar, Behaviour::honest(100)];
        let mut simulation = Simulation::new(8 * MIB, Order::RarestFirst, 3, sources);
        simulation.run(Duration::from_secs(60));
        assert!(simulation.completed, "claimed {claimed}");
        assert_eq!(simulation.banned.len(), 1, "claimed {claimed}");
    }
}

/// A node of a crowd.
fn nth(number: u16) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// Tells what is to be done by then, and what is forgotten; all probes fail in this way.
fn fail_all(download: &mut Download, failure: Failure, until: u64) -> Vec<NodeId> {
    let mut forgotten = Vec::new();
    for second in 0..until {
        let now = Instant::START + Duration::from_secs(second);
        while let Some(output) = download.poll_output(now) {
            match output {
                Output::Probe { source } => {
                    download.handle(Input::ProbeFailed { source, failure }, now);
                }
                Output::Forget { source } => forgotten.push(source),
                _ => {}
            }
        }
    }
    forgotten
}

#[test]
fn a_crowd_of_sources_that_are_no_good_does_not_keep_out_a_good_one() {
    for failure in [Failure::WrongBytes, Failure::Refused, Failure::Lost] {
        let mut download = Download::new(Order::RarestFirst, 1);
        let crowd = 0..1_000;
        for number in crowd.clone() {
            download.handle(Input::SourceFound { source: nth(number) }, Instant::START);
        }
        assert!(download.totals().sources_refused > 700, "there is a bound");
        fail_all(&mut download, failure, 600);
        let now = Instant::START + Duration::from_secs(600);
        let good = nth(5_000);
        download.handle(Input::SourceFound { source: good }, now);
        assert!(download.knows(&good), "{failure:?}");
        let outputs: Vec<Output> = std::iter::from_fn(|| download.poll_output(now)).collect();
        assert!(outputs.contains(&Output::Probe { source: good }), "{failure:?}: {outputs:?}");
        assert!(outputs.iter().any(|output| matches!(output, Output::Forget { .. })));
        for number in crowd {
            download.handle(Input::SourceFound { source: nth(number) }, now);
        }
        assert!(download.knows(&good), "a good one does not make place: {failure:?}");
    }
}

#[test]
fn a_banned_source_that_made_place_does_not_come_back() {
    let mut download = Download::new(Order::RarestFirst, 1);
    for number in 0..256 {
        download.handle(Input::SourceFound { source: nth(number) }, Instant::START);
    }
    fail_all(&mut download, Failure::WrongBytes, 60);
    let now = Instant::START + Duration::from_secs(60);
    download.handle(Input::SourceFound { source: nth(1_000) }, now);
    let Some(Output::Forget { source }) = download.poll_output(now) else { panic!("it is full") };
    download.handle(Input::SourceFound { source }, now);
    assert!(!download.knows(&source));
}

#[test]
fn a_download_without_sources_asks_for_some_ever_more_rarely() {
    let mut simulation = Simulation::new(MIB, Order::RarestFirst, 3, Vec::new());
    simulation.run(Duration::from_secs(30));
    let soon = simulation.starved;
    assert!((3..=5).contains(&soon), "{soon} in half a minute");
    simulation.run(Duration::from_secs(3600));
    let later = simulation.starved - soon;
    assert!((55..=125).contains(&later), "{later} in an hour");
}

#[test]
fn what_is_here_is_not_asked_for_again() {
    let size = 8 * MIB;
    let here = RunSet::from_iter([Run { start: 0, end: 300 }, Run { start: 400, end: 450 }]);
    let download = Download::resume(Order::RarestFirst, 5, size, here.clone());
    let mut simulation = Simulation::of(download, size, 5, vec![Behaviour::honest(500)]);
    simulation.run(Duration::from_secs(60));
    assert!(simulation.completed);
    let fetched: u64 = simulation.delivered.values().sum();
    assert_eq!(fetched, groups_of(size) - here.len());
}

#[test]
fn a_paused_download_asks_nobody_and_goes_on_later() {
    let mut simulation = Simulation::new(MIB, Order::RarestFirst, 3, vec![Behaviour::honest(10)]);
    simulation.run(Duration::from_secs(2));
    let before = simulation.download.verified_bytes();
    assert!(before >= GROUP_BYTES);
    simulation.tell(Input::Pause);
    simulation.drain();
    assert!(simulation.pending.is_empty() && simulation.download.next_wakeup().is_none());
    simulation.tell(Input::Resume);
    simulation.run(Duration::from_secs(60));
    assert!(simulation.completed);
}

fn any_source(groups: u64) -> impl Strategy<Value = Behaviour> {
    let part = prop::collection::vec((0..groups, 1..=groups), 1..4).prop_map(move |runs| {
        let mut set = RunSet::new();
        for (start, len) in runs {
            set.insert(Run { start, end: (start + len).min(groups) });
        }
        set
    });
    let have = prop_oneof![1 => Just(None), 2 => part.prop_map(Some)];
    let claims = prop_oneof![8 => Just(None), 1 => (1_u64..1 << 50).prop_map(Some)];
    let lies = prop::bool::weighted(0.2);
    let rest = (0_u32..40, 0_u32..20, lies, claims, any::<bool>());
    (0_u64..60, have, 1_u64..500, rest).prop_map(
        |(appears, have, rate, (breaks, busy, lies, claims, relayed))| Behaviour {
            appears,
            have,
            rate,
            breaks,
            busy,
            lies,
            claims,
            relayed,
        },
    )
}

fn any_case() -> impl Strategy<Value = (u64, bool, u64, Vec<Behaviour>)> {
    (1_u64..40 * MIB / 8).prop_flat_map(|size| {
        let sources = prop::collection::vec(any_source(groups_of(size)), 0..12);
        (Just(size), any::<bool>(), any::<u64>(), sources)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_download_completes_if_and_only_if_honest_sources_have_every_part(
        (size, in_order, seed, sources) in any_case(),
    ) {
        let groups = groups_of(size);
        let mut covered = RunSet::new();
        let mut steady = RunSet::new();
        for source in sources.iter().filter(|s| s.is_honest()) {
            let have = source.have.clone().unwrap_or_else(|| RunSet::full(groups));
            covered.insert_all(&have);
            // One that breaks off too often may be given up, as if it had gone for good.
            if source.breaks < 10 {
                steady.insert_all(&have);
            }
        }
        let order = if in_order { Order::InOrder } else { Order::RarestFirst };
        let mut simulation = Simulation::new(size, order, seed, sources);
        simulation.run(Duration::from_secs(24 * 3600));
        if steady.len() == groups {
            prop_assert!(simulation.completed, "{:?}", simulation.download.situation());
        }
        if covered.len() < groups {
            prop_assert!(!simulation.completed);
        }
        if simulation.completed {
            prop_assert_eq!(simulation.download.verified(), &RunSet::full(groups));
            prop_assert_eq!(simulation.download.verified_bytes(), size);
            prop_assert!(simulation.pending.is_empty());
        }
    }
}

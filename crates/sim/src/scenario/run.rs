//! A scenario as it runs.

use super::asked::{Answered, Asked, by_copies, spread, sum_up};
use super::watch::Watch;
use super::{Deed, Scenario, ScenarioError};
use crate::catalogue::Catalogue;
use crate::network::{Network, Settings};
use crate::physics::Line;
use crate::queue::Queue;
use crate::report::Report;
use crate::workload::{Content, Workload};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use skein_proto::message::{MessageKind, RoleSetting};
use skein_proto::{ContentId, FileMeta, Instant, Role};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

/// How long after a question its answer is looked at: no search takes longer.
const PATIENCE: Duration = Duration::from_secs(61);

/// Verdicts on signatures that are remembered, in 300 MB: a credential is looked at some times within
/// a minute after it was issued, and then carries the verdict with it.
const VERDICTS: usize = 1_000_000;

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seconds of virtual time that are over.
    pub at: f64,
    /// Seconds of virtual time in all.
    pub of: f64,
    /// Nodes that run.
    pub alive: u32,
}

/// What the run does to the network, as opposed to what the nodes do.
enum Turn {
    /// A node goes, if it is still in this life.
    Go {
        node: u32,
        life: u32,
    },
    /// A node comes back, if it has not come back before.
    Come {
        node: u32,
        life: u32,
    },
    Search,
    Judge(Box<Asked>),
    Sample,
    Event(usize),
}

/// A scenario as it runs.
pub struct Run {
    /// The network.
    pub network: Network,
    /// What is shared and asked for.
    pub workload: Arc<Workload>,
    scenario: Scenario,
    seed: u64,
    rng: StdRng,
    agenda: Queue<Turn>,
    watch: Watch,
    report: Report,
    answered: Vec<Answered>,
    /// What is measured is over.
    over: bool,
    traffic_before: BTreeMap<&'static str, (u64, u64)>,
}

impl Run {
    /// Prepares a run; `seed` takes the place of the scenario's own.
    ///
    /// # Errors
    /// [`ScenarioError`] if the scenario is not sound.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, ScenarioError> {
        Self::with_threads(scenario, seed, available_parallelism().map_or(1, NonZero::get))
    }

    /// Prepares a run on so many threads; what comes of it does not depend on them.
    ///
    /// # Errors
    /// [`ScenarioError`] if the scenario is not sound.
    pub fn with_threads(
        scenario: &Scenario,
        seed: u64,
        threads: usize,
    ) -> Result<Self, ScenarioError> {
        scenario.check()?;
        skein_proto::key::memo::enable(VERDICTS);
        let workload = Arc::new(Workload::new(&scenario.workload, scenario.nodes, seed)?);
        let wires = &scenario.network;
        let settings = Settings {
            seed,
            max_latency: Duration::from_secs_f64(wires.max_latency_ms / 1_000.0),
            jitter: Duration::from_secs_f64(wires.jitter_ms / 1_000.0),
            loss: wires.loss,
            max_children: wires.max_children,
            max_neighbours: wires.max_neighbours,
            login_list: wires.login_list,
            keep_events: false,
            window: Duration::MAX,
            threads,
            ..Settings::default()
        };
        let mut run = Self {
            network: Network::with_files(settings, Catalogue::of(workload.clone())),
            workload,
            scenario: scenario.clone(),
            seed,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            agenda: Queue::new(),
            watch: Watch::default(),
            report: Report::default(),
            answered: Vec::new(),
            over: false,
            traffic_before: BTreeMap::new(),
        };
        run.people();
        run.plan();
        Ok(run)
    }

    /// Runs to the end and sums up. `progress` hears how far it has come.
    pub fn finish(mut self, mut progress: impl FnMut(Progress)) -> Report {
        let began = std::time::Instant::now();
        let end = Instant::START
            + self.scenario.before()
            + Duration::from_secs_f64(self.scenario.run_seconds);
        // The last questions are waited for: nobody asks or goes meanwhile, but nodes that are
        // away do come back.
        self.run_to(end, &mut progress);
        self.over = true;
        self.run_to(end + PATIENCE, &mut progress);
        self.report.wall_seconds = began.elapsed().as_secs_f64();
        self.sum_up()
    }

    /// Runs for some time, for who does something of his own meanwhile.
    pub fn advance(&mut self, time: Duration) {
        self.advance_telling(time, &mut |_| {});
    }

    /// Runs for some time; `progress` hears at each sample how far it has come.
    pub fn advance_telling(&mut self, time: Duration, progress: &mut dyn FnMut(Progress)) {
        self.run_to(self.network.now() + time, progress);
    }

    fn run_to(&mut self, end: Instant, progress: &mut dyn FnMut(Progress)) {
        let all = self.scenario.before().as_secs_f64() + self.scenario.run_seconds;
        while let Some(at) = self.agenda.next_at().filter(|at| *at <= end) {
            self.network.run_to(at);
            let Some((_, turn)) = self.agenda.pop() else { break };
            let sample = matches!(turn, Turn::Sample);
            self.take(turn);
            if sample {
                let alive = self.report.samples.last().map_or(0, |sample| sample.alive);
                progress(Progress { at: seconds(at), of: all, alive });
            }
        }
        self.network.run_to(end);
    }

    /// Places all nodes.
    fn people(&mut self) {
        let scenario = &self.scenario;
        let nodes = scenario.nodes;
        let mut open: Vec<u32> =
            (0..nodes).filter(|node| !self.workload.population.line(*node).behind_nat).collect();
        open.sort_by_key(|node| (u64::MAX - self.workload.population.line(*node).up_bps, *node));
        let supers = (f64::from(nodes) * scenario.roles.supernodes).round() as usize;
        let mut roles = vec![RoleSetting::Auto; nodes as usize];
        for node in open.iter().take(supers) {
            roles[*node as usize] = RoleSetting::Super;
        }
        for role in &mut roles {
            if *role == RoleSetting::Auto && self.rng.random_bool(scenario.roles.ordinary) {
                *role = RoleSetting::Ordinary;
            }
        }
        for (node, role) in (0..nodes).zip(roles) {
            let files = self.workload.shared_by(node).iter().map(|content| content.0).collect();
            let mut line = self.workload.population.line(node);
            if !scenario.network.bandwidth {
                line = Line { up_bps: 0, down_bps: 0, ..line };
            }
            self.network.place(role, files, line);
        }
        self.poisoners();
    }

    fn poisoners(&mut self) {
        let poison = self.scenario.poisoners.clone();
        // A share of all names, theirs included.
        let others = f64::from(self.scenario.nodes);
        let count = (others * poison.share / (1.0 - poison.share)).round() as u32;
        let names = poison.names.clamp(1, self.workload.catalogue.len().max(1));
        for _ in 0..count {
            let files: Vec<u32> = (0..poison.files)
                .map(|_| {
                    // The lower its number the more a content is asked for.
                    let name = Content(self.rng.random_range(0..names));
                    let file = self.workload.catalogue.file(name);
                    let content = ContentId::from_bytes(self.rng.random());
                    self.network.catalogue.add(FileMeta { content, ..file })
                })
                .collect();
            self.network.place(RoleSetting::Ordinary, files, Line::default());
        }
    }

    /// Writes down when nodes start, and what else is known before.
    fn plan(&mut self) {
        let start = Duration::from_secs_f64(self.scenario.start_seconds);
        let spare = self.scenario.churn.spare_supernodes;
        let model = self.scenario.churn.model;
        for node in 0..self.network.len() as u32 {
            let is_super = self.network.role_of(node) == RoleSetting::Super;
            let part = if is_super { start / 10 } else { start };
            let at = Instant::START + part.mul_f64(self.rng.random());
            let (present, change) = model.at_start(&mut self.rng);
            if present || (is_super && spare) {
                self.network.start_node_at(node, at);
            }
            // Nobody goes before all have come.
            let measured = Instant::START + self.scenario.before();
            match change {
                Some(after) if present && !(is_super && spare) => {
                    self.agenda.push(measured + after, Turn::Go { node, life: 1 });
                }
                Some(after) if !present => {
                    self.agenda.push(measured + after, Turn::Come { node, life: 0 });
                }
                _ => {}
            }
        }
        let measured = Instant::START + self.scenario.before();
        for (number, event) in self.scenario.events.iter().enumerate() {
            let at = measured + Duration::from_secs_f64(event.at_seconds);
            self.agenda.push(at, Turn::Event(number));
        }
        self.next_search(measured);
        self.agenda.push(Instant::START, Turn::Sample);
    }

    fn next_search(&mut self, from: Instant) {
        let rate = self.scenario.searches.per_node_hour * f64::from(self.scenario.nodes) / 3_600.0;
        if rate > 0.0 {
            // Poisson's process: pauses follow the exponential distribution.
            let pause = -(1.0 - self.rng.random::<f64>()).ln() / rate;
            self.agenda.push(from + Duration::from_secs_f64(pause), Turn::Search);
        }
    }

    fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Go { node, life } => {
                let there = self.network.is_alive(node) && self.network.life(node) == life;
                if there && !self.over {
                    self.go(node);
                }
            }
            Turn::Come { node, life } => {
                if !self.network.is_alive(node) && self.network.life(node) == life {
                    self.come(node);
                }
            }
            Turn::Search if self.over => {}
            Turn::Search => {
                self.search();
                self.next_search(self.network.now());
            }
            Turn::Judge(asked) => self.judge(&asked),
            Turn::Sample => {
                self.sample();
                let pause = Duration::from_secs_f64(self.scenario.sample_seconds);
                self.agenda.push(self.network.now() + pause, Turn::Sample);
            }
            Turn::Event(number) => {
                let deed = self.scenario.events[number].r#do.clone();
                self.happen(&deed);
            }
        }
    }

    fn go(&mut self, node: u32) {
        if self.rng.random_bool(self.scenario.churn.goodbyes) {
            self.network.stop_node(node);
        } else {
            self.network.kill_node(node);
        }
        self.report.departures += 1;
        let absence = self.scenario.churn.model.absence(&mut self.rng);
        self.come_later(node, absence);
    }

    fn come_later(&mut self, node: u32, absence: Duration) {
        let life = self.network.life(node);
        self.agenda.push(self.network.now() + absence, Turn::Come { node, life });
    }

    fn come(&mut self, node: u32) {
        self.network.restart_node(node);
        if let Some(session) = self.scenario.churn.model.session(&mut self.rng) {
            let life = self.network.life(node);
            self.agenda.push(self.network.now() + session, Turn::Go { node, life });
        }
    }

    fn search(&mut self) {
        // Somebody who is there, of those that belong to the workload.
        let Some(asker) = self.somebody() else { return };
        let rare = self.rng.random_bool(self.scenario.searches.rare);
        let rare = rare.then(|| self.workload.rare_search(&mut self.rng)).flatten();
        let search = rare.unwrap_or_else(|| self.workload.popular_search(&mut self.rng));
        let alive = self.network.alive();
        let there = |node: u32| node != asker && alive.has(node);
        let wanted = self.scenario.searches.wanted;
        let possible =
            self.workload.each_available(&search, there).take(usize::from(wanted)).count();
        let holders = self.workload.holdings.holders(search.target);
        let copies = holders.iter().filter(|node| there(**node)).count() as u32;
        if possible == 0 {
            // Nothing is there: such a search costs messages, but has no recall.
            self.report.searches_for_nothing += 1;
        }
        let text = self.workload.catalogue.text(&search.words);
        let id = self.network.start_search(self.network.id(asker), &text, wanted);
        let life = self.network.life(asker);
        let at = seconds(self.network.now());
        let asked = Asked { id, at, asker, life, search, there: alive, possible, copies };
        self.report.searches_begun += 1;
        self.agenda.push(self.network.now() + PATIENCE, Turn::Judge(Box::new(asked)));
    }

    fn judge(&mut self, asked: &Asked) {
        let Some(outcome) = self.network.take_outcome(asked.id) else { return };
        if self.network.life(asked.asker) != asked.life {
            self.report.askers_gone += 1;
            return;
        }
        let contents = outcome.contents();
        let mut found: Vec<Content> =
            contents.iter().filter_map(|id| self.workload.content(id)).collect();
        found.sort_unstable();
        let possible = asked.possible;
        if possible == 0 {
            return;
        }
        let there = |node: u32| node != asked.asker && asked.there.has(node);
        let is_right =
            |content: &&Content| self.workload.is_available(**content, &asked.search, there);
        let right = found.iter().filter(is_right).count();
        let is_found = found.binary_search(&asked.search.target).is_ok();
        if is_found {
            let nat = |node: u32| self.workload.population.host(node).nat;
            let holders = self.workload.holdings.holders(asked.search.target).iter();
            let ways = holders.filter(|node| there(**node));
            let best = ways.map(|node| nat(asked.asker).way_to(nat(*node))).min();
            best.into_iter().for_each(|way| self.report.ways.count(way));
        }
        self.answered.push(Answered {
            at: asked.at,
            copies: asked.copies,
            found: is_found,
            recall: right.min(possible) as f64 / possible as f64,
            first_hit: outcome.first_hit.map(|time| time.as_secs_f64()),
            took: outcome.took.map(|time| time.as_secs_f64()),
            contents: contents.len() as u32,
            genuine: found.len() as u32,
            supernodes: outcome.coverage.map_or(0, |coverage| coverage.supernodes_asked),
        });
    }

    fn sample(&mut self) {
        let now = self.network.now();
        let measured = !self.over && now.since(Instant::START) >= self.scenario.before();
        if measured && self.traffic_before.is_empty() {
            self.traffic_before = self.network.traffic();
        }
        let sample = self.watch.sample(&self.network, seconds(now), measured);
        self.report.samples.push(sample);
    }

    fn happen(&mut self, deed: &Deed) {
        let at = seconds(self.network.now());
        self.report.events.push((at, format!("{deed:?}")));
        let alive = |network: &Network, node: &u32| network.is_alive(*node);
        match *deed {
            Deed::KillSupernodes { share } => {
                let supers: Vec<u32> = (0..self.network.len() as u32)
                    .filter(|node| alive(&self.network, node))
                    .filter(|node| {
                        self.network.overlay_of(*node).is_some_and(|o| o.role() == Role::Super)
                    })
                    .collect();
                for node in self.some_of(supers, share) {
                    self.network.kill_node(node);
                }
            }
            Deed::RestartNodes { share, away_seconds } => {
                let all: Vec<u32> = (0..self.network.len() as u32)
                    .filter(|node| alive(&self.network, node))
                    .collect();
                for node in self.some_of(all, share) {
                    self.network.kill_node(node);
                    let away = Duration::from_secs_f64(away_seconds * self.rng.random::<f64>());
                    self.come_later(node, away);
                }
            }
            Deed::LoginDown => self.network.set_login_up(false),
            Deed::LoginUp => self.network.set_login_up(true),
        }
    }

    fn some_of(&mut self, mut nodes: Vec<u32>, share: f64) -> Vec<u32> {
        nodes.shuffle(&mut self.rng);
        nodes.truncate((nodes.len() as f64 * share).round() as usize);
        nodes
    }

    fn sum_up(mut self) -> Report {
        let report = &mut self.report;
        report.name = self.scenario.name.clone();
        report.about = self.scenario.about.clone();
        report.seed = self.seed;
        report.nodes = self.network.len() as u32;
        report.max_children = self.scenario.network.max_children;
        report.measured_from = self.scenario.before().as_secs_f64();
        report.virtual_seconds = seconds(self.network.now());
        report.happenings = self.network.happenings;
        report.all_searches = sum_up(&self.answered, (0, u32::MAX));
        report.by_copies = by_copies(&self.answered);
        spread(&self.answered, &mut report.samples);
        report.ordinary = self.watch.rates(Role::Ordinary);
        report.supernode = self.watch.rates(Role::Super);
        for (kind, (messages, bytes)) in self.network.traffic() {
            let before = self.traffic_before.get(kind).copied().unwrap_or_default();
            report.kinds.insert(kind.to_owned(), (messages - before.0, bytes - before.1));
        }
        let of_searches: u64 = MessageKind::ALL
            .iter()
            .filter(|kind| belongs_to_searches(**kind))
            .filter_map(|kind| report.kinds.get(kind.name()))
            .map(|(messages, _)| messages)
            .sum();
        report.messages_per_search = of_searches as f64 / (report.searches_begun as f64).max(1.0);
        for node in 0..self.network.len() as u32 {
            if let Some(overlay) = self.network.overlay_of(node) {
                for (name, count) in overlay.counters().all() {
                    *report.counters.entry(name.to_owned()).or_default() += count;
                }
            }
        }
        report.counters.retain(|_, count| *count > 0);
        self.report
    }

    /// A node of the workload that runs; `None` if none is met in many tries.
    pub fn somebody(&mut self) -> Option<u32> {
        (0..64)
            .map(|_| self.rng.random_range(0..self.scenario.nodes))
            .find(|node| self.network.is_alive(*node))
    }
}

/// Whether messages of this kind are sent because somebody searches.
fn belongs_to_searches(kind: MessageKind) -> bool {
    use MessageKind as Kind;
    matches!(kind, Kind::Search | Kind::Flood | Kind::Hits | Kind::SearchDone | Kind::CancelSearch)
}

fn seconds(at: Instant) -> f64 {
    at.since(Instant::START).as_secs_f64()
}

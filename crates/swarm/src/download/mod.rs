//! The decisions of one download.
//!
//! A source is first asked what it has (a *probe*). The length of the file is known only when
//! its last chunk group has been verified under a claimed length (the proof of length of the Bao
//! format), so that group is fetched first; then the rest is shared out in runs of chunk groups.
//! When all that is missing has been asked for, idle sources are asked for the far end of what
//! slow ones still owe (the end-game).

mod end_game;
mod io;
mod requests;
mod share_out;
mod situation;
mod sources;
mod verified;

pub use io::{Failure, Input, Output, RequestId};
pub use situation::{Situation, Totals};

use crate::pick::Order;
use crate::runs::RunSet;
use crate::source::{Phase, Source};
use rand::SeedableRng;
use rand::rngs::StdRng;
use requests::{Request, STALL};
use skein_proto::{Instant, NodeId};
use sources::{REFRESH, STARVED_WAIT, may_probe};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// One download.
///
/// After each [`handle`](Self::handle), and at [`next_wakeup`](Self::next_wakeup), the driver
/// calls [`poll_output`](Self::poll_output) until it returns `None`.
#[derive(Debug)]
pub struct Download {
    order: Order,
    rng: StdRng,
    sources: BTreeMap<NodeId, Source>,
    /// Banned sources that made place for others.
    barred: BTreeSet<NodeId>,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    /// Proven length.
    size: Option<u64>,
    verified: RunSet,
    /// Neither here nor asked for.
    free: RunSet,
    paused: bool,
    completed: bool,
    starved_wait: Duration,
    /// Not before this time is anybody asked for more sources.
    starved_next: Instant,
    outputs: VecDeque<Output>,
    totals: Totals,
}

impl Download {
    /// A download of which nothing is known. `seed` makes its random choices its own.
    pub fn new(order: Order, seed: u64) -> Self {
        Self {
            order,
            rng: StdRng::seed_from_u64(seed),
            sources: BTreeMap::new(),
            barred: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            size: None,
            verified: RunSet::new(),
            free: RunSet::new(),
            paused: false,
            completed: false,
            starved_wait: STARVED_WAIT.0,
            starved_next: Instant::START,
            outputs: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// A download that goes on: its length was proven, and these groups are here and verified.
    pub fn resume(order: Order, seed: u64, size: u64, verified: RunSet) -> Self {
        let mut download = Self::new(order, seed);
        download.verified = verified;
        download.set_size(size);
        download
    }

    /// The length of the file in bytes, once proven.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The groups that are here.
    pub const fn verified(&self) -> &RunSet {
        &self.verified
    }

    /// Counts so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::SourceFound { source } => self.on_found(source, now),
            Input::Has { source, size, have } => self.on_has(source, size, have, now),
            Input::Path { source, relayed } => {
                if let Some(source) = self.sources.get_mut(&source) {
                    source.relayed = relayed;
                }
            }
            Input::ProbeFailed { source, failure } => {
                if self.sources.get(&source).is_some_and(|s| s.phase == Phase::Probing) {
                    self.blame(source, failure, now);
                }
            }
            Input::Verified { request, run } => self.on_verified(request, run, now),
            Input::Failed { request, failure } => {
                if let Some(source) = self.release(request) {
                    self.totals.failed_requests += 1;
                    self.blame(source, failure, now);
                }
            }
            Input::Pause => {
                self.paused = true;
                let all: Vec<RequestId> = self.requests.keys().copied().collect();
                for id in all {
                    self.call_back(id);
                }
            }
            Input::Resume => self.paused = false,
        }
    }

    /// What is to be done next. `None` means: nothing until the next input or wake-up.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.outputs.is_empty() {
            self.decide(now);
        }
        self.outputs.pop_front()
    }

    /// When [`poll_output`](Self::poll_output) may have more to say though nothing happened.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.completed || self.paused {
            return None;
        }
        let has_room = may_probe(self.working_sources());
        let stalls = self.requests.values().map(|request| request.progress + STALL);
        let waits = self.sources.values().filter_map(|source| match source.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Ready if has_room && source.may_grow() => Some(source.probed + REFRESH),
            _ => None,
        });
        let starved = self.is_starved().then_some(self.starved_next);
        stalls.chain(waits).chain(starved).min()
    }

    fn decide(&mut self, now: Instant) {
        if self.completed || self.paused {
            return;
        }
        self.call_back_stalled(now);
        for source in self.sources.values_mut() {
            source.wake(now);
        }
        self.probe(now);
        if self.size.is_some() {
            self.share_out(now)
        } else {
            self.ask_for_proof(now)
        }
        self.look_for_more(now);
    }
}

//! The decisions of one download.
//!
//! A source is first asked what it has (a *probe*). The length of the file is known only when
//! its last chunk group has been verified under a claimed length (the proof of length of the Bao
//! format), so that group is fetched first; then the rest is shared out in runs of chunk groups.
//! When all that is missing has been asked for, idle sources are asked for the far end of what
//! slow ones still owe (the end-game).

use crate::pick::{Choice, Order, piece_groups};
use crate::runs::{Run, RunSet};
use crate::source::{Have, Phase, Source};
use crate::{MAX_FILE_BYTES, bytes_of, groups_of};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein_proto::fetch::{ByteRange, GROUP_BYTES};
use skein_proto::{Instant, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Sources that are fetched from at the same time. More do not make a download faster once the
/// line is full, and each one keeps up to two requests' bytes in flight.
const MAX_ACTIVE: usize = 8;

/// The same with those whose bytes come through a relay: they do not keep the place of a source
/// that can be asked without one.
const MAX_ACTIVE_IN_ALL: usize = 2 * MAX_ACTIVE;

/// Sources that a download knows at most; who comes later is not taken in. Eight work, the rest
/// stands by.
const MAX_SOURCES: usize = 256;

/// Requests that one source works on at a time: one whose bytes come, and the next one waiting
/// behind it, so that the line does not fall idle for a round trip between them.
const PIPELINE: u32 = 2;

/// How long one request should keep its source busy. Short enough that the end of a download
/// does not hang on one slow source, long enough that the round trip does not matter.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The largest request in bytes, however fast its source is: what may have to be fetched again
/// when a source is lost without a trace.
const MAX_REQUEST_BYTES: u64 = 16 * 1024 * 1024;

/// A request that brings nothing for so long has failed. QUIC keeps a path alive for longer, but
/// a source that has stopped reading its disk never says so.
const STALL: Duration = Duration::from_secs(20);

/// A request that brings nothing for so long is taken over by others in the end-game.
const SILENT: Duration = REQUEST_TIME;

/// How many sources may prove the length at the same time. One is enough if it is honest and
/// awake; three make it likely that one of them is.
const PROOFS: usize = 3;

/// How often a partial source without anything of interest is asked for news.
const REFRESH: Duration = Duration::from_secs(15);

/// The first and the longest time between two calls for more sources. Whoever took a file away
/// for a moment, or started a program anew, expects the download to go on before they look twice;
/// one search a minute is little for what nobody has.
const STARVED_WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Names a request of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Somebody is said to have the file.
    SourceFound {
        /// The source.
        source: NodeId,
    },
    /// A source answered a probe, or said anew what it has.
    Has {
        /// The source.
        source: NodeId,
        /// The length of the file in bytes, as it claims.
        size: u64,
        /// What it has.
        have: Have,
    },
    /// Which way the bytes of a source come. One of which this was not said is direct.
    Path {
        /// The source.
        source: NodeId,
        /// Whether they come through a relay, whose bytes others want as well.
        relayed: bool,
    },
    /// A probe failed.
    ProbeFailed {
        /// The source.
        source: NodeId,
        /// How.
        failure: Failure,
    },
    /// Chunk groups of a request have been verified and stored.
    Verified {
        /// The request.
        request: RequestId,
        /// The groups.
        run: Run,
    },
    /// A request is over before all of its groups have come.
    Failed {
        /// The request.
        request: RequestId,
        /// How.
        failure: Failure,
    },
    /// Nothing can be stored at present: all requests are called back.
    Pause,
    /// It can again.
    Resume,
}

/// How a source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It could not be reached, or broke off.
    Lost,
    /// It does not have what it was asked for.
    NotFound,
    /// All of its upload slots are taken; it is to be asked again after this time.
    Busy(Duration),
    /// It does not serve this node.
    Refused,
    /// It sent bytes that do not belong to the file, or claims another length.
    WrongBytes,
    /// It is not the source's fault: the bytes could not be stored here.
    Local,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Ask a source what it has.
    Probe {
        /// The source.
        source: NodeId,
    },
    /// Ask a source for bytes.
    Request {
        /// Names it in what follows.
        id: RequestId,
        /// The source.
        source: NodeId,
        /// The bytes: whole chunk groups.
        range: ByteRange,
        /// The length under which they are to be verified.
        size: u64,
    },
    /// The rest of a request is not wanted any more.
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// The length of the file is proven.
    SizeProven {
        /// In bytes.
        size: u64,
    },
    /// A source sent wrong bytes and is not asked again.
    Ban {
        /// The source.
        source: NodeId,
    },
    /// No source that is known can help at present: look for more.
    Starved,
    /// Every chunk group is here.
    Completed,
}

/// Why bytes come, or do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Situation {
    /// Bytes are on their way.
    Fetching,
    /// Sources are being asked what they have.
    Asking,
    /// Sources are known, and all of them are busy.
    AllBusy {
        /// When the next one is asked again.
        until: Instant,
    },
    /// Sources are known, but none answers or has what is missing.
    NoneAnswers,
    /// No source is known.
    NoSource,
    /// It is paused.
    Paused,
    /// It is complete.
    Complete,
}

/// Counts of a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests made.
    pub requests: u64,
    /// Requests for what had been asked of another source already.
    pub end_game_requests: u64,
    /// Requests that failed.
    pub failed_requests: u64,
    /// Sources that were not taken in since too many were known.
    pub sources_refused: u64,
    /// Sources that were banned.
    pub banned: u64,
}

#[derive(Debug)]
struct Request {
    source: NodeId,
    remaining: RunSet,
    /// The group behind the last one that its source will send.
    end: u64,
    /// When it brought something the last time, or was made.
    progress: Instant,
    /// The length that it proves, if that is what it is for.
    proves: Option<u64>,
}

/// One download.
///
/// After each [`handle`](Self::handle), and at [`next_wakeup`](Self::next_wakeup), the driver
/// calls [`poll_output`](Self::poll_output) until it returns `None`.
#[derive(Debug)]
pub struct Download {
    order: Order,
    rng: StdRng,
    sources: BTreeMap<NodeId, Source>,
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

    /// Bytes that are here.
    pub fn verified_bytes(&self) -> u64 {
        let size = self.size.unwrap_or(u64::MAX);
        self.verified.iter().map(|run| bytes_of(run, size).len()).sum()
    }

    /// Counts so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Sources that are asked for bytes at present.
    pub fn active_sources(&self) -> usize {
        self.sources.values().filter(|source| source.outstanding > 0).count()
    }

    /// Sources that are known and have not been banned or given up.
    pub fn known_sources(&self) -> usize {
        let gone = |phase| matches!(phase, Phase::Banned | Phase::GivenUp { .. });
        self.sources.values().filter(|source| !gone(source.phase)).count()
    }

    /// Whether everything that is missing has been asked for, so that the slow end is asked twice.
    pub fn in_end_game(&self) -> bool {
        self.size.is_some() && self.free.is_empty() && !self.completed
    }

    /// Why bytes come, or do not.
    pub fn situation(&self) -> Situation {
        let busy = self.sources.values().filter_map(|source| match source.phase {
            Phase::Waiting { until, busy: true, .. } => Some(until),
            _ => None,
        });
        let probing = |source: &Source| matches!(source.phase, Phase::Probing | Phase::New);
        if self.completed {
            Situation::Complete
        } else if self.paused {
            Situation::Paused
        } else if !self.requests.is_empty() {
            Situation::Fetching
        } else if self.sources.values().any(probing) {
            Situation::Asking
        } else if let Some(until) = busy.min() {
            Situation::AllBusy { until }
        } else if self.sources.is_empty() {
            Situation::NoSource
        } else {
            Situation::NoneAnswers
        }
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

    fn on_found(&mut self, id: NodeId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.revive(now);
        } else if self.sources.len() < MAX_SOURCES {
            self.sources.insert(id, Source::new(now));
        } else {
            self.totals.sources_refused += 1;
        }
    }

    fn on_has(&mut self, id: NodeId, size: u64, have: Have, now: Instant) {
        let proven = self.size;
        let Some(source) = self.sources.get_mut(&id) else { return };
        if matches!(source.phase, Phase::Banned) {
            return;
        }
        if size == 0 || size > MAX_FILE_BYTES || proven.is_some_and(|proven| proven != size) {
            self.blame(id, Failure::WrongBytes, now);
            return;
        }
        source.claim = Some(size);
        source.have = have;
        source.probed = now;
        if source.phase == Phase::Probing {
            source.phase = Phase::Ready;
        }
    }

    fn on_verified(&mut self, id: RequestId, run: Run, now: Instant) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.progress = now;
            self.starved_wait = STARVED_WAIT.0;
            let proves = request.proves;
            if let Some(source) = self.sources.get_mut(&request.source) {
                source.delivered();
                source.rate.add(run.len().saturating_mul(GROUP_BYTES), now);
            }
            if let Some(size) = proves
                && self.size.is_none()
            {
                self.prove(size, now);
            }
        }
        // Bytes of a request that was called back are as good as any, if the length is known.
        let Some(size) = self.size else { return };
        let run = run.intersect(&Run { start: 0, end: groups_of(size) });
        self.verified.insert(run);
        self.free.remove(run);
        let mut over = Vec::new();
        for (&other, request) in &mut self.requests {
            request.remaining.remove(run);
            if request.remaining.is_empty() {
                over.push(other);
            }
        }
        for other in over {
            if other == id && self.requests.get(&id).is_some_and(|own| own.end == run.end) {
                self.release(other);
            } else {
                // Somebody else brought the rest of it.
                self.call_back(other);
            }
        }
        if self.verified.len() == groups_of(size) && !self.completed {
            self.complete();
        }
    }

    fn complete(&mut self) {
        self.completed = true;
        let rest: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in rest {
            self.call_back(id);
        }
        self.outputs.push_back(Output::Completed);
    }

    fn set_size(&mut self, size: u64) {
        self.size = Some(size);
        self.free = RunSet::full(groups_of(size));
        self.free.remove_all(&self.verified);
        if self.free.is_empty() {
            self.complete();
        }
    }

    /// The last chunk group has been verified under this length.
    fn prove(&mut self, size: u64, now: Instant) {
        self.size = Some(size);
        self.outputs.push_back(Output::SizeProven { size });
        self.free = RunSet::full(groups_of(size));
        // What other sources were to prove is the last group, too; under another length it is
        // nothing at all.
        for request in self.requests.values_mut() {
            request.proves = None;
            self.free.remove_all(&request.remaining);
        }
        let claims =
            self.sources.iter().filter(|(_, s)| s.claim.is_some_and(|claim| claim != size));
        let liars: Vec<NodeId> = claims.map(|(&id, _)| id).collect();
        for liar in liars {
            self.blame(liar, Failure::WrongBytes, now);
        }
    }

    /// Forgets a request; what it did not bring can be asked for again. Returns its source.
    fn release(&mut self, id: RequestId) -> Option<NodeId> {
        let mut request = self.requests.remove(&id)?;
        if let Some(source) = self.sources.get_mut(&request.source) {
            source.outstanding = source.outstanding.saturating_sub(1);
        }
        if let Some(size) = self.size {
            request.remaining.remove_all(&self.verified);
            for other in self.requests.values() {
                request.remaining.remove_all(&other.remaining);
            }
            let all = Run { start: 0, end: groups_of(size) };
            for run in request.remaining.within(all) {
                self.free.insert(run);
            }
        }
        Some(request.source)
    }

    fn call_back(&mut self, id: RequestId) {
        if self.release(id).is_some() {
            self.outputs.push_back(Output::Cancel { id });
        }
    }

    fn call_back_all_of(&mut self, source: NodeId) {
        let of_source = self.requests.iter().filter(|(_, request)| request.source == source);
        let ids: Vec<RequestId> = of_source.map(|(&id, _)| id).collect();
        for id in ids {
            self.call_back(id);
        }
    }

    fn blame(&mut self, id: NodeId, failure: Failure, now: Instant) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        match (source.phase, failure) {
            (Phase::Banned, _) => return,
            (_, Failure::WrongBytes) => {}
            // What one broken connection took down with it counts as one failure.
            (Phase::GivenUp { .. } | Phase::Waiting { busy: false, .. }, _) => return,
            _ => {}
        }
        match failure {
            Failure::Lost => source.failed(now, &mut self.rng),
            Failure::Busy(retry) => source.busy(retry, now),
            Failure::Refused => source.give_up(now),
            Failure::NotFound if source.have == Have::All => source.give_up(now),
            // It said what it has, and lost it since: it may say it anew.
            Failure::NotFound => source.failed(now, &mut self.rng),
            Failure::Local => {
                if source.phase == Phase::Probing {
                    source.phase = Phase::New;
                }
            }
            Failure::WrongBytes => {
                source.phase = Phase::Banned;
                self.totals.banned += 1;
                self.outputs.push_back(Output::Ban { source: id });
                self.call_back_all_of(id);
            }
        }
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

    fn call_back_stalled(&mut self, now: Instant) {
        let stalled = self.requests.iter().filter(|(_, r)| now.since(r.progress) >= STALL);
        let stalled: Vec<(RequestId, NodeId)> = stalled.map(|(&id, r)| (id, r.source)).collect();
        for (id, source) in stalled {
            self.totals.failed_requests += 1;
            self.call_back(id);
            self.blame(source, Failure::Lost, now);
        }
    }

    fn probe(&mut self, now: Instant) {
        let mut working = self.working_sources();
        for (&id, source) in &mut self.sources {
            if !may_probe(working) {
                break;
            }
            let stale = source.may_grow() && now.since(source.probed) >= REFRESH;
            if source.phase == Phase::New || (source.phase == Phase::Ready && stale) {
                source.phase = Phase::Probing;
                self.outputs.push_back(Output::Probe { source: id });
                working.0 += 1;
                working.1 += usize::from(!source.relayed);
            }
        }
    }

    fn ask_for_proof(&mut self, now: Instant) {
        let mut ready: Vec<(bool, NodeId, u64)> = self
            .sources
            .iter()
            .filter(|(_, s)| s.phase == Phase::Ready && s.outstanding == 0)
            .filter_map(|(&id, s)| s.claim.map(|claim| (id, claim, s)))
            .filter(|(_, claim, s)| s.have.contains_run(last_group(*claim)))
            .map(|(id, claim, s)| (s.relayed, id, claim))
            .collect();
        ready.sort_unstable();
        for (_, id, claim) in ready {
            if self.requests.len() >= PROOFS {
                break;
            }
            self.request(id, last_group(claim), claim, Some(claim), now);
        }
    }

    fn share_out(&mut self, now: Instant) {
        let Some(size) = self.size else { return };
        // The fastest choose first; those not measured yet come before all, or they never would be.
        // Those behind a relay come last: what others give is not taken from a relay.
        let mut ready: Vec<(bool, u64, NodeId)> = self
            .sources
            .iter()
            .filter(|(_, s)| s.phase == Phase::Ready)
            .map(|(&id, s)| (!s.relayed, s.rate.get().unwrap_or(u64::MAX), id))
            .collect();
        ready.sort_unstable_by(|a, b| b.cmp(a));
        // Everybody gets a first request before anybody gets a second one.
        for depth in 0..PIPELINE {
            for &(_, _, id) in &ready {
                let Some(source) = self.sources.get(&id) else { continue };
                let joins = source.outstanding == 0;
                if source.outstanding != depth || (joins && !self.has_room_for(source.relayed)) {
                    continue;
                }
                if let Some(run) = self.choose(id, size) {
                    self.request(id, run, size, None, now);
                } else if depth == 0
                    && let Some(run) = self.choose_again(id, size, now)
                {
                    self.totals.end_game_requests += 1;
                    self.request(id, run, size, None, now);
                }
            }
        }
    }

    fn choose(&mut self, id: NodeId, size: u64) -> Option<Run> {
        if self.free.is_empty() {
            return None;
        }
        let source = self.sources.get(&id)?;
        let in_use = |s: &&Source| matches!(s.phase, Phase::Ready | Phase::Waiting { .. });
        let others: Vec<&Have> = self.sources.values().filter(in_use).map(|s| &s.have).collect();
        let groups = groups_of(size);
        let choice = Choice {
            free: &self.free,
            have: &source.have,
            others: &others,
            next_group: source.next_group,
            want: want(source, groups),
            piece: piece_groups(groups),
            groups,
        };
        choice.pick(self.order, &mut self.rng)
    }

    /// In the end-game: the far end of what the slowest other source owes.
    fn choose_again(&self, id: NodeId, size: u64, now: Instant) -> Option<Run> {
        if !self.free.is_empty() {
            return None;
        }
        let source = self.sources.get(&id)?;
        let mine = source.rate.get();
        let groups = groups_of(size);
        let eta = |request: &Request, rate: u64| {
            request.remaining.len().saturating_mul(GROUP_BYTES) / rate.max(1)
        };
        let slowest = self
            .requests
            .iter()
            .filter(|(_, request)| request.source != id)
            .filter_map(|(&name, request)| {
                let rate = self.sources.get(&request.source).and_then(|s| s.rate.get());
                // What it was once is no rate for a source that has fallen silent.
                let silent = now.since(request.progress) > SILENT;
                let rate = rate.filter(|_| !silent).unwrap_or(0);
                // Taking over is worth it only from somebody who is not faster.
                (rate <= mine.unwrap_or(u64::MAX))
                    .then(|| (eta(request, rate), request.remaining.len(), name, request))
            })
            .filter_map(|(eta, len, name, request)| {
                let mut once = request.remaining.clone();
                for (&other, twice) in &self.requests {
                    if other != name {
                        once.remove_all(&twice.remaining);
                    }
                }
                let run = match &source.have {
                    Have::All => once.last(),
                    Have::Some(have) => once.intersect(have).last(),
                }?;
                Some((eta, len, run))
            })
            .max_by_key(|&(eta, len, run)| (eta, len, run))?;
        let (_, owed, run) = slowest;
        let most = want(source, groups).min(owed.div_ceil(2)).max(1);
        Some(Run { start: run.start.max(run.end.saturating_sub(most)), end: run.end })
    }

    fn request(&mut self, id: NodeId, run: Run, size: u64, proves: Option<u64>, now: Instant) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if source.outstanding == 0 {
            source.rate.begin(now);
        }
        source.outstanding += 1;
        source.next_group = run.end;
        self.next_request += 1;
        let name = RequestId(self.next_request);
        self.free.remove(run);
        let remaining = RunSet::from_iter([run]);
        let end = run.end;
        self.requests.insert(name, Request { source: id, remaining, end, progress: now, proves });
        self.totals.requests += 1;
        let range = bytes_of(run, size);
        self.outputs.push_back(Output::Request { id: name, source: id, range, size });
    }

    /// Whether one more source may be fetched from.
    fn has_room_for(&self, relayed: bool) -> bool {
        let active = |s: &&Source| s.outstanding > 0;
        let direct = self.sources.values().filter(|s| active(s) && !s.relayed).count();
        let all = self.active_sources();
        if relayed { all < MAX_ACTIVE } else { direct < MAX_ACTIVE && all < MAX_ACTIVE_IN_ALL }
    }

    /// Sources that are fetched from or asked what they have: all, and those that are direct.
    fn working_sources(&self) -> (usize, usize) {
        let working = |s: &&Source| s.phase == Phase::Probing || s.outstanding > 0;
        let working = self.sources.values().filter(working);
        working.fold((0, 0), |(all, direct), s| (all + 1, direct + usize::from(!s.relayed)))
    }

    fn is_starved(&self) -> bool {
        self.working_sources().0 == 0
    }

    fn look_for_more(&mut self, now: Instant) {
        if !self.is_starved() || now < self.starved_next {
            return;
        }
        self.outputs.push_back(Output::Starved);
        let wait = self.starved_wait.mul_f64(self.rng.random_range(0.5..1.0));
        self.starved_next = now + wait;
        self.starved_wait = (self.starved_wait * 2).min(STARVED_WAIT.1);
    }
}

/// Whether one more source may be asked what it has, with so many working: all, and direct ones.
fn may_probe((working, direct): (usize, usize)) -> bool {
    direct < MAX_ACTIVE && working < MAX_ACTIVE_IN_ALL
}

/// How many groups a source is asked for at once, by its measured rate.
fn want(source: &Source, groups: u64) -> u64 {
    let piece = piece_groups(groups);
    let Some(rate) = source.rate.get() else { return piece };
    let bytes = rate.saturating_mul(REQUEST_TIME.as_secs()).min(MAX_REQUEST_BYTES);
    let most = (MAX_REQUEST_BYTES / GROUP_BYTES).max(piece);
    (bytes / GROUP_BYTES).clamp(piece, most)
}

/// The chunk group that proves a length.
fn last_group(size: u64) -> Run {
    let groups = groups_of(size);
    Run { start: groups.saturating_sub(1), end: groups }
}

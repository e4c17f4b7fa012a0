//! One download: drives the swarm's decisions over the network and the disk.

mod asking;
mod showing;
mod storing;

use super::disk::Disk;
use super::fetch::{FetchError, Offer};
use super::finish::finish;
use super::journal::{Journal, Record, Stage};
use super::partial::{Batch, Partial};
use super::reach::{Line, Reach, ReachError};
use super::store::{Membership, SourceFinder};
use super::via::Via;
use super::view::{RecentRate, Trouble};
use crate::api::types::{Download, Source, SourcePath};
use skein_net::StreamError;
use skein_proto::{Instant, NodeId};
use skein_swarm::{Failure, Input, Order, Output, RequestId, RunSet};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant as Clock;

/// How many events may wait for the download to take them in: at most 8 MiB of verified bytes.
const EVENTS_WAITING: usize = 32;

/// After how many bytes, and after what time, what was written is flushed and confirmed: this
/// much may have to be fetched again after a crash.
const CONFIRM_BYTES: u64 = 64 * 1024 * 1024;
const CONFIRM_TIME: Duration = Duration::from_secs(1);

/// How often a disk that refused to be written to is tried again.
const DISK_RETRY: Duration = Duration::from_secs(2);

/// How often progress is shown at most.
const SHOW_TIME: Duration = Duration::from_millis(200);

/// How long a search for more sources may take.
const FIND_TIME: Duration = Duration::from_secs(60);

/// How long a download runs before it looks for sources beside those that it began with, and how
/// often it does so: sources that appear later join in.
const FIRST_LOOK: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Sources whose addresses are kept, as many as the swarm takes in.
const MAX_SOURCES: usize = 256;

/// What all downloads share.
pub(super) struct Shared {
    pub reach: Reach,
    pub journal: Journal,
    pub disk: Arc<dyn Disk>,
    pub finder: Arc<dyn SourceFinder>,
    pub membership: Arc<dyn Membership>,
    pub order: Order,
    pub counts: Counts,
}

/// What all downloads count since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub bytes: AtomicU64,
    pub relayed_bytes: AtomicU64,
    pub corrupt_sources: AtomicU64,
}

/// What a download is told from outside.
#[derive(Debug)]
pub(super) enum Command {
    AddSources(Vec<Source>),
    Cancel,
    /// Puts what is here on record and ends without a last word: the daemon is going down.
    Stop,
}

/// What a download's own helpers report.
#[derive(Debug)]
pub(super) enum Event {
    Offer(NodeId, Result<(Offer, SourcePath), FetchError>),
    Batch(RequestId, Batch),
    Over(RequestId, Result<Offer, FetchError>),
    Found(Vec<Source>),
    Confirmed(io::Result<()>),
}

/// Where the upload side finds a download that is under way.
pub(super) type PartialSlot = Arc<Mutex<Option<Arc<Partial>>>>;

/// A request that a helper works on.
struct Worker {
    source: NodeId,
    size: u64,
    /// Set once the source is reached.
    line: Arc<OnceLock<Line>>,
    abort: AbortHandle,
}

impl Worker {
    fn path(&self) -> Option<SourcePath> {
        self.line.get().map(Line::path)
    }
}

/// One download while it runs.
pub(super) struct Task {
    shared: Arc<Shared>,
    record: Record,
    swarm: skein_swarm::Download,
    started: Clock,
    sources: HashMap<NodeId, Source>,
    partial: Option<Arc<Partial>>,
    slot: PartialSlot,
    view: watch::Sender<Download>,
    workers: HashMap<RequestId, Worker>,
    helpers: JoinSet<()>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    finding: bool,
    /// When more sources are looked for though there are some.
    find_at: Clock,
    /// Whether others are told that this node serves what it has.
    announced: bool,
    /// Why nothing can be written, and when it is tried again.
    problem: Option<(String, Clock)>,
    /// Why it cannot go on.
    hopeless: Option<String>,
    complete: bool,
    confirming: bool,
    unconfirmed: u64,
    confirmed_at: Clock,
    shown_at: Clock,
    unshown: bool,
    resumed: u64,
    rate: RecentRate,
    via: Via,
    trouble: Trouble,
}

impl Task {
    pub fn new(
        shared: Arc<Shared>,
        record: Record,
        slot: PartialSlot,
        view: watch::Sender<Download>,
    ) -> Self {
        let seed = rand::random();
        let here = record.runs();
        let swarm = match record.size {
            Some(size) if !here.is_empty() => {
                skein_swarm::Download::resume(shared.order, seed, size, here)
            }
            _ => skein_swarm::Download::new(shared.order, seed),
        };
        let now = Clock::now();
        let resumed = swarm.verified_bytes();
        let mut task = Self {
            shared,
            swarm,
            started: now,
            sources: HashMap::new(),
            partial: None,
            slot,
            view,
            workers: HashMap::new(),
            helpers: JoinSet::new(),
            events: mpsc::channel(EVENTS_WAITING),
            finding: false,
            find_at: now + FIRST_LOOK,
            announced: false,
            problem: None,
            hopeless: None,
            complete: false,
            confirming: false,
            unconfirmed: 0,
            confirmed_at: now,
            shown_at: now,
            unshown: true,
            resumed,
            rate: RecentRate::default(),
            via: Via::default(),
            trouble: Trouble::default(),
            record,
        };
        task.add_sources(task.record.sources.clone());
        task
    }

    /// Runs until the download is over or stopped.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        if self.swarm.size().is_some()
            && let Some(size) = self.record.size
        {
            self.open_files(size).await;
        }
        loop {
            if self.record.copy_of.is_some()
                && self.problem.is_none()
                && let Some(stage) = self.copy(&mut commands).await
            {
                return self.end(stage).await;
            }
            self.act();
            if let Some(reason) = self.hopeless.take() {
                return self.end(Stage::Failed(reason)).await;
            }
            if self.complete && self.problem.is_none() && self.try_finish().await {
                return;
            }
            self.confirm_when_due();
            self.show(false);
            let wake = self.next_wakeup();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::AddSources(sources)) => self.add_sources(sources),
                    Some(Command::Cancel) => return self.end(Stage::Cancelled).await,
                    // Nobody can give commands any more: the daemon is going down.
                    Some(Command::Stop) | None => return self.end(Stage::Active).await,
                },
                Some(event) = self.events.1.recv() => self.on_event(event).await,
                Some(_) = self.helpers.join_next(), if !self.helpers.is_empty() => {}
                () = tokio::time::sleep_until(wake) => {
                    self.retry_when_due().await;
                    self.look_when_due();
                }
            }
        }
    }

    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn tell(&mut self, input: Input) {
        let now = self.now();
        self.swarm.handle(input, now);
        self.unshown = true;
    }

    fn next_wakeup(&self) -> Clock {
        let swarm = self.swarm.next_wakeup();
        let swarm = swarm.map(|at| self.started + at.since(Instant::START));
        let confirm =
            (self.unconfirmed > 0 && !self.confirming).then_some(self.confirmed_at + CONFIRM_TIME);
        let show = self.unshown.then_some(self.shown_at + SHOW_TIME);
        let retry = self.problem.as_ref().map(|(_, at)| *at);
        let far = Clock::now() + Duration::from_secs(3600);
        let look = (!self.complete).then_some(self.find_at);
        [swarm, confirm, show, retry, look].into_iter().flatten().min().unwrap_or(far)
    }

    fn add_sources(&mut self, sources: Vec<Source>) {
        let own = self.shared.reach.own_id();
        for source in sources {
            if source.node == own {
                continue;
            }
            let node = source.node;
            if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&node) {
                // A later finding knows the later addresses.
                self.sources.insert(node, source);
                self.tell(Input::SourceFound { source: node });
            }
        }
    }

    /// Does what the swarm decides.
    fn act(&mut self) {
        loop {
            let now = self.now();
            let Some(output) = self.swarm.poll_output(now) else { return };
            self.unshown = true;
            match output {
                Output::Probe { source } => self.start_probe(source),
                Output::Request { id, source, range, size } => {
                    self.start_fetch(id, source, range, size);
                }
                Output::Cancel { id } => {
                    if let Some(worker) = self.workers.remove(&id) {
                        worker.abort.abort();
                    }
                }
                Output::Ban { source } => {
                    self.shared.counts.corrupt_sources.fetch_add(1, Ordering::Relaxed);
                    if let Some(known) = self.sources.get(&source) {
                        self.shared.membership.wrong_bytes(&source, &known.name);
                    }
                    let name = self.name_of(&source);
                    tracing::warn!(content = %self.record.content.short(), source = %source, "a source sent wrong bytes and is not asked again");
                    self.trouble.note(format!("{name} sent wrong bytes and is not asked again"));
                }
                Output::Starved => self.find_more(),
                Output::Completed => self.complete = true,
                // The length shows with the files that are made for it.
                _ => {}
            }
        }
    }

    fn name_of(&self, node: &NodeId) -> String {
        match self.sources.get(node) {
            Some(source) => format!("{} ({})", source.name, node.short()),
            None => node.short(),
        }
    }

    fn look_when_due(&mut self) {
        let now = Clock::now();
        if now >= self.find_at {
            self.find_at = now + LOOK_AGAIN;
            if !self.complete {
                self.find_more();
            }
        }
    }

    /// Tells others that there is something to be had here, or no more.
    fn announce(&mut self, serving: bool) {
        let serving = serving && !self.record.private;
        if std::mem::replace(&mut self.announced, serving) != serving {
            self.shared.finder.serving(self.record.content, serving);
        }
    }

    fn find_more(&mut self) {
        if self.record.private {
            // Nobody else has it: those who have are tried again.
            return self.add_sources(self.sources.values().cloned().collect());
        }
        if std::mem::replace(&mut self.finding, true) {
            return;
        }
        let (finder, content) = (Arc::clone(&self.shared.finder), self.record.content);
        let events = self.events.0.clone();
        self.helpers.spawn(async move {
            let found = tokio::time::timeout(FIND_TIME, finder.find(&content)).await;
            let _ = events.send(Event::Found(found.unwrap_or_default())).await;
        });
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Offer(source, Ok((Offer { size, have }, path))) => {
                self.shared.membership.answered(&source);
                self.tell_path(source, path);
                self.tell(Input::Has { source, size, have });
            }
            Event::Offer(source, Err(error)) => {
                let failure = error.failure();
                self.note(&source, &error);
                self.tell(Input::ProbeFailed { source, failure });
            }
            Event::Batch(request, batch) => self.store(request, batch).await,
            Event::Over(request, result) => {
                let Some(worker) = self.workers.remove(&request) else { return };
                if let Some(path) = worker.path() {
                    self.tell_path(worker.source, path);
                }
                match result {
                    Ok(Offer { size, have }) => {
                        self.tell(Input::Failed { request, failure: Failure::Local });
                        self.tell(Input::Has { source: worker.source, size, have });
                    }
                    Err(error) => {
                        self.note(&worker.source, &error);
                        self.tell(Input::Failed { request, failure: error.failure() });
                    }
                }
            }
            Event::Found(sources) => {
                self.finding = false;
                // That there are none is news, too.
                self.unshown = true;
                self.add_sources(sources);
            }
            Event::Confirmed(result) => self.on_confirmed(result),
        }
    }

    fn note(&mut self, source: &NodeId, error: &FetchError) {
        let is_its_fault = match error {
            FetchError::Reach(ReachError::Dial(_)) | FetchError::NotFound => true,
            FetchError::Reach(ReachError::Session(error)) => !error.is_local(),
            _ => false,
        };
        if is_its_fault {
            self.shared.membership.failed(source);
        }
        match error {
            // A queue is no trouble; that all are busy shows in the state.
            FetchError::Busy { .. } => self.shared.membership.waits_for(source),
            // It is told when the swarm bans the source, with the reason here in the log.
            FetchError::WrongBytes(why) => tracing::info!(source = %source, why, "wrong bytes"),
            FetchError::Stream(StreamError::Connection(_)) | FetchError::CutShort => {
                let name = self.name_of(source);
                self.trouble.note(format!("{name}: the connection was lost"));
            }
            error => {
                let name = self.name_of(source);
                self.trouble.note(format!("{name} {error}"));
            }
        }
    }

    /// Flushes what was written and puts it on record, beside the running download.
    fn confirm_when_due(&mut self) {
        let due = self.unconfirmed >= CONFIRM_BYTES
            || (self.unconfirmed > 0 && self.confirmed_at.elapsed() >= CONFIRM_TIME);
        let Some(partial) = self.partial.clone() else { return };
        if !due || self.confirming || self.complete {
            return;
        }
        self.confirming = true;
        self.unconfirmed = 0;
        self.record.set_sources(self.sources.values());
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        let events = self.events.0.clone();
        self.helpers.spawn(async move {
            let confirm = move || {
                record.set_runs(&partial.sync()?);
                journal.save(&record)
            };
            let result = tokio::task::spawn_blocking(confirm).await;
            let result = result.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            let _ = events.send(Event::Confirmed(result)).await;
        });
    }

    fn on_confirmed(&mut self, result: io::Result<()>) {
        self.confirming = false;
        self.confirmed_at = Clock::now();
        if result.is_ok() && !self.complete {
            self.announce(true);
        }
        if let Err(error) = result {
            // It is tried again with the next confirmation; until then a crash costs more.
            tracing::warn!(content = %self.record.content.short(), %error, "cannot put a download on record");
            self.unconfirmed = self.unconfirmed.max(1);
        }
    }

    /// Lets no helper touch the record from now on.
    async fn settle(&mut self) {
        for (_, worker) in self.workers.drain() {
            worker.abort.abort();
        }
        while self.confirming {
            match self.events.1.recv().await {
                Some(Event::Confirmed(result)) => self.on_confirmed(result),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Gives the complete file its name. Answers whether that is done.
    async fn try_finish(&mut self) -> bool {
        self.settle().await;
        let Some(partial) = self.partial.clone() else { return false };
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        record.set_sources(self.sources.values());
        let finished = tokio::task::spawn_blocking(move || {
            let result = finish(&partial, &journal, &mut record);
            (result, record)
        });
        let (result, record) = match finished.await {
            Ok(finished) => finished,
            Err(panic) => (Err(io::Error::other(panic)), self.record.clone()),
        };
        self.record = record;
        match result {
            Ok(()) => {
                *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.announce(false);
                self.show(true);
                true
            }
            Err(error) => {
                self.pause(&error);
                false
            }
        }
    }

    /// Puts everything on record and ends.
    async fn end(mut self, stage: Stage) {
        self.settle().await;
        self.announce(false);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.record.set_sources(self.sources.values());
        if self.record.stage != Stage::Naming || stage != Stage::Active {
            self.record.stage = stage;
        }
        let (journal, mut record) = (self.shared.journal.clone(), self.record.clone());
        let partial = self.partial.clone();
        let saved = tokio::task::spawn_blocking(move || {
            let synced = partial.as_ref().map(|partial| partial.sync()).transpose();
            if let Ok(Some(runs)) = &synced {
                record.set_runs(runs);
            }
            // A record without the last bytes is better than none.
            journal.save(&record)?;
            synced.map(|_: Option<RunSet>| record)
        });
        match saved.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(record) => self.record = record,
            Err(error) => tracing::warn!(%error, "cannot put a download on record"),
        }
        self.show(true);
    }
}

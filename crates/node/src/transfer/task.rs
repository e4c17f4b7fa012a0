//! One download: drives the swarm's decisions over the network and the disk.

mod asking;
mod checking;
mod confirming;
mod finding;
mod showing;
mod storing;

use super::disk::Disk;
use super::fetch::{FetchError, Offer};
use super::journal::{Journal, Record, Stage};
use super::partial::{Batch, Partial};
use super::reach::{Line, Reach};
use super::store::{Membership, SourceFinder};
use super::via::Via;
use super::view::{RecentRate, Trouble};
use crate::api::types::{Download, Source, SourcePath};
use finding::FIRST_LOOK;
use skein_proto::{Instant, NodeId};
use skein_swarm::{Failure, Input, Order, Output, RequestId, RunSet};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
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

/// What all downloads share.
pub(super) struct Shared {
    pub reach: Reach,
    pub journal: Journal,
    pub disk: Arc<dyn Disk>,
    pub finder: Arc<dyn SourceFinder>,
    pub membership: Arc<dyn Membership>,
    pub order: Order,
    pub counts: Counts,
    /// Whose turn it is to look what is there: see [`AT_A_TIME`].
    pub turns: Semaphore,
}

/// How many downloads look at the same time what a killed process had left. Many at a time would
/// make a disk seek, and keep it from all else.
pub(super) const AT_A_TIME: usize = 2;

/// What all downloads count since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub bytes: AtomicU64,
    pub relayed_bytes: AtomicU64,
    pub corrupt_sources: AtomicU64,
    pub sources_refused: AtomicU64,
}

/// What a download is told from outside.
#[derive(Debug)]
pub(super) enum Command {
    AddSources(Vec<Source>),
    /// The user wants what was for this node alone until now.
    Publish,
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
        let here = record.doubted.as_ref().map_or_else(|| record.runs(), |_| RunSet::new());
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
        if let Some(doubted) = self.record.doubted.take() {
            if self.check(doubted, &mut commands).await {
                return;
            }
        } else if let Some(stage) = self.recover(&mut commands).await {
            return self.end(stage).await;
        }
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
                    Some(Command::Publish) => self.publish().await,
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
                // It may have been found again since.
                Output::Forget { source } if !self.swarm.knows(&source) => {
                    self.sources.remove(&source);
                }
                Output::Starved => self.find_more(),
                Output::Completed => self.complete = true,
                // The length shows with the files that are made for it.
                _ => {}
            }
        }
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
}

//! Users who search all the time.

use crate::Node;
use futures_util::StreamExt as _;
use skein_node::api::ApiClient;
use skein_node::api::types::{SearchEvent, StartSearch};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a user waits between two searches.
const PAUSE: Duration = Duration::from_secs(1);

/// How long is waited between two searches for one node: within what one user may ask.
const PACE: Duration = Duration::from_millis(250);

/// How searches went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All of them.
    pub all: u32,
    /// Those that did not find what somebody shares who lives, by how they ended.
    pub failed: BTreeMap<String, u32>,
    /// Those that found it and said that they had not seen everything, by the reason that they gave.
    pub incomplete: BTreeMap<String, u32>,
    /// Milliseconds that each took until the first hit.
    pub first_hit_ms: Vec<u64>,
    /// Those of somebody who was not struck for what another one shares who was not either, and how
    /// many of these did not find it.
    pub spared: (u32, u32),
}

impl Tally {
    /// Those that did not find it.
    pub fn failures(&self) -> u32 {
        self.failed.values().sum()
    }

    /// Counts other searches as well.
    pub(super) fn add(&mut self, other: Self) {
        self.all += other.all;
        for (mine, theirs) in
            [(&mut self.failed, other.failed), (&mut self.incomplete, other.incomplete)]
        {
            for (why, count) in theirs {
                *mine.entry(why).or_default() += count;
            }
        }
        self.first_hit_ms.extend(other.first_hit_ms);
        self.spared = (self.spared.0 + other.spared.0, self.spared.1 + other.spared.1);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, failed, incomplete, .. } = self;
        let sum = |of: &BTreeMap<String, u32>| of.values().sum::<u32>();
        let reasons = |f: &mut fmt::Formatter<'_>, of: &BTreeMap<String, u32>| {
            of.iter().try_for_each(|(why, count)| write!(f, " ({count}: {why})"))
        };
        write!(f, "{all}, of which {} found nothing", self.failures())?;
        reasons(f, failed)?;
        write!(f, ", {} were incomplete", sum(incomplete))?;
        reasons(f, incomplete)?;
        let mut times = self.first_hit_ms.clone();
        times.sort_unstable();
        match (times.get(times.len() / 2), times.last()) {
            (Some(median), Some(worst)) => {
                write!(f, "; first hit after {median} ms (median), {worst} ms (worst)")
            }
            _ => Ok(()),
        }
    }
}

/// Users who search until they are told to stop.
#[derive(Debug)]
pub(super) struct Searching {
    tally: Arc<Mutex<Tally>>,
    /// The names of those whose parent was killed.
    struck: Arc<OnceLock<BTreeSet<String>>>,
    users: JoinSet<()>,
}

impl Searching {
    /// These users look for what each of those nodes shares, in turn.
    pub(super) fn start(users: &[Node], nodes: &[Node]) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let struck = Arc::new(OnceLock::new());
        let names: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
        let mut running = JoinSet::new();
        for (number, node) in users.iter().enumerate() {
            let (api, tally) = (node.api().clone(), Arc::clone(&tally));
            let (user, struck) = (node.name().to_owned(), Arc::clone(&struck));
            let mut targets: Vec<String> = names.clone();
            // Everybody begins with somebody else.
            targets.rotate_left(number * names.len() / users.len() + 1);
            running.spawn(async move {
                for target in targets.iter().cycle() {
                    let found = search(&api, target, &tally).await;
                    let is_struck = |name| {
                        struck.get().is_some_and(|struck: &BTreeSet<String>| struck.contains(name))
                    };
                    if !is_struck(&user) && !is_struck(target) {
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        let (all, failed) = tally.spared;
                        tally.spared = (all + 1, failed + u32::from(!found));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { tally, struck, users: running }
    }

    /// The parents of these are dead.
    pub(super) fn strike(&self, names: BTreeSet<String>) {
        let _ = self.struck.set(names);
    }

    /// How it went since this was last asked.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops.
    pub(super) async fn end(mut self) {
        self.users.shutdown().await;
    }
}

/// Searches once, and answers whether it was found.
async fn search(api: &ApiClient, target: &str, tally: &Mutex<Tally>) -> bool {
    let begun = Instant::now();
    let seen = ask(api, target).await;
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.all += 1;
    let Some(at) = seen.first_hit else {
        *tally.failed.entry(seen.end).or_default() += 1;
        return false;
    };
    if !seen.is_complete {
        *tally.incomplete.entry(seen.end).or_default() += 1;
    }
    let passed = at.saturating_duration_since(begun).as_millis();
    tally.first_hit_ms.push(u64::try_from(passed).unwrap_or(u64::MAX));
    true
}

#[derive(Default)]
struct Seen {
    first_hit: Option<Instant>,
    is_complete: bool,
    /// How it ended.
    end: String,
}

/// Looks for what somebody shares.
async fn ask(api: &ApiClient, target: &str) -> Seen {
    let words = format!("nest {target}");
    let search = StartSearch { words, ..StartSearch::default() };
    let mut seen = Seen::default();
    let mut events = match api.search(&search).await {
        Ok(events) => events,
        Err(error) => return Seen { end: error.to_string(), ..seen },
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(SearchEvent::Hit(hit)) if hit.name == format!("nest of {target}.txt") => {
                seen.first_hit.get_or_insert_with(Instant::now);
            }
            Ok(SearchEvent::Done(report)) => {
                (seen.is_complete, seen.end) = (report.is_complete(), report.stopped);
            }
            Err(error) => seen.end = error.to_string(),
            Ok(_) => {}
        }
    }
    seen
}

/// Waits until each of these users has found what each of those nodes shares.
///
/// # Panics
/// If it takes longer than `patience`; the message says what is not found by whom.
pub(super) async fn until_found(users: &[Node], nodes: &[Node], patience: Duration) {
    let end = Instant::now() + patience;
    let finding = users.iter().map(|user| async move {
        for node in nodes {
            while !finds(user.api(), node.name()).await {
                let (user, node) = (user.name(), node.name());
                assert!(Instant::now() < end, "@{user} does not find what @{node} shares");
                tokio::time::sleep(PACE).await;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    futures_util::future::join_all(finding).await;
}

/// Looks once more for what each of these nodes shares, for so long at most. Answers how many were
/// found at the first try, and how many at all.
pub(super) async fn roll_call(user: &Node, nodes: &[Node], patience: Duration) -> (usize, usize) {
    let end = Instant::now() + patience;
    let (mut at_once, mut in_all) = (0, 0);
    for node in nodes {
        let mut tries = 1;
        let mut found = finds(user.api(), node.name()).await;
        while !found && Instant::now() < end {
            tries += 1;
            tokio::time::sleep(PACE).await;
            found = finds(user.api(), node.name()).await;
        }
        in_all += usize::from(found);
        at_once += usize::from(found && tries == 1);
        tokio::time::sleep(PACE).await;
    }
    (at_once, in_all)
}

/// Whether a search finds what somebody shares.
async fn finds(api: &ApiClient, target: &str) -> bool {
    ask(api, target).await.first_hit.is_some()
}

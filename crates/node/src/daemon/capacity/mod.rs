//! How many children this machine could hold as a supernode, by what it has at present.
//!
//! The machine is measured when the daemon starts and once in a while from then on. The scarcest of
//! what it has decides; what a platform does not tell limits nothing. What the user allows is a
//! limit beside it, which the overlay applies.

mod machine;

use super::Shared;
use super::driver::Driver;
use crate::api::types::CapacityStatus;
use crate::config::Uplink;
use machine::Machine;
use skein_index::Limits;
use skein_overlay::Input;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the machine is measured. A supernode that finds too little for ten minutes steps
/// down, so that this is often enough.
const MEASURE: Duration = Duration::from_secs(60);

/// How often it is looked at how much was sent: over this time a rate is an average, so that what
/// a buffer takes in at once does not count as the speed of the line.
const SAMPLE: Duration = Duration::from_secs(10);

/// What a child may take of the memory: some 40 KB for its connection, and its records in the
/// index, which with a hundred bytes each are twice as much for a library of a thousand files. The
/// rest is room for what comes in bursts: hits under way, tables, the directory's records.
const MEMORY_PER_CHILD: u64 = 512 * 1024;

/// The part of the memory that is left on the machine which a supernode may fill: a quarter, since
/// whoever sits at the machine did not start the daemon to lose its memory to strangers.
const MEMORY_SHARE: u64 = 4;

/// What the index may take in any case: the records of the machine's own user, and of some children.
const LEAST_INDEX: u64 = 64 << 20;

/// What the index may take is said in multiples of this, so that not each allocation of others on the
/// machine is news.
const INDEX_STEP: u64 = 16 << 20;

/// Children for each core. A search takes a supernode less than a millisecond, and a child asks
/// once in some minutes; a thousand children and the searches of their neighbours are some percent
/// of a core, and ten times that in the minute after a mass failure.
const CHILDREN_PER_CORE: u64 = 1_000;

/// File descriptors that a supernode must have left. Its children share one UDP socket and take
/// none; dial-backs take up to 16, uploads and downloads of its own a file each, and so do clients
/// of the local API. One that has fewer takes a child for each.
const SPARE_FILES: u64 = 64;

/// Bytes that a child costs in a second on the way out: its keep-alives, its hits, its share of the
/// searches that neighbours pass on, with as much again for bursts.
const BYTES_PER_CHILD: u64 = 800;

/// The part of the line that children may take up.
const LINE_SHARE: u64 = 2;

/// What a line is taken for of which nothing is known, in bytes a second: 2 Mbit/s, which is less
/// than nearly all wired lines send. What has been sent faster counts as soon as it was seen.
const USUAL_LINE: u64 = 250_000;

/// Bytes that the index of a supernode may take on this machine: as many as it ever may, or the same
/// part of the memory that is left as its children are reckoned by, if that is less. One that is full
/// refuses records, and takes no memory from whoever sits at the machine.
pub(super) fn index_bytes() -> u64 {
    index_bytes_of(Machine::default().memory(), Limits::default().total_bytes)
}

fn index_bytes_of(memory: Option<u64>, most: u64) -> u64 {
    let part = |bytes: u64| bytes / MEMORY_SHARE / INDEX_STEP * INDEX_STEP;
    memory.map_or(most, |bytes| part(bytes).max(LEAST_INDEX).min(most))
}

/// What was found of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Bytes of memory that programs could still have, with what this process has.
    memory: Option<u64>,
    /// Cores that this process may use.
    cores: Option<u64>,
    /// File descriptors that are left.
    files: Option<u64>,
    /// Bytes that the line sends in a second.
    line: u64,
}

/// What limits the number of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Memory,
    Cores,
    Files,
    Line,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the memory that is left",
            Self::Cores => "the number of cores",
            Self::Files => "the limit of open files",
            Self::Line => "the bandwidth",
        })
    }
}

/// How many children the machine could hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) children: u32,
    pub(super) limit: Limit,
    /// Bytes that its index may take, as [`index_bytes`] has it.
    pub(super) index_bytes: u64,
    pub(super) on_battery: bool,
}

impl Capacity {
    /// How it is shown, where the user allows so many children.
    pub(super) fn status(&self, setting: u32) -> CapacityStatus {
        let limited_by = if setting <= self.children {
            "the setting max_children".to_owned()
        } else {
            self.limit.to_string()
        };
        let children = self.children.min(setting);
        CapacityStatus { children, limited_by, on_battery: self.on_battery }
    }
}

impl Findings {
    /// The scarcest of all decides.
    fn capacity(&self, on_battery: bool) -> Capacity {
        let by_memory = self.memory.map(|bytes| bytes / MEMORY_SHARE / MEMORY_PER_CHILD);
        let by_cores = self.cores.map(|cores| cores.saturating_mul(CHILDREN_PER_CORE));
        let by_files = self.files.filter(|left| *left < SPARE_FILES);
        let limits = [
            (Some(self.line / LINE_SHARE / BYTES_PER_CHILD), Limit::Line),
            (by_memory, Limit::Memory),
            (by_cores, Limit::Cores),
            (by_files, Limit::Files),
        ];
        let known = limits.into_iter().filter_map(|(children, limit)| Some((children?, limit)));
        let (children, limit) =
            known.min_by_key(|(children, _)| *children).unwrap_or((0, Limit::Line));
        // A supernode that takes nobody is none.
        let children = u32::try_from(children).unwrap_or(u32::MAX).max(1);
        let index_bytes = index_bytes_of(self.memory, Limits::default().total_bytes);
        Capacity { children, limit, index_bytes, on_battery }
    }
}

/// What the line sends in a second: what the user says, or what was seen.
#[derive(Clone, Copy, Debug)]
struct Line {
    setting: Uplink,
    fastest: u64,
    last: Option<(Instant, u64)>,
}

impl Line {
    fn new(setting: Uplink) -> Self {
        Self { setting, fastest: 0, last: None }
    }

    /// So many bytes were sent since the start.
    fn sent(&mut self, total: u64, now: Instant) {
        if let Some((at, before)) = self.last {
            let millis = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
            let bytes = total.saturating_sub(before);
            let rate = bytes.saturating_mul(1_000).checked_div(millis);
            self.fastest = self.fastest.max(rate.unwrap_or(0));
        }
        self.last = Some((now, total));
    }

    fn bytes_per_second(&self) -> u64 {
        match self.setting {
            Uplink::Given(bytes) => bytes,
            Uplink::Measured => self.fastest.max(USUAL_LINE),
        }
    }
}

/// What was found last, for the status. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured(Arc<Mutex<Option<Capacity>>>);

impl Measured {
    /// What was found last; `None` before the first time.
    pub(super) fn get(&self) -> Option<Capacity> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, capacity: Capacity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(capacity);
    }
}

/// Measures the machine and tells the overlay, until the daemon ends.
pub(super) async fn measure(shared: Arc<Shared>) {
    let machine = Machine::default();
    let mut line = Line::new(shared.config.uplink());
    let mut next = Instant::now();
    loop {
        line.sent(shared.transfers.upload_stats().bytes, Instant::now());
        if Instant::now() >= next {
            next = Instant::now() + MEASURE;
            let found = Findings {
                memory: machine.memory(),
                cores: machine.cores(),
                files: machine.files_left(),
                line: line.bytes_per_second(),
            };
            tell(&shared.driver, &shared.measured, found.capacity(machine.on_battery())).await;
        }
        if shared.ended.run_until_cancelled(tokio::time::sleep(SAMPLE)).await.is_none() {
            return;
        }
    }
}

/// Tells the overlay what it does not know yet.
async fn tell(driver: &Driver, measured: &Measured, capacity: Capacity) {
    if measured.get() == Some(capacity) {
        return;
    }
    measured.set(capacity);
    let Capacity { children, limit, index_bytes, on_battery } = capacity;
    tracing::debug!(children, %limit, index_bytes, on_battery, "the machine was measured");
    driver.input(Input::Capability { children, index_bytes, on_battery }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Findings = Findings {
        memory: Some(64 << 30),
        cores: Some(16),
        files: Some(10_000),
        line: 125_000_000,
    };

    fn capacity(found: Findings) -> (u32, Limit) {
        let capacity = found.capacity(false);
        (capacity.children, capacity.limit)
    }

    #[test]
    fn the_scarcest_of_what_there_is_decides() {
        assert_eq!(capacity(PLENTY), (16_000, Limit::Cores));
        let memory = Findings { memory: Some(512 << 20), ..PLENTY };
        assert_eq!(capacity(memory), (256, Limit::Memory));
        let slow = Findings { line: 125_000, ..PLENTY };
        assert_eq!(capacity(slow), (78, Limit::Line));
        let few_files = Findings { files: Some(20), ..PLENTY };
        assert_eq!(capacity(few_files), (20, Limit::Files));
    }

    #[test]
    fn the_index_takes_a_part_of_the_memory_that_is_left_and_no_more_than_it_ever_may() {
        const MOST: u64 = 2 << 30;
        assert_eq!(index_bytes_of(Some(1 << 30), MOST), 256 << 20);
        assert_eq!(index_bytes_of(Some(64 << 30), MOST), MOST);
        assert_eq!(index_bytes_of(Some((1 << 30) + (60 << 20)), MOST), 256 << 20, "no news");
        assert_eq!(index_bytes_of(Some(10 << 20), MOST), LEAST_INDEX, "its user's own files");
        assert_eq!(index_bytes_of(None, MOST), MOST);
    }

    #[test]
    fn what_the_platform_does_not_tell_limits_nothing() {
        let unknown = Findings { line: USUAL_LINE, ..Findings::default() };
        assert_eq!(capacity(unknown), (156, Limit::Line), "enough for the usual 150 children");
    }

    #[test]
    fn people_are_told_what_limits_it() {
        let capacity = Findings { line: 125_000, ..PLENTY }.capacity(false);
        assert_eq!(capacity.status(150).limited_by, "the bandwidth");
        assert_eq!(capacity.status(150).children, 78);
        assert_eq!(capacity.status(10).limited_by, "the setting max_children");
        assert_eq!(capacity.status(10).children, 10);
    }

    #[test]
    fn a_machine_with_nothing_left_could_still_hold_one() {
        assert_eq!(capacity(Findings { memory: Some(0), ..PLENTY }), (1, Limit::Memory));
    }

    #[test]
    fn a_line_is_as_fast_as_it_was_seen_to_be_unless_its_user_says_so() {
        let start = Instant::now();
        let mut line = Line::new(Uplink::Measured);
        line.sent(5, start);
        assert_eq!(line.bytes_per_second(), USUAL_LINE);
        line.sent(10_000_005, start + SAMPLE);
        line.sent(10_000_005, start + SAMPLE * 2);
        assert_eq!(line.bytes_per_second(), 1_000_000);
        line.setting = Uplink::Given(20_000);
        assert_eq!(line.bytes_per_second(), 20_000);
    }
}

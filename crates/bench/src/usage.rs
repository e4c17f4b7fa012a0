//! What this process uses.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The CPU time of all threads of this process so far, those that have ended included.
pub fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// The CPU time of this thread alone so far.
pub fn own_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// Bytes of memory that this process has of its own: what it has allocated and written to, without
/// the pages of its program file.
///
/// # Errors
/// The system does not say, as only Linux does.
pub fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("this needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.context("the system does not tell the memory of a process")? * 1024)
}

/// Time that went by, and the CPU time of this process within it, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// CPU time of all threads.
    pub cpu: f64,
    /// Time by the clock on the wall.
    pub wall: f64,
}

/// A stopwatch for both.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    cpu: Duration,
    wall: Instant,
}

impl Stopwatch {
    /// Starts one.
    pub fn start() -> Self {
        Self { cpu: cpu(), wall: Instant::now() }
    }

    /// What has been spent since.
    pub fn spent(&self) -> Spent {
        Spent {
            cpu: cpu().saturating_sub(self.cpu).as_secs_f64(),
            wall: self.wall.elapsed().as_secs_f64(),
        }
    }
}

//! One process of the demo: this same executable, running a service.

use crate::failure::Failure;
use crate::process;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A dozen processes that start at once on a slow machine need a while; what takes longer than
/// this hangs.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a process may take to end after it was asked to; after that it is killed.
pub const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long dropping a process may block: a killed process is gone at once, unless it is stuck in
/// the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// A running process. Dropping it kills the process and waits until it is gone.
///
/// The process holds the other end of a pipe as its standard input, and ends by itself when this
/// one is closed: so it does not outlive the demo, even if the demo is killed in the hard way.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    log: PathBuf,
}

impl Service {
    /// Starts this executable with `words`; what it logs goes to the file `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(name: &str, words: &[OsString], log: &Path) -> Result<Self, Failure> {
        let mut child = command(words, log)?
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::failed(format!("cannot start {name}: {error}")))?;
        let stdin = child.stdin.take();
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Self { name: name.to_owned(), child, stdin, lines, log: log.to_owned() })
    }

    /// The process's number, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the first line that the service prints, which says that it is ready. What it
    /// prints after that is read and thrown away, so that it never waits for a full pipe.
    ///
    /// # Errors
    /// The service ended instead, says something else, or takes too long.
    pub async fn ready<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let name = self.name.clone();
        let Some(mut lines) = self.lines.take() else {
            return Err(Failure::failed(format!("{name} was waited for twice")));
        };
        let line = match tokio::time::timeout(START_PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(self.broken("ended instead of starting")),
            Ok(Err(error)) => return Err(self.broken(&format!("cannot be heard: {error}"))),
            Err(_) => return Err(self.broken("took too long to start")),
        };
        let value = serde_json::from_str(&line)
            .map_err(|error| self.broken(&format!("said {line:?} ({error})")))?;
        tokio::spawn(async move { while matches!(lines.next_line().await, Ok(Some(_))) {} });
        Ok(value)
    }

    /// A failure of this service, with the end of its log.
    pub fn broken(&self, what: &str) -> Failure {
        let said = last_line(&self.log).map(|line| format!("; its log ends with: {line}"));
        Failure::failed(format!("{} {what}{}", self.name, said.unwrap_or_default()))
    }

    /// Asks the service to end, by closing its standard input, and waits until it has.
    pub async fn end(mut self) {
        drop(self.stdin.take());
        // Whether it ended by itself or not: dropping it makes sure.
        let _ = tokio::time::timeout(END_PATIENCE, self.child.wait()).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It fails only for a process that has ended already.
        if self.child.start_kill().is_err() {
            return;
        }
        let killed = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && killed.elapsed() < KILL_PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Runs this executable with `words` to its end, with `input` as its standard input.
///
/// # Errors
/// It cannot be started, or fails: the last line that it logged says why.
pub async fn run_once(
    name: &str,
    words: &[OsString],
    input: &str,
    log: &Path,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot run {name}: {error}"));
    let mut child = command(words, log)?.stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.map_err(failed)?;
    }
    let ended = tokio::time::timeout(START_PATIENCE, child.wait_with_output()).await;
    let output =
        ended.map_err(|_| Failure::failed(format!("{name} took too long")))?.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = last_line(log).unwrap_or_else(|| output.status.to_string());
    Err(Failure::failed(format!("{name}: {said}")))
}

fn command(words: &[OsString], log: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this executable: {error}")))?;
    let log_file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|error| Failure::file("write the log", log, &error))?;
    let mut command = Command::new(program);
    command.args(words).stdout(Stdio::piped()).stderr(log_file).kill_on_drop(true);
    // The user's own settings are for the user's own node: none of them holds here.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKEIN_") {
            command.env_remove(name);
        }
    }
    // In a group of its own, so that Ctrl-C reaches the demo alone, which then ends all in order.
    #[cfg(unix)]
    command.process_group(0);
    Ok(command)
}

/// The last line of a log that says anything.
fn last_line(log: &Path) -> Option<String> {
    let tail = process::log_tail(log, 0)?;
    let line = tail.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.strip_prefix("skein: ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_line_of_a_log_is_what_failed() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("log");
        assert_eq!(last_line(&log), None);
        std::fs::write(&log, format!("{}\nskein: the port is taken\n\n", "x".repeat(9_000)))
            .unwrap();
        assert_eq!(last_line(&log).as_deref(), Some("the port is taken"));
    }
}

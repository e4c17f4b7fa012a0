//! A process that cannot be left behind.

use crate::within_patience;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use tokio::sync::mpsc;

/// How many lines of a log are shown when a test fails.
const LOG_TAIL_LINES: usize = 60;

/// A running process with all that it starts in turn. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    /// Held open: when the test's own process is killed, the pipe closes, and a service that was
    /// started with `--exit-with-parent` ends.
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it writes to standard error goes to the file `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let log_file =
            File::options().create(true).append(true).open(log).expect("the log can be written");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file).process_group(0);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = mpsc::unbounded_channel();
        // The thread ends when the process does, and keeps it from ever waiting for a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // A test that listens no more does not mind.
                let _ = sender.send(line);
            }
        });
        Self { name: name.to_owned(), child, status: None, stdin, lines, log: log.to_owned() }
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints; `None` when it has ended.
    ///
    /// # Panics
    /// If neither happens within [`PATIENCE`](crate::PATIENCE).
    pub async fn next_line(&mut self) -> Option<String> {
        let what = format!("{} printed nothing", self.name);
        within_patience(&what, self.lines.recv()).await
    }

    /// The next line that it prints, as a JSON value; `None` when it has ended.
    ///
    /// # Panics
    /// If the line is something else, or none comes within [`PATIENCE`](crate::PATIENCE).
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Option<T> {
        let line = self.next_line().await?;
        match serde_json::from_str(&line) {
            Ok(value) => Some(value),
            Err(error) => panic!("{} printed {line:?}: {error}", self.name),
        }
    }

    /// How many lines it has printed that nobody has taken yet.
    pub fn told(&self) -> usize {
        self.lines.len()
    }

    /// Kills it as `kill -9` does, with all that it has started, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            self.signal(Signal::KILL);
            self.status = self.child.wait().ok();
        }
    }

    /// Stops it where it is: it keeps its memory and its connections, and does nothing.
    ///
    /// # Panics
    /// If it has ended.
    pub fn freeze(&self) {
        assert!(self.signal(Signal::STOP), "{} has ended", self.name);
    }

    /// Lets it go on after [`Process::freeze`].
    ///
    /// # Panics
    /// If it has ended.
    pub fn thaw(&self) {
        assert!(self.signal(Signal::CONT), "{} has ended", self.name);
    }

    /// Asks it to end, as a service manager does.
    ///
    /// # Panics
    /// If it has ended.
    pub fn terminate(&self) {
        assert!(self.signal(Signal::TERM), "{} has ended", self.name);
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// If it takes none.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its standard input is open");
        writeln!(stdin, "{line}").expect("it takes what is said");
    }

    /// Interrupts it, as Ctrl-C does.
    ///
    /// # Panics
    /// If it has ended.
    pub fn interrupt(&self) {
        assert!(self.signal(Signal::INT), "{} has ended", self.name);
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it has not within [`PATIENCE`](crate::PATIENCE).
    pub async fn ended(&mut self) -> ExitStatus {
        while self.next_line().await.is_some() {}
        // Its output is closed, so it is gone or just going.
        let status = self.child.wait().expect("it can be waited for");
        self.status = Some(status);
        status
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_none()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Signals the whole group; answers whether there was one.
    fn signal(&self, signal: Signal) -> bool {
        // A process that was reaped has given its number back: it may be another's by now.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        self.status.is_none() && pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("---- {} logged ----\n{}", self.name, tail.join("\n"));
        }
    }
}

//! Measured things run in processes of their own, so that their memory and CPU time are theirs
//! alone: this same program, started again with a [`Job`].
//!
//! A worker prints one line of JSON when it is ready, and one for each line that it reads. It ends
//! when its standard input does, so that none outlives the measurement.

use crate::figures::{handshake, idle_connection, index, relay, search_latency};
use crate::network;
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The hidden subcommand of workers.
pub const SUBCOMMAND: &str = "worker";

/// How long a worker may take for one answer: far longer than the largest index takes to build.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long a worker may take to end.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// What a worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Takes connections, and keeps them.
    Hold(crate::quic::Stack),
    /// Opens so many connections, and keeps them.
    Dial(idle_connection::Dial),
    /// Takes connections, and closes each at once.
    Greet(crate::quic::Stack),
    /// Makes handshakes, as many as it is told.
    Shake(handshake::Shake),
    /// Builds an index, and searches or changes it.
    Index(index::Measure),
    /// Is some nodes of a network.
    Nodes(network::Nodes),
    /// Answers requests, one a stream.
    Answer,
    /// Is one end of a session.
    Ship,
    /// Relays.
    Relay,
    /// Forwards datagrams.
    Forward,
    /// Sends through slots of a relay.
    Source,
    /// Receives what comes through slots of a relay.
    Sink,
}

/// A worker, as the measurement sees it. Dropping it kills the process.
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts a worker, and returns what it says when it is ready.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub async fn start<R: DeserializeOwned>(job: &Job) -> Result<(Self, R)> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a process")?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a process has no pipes");
        };
        let mut worker = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        let ready = worker.answer().await?;
        Ok((worker, ready))
    }

    /// Asks it something.
    ///
    /// # Errors
    /// It fails, or does not answer.
    pub async fn ask<R: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<R> {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).await.context("a worker has ended")?;
        self.answer().await
    }

    /// Lets it end.
    ///
    /// # Errors
    /// It fails, or hangs.
    pub async fn end(mut self) -> Result<()> {
        drop(self.stdin);
        let ended = tokio::time::timeout(END_PATIENCE, self.child.wait()).await;
        let status = ended.context("a worker does not end")??;
        anyhow::ensure!(status.success(), "a worker ended with {status}");
        Ok(())
    }

    async fn answer<R: DeserializeOwned>(&mut self) -> Result<R> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.context("a worker is silent")??.context("a worker failed")?;
        serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))
    }
}

/// The measurement, as a worker sees it.
pub struct Boss {
    lines: Lines<BufReader<Stdin>>,
}

impl Boss {
    /// Says something.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub fn say(&self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(std::io::stdout().write_all(&line)?)
    }

    /// The next question; `None` when it is time to end.
    ///
    /// # Errors
    /// It is not of the kind that this worker answers.
    pub async fn next<Q: DeserializeOwned>(&mut self) -> Result<Option<Q>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

/// Does a job to its end.
///
/// # Errors
/// What went wrong.
pub async fn work(job: Job) -> Result<()> {
    let boss = Boss { lines: BufReader::new(tokio::io::stdin()).lines() };
    match job {
        Job::Hold(stack) => idle_connection::hold(stack, boss).await,
        Job::Dial(dial) => idle_connection::dial(dial, boss).await,
        Job::Greet(stack) => handshake::greet(stack, boss).await,
        Job::Shake(shake) => handshake::shake(shake, boss).await,
        Job::Index(build) => index::work(build, boss).await,
        Job::Nodes(nodes) => network::work(nodes, boss).await,
        Job::Answer => search_latency::answer(boss).await,
        Job::Ship => relay::ship(boss).await,
        Job::Relay => relay::relay(boss).await,
        Job::Forward => relay::forward(boss).await,
        Job::Source => relay::source(boss).await,
        Job::Sink => relay::sink(boss).await,
    }
}

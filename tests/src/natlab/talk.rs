//! What two nodes of the lab have to say to each other: pings that tell the path, and a pipe that
//! brings back what goes into it.

use super::host::{LOOK_AGAIN, Running};
use super::topology::Lab;
use crate::process::Process;
use crate::within_patience;
use skein_node::api::types::{PingEvent, SessionPath};
use skein_node::sessions::PathKind;
use std::time::Duration;

/// How often the path is asked for by a ping: each change of it is told between two of them.
const PING_INTERVAL: &str = "50ms";

/// Bytes of a line that goes through a pipe.
const LINE: usize = 1_000;

/// The session of a node with another one, and the way that it goes.
#[derive(Debug)]
pub struct Watched {
    ping: Process,
    path: SessionPath,
}

impl Watched {
    /// Pings the other one from now on.
    ///
    /// # Panics
    /// If there is no session within [`PATIENCE`](crate::PATIENCE), however often it is asked for.
    pub async fn start(from: &Running, to: &Running) -> Self {
        let peer = format!("@{}", to.name());
        within_patience(&format!("there is no session with {peer}"), async {
            loop {
                let mut ping = from.start("ping", &["ping", &peer, "--interval", PING_INTERVAL]);
                match ping.next_json().await {
                    Some(PingEvent::Connected { path, .. }) => return Self { ping, path },
                    // An attempt has its time, which a busy machine may exceed.
                    None => eprintln!("no session with {peer} yet: {}", ping.log()),
                    other => panic!("a session with {peer} is told first: {other:?}"),
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
    }

    /// The way that the session goes, as it was told last.
    pub fn path(&self) -> &SessionPath {
        &self.path
    }

    /// Where the peer is, if the session goes directly.
    pub fn direct(&self) -> Option<std::net::SocketAddr> {
        match self.path.kind {
            PathKind::Direct { address } => Some(address),
            PathKind::Relayed { .. } => None,
        }
    }

    /// The next that is told: how long an answer took, if it is one.
    async fn next(&mut self) -> Option<Duration> {
        match self.ping.next_json().await.expect("the ping goes on") {
            PingEvent::Pong { rtt_us, .. } => return Some(Duration::from_micros(rtt_us)),
            PingEvent::Path { path } => self.path = path,
            PingEvent::Lost { number } => eprintln!("ping {number} was lost"),
            other => panic!("it is one session throughout: {other:?}"),
        }
        None
    }

    /// Waits until the session goes as wanted, and one ping was answered since.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`](crate::PATIENCE).
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        within_patience(&format!("the session never {what}"), async {
            loop {
                let answered = self.next().await.is_some();
                if answered && wanted(self) {
                    return;
                }
            }
        })
        .await;
    }

    /// Takes what was told meanwhile, up to an answer that is asked for after this call.
    pub async fn catch_up(&mut self) {
        // The ping that is under way may have been sent before; the one after that was not, and what
        // is told comes in order.
        let mut answers = self.ping.told();
        while answers > 0 {
            let _ = self.next().await;
            answers -= 1;
        }
        for _ in 0..2 {
            while self.next().await.is_none() {}
        }
    }
}

/// A pipe to a program that says what it is told.
#[derive(Debug)]
pub struct EchoPipe {
    pipe: Process,
    lines: u64,
    _program: Process,
}

impl EchoPipe {
    /// Starts the program on the machine of `to`, which offers it to `from`, and connects with it.
    /// `machine` is where this crate's program of that name is.
    pub async fn open(lab: &Lab, machine: &str, from: &Running, to: &Running) -> Self {
        let mut program = lab.program(to.name(), machine, &["echo"]);
        let address = program.next_line().await.expect("it listens");
        let words = ["service", "add", "echo", &address, "--allow", from.name()];
        let _ = to.run(&words).await.worked();
        // The pipe is for one attempt, which takes the session that is there.
        let _ = Watched::start(from, to).await;
        let peer = format!("@{}", to.name());
        let pipe = from.start("pipe", &["pipe", &peer, "echo"]);
        Self { pipe, lines: 0, _program: program }
    }

    /// Sends so many kilobytes, and waits until they have all come back as they were.
    ///
    /// # Panics
    /// If they have not.
    pub async fn carries(&mut self, kilobytes: u64) {
        let said = self.lines..self.lines + kilobytes;
        self.lines = said.end;
        for number in said.clone() {
            self.pipe.say(&line(number));
        }
        for number in said {
            let came = self.pipe.next_line().await;
            assert_eq!(came.as_deref(), Some(&*line(number)), "{}", self.pipe.log());
        }
    }
}

/// A line that no compression makes much shorter.
fn line(number: u64) -> String {
    let mut noise = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
    let mut bytes = [0; LINE / 2];
    noise.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Sessions between all kinds of NATs: which way each goes in the end, and how soon.

use super::host::{Host, LOOK_AGAIN, Running};
use super::nat::Kind;
use super::topology::Lab;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use skein_node::api::types::PingEvent;
use std::fmt;
use std::time::Duration;

/// How soon a session goes directly wherever a plain punch over UDP can succeed, counted from when
/// it was asked for, with a machine that has nothing else to do.
pub const DIRECT_BAR: Duration = Duration::from_secs(2);

/// Supernodes of the lab: a relay for a session, a reserve, and one for whoever is attached to
/// neither.
const SUPERNODES: usize = 3;

/// How often a session is pinged: the path is told when it changes, the answers show that it works.
const PING_INTERVAL: &str = "100ms";

/// The lab with two nodes behind each kind of NAT, each behind its own, all attached.
#[derive(Debug)]
pub struct Matrix {
    // Fields are dropped in this order: the nodes live in the lab's folder.
    callers: Vec<Running>,
    callees: Vec<Running>,
    _supernodes: Vec<Running>,
    _lab: Lab,
}

/// What became of a session.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the caller and the callee are behind.
    pub pair: (Kind, Kind),
    /// How often a session was asked for: again when the call before has come to nothing.
    pub calls: u32,
    /// From the last call until there was a session, if there was one.
    pub connected: Option<Duration>,
    /// From that call until its packets went directly for the first time.
    pub direct: Option<Duration>,
    /// A ping was answered along the path that the session went in the end.
    pub answered: bool,
}

impl Outcome {
    const fn new(pair: (Kind, Kind)) -> Self {
        Self { pair, calls: 0, connected: None, direct: None, answered: false }
    }

    /// Whether the first call has led to a session.
    pub const fn is_connected_at_once(&self) -> bool {
        self.connected.is_some() && self.calls == 1
    }

    /// Whether a plain punch can succeed between the two.
    pub const fn can_be_direct(&self) -> bool {
        self.pair.0.can_punch(self.pair.1)
    }

    /// [`Self::direct`], if the first call has led to it.
    pub fn direct_at_once(&self) -> Option<Duration> {
        self.direct.filter(|_| self.is_connected_at_once())
    }

    /// Whether there is a session that works, and a direct one where that can be.
    pub const fn is_right(&self) -> bool {
        self.answered
            && self.connected.is_some()
            && (self.direct.is_some() || !self.can_be_direct())
    }

    fn take(&mut self, event: &PingEvent) {
        let path = match event {
            PingEvent::Connected { took_us, path, .. } => {
                self.connected = Some(Duration::from_micros(*took_us));
                path
            }
            PingEvent::Path { path } => path,
            PingEvent::Pong { .. } => {
                self.answered = true;
                return;
            }
            _ => return,
        };
        self.answered = false;
        let after = path.direct_after_us.filter(|_| path.kind.is_direct());
        let after = after.map(Duration::from_micros);
        self.direct = self.connected.zip(after).map(|(connected, after)| connected + after);
    }
}

impl Matrix {
    /// Builds it, and waits until all nodes are attached and the directory knows them.
    pub async fn build() -> Self {
        let twice: Vec<Kind> = [Kind::ALL, Kind::ALL].concat();
        let lab = Lab::build(SUPERNODES, &twice).await;
        let (geese, others) = lab.hosts().split_at(SUPERNODES);
        let supernodes = join_all(geese.iter().map(|host| host.up(&["--role", "super"]))).await;
        let nodes = join_all(others.iter().map(|host| host.up(&["--role", "ordinary"]))).await;
        join_all(nodes.iter().map(|node| async {
            let is_so = "has a parent and a standby";
            node.until(is_so, |status| {
                status.attachment.parent.is_some() && status.attachment.standby.is_some()
            })
            .await
        }))
        .await;
        let mut callers = nodes;
        let callees = callers.split_off(Kind::ALL.len());
        let known = callers.iter().zip(&callees);
        join_all(known.map(|(caller, callee)| caller.until_found(callee.name()))).await;
        Self { callers, callees, _supernodes: supernodes, _lab: lab }
    }

    /// Opens a session for each pair of kinds, in both directions if `both_ways`, so many at a time.
    /// Answers what became of each, once it is [right](Outcome::is_right) or `patience` is over.
    pub async fn sessions(
        &self,
        both_ways: bool,
        at_once: usize,
        patience: Duration,
    ) -> Vec<Outcome> {
        let pairs = self.callers.iter().enumerate().flat_map(|(place, caller)| {
            let from = if both_ways { 0 } else { place };
            self.callees[from..].iter().map(move |callee| session(caller, callee, patience))
        });
        stream::iter(pairs).buffered(at_once).collect().await
    }
}

/// Pings until what the NATs allow is reached, and answered once more after that.
async fn session(from: &Host, to: &Host, patience: Duration) -> Outcome {
    let mut outcome = Outcome::new((from.kind(), to.kind()));
    let name = format!("@{}", to.name());
    let reached = async {
        loop {
            outcome.calls += 1;
            let words = ["ping", &name, "--interval", PING_INTERVAL];
            let mut ping = from.start("ping", &words);
            while let Some(event) = ping.next_json::<PingEvent>().await {
                outcome.take(&event);
                if outcome.is_right() {
                    return;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // What is not reached is seen by the outcome.
    let _ = tokio::time::timeout(patience, reached).await;
    outcome
}

/// A table of outcomes, callers down and callees across, as Markdown.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Outcome]);

/// The same in numbers, by name, for programs: lines `figure NAME VALUE`. A pair counts as connected,
/// and directly, that is so at the first call.
#[derive(Debug)]
pub struct Figures<'a>(pub &'a [Outcome]);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let possible = self.0.iter().filter(|outcome| outcome.can_be_direct());
        let mut times: Vec<Duration> =
            possible.clone().filter_map(Outcome::direct_at_once).collect();
        times.sort_unstable();
        let millis = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
        let is_connected = |it: &&Outcome| it.is_connected_at_once() && it.answered;
        let connected = self.0.iter().filter(is_connected).count();
        writeln!(f, "figure pairs {}", self.0.len())?;
        writeln!(f, "figure connected {connected}")?;
        writeln!(f, "figure possible {}", possible.count())?;
        writeln!(f, "figure direct {}", times.len())?;
        writeln!(f, "figure direct_median_ms {}", millis(times.get(times.len() / 2)))?;
        write!(f, "figure direct_most_ms {}", millis(times.last()))
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = Kind::ALL.map(Kind::name);
        writeln!(f, "| from \\ to | {} |", kinds.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(kinds.len()))?;
        for caller in Kind::ALL {
            write!(f, "| {caller} |")?;
            for callee in Kind::ALL {
                let is_it = |outcome: &&Outcome| outcome.pair == (caller, callee);
                match self.0.iter().find(is_it) {
                    Some(outcome) => write!(f, " {} |", Cell(outcome))?,
                    None => write!(f, " |")?,
                }
            }
            writeln!(f)?;
        }
        let connected = self.0.iter().filter(|it| it.is_connected_at_once()).count();
        writeln!(f, "\nconnected: {connected} of {}", self.0.len())?;
        let possible: Vec<&Outcome> = self.0.iter().filter(|o| o.can_be_direct()).collect();
        let mut times: Vec<Duration> =
            possible.iter().filter_map(|it| it.direct_at_once()).collect();
        times.sort_unstable();
        write!(f, "direct where a plain punch can succeed: {} of {}", times.len(), possible.len())?;
        if let (Some(median), Some(most)) = (times.get(times.len() / 2), times.last()) {
            let soon = times.iter().filter(|took| **took <= DIRECT_BAR).count();
            write!(
                f,
                ", {soon} within {} s; median {} ms, most {} ms",
                DIRECT_BAR.as_secs(),
                median.as_millis(),
                most.as_millis()
            )?;
        }
        Ok(())
    }
}

struct Cell<'a>(&'a Outcome);

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { calls, connected, direct, answered, .. } = self.0;
        match (connected, direct) {
            (Some(_), Some(direct)) => write!(f, "direct {}", direct.as_millis())?,
            (Some(connected), None) => write!(f, "relay {}", connected.as_millis())?,
            _ => return write!(f, "**none**"),
        }
        if *calls > 1 {
            write!(f, ", **{calls} calls**")?;
        }
        if !answered {
            write!(f, ", **no answer**")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(pair: (Kind, Kind), connected: u64, direct: Option<u64>) -> Outcome {
        let (connected, direct) =
            (Some(Duration::from_millis(connected)), direct.map(Duration::from_millis));
        Outcome { pair, calls: 1, connected, direct, answered: true }
    }

    #[test]
    fn the_table_tells_path_and_time_and_sums_up_what_could_be_direct() {
        let outcomes = [
            outcome((Kind::Public, Kind::Symmetric), 20, Some(150)),
            outcome((Kind::Symmetric, Kind::Public), 20, Some(2_100)),
            outcome((Kind::Symmetric, Kind::Symmetric), 30, None),
            Outcome::new((Kind::UdpBlocked, Kind::Public)),
            Outcome { calls: 2, ..outcome((Kind::Public, Kind::Public), 20, Some(170)) },
        ];
        assert_eq!(outcomes.each_ref().map(Outcome::is_right), [true, true, true, false, true]);
        let figures = Figures(&outcomes).to_string();
        let expected = "figure pairs 5\nfigure connected 3\nfigure possible 3\nfigure direct 2\n\
                        figure direct_median_ms 2100\nfigure direct_most_ms 2100";
        assert_eq!(figures, expected);
        let text = Table(&outcomes).to_string();
        for expected in [
            "| direct 150 |",
            "| relay 30 |",
            "| **none** |",
            "| direct 170, **2 calls** |",
            "connected: 3 of 5",
            "succeed: 2 of 3, 1 within 2 s; median 2100 ms, most 2100 ms",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}

//! The decisions: which address is probed when, which path is sent along, when one is given up.
//!
//! There is no I/O in it and no clock: it is told what came and what time it is, hands out what is
//! to be done, and says when it wants to be woken. Since a node has one socket, a pair of candidates
//! (RFC 8445, section 6.1.2) is an address of the peer and nothing more. Both ends do the same and
//! neither leads: each sends along what it has found to be best, and takes what comes along any path
//! that the other has proven.

use super::candidate::{Candidate, CandidateKind, MAX_CANDIDATES};
use super::frame::LENGTH;
use super::keepalive::{KeepAlive, SAFE};
use super::pace::Pace;
use super::path::{Path, clearly_faster, preferable};
use crate::relay::frame::HEADER;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// Paths of one session: the peer's candidates and some addresses that probes came from.
const MAX_PATHS: usize = MAX_CANDIDATES + 8;

/// How often it is looked whether the path in use brings anything while something is sent along it.
const LOOK: Duration = Duration::from_millis(50);

/// Paths that are held ready beside the one in use.
const SPARES: usize = 2;

/// The round trip of the path in use is measured this often while packets go along it.
const MEASURE: Duration = Duration::from_secs(5);

/// And that of another path while it is new; its class or speed may make it the better one.
const COMPARE: Duration = Duration::from_millis(200);

/// Samples in a row by which another path must be clearly faster.
const WINS: u8 = 3;

/// Replies of a new path that are measured at short intervals.
const NEW: u32 = 4;

/// A path takes datagrams of this length, or is none: the least that QUIC wants (RFC 9000, section
/// 14), behind the header of a session.
const LEAST_WIDTH: usize = HEADER + 1_200;

/// What the machine is told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A probe of the peer, its proof checked.
    Probe { from: SocketAddr, transaction: u64, in_use: bool, length: usize },
    /// A reply of the peer, its proof checked.
    Reply { from: SocketAddr, transaction: u64, observed: SocketAddr, length: usize },
    /// Where the peer may be, as it says.
    Candidates(Vec<Candidate>),
    /// This node has other addresses than before.
    Moved(Vec<IpAddr>),
    /// Batches sent so far, and received so far along the path in use, and how long the datagrams
    /// of the session may be at present.
    Traffic { sent: u64, received: u64, width: usize },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send a probe of this length.
    Probe { to: SocketAddr, transaction: u64, in_use: bool, length: usize },
    /// Answer one, with as many bytes.
    Reply { to: SocketAddr, transaction: u64, length: usize },
    /// Take packets from there.
    Listen(SocketAddr),
    /// Take none from there any more.
    Forget(SocketAddr),
    /// Send along this path; over the relay if there is none.
    Use(Option<SocketAddr>),
}

/// What the machine knows of the path in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) direct: Option<SocketAddr>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) observed: Option<SocketAddr>,
    /// Addresses are being probed that have not answered yet.
    pub(crate) punching: bool,
    pub(crate) keep_alive: Duration,
    /// Addresses of the peer that were not taken: nobody can be there, or there was no room.
    pub(crate) refused: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Machine {
    paths: Vec<Path>,
    ours: Vec<IpAddr>,
    loopback: bool,
    families: Families,
    current: Option<SocketAddr>,
    next_transaction: u64,
    /// Of probes to addresses that have not answered.
    pace: Pace,
    keep: KeepAlive,
    sent: u64,
    received: u64,
    /// How long the datagrams of the session may be.
    width: usize,
    /// Since when something was sent along the path in use and nothing came.
    quiet_since: Option<Instant>,
    look_at: Option<Instant>,
    outputs: VecDeque<Output>,
    refused: u64,
}

/// The families of addresses that the socket sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    Ipv4,
    Ipv6,
    Both,
}

impl Families {
    fn has(self, address: SocketAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

impl Machine {
    /// A machine that begins to probe at `start`. `keep_alive` is a silence that the routers here are
    /// known to survive.
    pub(crate) fn new(
        start: Instant,
        ours: Vec<IpAddr>,
        families: Families,
        loopback: bool,
        keep_alive: Duration,
    ) -> Self {
        Self {
            paths: Vec::new(),
            ours,
            loopback,
            families,
            current: None,
            next_transaction: 1,
            pace: Pace::new(start),
            keep: KeepAlive::new(keep_alive),
            sent: 0,
            received: 0,
            width: LEAST_WIDTH,
            quiet_since: None,
            look_at: None,
            outputs: VecDeque::new(),
            refused: 0,
        }
    }

    /// Takes what happened.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Probe { from, transaction, in_use, length } => {
                self.on_probe(from, transaction, in_use, length, now);
            }
            Input::Reply { from, transaction, observed, length } => {
                self.on_reply(from, transaction, observed, length, now);
            }
            Input::Candidates(candidates) => self.on_candidates(candidates, now),
            Input::Moved(ours) => self.on_moved(ours, now),
            Input::Traffic { sent, received, width } => {
                self.on_width(width.max(LEAST_WIDTH), now);
                self.on_traffic(sent, received, now);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.look(now);
        while let Some(dead) = self.paths.iter().position(|path| path.is_dead(now)) {
            self.bury(dead, now);
        }
        while let Some(at) = self.next_due(now) {
            let keep = self.keep.interval();
            let path = &mut self.paths[at];
            if path.is_overdue(now) {
                path.doubt(now);
            }
            let paced = !path.is_live();
            let (to, in_use) = (path.address, self.current == Some(path.address));
            let length = match path.is_too_narrow(self.width) && !in_use {
                true if path.may_try(self.width) => self.width,
                true => {
                    path.tried_in_vain(keep, now);
                    continue;
                }
                false => LENGTH,
            };
            let transaction = self.next_transaction;
            self.next_transaction += 1;
            self.paths[at].sent(transaction, length, now);
            self.outputs.push_back(Output::Probe { to, transaction, in_use, length });
            if paced {
                self.pace.spend(now);
            }
        }
    }

    /// What is to be done next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let probes = self.paths.iter().filter_map(|path| {
            let due = path.next_probe?;
            Some(if path.is_live() { due } else { due.max(self.pace.next_turn()) })
        });
        probes.chain(self.look_at).min()
    }

    /// Whether the machine wants to hear of the next packet that is sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.current.is_some() && self.look_at.is_none()
    }

    /// What is known of the path in use.
    pub(crate) fn view(&self) -> View {
        let current = self.current.and_then(|address| self.path(address));
        let observed = current.and_then(|path| path.observed);
        View {
            direct: self.current,
            rtt: current.and_then(Path::rtt),
            observed: observed.or_else(|| self.paths.iter().find_map(|path| path.observed)),
            punching: self.paths.iter().any(|path| !path.is_live() && path.next_probe.is_some()),
            keep_alive: self.keep.interval(),
            refused: self.refused,
        }
    }

    fn path(&self, address: SocketAddr) -> Option<&Path> {
        self.paths.iter().find(|path| path.address == address)
    }

    fn path_mut(&mut self, address: SocketAddr) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.address == address)
    }

    /// The path whose probe is due: those that work first, then by priority.
    fn next_due(&self, now: Instant) -> Option<usize> {
        let is_due = |path: &Path| {
            path.next_probe.is_some_and(|due| due <= now)
                && (path.is_live() || self.pace.next_turn() <= now)
        };
        (0..self.paths.len())
            .filter(|at| is_due(&self.paths[*at]))
            .max_by_key(|at| (self.paths[*at].is_live(), self.paths[*at].priority))
    }

    fn on_probe(
        &mut self,
        from: SocketAddr,
        transaction: u64,
        in_use: bool,
        length: usize,
        now: Instant,
    ) {
        // One that is known goes before all guesses from now on.
        self.enter(Candidate { address: from, kind: CandidateKind::Seen }, now);
        let (keep, used) = (self.keep.interval(), self.current == Some(from));
        let Some(path) = self.path_mut(from) else { return };
        path.peer_uses = in_use;
        path.answers(now);
        // Of a source that may be forged, nobody there gets two frames for one.
        let replies = !path.is_answered_by_a_probe();
        if !replies || path.is_named() && !path.is_live() {
            // The peer's probe has opened its router for what comes from here.
            path.hasten(now);
        } else if path.is_live() && !used && path.next_probe.is_some_and(|due| due > now + COMPARE)
        {
            // The peer keeps it; of both ends, the one that asks more often does.
            path.next_probe = Some(now + keep);
        }
        if !path.listening {
            path.listening = true;
            self.outputs.push_back(Output::Listen(from));
        }
        if replies {
            self.outputs.push_back(Output::Reply { to: from, transaction, length });
        }
    }

    /// Enters an address of the peer, if one could be there and there is room.
    fn enter(&mut self, candidate: Candidate, now: Instant) {
        let priority = candidate.priority(&self.ours);
        if let Some(path) = self.path_mut(candidate.address) {
            path.priority = path.priority.max(priority);
            if candidate.kind != CandidateKind::Seen {
                path.name(now);
            }
            return;
        }
        if !self.families.has(candidate.address) {
            return;
        }
        if !candidate.is_plausible(self.loopback) || !self.make_room() {
            self.refused += 1;
            return;
        }
        let path = match candidate.kind {
            CandidateKind::Seen => Path::seen(candidate.address, priority, now),
            _ => Path::new(candidate.address, priority, now),
        };
        self.paths.push(path);
    }

    /// Whether there is room for another path, if need be by forgetting one that leads nowhere.
    fn make_room(&mut self) -> bool {
        if self.paths.len() < MAX_PATHS {
            return true;
        }
        let useless = self
            .paths
            .iter()
            .position(|path| !path.is_live() && path.next_probe.is_none() && !path.peer_uses);
        useless.is_some_and(|at| {
            let path = self.paths.swap_remove(at);
            if path.listening {
                self.outputs.push_back(Output::Forget(path.address));
            }
            true
        })
    }

    fn on_reply(
        &mut self,
        from: SocketAddr,
        transaction: u64,
        seen: SocketAddr,
        length: usize,
        now: Instant,
    ) {
        let in_use = self.current == Some(from);
        let Some(path) = self.path_mut(from) else { return };
        let (was_live, silence) = (path.is_live() && !path.in_doubt, path.silence());
        if path.replied(transaction, length, now).is_none() {
            return;
        }
        let same_mapping = path.observed.replace(seen) == Some(seen);
        let listens = std::mem::replace(&mut path.listening, true);
        if !listens {
            self.outputs.push_back(Output::Listen(from));
        }
        if was_live
            && !in_use
            && let Some(silence) = silence
        {
            match same_mapping {
                true => self.keep.survived(silence),
                false => self.keep.expired(silence),
            }
        }
        self.compare(from);
        self.choose(now);
        self.plan(from, now);
    }

    fn on_candidates(&mut self, candidates: Vec<Candidate>, now: Instant) {
        for candidate in candidates.into_iter().take(MAX_CANDIDATES) {
            self.enter(candidate, now);
        }
        self.punch(now);
    }

    fn on_moved(&mut self, ours: Vec<IpAddr>, now: Instant) {
        self.ours = ours;
        self.pace.start_over(now);
        // Other routers keep their mappings for another time.
        self.keep = KeepAlive::new(SAFE);
        let current = self.current;
        if let Some(path) = current.and_then(|current| self.path_mut(current)) {
            path.doubt(now);
        }
        for path in self.paths.iter_mut().filter(|path| Some(path.address) != current) {
            path.forget_width();
            path.start_over(now);
        }
    }

    /// Probes everything that does not work, from the beginning.
    fn punch(&mut self, now: Instant) {
        for path in self.paths.iter_mut().filter(|path| !path.is_live()) {
            path.start_over(now);
        }
    }

    fn on_width(&mut self, width: usize, now: Instant) {
        let was = std::mem::replace(&mut self.width, width);
        if width < was {
            // Paths that were too narrow may be wide enough now.
            for path in self.paths.iter_mut().filter(|path| path.is_too_narrow(was)) {
                path.next_probe = Some(now);
            }
        }
    }

    fn on_traffic(&mut self, sent: u64, received: u64, now: Instant) {
        let (was_sent, was_received) = (self.sent, self.received);
        (self.sent, self.received) = (sent, received);
        if self.current.is_none() {
            self.look_at = None;
            return;
        }
        if received != was_received {
            self.quiet_since = None;
        } else if sent != was_sent {
            self.quiet_since.get_or_insert(now);
        }
        if sent != was_sent || self.quiet_since.is_some() {
            self.look_at.get_or_insert(now + LOOK);
        }
    }

    /// Doubts the path in use if it brings nothing while something is sent along it.
    fn look(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_at = None;
        let Some(current) = self.current else { return };
        let quiet = self.quiet_since;
        let Some(path) = self.path_mut(current) else { return };
        if let Some(since) = quiet {
            if now.saturating_duration_since(since) >= path.quiet_limit() {
                path.doubt(now);
            }
            self.look_at = Some(now + LOOK);
        }
    }

    /// Gives up what is in doubt and has had its chances.
    fn bury(&mut self, at: usize, now: Instant) {
        let silence = self.paths[at].silence();
        let path = &mut self.paths[at];
        let address = path.address;
        path.deaths = path.deaths.saturating_add(1);
        path.forget_width();
        path.start_over(now);
        if self.current == Some(address) {
            self.current = None;
            // What else worked may have died of the same: one reply is asked of each.
            for path in self.paths.iter_mut().filter(|path| path.is_live()) {
                path.start_over(now);
            }
            self.look_at = None;
            self.quiet_since = None;
            self.outputs.push_back(Output::Use(None));
        } else if let Some(silence) = silence {
            self.keep.expired(silence);
        }
    }

    /// Notes whether another path was better than the one in use by this sample.
    fn compare(&mut self, sampled: SocketAddr) {
        let Some(current) = self.current.and_then(|current| self.path(current)) else { return };
        let Some(other) = self.path(sampled).filter(|path| path.address != current.address) else {
            return;
        };
        let wins = match clearly_faster(other, current) {
            true => other.wins.saturating_add(1),
            false => 0,
        };
        if let Some(path) = self.path_mut(sampled) {
            path.wins = wins;
        }
    }

    /// Takes the best path: any direct one rather than the relay; another direct one only if it is
    /// of a better class and not clearly slower, or clearly faster for some samples.
    fn choose(&mut self, now: Instant) {
        let mut best: Option<&Path> = self.current.and_then(|current| self.path(current));
        for path in self.paths.iter().filter(|path| self.is_usable(path)) {
            best = match best {
                None => Some(path),
                Some(best) if best.address == path.address => continue,
                Some(best) if self.current == Some(best.address) => {
                    let faster = path.wins >= WINS;
                    let nicer = path.class > best.class && !clearly_faster(best, path);
                    Some(if faster || nicer { path } else { best })
                }
                Some(best) => Some(if preferable(path, best) { path } else { best }),
            };
        }
        let Some(best) = best.map(|best| best.address) else { return };
        if self.current == Some(best) {
            return;
        }
        self.current = Some(best);
        self.quiet_since = None;
        self.look_at = Some(now + LOOK);
        for path in &mut self.paths {
            path.wins = 0;
        }
        self.outputs.push_back(Output::Use(Some(best)));
    }

    /// When a path that works is probed again.
    fn plan(&mut self, address: SocketAddr, now: Instant) {
        let (keep, width) = (self.keep.interval(), self.width);
        let in_use = self.current == Some(address);
        let rank = self.rank(address);
        let Some(path) = self.path_mut(address) else { return };
        path.next_probe = if path.is_too_narrow(width) && !in_use {
            Some(now)
        } else if !path.is_usable() || path.wins > 0 || path.is_changing() || path.replies < NEW {
            Some(now + COMPARE)
        } else if in_use || rank < SPARES {
            Some(now + if in_use { keep.min(MEASURE) } else { keep })
        } else {
            None
        };
    }

    /// Whether the session may go along a path: it has answered, and datagrams as long as those of
    /// the session get through in both directions.
    fn is_usable(&self, path: &Path) -> bool {
        path.is_usable() && path.width >= self.width
    }

    /// How many paths that work are preferable to this one, the one in use aside.
    fn rank(&self, address: SocketAddr) -> usize {
        let Some(this) = self.path(address) else { return 0 };
        self.paths
            .iter()
            .filter(|path| self.is_usable(path) && Some(path.address) != self.current)
            .filter(|path| path.address != address && preferable(path, this))
            .count()
    }
}

#[cfg(test)]
mod tests;

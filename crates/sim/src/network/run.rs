//! What happens, one after the other.
//!
//! What happens within less time than the shortest way takes cannot have to do with each other, but
//! for what happens to the same node: such a window of time is worked off by several threads, each
//! for its part of the nodes, and what the nodes did to others is then carried out in the order of
//! time (conservative parallel simulation with the latency of links as the lookahead: Chandy and
//! Misra, IEEE TSE 1979; windows: Nicol, JACM 1993). To carry it out is the work of one thread, for
//! the wires and the queue are everybody's: so two windows take no longer than the shortest way, and
//! what came of one is carried out while the nodes work off the next, and then what will happen in the
//! one after that is taken from the queue. What a node does to itself, a timer or a look at its disk,
//! takes until that window at least. So the outcome depends on the length of the window, and not on
//! the number of threads.

use super::node::{Link, Notice};
use super::shard::{SHARDS, Task, Work};
use super::{Network, Settings, address_of};
use skein_overlay::Input;
use skein_proto::{Instant, Message, NodeId};
use std::time::Duration;

/// What happens to a node at some time.
pub(super) enum Happening {
    /// A message arrives, unless the link that it was sent over is gone.
    Received { at: u32, peer: u32, link: u32, message: Box<Message> },
    /// Something else that only this life of the node shall see.
    Input { at: u32, life: u32, input: Box<Input> },
    /// A node that has closed its end of a link notices that it is gone.
    HungUp { at: u32, life: u32, peer: NodeId },
    /// Both ends see a link that was dialled.
    Connect { from: u32, to: u32, life: u32, reaches: bool },
    /// The transport hears nothing from a peer any more.
    Silent { at: u32, peer: u32, link: u32 },
    /// The other end closed a link, or the transport gave it up.
    Closed { at: u32, peer: u32, link: u32 },
    /// A node wanted to be woken.
    Wake { at: u32 },
    /// A node's question reaches the login service.
    AskLogin { at: u32, life: u32, willing: bool },
    /// It is time for a node to renew its credential.
    Renew { at: u32, life: u32 },
    /// A node starts, if it does not run.
    Start { at: u32 },
}

/// A window of time.
pub(super) struct Window {
    /// When it began.
    began: Instant,
    /// When the last thing happens in it.
    pub(super) reached: Instant,
    /// What the shards have to do in it, and what came of it.
    work: [Work; SHARDS],
    /// Whose turn it is, of the shards: one number for each task.
    assigned: Vec<u8>,
}

impl Window {
    pub(super) fn new(settings: &Settings) -> Self {
        let work = std::array::from_fn(|_| Work::new(settings));
        Self { began: Instant::START, reached: Instant::START, work, assigned: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.assigned.is_empty()
    }

    /// Whether a node has done something in it that is yet to be carried out.
    fn concerns(&self, node: u32) -> bool {
        let done = &self.work[node as usize % SHARDS].done;
        done.iter().any(|done| done.node == node && done.deeds > 0)
    }
}

impl Network {
    /// Runs for so much virtual time.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs up to a moment.
    pub fn run_to(&mut self, end: Instant) {
        self.run_for(end.since(self.now));
    }

    /// Runs until something is so, at most for so much virtual time. Answers whether it is so. It
    /// looks once in each window.
    pub fn run_until(&mut self, at_most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + at_most;
        loop {
            if done(self) {
                self.give_back();
                return true;
            }
            if !self.ahead.is_empty() || self.queue.next_at().is_some_and(|at| at <= end) {
                self.run_window(end);
            } else if !self.last.is_empty() && self.last.began + self.lookahead() <= end {
                self.catch_up();
            } else {
                self.now = end;
                return done(self);
            }
        }
    }

    /// What a node does reaches no other node sooner.
    fn lookahead(&self) -> Duration {
        self.settings.window * 2
    }

    /// Lets one window of time pass, or one thing happen where windows have no length.
    fn run_window(&mut self, end: Instant) {
        if self.ahead.is_empty() {
            let felt = (!self.last.is_empty()).then(|| self.last.began + self.lookahead());
            if !self.look_ahead(felt, end) {
                // Something may come of the last one before that.
                self.catch_up();
                return;
            }
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        let first = ahead.first().map_or(self.now, |(at, _)| *at);
        self.window.began = self.now.max(first);
        for (at, what) in ahead.drain(..) {
            // What was scheduled for the past happens now.
            self.now = self.now.max(at);
            self.happenings += 1;
            self.happen(what, at);
        }
        self.ahead = ahead;
        self.window.reached = self.now;
        let is_shared = self.team.begin(&mut self.nodes, &mut self.window.work);
        self.catch_up();
        self.look_ahead(Some(self.window.began + self.lookahead()), end);
        self.team.end(&mut self.nodes, &mut self.window.work, is_shared);
        std::mem::swap(&mut self.window, &mut self.last);
        if self.settings.window.is_zero() {
            self.catch_up();
        }
    }

    /// Takes what happens in the next window from the queue. That window is over before `felt`, when the
    /// first that comes of a window which is not carried out yet may reach another node. Answers false if
    /// nothing happens before that, or up to the end.
    fn look_ahead(&mut self, felt: Option<Instant>, end: Instant) -> bool {
        let Some(first) = self.queue.next_at().filter(|first| *first <= end) else { return false };
        let began = self.now.max(first);
        let mut over = began + self.settings.window;
        if let Some(felt) = felt {
            if began >= felt {
                return false;
            }
            over = over.min(felt);
        }
        while let Some(next) = self.queue.pop() {
            self.ahead.push(next);
            if self.queue.next_at().is_none_or(|next| next >= over || next > end) {
                break;
            }
        }
        true
    }

    /// Puts what was taken ahead back into the queue: whoever has stopped time may add what comes before
    /// it.
    fn give_back(&mut self) {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.drain(..).for_each(|(at, what)| self.queue.push(at, what));
        self.ahead = ahead;
    }

    /// Sees to what happens: what one node notices of it is left to that node's shard.
    fn happen(&mut self, what: Happening, due: Instant) {
        let (node, notice) = match what {
            Happening::Received { at, peer, link, message } => {
                (at, Notice::Received { peer: self.id(peer), link, message })
            }
            Happening::Input { at, life, input } => (at, Notice::Input { life, input }),
            Happening::HungUp { at, life, peer } => (at, Notice::HungUp { life, peer }),
            Happening::Connect { from, to, life, reaches } => {
                self.connect((from, life), to, reaches);
                return;
            }
            Happening::Silent { at, peer, link } => {
                (at, Notice::Silent { peer: self.id(peer), link })
            }
            Happening::Closed { at, peer, link } => {
                (at, Notice::Closed { peer: self.id(peer), link })
            }
            Happening::Wake { at } => (at, Notice::Wake { due }),
            Happening::AskLogin { at, life, willing } => {
                if self.life(at) != life {
                    return;
                }
                let input = if self.login.up {
                    // It dials back whom it invites.
                    let fit = willing && !self.physics.line(at).behind_nat;
                    let (entries, invited) = self.login.answer(fit, &mut self.rng, self.now);
                    Input::Bootstrap { entries, invited }
                } else {
                    Input::BootstrapFailed
                };
                (at, Notice::Input { life, input: Box::new(input) })
            }
            Happening::Renew { at, life } => {
                let Some(credential) = self.renew(at, life) else { return };
                (at, Notice::Input { life, input: Box::new(Input::Credential(credential)) })
            }
            Happening::Start { at } => {
                // What it has put on its disk in its last moment counts.
                self.catch_up_with(at);
                let Some(birth) = self.bear(at) else { return };
                (at, Notice::Born(birth))
            }
        };
        self.assign(node, notice);
    }

    fn assign(&mut self, node: u32, notice: Notice) {
        let shard = node as usize % SHARDS;
        // There are fewer of them than a byte can tell apart.
        self.window.assigned.push(shard as u8);
        self.window.work[shard].tasks.push(Task { node, at: self.now, notice });
    }

    /// Both ends have a link from the beginning of the window on, and notice it in their time.
    fn connect(&mut self, (from, life): (u32, u32), to: u32, reaches: bool) {
        if !self.is_alive(from) || self.life(from) != life {
            return;
        }
        let (from_id, to_id) = (self.id(from), self.id(to));
        if !reaches || !self.is_alive(to) {
            let input = Box::new(Input::DialFailed { peer: to_id });
            self.assign(from, Notice::Input { life, input });
            return;
        }
        let (dialler, target) = (&self.nodes[from as usize], &self.nodes[to as usize]);
        // Of two that dialled each other both keep the first link.
        if target.links.get(&from_id).is_some() && dialler.links.get(&to_id).is_some() {
            return;
        }
        let addresses = (address_of(from), address_of(to));
        let rtt = self.physics.latency(from, to) * 2;
        self.links_made = self.links_made.wrapping_add(1);
        let number = self.links_made;
        let ends = [(to, from, from_id, addresses.0), (from, to, to_id, addresses.1)];
        for (at, peer, id, address) in ends {
            let node = &mut self.nodes[at as usize];
            let life = node.life;
            // One that ended on the other side only is over with the new one.
            let stale = node.links.get(&id);
            if let Some(stale) = stale {
                node.links.remove(&id, stale.number);
            }
            node.links.insert(Link { id, peer, number });
            if stale.is_some() {
                let input = Box::new(Input::LinkDown { peer: id });
                self.assign(at, Notice::Input { life, input });
            }
            let input = Box::new(Input::LinkUp { peer: id, address, rtt });
            self.assign(at, Notice::Input { life, input });
        }
    }

    /// Carries out what a node did in the last window, before it does more.
    pub(super) fn catch_up_with(&mut self, node: u32) {
        if self.last.concerns(node) {
            self.catch_up();
        }
    }

    /// Carries out what all nodes did in the last window, in the order of time. Meanwhile the nodes
    /// themselves may be at work elsewhere.
    fn catch_up(&mut self) {
        // What comes of it may be due before what would be taken ahead.
        debug_assert!(self.ahead.is_empty(), "what was taken ahead has overtaken it");
        let end = self.now;
        let mut work = std::mem::take(&mut self.last.work);
        let mut shards = work.each_mut().map(|Work { done, deeds, .. }| {
            self.tally.add(std::mem::take(&mut deeds.tally));
            (done.drain(..), deeds.drain())
        });
        let mut assigned = std::mem::take(&mut self.last.assigned);
        for shard in assigned.drain(..) {
            let (done, deeds) = &mut shards[usize::from(shard)];
            // What was assigned to a shard is done in the same order.
            let Some(done) = done.next() else { continue };
            self.now = done.at;
            for deed in deeds.take(done.deeds) {
                self.carry_out((done.node, done.life), deed);
            }
        }
        drop(shards);
        (self.last.work, self.last.assigned) = (work, assigned);
        self.now = end;
    }
}

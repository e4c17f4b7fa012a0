//! What happens, one after the other.
//!
//! What happens within less time than the shortest way takes cannot have to do with each other, but
//! for what happens to the same node: such a window of time is worked off by several threads, each
//! for its part of the nodes, and what the nodes did to others is then carried out in the order of
//! time (conservative parallel simulation with the latency of links as the lookahead: Chandy and
//! Misra, IEEE TSE 1979; windows: Nicol, JACM 1993). What a node does to itself, a timer or a look
//! at its disk, takes until the next window at least. So the outcome depends on the length of the
//! window, and not on the number of threads.

use super::Network;
use super::node::{Link, Notice};
use super::shard::{SHARDS, Task, Work};
use skein_overlay::Input;
use skein_proto::{Instant, Message};
use std::time::Duration;

/// What happens to a node at some time.
pub(super) enum Happening {
    /// A message arrives, unless the link that it was sent over is gone.
    Received { at: u32, peer: u32, link: u32, message: Box<Message> },
    /// Something else that only this life of the node shall see.
    Input { at: u32, life: u32, input: Box<Input> },
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
                return true;
            }
            if self.queue.next_at().is_none_or(|at| at > end) {
                self.now = end;
                return done(self);
            }
            self.run_window(end);
        }
    }

    /// Lets one window of time pass, or one thing happen where windows have no length.
    fn run_window(&mut self, end: Instant) {
        let Some(first) = self.queue.next_at() else { return };
        let over = self.now.max(first) + self.settings.window;
        while let Some((at, what)) = self.queue.pop() {
            // What was scheduled for the past happens now.
            self.now = self.now.max(at);
            self.happenings += 1;
            self.happen(what, at);
            if self.queue.next_at().is_none_or(|next| next >= over || next > end) {
                break;
            }
        }
        let mut work = std::mem::take(&mut self.work);
        self.team.run(&mut self.nodes, &mut work);
        self.carry_out_all(&mut work);
        self.work = work;
    }

    /// Sees to what happens: what one node notices of it is left to that node's shard.
    fn happen(&mut self, what: Happening, due: Instant) {
        let (node, notice) = match what {
            Happening::Received { at, peer, link, message } => {
                (at, Notice::Received { peer: self.id(peer), link, message })
            }
            Happening::Input { at, life, input } => (at, Notice::Input { life, input }),
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
                if self.nodes[at as usize].life != life {
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
        };
        self.assign(node, notice);
    }

    fn assign(&mut self, node: u32, notice: Notice) {
        let shard = node as usize % SHARDS;
        // There are fewer of them than a byte can tell apart.
        self.assigned.push(shard as u8);
        self.work[shard].tasks.push(Task { node, at: self.now, notice });
    }

    /// Both ends have a link from the beginning of the window on, and notice it in their time.
    fn connect(&mut self, (from, life): (u32, u32), to: u32, reaches: bool) {
        let dialler = &self.nodes[from as usize];
        if !dialler.alive || dialler.life != life {
            return;
        }
        let (from_id, to_id) = (self.id(from), self.id(to));
        let target = &self.nodes[to as usize];
        if !reaches || !target.alive {
            let input = Box::new(Input::DialFailed { peer: to_id });
            self.assign(from, Notice::Input { life, input });
            return;
        }
        // Of two that dialled each other both keep the first link.
        if target.links.get(&from_id).is_some() && dialler.links.get(&to_id).is_some() {
            return;
        }
        let addresses = (dialler.address, target.address);
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

    /// Carries out what all nodes did in a window, in the order of time.
    fn carry_out_all(&mut self, work: &mut [Work; SHARDS]) {
        let end = self.now;
        let mut shards = work.each_mut().map(|Work { done, deeds, .. }| {
            self.tally.add(std::mem::take(&mut deeds.tally));
            (done.drain(..), deeds.drain())
        });
        let mut assigned = std::mem::take(&mut self.assigned);
        for shard in assigned.drain(..) {
            let (done, deeds) = &mut shards[usize::from(shard)];
            // What was assigned to a shard is done in the same order.
            let Some(done) = done.next() else { continue };
            self.now = done.at;
            for deed in deeds.take(done.deeds) {
                self.carry_out(done.node, deed);
            }
        }
        self.assigned = assigned;
        self.now = end;
    }
}

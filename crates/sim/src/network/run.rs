//! What happens, one after the other.

use super::Network;
use super::node::{Link, Mind};
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

    /// Runs until something is so, at most for so much virtual time. Answers whether it is so.
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
            let Some((at, what)) = self.queue.pop() else { return false };
            // What was scheduled for the past happens now.
            self.now = self.now.max(at);
            self.happenings += 1;
            self.happen(what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Received { at, peer, link, message } => {
                let id = self.ids[peer as usize];
                if self.has_link(at, peer, link) {
                    self.feed_to(at, Input::Received { peer: id, message });
                }
            }
            Happening::Input { at, life, input } => {
                if self.nodes[at as usize].life == life {
                    self.feed_to(at, *input);
                }
            }
            Happening::Connect { from, to, life, reaches } => self.connect(from, to, life, reaches),
            Happening::Silent { at, peer, link } => {
                if self.has_link(at, peer, link) {
                    self.feed_to(at, Input::LinkSilent { peer: self.ids[peer as usize] });
                }
            }
            Happening::Closed { at, peer, link } => {
                let id = self.ids[peer as usize];
                if self.nodes[at as usize].links.remove(&id, link) {
                    self.feed_to(at, Input::LinkDown { peer: id });
                }
            }
            Happening::Wake { at } => self.wake(at),
            Happening::AskLogin { at, life, willing } => {
                if self.nodes[at as usize].life != life {
                    return;
                }
                let input = if self.login.up {
                    let (entries, invited) = self.login.answer(willing, &mut self.rng, self.now);
                    Input::Bootstrap { entries, invited }
                } else {
                    Input::BootstrapFailed
                };
                self.feed_to(at, input);
            }
        }
    }

    fn has_link(&self, at: u32, peer: u32, number: u32) -> bool {
        let link = self.nodes[at as usize].links.get(&self.ids[peer as usize]);
        link.is_some_and(|link| link.number == number)
    }

    fn connect(&mut self, from: u32, to: u32, life: u32, reaches: bool) {
        let dialler = &self.nodes[from as usize];
        if !dialler.alive || dialler.life != life {
            return;
        }
        let (from_id, to_id) = (self.ids[from as usize], self.ids[to as usize]);
        if !reaches || !self.nodes[to as usize].alive {
            self.feed_to(from, Input::DialFailed { peer: to_id });
            return;
        }
        let addresses = (self.nodes[from as usize].address, self.nodes[to as usize].address);
        let rtt = self.physics.latency(from, to) * 2;
        self.links_made = self.links_made.wrapping_add(1);
        let number = self.links_made;
        let ends = [(to, from, from_id, addresses.0), (from, to, to_id, addresses.1)];
        // Of two that dialled each other both keep the first link.
        if self.nodes[to as usize].links.get(&from_id).is_some()
            && self.nodes[from as usize].links.get(&to_id).is_some()
        {
            return;
        }
        for (at, peer, id, address) in ends {
            let links = &mut self.nodes[at as usize].links;
            // One that ended on the other side only is over with the new one.
            let stale = links.get(&id);
            if let Some(stale) = stale {
                links.remove(&id, stale.number);
            }
            links.insert(Link { id, peer, number });
            if stale.is_some() {
                self.feed_to(at, Input::LinkDown { peer: id });
            }
            self.feed_to(at, Input::LinkUp { peer: id, address, rtt });
        }
    }

    /// Wakes a node that is due. One that has done its work meanwhile, because of a message, sleeps
    /// on: its timer was left standing since moving it with each message would cost more.
    fn wake(&mut self, at: u32) {
        let now = self.time();
        let node = &mut self.nodes[at as usize];
        if !node.alive || node.wake != Some(now.instant) {
            return;
        }
        node.wake = None;
        let Mind::Overlay(overlay) = &node.mind else { return };
        match overlay.next_wakeup(now) {
            Some(next) if next > now.instant => {
                node.wake = Some(next);
                self.queue.push(next, Happening::Wake { at });
            }
            _ => {
                self.wakeups += 1;
                self.feed_to(at, Input::Tick);
            }
        }
    }
}

//! One node of the network, and what comes of what it hears.

use super::deeds::{Deed, Deeds};
use super::lives::Birth;
use super::tending::Tending;
use skein_overlay::{Event, Input, Now, Output, Overlay};
use skein_proto::{Instant, Message, NodeId, Role, codec};
use std::cmp::Ordering;
use std::time::Duration;

/// What decides for a node.
pub(crate) enum Mind {
    /// Nothing: it does not run. Whether it was a supernode when it did, and until when it did.
    Off {
        was_super: bool,
        since: Instant,
    },
    Overlay(Box<Overlay>),
    /// Nothing: a test says what it sends. What it is sent is kept.
    Puppet(Vec<(NodeId, Message)>),
}

/// One node.
pub(crate) struct SimNode {
    pub(crate) mind: Mind,
    pub(crate) links: Links,
    pub(crate) alive: bool,
    /// Counts the lives of this node, so that what was meant for an earlier one is dropped.
    pub(crate) life: u32,
    /// When it is woken next.
    pub(crate) wake: Option<Instant>,
    /// How its index is looked after, if it is a supernode.
    pub(super) tending: Option<Box<Tending>>,
    pub(crate) events: Vec<(Instant, Event)>,
}

/// What a node hears or notices.
pub(super) enum Notice {
    /// Something that only this life of it shall see.
    Input { life: u32, input: Box<Input> },
    /// A message, unless the link that it was sent over is gone.
    Received { peer: NodeId, link: u32, message: Box<Message> },
    /// It has closed its end of a link in this life; there may be a new one by now.
    HungUp { life: u32, peer: NodeId },
    /// The transport hears nothing from a peer any more.
    Silent { peer: NodeId, link: u32 },
    /// The other end closed a link, or the transport gave it up.
    Closed { peer: NodeId, link: u32 },
    /// The time for which it wanted to be woken.
    Wake { due: Instant },
    /// Its life begins.
    Born(Box<Birth>),
}

impl SimNode {
    /// It hears or notices something; what it then does is added to `deeds`.
    pub(super) fn notice(&mut self, notice: Notice, now: Now, deeds: &mut Deeds) {
        match notice {
            Notice::Input { life, input } => {
                if self.life == life {
                    self.take_in(*input, now, deeds);
                }
            }
            Notice::HungUp { life, peer } => {
                if self.life == life && self.links.get(&peer).is_none() {
                    self.take_in(Input::LinkDown { peer }, now, deeds);
                }
            }
            Notice::Received { peer, link, message } => {
                if self.links.has(&peer, link) {
                    self.take_in(Input::Received { peer, message }, now, deeds);
                }
            }
            Notice::Silent { peer, link } => {
                if self.links.has(&peer, link) {
                    self.take_in(Input::LinkSilent { peer }, now, deeds);
                }
            }
            Notice::Closed { peer, link } => {
                if self.links.remove(&peer, link) {
                    self.take_in(Input::LinkDown { peer }, now, deeds);
                }
            }
            Notice::Wake { due } => self.wake_up(due, now, deeds),
            Notice::Born(birth) => {
                let (overlay, inputs) = birth.begin(now);
                self.mind = Mind::Overlay(Box::new(overlay));
                inputs.into_iter().for_each(|input| self.take_in(input, now, deeds));
            }
        }
    }

    /// Hands an input to whatever decides for it.
    pub(super) fn take_in(&mut self, input: Input, now: Now, deeds: &mut Deeds) {
        if !self.alive {
            return;
        }
        match &mut self.mind {
            Mind::Overlay(overlay) => overlay.handle(input, now),
            Mind::Puppet(heard) => {
                if let Input::Received { peer, message } = input {
                    heard.push((peer, *message));
                }
                return;
            }
            Mind::Off { .. } => return,
        }
        let mut outputs = 0;
        while let Mind::Overlay(overlay) = &mut self.mind
            && let Some(output) = overlay.poll_output()
        {
            outputs += 1;
            match output {
                Output::LookUp(look_up) if deeds.looks_up_at_once => {
                    overlay.handle(Input::LookedUp(look_up.run()), now);
                }
                output => self.act(output, now.instant, deeds),
            }
        }
        deeds.tally.most_outputs = deeds.tally.most_outputs.max(outputs);
        let Mind::Overlay(overlay) = &self.mind else { return };
        let Some(at) = overlay.next_wakeup() else { return };
        // A part may give work to one that had its turn in this step: then that is due at once. What
        // was due before has been left undone.
        deeds.tally.overdue_wakeups += u64::from(at < now.instant);
        // What is due at once is due a moment later: time must go on.
        let at = at.max(now.instant + Duration::from_millis(1));
        if self.wake.is_none_or(|wake| at < wake || wake <= now.instant) {
            self.wake = Some(at);
            deeds.add(Deed::Wake { at });
        }
    }

    /// Does what whatever decides for it wants done, as far as that is its own business.
    pub(super) fn act(&mut self, output: Output, now: Instant, deeds: &mut Deeds) {
        match output {
            Output::Send { peer, message } => {
                let Some(link) = self.links.get(&peer) else { return };
                // What the real codec refuses never arrives here either.
                match codec::frame_len(&message) {
                    Ok(bytes) => {
                        let (to, link, bytes) = (link.peer, link.number, bytes as u64);
                        deeds.add(Deed::Send { to, link, bytes, message });
                    }
                    Err(_) => deeds.tally.refused_messages += 1,
                }
            }
            Output::HangUp { peer, .. } => {
                let Some(link) = self.links.get(&peer) else { return };
                self.links.remove(&peer, link.number);
                deeds.add(Deed::HangUp { peer, to: link.peer, link: link.number });
            }
            Output::Event(event) => {
                if deeds.keep_events {
                    self.events.push((now, event));
                }
            }
            other => deeds.add(Deed::Other(other)),
        }
    }

    /// Looks after the index of a supernode.
    fn tend(&mut self, now: Instant) {
        let Mind::Overlay(overlay) = &mut self.mind else { return };
        if overlay.role() == Role::Super {
            self.tending.get_or_insert_default().look(overlay, now);
        } else {
            self.tending = None;
        }
    }

    /// Wakes it if it is due. One that has done its work meanwhile, because of a message, sleeps
    /// on: its timer was left standing since moving it with each message would cost more.
    fn wake_up(&mut self, due: Instant, now: Now, deeds: &mut Deeds) {
        if !self.alive || self.wake != Some(due) {
            return;
        }
        self.wake = None;
        let Mind::Overlay(overlay) = &self.mind else { return };
        match overlay.next_wakeup() {
            Some(next) if next > now.instant => {
                self.wake = Some(next);
                deeds.add(Deed::Wake { at: next });
            }
            _ => {
                deeds.tally.wakeups += 1;
                self.take_in(Input::Tick, now, deeds);
                self.tend(now.instant);
            }
        }
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: NodeId,
    pub(crate) peer: u32,
    /// Which of the links that the two have had: what was sent over an earlier one is lost.
    pub(crate) number: u32,
}

/// A node's links by the ids of the peers, in their order. Each message is looked up at both of its
/// ends, and what a node was last busy with is in no cache by then: so the first bytes of the ids
/// stand apart, and as ids are random, where one of them is tells where to begin to look.
#[derive(Debug, Default)]
pub(crate) struct Links {
    prefixes: Vec<u64>,
    links: Vec<Link>,
}

impl Links {
    pub(crate) fn get(&self, peer: &NodeId) -> Option<Link> {
        self.find(peer).ok().map(|at| self.links[at])
    }

    /// Whether the link with a peer is this one.
    fn has(&self, peer: &NodeId, number: u32) -> bool {
        self.get(peer).is_some_and(|link| link.number == number)
    }

    /// Answers whether there was none with this peer.
    pub(crate) fn insert(&mut self, link: Link) -> bool {
        match self.find(&link.id) {
            Ok(_) => false,
            Err(at) => {
                self.prefixes.insert(at, prefix(&link.id));
                self.links.insert(at, link);
                true
            }
        }
    }

    /// Ends the link with this peer, if it is this one.
    pub(crate) fn remove(&mut self, peer: &NodeId, number: u32) -> bool {
        match self.find(peer) {
            Ok(at) if self.links[at].number == number => {
                self.prefixes.remove(at);
                self.links.remove(at);
                let room = self.links.len() * 2;
                if room * 2 <= self.links.capacity() {
                    self.prefixes.shrink_to(room);
                    self.links.shrink_to(room);
                }
                true
            }
            _ => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn take(&mut self) -> Vec<Link> {
        self.prefixes = Vec::new();
        std::mem::take(&mut self.links)
    }

    /// Where the link with a peer is, or belongs.
    fn find(&self, peer: &NodeId) -> Result<usize, usize> {
        let wanted = prefix(peer);
        let len = self.prefixes.len();
        let mut at = ((u128::from(wanted) * len as u128) >> 64) as usize;
        while at > 0 && self.prefixes[at - 1] >= wanted {
            at -= 1;
        }
        while at < len && self.prefixes[at] < wanted {
            at += 1;
        }
        while at < len && self.prefixes[at] == wanted {
            match self.links[at].id.cmp(peer) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => return Err(at),
            }
        }
        Err(at)
    }
}

/// The first bytes of an id as a number, which stand in the same order.
fn prefix(id: &NodeId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn links_are_found_by_ids_that_begin_alike_as_by_others() {
        let id = |number: u32| {
            let mut bytes = [0; 32];
            // Three of a kind share their first bytes.
            bytes[..4].copy_from_slice(&(number / 3).wrapping_mul(0x9e37_79b1).to_be_bytes());
            bytes[31] = (number % 3) as u8;
            NodeId::from_bytes(bytes)
        };
        let (mut links, mut model) = (Links::default(), BTreeMap::new());
        for step in 0..2_000_u32 {
            let peer = step.wrapping_mul(7_919) % 301;
            if step % 3 == 0 {
                let known = model.get(&peer).copied();
                assert_eq!(links.remove(&id(peer), known.unwrap_or(0)), known.is_some());
                model.remove(&peer);
            } else {
                let is_new = !model.contains_key(&peer);
                assert_eq!(links.insert(Link { id: id(peer), peer, number: step }), is_new);
                model.entry(peer).or_insert(step);
            }
            assert!(!links.has(&id(peer), step + 1), "an earlier one");
        }
        assert_eq!(links.len(), model.len());
        for peer in 0..301 {
            let found = links.get(&id(peer)).map(|link| link.number);
            assert_eq!(found, model.get(&peer).copied());
        }
        assert!(links.take().is_sorted_by_key(|link| link.id));
    }
}

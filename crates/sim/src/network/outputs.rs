//! What nodes want done, and how it is done.

use super::deeds::{Deed, Deeds};
use super::node::Notice;
use super::run::Happening;
use super::{Network, address_of};
use skein_overlay::{Input, Output};
use skein_proto::session::{SlotGrant, SlotKey};
use skein_proto::{BoundedVec, Message, NodeId};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a node's own disk takes to hand in a page of files.
const DISK: Duration = Duration::from_millis(1);

/// What a transport sends to close a connection: a CONNECTION_CLOSE frame (RFC 9000, section
/// 19.19) without a phrase.
const CLOSE_BYTES: u64 = 4;

impl Network {
    /// Hands an input of its user to a node.
    pub fn feed(&mut self, id: NodeId, input: Input) {
        if let Some(node) = self.number(&id) {
            self.feed_to(node, input);
        }
    }

    /// Hands an input to a node, which acts on it at once.
    pub fn feed_to(&mut self, node: u32, input: Input) {
        self.catch_up_with(node);
        let mut deeds = Deeds::new(&self.settings);
        let now = self.time();
        self.nodes[node as usize].take_in(input, now, &mut deeds);
        self.finish(node, deeds);
    }

    /// Lets a node whose deeds are all carried out notice something at once.
    pub(super) fn notice(&mut self, node: u32, notice: Notice) {
        let mut deeds = Deeds::new(&self.settings);
        let now = self.time();
        self.nodes[node as usize].notice(notice, now, &mut deeds);
        self.finish(node, deeds);
    }

    /// Lets a node, or a puppet, do something.
    pub(crate) fn act(&mut self, node: u32, output: Output) {
        self.catch_up_with(node);
        let mut deeds = Deeds::new(&self.settings);
        self.nodes[node as usize].act(output, self.now, &mut deeds);
        self.finish(node, deeds);
    }

    fn finish(&mut self, node: u32, mut deeds: Deeds) {
        self.tally.add(deeds.tally);
        let life = self.life(node);
        for deed in deeds.drain() {
            self.carry_out((node, life), deed);
        }
    }

    /// Does to others what a node does in one of its lives. Meanwhile the nodes may be at work
    /// elsewhere.
    pub(super) fn carry_out(&mut self, (node, life): (u32, u32), deed: Deed) {
        match deed {
            Deed::Send { to, link, bytes, message } => {
                self.transmit(node, (to, link), bytes, message)
            }
            Deed::HangUp { peer, to, link } => {
                self.close_other_end(node, to, link);
                self.queue.push(self.now, Happening::HungUp { at: node, life, peer });
            }
            Deed::Wake { at } => self.queue.push(at, Happening::Wake { at: node }),
            Deed::Other(output) => self.drive((node, life), output),
        }
    }

    /// Does what a node wants of its driver.
    fn drive(&mut self, (node, life): (u32, u32), output: Output) {
        match output {
            Output::Dial { peer, addresses } => self.dial((node, life), &peer, &addresses),
            Output::DialBack { dial, node: target, addresses } => {
                self.dial_back((node, life), dial, &target, &addresses);
            }
            Output::WantFiles { page, after, limit } => {
                let shelf = &self.disks[node as usize].shelf;
                let (files, last) = shelf.page(&self.catalogue, after.as_ref(), limit);
                self.input_later((node, life), DISK, Input::Files { page, files, last });
            }
            Output::WantBootstrap { willing } => {
                let at = self.now + self.settings.max_latency;
                self.queue.push(at, Happening::AskLogin { at: node, life, willing });
            }
            Output::Report { load, .. } => {
                // It dials back whom it names.
                if self.login.up && !self.physics.line(node).behind_nat {
                    let (id, address) = (self.id(node), address_of(node));
                    self.login.report(id, address, load.percent(), self.now);
                }
            }
            Output::RememberSupernodes(entries) => {
                // Not collected in place, which would keep the room of the entries.
                let mut known = Vec::with_capacity(entries.len());
                known.extend(entries.into_iter().map(|entry| self.remember(entry)));
                self.disks[node as usize].known = known;
            }
            Output::RememberEvidence(record) => self.disks[node as usize].evidence = Some(record),
            Output::Receipt { peer, receipt } => {
                if let Some(to) = self.number(&peer) {
                    let input = Input::ReceiptGiven { peer: self.id(node), receipt };
                    let life = self.life(to);
                    self.input_later((to, life), self.physics.latency(node, to), input);
                }
            }
            Output::LookUp(look_up) => {
                let found = Input::LookedUp(look_up.run());
                self.input_later((node, life), self.settings.index_time, found);
            }
            Output::Hits { id, groups } => self.on_hits(id, groups),
            Output::WishHits { id, groups } => {
                let wisher = self.id(node);
                self.wish_hits.push((wisher, id, groups));
            }
            Output::SearchDone { id, coverage } => self.on_search_done(id, coverage),
            Output::Found { id, outcome, nodes, sources } => {
                self.on_found(id, outcome, nodes, sources);
            }
            Output::GrantSlot { asker, number, .. } => {
                let slot = self.next_slot();
                let outcome = Ok(slot);
                let granted = Input::SlotGranted { asker, number, outcome };
                self.input_later((node, life), Duration::ZERO, granted);
            }
            Output::Slot { .. }
            | Output::ReleaseSlot { .. }
            | Output::SessionOffered(_)
            | Output::SessionAnswered(_)
            | Output::SessionRefused(_) => {
                let id = self.id(node);
                self.sessions.push((id, output));
            }
            // The node sees to these itself.
            Output::Send { .. }
            | Output::HangUp { .. }
            | Output::SlotAsked { .. }
            | Output::Event(_) => {}
        }
    }

    /// A slot of a relay that is never full.
    fn next_slot(&mut self) -> SlotGrant {
        self.slots += 1;
        SlotGrant {
            slot: self.slots,
            keys: [SlotKey([0; 32]), SlotKey([1; 32])],
            addresses: BoundedVec::default(),
            rate: u32::MAX,
            idle_secs: 120,
            load_percent: 0,
            bound: true,
        }
    }

    /// Hands an input to a node after some time, if it still lives that life.
    fn input_later(&mut self, (node, life): (u32, u32), after: Duration, input: Input) {
        let input = Box::new(input);
        self.queue.push(self.now + after, Happening::Input { at: node, life, input });
    }

    fn dial(&mut self, (from, life): (u32, u32), peer: &NodeId, addresses: &[SocketAddr]) {
        let Some(to) = self.number(peer).filter(|to| *to != from) else {
            let input = Input::DialFailed { peer: *peer };
            self.input_later((from, life), self.settings.dial_timeout, input);
            return;
        };
        // Nobody is found where it is not; puppets need not say where.
        let right_place = addresses.is_empty() || addresses.contains(&address_of(to));
        let reaches = self.is_alive(to) && right_place && !self.physics.line(to).behind_nat;
        // A QUIC handshake takes one round trip before either side can send.
        let time = match reaches {
            true => self.physics.latency(from, to) * 2,
            false => self.settings.dial_timeout,
        };
        self.queue.push(self.now + time, Happening::Connect { from, to, life, reaches });
    }

    /// A dial from a fresh socket: no hole that the target has punched lets it in.
    fn dial_back(
        &mut self,
        (from, life): (u32, u32),
        dial: u64,
        peer: &NodeId,
        addresses: &[SocketAddr],
    ) {
        let target = self.number(peer).filter(|to| {
            self.is_alive(*to)
                && addresses.contains(&address_of(*to))
                && !self.physics.line(*to).behind_nat
        });
        let after = match target {
            Some(to) => self.physics.latency(from, to) * 2,
            None => self.settings.dial_timeout,
        };
        self.input_later(
            (from, life),
            after,
            Input::DialledBack { dial, reached: target.is_some() },
        );
    }

    /// The other end hears of it behind all that was sent to it before.
    pub(super) fn close_other_end(&mut self, node: u32, peer: u32, link: u32) {
        let at = self.physics.send(node, peer, CLOSE_BYTES, self.now);
        self.queue.push(at, Happening::Closed { at: peer, peer: node, link });
    }

    fn transmit(&mut self, from: u32, (to, link): (u32, u32), bytes: u64, message: Box<Message>) {
        let kind = message.kind() as usize;
        if self.traffic.len() <= kind {
            self.traffic.resize(kind + 1, (0, 0));
        }
        self.traffic[kind].0 += 1;
        self.traffic[kind].1 += bytes;
        let when = self.physics.send(from, to, bytes, self.now);
        // What is being worked off has not missed it.
        debug_assert!(when >= self.window.reached, "{when:?} is before {:?}", self.window.reached);
        self.queue.push(when, Happening::Received { at: to, peer: from, link, message });
    }
}

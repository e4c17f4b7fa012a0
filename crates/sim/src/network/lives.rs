//! How nodes start, end, and start again with what they have kept.

use super::credentials::Unsigned;
use super::disk::Remembered;
use super::node::{Link, Notice};
use super::run::Happening;
use super::{Mind, Network, address_of};
use rand::RngExt;
use skein_overlay::{Config, Input, Now, Overlay};
use skein_proto::{BoundedVec, Instant, KeyPair, NodeId, Role, SupernodeEntry};

/// What a node begins a life with.
pub(super) struct Birth {
    seed: [u8; 32],
    config: Config,
    chance: [u8; 32],
    inputs: Vec<Input>,
    credential: Unsigned,
}

impl Birth {
    /// What decides for it, and what it hears first. To make its keys and to sign its credential is
    /// most of the work, which is left to whoever runs the node.
    pub(super) fn begin(self, now: Now) -> (Overlay, Vec<Input>) {
        let Self { seed, config, chance, mut inputs, credential } = self;
        inputs.push(Input::Credential(credential.sign()));
        (Overlay::new(KeyPair::from_seed(&seed), config, chance, now), inputs)
    }
}

impl Network {
    /// Ends a node without a word, as `kill -9` does.
    pub fn kill(&mut self, id: NodeId) {
        if let Some(node) = self.number(&id) {
            self.kill_node(node);
        }
    }

    /// Ends a node without a word, as `kill -9` does.
    pub fn kill_node(&mut self, node: u32) {
        let silent = self.now + self.settings.silent_after;
        let dead = self.now + self.settings.idle_timeout;
        for link in self.end(node) {
            let (at, peer, link) = (link.peer, node, link.number);
            self.queue.push(silent, Happening::Silent { at, peer, link });
            self.queue.push(dead, Happening::Closed { at, peer, link });
        }
    }

    /// Ends a node in good order: it says goodbye, and its links are closed.
    pub fn stop_node(&mut self, node: u32) {
        self.feed_to(node, Input::Leave);
        for link in self.end(node) {
            self.close_other_end(node, link.peer, link.number);
        }
    }

    fn end(&mut self, node: u32) -> Vec<Link> {
        let since = self.now;
        self.alive.set(node, false);
        self.lives[node as usize] += 1;
        let node = &mut self.nodes[node as usize];
        node.alive = false;
        node.life += 1;
        node.wake = None;
        node.tending = None;
        if let Mind::Overlay(overlay) = &node.mind {
            node.mind = Mind::Off { was_super: overlay.role() == Role::Super, since };
        }
        node.links.take()
    }

    /// Starts a node again with its files and its cache of supernodes.
    pub fn restart(&mut self, id: NodeId) {
        if let Some(node) = self.number(&id) {
            self.restart_node(node);
        }
    }

    /// Starts a node, or starts it again with its files and its cache of supernodes. One that runs
    /// is killed first.
    pub fn restart_node(&mut self, node: u32) {
        self.catch_up_with(node);
        if matches!(self.nodes[node as usize].mind, Mind::Overlay(_)) {
            self.kill_node(node);
        }
        if let Some(birth) = self.bear(node) {
            self.notice(node, Notice::Born(birth));
        }
    }

    /// Starts a node at some time to come, unless it runs then.
    pub fn start_node_at(&mut self, node: u32, at: Instant) {
        self.queue.push(at.max(self.now), Happening::Start { at: node });
    }

    /// Begins a life of a node that does not run. What this answers is for the node to notice.
    pub(super) fn bear(&mut self, node: u32) -> Option<Box<Birth>> {
        if self.is_alive(node) {
            return None;
        }
        let Mind::Off { was_super, since } = self.nodes[node as usize].mind else { return None };
        let disk = &self.disks[node as usize];
        let (seed, role) = (disk.seed, disk.role);
        let known: Vec<SupernodeEntry> =
            disk.known.iter().map(|known| self.recall(known)).collect();
        let evidence = disk.evidence.clone();
        let config = self.config(role, was_super.then(|| self.now.since(since)));
        let entry = &mut self.nodes[node as usize];
        entry.alive = true;
        entry.life += 1;
        self.alive.set(node, true);
        self.lives[node as usize] += 1;
        let mut inputs = vec![Input::Listening(vec![address_of(node)])];
        if !known.is_empty() {
            inputs.push(Input::Bootstrap { entries: known, invited: false });
        }
        inputs.extend(evidence.map(Input::Evidence));
        let (chance, credential) = (self.rng.random(), self.issue(node));
        Some(Box::new(Birth { seed, config, chance, inputs, credential }))
    }

    fn recall(&self, known: &Remembered) -> SupernodeEntry {
        match known {
            Remembered::Real { node, load_percent, seen } => SupernodeEntry {
                node: self.id(*node),
                addresses: BoundedVec::truncated([address_of(*node)]),
                load_percent: *load_percent,
                seen: *seen,
            },
            Remembered::Other(entry) => entry.as_ref().clone(),
        }
    }

    pub(super) fn remember(&self, entry: SupernodeEntry) -> Remembered {
        match self.number(&entry.node) {
            Some(node) if *entry.addresses == [address_of(node)] => {
                let SupernodeEntry { load_percent, seen, .. } = entry;
                Remembered::Real { node, load_percent, seen }
            }
            _ => Remembered::Other(Box::new(entry)),
        }
    }

    /// Tells a node to end; it says goodbye first.
    pub fn leave(&mut self, id: NodeId) {
        self.feed(id, Input::Leave);
    }
}

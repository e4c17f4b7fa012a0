//! How nodes start, end, and start again with what they have kept.

use super::disk::Remembered;
use super::node::Link;
use super::run::Happening;
use super::{Mind, Network, address_of};
use skein_overlay::Input;
use skein_proto::{BoundedVec, KeyPair, NodeId, Role, SupernodeEntry};

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
        let Mind::Off { was_super, since } = self.nodes[node as usize].mind else { return };
        let disk = &self.disks[node as usize];
        let key = KeyPair::from_seed(&disk.seed);
        let role = disk.role;
        let known: Vec<SupernodeEntry> =
            disk.known.iter().map(|known| self.recall(known)).collect();
        let evidence = disk.evidence.clone();
        let overlay = self.new_overlay(key, role, was_super.then(|| self.now.since(since)));
        let entry = &mut self.nodes[node as usize];
        entry.mind = Mind::Overlay(Box::new(overlay));
        entry.alive = true;
        entry.life += 1;
        self.alive.set(node, true);
        self.lives[node as usize] += 1;
        self.feed_to(node, Input::Listening(vec![address_of(node)]));
        if !known.is_empty() {
            self.feed_to(node, Input::Bootstrap { entries: known, invited: false });
        }
        if let Some(record) = evidence {
            self.feed_to(node, Input::Evidence(record));
        }
        let credential = self.issue(node);
        self.feed_to(node, Input::Credential(credential));
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

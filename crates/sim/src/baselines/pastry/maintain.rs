//! Joining, heartbeats and repair.

use super::tables::common_digits;
use super::{Cargo, EXCHANGE, HEADER, HEARTBEAT, Message, Node, Pastry, Timer};
use crate::baselines::world::{ANSWER_TIMEOUT, Address, Context};
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::time::Duration;

/// From so many contacts a newcomer takes the nearest: joining through a near node is what makes
/// its routing table local (Middleware 2001, on node arrival and locality).
const CONTACTS: usize = 4;

impl Pastry {
    /// Sets the timers of a node that stands in the network.
    pub(super) fn run(&mut self, ctx: &mut Context<'_, Self>) {
        // Nodes have started at different times.
        let beat = ctx.rng().random_range(Duration::ZERO..HEARTBEAT);
        let exchange = ctx.rng().random_range(Duration::ZERO..EXCHANGE);
        ctx.timer(beat, Timer::Heartbeat);
        ctx.timer(exchange, Timer::Exchange);
    }

    pub(super) fn join(&mut self, ctx: &mut Context<'_, Self>) {
        let contacts: Vec<Address> = (0..CONTACTS).filter_map(|_| ctx.contact()).collect();
        let near = contacts
            .into_iter()
            .filter_map(|contact| Some((ctx.measure(contact, HEADER)?, contact)))
            .min();
        let Some((_, contact)) = near else {
            // The first node is a network of its own.
            self.joined = true;
            ctx.joined();
            return self.run(ctx);
        };
        let (key, cargo) = (self.me.id, Cargo::Join(self.me));
        ctx.send(contact, Message::Route { key, hops: 1, cargo });
        ctx.timer(Duration::from_secs(5), Timer::Join);
    }

    /// Gives a newcomer on its way all rows up to the one where both ids part: they are rows of
    /// its own table, too.
    pub(super) fn help(&self, joiner: Node, ctx: &mut Context<'_, Self>) {
        let rows = 0..=common_digits(self.me.id, joiner.id).min(self.tables.rows() - 1);
        let mut nodes: Vec<Node> = rows.flat_map(|row| self.tables.row(row)).collect();
        nodes.push(self.me);
        ctx.send(joiner.at, Message::Row(nodes.into()));
    }

    pub(super) fn send_leaves(&self, to: Address, joined: bool, ctx: &mut Context<'_, Self>) {
        let mut nodes = self.tables.leaves();
        nodes.push(self.me);
        ctx.send(to, Message::Leaves { nodes: nodes.into(), joined });
    }

    pub(super) fn on_leaves(&mut self, nodes: &[Node], joined: bool, ctx: &mut Context<'_, Self>) {
        for node in nodes {
            self.consider(*node, ctx);
        }
        if !joined || self.joined {
            return;
        }
        self.joined = true;
        for node in self.tables.all() {
            ctx.send(node.at, Message::Announce(self.me));
        }
        ctx.joined();
        self.run(ctx);
    }

    /// Probes a node that would stand in a table, and takes it in if it answers.
    pub(super) fn consider(&mut self, node: Node, ctx: &mut Context<'_, Self>) {
        let (leaf, entry) = (self.tables.wants_leaf(node), self.tables.wants_entry(node));
        if !leaf && !entry {
            return;
        }
        let Some(round_trip) = ctx.measure(node.at, HEADER) else { return };
        if leaf {
            self.tables.add_leaf(node);
        }
        if entry {
            self.tables.add_entry(node, round_trip);
        }
    }

    /// A heartbeat to one neighbour, and a look whether the other one's have come.
    pub(super) fn beat(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.timer(HEARTBEAT, Timer::Heartbeat);
        if let Some(left) = self.tables.smaller.first() {
            ctx.send(left.at, Message::Heartbeat);
        }
        let now = ctx.now();
        let Some(right) = self.tables.larger.first().map(|node| node.at) else { return };
        match self.watched {
            Some((watched, heard)) if watched == right => {
                if now.since(heard) > HEARTBEAT + ANSWER_TIMEOUT {
                    ctx.send(right, Message::Probe);
                }
            }
            _ => self.watched = Some((right, now)),
        }
    }

    /// Asks a random node of each row for its row.
    pub(super) fn exchange(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.timer(EXCHANGE, Timer::Exchange);
        for row in 0..self.tables.rows() {
            if let Some(node) = self.tables.row(row).choose(ctx.rng()) {
                // There are at most 16 rows.
                ctx.send(node.at, Message::GetRow(row as u8));
            }
        }
    }

    /// Somebody does not answer: it is forgotten, and what it leaves empty is filled again
    /// (Middleware 2001, on node departure).
    pub(super) fn on_death(&mut self, dead: Address, ctx: &mut Context<'_, Self>) {
        let was_larger = self.tables.larger.iter().any(|node| node.at == dead);
        let was_smaller = self.tables.smaller.iter().any(|node| node.at == dead);
        let slot = self.tables.forget(dead);
        if was_larger || was_smaller {
            for leaf in self.tables.leaves() {
                ctx.send(leaf.at, Message::Gone(dead));
            }
            let side = if was_larger { &self.tables.larger } else { &self.tables.smaller };
            if let Some(farthest) = side.last() {
                ctx.send(farthest.at, Message::GetLeaves);
            }
        }
        if let Some((row, column)) = slot {
            let others = self.tables.row(row);
            if let Some(other) = others.choose(ctx.rng()) {
                // There are at most 16 rows and 16 columns.
                ctx.send(other.at, Message::GetEntry(row as u8, column as u8));
            }
        }
    }
}

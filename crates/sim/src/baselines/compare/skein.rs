//! Skein in the comparison: the daemon's own overlay, by the same workload, wires and churn.
//!
//! Roles are set as in the scenarios: one node in a hundred is a supernode, those with the best
//! uplinks that can be reached. Two networks are run, one in which nobody comes or goes and one in
//! which all do; a node that goes vanishes without a word.

use super::keyword::draw_search;
use super::{Both, Contender, Figures, Quality, Sample, Setup};
use crate::network::Network;
use crate::scenario::{Churning, Roles, Run, Scenario, Searches, Wires};
use crate::workload::{Churn, Content, Search};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use skein_proto::codec::encoded_len;
use skein_proto::directory::{
    Contact, DirectoryKey, NodeRecord, Presence, Shared, SourceClaim, SourceState,
};
use skein_proto::membership::{Announcement, SupernodeRecord, SupernodeState};
use skein_proto::message::MessageKind;
use skein_proto::supernode::{Load, SupernodeEntry};
use skein_proto::{BoundedVec, ContentId, KeyPair, Signed, UnixTime};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// The share of supernodes: as many as children of which each takes 150, two thirds full.
const SUPERNODES: f64 = 0.01;

/// How long nodes take to start, and how long they then have until all know all.
const START: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(180);

/// A step in which it is looked whether an operation is over.
const STEP: Duration = Duration::from_millis(10);

/// How long an operation may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Skein.
#[derive(Clone, Copy, Debug)]
pub struct SkeinRun;

impl Contender for SkeinRun {
    fn name(&self) -> &'static str {
        "Skein"
    }

    fn measure(&self, setup: &Setup, progress: &(dyn Fn(f64) + Sync)) -> Option<Figures> {
        let mut quiet = Part::new(setup, Churn::None)?;
        quiet.run.advance(START + SETTLE);
        progress(0.2);
        let (memory_mean, memory_most) = memory(&quiet.run.network);
        let quiet = quiet.measure(setup.quiet, |share| progress(0.2 + 0.2 * share));
        let mut churn = Part::new(setup, setup.churn)?;
        churn.run.advance(START + SETTLE);
        progress(0.6);
        churn.run.advance(setup.warm_up);
        progress(0.8);
        let churn = churn.measure(setup.window, |share| progress(0.8 + 0.2 * share));
        Some(Figures {
            system: self.name().to_owned(),
            nodes: setup.nodes,
            memory_mean,
            memory_most,
            look_up: Some(Both { quiet: quiet.0, churn: churn.0 }),
            search: Some(Both { quiet: quiet.1, churn: churn.1 }),
            maintenance: Both { quiet: quiet.2, churn: churn.2 },
        })
    }
}

/// One of the two networks.
struct Part<'a> {
    setup: &'a Setup,
    run: Run,
    rng: SmallRng,
}

/// Messages and their bytes.
type Count = (u64, u64);

fn look_ups(kind: MessageKind) -> bool {
    matches!(kind, MessageKind::Find | MessageKind::Found)
}

fn searches(kind: MessageKind) -> bool {
    use MessageKind as Kind;
    matches!(kind, Kind::Search | Kind::Flood | Kind::Hits | Kind::SearchDone | Kind::CancelSearch)
}

impl<'a> Part<'a> {
    fn new(setup: &'a Setup, model: Churn) -> Option<Self> {
        let scenario = Scenario {
            name: "compare".to_owned(),
            about: String::new(),
            seed: setup.seed,
            nodes: setup.nodes,
            start_seconds: START.as_secs_f64(),
            settle_seconds: SETTLE.as_secs_f64(),
            run_seconds: 1e6,
            sample_seconds: 1e6,
            network: Wires::default(),
            roles: Roles {
                supernodes: SUPERNODES.max(2.0 / f64::from(setup.nodes)),
                ordinary: 0.0,
            },
            workload: crate::workload::Settings::default(),
            churn: Churning { model, goodbyes: 0.0, spare_supernodes: false },
            searches: Searches { per_node_hour: 0.0, ..Searches::default() },
            events: Vec::new(),
            poisoners: crate::scenario::Poisoners::default(),
        };
        let run = Run::new(&scenario, setup.seed).ok()?;
        Some(Self { setup, run, rng: SmallRng::seed_from_u64(setup.seed ^ 0x5_ce1) })
    }

    /// Look-ups and searches, one after the other, and the rate of all other messages in `time` or
    /// as long as they take.
    fn measure(mut self, time: Duration, progress: impl Fn(f64)) -> (Quality, Quality, f64) {
        let (from, before) = (self.run.network.now(), self.count(|_| true));
        let (of_look_ups, of_searches) = (self.count(look_ups), self.count(searches));
        let all = f64::from(self.setup.look_ups + self.setup.searches);
        let mut found = Vec::new();
        for number in 0..self.setup.look_ups {
            found.extend(self.look_up());
            progress(f64::from(number) / all);
        }
        let mut searched = Vec::new();
        for number in 0..self.setup.searches {
            searched.extend(self.search());
            progress(f64::from(self.setup.look_ups + number) / all);
        }
        let spent = self.run.network.now().since(from);
        self.run.advance(time.saturating_sub(spent));
        let since = |now: Count, then: Count| now.1 - then.1;
        let operations =
            since(self.count(look_ups), of_look_ups) + since(self.count(searches), of_searches);
        let others = since(self.count(|_| true), before) - operations;
        let seconds = self.run.network.now().since(from).as_secs_f64().max(1e-6);
        let rate = others as f64 / seconds / f64::from(self.setup.nodes);
        (Quality::of(&found), Quality::of(&searched), rate)
    }

    fn count(&self, of: impl Fn(MessageKind) -> bool) -> Count {
        let traffic = self.run.network.traffic();
        let kinds = MessageKind::ALL.iter().filter(|kind| of(**kind));
        let sent = kinds.filter_map(|kind| traffic.get(kind.name()));
        sent.fold((0, 0), |sum, sent| (sum.0 + sent.0, sum.1 + sent.1))
    }

    /// Who has a content of a single copy, asked of the directory. Right is the node that has it
    /// and is there.
    fn look_up(&mut self) -> Option<Sample> {
        let search = self.draw(true);
        let content = search.target;
        let asker = self.run.somebody()?;
        let holders = self.run.workload.holdings.holders(content).to_vec();
        let holders: Vec<u32> =
            holders.into_iter().filter(|node| *node != asker && self.is_there(*node)).collect();
        if holders.is_empty() {
            return None;
        }
        let questions = |part: &Self| part.count(|kind| kind == MessageKind::Find).0;
        let (before, asked) = (self.count(look_ups), questions(self));
        let (id, life) = (self.run.network.id(asker), self.run.network.life(asker));
        let key = DirectoryKey::Content(self.run.workload.catalogue.id(content));
        let find = self.run.network.start_find(id, key);
        let over = |network: &Network| {
            network.life(asker) != life
                || network.lookup(find).is_none_or(|it| it.outcome.is_some())
        };
        self.until(over);
        let network = &mut self.run.network;
        let lookup = network.take_lookup(find)?;
        if network.life(asker) != life || !network.is_alive(asker) {
            // Nobody waits for the answer any more.
            return None;
        }
        let mut named = lookup.sources.iter().filter_map(|source| network.number(&source.node));
        let right = named.any(|node| holders.contains(&node));
        let after = self.count(look_ups);
        let hops = u32::try_from(questions(self) - asked).unwrap_or(u32::MAX);
        Some(Sample {
            success: f64::from(u8::from(right)),
            reached: lookup.took.filter(|_| right).map(|took| (hops, took)),
            messages: after.0 - before.0,
            bytes: after.1 - before.1,
            timeouts: 0,
        })
    }

    /// Two words of something popular.
    fn search(&mut self) -> Option<Sample> {
        let search = self.draw(false);
        let asker = self.run.somebody()?;
        let there = |node: u32| node != asker && self.is_there(node);
        let available = self.run.workload.available(&search, there);
        let text = self.run.workload.catalogue.text(&search.words);
        let before = self.count(searches);
        let (id, life) = (self.run.network.id(asker), self.run.network.life(asker));
        // As many as a question may ask for, so that it does not stop early.
        let query = self.run.network.start_search(id, &text, WANTED);
        let over = |network: &Network| {
            let outcome = network.outcome(id, query);
            network.life(asker) != life || outcome.is_none_or(|it| it.coverage.is_some())
        };
        self.until(over);
        let network = &mut self.run.network;
        let outcome = network.take_outcome(query)?;
        if network.life(asker) != life || !network.is_alive(asker) {
            return None;
        }
        let contents = outcome.contents();
        let found: BTreeSet<Content> =
            contents.iter().filter_map(|id| self.run.workload.content(id)).collect();
        let right = available.iter().filter(|content| found.contains(content)).count();
        let after = self.count(searches);
        Some(Sample {
            success: right as f64 / available.len().max(1) as f64,
            // What was found by the parent and what another supernode found are not told apart.
            reached: outcome.first_hit.map(|time| (0, time)),
            messages: after.0 - before.0,
            bytes: after.1 - before.1,
            timeouts: 0,
        })
    }

    /// A search for something that is there.
    fn draw(&mut self, rare: bool) -> Search {
        let network = &self.run.network;
        draw_search(self.setup, rare, |node| network.is_alive(node), &mut self.rng)
    }

    fn is_there(&self, node: u32) -> bool {
        self.run.network.is_alive(node)
    }

    /// Runs until something is over.
    fn until(&mut self, over: impl Fn(&Network) -> bool) {
        let end = self.run.network.now() + PATIENCE;
        while !over(&self.run.network) && self.run.network.now() < end {
            self.run.advance(STEP);
        }
    }
}

/// Contents that a search wants: more than most have.
const WANTED: u16 = 1_000;

/// Bytes of what nodes remember of others: the mean of all nodes, and the most.
///
/// An ordinary node keeps a list of supernodes; a supernode the announcements of all others, its
/// neighbours' tables, its part of the directory, and the index of what its children share.
fn memory(network: &Network) -> (f64, f64) {
    let sizes = Sizes::new(network);
    let (mut sum, mut most, mut nodes) = (0, 0, 0);
    for node in (0..network.len() as u32).filter(|node| network.is_alive(*node)) {
        let Some(snapshot) = network.snapshot(network.id(node)) else { continue };
        let known = snapshot.supernodes_known as u64;
        let bytes = match snapshot.supernode {
            None => known * sizes.entry,
            Some(own) => {
                known * sizes.announcement
                    + own.tables_bytes
                    + own.directory.nodes * sizes.node
                    + own.directory.sources * sizes.source
                    + own.index_bytes
            }
        };
        sum += bytes;
        most = most.max(bytes);
        nodes += 1;
    }
    (sum as f64 / f64::from(nodes.max(1)), most as f64)
}

/// Bytes on the wire of what is remembered one by one.
struct Sizes {
    entry: u64,
    announcement: u64,
    node: u64,
    source: u64,
}

impl Sizes {
    /// Of typical ones: one address each, a parent for every node.
    fn new(network: &Network) -> Self {
        let key = KeyPair::from_seed(&[1; 32]);
        let (node, now) = (key.node_id(), UnixTime(1_800_000_000));
        let address = SocketAddr::from(([192, 0, 2, 1], 4_701));
        let credential = network.credential(&node, 123_456, &key);
        let load = Load::default();
        let record = SupernodeRecord {
            node,
            addresses: BoundedVec::truncated([address]),
            load,
            since: now,
            issued: now,
            lifetime_secs: 3_600,
            state: SupernodeState::Serving,
        };
        let contact = Contact { node, addresses: BoundedVec::truncated([address]) };
        let presence = Presence {
            issued: now,
            expires: now,
            online: true,
            addresses: BoundedVec::truncated([address]),
            parent: Some(contact),
        };
        let (content, state) = (ContentId::from_bytes([1; 32]), SourceState::Complete);
        let claim = SourceClaim { content, state, issued: now, expires: now };
        let presence = Shared::new(Signed::new(presence, &key));
        let entry = SupernodeEntry {
            node,
            addresses: BoundedVec::truncated([address]),
            load_percent: 50,
            seen: now,
        };
        let record = Signed::new(record, &key);
        let announcement = Announcement { record, credential: credential.clone() };
        let node = NodeRecord { credential: Shared::new(credential), presence, loss: None };
        Self {
            entry: encoded_len(&entry) as u64,
            announcement: encoded_len(&announcement) as u64,
            node: encoded_len(&node) as u64,
            source: encoded_len(&Signed::new(claim, &key)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_small_network_finds_what_is_there_in_two_hops() {
        let setup = Setup {
            look_ups: 40,
            searches: 20,
            warm_up: Duration::from_secs(60),
            ..Setup::new(200, 1).unwrap()
        };
        let figures = SkeinRun.measure(&setup, &|_| {}).expect("it runs with so few");
        let look_up = figures.look_up.expect("it looks up");
        assert!(look_up.quiet.success > 0.97, "{look_up:?}");
        assert!(look_up.quiet.operations > 30, "{look_up:?}");
        assert!((0.0..=2.5).contains(&look_up.quiet.hops_mean), "{look_up:?}");
        assert!(look_up.churn.success > 0.8, "{look_up:?}");
        let search = figures.search.expect("it searches");
        assert!(search.quiet.success > 0.97, "{search:?}");
        assert!(figures.memory_most > figures.memory_mean);
        assert!(figures.maintenance.quiet > 0.0);
    }
}

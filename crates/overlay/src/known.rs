//! The supernodes that a node knows of, with how they fared.

use crate::contacts::{Contact, Contacts};
use rand::Rng;
use rand::seq::IndexedRandom;
use skein_proto::rumour::OwnerNumber;
use skein_proto::{BoundedVec, Instant, NodeId, SupernodeEntry, UnixTime};
use std::cmp::{Ordering, Reverse};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Supernodes kept in mind unless the settings say otherwise: as many as a FastTrack client cached,
/// and as the login service's list has. An entry takes about 120 bytes.
pub const MAX_KNOWN: usize = 200;

/// How long a supernode is left alone after it failed for the first time; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The longest that a supernode is left alone: half of the 10 minutes that a home router takes to
/// come back and be found again.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// After so many failures in a row a supernode is forgotten, unless it is one of the last few that
/// are vouched for.
const MAX_FAILURES: u8 = 8;

/// Of how many one is named to others.
const DRAWN: usize = 4;

/// How full a supernode may be to be named to others, as long as there are emptier ones.
const ROOMY_PERCENT: u8 = 90;

/// Supernodes of one name that are kept in mind, of those whose name is known: as many as supernodes
/// believe in.
const MAX_PER_NAME: usize = crate::membership::MAX_PER_NAME;

/// What speaks for a supernode. What stands further down is never pushed out by what stands above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// A peer has named it, or it has introduced itself unasked: it may be made up, or one of many
    /// that somebody runs in order to be known here.
    Hearsay,
    /// It has shown a credential over a link that this node had chosen.
    Met,
    /// The login service has named it.
    Named,
}

#[derive(Clone, Debug)]
struct Known {
    /// The first bytes of its id, in the same order: most comparisons need no more, and so no look
    /// at what is elsewhere.
    prefix: u32,
    /// Half of the number of its owner's name, as far as it is known; else nothing.
    owner: u32,
    contact: Arc<Contact>,
    load_percent: u8,
    failures: u8,
    word: Word,
    /// This node talks to it: nobody else changes its addresses.
    proven: bool,
    /// When it was last known to be up, in seconds since 1970.
    seen: u32,
    retry_at: Instant,
}

/// The supernodes that a node knows of.
#[derive(Debug)]
pub struct KnownSupernodes {
    /// By ascending id, so that what is picked depends on the seed alone.
    entries: Vec<Known>,
    most: usize,
    changed: bool,
    contacts: Contacts,
}

impl Default for KnownSupernodes {
    fn default() -> Self {
        Self::new(MAX_KNOWN, Contacts::default())
    }
}

impl KnownSupernodes {
    /// Room for so many.
    pub(crate) fn new(most: usize, contacts: Contacts) -> Self {
        Self { entries: Vec::new(), most, changed: false, contacts }
    }

    fn find(&self, node: &NodeId) -> Result<usize, usize> {
        self.entries.binary_search_by(|known| {
            known.prefix.cmp(&prefix(node)).then_with(|| known.node().cmp(node))
        })
    }

    fn get(&self, node: &NodeId) -> Option<&Known> {
        self.find(node).ok().and_then(|at| self.entries.get(at))
    }

    fn get_mut(&mut self, node: &NodeId) -> Option<&mut Known> {
        self.find(node).ok().and_then(|at| self.entries.get_mut(at))
    }

    fn insert(&mut self, known: Known) {
        if let Err(at) = self.find(known.node()) {
            if self.entries.len() == self.entries.capacity() {
                // By a quarter instead of twice: it is most of what an ordinary node takes.
                self.entries.reserve_exact((self.entries.len() / 4).max(4));
            }
            self.changed = true;
            self.entries.insert(at, known);
        }
    }

    fn remove(&mut self, node: &NodeId) -> bool {
        let Ok(at) = self.find(node) else { return false };
        self.entries.remove(at);
        self.changed = true;
        true
    }

    /// Supernodes that are vouched for are not forgotten while there are no more than half of what
    /// there is room for: it may be this node's own line that is dead, and when that is back it
    /// needs somebody to try.
    fn last_resort(&self) -> usize {
        self.most / 2
    }

    /// How full it was when it was last heard of.
    pub(crate) fn load_percent(&self, node: &NodeId) -> Option<u8> {
        self.get(node).map(|known| known.load_percent)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this one is known.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.find(node).is_ok()
    }

    /// Where to find it.
    pub fn addresses(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        self.get(node).map(|known| known.contact.addresses.to_vec())
    }

    /// Where to find one of which it is more than hearsay that it is a supernode.
    pub(crate) fn vouched_addresses(&self, node: &NodeId) -> Option<Vec<SocketAddr>> {
        let known = self.get(node).filter(|known| known.is_vouched())?;
        Some(known.contact.addresses.to_vec())
    }

    /// Takes in what a peer said, or, with `vouched`, the login service. Answers whether there was
    /// room for it.
    pub(crate) fn hear_of(&mut self, entry: &SupernodeEntry, vouched: bool, now: UnixTime) -> bool {
        if entry.addresses.is_empty() {
            return true;
        }
        // Nobody has seen anything in the future.
        let seen = seconds(entry.seen.min(now));
        let contacts = self.contacts.clone();
        if let Some(known) = self.get_mut(&entry.node) {
            // Hearsay may say where a supernode has moved to, but only once it is lost there.
            let believed = vouched || !known.is_vouched() || known.failures > 0;
            if believed && !known.proven && seen >= known.seen {
                known.contact = contacts.get(entry.node, &entry.addresses);
                known.load_percent = entry.load_percent;
                known.seen = seen;
            }
            if vouched {
                known.word = Word::Named;
            }
            return true;
        }
        let word = if vouched { Word::Named } else { Word::Hearsay };
        if self.entries.len() >= self.most && !self.make_room(word, seen) {
            return false;
        }
        self.insert(Known {
            prefix: prefix(&entry.node),
            owner: 0,
            contact: contacts.get(entry.node, &entry.addresses),
            load_percent: entry.load_percent,
            failures: 0,
            word,
            proven: false,
            seen,
            retry_at: Instant::START,
        });
        true
    }

    /// Forgets one that is worth less than a newcomer, if there is any. Half of all places are for
    /// those that the login service has named, whoever else this node has met since.
    fn make_room(&mut self, word: Word, seen: u32) -> bool {
        let named = self.entries.iter().filter(|known| known.word == Word::Named).count();
        let newcomer_is_named = word == Word::Named;
        if newcomer_is_named && named < self.most / 2 {
            let others = self.entries.iter().filter(|known| known.word != Word::Named);
            let worth = |known: &Known| (known.proven, known.word, known.seen);
            let least = others.min_by(|a, b| worth(a).cmp(&worth(b)).then_with(|| a.by_id(b)));
            let least = least.map(|known| *known.node());
            return least.is_some_and(|node| self.remove(&node));
        }
        let spare = newcomer_is_named || named > self.most / 2;
        let worth = |known: &Known| (known.is_vouched(), known.seen);
        let least = self
            .entries
            .iter()
            .filter(|known| !known.proven && (spare || known.word != Word::Named))
            .min_by(|a, b| worth(a).cmp(&worth(b)).then_with(|| a.by_id(b)))
            .map(|known| (*known.node(), worth(known)));
        match least {
            Some((node, worth)) if worth < (word > Word::Hearsay, seen) => self.remove(&node),
            _ => false,
        }
    }

    /// Whether as many others of this name are known as may be.
    fn has_enough_of(&self, owner: u32, besides: &NodeId) -> bool {
        let same = |known: &&Known| known.owner == owner && known.node() != besides;
        self.entries.iter().filter(same).count() >= MAX_PER_NAME
    }

    /// A supernode introduces itself over a link that this node has not asked for. Its credential
    /// holds, but everybody has one: it is hearsay that takes nobody's place, and no more than half
    /// of those that are free. Answers whether there was room for it.
    pub(crate) fn introduced(
        &mut self,
        node: NodeId,
        addresses: &[SocketAddr],
        owner: OwnerNumber,
        now: UnixTime,
    ) -> bool {
        let owner = half(owner);
        if !self.contains(&node) {
            let has_room = self.entries.len() < self.most / 2;
            if !has_room || addresses.is_empty() || self.has_enough_of(owner, &node) {
                return false;
            }
            self.insert(Known {
                prefix: prefix(&node),
                owner,
                contact: self.contacts.get(node, addresses),
                load_percent: 0,
                failures: 0,
                word: Word::Hearsay,
                proven: false,
                seen: seconds(now),
                retry_at: Instant::START,
            });
            return true;
        }
        // Where it is it knows itself; that it lives does not say that it can be reached.
        let contact = self.contact(node, addresses);
        if let Some(known) = self.get_mut(&node).filter(|_| !addresses.is_empty()) {
            known.contact = contact;
            known.owner = owner;
            known.seen = seconds(now);
        }
        true
    }

    fn contact(&self, node: NodeId, addresses: &[SocketAddr]) -> Arc<Contact> {
        match self.get(&node) {
            Some(known) if known.contact.addresses.are(addresses) => known.contact.clone(),
            _ => self.contacts.get(node, addresses),
        }
    }

    /// This supernode has answered over a link that this node has chosen, and its credential holds.
    /// Answers whether there was room for it.
    pub(crate) fn proved(
        &mut self,
        node: NodeId,
        addresses: &[SocketAddr],
        (owner, load): (OwnerNumber, Option<u8>),
        now: UnixTime,
    ) -> bool {
        let (now, owner) = (seconds(now), half(owner));
        let contact = self.contact(node, addresses);
        let is_named = self.get(&node).is_some_and(|known| known.word == Word::Named);
        if !is_named && self.has_enough_of(owner, &node) {
            return false;
        }
        if !self.contains(&node) {
            if self.entries.len() >= self.most && !self.make_room(Word::Met, now) {
                return false;
            }
            self.insert(Known {
                prefix: prefix(&node),
                owner,
                contact: contact.clone(),
                load_percent: 0,
                failures: 0,
                word: Word::Met,
                proven: true,
                seen: now,
                retry_at: Instant::START,
            });
        }
        let Some(known) = self.get_mut(&node) else { return false };
        known.owner = owner;
        known.contact = contact;
        known.load_percent = load.unwrap_or(known.load_percent);
        known.seen = now;
        known.word = known.word.max(Word::Met);
        known.proven = true;
        known.failures = 0;
        known.retry_at = Instant::START;
        true
    }

    /// This supernode did not answer, or answered that it is none.
    pub(crate) fn failed(&mut self, node: &NodeId, now: Instant) {
        let is_last_resort = self.entries.len() <= self.last_resort();
        let Some(known) = self.get_mut(node) else { return };
        known.failures = (known.failures + 1).min(MAX_FAILURES);
        known.proven = false;
        if known.failures == MAX_FAILURES && !(known.is_vouched() && is_last_resort) {
            self.remove(node);
            return;
        }
        let pause = FIRST_RETRY.saturating_mul(1 << (known.failures - 1)).min(MAX_RETRY);
        known.retry_at = now + pause;
    }

    /// This supernode has no room at present. It is alive, and one that steps in may make room
    /// there.
    pub(crate) fn is_full(&mut self, node: &NodeId, now: Instant) {
        if let Some(known) = self.get_mut(node) {
            known.load_percent = known.load_percent.max(100);
            known.retry_at = now + FIRST_RETRY;
        }
    }

    /// It is no supernode any more.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.remove(node);
    }

    /// Up to `count` that may be tried now, the light ones more often than the full ones. Half of
    /// them are vouched for if there are so many, however much hearsay there is beside them.
    pub(crate) fn pick(
        &self,
        count: usize,
        now: Instant,
        rng: &mut impl Rng,
        exclude: impl Fn(&NodeId) -> bool,
    ) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let ready: Vec<&Known> = self
            .entries
            .iter()
            .filter(|known| known.retry_at <= now && !exclude(known.node()))
            .collect();
        let weight = |known: &&Known| f64::from(110 - known.load_percent.min(100));
        let mut picked: Vec<(NodeId, Vec<SocketAddr>)> = Vec::new();
        for (most, only_vouched) in [(count.div_ceil(2), true), (count, false)] {
            let left: Vec<&Known> = ready
                .iter()
                .filter(|known| {
                    let new = picked.iter().all(|(one, _)| one != known.node());
                    new && (known.is_vouched() || !only_vouched)
                })
                .copied()
                .collect();
            let sample = left.sample_weighted(rng, most - picked.len(), weight);
            let sample = sample.into_iter().flatten();
            picked.extend(sample.map(|known| (*known.node(), known.contact.addresses.to_vec())));
        }
        picked
    }

    /// Up to `count` to be named to others, at random: those that this node has reached or that are
    /// vouched for, first of all those with room. `load` is what is known better than here; without
    /// an answer a supernode is named only if there is nobody else.
    pub(crate) fn to_name(
        &self,
        count: usize,
        rng: &mut impl Rng,
        load: impl Fn(&Contact) -> Option<u8>,
    ) -> Vec<SupernodeEntry> {
        let fit = self.entries.iter().filter(|known| known.failures == 0);
        let fit: Vec<&Known> = fit.filter(|known| known.proven || known.is_vouched()).collect();
        // To ask for the load of each of hundreds would cost more than all else that an answer
        // takes: some are drawn first, and of those the ones with room.
        let drawn = fit.sample(rng, count.saturating_mul(DRAWN)).copied();
        let fit: Vec<(&Known, u8)> =
            drawn.map(|known| (known, load(&known.contact).unwrap_or(UNSURE))).collect();
        let weight = |(_, percent): &(&Known, u8)| match *percent {
            percent if percent < ROOMY_PERCENT => f64::from(110 - percent),
            UNSURE => 0.001,
            _ => 0.1,
        };
        let sample = fit.sample_weighted(rng, count, weight).into_iter().flatten();
        sample
            .map(|(known, percent)| {
                let percent = if *percent == UNSURE { known.load_percent } else { *percent };
                SupernodeEntry { load_percent: percent, ..known.entry() }
            })
            .collect()
    }

    /// The `count` freshest that did not fail, to be told to others: first those that this node
    /// talks to, then those that are vouched for, then hearsay.
    pub fn freshest(&self, count: usize) -> Vec<SupernodeEntry> {
        self.best(count, |known| known.failures == 0)
    }

    /// Those to be kept for the next start: what is vouched for, even if it does not answer at
    /// present. It may be this node's own line that is dead.
    pub(crate) fn to_remember(&self) -> Vec<SupernodeEntry> {
        self.best(self.most, |known| known.is_vouched())
    }

    fn best(&self, count: usize, wanted: impl Fn(&Known) -> bool) -> Vec<SupernodeEntry> {
        let mut all: Vec<&Known> = self.entries.iter().filter(|known| wanted(known)).collect();
        let worth = |known: &Known| {
            (!known.proven, !known.is_vouched(), known.failures, Reverse(known.seen))
        };
        all.sort_unstable_by(|a, b| worth(a).cmp(&worth(b)).then_with(|| a.by_id(b)));
        all.into_iter().take(count).map(Known::entry).collect()
    }

    /// Whether the set has changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// The first bytes of an id; two ids stand in the order of theirs unless these are the same.
fn prefix(node: &NodeId) -> u32 {
    node.as_bytes().first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
}

/// Half of a name's number, which is enough to count few, and never nothing.
fn half(owner: OwnerNumber) -> u32 {
    u32::try_from(owner.get() >> 32).unwrap_or(u32::MAX).max(1)
}

/// The time in 32 bits, which last until the year 2106.
fn seconds(time: UnixTime) -> u32 {
    u32::try_from(time.0).unwrap_or(u32::MAX)
}

/// Stands for a load that is not known.
const UNSURE: u8 = u8::MAX;

impl Known {
    fn node(&self) -> &NodeId {
        &self.contact.node
    }

    /// The login service has named it, or this node has met it.
    fn is_vouched(&self) -> bool {
        self.word > Word::Hearsay
    }

    fn by_id(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.node().cmp(other.node()))
    }

    fn entry(&self) -> SupernodeEntry {
        SupernodeEntry {
            node: self.contact.node,
            addresses: BoundedVec::truncated(self.contact.addresses.to_vec()),
            load_percent: self.load_percent,
            seen: UnixTime(self.seen.into()),
        }
    }
}

#[cfg(test)]
mod tests;

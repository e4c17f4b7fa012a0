//! A supernode's children: whom it takes, and what it indexes for them.

pub(crate) mod room;

use crate::bucket::TokenBucket;
use crate::budget::Ask;
use crate::core::Core;
use crate::departed::Departed;
use crate::hashed::HashMap;
use crate::io::Now;
use crate::rare::RareIndex;
use skein_index::Found;
use skein_proto::message::{
    Attach, AttachReply, Bond, Detach, LoadUpdate, PartingReason, Publish, PublishAck, Refusal,
    Supernodes,
};
use skein_proto::supernode::Load;
use skein_proto::{
    BoundedVec, FileMeta, HitGroup, Instant, NodeId, Owner, Role, UnixTime, Username,
};

/// Standby bonds for each child that a supernode takes: they cost a connection and nothing else.
const STANDBYS_PER_CHILD: u32 = 2;

/// Standbys whose parent died are taken over the limit, up to so much of it, and so is everybody
/// while many supernodes have just died: when 30 % of all do, the others get 1 / (1 - 0.3) = 1.43
/// times their children. Of one that was filled to 0.7 before, that is twice its children at most.
const EMERGENCY_PERCENT: u32 = 140;

/// Children taken in a second, and at once: each publishes all that it shares, and shows a
/// credential. Who comes later is refused and comes back, so that those who are here are served.
const ARRIVALS: (u64, u64) = (30, 200);

/// Points by which the load must differ from what a child was told last to be told again.
const LOAD_STEP: u8 = 10;

/// Of so many children, one is told of other supernodes at each beat.
const SAMPLE_TURNS: u8 = 10;

/// Other supernodes named in an answer, and now and then.
const OTHERS: usize = 16;
const SAMPLE: usize = 8;

#[derive(Debug)]
struct Child {
    bond: Bond,
    next_sequence: u64,
    over_quota: u64,
    /// What it was told of how full this supernode is, in percent.
    told: u8,
}

/// A supernode's children and the index over their metadata.
pub(crate) struct Children {
    children: HashMap<NodeId, Child>,
    actives: u32,
    /// Whether new children are taken at all: not while this supernode warms up or steps down.
    open: bool,
    arrivals: Option<TokenBucket>,
    turn: u8,
    /// No child's credential runs out before, as of the last look at all of them.
    sound_until: UnixTime,
    /// Whether some have gone since that was last asked.
    gone: bool,
    /// The same, for another one who asks.
    untied: bool,
    departed: Departed,
    pub(crate) index: RareIndex,
}

impl Children {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            children: HashMap::default(),
            actives: 0,
            open: true,
            arrivals: None,
            turn: 0,
            sound_until: UnixTime(0),
            gone: false,
            untied: false,
            departed: Departed::default(),
            index: RareIndex::new(core.config.index_limits.clone()),
        }
    }

    pub(crate) fn bond(&self, peer: &NodeId) -> Option<Bond> {
        self.children.get(peer).map(|child| child.bond)
    }

    /// Whether new children are taken from now on.
    pub(crate) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Children with an active bond, by ascending id.
    pub(crate) fn actives_by_id(&self) -> Vec<NodeId> {
        let active = self.children.iter().filter(|(_, child)| child.bond == Bond::Active);
        let mut found: Vec<NodeId> = active.map(|(node, _)| *node).collect();
        found.sort_unstable();
        found
    }

    /// Children with an active bond.
    pub(crate) fn actives(&self) -> u32 {
        self.actives
    }

    pub(crate) fn standbys(&self) -> u32 {
        u32::try_from(self.children.len()).unwrap_or(u32::MAX) - self.actives
    }

    /// How many children this supernode could hold, of such as it has.
    pub(crate) fn capacity(&self, core: &Core) -> u32 {
        self.capacity_at(core, self.index.filled())
    }

    /// The same where this is how much the index is filled.
    fn capacity_at(&self, core: &Core, filled: f64) -> u32 {
        let most = core.config.max_children;
        if filled * f64::from(most) <= f64::from(self.actives) {
            // The index has room for as many as are taken, whosever the records are.
            return most;
        }
        #[allow(clippy::cast_precision_loss)] // Numbers of records are below 2^53.
        let own = match self.index.records() {
            0 => 0.0,
            all => self.index.owner_records(&core.me) as f64 / all as f64,
        };
        room::capacity(most, self.actives, filled, own)
    }

    /// How full this supernode is.
    pub(crate) fn load(&self, core: &Core, neighbours: usize) -> Load {
        // It is asked for with most of what happens, and to reckon the memory takes looks all over the index.
        let filled = self.index.filled();
        let capacity = self.capacity_at(core, filled);
        Load {
            children: self.actives,
            capacity,
            neighbours: u32::try_from(neighbours).unwrap_or(u32::MAX),
            records: self.index.records(),
            accepting: core.role == Role::Super
                && self.open
                && self.actives < core.config.max_children
                && filled < 1.0,
        }
    }

    pub(crate) fn on_attach(&mut self, core: &mut Core, peer: NodeId, attach: Attach, now: Now) {
        if !core.budgets.take(&peer, Ask::Request, now.instant) {
            core.counters.requests_over_budget += 1;
            let outcome = Err(Refusal::TooFast);
            core.send(peer, AttachReply { outcome, others: BoundedVec::default() });
            return;
        }
        let outcome = self.take(core, peer, attach.bond, now);
        match outcome {
            Ok(_) => core.counters.children_taken += 1,
            Err(Refusal::NoCredential) => core.counters.children_refused_credential += 1,
            Err(Refusal::Full) => core.counters.children_refused_full += 1,
            Err(Refusal::TooFast) => core.counters.children_refused_busy += 1,
            Err(_) => {}
        }
        let others = BoundedVec::truncated(core.others(OTHERS, &peer));
        core.send(peer, AttachReply { outcome, others });
    }

    fn take(&mut self, core: &Core, peer: NodeId, bond: Bond, now: Now) -> Result<Bond, Refusal> {
        if core.role != Role::Super {
            return Err(Refusal::NotSuper);
        }
        let known = core.peers.get(&peer).and_then(|peer| peer.valid_credential(now.unix));
        let name = &known.ok_or(Refusal::NoCredential)?.unverified().name;
        let before = self.bond(&peer);
        let room = match (bond, before) {
            (Bond::Active, Some(Bond::Active)) => true,
            // Its parent has died, as it says, so there is more room for it; but one that takes nobody
            // in takes no standbys in either, unless many have died.
            (Bond::Active, Some(Bond::Standby)) => {
                let is_open = self.open || core.membership.is_emergency(now.instant);
                is_open && self.actives < emergency(core)
            }
            // What it shares would be found by nobody. While many have died that is better than to be
            // without a parent.
            (Bond::Active, None) => {
                let is_emergency = core.membership.is_emergency(now.instant);
                let limit = if is_emergency { emergency(core) } else { core.config.max_children };
                self.open && self.actives < limit && (is_emergency || !self.index.is_full())
            }
            (Bond::Standby, Some(Bond::Standby)) => true,
            (Bond::Standby, _) => {
                self.standbys() < core.config.max_children.saturating_mul(STANDBYS_PER_CHILD)
            }
        };
        if !room {
            return Err(Refusal::Full);
        }
        let arrives = bond == Bond::Active && before != Some(Bond::Active);
        if arrives && !self.may_arrive(now.instant) {
            return Err(Refusal::TooFast);
        }
        let told = self.load(core, 0).percent();
        self.remove(&peer);
        self.forget_departed(&peer);
        if bond == Bond::Active {
            self.actives += 1;
            self.index.set_owner(peer, name);
        }
        self.children.insert(peer, Child { bond, next_sequence: 1, over_quota: 0, told });
        self.doubt_credentials();
        Ok(bond)
    }

    fn may_arrive(&mut self, now: Instant) -> bool {
        let (per_second, burst) = ARRIVALS;
        let arrivals =
            self.arrivals.get_or_insert_with(|| TokenBucket::new(per_second, burst, now));
        arrivals.take(now)
    }

    /// Tells children how full this supernode is, if that has changed, and some of them, by turns,
    /// of other supernodes.
    pub(crate) fn tell(&mut self, core: &mut Core, load: Load) {
        let percent = load.percent();
        self.turn = (self.turn + 1) % SAMPLE_TURNS;
        let me = core.me;
        let entries = BoundedVec::truncated(core.others(SAMPLE, &me));
        let mut changed = Vec::new();
        let mut sampled = Vec::new();
        for (node, child) in &mut self.children {
            if child.told.abs_diff(percent) >= LOAD_STEP {
                child.told = percent;
                changed.push(*node);
            }
            let turn = node.as_bytes()[0] % SAMPLE_TURNS;
            if child.bond == Bond::Active && turn == self.turn && !entries.is_empty() {
                sampled.push(*node);
            }
        }
        changed.sort_unstable();
        sampled.sort_unstable();
        for node in changed {
            core.send(node, LoadUpdate { load });
        }
        for node in sampled {
            core.send(node, Supernodes { entries: entries.clone() });
        }
    }

    /// Ends a bond from either side. Answers whether there was one.
    pub(crate) fn remove(&mut self, peer: &NodeId) -> bool {
        let Some(child) = self.children.remove(peer) else { return false };
        self.gone = true;
        self.untied = true;
        if child.bond == Bond::Active {
            self.actives -= 1;
            self.index.remove_owner(peer);
        }
        true
    }

    /// Ends a bond by the word of the child that it is another supernode's from now on, or one itself:
    /// what it has published stays for a while, so that it is found until others know of it there.
    pub(crate) fn see_off(&mut self, core: &mut Core, peer: NodeId, parent: NodeId, now: Now) {
        let is_child = self.bond(&peer) == Some(Bond::Active);
        // Whoever is named is asked by strangers for the way to the child.
        let is_sound = parent == peer || core.membership.get(&parent).is_some();
        let owner = if is_child && is_sound && self.index.owner_records(&peer) > 0 {
            self.owner(core, peer, now).map(|owner| Owner { parent, ..owner })
        } else {
            None
        };
        let Some(owner) = owner else {
            self.remove(&peer);
            return;
        };
        self.children.remove(&peer);
        self.gone = true;
        self.untied = true;
        self.actives -= 1;
        let limit = usize::try_from(core.config.max_children).unwrap_or(usize::MAX);
        if let Some(first) = self.departed.add(owner, limit, now.instant) {
            core.counters.departed_over_limit += 1;
            self.index.remove_owner(&first);
        }
    }

    fn forget_departed(&mut self, node: &NodeId) {
        if self.departed.remove(node) {
            self.index.remove_owner(node);
        }
    }

    /// Forgets what those had published who have moved and are known where they are. Answers whether
    /// there were some.
    pub(crate) fn forget_moved(&mut self, now: Instant) -> bool {
        let mut some = false;
        while let Some(node) = self.departed.pop_due(now) {
            self.index.remove_owner(&node);
            some = true;
        }
        some
    }

    /// When [`Children::forget_moved`] has something to do.
    pub(crate) fn next_forgotten(&self) -> Option<Instant> {
        self.departed.next_wakeup()
    }

    /// Whether nobody is held, nor anything of those who have moved.
    pub(crate) fn is_void(&self) -> bool {
        self.actives == 0 && self.departed.is_empty()
    }

    /// Sends all children away: this node is no supernode any more, or it leaves.
    pub(crate) fn dismiss_all(&mut self, core: &mut Core, reason: PartingReason) {
        let mut all: Vec<NodeId> = self.children.keys().copied().collect();
        all.sort_unstable();
        for child in all {
            self.remove(&child);
            core.send(child, Detach { reason });
        }
        while let Some(node) = self.departed.pop_first() {
            self.index.remove_owner(&node);
        }
    }

    /// Whether some have gone since this was last asked.
    pub(crate) fn take_gone(&mut self) -> bool {
        std::mem::take(&mut self.gone)
    }

    /// Whether the bond with some has ended since this was last asked.
    pub(crate) fn take_untied(&mut self) -> bool {
        std::mem::take(&mut self.untied)
    }

    /// How many there are, standbys included.
    pub(crate) fn count(&self) -> usize {
        self.children.len()
    }

    /// Some child has shown another credential, or is new: all are looked at once more.
    pub(crate) fn doubt_credentials(&mut self) {
        self.sound_until = UnixTime(0);
    }

    /// Sends those away whose credential ran out.
    pub(crate) fn expire(&mut self, core: &mut Core, now: UnixTime) {
        if now < self.sound_until {
            return;
        }
        let ends = self.children.keys().filter_map(|child| {
            let credential = core.peers.get(child)?.valid_credential(now)?;
            Some(credential.unverified().expires)
        });
        self.sound_until = ends.min().unwrap_or(UnixTime(u64::MAX));
        let mut expired: Vec<NodeId> = self
            .children
            .keys()
            .filter(|child| {
                core.peers.get(child).is_none_or(|peer| peer.valid_credential(now).is_none())
            })
            .copied()
            .collect();
        expired.sort_unstable();
        for child in expired {
            self.remove(&child);
            core.counters.children_expired += 1;
            core.send(child, Detach { reason: PartingReason::CredentialExpired });
        }
    }

    /// A child that has shown another credential may have another name by now.
    pub(crate) fn rename(&mut self, peer: NodeId, name: &Username) {
        if self.bond(&peer) == Some(Bond::Active) {
            self.index.set_owner(peer, name);
        }
    }

    /// Leaves out what a child adds when it has changed too much lately.
    pub(crate) fn stay_in_budget(
        &mut self,
        core: &mut Core,
        peer: &NodeId,
        publish: &mut Publish,
        now: Instant,
    ) {
        let count = 1 + publish.add.len() + publish.remove.len();
        if core.budgets.take_records(peer, count, now) {
            return;
        }
        let refused = std::mem::take(&mut publish.add).len() as u64;
        core.counters.records_over_budget += refused;
        if let Some(child) = self.children.get_mut(peer) {
            child.over_quota += refused;
        }
    }

    /// Takes in what a child publishes. Answers whether that was by the rules.
    #[must_use]
    pub(crate) fn on_publish(&mut self, core: &mut Core, peer: NodeId, publish: Publish) -> bool {
        let Some(child) = self.children.get_mut(&peer).filter(|child| child.bond == Bond::Active)
        else {
            // It may have been sent before this node's word reached it that the bond is over.
            return true;
        };
        if publish.sequence != child.next_sequence {
            return false;
        }
        child.next_sequence += 1;
        if publish.reset {
            self.index.clear_owner(&peer);
            child.over_quota = 0;
        }
        self.index.withdraw(&peer, &publish.remove);
        let outcome = self.index.publish(&peer, publish.add);
        child.over_quota += outcome.over_quota;
        core.counters.records_taken += outcome.accepted;
        core.counters.records_over_quota += outcome.over_quota;
        let ack = PublishAck {
            sequence: publish.sequence,
            records: self.index.owner_records(&peer),
            over_quota: child.over_quota,
        };
        core.send(peer, ack);
        true
    }

    /// Indexes what this node itself shares.
    pub(crate) fn publish_own(&mut self, core: &mut Core, name: &Username, files: Vec<FileMeta>) {
        self.index.set_owner(core.me, name);
        let outcome = self.index.publish(&core.me, files);
        core.counters.records_taken += outcome.accepted;
        core.counters.records_over_quota += outcome.over_quota;
    }

    /// Whether this child may search now; `None` if it is none.
    pub(crate) fn may_search(&self, core: &mut Core, peer: &NodeId, now: Instant) -> Option<bool> {
        let is_child = self.bond(peer) == Some(Bond::Active);
        is_child.then(|| core.budgets.take(peer, Ask::Search, now))
    }

    /// What was found in the index, grouped by owner, the best first. Of owners who have gone
    /// meanwhile nothing is left.
    pub(crate) fn grouped(&self, core: &Core, found: Vec<Found>, now: Now) -> Vec<HitGroup> {
        let mut order: Vec<NodeId> = Vec::new();
        let mut by_owner: HashMap<NodeId, Vec<FileMeta>> = HashMap::default();
        for found in found {
            let files = by_owner.entry(found.owner).or_default();
            if files.is_empty() {
                order.push(found.owner);
            }
            files.push(found.file);
        }
        let mut groups = Vec::new();
        for node in order {
            let (Some(owner), Some(files)) = (self.owner(core, node, now), by_owner.remove(&node))
            else {
                continue;
            };
            let mut files = files.into_iter().peekable();
            while files.peek().is_some() {
                let part = BoundedVec::truncated(files.by_ref().take(GROUP_FILES));
                groups.push(HitGroup { owner: owner.clone(), files: part });
            }
        }
        groups
    }

    /// How a child, or this node itself, is shown to those who look for what it offers.
    pub(crate) fn owner(&self, core: &Core, node: NodeId, now: Now) -> Option<Owner> {
        let (credential, addresses) = if node == core.me {
            (core.credential.clone()?, core.own_addresses())
        } else if let Some(owner) = self.departed.owner(&node, now.unix) {
            return Some(owner.clone());
        } else {
            // What those have left behind who are no children any more goes by and by.
            self.bond(&node).filter(|bond| *bond == Bond::Active)?;
            let peer = core.peers.get(&node)?;
            (peer.valid_credential(now.unix)?.clone(), peer.addresses())
        };
        let addresses = BoundedVec::truncated(addresses);
        Some(Owner { node, credential, addresses, parent: core.me })
    }
}

/// Children that are taken at most when others have died.
fn emergency(core: &Core) -> u32 {
    let limit = u64::from(core.config.max_children) * u64::from(EMERGENCY_PERCENT) / 100;
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// Files in one group of hits.
const GROUP_FILES: usize = BoundedVec::<FileMeta, 64>::LIMIT;

#[cfg(test)]
mod tests;

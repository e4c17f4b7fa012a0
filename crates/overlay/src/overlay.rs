//! The state machine that joins the parts: it hands each input to whom it concerns.

use crate::allowance::Allowances;
use crate::branch::ReplyTo;
use crate::budget::Ask;
use crate::children::Children;
use crate::config::Config;
use crate::core::{Core, earlier};
use crate::counters::Counters;
use crate::directory::Directory;
use crate::election::{Election, Office};
use crate::flood::{Arrival, Floods};
use crate::io::{Input, Now, Output};
use crate::join::{Join, ParentChange};
use crate::neighbours::Neighbours;
use crate::peers::{Greeting, Peer};
use crate::publish::{LocalCopy, Publisher};
use crate::reputation::Conduct;
use crate::search::Searches;
use crate::sessions::Sessions;
use crate::snapshot::Relation;
use crate::sources::sources;
use crate::tables::Tables;
use crate::wishes::own::OwnWishes;
use skein_proto::message::{Hello, PartingReason};
use skein_proto::supernode::Load;
use skein_proto::{
    Instant, KeyPair, NodeId, QueryId, Role, SignedCredential, SupernodeEntry, Username,
};
use std::net::SocketAddr;
use std::time::Duration;

/// How often a node tidies up: hangs up on links without a use, checks its children's credentials.
const TIDY: Duration = Duration::from_secs(5);

/// The same for an ordinary node that has no links but those with its parent and its standby, and
/// has told its parent all: nothing that it could find is urgent, and most nodes of a network are
/// such ones.
const CALM_TIDY: Duration = Duration::from_secs(60);

/// How old a link without a use may grow: old enough for both sides to find a use for it. One that
/// has lost its use later is closed at the next tidying.
const IDLE_LINK: Duration = Duration::from_secs(20);

/// How often at most a node has the supernodes that it knows kept for its next start: it hears of
/// others all the time.
const REMEMBER: Duration = Duration::from_secs(60);

/// How often a supernode says how it is doing, to the login service and to those linked to it.
const BEAT: Duration = Duration::from_secs(60);

/// What a node decides. See the [crate documentation](crate) for how it is driven.
pub struct Overlay {
    pub(crate) core: Core,
    pub(crate) join: Join,
    pub(crate) publisher: Publisher,
    pub(crate) local_copy: LocalCopy,
    pub(crate) children: Children,
    pub(crate) neighbours: Neighbours,
    pub(crate) floods: Floods,
    pub(crate) tables: Tables,
    pub(crate) searches: Searches,
    pub(crate) own_wishes: OwnWishes,
    pub(crate) allowances: Allowances,
    pub(crate) directory: Directory,
    pub(crate) election: Election,
    pub(crate) conduct: Conduct,
    pub(crate) sessions: Sessions,
    pub(crate) leaving: bool,
    pub(crate) next_tidy: Instant,
    pub(crate) next_beat: Instant,
    /// When the supernodes that it knows were last handed out to be kept.
    pub(crate) remembered: Option<Instant>,
    pub(crate) lost_at: Option<Instant>,
    pub(crate) last_recovery: Option<Duration>,
}

impl Overlay {
    /// A node that knows nobody yet. `key` signs what this node states about itself and others; its
    /// public half is the node's id. `seed` is 32 random bytes; with the same seed and the same
    /// inputs it does the same.
    pub fn new(key: KeyPair, config: Config, seed: [u8; 32], now: Now) -> Self {
        let role = config.role;
        let core = Core::new(key, config, seed);
        let mut overlay = Self {
            children: Children::new(&core),
            core,
            join: Join::default(),
            publisher: Publisher::default(),
            local_copy: LocalCopy::default(),
            neighbours: Neighbours::default(),
            floods: Floods::default(),
            tables: Tables::new(now.instant),
            searches: Searches::default(),
            own_wishes: OwnWishes::default(),
            allowances: Allowances::default(),
            directory: Directory::default(),
            election: Election::new(now.instant),
            conduct: Conduct::new(now),
            sessions: Sessions::default(),
            leaving: false,
            next_tidy: now.instant + TIDY,
            next_beat: now.instant,
            remembered: None,
            lost_at: None,
            last_recovery: None,
        };
        overlay.set_role(role, now);
        overlay
    }

    /// Something happened. What is to be done about it comes out of [`Overlay::poll_output`].
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp { peer, address, rtt } => self.on_link_up(peer, address, rtt, now),
            Input::LinkDown { peer } => self.on_link_down(peer, now),
            Input::LinkSilent { peer } => {
                if self.neighbours.is_linked(&peer) {
                    // A link among supernodes is cheap to make again.
                    self.core.hang_up(peer, PartingReason::Moved);
                }
                let change = self.join.on_link_silent(&mut self.core, peer, now);
                self.on_parent_change(change, now);
            }
            Input::DialFailed { peer } => {
                self.core.courier.on_lost(&peer);
                self.core.doubt_unreached(peer, now);
                self.neighbours.on_link_lost(&mut self.core, &peer, now);
                let change = self.join.on_link_lost(&mut self.core, peer, now);
                self.on_parent_change(change, now);
            }
            Input::Received { peer, message } => self.on_message(peer, *message, now),
            Input::Files { page, files, last } => self.on_files(page, files, last, now),
            Input::LibraryChanged { added, removed } => self.on_library_change(added, removed, now),
            Input::LibraryReset => self.on_library_reset(now),
            Input::Credential(credential) => self.on_credential(credential, now),
            Input::Bootstrap { entries, invited } => self.on_bootstrap(&entries, invited, now),
            Input::BootstrapFailed => self.join.on_bootstrap(&mut self.core, now, false),
            Input::Listening(addresses) => self.core.listen = addresses,
            Input::SetRole(role) => self.set_role(role, now),
            Input::Capability { children, on_battery } => {
                self.on_capability(children, on_battery, now);
            }
            Input::DialledBack { dial, reached } => self.on_dialled_back(dial, reached, now),
            Input::Search { id, query, wanted } => self.on_user_search((id, query, wanted), now),
            Input::CancelSearch { id } => {
                self.searches.cancel(&mut self.core, id);
                let sources = sources!(self);
                self.floods.on_cancel(&mut self.core, &sources, ReplyTo::User, id, now);
            }
            Input::LookedUp(looked_up) => {
                let sources = sources!(self);
                self.floods.on_looked_up(&mut self.core, &sources, looked_up, now);
            }
            Input::Find { id, key } => self.on_user_find(id, key, now),
            Input::Serving { content, serving } => self.on_serving(content, serving, now),
            Input::Wish { id, query, seen } => {
                self.own_wishes.add(&mut self.core, (id, query, seen), now);
            }
            Input::EndWish { id } => self.own_wishes.end(id),
            Input::Evidence(record) => self.on_evidence_remembered(*record, now),
            Input::EvidenceShown { peer, shown } => self.on_evidence_shown(peer, shown, now),
            Input::BytesVerified { source, bytes } => {
                self.conduct.receipts.received(&mut self.core, source, bytes, now);
            }
            Input::ReceiptGiven { peer, receipt } => self.on_receipt(peer, *receipt, now),
            Input::WrongBytes { name } => self.core.reputations.blame(&name, now.unix.day()),
            Input::AskSlot { ask, besides, nth } => {
                self.on_user_ask_slot(ask, &besides, nth, now);
            }
            Input::SlotGranted { asker, number, outcome } => {
                self.on_slot_granted(asker, number, outcome);
            }
            Input::OfferSession(offer) => self.on_user_offer(*offer, now),
            Input::AnswerSession(answer) => self.on_user_answer(*answer, now),
            Input::RefuseSession(refused) => self.on_user_refusal(refused, now),
            Input::Leave => self.leave(now),
            Input::Tick => {}
        }
        self.step(now);
    }

    /// The next thing to be done. The driver takes all of them out, in order, after each
    /// [`Overlay::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`] if nothing else happens before.
    pub fn next_wakeup(&self, now: Now) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        let mut wake = Some(self.next_tidy);
        match self.core.role {
            Role::Ordinary => wake = earlier(wake, self.join.next_wakeup(&self.core, now)),
            Role::Super if self.core.has_credential(now.unix) => {
                wake = earlier(wake, self.neighbours.next_wakeup());
                wake = earlier(wake, self.core.membership.next_wakeup());
                wake = earlier(wake, Some(self.next_beat));
                wake = earlier(wake, self.tables.next_wakeup());
                let office = self.election.office.as_deref();
                wake = earlier(wake, office.and_then(Office::next_wakeup));
            }
            Role::Super => {}
        }
        wake = earlier(wake, self.floods.next_wakeup());
        wake = earlier(wake, self.own_wishes.next_wakeup(self.wish_parent()));
        wake = earlier(wake, self.next_directory_wakeup(now));
        let signs = self.core.has_credential(now.unix);
        wake = earlier(wake, self.conduct.receipts.next_wakeup(signs));
        earlier(wake, self.searches.next_wakeup())
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Supernodes that this node knows, the freshest first.
    pub fn known_supernodes(&self, count: usize) -> Vec<SupernodeEntry> {
        self.core.known.freshest(count)
    }

    /// The other supernodes that this one knows of, in the order of the ring; none if it is none.
    pub fn supernodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.core.membership.iter().map(|member| member.node)
    }

    pub(crate) fn load(&self) -> Load {
        self.children.load(&self.core, self.neighbours.count())
    }

    pub(crate) fn own_name(&self) -> Option<Username> {
        self.core.credential.as_ref().map(|credential| credential.unverified().name.clone())
    }

    fn step(&mut self, now: Now) {
        if self.leaving {
            return;
        }
        // First, since whoever lets go of a tie looks for another at once.
        if now.instant >= self.next_tidy {
            self.tidy(now);
        }
        match self.core.role {
            Role::Ordinary => self.join.step(&mut self.core, now),
            Role::Super if self.core.has_credential(now.unix) => {
                let load = self.load();
                self.neighbours.step(&mut self.core, load, now);
                if let Some(outgoing) = self.neighbours.take_outgoing(&mut self.core) {
                    self.core.counters.neighbours_reshuffled += 1;
                    self.let_go(outgoing, PartingReason::Moved, now);
                }
                self.update_tables(now);
                self.step_membership(load, now);
                self.step_office(now);
                if now.instant >= self.next_beat {
                    self.beat(now);
                }
            }
            Role::Super => {}
        }
        let sources = sources!(self);
        for dead in self.floods.step(&mut self.core, &sources, now) {
            self.core.counters.neighbours_timed_out += 1;
            self.let_go(dead, PartingReason::Moved, now);
        }
        self.searches.step(&mut self.core, now.instant);
        self.step_wishes(now);
        for (peer, message) in self.core.courier.take_failed() {
            self.on_directory_failed(peer, &message, now);
            self.on_election_failed(peer, &message, now);
            self.on_session_failed(peer, &message, now);
            self.on_wish_failed(message, now);
        }
        self.step_directory(now);
        self.conduct.receipts.step(&mut self.core, now);
    }

    fn tidy(&mut self, now: Now) {
        let calm = self.core.role == Role::Ordinary
            && self.core.peers.len() <= 2
            && self.publisher.is_complete();
        self.next_tidy = now.instant + if calm { CALM_TIDY } else { TIDY };
        if calm {
            // Nobody is about to show one again that was met on the way here.
            self.core.credentials.clear();
        }
        self.core.budgets.tidy(now.instant);
        self.allowances.tidy(now.instant);
        self.core.courier.tidy(now.instant);
        self.sessions.tidy(now.instant);
        if self.core.role == Role::Super {
            let load = self.load();
            self.core.membership.sweep(now);
            self.core.review_announcement(load);
        }
        self.tend_reputations(now);
        self.children.expire(&mut self.core, now.unix);
        self.tidy_directory(now);
        self.expire_ties(now);
        let mut idle: Vec<NodeId> = self
            .core
            .peers
            .iter()
            .filter(|(node, peer)| {
                now.instant.since(peer.since) >= IDLE_LINK
                    && self.children.bond(node).is_none()
                    && !self.join.uses(node)
                    && !self.neighbours.uses(node)
                    && !self.core.courier.used_lately(node, now.instant)
            })
            .map(|(node, _)| *node)
            .collect();
        idle.sort_unstable();
        for node in idle {
            self.core.counters.links_idle += 1;
            self.core.hang_up(node, PartingReason::Moved);
        }
        let too_soon = self.remembered.is_some_and(|at| now.instant < at + REMEMBER);
        if !too_soon && self.core.known.take_changed() {
            self.remembered = Some(now.instant);
            let remembered = self.core.known.to_remember();
            self.core.outputs.push_back(Output::RememberSupernodes(remembered));
        }
    }

    /// Leaves the supernodes that are no good any more: those whose credential ran out, and a
    /// parent that takes nothing in.
    fn expire_ties(&mut self, now: Now) {
        for neighbour in self.neighbours.unfit(&self.core, now.unix) {
            self.core.counters.ties_expired += 1;
            self.let_go(neighbour, PartingReason::CredentialExpired, now);
        }
        for node in self.join.unfit(&self.core, now.unix) {
            self.core.counters.ties_expired += 1;
            let reason = PartingReason::CredentialExpired;
            let change = self.join.leave(&mut self.core, node, reason, now);
            self.on_parent_change(change, now);
        }
        if self.publisher.is_stuck(now.instant)
            && let Some(parent) = self.join.parent()
        {
            self.core.counters.parents_timed_out += 1;
            let change = self.join.leave(&mut self.core, parent, PartingReason::Moved, now);
            self.on_parent_change(change, now);
        }
    }

    /// Ends the link with a neighbour.
    fn let_go(&mut self, neighbour: NodeId, reason: PartingReason, now: Now) {
        self.core.part(neighbour, reason);
        self.lose_neighbour(&neighbour, now);
    }

    pub(crate) fn lose_neighbour(&mut self, peer: &NodeId, now: Now) {
        if self.neighbours.on_link_lost(&mut self.core, peer, now) {
            self.tables.on_lost(peer);
            let sources = sources!(self);
            self.floods.on_peer_lost(&mut self.core, &sources, peer, now);
        }
    }

    /// Brings new neighbours, and all of them, up to date on what this node's index holds.
    fn update_tables(&mut self, now: Now) {
        for peer in self.neighbours.take_new() {
            self.tables.on_linked(&mut self.core, peer, now.instant);
        }
        let nodes = self.children.actives() + 1;
        let linked = self.neighbours.linked();
        self.tables.step(&mut self.core, &mut self.children.index, nodes, linked, now);
    }

    fn beat(&mut self, now: Now) {
        self.next_beat = now.instant + self.core.jitter(BEAT);
        let load = self.load();
        self.core.outputs.push_back(Output::Report { load });
        self.children.tell(&mut self.core, load);
    }

    fn on_link_up(&mut self, peer: NodeId, address: SocketAddr, rtt: Duration, now: Now) {
        if self.core.peers.contains_key(&peer) {
            self.on_link_down(peer, now);
        }
        let is_full = self.core.peers.len() >= self.core.config.max_links;
        if self.leaving || is_full {
            self.core.counters.links_over_limit += u64::from(is_full);
            self.core.hang_up(peer, PartingReason::Leaving);
            return;
        }
        let entry = Peer { address, rtt, since: now.instant, hello: None };
        self.core.peers.insert(peer, entry);
        self.core.greet(peer);
        let load = self.load();
        self.join.on_link_up(&mut self.core, peer, now);
        self.neighbours.on_link_up(&mut self.core, peer, load, now);
        self.core.membership.doubts.on_link_up(&peer);
    }

    pub(crate) fn on_link_down(&mut self, peer: NodeId, now: Now) {
        self.core.peers.remove(&peer);
        self.core.courier.on_lost(&peer);
        if self.children.remove(&peer) {
            self.core.counters.children_lost += 1;
        }
        if self.neighbours.on_link_lost(&mut self.core, &peer, now) {
            self.core.doubt_lost(peer, now);
        }
        self.tables.on_lost(&peer);
        let sources = sources!(self);
        self.floods.on_peer_lost(&mut self.core, &sources, &peer, now);
        let change = self.join.on_link_lost(&mut self.core, peer, now);
        self.on_parent_change(change, now);
    }

    pub(crate) fn on_parent_change(&mut self, change: Option<ParentChange>, now: Now) {
        if change.is_some() {
            self.forget_candidacy();
        }
        match change {
            Some(ParentChange::Gained(parent)) => {
                self.lost_at = self.join.take_lost_at().or(self.lost_at);
                self.publisher.start(&mut self.core, parent);
                self.searches.on_parent(&mut self.core, parent, now);
                self.on_directory_parent(parent, now);
                self.show_evidence(parent);
            }
            Some(ParentChange::Lost(parent)) => {
                self.publisher.stop();
                self.searches.on_parent_lost(parent, now);
                self.on_directory_parent_lost(parent, now);
            }
            Some(ParentChange::Moved { from, to }) => {
                self.publisher.stop();
                self.searches.on_parent_lost(from, now);
                self.on_directory_parent_lost(from, now);
                self.publisher.start(&mut self.core, to);
                self.searches.on_parent(&mut self.core, to, now);
                self.on_directory_parent(to, now);
                self.show_evidence(to);
            }
            None => {}
        }
    }

    pub(crate) fn misbehaved(&mut self, peer: NodeId, now: Now) {
        self.core.counters.links_misbehaved += 1;
        self.core.hang_up(peer, PartingReason::Misbehaved);
        self.lose_neighbour(&peer, now);
        self.on_link_down(peer, now);
    }

    /// Whether this peer has not asked for too much lately.
    pub(crate) fn may_ask(&mut self, peer: &NodeId, now: Now) -> bool {
        let granted = self.core.budgets.take(peer, Ask::Request, now.instant);
        self.core.counters.requests_over_budget += u64::from(!granted);
        granted
    }

    /// Whether this peer is a supernode that this node has chosen, or agreed with.
    pub(crate) fn is_above(&self, peer: &NodeId) -> bool {
        matches!(self.relation(peer), Relation::Parent | Relation::Standby | Relation::Neighbour)
    }

    pub(crate) fn on_hello(&mut self, peer: NodeId, hello: Hello, now: Now) {
        let observed = hello.observed;
        let credential = hello.credential.clone().filter(|credential| {
            let sound = self.core.credentials.check(credential, &peer, now.unix).is_ok();
            if !sound {
                self.core.counters.credentials_refused += 1;
            }
            sound
        });
        let Some(known) = self.core.peers.get_mut(&peer) else { return };
        let is_super = hello.role == Role::Super;
        let name = credential.as_ref().map(|credential| credential.unverified().name.clone());
        known.hello = Some(Greeting::new(hello, known.address, credential));
        if let Some(name) = &name {
            self.children.rename(peer, name);
            // A stranger must not decide where this node says that it is.
            self.core.observed.add(peer, observed);
        }
        if is_super && name.is_some() {
            self.core.proved(&peer, None, now.unix);
            self.core.hand_over_waiting(peer);
            self.on_directory_linked(peer, now);
        } else if !is_super {
            self.core.known.forget(&peer);
        }
    }

    fn on_user_search(
        &mut self,
        (id, query, wanted): (QueryId, skein_proto::Query, u16),
        now: Now,
    ) {
        if self.core.role == Role::Super {
            let arrival = Arrival { id, query, wanted, reply_to: ReplyTo::User };
            let sources = sources!(self);
            self.floods.begin(&mut self.core, &sources, arrival, now);
        } else {
            let parent = self.join.parent();
            self.searches.start(&mut self.core, parent, (id, query, wanted), now);
        }
    }

    fn on_credential(&mut self, credential: SignedCredential, now: Now) {
        let first = !self.core.has_credential(now.unix);
        let core = &mut self.core;
        core.membership.announcer.on_credential(now.instant, &mut core.rng);
        self.conduct.wallet.keep_only(&credential.unverified().name);
        self.core.credential = Some(credential);
        self.on_directory_credential(now);
        let mut linked: Vec<NodeId> = self.core.peers.keys().copied().collect();
        linked.sort_unstable();
        for peer in linked {
            self.core.greet(peer);
        }
        if first {
            self.join.on_credential(&mut self.core, now);
            self.next_beat = now.instant;
            if self.core.role == Role::Super {
                self.local_copy.start(&mut self.core);
            }
        }
    }
}

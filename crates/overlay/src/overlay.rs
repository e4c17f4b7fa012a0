//! The state machine that joins the parts: it hands each input to whom it concerns.

use crate::allowance::Allowances;
use crate::branch::ReplyTo;
use crate::budget::Ask;
use crate::children::Children;
use crate::config::Config;
use crate::core::{Core, INFORMED, earlier};
use crate::counters::Counters;
use crate::directory::Directory;
use crate::election::Election;
use crate::flood::{Arrival, Floods};
use crate::io::{Input, Now, Output};
use crate::join::Join;
use crate::neighbours::Neighbours;
use crate::publish::{LocalCopy, Publisher};
use crate::rare::Rare;
use crate::reputation::Conduct;
use crate::search::Searches;
use crate::sessions::Sessions;
use crate::sources::sources;
use crate::tables::Tables;
use crate::tidy::{Loose, REMEMBER, TIDY};
use crate::wishes::own::OwnWishes;
use rand::RngExt;
use skein_proto::message::PartingReason;
use skein_proto::supernode::Load;
use skein_proto::{
    Instant, KeyPair, Message, NodeId, QueryId, Role, SignedCredential, SupernodeEntry, Username,
};
use std::collections::VecDeque;
use std::time::Duration;

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
    pub(crate) floods: Rare<Floods>,
    pub(crate) tables: Tables,
    pub(crate) searches: Searches,
    pub(crate) own_wishes: OwnWishes,
    pub(crate) allowances: Allowances,
    pub(crate) directory: Directory,
    pub(crate) election: Election,
    pub(crate) conduct: Conduct,
    pub(crate) sessions: Sessions,
    pub(crate) leaving: bool,
    /// When anything but the queries that pass through is due, as of the last [`Overlay::step`].
    pub(crate) next_step: Option<Instant>,
    pub(crate) next_tidy: Instant,
    pub(crate) loose: Option<Box<Loose>>,
    pub(crate) next_beat: Instant,
    /// When the supernodes that it knows may be handed out again to be kept, and how long it waits then.
    pub(crate) next_remember: Instant,
    pub(crate) remember_pause: Duration,
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
            conduct: Conduct::new(now, core.config.last_super),
            core,
            join: Join::default(),
            publisher: Publisher::default(),
            local_copy: LocalCopy::default(),
            neighbours: Neighbours::default(),
            floods: Rare::default(),
            tables: Tables::new(now.instant),
            searches: Searches::default(),
            own_wishes: OwnWishes::default(),
            allowances: Allowances::default(),
            directory: Directory::default(),
            election: Election::new(now.instant),
            sessions: Sessions::default(),
            leaving: false,
            next_step: Some(now.instant),
            next_tidy: now.instant + TIDY,
            loose: None,
            next_beat: now.instant,
            next_remember: now.instant,
            remember_pause: REMEMBER,
            lost_at: None,
            last_recovery: None,
        };
        overlay.set_role(role, now);
        overlay
    }

    /// Something happened. What is to be done about it comes out of [`Overlay::poll_output`].
    pub fn handle(&mut self, input: Input, now: Now) {
        let is_passing = self.is_passing(&input);
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
            Input::Capability { children, index_bytes, on_battery } => {
                self.core.config.index_limits.total_bytes = index_bytes;
                self.children.index.limit_to(index_bytes);
                self.on_capability(children, on_battery, now);
            }
            Input::DialledBack { dial, reached } => self.on_dialled_back(dial, reached, now),
            Input::Search { id, query, wanted } => self.on_user_search((id, query, wanted), now),
            Input::CancelSearch { id } => {
                self.searches.cancel(&mut self.core, id);
                let sources = sources!(self);
                self.floods.on_cancel(&mut self.core, &sources, ReplyTo::User, id, now);
            }
            Input::LookedUp(mut looked_up) => {
                if !self.on_looked_up_for_wish(&mut looked_up, now) {
                    let sources = sources!(self);
                    self.floods.on_looked_up(&mut self.core, &sources, looked_up, now);
                }
            }
            Input::Find { id, key } => self.on_user_find(id, key, now),
            Input::Serving { content, serving } => self.on_serving(content, serving, now),
            Input::Wish { id, query, seen } => {
                self.own_wishes.add(&mut self.core, (id, query, seen), now);
            }
            Input::EndWish { id } => self.own_wishes.end(id, now),
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
            Input::ReleaseSlot { relay, slot } => self.on_user_release(relay, slot),
            Input::SlotGranted { asker, number, outcome } => {
                self.on_slot_granted(asker, number, outcome, now);
            }
            Input::OfferSession(offer) => self.on_user_offer(*offer, now),
            Input::AnswerSession(answer) => self.on_user_answer(*answer, now),
            Input::RefuseSession(refused) => self.on_user_refusal(refused, now),
            Input::Leave => self.leave(now),
            Input::Tick => {}
        }
        if is_passing && self.next_step.is_some_and(|at| now.instant < at) {
            self.step_floods(now);
        } else {
            self.step(now);
        }
    }

    /// Whether something concerns nothing but a query that passes through. Most of what a supernode
    /// hears is of this kind, and to look at everything else each time would cost more than itself.
    fn is_passing(&self, input: &Input) -> bool {
        match input {
            _ if self.leaving => false,
            Input::Tick => true,
            Input::LookedUp(_) => self.core.role == Role::Super,
            Input::Received { message, .. } => {
                let of_query = matches!(
                    **message,
                    Message::Flood(_)
                        | Message::Hits(_)
                        | Message::SearchDone(_)
                        | Message::CancelSearch(_)
                );
                of_query && self.core.role == Role::Super
            }
            _ => false,
        }
    }

    /// The next thing to be done. The driver takes all of them out, in order, after each
    /// [`Overlay::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.core.outputs.pop_front();
        if next.is_none() && self.core.outputs.capacity() > 0 {
            // An ordinary node wakes once a minute: the room would stand empty. And of thousands in one
            // process each takes the room next that another one has just given back, which is at hand.
            self.core.outputs = VecDeque::new();
        }
        next
    }

    /// When to hand in [`Input::Tick`] if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        earlier(self.next_step, self.floods.next_wakeup())
    }

    /// When anything but the queries that pass through is due.
    fn find_next_step(&self, now: Now) -> Option<Instant> {
        let mut wake = Some(self.next_tidy);
        match self.core.role {
            Role::Ordinary => wake = earlier(wake, self.join.next_wakeup(&self.core, now)),
            Role::Super if self.core.has_credential(now.unix) => {
                wake = earlier(wake, self.neighbours.next_wakeup());
                wake = earlier(wake, self.core.membership.next_wakeup());
                wake = earlier(wake, Some(self.next_beat));
                wake = earlier(wake, self.tables.next_wakeup());
                wake = earlier(wake, self.children.next_forgotten());
                wake = earlier(wake, self.core.membership.wishes.looks.next_wakeup());
                let office = self.election.office.as_deref();
                wake = earlier(wake, office.and_then(|office| office.next_wakeup(&self.core.me)));
            }
            Role::Super => {}
        }
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
            Role::Ordinary => {
                if !self.searches.is_empty() || self.directory.has_finds() {
                    self.join.hurry(now.instant);
                }
                let change = self.join.step(&mut self.core, now);
                self.on_parent_change(change, now);
            }
            Role::Super if self.core.has_credential(now.unix) => {
                let load = self.load();
                self.neighbours.step(&mut self.core, load, now);
                if let Some(outgoing) = self.neighbours.take_outgoing(&mut self.core) {
                    self.core.counters.neighbours_reshuffled += 1;
                    self.let_go(outgoing, PartingReason::Moved, now);
                }
                if self.children.forget_moved(now.instant) {
                    self.tables.touch(now.instant);
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
        if self.core.role == Role::Super {
            self.take_over_searches(now);
        }
        self.step_floods(now);
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
        self.next_step = self.find_next_step(now);
    }

    fn step_floods(&mut self, now: Now) {
        if self.floods.is_unused() {
            return;
        }
        let sources = sources!(self);
        for dead in self.floods.step(&mut self.core, &sources, now) {
            self.core.counters.neighbours_timed_out += 1;
            self.let_go(dead, PartingReason::Moved, now);
            self.next_step = Some(now.instant);
        }
    }

    /// Brings new neighbours, and all of them, up to date on what this node's index holds.
    fn update_tables(&mut self, now: Now) {
        for peer in self.neighbours.take_new() {
            let index = &mut self.children.index;
            self.tables.on_linked(&mut self.core, index, peer, now.instant);
        }
        let nodes = self.children.actives() + 1;
        let linked = self.neighbours.linked();
        self.tables.step(&mut self.core, &mut self.children.index, nodes, linked, now);
    }

    fn beat(&mut self, now: Now) {
        self.next_beat = now.instant + self.core.jitter(BEAT);
        let load = self.load();
        let mut addresses = self.core.listen.clone();
        for address in self.core.own_addresses() {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.core.outputs.push_back(Output::Report { load, addresses });
        self.children.tell(&mut self.core, load);
    }

    /// Whether this peer has not asked for too much lately.
    pub(crate) fn may_ask(&mut self, peer: &NodeId, now: Now) -> bool {
        self.may(peer, Ask::Request, now)
    }

    /// Whether a peer may have this now; if so, it is accounted for.
    pub(crate) fn may(&mut self, peer: &NodeId, ask: Ask, now: Now) -> bool {
        let granted = self.core.budgets.take(peer, ask, now.instant);
        self.core.counters.requests_over_budget += u64::from(!granted);
        granted
    }

    fn on_user_search(
        &mut self,
        (id, query, wanted): (QueryId, skein_proto::Query, u16),
        now: Now,
    ) {
        if self.core.role == Role::Super {
            self.begin_for_user((id, query, wanted), id, now);
        } else {
            let parent = self.join.parent();
            self.searches.start(&mut self.core, parent, (id, query, wanted), now);
        }
    }

    fn begin_for_user(
        &mut self,
        (reply_id, query, wanted): (QueryId, skein_proto::Query, u16),
        id: QueryId,
        now: Now,
    ) {
        let arrival = Arrival { reply_id, id, query, wanted, reply_to: ReplyTo::User };
        let sources = sources!(self);
        self.floods.begin(&mut self.core, &sources, arrival, now);
    }

    /// Goes on itself with what a parent was to search for, now that this node is a supernode.
    fn take_over_searches(&mut self, now: Now) {
        let (linked, known) = (self.neighbours.count(), self.core.membership.len());
        let is_ready = linked > 0 && linked >= known.min(INFORMED);
        for wish in self.searches.hand_over(is_ready, now.instant) {
            // The others know the old id from the parent.
            let id = QueryId::from_bytes(self.core.rng.random());
            self.begin_for_user(wish, id, now);
        }
    }

    fn on_credential(&mut self, credential: SignedCredential, now: Now) {
        let first = !self.core.has_credential(now.unix);
        let core = &mut self.core;
        core.membership.announcer.on_credential(now.instant, &mut core.rng);
        self.conduct.wallet.keep_only(&credential.unverified().name);
        self.core.membership.set_owner(&credential.unverified().name);
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

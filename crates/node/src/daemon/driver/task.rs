//! The task that owns the state machine: what comes to it, and in which order it is taken.

use super::{DirectoryAnswer, Driver, FromPeer, Order, OverlayView, Parts, SearchUpdate};
use crate::daemon::link::LinkHandle;
use crate::daemon::searchers::{Done, Searchers};
use crate::daemon::tending::Tending;
use skein_overlay::Input;
use skein_proto::message::PartingReason;
use skein_proto::{NodeId, QueryId, Username};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// The least time between two wake-ups: tokio's timers count in milliseconds. Should the overlay
/// ever ask for a time that is over, it must not keep a whole core busy.
const NAP: Duration = Duration::from_millis(1);

/// How long all peers together are given to read the farewell.
const FAREWELL: Duration = Duration::from_secs(3);

pub(super) struct Task {
    pub(super) driver: Driver,
    pub(super) parts: Parts,
    pub(super) links: HashMap<NodeId, LinkHandle>,
    pub(super) link_tasks: TaskTracker,
    pub(super) searches: HashMap<QueryId, mpsc::Sender<SearchUpdate>>,
    /// Who searches the index.
    pub(super) searchers: Searchers,
    /// When they look after it.
    tending: Tending,
    /// The overlay ends each look-up, and so bounds them.
    pub(super) finds: HashMap<QueryId, oneshot::Sender<DirectoryAnswer>>,
    pub(super) next_generation: u64,
    pub(super) links_stalled: u64,
    pub(super) hits_unread: u64,
    pub(super) session_events_dropped: u64,
}

impl Task {
    pub(super) fn new(driver: Driver, parts: Parts, searchers: Searchers) -> Self {
        Self {
            driver,
            parts,
            links: HashMap::new(),
            link_tasks: TaskTracker::new(),
            searches: HashMap::new(),
            searchers,
            tending: Tending::new(),
            finds: HashMap::new(),
            next_generation: 0,
            links_stalled: 0,
            hits_unread: 0,
            session_events_dropped: 0,
        }
    }

    pub(super) async fn run(
        mut self,
        mut local: mpsc::Receiver<Order>,
        mut cancelled: mpsc::UnboundedReceiver<QueryId>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut remote: mpsc::Receiver<FromPeer>,
    ) {
        let ended = self.parts.ended.clone();
        self.carry_out();
        loop {
            let wake = self.parts.overlay.next_wakeup();
            let wake = wake.map(|at| self.parts.clock.at(at).max(Instant::now() + NAP));
            let look = self.tending.due(&self.parts.overlay);
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                Some(id) = cancelled.recv() => self.handle(Input::CancelSearch { id }),
                Some(order) = local.recv() => self.obey(order),
                // What is under way is brought to its end before more begins.
                Some(done) = done.recv() => self.on_done(done),
                Some(event) = remote.recv() => self.on_peer(event),
                () = sleep_until(wake) => self.handle(Input::Tick),
                () = sleep_until(look) => self.tend_if_calm(),
                // Only when there is nothing else to do, and other tasks have their turn as well.
                () = tokio::task::yield_now(), if self.parts.overlay.has_leftovers() => {
                    self.parts.overlay.clear_leftovers();
                }
            }
            self.give_back_unneeded(false);
        }
        self.handle(Input::Leave);
        // What peers still say does not matter any more.
        drop(remote);
        for (_, link) in self.links.drain() {
            link.close(PartingReason::Leaving);
        }
        self.link_tasks.close();
        if timeout(FAREWELL, self.link_tasks.wait()).await.is_err() {
            tracing::debug!(left = self.link_tasks.len(), "some peers were not told of the end");
        }
        self.parts.memory.close().await;
    }

    pub(super) fn handle(&mut self, input: Input) {
        let now = self.parts.clock.now();
        self.parts.overlay.handle(input, now);
        self.carry_out();
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::LookedUp(found) => self.handle(Input::LookedUp(found)),
            Done::Upkeep(upkeep) => {
                self.tending.is_under_way = false;
                let is_lost = upkeep.is_none();
                self.parts.overlay.give_back_upkeep(upkeep);
                if is_lost {
                    // It would be lost again at once: until something has changed there is nothing
                    // else to merge.
                    self.tending.is_done(&self.parts.overlay);
                } else {
                    self.tend_if_calm();
                }
            }
            Done::GivenBack(rest) => rest.into_iter().for_each(|it| self.searchers.give_back(it)),
        }
    }

    /// Has the index looked after if nothing has changed in it for a moment.
    fn tend_if_calm(&mut self) {
        if !self.tending.is_calm(&self.parts.overlay) {
            return;
        }
        if self.tending.has_changed(&self.parts.overlay) {
            match self.parts.overlay.take_upkeep() {
                Some(upkeep) => {
                    self.tending.is_under_way = true;
                    self.searchers.tend(upkeep);
                }
                None => self.tending.is_done(&self.parts.overlay),
            }
        }
        self.give_back_unneeded(true);
    }

    /// Has memory given back to the system that the index does not need any more.
    fn give_back_unneeded(&mut self, is_calm: bool) {
        if let Some(unneeded) = self.parts.overlay.take_unneeded(is_calm) {
            self.searchers.give_back(unneeded);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Input(input) => self.handle(input),
            Order::Dialled { peer, outcome: Some((connection, stream)) } => {
                self.on_dialled(peer, connection, stream);
            }
            Order::Dialled { peer, outcome: None } => {
                if !self.links.contains_key(&peer) {
                    self.handle(Input::DialFailed { peer });
                }
            }
            // Whoever wanted it has gone, and the cancellation may have overtaken it.
            Order::Search { updates, .. } if updates.is_closed() => {}
            Order::Search { id, query, wanted, updates } => {
                self.searches.insert(id, updates);
                self.handle(Input::Search { id, query, wanted });
            }
            Order::Find { id, key, answer } => {
                self.finds.insert(id, answer);
                self.handle(Input::Find { id, key });
            }
            // Whoever asked may have gone.
            Order::Reputations(names, answer) => {
                let of = |name: &Username| self.parts.overlay.reputation_of(name);
                let _ = answer.send(names.iter().map(of).collect());
            }
            Order::Supernode(node, answer) => {
                let _ = answer.send(self.parts.overlay.vouched_supernode(&node));
            }
            Order::NearSupernodes(answer) => {
                let now = self.parts.clock.now();
                let _ = answer.send(self.parts.overlay.near_supernodes(now));
            }
            Order::Release { relay, slot, answer } => {
                let is_linked = self.links.contains_key(&relay);
                if is_linked {
                    self.handle(Input::ReleaseSlot { relay, slot });
                }
                let _ = answer.send(is_linked);
            }
            Order::Evidence(answer) => {
                let _ = answer.send(self.parts.overlay.evidence_pages());
            }
            Order::View(answer) => {
                let view = OverlayView {
                    snapshot: self.parts.overlay.snapshot(self.parts.clock.now()),
                    counters: *self.parts.overlay.counters(),
                    links_stalled: self.links_stalled,
                    hits_unread: self.hits_unread,
                    session_events_dropped: self.session_events_dropped,
                    linked: self.links.values().map(|link| link.connection.id()).collect(),
                };
                // Whoever asked may have gone.
                let _ = answer.send(view);
            }
        }
    }

    fn on_peer(&mut self, from: FromPeer) {
        match from {
            FromPeer::Link { peer, generation, event } => {
                self.on_link_event(peer, generation, event);
            }
            FromPeer::Greeted(greeted) => self.on_inbound(*greeted),
            FromPeer::Aside(input) => self.handle(*input),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

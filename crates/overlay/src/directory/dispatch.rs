//! Where the directory meets the rest of the overlay.

use crate::io::Now;
use crate::overlay::Overlay;
use skein_proto::directory::{
    Announce, ArcSent, ArcWanted, DirectoryKey, Find, FindOutcome, Found, Put,
};
use skein_proto::message::Bond;
use skein_proto::{ContentId, FileMeta, Instant, Message, NodeId, QueryId};

use super::lookup::Asker;
use super::pages::PAGE_COST;
use super::{Cause, Directory, Holder};

/// The work of a look-up: an answer of many records. A peer may ask 25 times a second, and 2,500
/// times at once.
const FIND_WORK: usize = 8;

/// What a supernode keeps for the ring, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectorySnapshot {
    /// Nodes kept under the names of their users.
    pub nodes: u64,
    /// Sources kept under their contents.
    pub sources: u64,
}

impl Directory {
    /// Whether this node's user waits for an answer of its parent.
    pub(crate) fn has_finds(&self) -> bool {
        !self.finds.is_empty()
    }

    /// What this supernode keeps.
    pub(crate) fn snapshot(&self) -> DirectorySnapshot {
        let (sources, nodes) = self.holder.as_ref().map_or((0, 0), |holder| holder.table.len());
        DirectorySnapshot { nodes: nodes as u64, sources: sources as u64 }
    }
}

impl Overlay {
    /// A message of the directory came. Answers whether it was by the rules.
    #[must_use]
    pub(crate) fn on_directory_message(
        &mut self,
        peer: NodeId,
        message: Message,
        now: Now,
    ) -> bool {
        match message {
            Message::Announce(announce) => return self.on_announce(peer, announce, now),
            Message::Put(put) => self.on_put(peer, put, now),
            Message::Find(find) => self.on_find(peer, find, now),
            Message::Found(found) => self.on_found(peer, found, now),
            Message::ArcWanted(wanted) => self.on_arc_wanted(peer, wanted, now),
            Message::ArcSent(sent) => self.on_arc_sent(peer, sent, now),
            _ => return false,
        }
        true
    }

    fn on_announce(&mut self, peer: NodeId, announce: Announce, now: Now) -> bool {
        let core = &mut self.core;
        // It may have been sent before this node's word reached the child that the bond is over.
        let Some(holder) = self.directory.holder.as_mut() else { return true };
        if self.children.bond(&peer) != Some(Bond::Active) {
            return true;
        }
        let cause = (peer, Cause::Records);
        if !holder.may_cause(core, cause, 1 + announce.claims.len(), now) {
            return true;
        }
        holder.on_announce(core, peer, announce, now)
    }

    fn on_put(&mut self, peer: NodeId, put: Put, now: Now) {
        let core = &mut self.core;
        let Some(holder) = self.directory.holder.as_mut() else { return };
        let claims: usize = put.sources.iter().map(|source| 2 + source.claims.len()).sum();
        let work = put.nodes.len() * 2 + claims;
        // What was asked for has a grant of its own.
        if core.is_member_super(&peer, now.unix)
            && (holder.reach.may_bring(peer, work)
                || holder.may_cause(core, (peer, Cause::Records), work, now))
        {
            holder.on_put(core, peer, put, now);
        }
    }

    fn on_find(&mut self, peer: NodeId, find: Find, now: Now) {
        let core = &mut self.core;
        let child = self.children.bond(&peer) == Some(Bond::Active);
        let fellow = core.is_member_super(&peer, now.unix);
        let Some(holder) = self.directory.holder.as_mut().filter(|_| child || fellow) else {
            core.send(peer, Found::nothing(find.id, FindOutcome::NotAttached));
            return;
        };
        if !holder.may_cause(core, (peer, Cause::Questions), FIND_WORK, now) {
            core.send(peer, Found::nothing(find.id, FindOutcome::OverBudget));
        } else if child {
            holder.look_up(core, find.key, Asker::Child(peer, find.id), now);
        } else {
            holder.on_find(core, peer, find, now);
        }
    }

    fn on_found(&mut self, peer: NodeId, found: Found, now: Now) {
        match self.directory.holder.as_mut() {
            Some(holder) => holder.on_found(&mut self.core, peer, found, now),
            None => self.directory.finds.on_found(&mut self.core, peer, found, now),
        }
    }

    fn on_arc_wanted(&mut self, peer: NodeId, wanted: ArcWanted, now: Now) {
        let core = &mut self.core;
        let Some(holder) = self.directory.holder.as_mut() else { return };
        let cause = (peer, Cause::Questions);
        if core.is_member_super(&peer, now.unix) && holder.may_cause(core, cause, PAGE_COST, now) {
            holder.on_arc_wanted(core, peer, wanted, now);
        }
    }

    fn on_arc_sent(&mut self, peer: NodeId, sent: ArcSent, now: Now) {
        if let Some(holder) = self.directory.holder.as_mut() {
            holder.reach.on_sent(&mut self.core, peer, sent, now);
        }
    }

    /// The user looks something up.
    pub(crate) fn on_user_find(&mut self, id: QueryId, key: DirectoryKey, now: Now) {
        match self.directory.holder.as_mut() {
            Some(holder) => holder.look_up(&mut self.core, key, Asker::User(id), now),
            None => {
                let parent = self.join.parent();
                self.directory.finds.start(&mut self.core, parent, (id, key), now);
            }
        }
    }

    /// Does what the directory has to do, if it is time.
    pub(crate) fn step_directory(&mut self, now: Now) {
        let core = &mut self.core;
        self.directory.finds.step(core, now);
        self.announce(now);
        let core = &mut self.core;
        if let Some(holder) = self.directory.holder.as_mut() {
            holder.step(core, now);
        }
    }

    /// Says of this node what is to be said now.
    fn announce(&mut self, now: Now) {
        let core = &mut self.core;
        if let Some((to, announce)) = self.directory.announcer.step(core, now) {
            match self.directory.holder.as_mut().filter(|_| to == core.me) {
                // What a node signs itself is by the rules.
                Some(holder) => _ = holder.on_announce(core, to, announce, now),
                None => core.send(to, announce),
            }
        }
    }

    /// When [`Overlay::step_directory`] has something to do next.
    pub(crate) fn next_directory_wakeup(&self, now: Now) -> Option<Instant> {
        let holder = self.directory.holder.as_ref().and_then(|holder| holder.next_wakeup());
        let mut wake = crate::core::earlier(self.directory.finds.next_wakeup(), holder);
        if self.core.has_credential(now.unix) {
            wake = crate::core::earlier(wake, self.directory.announcer.next_wakeup());
        }
        wake
    }

    /// Looks from time to time at what may have changed without a word.
    pub(crate) fn tidy_directory(&mut self, now: Now) {
        self.directory.announcer.relocate(&self.core, now);
        if let Some(holder) = self.directory.holder.as_mut() {
            holder.reach.refresh(&mut self.core, now);
            holder.pass_waiting(&mut self.core, now);
            if self.children.take_gone() {
                holder.miss_children(&mut self.core, &self.children, now);
            }
        }
    }

    /// A message of the directory could not be delivered.
    pub(crate) fn on_directory_failed(&mut self, peer: NodeId, message: &Message, now: Now) {
        let Some(holder) = self.directory.holder.as_mut() else { return };
        match message {
            Message::Find(find) => holder.on_find_failed(&mut self.core, peer, find.id, now),
            Message::ArcWanted(_) => holder.reach.on_failed(peer),
            Message::Put(_) => self.core.counters.directory_puts_lost += 1,
            _ => {}
        }
    }

    /// A supernode has greeted.
    pub(crate) fn on_directory_linked(&mut self, peer: NodeId, now: Now) {
        if let Some(holder) = self.directory.holder.as_mut() {
            holder.outbox.on_linked(peer, now);
        }
    }

    /// There is a parent to announce to, which is done at once, and to ask.
    pub(crate) fn on_directory_parent(&mut self, parent: NodeId, now: Now) {
        self.directory.announcer.start(&mut self.core, parent, now);
        self.announce(now);
        self.directory.finds.on_parent(&mut self.core, parent, now);
    }

    /// There is none any more.
    pub(crate) fn on_directory_parent_lost(&mut self, parent: NodeId, now: Now) {
        self.directory.announcer.stop();
        self.directory.finds.on_parent_lost(parent, now);
    }

    /// This node is a supernode from now on.
    pub(crate) fn open_directory(&mut self, now: Now) {
        let me = self.core.me;
        self.directory.holder = Some(Box::new(Holder::new(&mut self.core, now)));
        self.directory.announcer.start(&mut self.core, me, now);
        for (id, key) in self.directory.finds.take_all() {
            self.on_user_find(id, key, now);
        }
    }

    /// This node is a supernode no more: others keep its records.
    pub(crate) fn close_directory(&mut self, now: Now) {
        self.directory.announcer.stop();
        if let Some(mut holder) = self.directory.holder.take() {
            holder.hand_over(&mut self.core, now);
            for (asker, key) in holder.take_lookups() {
                match asker {
                    Asker::User(id) => self.on_user_find(id, key, now),
                    Asker::Child(child, id) => {
                        self.core.send(child, Found::nothing(id, FindOutcome::NotAttached));
                    }
                }
            }
        }
    }

    /// This node ends: it says so where its name is looked up, and hands over what it keeps.
    pub(crate) fn leave_directory(&mut self, now: Now) {
        let core = &mut self.core;
        let farewell = self.directory.announcer.farewell(core, now);
        match (farewell, self.directory.holder.as_mut()) {
            (Some((to, announce)), Some(holder)) if to == core.me => {
                _ = holder.on_announce(core, to, announce, now);
            }
            (Some((to, announce)), _) => core.send(to, announce),
            (None, _) => {}
        }
        if let Some(holder) = self.directory.holder.as_mut() {
            holder.hand_over(core, now);
        }
    }

    /// What this node shares has changed.
    pub(crate) fn on_directory_change(
        &mut self,
        added: &[FileMeta],
        removed: &[ContentId],
        now: Now,
    ) {
        self.directory.announcer.on_change(&mut self.core, (added, removed), now);
    }

    /// What this node shares has changed in a way that is not known.
    pub(crate) fn on_directory_reset(&mut self, now: Now) {
        self.directory.announcer.on_reset(now);
    }

    /// A fresh credential came.
    pub(crate) fn on_directory_credential(&mut self, now: Now) {
        self.directory.announcer.on_credential(&mut self.core, now);
    }

    /// A download serves what it has, or does so no more.
    pub(crate) fn on_serving(&mut self, content: ContentId, serving: bool, now: Now) {
        self.directory.announcer.on_partial(&mut self.core, (content, serving), now);
    }

    /// A page of files came. Answers whether the directory had asked for it.
    pub(crate) fn on_directory_files(&mut self, page: u64, files: &[FileMeta], last: bool) -> bool {
        self.directory.announcer.on_files(page, files, last)
    }
}

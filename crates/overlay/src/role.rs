//! What this node is, and what follows when that changes.

use crate::allowance::Allowances;
use crate::election::{Office, RoleReason, Trial};
use crate::io::{Event, Now, Output};
use crate::overlay::Overlay;
use crate::tables::Tables;
use skein_proto::membership::SupernodeState;
use skein_proto::message::{PartingReason, RoleSetting};
use skein_proto::{NodeId, Role, SupernodeEntry};

impl Overlay {
    pub(crate) fn on_bootstrap(&mut self, entries: &[SupernodeEntry], invited: bool, now: Now) {
        self.core.hear_of(entries, true, now);
        self.neighbours.on_heard(now);
        self.join.on_bootstrap(&mut self.core, now, true);
        // Whoever has a parent by now was invited to a network that is no longer empty.
        let free = self.core.role == Role::Ordinary && self.join.parent().is_none();
        if invited && free && self.core.config.role == RoleSetting::Auto {
            self.become_super(RoleReason::FirstOfNetwork, now);
        }
    }

    pub(crate) fn set_role(&mut self, role: RoleSetting, now: Now) {
        self.core.config.role = role;
        match (role, self.core.role) {
            (RoleSetting::Super, Role::Ordinary) => self.become_super(RoleReason::UserWish, now),
            (RoleSetting::Ordinary, Role::Super) => self.become_ordinary(RoleReason::UserWish, now),
            (RoleSetting::Ordinary, Role::Ordinary) | (RoleSetting::Super, Role::Super) => {
                self.election.set_reason(RoleReason::UserWish, now.instant);
            }
            (RoleSetting::Auto, Role::Ordinary) if self.core.config.was_super => {
                self.become_super(RoleReason::WasSuper, now);
            }
            (RoleSetting::Auto, Role::Ordinary) => {
                self.election.set_reason(RoleReason::NotWeighed, now.instant);
            }
            (RoleSetting::Auto, Role::Super) => {
                self.election.set_reason(RoleReason::WasSuper, now.instant);
            }
        }
    }

    pub(crate) fn become_super(&mut self, reason: RoleReason, now: Now) {
        let to = PartingReason::MovedTo(self.core.me);
        let change = self.join.dissolve(&mut self.core, to);
        self.on_parent_change(change, now);
        self.core.role = Role::Super;
        let time = (now.instant, now.unix);
        // One that joins a running network first finds its place in it.
        let trial = Trial::of(&reason, &self.core.config, now.instant);
        let looks = trial.is_some_and(|trial| trial.is_brisk(0, now.instant));
        let warm = !looks && !matches!(reason, RoleReason::Invited { .. });
        let state = if warm { SupernodeState::Serving } else { SupernodeState::Warming };
        self.core.membership.announcer.start(state, time);
        self.core.membership.farewell = None;
        self.children.set_open(warm);
        self.election.office = Some(Box::new(Office::new(now, warm, trial)));
        self.open_directory(now);
        self.conduct.vouching.begin(now);
        self.next_beat = now.instant;
        if self.core.credential.is_some() {
            self.local_copy.start(&mut self.core);
        }
        self.role_changed(reason, now);
    }

    pub(crate) fn become_ordinary(&mut self, reason: RoleReason, now: Now) {
        self.election.office = None;
        self.local_copy.stop();
        self.close_directory(now);
        self.bid_farewell(now);
        self.vouch_for_all(now);
        self.children.dismiss_all(&mut self.core, PartingReason::Demoted);
        for wish in self.floods.give_up_users(&mut self.core) {
            self.searches.take_over(&mut self.core, wish, now);
        }
        self.neighbours.dissolve(&mut self.core, PartingReason::Demoted);
        self.children.index.remove_owner(&self.core.me);
        self.forget_supernodes_work(now);
        self.core.role = Role::Ordinary;
        self.core.config.was_super = false;
        self.join.on_credential(&mut self.core, now);
        self.role_changed(reason, now);
    }

    /// Lets go of what only a supernode needs.
    fn forget_supernodes_work(&mut self, now: Now) {
        self.tables = Tables::new(now.instant);
        // What is left in the index of those who have gone is none of the next table's past.
        self.children.index.forget_vocabulary();
        self.allowances = Allowances::default();
        self.floods.forget_answers();
    }

    fn role_changed(&mut self, reason: RoleReason, now: Now) {
        self.election.set_reason(reason.clone(), now.instant);
        let role = self.core.role;
        self.core.event(Event::RoleChanged { role, reason });
        let mut linked: Vec<NodeId> = self.core.peers.keys().copied().collect();
        linked.sort_unstable();
        for peer in linked {
            self.core.greet(peer);
        }
    }

    pub(crate) fn leave(&mut self, now: Now) {
        self.leaving = true;
        self.leave_directory(now);
        self.bid_farewell(now);
        if self.core.role == Role::Super {
            self.vouch_for_all(now);
        }
        self.remember_last_evidence();
        self.join.dissolve(&mut self.core, PartingReason::Leaving);
        self.children.dismiss_all(&mut self.core, PartingReason::Leaving);
        self.neighbours.dissolve(&mut self.core, PartingReason::Leaving);
        let remembered = self.core.known.to_remember();
        self.core.outputs.push_back(Output::RememberSupernodes(remembered));
    }
}

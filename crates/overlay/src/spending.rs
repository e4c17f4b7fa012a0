//! How the budgets of names travel between their parents and their keepers.

use crate::budget::Ask;
use crate::directory::COPIES;
use crate::directory::table::place_of;
use crate::io::Now;
use crate::overlay::Overlay;
use skein_proto::budget::{BudgetLeft, BudgetWanted, SpendReport};
use skein_proto::directory::{DirectoryKey, NodeRecord};
use skein_proto::{NodeId, Role, Username};

impl Overlay {
    /// Whether a child's name may search now; if so, it is accounted for.
    pub(crate) fn may_spend(&mut self, child: &NodeId, now: Now) -> bool {
        let Some(name) = self.core.peers.get(child).and_then(|peer| peer.name()).cloned() else {
            return false;
        };
        let bond = self.directory.bond_of(child, now);
        let spent = self.allowances.spend(&name, bond.is_some(), now.instant);
        if spent.report > 0 || spent.ask {
            let keepers = self.keepers(&name);
            if spent.ask {
                let asked = (keepers.len(), bond.is_some());
                self.allowances.asked(&name, asked, now.instant);
            }
            for keeper in keepers {
                self.consult(keeper, (&name, bond.as_ref()), (spent.report, spent.ask), now);
            }
        }
        self.core.counters.keepers_late += u64::from(spent.late);
        self.core.counters.names_over_budget += u64::from(!spent.granted);
        spent.granted
    }

    fn keepers(&self, name: &Username) -> Vec<NodeId> {
        self.core.membership.successors(place_of(&DirectoryKey::Name(name.clone())), COPIES)
    }

    fn consult(
        &mut self,
        keeper: NodeId,
        (name, record): (&Username, Option<&NodeRecord>),
        (spent, ask): (u16, bool),
        now: Now,
    ) {
        if keeper == self.core.me {
            if let Some(record) = record.filter(|_| spent > 0) {
                self.account_for(record, (keeper, spent), now);
            }
            if ask {
                let left = self.allowances.left(name, &keeper, now.instant);
                self.allowances.on_left(name, keeper, left, now.instant);
            }
            return;
        }
        if let Some(record) = record.filter(|_| spent > 0) {
            self.core.deliver(keeper, SpendReport { record: record.clone(), spent }, now);
        }
        if ask {
            self.core.deliver(keeper, BudgetWanted { name: name.clone() }, now);
        }
    }

    /// A supernode reports what a name has used: it is believed if it shows that a node of that
    /// name calls it its parent.
    pub(crate) fn on_spend_report(&mut self, peer: NodeId, report: &SpendReport, now: Now) {
        let name = &report.record.credential.unverified().name;
        let is_bond = self.may_consult(&peer, name, now)
            && self.directory.is_bond(&self.core, &report.record, &peer, now);
        if is_bond {
            self.account_for(&report.record, (peer, report.spent), now);
        } else {
            self.core.counters.spend_reports_refused += 1;
        }
    }

    /// A parent says what a node of its has used, and shows that the node calls it so.
    fn account_for(&mut self, record: &NodeRecord, (parent, spent): (NodeId, u16), now: Now) {
        let name = &record.credential.unverified().name;
        if self.directory.has_moved(record, &parent, now) {
            self.allowances.on_former(name, parent, now.instant);
            self.core.counters.spend_reports_refused += 1;
        } else {
            self.allowances.on_report(name, (parent, spent), now.instant);
        }
    }

    /// A supernode asks what is left of a name's budget.
    pub(crate) fn on_budget_wanted(&mut self, peer: NodeId, wanted: BudgetWanted, now: Now) {
        if self.may_consult(&peer, &wanted.name, now) {
            let left = self.allowances.left(&wanted.name, &peer, now.instant);
            self.core.send(peer, BudgetLeft { name: wanted.name, left });
        }
    }

    /// A keeper answers.
    pub(crate) fn on_budget_left(&mut self, peer: NodeId, answer: &BudgetLeft, now: Now) {
        if self.keepers(&answer.name).contains(&peer) {
            self.allowances.on_left(&answer.name, peer, answer.left, now.instant);
        }
    }

    fn may_consult(&mut self, peer: &NodeId, name: &Username, now: Now) -> bool {
        self.core.role == Role::Super
            && self.core.is_member_super(peer, now.unix)
            && self.keepers(name).contains(&self.core.me)
            && self.core.budgets.take(peer, Ask::Flood, now.instant)
    }
}

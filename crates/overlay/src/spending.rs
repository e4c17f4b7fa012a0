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
        if let Some(record) = bond.filter(|_| spent.report > 0 || spent.ask) {
            let keepers = self.keepers(&name);
            if spent.ask {
                self.allowances.asked(&name, keepers.len(), now.instant);
            }
            for keeper in keepers {
                self.consult(keeper, (&name, &record), (spent.report, spent.ask), now);
            }
        }
        self.core.counters.names_over_budget += u64::from(!spent.granted);
        spent.granted
    }

    fn keepers(&self, name: &Username) -> Vec<NodeId> {
        self.core.membership.successors(place_of(&DirectoryKey::Name(name.clone())), COPIES)
    }

    fn consult(
        &mut self,
        keeper: NodeId,
        (name, record): (&Username, &NodeRecord),
        (spent, ask): (u16, bool),
        now: Now,
    ) {
        if keeper == self.core.me {
            if spent > 0 {
                self.allowances.on_report(name, spent, now.instant);
            }
            if ask {
                let left = self.allowances.left(name, now.instant);
                self.allowances.on_left(name, keeper, left, now.instant);
            }
            return;
        }
        if spent > 0 {
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
        let believed = self.may_consult(&peer, name, now)
            && self.directory.is_bond(&self.core, &report.record, &peer, now);
        if believed {
            self.allowances.on_report(name, report.spent, now.instant);
        } else {
            self.core.counters.spend_reports_refused += 1;
        }
    }

    /// A supernode asks what is left of a name's budget.
    pub(crate) fn on_budget_wanted(&mut self, peer: NodeId, wanted: BudgetWanted, now: Now) {
        if self.may_consult(&peer, &wanted.name, now) {
            let left = self.allowances.left(&wanted.name, now.instant);
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

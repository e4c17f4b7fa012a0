//! How evidence comes to its owner, and from there to whoever wants to know.

use super::formula::Assessment;
use super::receipts::Receipts;
use super::vouching::Vouching;
use super::wallet::{Kept, Wallet};
use crate::io::{Now, Output};
use crate::overlay::Overlay;
use skein_proto::evidence::{
    AnyEvidence, Evidence, EvidenceRecord, PAGE, Receipt, ShowEvidence, Testimony, Vouched, Voucher,
};
use skein_proto::misconduct::{Accuse, Misconduct, Proof};
use skein_proto::{BoundedVec, NodeId, Role, Signed, UnixTime, Username};

/// A node's part in all of it.
#[derive(Debug)]
pub(crate) struct Conduct {
    pub(crate) wallet: Wallet,
    pub(crate) vouching: Vouching,
    pub(crate) receipts: Receipts,
    /// The latest voucher of the present day of those that this node is tied to, for comparison.
    latest: Vec<Signed<Voucher>>,
    /// The reputation of this node's own name, and the day that it was computed for.
    assessed: (u32, Assessment),
}

/// Vouchers kept for comparison: those of a parent, a standby and all neighbours.
const MAX_LATEST: usize = 64;

impl Conduct {
    /// One that may have vouched for others until `vouched` in an earlier run.
    pub(crate) fn new(now: Now, vouched: Option<UnixTime>) -> Self {
        Self {
            wallet: Wallet::default(),
            vouching: Vouching::new(now, vouched),
            receipts: Receipts::default(),
            latest: Vec::new(),
            assessed: Default::default(),
        }
    }
}

impl Overlay {
    /// Does what is due about reputations; with each tidying.
    pub(crate) fn tend_reputations(&mut self, now: Now) {
        let today = now.unix.day();
        if self.core.role == Role::Super && self.conduct.vouching.is_due(now) {
            let connected = self.connected(now);
            self.conduct.vouching.look(&mut self.core, connected, now);
        }
        let checked = self.core.reputations.check(&self.core.config.login_key, today);
        self.core.counters.evidence_refused += checked.refused;
        for proof in checked.proofs {
            self.accuse(proof, None);
        }
        self.assess_own(today);
        if let Some(own) = self.conduct.wallet.take_unwritten(now.instant) {
            self.remember_evidence(own);
        }
    }

    /// Those that this supernode vouches for: whoever has a bond or link with it and a name.
    fn connected(&self, now: Now) -> Vec<(NodeId, Username)> {
        let named = self.core.peers.iter().filter_map(|(node, peer)| {
            let name = &peer.valid_credential(now.unix)?.unverified().name;
            let tied = self.children.bond(node).is_some() || self.neighbours.is_linked(node);
            tied.then(|| (*node, name.clone()))
        });
        named.collect()
    }

    /// A last voucher for all of them: this node is about to leave, or no supernode any more.
    pub(crate) fn vouch_for_all(&mut self, now: Now) {
        let mut connected = self.connected(now);
        connected.sort_unstable();
        for (peer, name) in connected {
            self.conduct.vouching.sign(&mut self.core, peer, name, now);
        }
    }

    /// What was not written yet: this node is about to end.
    pub(crate) fn remember_last_evidence(&mut self) {
        if let Some(own) = self.conduct.wallet.take_last() {
            self.remember_evidence(own);
        }
    }

    fn remember_evidence(&mut self, own: Vec<AnyEvidence>) {
        let proofs = self.core.reputations.proofs().cloned();
        let record = EvidenceRecord {
            own: BoundedVec::truncated(own),
            proofs: BoundedVec::truncated(proofs),
        };
        self.core.outputs.push_back(Output::RememberEvidence(Box::new(record)));
    }

    /// Evidence of an earlier run.
    pub(crate) fn on_evidence_remembered(&mut self, record: EvidenceRecord, now: Now) {
        let login_key = self.core.config.login_key;
        self.core.reputations.pass_to(now.unix.day());
        for proof in record.proofs {
            // Those who were told of it then are not told again.
            let verdict = proof.verify(&login_key).map(|(name, day)| (name.clone(), day));
            match verdict {
                Ok((name, day)) => _ = self.core.reputations.convict(&name, day, proof),
                Err(_) => self.core.counters.accusations_refused += 1,
            }
        }
        let name = self.own_name();
        for statement in record.own {
            if name.as_ref().is_none_or(|name| name == statement.about()) {
                self.keep_evidence(statement, now);
            }
        }
        self.conduct.wallet.all_written();
    }

    fn keep_evidence(&mut self, statement: AnyEvidence, now: Now) {
        let login_key = self.core.config.login_key;
        match self.conduct.wallet.take(statement, &login_key, now.unix.day()) {
            Ok(Kept::Yes) => {
                self.core.counters.evidence_kept += 1;
                self.conduct.assessed.0 = 0;
            }
            Ok(Kept::NoBetter) => {}
            Err(_) => self.core.counters.evidence_refused += 1,
        }
    }

    /// Whether a statement is about this node's name and about these days.
    fn is_mine_and_fresh(&self, claim: &impl Testimony, now: Now) -> bool {
        let today = now.unix.day();
        self.own_name().is_some_and(|name| name == *claim.about())
            && claim.day().abs_diff(today) <= 1
    }

    pub(crate) fn on_vouched(&mut self, peer: NodeId, vouched: Vouched, now: Now) {
        if !self.may_ask(&peer, now) {
            return;
        }
        let said = vouched.voucher.unverified();
        let witness =
            self.core.peers.get(&peer).and_then(|p| p.valid_credential(now.unix)).cloned();
        let fits = said.parent == peer && self.is_above(&peer) && self.is_mine_and_fresh(said, now);
        let Some(witness) = witness.filter(|_| fits) else {
            self.core.counters.evidence_refused += 1;
            return;
        };
        if let Some(what) = self.contradicted(&vouched.voucher) {
            self.accuse(Proof { what, signer: witness }, Some(&peer));
            return;
        }
        let evidence = Evidence { claim: vouched.voucher, witness };
        self.keep_evidence(AnyEvidence::Voucher(evidence), now);
    }

    /// What a voucher proves against its signer, if anything.
    fn contradicted(&mut self, voucher: &Signed<Voucher>) -> Option<Misconduct> {
        let said = voucher.unverified();
        if !said.is_possible() {
            return Some(Misconduct::ImpossibleVoucher(voucher.clone()));
        }
        let latest = &mut self.conduct.latest;
        let place = latest.iter().position(|other| other.unverified().parent == said.parent);
        let before = place.map(|place| latest.remove(place));
        latest.truncate(MAX_LATEST - 1);
        latest.insert(0, voucher.clone());
        let before = before?;
        let (earlier, later) = if before.unverified().signed <= said.signed {
            (before, voucher.clone())
        } else {
            (voucher.clone(), before)
        };
        let what = Misconduct::Contradiction { earlier, later };
        what.is_impossible().then_some(what)
    }

    /// Somebody shows what others have signed about it.
    pub(crate) fn on_evidence_shown(&mut self, peer: NodeId, shown: ShowEvidence, now: Now) {
        if !self.may_ask(&peer, now) {
            return;
        }
        if self.core.credentials.check(&shown.owner, &peer, now.unix).is_err() {
            self.core.counters.credentials_refused += 1;
            return;
        }
        let name = &shown.owner.unverified().name;
        let count = shown.evidence.len() as u64;
        let own: Vec<AnyEvidence> =
            shown.evidence.into_iter().filter(|statement| statement.about() == name).collect();
        self.core.counters.evidence_refused += count - own.len() as u64;
        self.core.counters.evidence_over_limit += self.core.reputations.show(own);
    }

    /// Shows a peer what this node carries about its own name.
    pub(crate) fn show_evidence(&mut self, peer: NodeId) {
        for page in self.evidence_pages() {
            self.core.send(peer, page);
        }
    }

    /// What this node carries about its own name, as it is shown to others.
    pub fn evidence_pages(&self) -> Vec<ShowEvidence> {
        let Some(owner) = &self.core.credential else { return Vec::new() };
        let name = &owner.unverified().name;
        let all: Vec<&AnyEvidence> =
            self.conduct.wallet.all().filter(|statement| statement.about() == name).collect();
        let pages = all.chunks(PAGE).map(|page| ShowEvidence {
            owner: owner.clone(),
            evidence: BoundedVec::truncated(page.iter().copied().cloned()),
        });
        pages.collect()
    }

    /// A downloader has signed for bytes.
    pub(crate) fn on_receipt(&mut self, peer: NodeId, receipt: Evidence<Receipt>, now: Now) {
        if !self.may_ask(&peer, now) {
            return;
        }
        let said = receipt.claim.unverified();
        if said.downloader != peer || !self.is_mine_and_fresh(said, now) {
            self.core.counters.evidence_refused += 1;
            return;
        }
        self.core.counters.receipts_taken += 1;
        self.keep_evidence(AnyEvidence::Receipt(receipt), now);
    }

    pub(crate) fn on_accused(&mut self, peer: NodeId, accuse: Accuse, now: Now) {
        let from_child = self.children.bond(&peer).is_some();
        if !(from_child || self.is_above(&peer)) || !self.may_ask(&peer, now) {
            return;
        }
        if !self.accuse(accuse.proof, Some(&peer)) {
            self.misbehaved(peer, now);
        }
    }

    /// Takes in a proof of misconduct and passes it on. Answers whether it proves anything.
    fn accuse(&mut self, proof: Proof, from: Option<&NodeId>) -> bool {
        let verdict = proof.verify(&self.core.config.login_key);
        let Ok((name, day)) = verdict.map(|(name, day)| (name.clone(), day)) else {
            self.core.counters.accusations_refused += 1;
            return false;
        };
        if !self.core.reputations.convict(&name, day, proof.clone()) {
            return true;
        }
        self.core.counters.offences_proven += 1;
        self.conduct.wallet.must_be_written();
        self.conduct.assessed.0 = 0;
        let mut listeners: Vec<NodeId> = self.core.peers.keys().copied().collect();
        listeners.retain(|node| self.is_above(node) && from != Some(node));
        listeners.sort_unstable();
        for node in listeners {
            self.core.send(node, Accuse { proof: proof.clone() });
        }
        true
    }

    /// The reputation of a name, 0 to 1,000, as far as this node has seen evidence of it; 10 if it
    /// has seen none. Evidence is checked when it is first asked for, so a later answer may be
    /// another one.
    pub fn reputation_of(&self, name: &Username) -> u16 {
        self.core.reputations.of(name)
    }

    /// The reputation of this node's own name, with where it comes from; as of the last tidying.
    pub(crate) fn own_assessment(&self) -> Assessment {
        self.conduct.assessed.1
    }

    fn assess_own(&mut self, today: u32) {
        if self.conduct.assessed.0 != today {
            let name = self.own_name();
            let offences = name.map_or(&[][..], |name| self.core.reputations.offences(&name));
            self.conduct.assessed = (today, self.conduct.wallet.assess(offences, today));
        }
    }
}

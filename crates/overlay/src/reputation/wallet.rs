//! The evidence that a name carries about itself.

use super::claim::{Partner, claim};
use super::formula::{Assessment, Claim, Deed, FRESH_DAYS, assess};
use skein_proto::evidence::{AnyEvidence, EvidenceError, EvidenceRecord, MAX_CARRIED};
use skein_proto::{Instant, NodeId, Username};
use std::cmp::Reverse;
use std::time::Duration;

/// The least time between two writings to disk, so that a busy uploader does not write its 60 KiB
/// with every receipt. What came since the last one is lost when the process is killed; the next
/// total of the same day makes up for it.
const WRITE_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Held {
    claim: Claim<Partner>,
    evidence: AnyEvidence,
}

/// What became of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is carried from now on.
    Yes,
    /// What is carried already is worth as much or more.
    NoBetter,
}

/// The evidence that a name carries about itself: for each partner one voucher and one receipt,
/// the ones that are worth most, and [`MAX_CARRIED`] altogether.
#[derive(Debug, Default)]
pub(crate) struct Wallet {
    held: Vec<Held>,
    changed: bool,
    written: Option<Instant>,
}

impl Wallet {
    /// Takes evidence about this name in, once it is checked.
    pub(crate) fn take(
        &mut self,
        evidence: AnyEvidence,
        login_key: &NodeId,
        today: u32,
    ) -> Result<Kept, EvidenceError> {
        let claim = claim(&evidence, login_key)?;
        let new = Held { claim, evidence };
        match self.held.iter_mut().find(|held| same_subject(&held.claim, &claim)) {
            Some(held) if value(&new.claim, today) <= value(&held.claim, today) => {
                return Ok(Kept::NoBetter);
            }
            Some(held) => *held = new,
            None => self.held.push(new),
        }
        self.held.sort_by_key(|held| (Reverse(value(&held.claim, today)), held.claim.witness));
        self.held.truncate(MAX_CARRIED);
        self.changed = true;
        Ok(Kept::Yes)
    }

    /// Lets go of what speaks for another name: the user has changed it.
    pub(crate) fn keep_only(&mut self, name: &Username) {
        let before = self.held.len();
        self.held.retain(|held| held.evidence.about() == name);
        self.changed |= self.held.len() != before;
    }

    /// All of it, the most valuable first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &AnyEvidence> {
        self.held.iter().map(|held| &held.evidence)
    }

    /// What it comes to.
    pub(crate) fn assess(&self, offences: &[u32], today: u32) -> Assessment {
        assess(self.held.iter().map(|held| held.claim), offences, today)
    }

    /// What is to be written to disk now, if anything.
    pub(crate) fn take_unwritten(&mut self, now: Instant) -> Option<Vec<AnyEvidence>> {
        let due = self.written.is_none_or(|written| now.since(written) >= WRITE_PAUSE);
        if !self.changed || !due {
            return None;
        }
        self.changed = false;
        self.written = Some(now);
        Some(self.all().cloned().collect())
    }

    /// All of it, if not all of it is on disk: this node is about to end.
    pub(crate) fn take_last(&mut self) -> Option<Vec<AnyEvidence>> {
        self.written = None;
        self.take_unwritten(Instant::START)
    }

    /// What is kept beside it has changed.
    pub(crate) fn must_be_written(&mut self) {
        self.changed = true;
    }

    /// What is held is on disk already.
    pub(crate) fn all_written(&mut self) {
        self.changed = false;
    }
}

/// What a record comes to for its owner, as it is when the owner does not run.
pub fn assess_record(
    record: &EvidenceRecord,
    owner: &Username,
    login_key: &NodeId,
    today: u32,
) -> Assessment {
    let own = record.own.iter().filter(|evidence| evidence.about() == owner);
    let claims: Vec<Claim<Partner>> =
        own.filter_map(|evidence| claim(evidence, login_key).ok()).collect();
    let proven = record.proofs.iter().filter_map(|proof| proof.verify(login_key).ok());
    let offences: Vec<u32> =
        proven.filter(|(name, _)| *name == owner).map(|(_, day)| day).collect();
    assess(claims, &offences, today)
}

fn same_subject(a: &Claim<Partner>, b: &Claim<Partner>) -> bool {
    a.witness == b.witness
        && matches!(a.deed, Deed::Sent { .. }) == matches!(b.deed, Deed::Sent { .. })
}

/// How much a claim is worth keeping: what it will be worth when that of today begins to fade, so
/// that the younger of two equal ones is kept.
fn value(claim: &Claim<Partner>, today: u32) -> (u64, u32) {
    (claim.worth(today.saturating_add(FRESH_DAYS)), claim.day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::reputation::testing::{DAY, Person, login};
    use skein_proto::BoundedVec;
    use skein_proto::misconduct::{Misconduct, Proof};

    fn take(wallet: &mut Wallet, evidence: AnyEvidence) -> Kept {
        wallet.take(evidence, &login().node_id(), DAY).expect("sound evidence")
    }

    #[test]
    fn a_running_total_replaces_the_one_before_and_is_not_replaced_by_it() {
        let (uma, dan) = (Person::new("uma"), Person::new("dan"));
        let mut wallet = Wallet::default();
        assert_eq!(take(&mut wallet, dan.receipt(&uma, DAY, 10 << 20)), Kept::Yes);
        assert_eq!(take(&mut wallet, dan.receipt(&uma, DAY, 20 << 20)), Kept::Yes);
        for bytes in [10 << 20, 20 << 20] {
            assert_eq!(take(&mut wallet, dan.receipt(&uma, DAY, bytes)), Kept::NoBetter, "replay");
        }
        assert_eq!(wallet.all().count(), 1);
        assert_eq!(wallet.assess(&[], DAY).byte_partners, 1);
    }

    #[test]
    fn two_nodes_of_one_name_are_one_witness() {
        let (uma, dan, again) = (Person::new("uma"), Person::new("dan"), Person::again("dan", 2));
        let mut wallet = Wallet::default();
        take(&mut wallet, dan.receipt(&uma, DAY, 1 << 30));
        assert_eq!(take(&mut wallet, again.receipt(&uma, DAY, 1 << 30)), Kept::NoBetter);
        take(&mut wallet, again.voucher(&uma, DAY, 3_600));
        let assessment = wallet.assess(&[], DAY);
        assert_eq!((assessment.partners, assessment.credit), (1, 1_000));
    }

    #[test]
    fn what_is_forged_or_self_praise_is_refused() {
        let (uma, eve) = (Person::new("uma"), Person::new("eve"));
        let mut wallet = Wallet::default();
        let mut refused = |evidence| wallet.take(evidence, &login().node_id(), DAY).err();
        assert_eq!(refused(uma.receipt(&uma, DAY, 1)), Some(EvidenceError::SelfPraise));
        let own_node = Person::again("uma", 7);
        assert_eq!(refused(own_node.voucher(&uma, DAY, 60)), Some(EvidenceError::SelfPraise));
        assert_eq!(
            refused(eve.as_if_by("dan").voucher(&uma, DAY, 60)),
            Some(EvidenceError::Forged)
        );
        assert_eq!(wallet.all().count(), 0);
    }

    #[test]
    fn the_least_valuable_goes_when_there_is_no_room() {
        let uma = Person::new("uma");
        let mut wallet = Wallet::default();
        let small = Person::new("small");
        take(&mut wallet, small.voucher(&uma, DAY, 60));
        for number in 0..MAX_CARRIED {
            let witness = Person::new(&format!("witness{number}"));
            take(&mut wallet, witness.voucher(&uma, DAY, 3_000));
        }
        assert_eq!(wallet.all().count(), MAX_CARRIED);
        assert!(wallet.assess(&[], DAY).credit > 255 * 900, "the one of a minute is gone");
    }

    #[test]
    fn a_record_comes_to_what_the_wallet_does_less_what_is_proven() {
        let (uma, dan) = (Person::new("uma"), Person::new("dan"));
        let mut wallet = Wallet::default();
        for number in 0..40 {
            take(
                &mut wallet,
                Person::new(&format!("w{number}")).voucher(&uma, DAY - number, 3_600),
            );
        }
        let mut own: Vec<AnyEvidence> = wallet.all().cloned().collect();
        own.push(dan.voucher(&Person::new("other"), DAY, 3_600));
        let mut record =
            EvidenceRecord { own: BoundedVec::truncated(own), ..EvidenceRecord::default() };
        let assessed = |record: &_| assess_record(record, &uma.name, &login().node_id(), DAY);
        assert_eq!(assessed(&record), wallet.assess(&[], DAY));
        assert!(assessed(&record).reputation > 100);
        let lie = uma.signed_voucher(&dan, DAY, 90_000);
        let what = Misconduct::ImpossibleVoucher(lie);
        record.proofs = BoundedVec::truncated([Proof { what, signer: uma.credential(DAY) }]);
        assert_eq!((assessed(&record).reputation, assessed(&record).lost), (0, 500));
    }

    #[test]
    fn nothing_is_written_twice_and_not_too_often() {
        let (uma, dan) = (Person::new("uma"), Person::new("dan"));
        let mut wallet = Wallet::default();
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        take(&mut wallet, dan.receipt(&uma, DAY, 1 << 20));
        assert_eq!(wallet.take_unwritten(at(1)).map(|all| all.len()), Some(1));
        assert!(wallet.take_unwritten(at(100)).is_none());
        take(&mut wallet, dan.receipt(&uma, DAY, 2 << 20));
        assert!(wallet.take_unwritten(at(5)).is_none());
        assert!(wallet.take_unwritten(at(11)).is_some());
        assert!(wallet.take_last().is_none());
    }
}

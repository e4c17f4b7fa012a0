//! The reputations of those whose evidence this node has seen.

use super::claim::{Partner, claim};
use super::formula::{Assessment, Claim, LOSS_DAYS, START, assess, loss};
use crate::hashed::{HashMap, HashSet};
use skein_proto::evidence::{AnyEvidence, EvidenceError, MAX_CARRIED, MAX_PROOFS};
use skein_proto::misconduct::{Misconduct, Proof};
use skein_proto::{NodeId, Username};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names whose evidence is kept in mind: several times the children that a supernode has. An entry
/// that was checked takes up to 12 KiB, for the 256 statements of somebody well known, one that
/// was not checked yet up to 100 KiB.
const MAX_NAMES: usize = 1_024;

/// Statements of one name that are kept: all that it may carry, twice.
const MAX_SEEN: usize = 2 * MAX_CARRIED;

/// Statements of all names together that wait to be checked; each takes about 300 bytes.
const MAX_UNCHECKED: usize = 16_384;

/// Names whose offences are kept in mind; an entry takes about 100 bytes.
const MAX_OFFENDERS: usize = 4_096;

/// Offences of one name that are kept: three of them take all that there is.
const MAX_OFFENCES: usize = 8;

/// Statements that are checked at a time: with two signatures each, some 10 ms.
const CHECKS: usize = 100;

/// What is known of one name.
#[derive(Debug, Default)]
struct Entry {
    /// Shown and not looked at yet.
    unchecked: Vec<AnyEvidence>,
    /// What was shown once, so that it is not looked at again.
    seen: HashSet<u64>,
    claims: Vec<Claim<Partner>>,
    assessment: Option<(u32, Assessment)>,
    /// Something that the assessment rests on has changed.
    stale: bool,
    /// Somebody has asked for the reputation since it was last computed.
    wanted: AtomicBool,
    shown: u64,
    /// When some of it was last checked, for the turns to go round.
    turn: u64,
}

/// Days of offences, the proven ones and those that only this node knows of.
#[derive(Debug, Default)]
struct Offences {
    proven: Vec<u32>,
    own: Vec<u32>,
}

/// What was not taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// How many statements were not sound.
    pub(crate) refused: u64,
    /// Statements that prove an offence of whoever signed them.
    pub(crate) proofs: Vec<Proof>,
}

/// The reputations of those whose evidence this node has seen.
#[derive(Debug, Default)]
pub(crate) struct Reputations {
    names: HashMap<Username, Entry>,
    /// Whether any of them may be wanted.
    asked: AtomicBool,
    offenders: HashMap<Username, Offences>,
    guilty: HashSet<Partner>,
    /// What proves the offences, the youngest first.
    proofs: BTreeMap<(Reverse<u32>, Username), Proof>,
    unchecked: usize,
    /// Statements that had to make room since the last time that somebody was told.
    dropped: u64,
    today: u32,
    clock: u64,
}

impl Reputations {
    /// The reputation of a name, 0 to 1,000; that of a newcomer if nothing is known. Evidence that
    /// was shown is checked only when somebody has asked, so a later answer may be another one.
    pub(crate) fn of(&self, name: &Username) -> u16 {
        let earned = self.names.get(name).and_then(|entry| {
            entry.wanted.store(true, Ordering::Relaxed);
            self.asked.store(true, Ordering::Relaxed);
            entry.assessment.map(|(_, assessment)| assessment.reputation)
        });
        let lost = |days: &[u32]| loss(days, self.today);
        let offences = self.offenders.get(name);
        let own = offences.map_or(0, |offences| lost(&offences.own));
        // What is proven is part of the assessment where there is one.
        let earned = earned.unwrap_or_else(|| START.saturating_sub(lost(self.offences(name))));
        earned.saturating_sub(own)
    }

    /// The days of proven offences of a name.
    pub(crate) fn offences(&self, name: &Username) -> &[u32] {
        self.offenders.get(name).map_or(&[], |offences| offences.proven.as_slice())
    }

    /// Keeps what was shown until somebody wants to know. Answers how many statements there was no
    /// room for.
    pub(crate) fn show(&mut self, evidence: impl IntoIterator<Item = AnyEvidence>) -> u64 {
        self.clock += 1;
        let mut over = 0;
        for statement in evidence {
            over += u64::from(!self.keep(statement));
        }
        over + std::mem::take(&mut self.dropped)
    }

    fn keep(&mut self, statement: AnyEvidence) -> bool {
        if self.unchecked >= MAX_UNCHECKED && !self.make_room(statement.about()) {
            return false;
        }
        if !self.names.contains_key(statement.about()) && self.names.len() >= MAX_NAMES {
            self.forget_oldest();
        }
        let clock = self.clock;
        let entry = self.names.entry(statement.about().clone()).or_default();
        entry.shown = clock;
        if entry.unchecked.len() >= MAX_CARRIED {
            return false;
        }
        if entry.seen.len() >= MAX_SEEN {
            if !entry.unchecked.is_empty() {
                return false;
            }
            // Most of it has been replaced by now: what still counts is shown again.
            (entry.seen, entry.claims) = Default::default();
        }
        if entry.seen.insert(digest(&statement)) {
            entry.unchecked.push(statement);
            self.unchecked += 1;
        }
        true
    }

    /// Forgets what the name that has shown the most, and whom nobody asked for, waits to have
    /// checked: names that nobody asks for would keep all the room for ever. It may show it again.
    fn make_room(&mut self, besides: &Username) -> bool {
        let idle = self.names.iter_mut().filter(|(name, entry)| {
            *name != besides && !entry.unchecked.is_empty() && !entry.wanted.load(Ordering::Relaxed)
        });
        let most = idle.max_by_key(|(name, entry)| (entry.unchecked.len(), *name));
        let Some((_, entry)) = most else { return false };
        self.unchecked -= entry.unchecked.len();
        self.dropped += entry.unchecked.len() as u64;
        for statement in std::mem::take(&mut entry.unchecked) {
            entry.seen.remove(&digest(&statement));
        }
        true
    }

    fn forget_oldest(&mut self) {
        let oldest = self.names.iter().min_by_key(|(name, entry)| (entry.shown, *name));
        if let Some(name) = oldest.map(|(name, _)| name.clone())
            && let Some(entry) = self.names.remove(&name)
        {
            self.unchecked -= entry.unchecked.len();
        }
    }

    /// Checks some of what was shown of those that somebody has asked for.
    pub(crate) fn check(&mut self, login_key: &NodeId, today: u32) -> Checked {
        self.pass_to(today);
        let mut checked = Checked::default();
        if !std::mem::take(self.asked.get_mut()) {
            return checked;
        }
        let mut left = CHECKS;
        let mut wanted: Vec<(u64, Username)> = self
            .names
            .iter()
            .filter(|(_, entry)| entry.wanted.load(Ordering::Relaxed))
            .map(|(name, entry)| (entry.turn, name.clone()))
            .collect();
        // Whoever waited longest comes first: else one that never ends would hold up all others.
        wanted.sort_unstable();
        for (_, name) in wanted {
            let offences = self.offences(&name).to_vec();
            let Some(entry) = self.names.get_mut(&name) else { continue };
            let count = entry.unchecked.len().min(left);
            left -= count;
            if count > 0 {
                self.clock += 1;
                entry.turn = self.clock;
            }
            self.unchecked -= count;
            for statement in entry.unchecked.drain(..count) {
                match claim(&statement, login_key) {
                    Ok(claim) => entry.claims.push(claim),
                    Err(EvidenceError::Impossible) => {
                        checked.refused += 1;
                        checked.proofs.push(proof(statement));
                    }
                    Err(_) => checked.refused += 1,
                }
            }
            let outdated = entry.assessment.is_none_or(|(day, _)| day != today);
            if count > 0 || outdated || entry.stale {
                let guilty = &self.guilty;
                let heard = entry.claims.iter().filter(|claim| !guilty.contains(&claim.witness));
                entry.assessment = Some((today, assess(heard.copied(), &offences, today)));
                entry.stale = false;
            }
            let is_left = !entry.unchecked.is_empty();
            entry.wanted.store(is_left, Ordering::Relaxed);
            *self.asked.get_mut() |= is_left;
        }
        checked
    }

    /// A proven offence of a name. Answers whether it is news.
    pub(crate) fn convict(&mut self, name: &Username, day: u32, proof: Proof) -> bool {
        if is_over(day, self.today) {
            return false;
        }
        let Some(offences) = self.offences_mut(name) else { return false };
        if offences.proven.contains(&day) || offences.proven.len() >= MAX_OFFENCES {
            return false;
        }
        offences.proven.push(day);
        self.guilty.insert(Partner::of(name));
        self.proofs.insert((Reverse(day), name.clone()), proof);
        if self.proofs.len() > MAX_PROOFS {
            self.proofs.pop_last();
        }
        // Whatever this name has signed counts no more, for anybody.
        for entry in self.names.values_mut() {
            entry.stale = true;
            entry.wanted.store(true, Ordering::Relaxed);
            self.asked.store(true, Ordering::Relaxed);
        }
        if let Some(entry) = self.names.get_mut(name) {
            entry.assessment = None;
        }
        true
    }

    /// What proves the offences of these days, the youngest first; at most [`MAX_PROOFS`].
    pub(crate) fn proofs(&self) -> impl Iterator<Item = &Proof> {
        self.proofs.values()
    }

    /// Forgets offences that take nothing any more, once a day.
    pub(crate) fn pass_to(&mut self, today: u32) {
        if self.today == today {
            return;
        }
        self.today = today;
        self.proofs.retain(|(Reverse(day), _), _| !is_over(*day, today));
        let guilty = &mut self.guilty;
        self.offenders.retain(|name, offences| {
            offences.proven.retain(|day| !is_over(*day, today));
            offences.own.retain(|day| !is_over(*day, today));
            if offences.proven.is_empty() {
                guilty.remove(&Partner::of(name));
            }
            !(offences.proven.is_empty() && offences.own.is_empty())
        });
    }

    /// An offence that only this node knows of, such as wrong bytes: it changes nobody else's view.
    pub(crate) fn blame(&mut self, name: &Username, day: u32) {
        if let Some(offences) = self.offences_mut(name)
            && offences.own.len() < MAX_OFFENCES
            && !offences.own.contains(&day)
        {
            offences.own.push(day);
        }
    }

    fn offences_mut(&mut self, name: &Username) -> Option<&mut Offences> {
        if self.offenders.len() >= MAX_OFFENDERS && !self.offenders.contains_key(name) {
            return None;
        }
        Some(self.offenders.entry(name.clone()).or_default())
    }
}

/// Whether an offence of that day is so old that it takes nothing any more.
fn is_over(day: u32, today: u32) -> bool {
    today.saturating_sub(day) >= LOSS_DAYS
}

/// What makes an impossible statement a proof.
fn proof(statement: AnyEvidence) -> Proof {
    let (what, signer) = match statement {
        AnyEvidence::Voucher(said) => (Misconduct::ImpossibleVoucher(said.claim), said.witness),
        AnyEvidence::Receipt(said) => (Misconduct::ImpossibleReceipt(said.claim), said.witness),
    };
    Proof { what, signer }
}

fn digest(statement: &AnyEvidence) -> u64 {
    let hash = blake3::hash(&skein_proto::codec::encode_statement(statement));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::reputation::testing::{DAY, Person, login};

    /// Evidence of a month of three partners a day.
    fn month(uma: &Person) -> Vec<AnyEvidence> {
        (0..90)
            .map(|n| Person::new(&format!("parent{n}")).voucher(uma, DAY - n % 30, 3_600))
            .collect()
    }

    fn checked(table: &mut Reputations, name: &Username) -> u16 {
        let _ = table.of(name);
        table.check(&login().node_id(), DAY);
        table.of(name)
    }

    #[test]
    fn a_name_of_which_nothing_is_known_has_the_reputation_of_a_newcomer() {
        assert_eq!(Reputations::default().of(&Person::new("nobody").name), 10);
    }

    #[test]
    fn evidence_is_checked_when_somebody_asks_and_not_before() {
        let uma = Person::new("uma");
        let mut table = Reputations::default();
        assert_eq!(table.show(month(&uma)), 0);
        table.check(&login().node_id(), DAY);
        assert_eq!(table.unchecked, 90);
        assert_eq!(table.of(&uma.name), 10, "nobody has asked before");
        table.check(&login().node_id(), DAY);
        assert_eq!((table.of(&uma.name), table.unchecked), (453, 0));
    }

    #[test]
    fn what_was_shown_before_is_not_looked_at_again() {
        let uma = Person::new("uma");
        let mut table = Reputations::default();
        table.show(month(&uma));
        let before = checked(&mut table, &uma.name);
        assert_eq!(table.show(month(&uma)), 0);
        assert_eq!(table.unchecked, 0);
        assert_eq!(checked(&mut table, &uma.name), before);
    }

    #[test]
    fn an_impossible_statement_convicts_its_signer_and_whatever_else_it_signed() {
        let uma = Person::new("uma");
        let liar = Person::new("parent7");
        let mut table = Reputations::default();
        table.show(month(&uma).into_iter().chain([liar.voucher(&uma, DAY, 90_000)]));
        let before = checked(&mut table, &uma.name);
        table.show([liar.voucher(&uma, DAY - 40, 90_000)]);
        let _ = table.of(&uma.name);
        let found = table.check(&login().node_id(), DAY);
        assert_eq!((found.refused, found.proofs.len()), (1, 1));
        let (name, day) = found.proofs[0].verify(&login().node_id()).expect("a proof");
        let proof = found.proofs[0].clone();
        assert!(table.convict(&name.clone(), day, proof.clone()), "it is news");
        assert!(!table.convict(&liar.name, day, proof), "and then it is not");
        assert_eq!(table.of(&liar.name), 0);
        assert!(checked(&mut table, &uma.name) < before);
    }

    #[test]
    fn a_proof_is_kept_until_the_offence_takes_nothing_any_more() {
        let (uma, liar) = (Person::new("uma"), Person::new("liar"));
        let mut table = Reputations::default();
        table.pass_to(DAY);
        let proof = proof(liar.voucher(&uma, DAY, 90_000));
        assert!(table.convict(&liar.name, DAY, proof.clone()));
        table.pass_to(DAY + LOSS_DAYS - 1);
        assert_eq!(table.proofs().collect::<Vec<_>>(), [&proof]);
        table.pass_to(DAY + LOSS_DAYS);
        assert_eq!((table.proofs().count(), table.offenders.len(), table.guilty.len()), (0, 0, 0));
        assert!(!table.convict(&liar.name, DAY, proof), "it is too old to be news");
    }

    #[test]
    fn the_youngest_of_many_proofs_are_kept() {
        let (uma, liar) = (Person::new("uma"), Person::new("liar"));
        let mut table = Reputations::default();
        table.pass_to(DAY);
        let proof = proof(liar.voucher(&uma, DAY, 90_000));
        for number in 0..MAX_PROOFS as u32 + 20 {
            let name = Person::new(&format!("liar{number}")).name;
            assert!(table.convict(&name, DAY - number % 100, proof.clone()));
        }
        assert_eq!(table.proofs().count(), MAX_PROOFS);
        let oldest = table.proofs.keys().map(|(Reverse(day), _)| *day).min();
        assert!(oldest.is_some_and(|day| day > DAY - 99), "{oldest:?}");
    }

    #[test]
    fn blame_is_this_nodes_own_view() {
        let uma = Person::new("uma");
        let mut table = Reputations::default();
        table.show(month(&uma));
        assert!(checked(&mut table, &uma.name) > 400);
        table.blame(&uma.name, DAY);
        assert_eq!(table.of(&uma.name), 0);
        assert_eq!(table.offences(&uma.name), &[] as &[u32], "nothing of it is told");
    }

    #[test]
    fn names_that_nobody_asks_for_do_not_keep_the_room_of_others() {
        let mut table = Reputations::default();
        let witness = Person::new("witness");
        for number in 0..MAX_UNCHECKED / MAX_CARRIED {
            let name = Person::new(&format!("idle{number}"));
            table.show((0..MAX_CARRIED as u32).map(|secs| witness.voucher(&name, DAY, secs)));
        }
        assert_eq!(table.unchecked, MAX_UNCHECKED);
        let uma = Person::new("uma");
        assert_eq!(table.show(month(&uma)), MAX_CARRIED as u64, "one of them makes room");
        assert_eq!(checked(&mut table, &uma.name), 453);
    }

    #[test]
    fn one_that_shows_more_and_more_does_not_hold_up_others() {
        let mut table = Reputations::default();
        let (witness, first) = (Person::new("witness"), Person::new("aaa"));
        let uma = Person::new("uma");
        table.show(month(&uma));
        let mut made_up = (0..).map(|secs| witness.voucher(&first, DAY, secs));
        for _ in 0..3 {
            table.show(made_up.by_ref().take(CHECKS));
            let _ = (table.of(&first.name), table.of(&uma.name));
            table.check(&login().node_id(), DAY);
        }
        assert_eq!(table.of(&uma.name), 453);
    }

    #[test]
    fn a_conviction_takes_nothing_from_those_who_have_nothing_to_do_with_it() {
        let (uma, liar) = (Person::new("uma"), Person::new("liar"));
        let mut table = Reputations::default();
        table.show(month(&uma));
        assert_eq!(checked(&mut table, &uma.name), 453);
        let proof = proof(liar.voucher(&uma, DAY, 90_000));
        assert!(table.convict(&liar.name, DAY, proof));
        assert_eq!((table.of(&uma.name), table.of(&liar.name)), (453, 0));
    }

    #[test]
    fn a_flood_of_statements_takes_no_more_than_its_room() {
        let mut table = Reputations::default();
        let mut over = 0;
        let witness = Person::new("witness");
        for number in 0..MAX_NAMES + 50 {
            let name = Person::new(&format!("name{number}"));
            over += table.show((0..20).map(|secs| witness.voucher(&name, DAY, secs)));
        }
        assert!(table.names.len() <= MAX_NAMES && table.unchecked <= MAX_UNCHECKED && over > 0);
        let held: usize = table.names.values().map(|entry| entry.unchecked.len()).sum();
        assert_eq!(held, table.unchecked);
    }
}

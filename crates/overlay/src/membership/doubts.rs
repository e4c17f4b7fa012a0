//! Whether a supernode that does not answer is dead.
//!
//! After SWIM (Das, Gupta and Motivala, DSN 2002): whoever cannot reach a supernode says so with
//! the version of the record that it had (a suspicion); a fresher record refutes it. Unlike there,
//! nobody probes: a neighbour link that broke or a dial that failed is what begins it, and one
//! witness is not enough, since a witness may lie.

use skein_proto::{Instant, NodeId, Username};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Witnesses, of distinct names, that it takes to condemn; fewer where there are not as many
/// supernodes. Two that collude can hurt nobody, and of the 30 and more neighbours of one that is
/// dead, three are soon found.
pub(crate) const WITNESSES: usize = 3;

/// Witnesses kept for one subject: some more than needed, for those that are not believed
/// elsewhere.
const MAX_WITNESSES: usize = 5;

/// How long a condemned supernode has to refute: the word reaches it, and its answer everybody, in
/// two to three seconds each.
const GRACE: Duration = Duration::from_secs(6);

/// How long before a lost neighbour is dialled again: it may come back by itself.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// How long a dial may take.
const DIAL_PATIENCE: Duration = Duration::from_secs(8);

/// Of all neighbours of the subject, so many speak at once, on average; of 40 that notice, few need
/// to. The others wait until the word of the first ones would have come.
const SPEAKERS: f64 = 6.0;
const TESTIMONY_PAUSE: Duration = Duration::from_secs(1);
const LATE_TESTIMONY: Duration = Duration::from_secs(5);

/// How long one that greets as an ordinary node may take at least to say itself that it is no
/// supernode any more: until it has a parent, and that one has told the others.
const RENOUNCED: Duration = Duration::from_secs(5);

/// How long after its testimony a witness tries once more. What fails again is dead to this node,
/// whatever others say: so two supernodes that survive alone do not wait for a third witness.
const RECHECK: Duration = Duration::from_secs(30);

/// Links lost within that time count together: when it was more than half of all, this node's own
/// line is the likelier reason (compare the local health of Lifeguard, Dadgar et al. 2018).
const SAME_CAUSE: Duration = Duration::from_secs(15);

/// Suspicions of one witness that are open at a time: one of 50 neighbours sees 15 die when 30 %
/// of all supernodes do.
const MAX_OPEN: u32 = 32;

/// A witness whose suspicions of so many were refuted is not believed any more; one is forgiven
/// each [`FORGIVENESS`]. Of one and the same, a witness is believed once in that time, and blamed
/// once: a supernode that cuts its links and then says that it is there cannot discredit its
/// neighbours, nor can a witness have the same one speak again and again.
const MAX_FALSE_ALARMS: u32 = 6;
const FORGIVENESS: Duration = Duration::from_secs(600);

/// Subjects that are suspected at a time, and witnesses kept in mind.
const MAX_SUBJECTS: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be dialled then.
    Check(Instant),
    /// It is being dialled until then; `again` if this node has testified already.
    Dialled { until: Instant, again: bool },
    /// The dial has failed: to be told to others then.
    Testify(Instant),
    /// Told. To be dialled once more then.
    Testified(Instant),
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    version: u64,
    stage: Stage,
}

#[derive(Clone, Debug)]
struct Accused {
    version: u64,
    witnesses: Vec<(NodeId, Username)>,
    /// When it is taken for dead, once enough have spoken.
    condemned: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Credit {
    open: u32,
    false_alarms: u32,
}

/// What is to be done about a supernode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// See whether it answers.
    Dial(NodeId),
    /// Tell others that this version of it does not.
    Testify(NodeId, u64),
    /// This version of it is dead.
    Bury(NodeId, u64),
}

/// What this node and others think of those that do not answer.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    own: BTreeMap<NodeId, Doubt>,
    accused: BTreeMap<NodeId, Accused>,
    witnesses: BTreeMap<NodeId, Credit>,
    /// Whose suspicions of whom were refuted lately.
    refuted: BTreeSet<(NodeId, NodeId)>,
    losses: VecDeque<(Instant, NodeId)>,
    forgiven_at: Option<Instant>,
}

impl Doubts {
    /// A neighbour link broke without a goodbye. `jitter` is between 0 and 1.
    pub(crate) fn on_neighbour_lost(
        &mut self,
        node: NodeId,
        version: u64,
        jitter: f64,
        now: Instant,
    ) {
        self.forget_losses(now);
        // One that comes and goes is one.
        if self.losses.iter().all(|(_, lost)| *lost != node) {
            self.losses.push_back((now, node));
        }
        let stage = Stage::Check(now + CHECK_PAUSE.mul_f64(0.2 + jitter));
        self.begin(node, Doubt { version, stage });
    }

    /// A dial to a supernode, which has so many neighbours, failed, for whatever it was meant.
    /// Answers whether it is dead to this node from now on.
    pub(crate) fn on_dial_failed(
        &mut self,
        node: NodeId,
        (version, neighbours): (u64, u32),
        jitter: f64,
        now: Instant,
    ) -> bool {
        let stage = Stage::Testify(now + testimony_pause(neighbours, jitter));
        match self.own.get(&node).copied() {
            Some(doubt) if doubt.version == version => match doubt.stage {
                Stage::Dialled { again: true, .. } => {
                    self.own.remove(&node);
                    return true;
                }
                Stage::Check(_) | Stage::Dialled { .. } => {
                    self.own.insert(node, Doubt { version, stage });
                }
                Stage::Testify(_) | Stage::Testified(_) => {}
            },
            _ => self.begin(node, Doubt { version, stage }),
        }
        false
    }

    fn begin(&mut self, node: NodeId, doubt: Doubt) {
        if self.own.len() < MAX_SUBJECTS || self.own.contains_key(&node) {
            self.own.insert(node, doubt);
        }
    }

    /// It is there, and says that it is a supernode.
    pub(crate) fn on_greeted(&mut self, node: &NodeId) {
        self.own.remove(node);
    }

    /// It is there, and says that it is no supernode: that is told as if it were not there, unless
    /// it says so itself before. `jitter` is between 0 and 1.
    pub(crate) fn on_renounced(&mut self, node: NodeId, version: u64, jitter: f64, now: Instant) {
        let known = self.own.get(&node).is_some_and(|doubt| {
            doubt.version == version
                && matches!(doubt.stage, Stage::Testify(_) | Stage::Testified(_))
        });
        if !known {
            let stage = Stage::Testify(now + RENOUNCED.mul_f64(1.0 + jitter));
            self.begin(node, Doubt { version, stage });
        }
    }

    /// It has said something newer than `version`; `restarted` if it is not the same run of it,
    /// so that those who had doubts were right.
    pub(crate) fn on_refuted(&mut self, node: &NodeId, restarted: bool) -> bool {
        self.own.remove(node);
        let Some(accused) = self.accused.remove(node) else { return false };
        for (witness, _) in accused.witnesses {
            if let Some(credit) = self.witnesses.get_mut(&witness) {
                credit.open = credit.open.saturating_sub(1);
                let room = self.refuted.len() < MAX_SUBJECTS;
                if !restarted && (!room || self.refuted.insert((*node, witness))) {
                    credit.false_alarms = credit.false_alarms.saturating_add(1);
                }
            }
        }
        true
    }

    /// Whether somebody says that it does not answer.
    pub(crate) fn is_accused(&self, node: &NodeId) -> bool {
        self.accused.contains_key(node)
    }

    /// Those that are missed: this node has lost them or could not reach them, or enough others say
    /// that they could not. They may be back before they are taken for dead.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &NodeId> {
        let condemned = self.accused.iter().filter(|(_, accused)| accused.condemned.is_some());
        self.own.keys().chain(condemned.map(|(node, _)| node))
    }

    /// It is gone, dead or not.
    pub(crate) fn on_gone(&mut self, node: &NodeId) {
        self.on_refuted(node, true);
    }

    /// Whether a suspicion is worth a look at its signature.
    pub(crate) fn may_testify(
        &self,
        subject: &NodeId,
        version: u64,
        witness: &NodeId,
        name: &Username,
    ) -> bool {
        let trusted =
            self.witnesses.get(witness).is_none_or(|credit| {
                credit.open < MAX_OPEN && credit.false_alarms < MAX_FALSE_ALARMS
            }) && !self.refuted.contains(&(*subject, *witness));
        let room = match self.accused.get(subject).filter(|accused| accused.version == version) {
            Some(accused) => {
                accused.witnesses.len() < MAX_WITNESSES
                    && accused.witnesses.iter().all(|(_, other)| other != name)
            }
            None => self.accused.len() < MAX_SUBJECTS,
        };
        trusted
            && room
            && (self.witnesses.len() < MAX_SUBJECTS || self.witnesses.contains_key(witness))
    }

    /// Somebody, or this node, could not reach it. `others` are the supernodes that could tell.
    pub(crate) fn testify(
        &mut self,
        subject: NodeId,
        version: u64,
        (witness, name): (NodeId, Username),
        others: usize,
        now: Instant,
    ) {
        let stale = self.accused.get(&subject).is_some_and(|accused| accused.version != version);
        if stale {
            self.on_gone_witnesses(&subject);
        }
        let accused = self.accused.entry(subject).or_insert_with(|| Accused {
            version,
            witnesses: Vec::new(),
            condemned: None,
        });
        accused.witnesses.push((witness, name));
        self.witnesses.entry(witness).or_default().open += 1;
        if accused.witnesses.len() >= WITNESSES.min(others.max(1)) {
            accused.condemned.get_or_insert(now + GRACE);
        }
    }

    fn on_gone_witnesses(&mut self, subject: &NodeId) {
        let Some(accused) = self.accused.remove(subject) else { return };
        for (witness, _) in accused.witnesses {
            if let Some(credit) = self.witnesses.get_mut(&witness) {
                credit.open = credit.open.saturating_sub(1);
            }
        }
    }

    /// A suspicion is too old to count.
    pub(crate) fn on_expired(&mut self, subject: &NodeId) {
        self.on_gone_witnesses(subject);
    }

    /// What is due. `links` is how many neighbours there are, `is_linked` says who is linked.
    pub(crate) fn step(
        &mut self,
        links: usize,
        is_linked: impl Fn(&NodeId) -> bool,
        now: Instant,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        self.forget_losses(now);
        let own_line = self.losses.len() > links.max(1);
        self.own.retain(|node, doubt| {
            if is_linked(node) {
                return false;
            }
            match doubt.stage {
                Stage::Check(at) if now >= at => {
                    doubt.stage = Stage::Dialled { until: now + DIAL_PATIENCE, again: false };
                    steps.push(Step::Dial(*node));
                }
                Stage::Dialled { until, again: false } if now >= until => {
                    doubt.stage = Stage::Testify(now);
                }
                Stage::Dialled { until, again: true } if now >= until => {
                    steps.push(Step::Bury(*node, doubt.version));
                    return false;
                }
                Stage::Testify(at) if now >= at => {
                    if own_line {
                        return false;
                    }
                    doubt.stage = Stage::Testified(now + RECHECK);
                    let settled = self.accused.get(node).is_some_and(|accused| {
                        accused.version == doubt.version && accused.condemned.is_some()
                    });
                    if !settled {
                        steps.push(Step::Testify(*node, doubt.version));
                    }
                }
                Stage::Testified(at) if now >= at => {
                    doubt.stage = Stage::Dialled { until: now + DIAL_PATIENCE, again: true };
                    steps.push(Step::Dial(*node));
                }
                _ => {}
            }
            true
        });
        for (node, accused) in &mut self.accused {
            if accused.condemned.is_some_and(|at| now >= at) {
                accused.condemned = None;
                // Whom this node talks to is not dead, whatever others say.
                if !is_linked(node) {
                    steps.push(Step::Bury(*node, accused.version));
                }
            }
        }
        if now >= *self.forgiven_at.get_or_insert(now + FORGIVENESS) {
            self.forgiven_at = Some(now + FORGIVENESS);
            self.refuted.clear();
            for credit in self.witnesses.values_mut() {
                credit.false_alarms = credit.false_alarms.saturating_sub(1);
            }
            self.witnesses.retain(|_, credit| credit.open > 0 || credit.false_alarms > 0);
        }
        steps
    }

    /// When [`Doubts::step`] has something to do next.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let own = self.own.values().map(|doubt| match doubt.stage {
            Stage::Check(at) | Stage::Testify(at) | Stage::Testified(at) => at,
            Stage::Dialled { until, .. } => until,
        });
        own.chain(self.accused.values().filter_map(|accused| accused.condemned)).min()
    }

    fn forget_losses(&mut self, now: Instant) {
        while self.losses.front().is_some_and(|(at, _)| now.since(*at) > SAME_CAUSE) {
            self.losses.pop_front();
        }
    }
}

/// How long a witness waits. `jitter` is between 0 and 1.
fn testimony_pause(neighbours: u32, jitter: f64) -> Duration {
    let speakers = (SPEAKERS / f64::from(neighbours.max(1))).min(1.0);
    if jitter < speakers {
        TESTIMONY_PAUSE.mul_f64(jitter / speakers)
    } else {
        LATE_TESTIMONY.mul_f64(1.0 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn name(number: u8) -> Username {
        Username::parse(&format!("super{number}")).expect("a name")
    }

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn accuse(doubts: &mut Doubts, witness: u8, now: Instant) {
        assert!(doubts.may_testify(&node(9), 1, &node(witness), &name(witness)));
        doubts.testify(node(9), 1, (node(witness), name(witness)), 20, now);
    }

    fn step(doubts: &mut Doubts, now: Instant) -> Vec<Step> {
        doubts.step(40, |_| false, now)
    }

    #[test]
    fn three_witnesses_condemn_after_a_time_for_an_answer() {
        let mut doubts = Doubts::default();
        accuse(&mut doubts, 1, at(0));
        accuse(&mut doubts, 2, at(0));
        assert!(!doubts.may_testify(&node(9), 1, &node(3), &name(2)), "a name speaks once");
        assert_eq!(step(&mut doubts, at(60)), []);
        accuse(&mut doubts, 3, at(60));
        assert_eq!(step(&mut doubts, at(60) + GRACE / 2), []);
        assert_eq!(step(&mut doubts, at(60) + GRACE), [Step::Bury(node(9), 1)]);
    }

    #[test]
    fn a_fresher_word_acquits_and_is_held_against_the_witnesses() {
        let mut doubts = Doubts::default();
        for subject in (10..).take(MAX_FALSE_ALARMS as usize) {
            assert!(doubts.may_testify(&node(subject), 1, &node(1), &name(1)));
            doubts.testify(node(subject), 1, (node(1), name(1)), 20, at(0));
            assert!(doubts.on_refuted(&node(subject), false));
        }
        assert_eq!(step(&mut doubts, at(60)), []);
        assert!(!doubts.may_testify(&node(8), 1, &node(1), &name(1)), "it is not believed now");
        step(&mut doubts, at(60) + FORGIVENESS);
        assert!(doubts.may_testify(&node(8), 1, &node(1), &name(1)), "one is forgiven");
    }

    #[test]
    fn one_that_greets_as_an_ordinary_node_has_time_to_say_so_itself() {
        let mut doubts = Doubts::default();
        doubts.on_renounced(node(9), 1, 0.5, at(0));
        assert_eq!(step(&mut doubts, at(0) + RENOUNCED), []);
        // Another greeting does not put it off.
        doubts.on_renounced(node(9), 1, 0.9, at(7));
        assert_eq!(step(&mut doubts, at(8)), [Step::Testify(node(9), 1)]);
        doubts.on_gone(&node(9));
        assert_eq!(step(&mut doubts, at(60)), []);
    }

    #[test]
    fn one_that_feigns_its_death_discredits_nobody() {
        let mut doubts = Doubts::default();
        for version in 1..=20 {
            assert_eq!(doubts.may_testify(&node(9), version, &node(1), &name(1)), version == 1);
            doubts.testify(node(9), version, (node(1), name(1)), 20, at(0));
            doubts.on_refuted(&node(9), false);
        }
        assert!(doubts.may_testify(&node(8), 1, &node(1), &name(1)));
        step(&mut doubts, at(60));
        step(&mut doubts, at(60) + FORGIVENESS);
        assert!(doubts.may_testify(&node(9), 21, &node(1), &name(1)), "not for ever");
    }

    #[test]
    fn a_neighbour_that_comes_and_goes_does_not_make_this_nodes_line_suspect() {
        let mut doubts = Doubts::default();
        for _ in 0..100 {
            doubts.on_neighbour_lost(node(7), 1, 0.5, at(0));
        }
        doubts.on_neighbour_lost(node(9), 1, 0.0, at(0));
        assert_eq!(doubts.losses.len(), 2);
    }

    #[test]
    fn a_restart_is_not_held_against_those_who_saw_the_death() {
        let mut doubts = Doubts::default();
        for version in 1..=20 {
            doubts.testify(node(9), version, (node(1), name(1)), 20, at(0));
            doubts.on_refuted(&node(9), true);
        }
        assert!(doubts.may_testify(&node(8), 1, &node(1), &name(1)));
    }

    #[test]
    fn whoever_lost_most_of_its_links_says_nothing_about_others() {
        let mut doubts = Doubts::default();
        for number in 10..40 {
            doubts.on_neighbour_lost(node(number), 1, 0.0, at(0));
        }
        let few_left = 9;
        let dials = doubts.step(few_left, |_| false, at(2));
        assert_eq!(dials.len(), 30, "it looks for them");
        for number in 10..40 {
            assert!(!doubts.on_dial_failed(node(number), (1, 40), 0.0, at(3)));
        }
        assert_eq!(doubts.step(few_left, |_| false, at(4)), []);
    }

    #[test]
    fn a_witness_that_fails_twice_needs_nobody_elses_word() {
        let mut doubts = Doubts::default();
        doubts.on_dial_failed(node(9), (1, 40), 0.0, at(0));
        assert_eq!(step(&mut doubts, at(1)), [Step::Testify(node(9), 1)]);
        assert_eq!(step(&mut doubts, at(1) + RECHECK), [Step::Dial(node(9))]);
        assert!(doubts.on_dial_failed(node(9), (1, 40), 0.0, at(40)));
    }

    #[test]
    fn a_witness_cannot_suspect_everybody() {
        let mut doubts = Doubts::default();
        for subject in 0..u8::try_from(MAX_OPEN).expect("few") {
            assert!(doubts.may_testify(&node(100 + subject), 1, &node(1), &name(1)));
            doubts.testify(node(100 + subject), 1, (node(1), name(1)), 20, at(0));
        }
        assert!(!doubts.may_testify(&node(99), 1, &node(1), &name(1)));
    }
}

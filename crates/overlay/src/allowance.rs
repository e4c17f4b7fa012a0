//! Budgets for searches that follow a name from supernode to supernode.
//!
//! Whoever moves on to a fresh supernode each time its budget is used up ("supernode hopping") would
//! have a new one each time. So a parent grants a name a small allowance only, and when that is
//! half used asks the three supernodes that keep the name's records in the directory what is left
//! of its budget; and it reports to them what the name uses. None of the three decides alone: the
//! middle one of their answers counts. One that has died does not answer, so after a second the name
//! has what two of them grant until the third is heard; where not even two are there, it searches at the
//! rate of its budget meanwhile. They believe a report only of a supernode that shows a signed
//! record in which a node of that name calls it its parent. A node says so as soon as it is attached;
//! what one that does not say so uses cannot be reported, so it gets next to nothing. Whoever
//! searches as people do never comes so far that anybody is asked.

use crate::bucket::TokenBucket;
use crate::hashed::HashMap;
use skein_proto::{Instant, NodeId, Username};
use std::collections::VecDeque;
use std::time::Duration;

/// Searches that a name may start in all: at once, and for each second. As a node's own budget.
const WHOLE: (u64, u64) = (5, 40);

/// Searches that a parent grants a name before it knows what is left of its budget.
const FIRST: (u64, u64) = (1, 10);

/// Searches that a name has with its nodes that have not said yet whose children they are, each ten
/// minutes: what they use can be reported to nobody, and such a node may be with every supernode at
/// once. An honest one has said so before its user has typed three.
const UNBOUND: u16 = 3;

/// What is left of the first allowance when the keepers are asked.
const ASK_BELOW: u64 = 5;

/// What is left of what they have granted when they are asked anew: at its full rate a name uses up
/// the rest no sooner than they are given up on for [`LATE`].
const ASK_MORE_BELOW: u64 = 8;

/// Searches after which the keepers are told: at most so many that they do not know of are gained
/// with each move.
const REPORT_AT: u16 = 5;

/// Keepers whose answers are enough to go by, if the others do not answer.
const ENOUGH: usize = 2;

/// How long two of the keepers may take. If they have not answered by then, the name gets its whole
/// budget: their failure is not its fault.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long two of them take at most that are alive: a handshake over the longest paths takes about
/// as long. Where they take longer, as when they have just died, the name gains what its budget does
/// in that time. It gains no more at once, so that an answer which is late for another reason is
/// worth next to nothing to whoever moves on.
const LATE: Duration = Duration::from_secs(1);

/// How long it is until the keepers are asked again about a name that has used up most of what they
/// said was left. In between it gains nothing: one name may be the child of several supernodes at
/// once, by several nodes, and would gain it with each of them. What they grant lasts for longer at
/// the rate of a budget, so that no name within it waits for them.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// After which idle time a name is forgotten: by then any budget is full again.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The same for one that had used up what the keepers said was left, or what it has without saying
/// whose child it is: whoever goes around among many supernodes must not find each of them
/// forgetful. It gets one search, and the keepers are asked anew.
const WARY_FOR: Duration = Duration::from_secs(10 * 60);

/// Former parents of its nodes that are kept in mind of a name; an honest node moves now and then.
const MAX_FORMER: usize = 64;

/// Names that are kept in mind, as their parent and as their keeper. Each takes some 200 bytes.
const MAX_NAMES: usize = 16_384;

#[derive(Debug)]
enum Standing {
    /// Nobody was asked yet.
    First,
    /// The keepers were asked.
    Asked(Inquiry),
    /// They have answered what they were asked then.
    Known(Instant),
    /// They have not, and are asked again at the next search.
    Unheard(Instant),
}

/// What the keepers of a name were asked.
#[derive(Debug)]
struct Inquiry {
    at: Instant,
    keepers: usize,
    /// What they said.
    answers: Vec<(NodeId, u16)>,
    /// Searches since.
    used: u64,
    /// Whether for a node that has said whose child it is.
    bound: bool,
    /// Whether they took so long that the name gains something meanwhile.
    is_late: bool,
}

#[derive(Debug)]
struct Account {
    bucket: TokenBucket,
    standing: Standing,
    unreported: u16,
    /// Searches of nodes that had not said whose children they are, and since when.
    unbound: (u16, Instant),
    last_use: Instant,
}

#[derive(Debug)]
struct Kept {
    bucket: TokenBucket,
    /// Supernodes that still report of a node that has named another parent since, the newest last.
    former: VecDeque<NodeId>,
    last_use: Instant,
}

/// What a search of a name leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Whether the search may be started.
    pub(crate) granted: bool,
    /// Whether the keepers are to be asked what is left.
    pub(crate) ask: bool,
    /// What the keepers are to be told; 0 for nothing.
    pub(crate) report: u16,
    /// Whether the keepers were found not to answer in time.
    pub(crate) late: bool,
}

/// The budgets of names.
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    accounts: HashMap<Username, Account>,
    kept: HashMap<Username, Kept>,
}

impl Allowances {
    /// A child of this name wants to search; `is_bound` says whether it has said that it is one, so
    /// that the keepers can be told of it.
    pub(crate) fn spend(&mut self, name: &Username, is_bound: bool, now: Instant) -> Spent {
        if !self.accounts.contains_key(name) && self.accounts.len() >= MAX_NAMES {
            return Spent::default();
        }
        let account = self.accounts.entry(name.clone()).or_insert_with(|| Account {
            bucket: TokenBucket::new(FIRST.0, FIRST.1, now),
            standing: Standing::First,
            unreported: 0,
            unbound: (0, now),
            last_use: now,
        });
        let late = account.give_up_waiting(now);
        if account.is_spent(now) && now.since(account.last_use) >= GOOD_FOR {
            account.bucket = TokenBucket::new(0, 1, now);
        }
        account.last_use = now;
        if account.unbound.0 == 0 || now.since(account.unbound.1) >= WARY_FOR {
            account.unbound = (0, now);
        }
        let may = is_bound || account.unbound.0 < UNBOUND;
        let granted = may && account.bucket.take(now);
        let mut spent = Spent { granted, late, ..Spent::default() };
        if granted {
            account.unreported = account.unreported.saturating_add(1);
            account.unbound.0 += u16::from(!is_bound);
            if let Standing::Asked(inquiry) = &mut account.standing {
                inquiry.used += 1;
            }
            if is_bound && account.unreported >= REPORT_AT {
                spent.report = std::mem::take(&mut account.unreported);
            }
        }
        let (may_ask, below) = match &account.standing {
            Standing::First => (true, ASK_BELOW),
            // What they say for a node that speaks of no parent is worth nothing to this one.
            Standing::Asked(inquiry) => (is_bound && !inquiry.bound, ASK_BELOW),
            Standing::Known(at) => (now.since(*at) >= ASK_AGAIN, ASK_MORE_BELOW),
            Standing::Unheard(at) => (now.since(*at) >= ASK_AGAIN, u64::MAX),
        };
        spent.ask =
            may_ask && if is_bound { account.bucket.level(now) < below } else { spent.granted };
        if spent.ask && is_bound {
            // They must know of all that was used before they say what is left.
            spent.report += std::mem::take(&mut account.unreported);
        }
        spent
    }

    /// So many keepers were asked, for a node that has said whose child it is or for another one.
    pub(crate) fn asked(&mut self, name: &Username, (keepers, bound): (usize, bool), now: Instant) {
        if let Some(account) = self.accounts.get_mut(name) {
            let answers = Vec::new();
            let inquiry = Inquiry { at: now, keepers, answers, used: 0, bound, is_late: false };
            account.standing = Standing::Asked(inquiry);
        }
    }

    /// A keeper says what is left of a name's budget.
    pub(crate) fn on_left(&mut self, name: &Username, keeper: NodeId, left: u16, now: Instant) {
        let Some(account) = self.accounts.get_mut(name) else { return };
        let Standing::Asked(inquiry) = &mut account.standing else { return };
        if inquiry.answers.iter().any(|(known, _)| *known == keeper) {
            return;
        }
        inquiry.answers.push((keeper, left));
        let left = verdict(&inquiry.answers);
        if inquiry.answers.len() >= inquiry.keepers {
            account.settle(left, now);
        } else {
            account.obey_two(now);
        }
    }

    /// A parent of this name reports what it has used.
    pub(crate) fn on_report(
        &mut self,
        name: &Username,
        (parent, spent): (NodeId, u16),
        now: Instant,
    ) {
        let Some(kept) = self.kept(name, now) else { return };
        kept.former.retain(|known| *known != parent);
        let taken = kept.bucket.level(now).min(u64::from(spent.min(REPORT_AT)));
        kept.bucket.take_many(taken, now);
    }

    /// A supernode reports of a node of this name that has named another parent since: it may be
    /// with many, and speak the truth to one of them only.
    pub(crate) fn on_former(&mut self, name: &Username, parent: NodeId, now: Instant) {
        let Some(kept) = self.kept(name, now) else { return };
        kept.former.retain(|known| *known != parent);
        if kept.former.len() >= MAX_FORMER {
            kept.former.pop_front();
        }
        kept.former.push_back(parent);
    }

    fn kept(&mut self, name: &Username, now: Instant) -> Option<&mut Kept> {
        if !self.kept.contains_key(name) && self.kept.len() >= MAX_NAMES {
            return None;
        }
        let kept = self.kept.entry(name.clone()).or_insert_with(|| Kept {
            bucket: TokenBucket::new(WHOLE.0, WHOLE.1, now),
            former: VecDeque::new(),
            last_use: now,
        });
        kept.last_use = now;
        Some(kept)
    }

    /// What is left for a supernode that asks of the budget of a name that is kept here: nothing for
    /// one that its node has left.
    pub(crate) fn left(&mut self, name: &Username, asker: &NodeId, now: Instant) -> u16 {
        let Some(kept) = self.kept.get_mut(name) else {
            return u16::try_from(WHOLE.1).unwrap_or(u16::MAX);
        };
        if kept.former.contains(asker) {
            return 0;
        }
        u16::try_from(kept.bucket.level(now)).unwrap_or(u16::MAX)
    }

    /// Forgets the names that have not searched for so long that their budget is full again.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.accounts.retain(|_, account| {
            let is_wary = account.unbound.0 > 0 || account.is_spent(now);
            let good_for = if is_wary { WARY_FOR } else { GOOD_FOR };
            now.since(account.last_use) < good_for
        });
        self.kept.retain(|_, kept| now.since(kept.last_use) < GOOD_FOR);
    }
}

impl Account {
    /// The keepers have said what was left when they were asked.
    fn settle(&mut self, left: u64, now: Instant) {
        let Standing::Asked(Inquiry { at, used, bound, .. }) = self.standing else { return };
        let left = left.saturating_sub(used);
        if bound || left == 0 {
            self.bucket = TokenBucket::new(0, left, now);
            self.standing = Standing::Known(at);
        } else {
            // What it uses is reported to nobody, so it gains nothing by what is left.
            self.standing = Standing::First;
        }
    }

    /// Whether next to nothing is left of what the keepers have granted.
    fn is_spent(&mut self, now: Instant) -> bool {
        matches!(self.standing, Standing::Known(_)) && self.bucket.level(now) == 0
    }

    /// Answers whether it turns out now that the keepers take too long.
    fn give_up_waiting(&mut self, now: Instant) -> bool {
        let Standing::Asked(inquiry) = &mut self.standing else { return false };
        let is_enough = inquiry.answers.len() >= ENOUGH;
        let waited = now.since(inquiry.at);
        if is_enough && waited >= ASK_AGAIN {
            let left = verdict(&inquiry.answers);
            self.settle(left, now);
            return false;
        }
        if waited >= PATIENCE {
            let (at, late) = (inquiry.at, !inquiry.is_late);
            if inquiry.bound {
                let level = WHOLE.1.saturating_sub(inquiry.used).max(self.bucket.level(now));
                self.refill(WHOLE.1, level, now);
                self.standing = Standing::Unheard(at);
            } else {
                self.standing = Standing::First;
            }
            return late;
        }
        self.obey_two(now);
        let Standing::Asked(inquiry) = &mut self.standing else { return false };
        let late = waited >= LATE && inquiry.bound && !is_enough && !inquiry.is_late;
        if late {
            inquiry.is_late = true;
            let level = self.bucket.level(now);
            self.refill(FIRST.1, level, now);
        }
        late
    }

    /// Goes by what two of three have said, once the third has had its time: it may be dead. One that
    /// lies would else have its way until the third is heard, which may take a handshake. If the third
    /// is alive it may still change the verdict.
    fn obey_two(&mut self, now: Instant) {
        let Standing::Asked(inquiry) = &self.standing else { return };
        let is_time = now.since(inquiry.at) >= LATE;
        if inquiry.bound && is_time && inquiry.answers.len() >= ENOUGH {
            let left = verdict(&inquiry.answers).saturating_sub(inquiry.used);
            self.bucket = TokenBucket::new(0, left, now);
        }
    }

    /// The name gains what its budget does, up to so much, from so much on.
    fn refill(&mut self, most: u64, level: u64, now: Instant) {
        self.bucket = TokenBucket::new(WHOLE.0, most, now);
        self.bucket.take_many(most.saturating_sub(level), now);
    }
}

/// What the keepers together say: the middle one of three, the higher one of two, since one of them
/// may lie. What one alone says counts only where there is one alone.
fn verdict(answers: &[(NodeId, u16)]) -> u64 {
    let mut said: Vec<u16> = answers.iter().map(|(_, left)| *left).collect();
    said.sort_unstable();
    said.get(said.len() / 2).copied().map_or(WHOLE.1, |left| u64::from(left).min(WHOLE.1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn name() -> Username {
        Username::parse("hopper").expect("a name")
    }

    fn keeper(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    /// Searches as fast as it can at one parent: how many were granted, and what was reported.
    fn rush(parent: &mut Allowances, keepers: &mut [Allowances], now: Instant) -> u32 {
        let mut granted = 0;
        for _ in 0..100 {
            let spent = parent.spend(&name(), true, now);
            granted += u32::from(spent.granted);
            for keeper in keepers.iter_mut().filter(|_| spent.report > 0) {
                keeper.on_report(&name(), (self::keeper(98), spent.report), now);
            }
            if spent.ask {
                parent.asked(&name(), (keepers.len(), true), now);
                for (number, kept) in (0..).zip(keepers.iter_mut()) {
                    let left = kept.left(&name(), &keeper(99), now);
                    parent.on_left(&name(), keeper(number), left, now);
                }
            }
        }
        granted
    }

    #[test]
    fn a_name_that_hops_does_not_get_a_new_budget_each_time() {
        let now = Instant::START;
        let mut keepers = [Allowances::default(), Allowances::default(), Allowances::default()];
        let first = rush(&mut Allowances::default(), &mut keepers, now);
        assert!((40..=46).contains(&first), "{first}");
        let later: u32 = (0..10).map(|_| rush(&mut Allowances::default(), &mut keepers, now)).sum();
        assert!(later <= 10 * 6, "{later} with ten moves, where 400 would be ten new budgets");
    }

    #[test]
    fn a_name_with_many_nodes_does_not_get_a_budget_for_each() {
        let mut keepers = [Allowances::default(), Allowances::default(), Allowances::default()];
        let mut parents: Vec<Allowances> = (0..10).map(|_| Allowances::default()).collect();
        let mut granted = 0;
        for second in 0..120 {
            let now = Instant::START + Duration::from_secs(second);
            granted += parents.iter_mut().map(|p| rush(p, &mut keepers, now)).sum::<u32>();
        }
        // Forty, five a second for two minutes, six that each parent grants before it asks, and what
        // several use of the same that is left.
        assert!(granted < 1_000, "{granted} at ten parents, where ten budgets are 6,400");
    }

    #[test]
    fn whoever_has_used_up_a_budget_finds_no_parent_that_has_forgotten_it() {
        let mut keepers = [Allowances::default(), Allowances::default(), Allowances::default()];
        let mut parent = Allowances::default();
        let mut now = Instant::START;
        let mut granted = 0;
        for _ in 0..9 {
            for keeper in &mut keepers {
                (0..8).for_each(|_| keeper.on_report(&name(), (self::keeper(98), REPORT_AT), now));
            }
            granted = rush(&mut parent, &mut keepers, now);
            now = now + GOOD_FOR;
            parent.tidy(now);
        }
        assert_eq!(granted, 1);
    }

    #[test]
    fn a_supernode_that_its_child_has_left_has_nothing_to_grant() {
        let now = Instant::START;
        let mut kept = Allowances::default();
        for number in 0..=MAX_FORMER {
            let number = u8::try_from(number).expect("few");
            kept.on_former(&name(), keeper(number), now);
        }
        let left = |kept: &mut Allowances, number| kept.left(&name(), &keeper(number), now);
        assert_eq!([0, 1, 64, 99].map(|number| left(&mut kept, number)), [40, 0, 0, 40]);
        kept.on_report(&name(), (keeper(64), 1), now);
        assert_eq!(left(&mut kept, 64), 39, "it has come back");
    }

    /// A parent that has asked the three keepers at the first search.
    fn asking(now: Instant) -> Allowances {
        let mut parent = Allowances::default();
        parent.spend(&name(), true, now);
        parent.asked(&name(), (3, true), now);
        parent
    }

    #[test]
    fn one_keeper_that_lies_decides_nothing() {
        let now = Instant::START;
        for lie in [0, u16::MAX] {
            let mut parent = asking(now);
            for (number, left) in (0..).zip([lie, 30, 30]) {
                parent.on_left(&name(), keeper(number), left, now);
            }
            let granted = (0..100).filter(|_| parent.spend(&name(), true, now).granted).count();
            assert_eq!(granted, 30);
        }
    }

    #[test]
    fn a_keeper_answers_once_and_those_that_do_not_answer_starve_nobody() {
        let now = Instant::START;
        let mut parent = asking(now);
        for _ in 0..5 {
            parent.on_left(&name(), keeper(1), 0, now);
        }
        let later = now + PATIENCE;
        let granted = (0..100).filter(|_| parent.spend(&name(), true, later).granted).count();
        assert_eq!(granted, 40);
    }

    /// Searches at the rate of a budget for a minute, while so many of three keepers answer. Answers how
    /// often it was refused, and how often the keepers were found to be late.
    fn at_full_rate(answering: usize) -> (u32, u32) {
        let mut parent = Allowances::default();
        let mut keepers = [Allowances::default(), Allowances::default(), Allowances::default()];
        let (mut refused, mut late) = (0, 0);
        for fifth in 0..300 {
            let now = Instant::START + Duration::from_millis(200) * fifth;
            let spent = parent.spend(&name(), true, now);
            refused += u32::from(!spent.granted);
            late += u32::from(spent.late);
            if spent.ask {
                parent.asked(&name(), (3, true), now);
            }
            for (number, kept) in (0..).zip(&mut keepers[..answering]) {
                if spent.report > 0 {
                    kept.on_report(&name(), (keeper(98), spent.report), now);
                }
                if spent.ask {
                    let left = kept.left(&name(), &keeper(98), now);
                    parent.on_left(&name(), keeper(number), left, now);
                }
            }
        }
        (refused, late)
    }

    #[test]
    fn a_name_within_its_budget_is_never_refused_however_many_keepers_have_died() {
        assert_eq!(at_full_rate(3), (0, 0));
        assert_eq!(at_full_rate(2), (0, 0));
        for answering in [1, 0] {
            let (refused, late) = at_full_rate(answering);
            assert!(refused == 0 && late > 0, "{refused} with {answering}, {late} times late");
        }
    }

    #[test]
    fn two_keepers_are_enough_until_the_third_is_heard() {
        let now = Instant::START;
        let mut parent = asking(now);
        // One of them lies.
        parent.on_left(&name(), keeper(1), u16::MAX, now);
        parent.on_left(&name(), keeper(2), 25, now);
        let granted = |parent: &mut Allowances, wanted: u32, now: Instant| {
            (0..wanted).filter(|_| parent.spend(&name(), true, now).granted).count()
        };
        // As long as the third may still answer the name has what it had: ten, of which one was used.
        assert_eq!(granted(&mut parent, 100, now), 9);
        let now = now + LATE;
        assert_eq!(granted(&mut parent, 5, now), 5);
        parent.on_left(&name(), keeper(3), 25, now);
        assert_eq!(granted(&mut parent, 100, now), 25 - 14);
    }

    #[test]
    fn a_node_that_says_whose_child_it_is_does_not_wait_for_what_was_asked_for_another_one() {
        let now = Instant::START;
        let mut parent = Allowances::default();
        // One of the name's nodes says nothing, and the keepers do not answer.
        assert!(parent.spend(&name(), false, now).ask);
        parent.asked(&name(), (3, false), now);
        let asks = (0..9).filter(|_| parent.spend(&name(), true, now).ask).count();
        assert!(asks > 0, "the other one has them asked as it would without it");
        parent.asked(&name(), (3, true), now);
        assert!(!parent.spend(&name(), true, now).ask, "once");
    }

    #[test]
    fn whoever_moves_on_gains_little_by_keepers_that_do_not_answer() {
        let mut now = Instant::START;
        let mut granted = 0;
        for _ in 0..10 {
            let mut parent = Allowances::default();
            for _ in 0..200 {
                let spent = parent.spend(&name(), true, now);
                granted += u32::from(spent.granted);
                if spent.ask {
                    parent.asked(&name(), (3, true), now);
                }
                now = now + Duration::from_millis(10);
            }
        }
        // Two seconds at each: ten at once, one more while two keepers may still answer, and in the
        // second after that what a budget gains.
        assert!((100..=10 * 17).contains(&granted), "{granted}, where ten budgets are 500");
    }

    #[test]
    fn a_report_takes_no_more_than_one_report_can_and_names_are_forgotten() {
        let now = Instant::START;
        let mut keeper = Allowances::default();
        keeper.on_report(&name(), (self::keeper(98), u16::MAX), now);
        assert_eq!(keeper.left(&name(), &self::keeper(99), now), 35);
        keeper.tidy(now + GOOD_FOR);
        assert!(keeper.kept.is_empty());
    }

    #[test]
    fn whoever_searches_like_a_person_is_not_asked_after() {
        let mut parent = Allowances::default();
        for second in 0..100 {
            let now = Instant::START + Duration::from_secs(second * 3);
            let spent = parent.spend(&name(), true, now);
            assert!(spent.granted && !spent.ask);
        }
    }

    #[test]
    fn whoever_now_and_then_searches_before_it_can_say_whose_child_it_is_is_granted_that() {
        let mut parent = Allowances::default();
        for minute in 0..60 {
            let now = Instant::START + Duration::from_secs(minute * 60);
            parent.tidy(now);
            // One that was started anew searches, another one of that name does all the time.
            for is_bound in [minute % 5 != 4, true] {
                assert!(parent.spend(&name(), is_bound, now).granted, "{minute}");
            }
        }
    }

    #[test]
    fn whoever_does_not_say_whose_child_it_is_gains_next_to_nothing_at_any_time() {
        let mut parent = Allowances::default();
        let mut granted = 0;
        let mut now = Instant::START;
        let first = parent.spend(&name(), false, now);
        assert!(first.granted && first.ask, "the name may have used up its budget elsewhere");
        // As one that would wait for each of its budgets to be full again, which is tidied meanwhile.
        for pause in [0, 0, 0, 1, 2, 10, 61, 5, 90, 1, 200] {
            now = now + Duration::from_secs(pause);
            parent.tidy(now);
            let spent = parent.spend(&name(), false, now);
            granted += u16::from(spent.granted);
            assert_eq!(spent.report, 0, "there is nothing to show to anybody");
        }
        assert_eq!(granted, UNBOUND - 1);
        // What was used before the node said so is reported with the rest.
        parent.spend(&name(), true, now);
        assert_eq!(parent.spend(&name(), true, now).report, REPORT_AT);
    }
}

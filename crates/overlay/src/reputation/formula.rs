//! Reputation as a pure function of what others signed: the same evidence gives the same number
//! everywhere.
//!
//! `docs/reputation.md` gives the reason for each term and what it costs to cheat. Integers only,
//! so that no two machines can round differently. In one line:
//!
//! ```text
//! credit      = min(sum over partners of age³ * min(1, time + bytes), sum over days of 3)
//! reputation  = 10 + 990 * credit² / (credit² + 100²) - losses
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// The reputation of a name of which nothing is known.
pub const START: u16 = 10;

/// The highest reputation. The curve comes near it and does not reach it.
pub const HIGHEST: u16 = 1_000;

/// What one partner counts at most, in thousandths: however much it signs, and for however many
/// days. What a closed group can reach is therefore bounded by the number of its names.
pub const PARTNER: u64 = 1_000;

/// What one day counts at most, in thousandths: three partners. An honest node meets a parent, a
/// standby, and every few hours another of them; whoever collects signatures faster than that
/// (a bond with each supernode there is, say) does not rise faster.
pub const DAY: u64 = 3 * PARTNER;

/// At so many partners' credit half of the way is done, in thousandths. Below it the curve is
/// convex, so that a few friends are worth next to nothing; above it concave, so that nobody is
/// out of reach.
pub const HALF_WAY: u64 = 100 * PARTNER;

/// Time with one parent, in seconds, that counts in full: an hour, less than the median session.
/// A witness can claim any time that the day has, so more must not count for more.
pub const FULL_SECS: u64 = 3_600;

/// Bytes for one downloader that count in full: 64 MiB, some albums or a short video. A witness can
/// claim any number, so more must not count for more.
pub const FULL_BYTES: u64 = 64 * 1024 * 1024;

/// The word of a name counts in full when it has been registered for so many days, and before by the
/// cube of its age: names are made in a minute, a quarter of a year is not. The cube, so that what
/// names of one month sign for each other (a 27th) is next to nothing even where it comes on top of
/// what their own machines have earned; honest people meet names of all ages.
pub const MATURE_DAYS: u32 = 90;

/// Evidence counts in full for so many days.
pub const FRESH_DAYS: u32 = 30;

/// Evidence older than so many days counts nothing; in between its weight falls evenly.
pub const LAST_DAY: u32 = 120;

/// What a proven offence takes at first: more than a month of honest use is worth.
pub const LOSS: u64 = 500;

/// After so many days an offence is forgiven; in between its weight falls evenly.
pub const LOSS_DAYS: u32 = 120;

/// What a witness says that it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// The name was connected for so many seconds of the day.
    Connected {
        /// Seconds.
        secs: u32,
    },
    /// The name sent so many bytes of the day that were verified.
    Sent {
        /// Bytes.
        bytes: u64,
    },
}

/// What one witness says of one day. `W` tells witnesses apart: one value for each *name*, however
/// many nodes it has.
///
/// A claim is made of evidence that was verified; the formula itself checks no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim<W> {
    /// Who says so.
    pub witness: W,
    /// For how many days the name of the witness had been registered by then.
    pub seniority: u32,
    /// The UTC day, see [`skein_proto::UnixTime::day`].
    pub day: u32,
    /// What was seen.
    pub deed: Deed,
}

/// A reputation, with where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The reputation, 0 to [`HIGHEST`].
    pub reputation: u16,
    /// Partners that vouch for time.
    pub time_partners: u32,
    /// Partners that received bytes.
    pub byte_partners: u32,
    /// Different partners altogether.
    pub partners: u32,
    /// Different days that are spoken of.
    pub days: u32,
    /// The credit of all partners, in thousandths of a partner, before the limit of the days.
    pub credit: u64,
    /// The most that so many days may count, in the same unit.
    pub day_limit: u64,
    /// What age has taken from the credit, in the same unit.
    pub decayed: u64,
    /// What proven offences take.
    pub lost: u16,
}

impl Default for Assessment {
    /// That of a newcomer.
    fn default() -> Self {
        Self {
            reputation: START,
            time_partners: 0,
            byte_partners: 0,
            partners: 0,
            days: 0,
            credit: 0,
            day_limit: 0,
            decayed: 0,
            lost: 0,
        }
    }
}

impl<W> Claim<W> {
    /// What this claim counts by itself today, in billionths of a partner: fine enough to tell the
    /// claims of a new name apart.
    pub fn worth(&self, today: u32) -> u64 {
        mature(self.credit() * weight(self.day, today) * WHOLE, self.seniority)
    }

    /// What it counted while it was fresh. The square root gives the first minutes and bytes the
    /// most: they show that the two have met, and what follows shows little more.
    fn credit(&self) -> u64 {
        let (amount, full) = match self.deed {
            Deed::Connected { secs } => (u64::from(secs), FULL_SECS),
            Deed::Sent { bytes } => (bytes, FULL_BYTES),
        };
        (amount.min(full) * PARTNER * PARTNER / full).isqrt()
    }
}

/// What is left of a credit by the word of a name that has been registered for so many days.
fn mature(credit: u64, seniority: u32) -> u64 {
    let cube = |days: u32| u64::from(days).pow(3);
    credit * cube(seniority.saturating_add(1).min(MATURE_DAYS)) / cube(MATURE_DAYS)
}

const WHOLE: u64 = 1_000;

/// The weight of what was seen on that day, in thousandths.
fn weight(day: u32, today: u32) -> u64 {
    // Clocks differ around midnight; what is further ahead is a lie or a broken clock.
    if day > today.saturating_add(1) {
        return 0;
    }
    fading(today.saturating_sub(day), FRESH_DAYS, LAST_DAY)
}

fn fading(age: u32, from: u32, to: u32) -> u64 {
    match age {
        age if age <= from => WHOLE,
        age if age >= to => 0,
        age => u64::from(to - age) * WHOLE / u64::from(to - from),
    }
}

/// The reputation that follows from these claims about one name, and from the days of its proven
/// offences. Neither order nor repetition matters, and no further claim lowers it.
pub fn assess<W: Ord + Copy>(
    claims: impl IntoIterator<Item = Claim<W>>,
    offences: &[u32],
    today: u32,
) -> Assessment {
    #[derive(Default)]
    struct Partner {
        /// The best credit, when it was fresh and now.
        time: (u64, u64),
        bytes: (u64, u64),
        seniority: u32,
    }
    impl Partner {
        fn credit(&self, of: impl Fn((u64, u64)) -> u64) -> u64 {
            // Both sorts together are what one name says, so its age weighs on their sum.
            mature((of(self.time) + of(self.bytes)).min(PARTNER), self.seniority)
        }
    }
    let mut partners: BTreeMap<W, Partner> = BTreeMap::new();
    let mut days: BTreeSet<u32> = BTreeSet::new();
    for claim in claims {
        let fresh = claim.credit();
        let worth = fresh * weight(claim.day, today) / WHOLE;
        if worth == 0 {
            continue;
        }
        days.insert(claim.day);
        let partner = partners.entry(claim.witness).or_default();
        let best = match claim.deed {
            Deed::Connected { .. } => &mut partner.time,
            Deed::Sent { .. } => &mut partner.bytes,
        };
        *best = (best.0.max(fresh), best.1.max(worth));
        partner.seniority = partner.seniority.max(claim.seniority);
    }
    let credit: u64 = partners.values().map(|partner| partner.credit(|both| both.1)).sum();
    let fresh: u64 = partners.values().map(|partner| partner.credit(|both| both.0)).sum();
    let day_limit = days.iter().map(|day| DAY * weight(*day, today) / WHOLE).sum();
    let lost = loss(offences, today);
    let count = |matches: &dyn Fn(&Partner) -> bool| {
        u32::try_from(partners.values().filter(|p| matches(p)).count()).unwrap_or(u32::MAX)
    };
    Assessment {
        reputation: height(credit.min(day_limit)).saturating_sub(lost),
        time_partners: count(&|p| p.time.1 > 0),
        byte_partners: count(&|p| p.bytes.1 > 0),
        partners: count(&|_| true),
        days: u32::try_from(days.len()).unwrap_or(u32::MAX),
        credit,
        day_limit,
        decayed: fresh.saturating_sub(credit),
        lost,
    }
}

/// How high a credit in thousandths of a partner lifts: a Hill curve of the second degree.
fn height(credit: u64) -> u16 {
    let square = |value: u64| u128::from(value) * u128::from(value);
    let span = u128::from(HIGHEST - START);
    let gained = span * square(credit) / (square(credit) + square(HALF_WAY));
    START + u16::try_from(gained).unwrap_or(HIGHEST - START)
}

/// What offences on these days take from a reputation.
pub fn loss(offences: &[u32], today: u32) -> u16 {
    let lost: u64 = offences
        .iter()
        .map(|day| LOSS * fading(today.saturating_sub(*day), 0, LOSS_DAYS) / WHOLE)
        .sum();
    u16::try_from(lost.min(u64::from(HIGHEST))).unwrap_or(HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TODAY: u32 = 20_000;

    fn time(witness: u32, day: u32, secs: u32) -> Claim<u32> {
        Claim { witness, seniority: MATURE_DAYS, day, deed: Deed::Connected { secs } }
    }

    fn bytes(witness: u32, day: u32, bytes: u64) -> Claim<u32> {
        Claim { witness, seniority: MATURE_DAYS, day, deed: Deed::Sent { bytes } }
    }

    fn reputation(claims: &[Claim<u32>]) -> u16 {
        assess(claims.iter().copied(), &[], TODAY).reputation
    }

    #[test]
    fn a_new_name_has_ten() {
        assert_eq!(reputation(&[]), START);
    }

    #[test]
    fn a_hundred_partners_over_enough_days_are_half_of_the_way() {
        let claims: Vec<_> = (0..100).map(|n| time(n, TODAY - n % 30, 3_600)).collect();
        assert_eq!(reputation(&claims[..34]), 10 + 102);
        assert_eq!(reputation(&claims), 10 + 443, "thirty days allow ninety partners");
        let more: Vec<_> = (0..100).map(|n| bytes(n, TODAY - n % 34, FULL_BYTES)).collect();
        assert!((500..=505).contains(&reputation(&more)));
    }

    #[test]
    fn what_one_witness_says_counts_once_however_much_and_often_it_says_it() {
        let mut claims: Vec<_> = (0..30).map(|n| time(n, TODAY - n, 3_600)).collect();
        let before = reputation(&claims);
        for day in 0..30 {
            claims.push(time(7, TODAY - day, 86_400));
            claims.push(bytes(7, TODAY - day, u64::MAX));
        }
        assert_eq!(reputation(&claims), before);
    }

    #[test]
    fn whoever_gathers_hundreds_of_signatures_in_a_day_rises_like_one_who_gathers_three() {
        let many: Vec<_> = (0..900).map(|n| time(n, TODAY, 86_400)).collect();
        assert_eq!(reputation(&many), reputation(&many[..3]));
    }

    #[test]
    fn a_few_friends_are_worth_next_to_nothing() {
        let friends: Vec<_> = (0..9).map(|n| time(n, TODAY - n, 86_400)).collect();
        assert!(reputation(&friends) <= START + 10);
    }

    #[test]
    fn the_word_of_a_new_name_counts_little() {
        let of = |seniority| -> u64 {
            let claims = (0..60).map(|n| Claim { seniority, ..time(n, TODAY - n % 30, 3_600) });
            assess(claims, &[], TODAY).credit
        };
        assert_eq!(of(0), 0, "less than a thousandth");
        assert_eq!(of(29), 60 * (PARTNER / 27));
        assert_eq!(of(44), 60 * (PARTNER / 8));
        assert_eq!(of(89), 60 * PARTNER);
        assert_eq!(of(u32::MAX), 60 * PARTNER);
    }

    #[test]
    fn of_two_claims_of_a_new_name_the_larger_is_worth_more() {
        let of = |secs| Claim { seniority: 0, ..time(1, TODAY, secs) }.worth(TODAY);
        assert!(0 < of(60) && of(60) < of(120) && of(120) < of(3_600));
        assert_eq!(of(3_600), of(86_400));
    }

    #[test]
    fn what_is_old_fades_and_is_gone_in_the_end() {
        let claims: Vec<_> = (0..90).map(|n| time(n, TODAY - n % 30, 3_600)).collect();
        let at = |today| assess(claims.iter().copied(), &[], today);
        assert!(at(TODAY).decayed == 0 && at(TODAY + 20).decayed > 0);
        assert!(at(TODAY).reputation > at(TODAY + 40).reputation);
        assert!(at(TODAY + 40).reputation > at(TODAY + 80).reputation);
        assert_eq!(at(TODAY + LAST_DAY).reputation, START);
    }

    #[test]
    fn what_is_said_of_the_future_counts_nothing() {
        let claims: Vec<_> = (0..90).map(|n| time(n, TODAY + 2 + n % 30, 3_600)).collect();
        assert_eq!(reputation(&claims), START);
    }

    #[test]
    fn a_proven_offence_costs_more_than_a_month_brings_and_is_forgiven_in_the_end() {
        let claims: Vec<_> = (0..90).map(|n| time(n, TODAY - n % 30, 3_600)).collect();
        let at = |offences: &[u32]| assess(claims.iter().copied(), offences, TODAY).reputation;
        assert_eq!(at(&[TODAY]), 0);
        assert!(at(&[TODAY - 60]) > 0 && at(&[TODAY - 60]) < at(&[]));
        assert_eq!(at(&[TODAY - LOSS_DAYS]), at(&[]));
    }

    fn any_claim() -> impl Strategy<Value = Claim<u32>> {
        let deed = prop_oneof![
            any::<u32>().prop_map(|secs| Deed::Connected { secs }),
            (0..90_000_u32).prop_map(|secs| Deed::Connected { secs }),
            any::<u64>().prop_map(|bytes| Deed::Sent { bytes }),
            (0..1_u64 << 28).prop_map(|bytes| Deed::Sent { bytes }),
        ];
        let day = prop_oneof![TODAY - 130..TODAY + 3, any::<u32>()];
        (0..40_u32, 0..120_u32, day, deed).prop_map(|(witness, seniority, day, deed)| Claim {
            witness,
            seniority,
            day,
            deed,
        })
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_matters(
            claims in prop::collection::vec(any_claim(), 0..60),
            rotated in any::<prop::sample::Index>(),
        ) {
            let mut other = claims.clone();
            other.reverse();
            if !other.is_empty() {
                let by = rotated.index(other.len());
                other.rotate_left(by);
                other.extend(claims.iter().copied());
            }
            prop_assert_eq!(assess(claims, &[], TODAY), assess(other, &[], TODAY));
        }

        #[test]
        fn a_further_claim_never_lowers(
            claims in prop::collection::vec(any_claim(), 0..60),
            further in any_claim(),
            offences in prop::collection::vec(TODAY - 200..=TODAY, 0..3),
        ) {
            let before = assess(claims.clone(), &offences, TODAY).reputation;
            let after = assess(claims.into_iter().chain([further]), &offences, TODAY).reputation;
            prop_assert!(after >= before);
        }

        #[test]
        fn no_claims_exceed_what_so_many_names_and_days_may_reach(
            claims in prop::collection::vec(any_claim(), 0..200),
        ) {
            let names: BTreeSet<u32> = claims.iter().map(|claim| claim.witness).collect();
            let days: BTreeSet<u32> = claims.iter().map(|claim| claim.day).collect();
            let bound = (names.len() as u64 * PARTNER).min(days.len() as u64 * DAY);
            let reached = assess(claims, &[], TODAY).reputation;
            prop_assert!(reached <= height(bound) && reached <= HIGHEST);
        }

        #[test]
        fn a_further_offence_never_raises(
            claims in prop::collection::vec(any_claim(), 0..60),
            offences in prop::collection::vec(any::<u32>(), 0..5),
            further in any::<u32>(),
        ) {
            let before = assess(claims.clone(), &offences, TODAY).reputation;
            let more: Vec<u32> = offences.into_iter().chain([further]).collect();
            prop_assert!(assess(claims, &more, TODAY).reputation <= before);
        }
    }
}

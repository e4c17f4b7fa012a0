//! A reputation, with where it comes from.

use serde::{Deserialize, Serialize};
use skein_overlay::reputation::formula::{
    Assessment, FRESH_DAYS, HIGHEST, LAST_DAY, MATURE_DAYS, START,
};
use std::fmt::{self, Display, Formatter};

/// The reputation of this node's name, and where it comes from. `docs/reputation.md` tells how it
/// is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReputationStatus {
    /// The reputation, 0 to 1,000; a new name has 10.
    pub reputation: u16,
    /// Supernodes that vouch for time.
    pub time_partners: u32,
    /// Peers that gave receipts for bytes.
    pub byte_partners: u32,
    /// Different partners altogether.
    pub partners: u32,
    /// Different days that they speak of.
    pub days: u32,
    /// What all partners count together, in thousandths of one that counts in full.
    pub credit_thousandths: u64,
    /// The most that so many days may count, in the same unit.
    pub day_limit_thousandths: u64,
    /// What age has taken from the credit, in the same unit.
    pub decayed_thousandths: u64,
    /// Points that proven offences take.
    pub lost: u16,
}

impl From<Assessment> for ReputationStatus {
    fn from(assessment: Assessment) -> Self {
        Self {
            reputation: assessment.reputation,
            time_partners: assessment.time_partners,
            byte_partners: assessment.byte_partners,
            partners: assessment.partners,
            days: assessment.days,
            credit_thousandths: assessment.credit,
            day_limit_thousandths: assessment.day_limit,
            decayed_thousandths: assessment.decayed,
            lost: assessment.lost,
        }
    }
}

impl ReputationStatus {
    /// The highest reputation that there is.
    pub const HIGHEST: u16 = HIGHEST;

    /// What makes a reputation rise and fade, in plain words.
    pub fn rules() -> String {
        format!(
            "A new name has {START}. It rises with the number of others who sign for it: \
             supernodes for the time\nthat it is connected, peers for the bytes that it sends \
             them. Names count in full when they are\n{MATURE_DAYS} days old, and what they sign \
             fades after {FRESH_DAYS} days until it is gone after {LAST_DAY}."
        )
    }

    /// Where it comes from, in plain words.
    pub fn explanation(&self) -> String {
        let mut words = vec![if self.partners == 0 && self.lost == 0 {
            format!("of {HIGHEST}: nobody has vouched for it yet, a new name has {START}")
        } else {
            let count = |number: u32, one: &str, many: &str| match number {
                1 => format!("1 {one}"),
                number => format!("{number} {many}"),
            };
            format!(
                "of {HIGHEST}: time vouched for by {}, bytes received by {}, on {}",
                count(self.time_partners, "supernode", "supernodes"),
                count(self.byte_partners, "peer", "peers"),
                count(self.days, "day", "days"),
            )
        }];
        if self.credit_thousandths > self.day_limit_thousandths {
            words.push("each day counts for three partners at most".to_owned());
        }
        if self.decayed_thousandths > 0 {
            let partners = self.decayed_thousandths.div_ceil(1_000);
            words.push(format!("age has taken the weight of {partners}"));
        }
        if self.lost > 0 {
            words.push(format!("{} lost by proven misconduct", self.lost));
        }
        words.join("; ")
    }
}

/// The number, and where it comes from.
impl Display for ReputationStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reputation, self.explanation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_a_reputation_comes_from() {
        let new = ReputationStatus { reputation: 10, ..ReputationStatus::default() };
        assert!(new.explanation().contains("a new name has 10"), "{}", new.explanation());
        let known = ReputationStatus {
            reputation: 150,
            time_partners: 41,
            byte_partners: 1,
            partners: 42,
            days: 20,
            credit_thousandths: 40_000,
            day_limit_thousandths: 60_000,
            decayed_thousandths: 1_500,
            lost: 20,
        };
        assert_eq!(
            known.explanation(),
            "of 1000: time vouched for by 41 supernodes, bytes received by 1 peer, on 20 days; \
             age has taken the weight of 2; 20 lost by proven misconduct"
        );
    }
}

//! Why a node is what it is, in plain words and for programs.

use super::demand::PROMOTE_ABOVE;
use skein_proto::{NodeId, Username};
use std::fmt;
use std::time::Duration;

/// Why a node is or is not a supernode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleReason {
    /// The user has set the role.
    UserWish,
    /// A supernode since it was one when it last ran, or when its user left it free.
    WasSuper,
    /// A supernode since the network had none, and the login service could reach this node.
    FirstOfNetwork,
    /// A supernode since another one asked.
    Invited {
        /// Who asked.
        by: NodeId,
        /// The name of who asked.
        by_name: Option<Username>,
        /// How full the supernodes were, in percent.
        fill_percent: u8,
        /// How this node was weighed, 0 to 1,000.
        fitness: u16,
    },
    /// Ordinary: it has just been started, or has no parent that could weigh it.
    NotWeighed,
    /// Ordinary: nothing is known against it, and there are enough.
    EnoughSupernodes {
        /// How full they are, in percent.
        fill_percent: u8,
    },
    /// Ordinary: it runs on a battery.
    OnBattery,
    /// Ordinary: its parent has not known it for long enough.
    TooYoung {
        /// For how long it has been known.
        up: Duration,
        /// How long is asked.
        asked: Duration,
    },
    /// Ordinary: its name has lost reputation, or others have much more.
    LowReputation {
        /// What it has.
        has: u16,
        /// What is asked.
        asked: u16,
    },
    /// Ordinary: the machine, or its settings, allow too few children.
    TooSmall {
        /// What it could hold.
        capacity: u32,
        /// What is asked.
        asked: u32,
    },
    /// Ordinary: others cannot reach it.
    Unreachable {
        /// Dial-backs that failed.
        failed: u8,
        /// Dial-backs made.
        tried: u8,
    },
    /// Ordinary: whether it can be reached has not been found out yet.
    Unproven {
        /// How full the supernodes are, in percent.
        fill_percent: u8,
    },
    /// Ordinary: it is fit, and will be asked when its turn comes.
    Ready {
        /// How full the supernodes are, in percent.
        fill_percent: u8,
        /// How it was weighed, 0 to 1,000.
        fitness: u16,
    },
    /// Ordinary: it was a supernode, and there were too many.
    TooMany {
        /// How full they were, in percent.
        fill_percent: u8,
    },
    /// Ordinary: it was asked to be a supernode where none was needed.
    NotNeeded {
        /// How full all were, in percent.
        fill_percent: u8,
        /// Supernodes that it counted.
        supernodes: u32,
    },
    /// Ordinary: it was a supernode, and could not be reached any more.
    LostReach {
        /// Dial-backs that failed.
        failed: u8,
        /// Dial-backs made.
        tried: u8,
    },
    /// Supernode: its user wants it so, though others could not reach it.
    UserWishUnreached {
        /// Dial-backs that failed.
        failed: u8,
        /// Dial-backs made.
        tried: u8,
    },
    /// Ordinary: it was a supernode, and the machine has too little left for it.
    Starved {
        /// Children that it could still hold.
        capacity: u32,
    },
}

impl RoleReason {
    /// One word for programs; it stays the same from version to version.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UserWish => "user-wish",
            Self::WasSuper => "was-super",
            Self::FirstOfNetwork => "first-of-network",
            Self::Invited { .. } => "invited",
            Self::NotWeighed => "not-weighed",
            Self::EnoughSupernodes { .. } => "enough-supernodes",
            Self::OnBattery => "on-battery",
            Self::TooYoung { .. } => "too-young",
            Self::LowReputation { .. } => "low-reputation",
            Self::TooSmall { .. } => "too-small",
            Self::Unreachable { .. } => "unreachable",
            Self::Unproven { .. } => "unproven",
            Self::Ready { .. } => "ready",
            Self::TooMany { .. } => "too-many",
            Self::NotNeeded { .. } => "not-needed",
            Self::LostReach { .. } => "lost-reach",
            Self::UserWishUnreached { .. } => "user-wish-unreached",
            Self::Starved { .. } => "starved",
        }
    }
}

/// Above which fill supernodes are added, in percent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0.70 of 100.
const ADDED_AT: u8 = (PROMOTE_ABOVE * 100.0) as u8;

impl fmt::Display for RoleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserWish => write!(f, "its user wants it so"),
            Self::WasSuper => write!(f, "it was one before, and is still of use"),
            Self::FirstOfNetwork => {
                write!(f, "the network had no supernode, and the login service could reach it")
            }
            Self::Invited { by, by_name, fill_percent, fitness } => {
                match by_name {
                    Some(name) => write!(f, "invited by @{name}")?,
                    None => write!(f, "invited by {}", by.short())?,
                }
                write!(
                    f,
                    " when the others were {fill_percent} % full ({ADDED_AT} % is the limit), \
                     with a fitness of {fitness} of 1,000"
                )
            }
            Self::NotWeighed => write!(f, "no supernode has weighed it yet"),
            Self::EnoughSupernodes { fill_percent } => write!(
                f,
                "the network has enough supernodes (they are {fill_percent} % full; one is added \
                 above {ADDED_AT} %)"
            ),
            Self::OnBattery => write!(f, "the machine runs on its battery"),
            Self::TooYoung { up, asked } => {
                write!(f, "its parent has known it for {}; {} are asked", Span(*up), Span(*asked))
            }
            Self::LowReputation { has, asked } => {
                write!(f, "its name has a reputation of {has}; {asked} is asked")
            }
            Self::TooSmall { capacity, asked } => write!(
                f,
                "it could hold {capacity} children by its settings and this machine; {asked} are \
                 asked"
            ),
            Self::Unreachable { failed, tried } => write!(
                f,
                "others cannot reach it ({failed} of {tried} dial-backs failed): open its UDP \
                 port in the firewall or router"
            ),
            Self::Unproven { fill_percent } => write!(
                f,
                "whether others can reach it is being found out (the supernodes are \
                 {fill_percent} % full; one is added above {ADDED_AT} %)"
            ),
            Self::Ready { fill_percent, fitness } => write!(
                f,
                "it is fit ({fitness} of 1,000) and in reserve (the supernodes are \
                 {fill_percent} % full; one is added above {ADDED_AT} %)"
            ),
            Self::TooMany { fill_percent } => write!(
                f,
                "it stepped down, as the network had more supernodes than it needs (they were \
                 {fill_percent} % full)"
            ),
            Self::NotNeeded { fill_percent, supernodes } => write!(
                f,
                "it stepped down, as whoever had asked it was wrong: {supernodes} supernodes that \
                 are {fill_percent} % full need no more"
            ),
            Self::LostReach { failed, tried } => write!(
                f,
                "it stepped down, as others could not reach it any more ({failed} of {tried} \
                 dial-backs failed)"
            ),
            Self::UserWishUnreached { failed, tried } => write!(
                f,
                "its user wants it so, but others could not reach it ({failed} of {tried} \
                 dial-backs failed): open its UDP port in the firewall or router"
            ),
            Self::Starved { capacity } => write!(
                f,
                "it stepped down, as this machine has little left for others (room for {capacity} \
                 children)"
            ),
        }
    }
}

/// A time in the two largest units that matter.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        match secs {
            0..60 => write!(f, "{secs} s"),
            60..3_600 => write!(f, "{} min", secs / 60),
            _ => write!(f, "{} h {} min", secs / 3_600, secs % 3_600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_in_plain_words() {
        let young = RoleReason::TooYoung {
            up: Duration::from_secs(725),
            asked: Duration::from_secs(1_800),
        };
        assert_eq!(young.to_string(), "its parent has known it for 12 min; 30 min are asked");
        let enough = RoleReason::EnoughSupernodes { fill_percent: 52 };
        assert!(enough.to_string().contains("52 % full; one is added above 70 %"), "{enough}");
        let unreachable = RoleReason::Unreachable { failed: 3, tried: 3 };
        assert!(unreachable.to_string().contains("3 of 3 dial-backs failed"), "{unreachable}");
        assert_eq!(unreachable.code(), "unreachable");
    }
}

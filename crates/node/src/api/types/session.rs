//! What the local API says about sessions with peers, and about the relay of this machine.

use crate::config::{RELAY_RATE, RELAY_SLOTS, RELAY_SLOTS_PER_NAME};
use crate::relay::RelayNote;
use crate::sessions::{PathKind, PathState};
use serde::{Deserialize, Serialize};
use skein_net::relay::RelayLimits;
use skein_proto::session::NatKind;
use skein_proto::{NodeId, Username};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The path of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPath {
    /// Relayed or direct, and where.
    #[serde(flatten)]
    pub kind: PathKind,
    /// Whose node the relay is, from a credential that was checked; not known before one end has
    /// told the other.
    #[serde(default)]
    pub relay_name: Option<Username>,
    /// The round trip as the transport knows it, in microseconds.
    pub rtt_us: u64,
    /// What stands between this node and others.
    pub nat_here: NatKind,
    /// What stands between the peer and others.
    pub nat_there: NatKind,
    /// A relay that is kept warm, should this path die.
    pub reserve: Option<NodeId>,
    /// Whose node that is.
    #[serde(default)]
    pub reserve_name: Option<Username>,
    /// Since when the packets go this way, in seconds since 1970.
    pub since: u64,
    /// How long after the session had begun its packets went directly for the first time, in
    /// microseconds; nothing before they have.
    #[serde(default)]
    pub direct_after_us: Option<u64>,
}

impl SessionPath {
    pub(crate) fn new(
        state: PathState,
        relay_name: Option<Username>,
        reserve_name: Option<Username>,
    ) -> Self {
        Self {
            kind: state.kind,
            relay_name,
            rtt_us: micros(state.rtt),
            nat_here: state.nat_here,
            nat_there: state.nat_there,
            reserve: state.reserve,
            reserve_name,
            since: state.since,
            direct_after_us: state.direct_after.map(micros),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A session with a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The peer.
    pub node: NodeId,
    /// Its user.
    pub name: Username,
    /// Whether this node has called.
    pub called: bool,
    /// Seconds since it began.
    pub open_secs: u64,
    /// Where its packets go.
    pub path: SessionPath,
}

/// Whom to ping, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPing {
    /// The peer: `@name`, `@name/NODE` or a node id.
    pub peer: String,
    /// How many pings; without end if not set.
    pub count: Option<u32>,
    /// Milliseconds between two of them, 10 to 3,600,000; a second if not set.
    pub interval_ms: Option<u32>,
}

/// What comes of pinging a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum PingEvent {
    /// There is a session.
    Connected {
        /// The peer.
        node: NodeId,
        /// Its user.
        name: Username,
        /// How long it took to get it, in microseconds.
        took_us: u64,
        /// Where its packets go.
        path: SessionPath,
    },
    /// The peer has answered.
    Pong {
        /// Counts up from 1.
        number: u64,
        /// The time until the answer came, in microseconds.
        rtt_us: u64,
        /// The relay that the peer sends over; none if it sends directly.
        their_relay: Option<NodeId>,
    },
    /// The peer has not answered in time.
    Lost {
        /// Which one.
        number: u64,
    },
    /// The path has changed.
    Path {
        /// What it is now.
        path: SessionPath,
    },
    /// The session has ended; the next ping opens another.
    Ended {
        /// Why.
        reason: String,
    },
    /// No more pings come. Whoever has asked for them sums them up in this; the daemon does not.
    Done {
        /// How many there were.
        sent: u64,
        /// How many of them were answered.
        answered: u64,
        /// The shortest time until an answer came, in microseconds, if one came.
        least_us: Option<u64>,
        /// The mean of these times.
        mean_us: Option<u64>,
        /// The longest of them.
        most_us: Option<u64>,
    },
}

/// What the relay of this machine gives away; what is not set stays as it is. It holds over
/// restarts, and over the settings, until it is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRelay {
    /// Slots at a time, of all; 0: it does not relay, and those that there are end at once.
    pub slots: Option<u32>,
    /// Slots at a time that one name may have.
    pub slots_per_name: Option<u32>,
    /// Bytes a second through one slot, both directions together.
    pub slot_rate: Option<u32>,
    /// Bytes a second through the slots of one name.
    pub name_rate: Option<u32>,
    /// Bytes a second through all slots.
    pub rate: Option<u32>,
}

impl SetRelay {
    /// What is set here, and where nothing is, what is set there.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            slots: self.slots.or(other.slots),
            slots_per_name: self.slots_per_name.or(other.slots_per_name),
            slot_rate: self.slot_rate.or(other.slot_rate),
            name_rate: self.name_rate.or(other.name_rate),
            rate: self.rate.or(other.rate),
        }
    }

    /// The limits that follow where the settings say `configured`. The error says which number is
    /// out of its range.
    pub(crate) fn over(self, configured: RelayLimits) -> Result<RelayLimits, String> {
        let within = |what, given: Option<u32>, range: &RangeInclusive<u32>, otherwise| {
            let Some(given) = given else { return Ok(otherwise) };
            if range.contains(&given) {
                return Ok(given);
            }
            let (least, most) = (range.start(), range.end());
            Err(format!("{what}: {given} is not between {least} and {most}; 0 slots end relaying"))
        };
        let RelayLimits { slots, slots_per_name, slot_rate, name_rate, total_rate, idle } =
            configured;
        let of_name = self.slots_per_name;
        Ok(RelayLimits {
            slots: within("slots", self.slots, &RELAY_SLOTS, slots)?,
            slots_per_name: within(
                "slots_per_name",
                of_name,
                &RELAY_SLOTS_PER_NAME,
                slots_per_name,
            )?,
            slot_rate: within("slot_rate", self.slot_rate, &RELAY_RATE, slot_rate)?,
            name_rate: within("name_rate", self.name_rate, &RELAY_RATE, name_rate)?,
            total_rate: within("rate", self.rate, &RELAY_RATE, total_rate)?,
            idle,
        })
    }
}

/// The relay of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Whether it would relay now: it is a supernode and gives slots.
    pub active: bool,
    /// Slots at a time, of all.
    pub slots: u32,
    /// Slots at a time that one name may have.
    pub slots_per_name: u32,
    /// Bytes a second through one slot.
    pub slot_rate: u32,
    /// Bytes a second through the slots of one name.
    pub name_rate: u32,
    /// Bytes a second through all slots.
    pub rate: u32,
    /// Slots at present.
    pub slots_used: u32,
    /// Slots granted since the start.
    pub granted: u64,
    /// Slots refused since the start.
    pub refused: u64,
    /// Bytes moved since the start.
    pub bytes: u64,
    /// Bytes dropped since a rate was used up.
    pub dropped_over_rate: u64,
    /// Bytes dropped since the socket did not keep up.
    pub dropped_queue: u64,
    /// Bytes dropped since the system did not take them.
    pub dropped_unsendable: u64,
    /// Bytes dropped since the other end was not bound.
    pub dropped_unbound: u64,
    /// Frames from addresses that are bound to no slot.
    pub foreign: u64,
    /// Proofs that did not hold.
    pub forged: u64,
    /// What the donor has set; all else is as the settings say.
    #[serde(default)]
    pub set: SetRelay,
    /// What was used in the last hours, in steps of ten seconds, the oldest first.
    pub history: Vec<RelayNote>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_and_no_rate_is_nothing() {
        let now = RelayLimits::default();
        let set = SetRelay { slots: Some(0), ..SetRelay::default() };
        assert_eq!(set.over(now), Ok(RelayLimits { slots: 0, ..now }));
        let set = SetRelay { slot_rate: Some(0), ..SetRelay::default() };
        assert!(set.over(now).is_err_and(|why| why.contains("slot_rate")));
        let set = SetRelay { slots_per_name: Some(10_001), ..SetRelay::default() };
        assert!(set.over(now).is_err_and(|why| why.contains("10000")));
    }

    #[test]
    fn a_later_word_counts_and_what_was_set_before_stays() {
        let first = SetRelay { slots: Some(1), rate: Some(7), ..SetRelay::default() };
        let then = SetRelay { slots: Some(2), ..SetRelay::default() };
        assert_eq!(then.or(first), SetRelay { slots: Some(2), ..first });
    }
}

//! The numbers of sessions with peers and of the relay.

use super::Reason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The sessions' numbers.
#[derive(Clone, Debug, Default)]
pub struct SessionMetrics {
    /// Sessions that are open.
    pub live: Gauge,
    /// Sessions begun, by their first path.
    pub begun: Family<Reason, Counter>,
    /// Sessions that went on over another relay when theirs let nothing through.
    pub moved: Counter,
    /// Offers that carried something that is no first packet of a dial.
    pub no_first_packet: Counter,
    /// Slots of relays that were needed no more and given back.
    pub slots_given_back: Counter,
    /// Offers of others taken.
    pub offers_taken: Counter,
    /// Offers passed on for others.
    pub offers_passed: Counter,
}

impl SessionMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("live", "Sessions that are open", self.live.clone());
        to.register("begun", "Sessions begun, by their first path", self.begun.clone());
        to.register("moved", "Sessions that went on over another relay", self.moved.clone());
        let none = "Offers that carried something that is no first packet of a dial";
        to.register("no_first_packet", none, self.no_first_packet.clone());
        let given_back = "Slots of relays given back since they were needed no more";
        to.register("slots_given_back", given_back, self.slots_given_back.clone());
        to.register("offers_taken", "Offers taken", self.offers_taken.clone());
        to.register("offers_passed", "Offers passed on", self.offers_passed.clone());
    }
}

/// The relay's numbers.
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics {
    /// Slots granted that are not over.
    pub slots: Gauge,
    /// Slots granted.
    pub granted: Counter,
    /// Slots refused.
    pub refused: Counter,
    /// Slots that were given back.
    pub released: Counter,
    /// Slots that somebody gave back who did not have them, or had used them much just then.
    pub unreleased: Counter,
    /// Bytes moved.
    pub bytes: Counter,
    /// Bytes that were not moved, by the reason.
    pub dropped: Family<Reason, Counter>,
    /// Frames that belonged to no bound end, and proofs that did not hold.
    pub rejected: Family<Reason, Counter>,
    /// Packets moved for an end before its address was proven.
    pub early: Counter,
}

impl RelayMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("slots", "Slots that are not over", self.slots.clone());
        to.register("granted", "Slots granted", self.granted.clone());
        to.register("refused", "Slots refused", self.refused.clone());
        to.register("released", "Slots given back", self.released.clone());
        let unreleased = "Slots that were not taken back, though somebody gave them back";
        to.register("unreleased", unreleased, self.unreleased.clone());
        to.register("bytes", "Bytes moved", self.bytes.clone());
        to.register("dropped_bytes", "Bytes not moved, by the reason", self.dropped.clone());
        to.register("rejected", "Frames rejected, by the reason", self.rejected.clone());
        let early = "Packets moved for an end whose address was not proven yet";
        to.register("early", early, self.early.clone());
    }
}

//! The numbers of files that people send each other.

use super::Reason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Files from and for people.
#[derive(Clone, Debug, Default)]
pub struct InboxMetrics {
    /// Offers that nobody has decided on.
    pub undecided: Gauge,
    /// Offers of others that were taken in.
    pub taken: Counter,
    /// Offers of others that were not, and what they said of offers and was not heard, by the
    /// reason.
    pub refused: Family<Reason, Counter>,
    /// Offers that others have taken in.
    pub delivered: Counter,
    /// Files received.
    pub received: Counter,
    /// Files that others have received.
    pub sent: Counter,
}

impl InboxMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("undecided", "Offers of others to decide on", self.undecided.clone());
        to.register("taken", "Offers of others taken in", self.taken.clone());
        let help = "Offers of others not taken in, by the reason";
        to.register("refused", help, self.refused.clone());
        to.register("delivered", "Offers that others have taken in", self.delivered.clone());
        to.register("received", "Files received", self.received.clone());
        to.register("sent", "Files that others have received", self.sent.clone());
    }
}

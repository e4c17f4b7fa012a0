//! The numbers of chat and of services for people.

use super::Reason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What people do.
#[derive(Clone, Debug, Default)]
pub struct PeopleMetrics {
    /// Messages that are queued.
    pub queued: Gauge,
    /// Messages that were not read yet.
    pub unread: Gauge,
    /// Messages of others that were put on disk.
    pub messages_kept: Counter,
    /// Messages of others that had been put on disk before.
    pub messages_repeated: Counter,
    /// Messages of others that were refused, by the reason.
    pub messages_refused: Family<Reason, Counter>,
    /// Messages of this user that were delivered.
    pub messages_delivered: Counter,
    /// Messages of this user that were refused for good.
    pub messages_not_wanted: Counter,
    /// Tries to deliver that did not work.
    pub deliveries_failed: Counter,
    /// Services that peers were served.
    pub services_served: Counter,
    /// Services that were refused or broke off, by the reason.
    pub services_failed: Family<Reason, Counter>,
    /// Packets of services that were dropped.
    pub datagrams_dropped: Counter,
}

impl PeopleMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("queued", "Messages that are queued", self.queued.clone());
        to.register("unread", "Messages that were not read", self.unread.clone());
        to.register("messages_kept", "Messages kept", self.messages_kept.clone());
        let help = "Messages that had been kept before";
        to.register("messages_repeated", help, self.messages_repeated.clone());
        to.register("messages_refused", "Messages refused", self.messages_refused.clone());
        to.register("messages_delivered", "Messages delivered", self.messages_delivered.clone());
        let help = "Messages of this user that were refused for good";
        to.register("messages_not_wanted", help, self.messages_not_wanted.clone());
        let help = "Tries to deliver that did not work";
        to.register("deliveries_failed", help, self.deliveries_failed.clone());
        to.register("services_served", "Services served to peers", self.services_served.clone());
        let help = "Services that were refused or broke off";
        to.register("services_failed", help, self.services_failed.clone());
        let help = "Packets of services that were dropped";
        to.register("datagrams_dropped", help, self.datagrams_dropped.clone());
    }
}

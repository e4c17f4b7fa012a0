//! Hands the totals of all parts over to the metrics at the moment of a scrape.

use super::Shared;
use crate::api::inbox::{FileOffer, OfferStage};
use crate::metrics::{Metrics, Reason, set_level, set_total};
use skein_net::EndpointStats;
use skein_proto::Role;

impl Shared {
    /// All counters, as OpenMetrics text.
    pub(super) async fn scrape(&self) -> String {
        self.scrape_overlay().await;
        self.scrape_net();
        self.scrape_sessions();
        self.scrape_people().await;
        self.scrape_inbox().await;
        self.scrape_files();
        self.metrics.render()
    }

    async fn scrape_overlay(&self) {
        let Some(view) = self.driver.view().await else { return };
        let (snapshot, counters) = (&view.snapshot, &view.counters);
        let metrics = &self.metrics.overlay;
        set_level(&metrics.supernode, u32::from(snapshot.role == Role::Super));
        set_level(&metrics.supernodes_known, snapshot.supernodes_known);
        set_level(&metrics.reputation, snapshot.reputation.reputation);
        set_level(&metrics.reputation_partners, snapshot.reputation.partners);
        set_total(&metrics.vouchers_signed, counters.vouchers_signed);
        set_total(&metrics.receipts_signed, counters.receipts_signed);
        set_total(&metrics.evidence_kept, counters.evidence_kept);
        set_total(&metrics.offences_proven, counters.offences_proven);
        let supernode = snapshot.supernode.clone().unwrap_or_default();
        set_level(&metrics.children, supernode.children);
        set_level(&metrics.standbys, supernode.standbys);
        set_level(&metrics.neighbours, supernode.neighbours);
        set_level(&metrics.records, supernode.records);
        set_level(&metrics.leaving_records, supernode.leaving_records);
        set_level(&metrics.index_bytes, supernode.index_bytes);
        set_level(&metrics.index_bytes_limit, supernode.index_bytes_limit);
        set_level(&metrics.index_segments, supernode.index_segments);
        set_level(&metrics.table_bits, supernode.table_bits);
        set_level(&metrics.table_bits_set, supernode.table_bits_set);
        set_level(&metrics.tables_bytes, supernode.tables_bytes);
        set_total(&metrics.table_excluded, counters.table_excluded);
        set_total(&metrics.table_asks, counters.table_asks);
        set_total(&metrics.table_misses, counters.table_misses);
        set_level(&metrics.wishes, supernode.wishes);
        set_level(&metrics.directory_nodes, supernode.directory.nodes);
        set_level(&metrics.directory_sources, supernode.directory.sources);
        set_total(&metrics.directory_lookups, counters.directory_lookups);
        set_total(&metrics.directory_first_try, counters.directory_first_try);
        set_total(&metrics.searches, counters.searches_answered);
        set_total(&metrics.floods, counters.floods_answered);
        set_total(&metrics.hits, counters.hits_passed);
        set_total(&metrics.parents_lost, counters.parents_lost);
        set_total(&self.metrics.sessions.offers_taken, counters.session_offers_taken);
        set_total(&self.metrics.sessions.offers_passed, counters.session_offers_passed);
        let sessions = self.sessions.counts();
        let own = [
            ("prefixes_cut", supernode.prefixes_cut),
            ("searches_cut", supernode.searches_cut),
            ("links_stalled", view.links_stalled),
            ("hits_unread", view.hits_unread),
            ("session_events_dropped", view.session_events_dropped),
            ("sessions_over_limit", sessions.over_limit),
            ("sessions_over_share", sessions.over_share),
            ("session_offers_busy", sessions.offers_busy),
            ("session_offers_unsound", sessions.offers_unsound),
            ("session_offers_without_path", sessions.offers_without_path),
            ("session_slots_withheld", sessions.slots_withheld),
            ("session_slots_not_given_back", sessions.slots_not_given_back),
        ];
        for (reason, total) in counters.all().into_iter().filter(|(name, _)| is_limit(name)) {
            set_total(&metrics.refused.get_or_create(&Reason { reason }), total);
        }
        for (reason, total) in own {
            set_total(&metrics.refused.get_or_create(&Reason { reason }), total);
        }
    }

    fn scrape_sessions(&self) {
        let Metrics { sessions, relay, .. } = &self.metrics;
        let counts = self.sessions.counts();
        set_level(&sessions.live, counts.live);
        set_total(&sessions.moved, counts.moved);
        for (reason, total) in [("relayed", counts.begun_relayed), ("direct", counts.begun_direct)]
        {
            set_total(&sessions.begun.get_or_create(&Reason { reason }), total);
        }
        set_total(&sessions.no_first_packet, counts.no_first_packet);
        set_total(&sessions.slots_given_back, counts.slots_given_back);
        let usage = self.donor.usage();
        set_total(&relay.early, usage.early);
        set_level(&relay.slots, usage.slots);
        set_total(&relay.granted, usage.granted);
        set_total(&relay.refused, usage.refused);
        set_total(&relay.released, usage.released);
        set_total(&relay.unreleased, usage.unreleased);
        set_total(&relay.bytes, usage.bytes);
        for (reason, total) in [
            ("over-rate", usage.dropped_over_rate),
            ("queue", usage.dropped_queue),
            ("unsendable", usage.dropped_unsendable),
            ("unbound", usage.dropped_unbound),
        ] {
            set_total(&relay.dropped.get_or_create(&Reason { reason }), total);
        }
        for (reason, total) in [("foreign", usage.foreign), ("forged", usage.forged)] {
            set_total(&relay.rejected.get_or_create(&Reason { reason }), total);
        }
    }

    async fn scrape_inbox(&self) {
        let metrics = &self.metrics.inbox;
        let undecided = |offer: &&FileOffer| !offer.outgoing && offer.state == OfferStage::Offered;
        let offers = self.inbox.offers().await;
        set_level(&metrics.undecided, offers.iter().filter(undecided).count() as u64);
        let stats = self.inbox.stats();
        set_total(&metrics.taken, stats.taken);
        set_total(&metrics.delivered, stats.delivered);
        set_total(&metrics.received, stats.received);
        set_total(&metrics.sent, stats.sent);
        for (reason, total) in [
            ("full", stats.full),
            ("unsound", stats.unsound),
            ("not-wanted", stats.not_wanted),
            ("too-fast", stats.too_fast),
        ] {
            set_total(&metrics.refused.get_or_create(&Reason { reason }), total);
        }
    }

    async fn scrape_people(&self) {
        let metrics = &self.metrics.people;
        let (queued, unread) = self.people.open_messages().await;
        set_level(&metrics.queued, queued);
        set_level(&metrics.unread, unread);
        let counts = self.people.counts();
        set_total(&metrics.messages_kept, counts.kept);
        set_total(&metrics.messages_repeated, counts.repeated);
        set_total(&metrics.messages_delivered, counts.delivered);
        set_total(&metrics.messages_not_wanted, counts.refused);
        set_total(&metrics.deliveries_failed, counts.tries_failed);
        for (reason, total) in [
            ("not-wanted", counts.not_wanted),
            ("too-fast", counts.too_fast),
            ("full", counts.full),
            ("unavailable", counts.unavailable),
        ] {
            set_total(&metrics.messages_refused.get_or_create(&Reason { reason }), total);
        }
        let services = self.services.stats();
        set_total(&metrics.services_served, services.served);
        set_total(&metrics.datagrams_dropped, services.datagrams_dropped);
        for (reason, total) in [
            ("not-allowed", services.not_allowed),
            ("busy", services.busy),
            ("broken", services.broken),
        ] {
            set_total(&metrics.services_failed.get_or_create(&Reason { reason }), total);
        }
    }

    fn scrape_net(&self) {
        let metrics = &self.metrics.net;
        let stats = self.endpoint.stats();
        let live = stats.connections_incoming_live + stats.connections_outgoing_live;
        set_level(&metrics.connections, live);
        for (reason, total) in handshakes_kept_out(&stats) {
            set_total(&metrics.handshakes_refused.get_or_create(&Reason { reason }), total);
        }
        for (reason, total) in
            [("malformed", stats.messages_malformed), ("unknown", stats.messages_unknown)]
        {
            set_total(&metrics.codec_errors.get_or_create(&Reason { reason }), total);
        }
        for (reason, total) in stats.iter().filter(|(name, _)| is_limit_of_net(name)) {
            set_total(&metrics.refused.get_or_create(&Reason { reason }), total);
        }
    }

    fn scrape_files(&self) {
        let Metrics { library, transfer, .. } = &self.metrics;
        let (status, stats) = (self.library.status(), self.library.stats());
        set_level(&library.files, status.files);
        set_level(&library.bytes, status.bytes);
        set_total(&library.bytes_hashed, stats.bytes_hashed);
        let unreadable: u64 = self.library.shares().iter().map(|share| share.unreadable).sum();
        set_level(&library.unreadable, unreadable);

        let uploads = self.transfers.upload_stats();
        set_level(&transfer.uploads, uploads.active);
        let downloads = self.transfers.download_stats();
        set_level(&transfer.downloads, downloads.active);
        set_total(&transfer.bytes_up, uploads.bytes);
        set_total(&transfer.bytes_down, downloads.bytes);
        set_total(&transfer.bytes_relayed, downloads.relayed_bytes);
        set_level(&transfer.sessions, downloads.sessions);
        set_total(&transfer.corrupt_sources, downloads.corrupt_sources);
        for (reason, total) in [
            ("dialled", downloads.dialled),
            ("session", downloads.over_sessions),
            ("session-failed", downloads.sessions_failed),
            ("over-limit", downloads.sessions_over_limit),
            ("too-many", downloads.sources_refused),
        ] {
            set_total(&transfer.sources.get_or_create(&Reason { reason }), total);
        }
        for (reason, total) in [
            ("not-found", uploads.not_found),
            ("bad-request", uploads.bad_requests),
            ("not-allowed", uploads.not_allowed),
            ("broken-off", uploads.broken_off),
            ("unreadable", uploads.unreadable),
            ("taken-back", uploads.taken_back),
            ("too-fast", uploads.too_fast),
            ("overdue", uploads.overdue),
        ] {
            set_total(&transfer.uploads_refused.get_or_create(&Reason { reason }), total);
        }
    }
}

/// Handshakes that became no connection, by the reason.
fn handshakes_kept_out(stats: &EndpointStats) -> [(&'static str, u64); 6] {
    [
        ("rate", stats.handshakes_refused_rate),
        ("pending", stats.handshakes_refused_pending),
        ("full", stats.handshakes_refused_full),
        ("peer", stats.handshakes_failed_peer),
        ("abandoned", stats.handshakes_abandoned),
        ("reflected", stats.handshakes_reflected),
    ]
}

/// The counters of the overlay that count what a limit or a check has kept out.
fn is_limit(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "over_",
        "refused",
        "forged",
        "unasked",
        "unsound",
        "displaced",
        "misbehaved",
        "timed_out",
        "expired",
        "duplicate",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Those of the endpoint, but for handshakes, which are counted by themselves.
fn is_limit_of_net(name: &str) -> bool {
    const PARTS: [&str; 13] = [
        "over_limit",
        "datagrams_unknown",
        "refused",
        "dropped",
        "overflowed",
        "unroutable",
        "unannounced",
        "superseded",
        "nowhere",
        "forged",
        "repeated",
        "misused",
        "made_room",
    ];
    !name.starts_with("handshakes_") && PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_from_what_works() {
        for limit in ["searches_over_budget", "session_offers_displaced", "hits_forged"] {
            assert!(is_limit(limit), "{limit}");
        }
        for limit in ["tunnels_made_room", "dials_over_limit", "datagrams_unknown"] {
            assert!(is_limit_of_net(limit), "{limit}");
        }
        for other in ["handshakes_refused_rate", "messages_unknown", "tunnels_accepted"] {
            assert!(!is_limit_of_net(other), "{other}");
        }
        assert!(!is_limit("searches_answered"));
    }

    #[test]
    fn every_handshake_that_became_no_connection_is_shown_with_its_reason() {
        let stats = EndpointStats::default();
        let others = ["handshakes_accepted", "handshakes_dialled", "handshakes_retried"];
        let counted: Vec<&str> = stats
            .iter()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("handshakes_") && !others.contains(name))
            .collect();
        let shown = handshakes_kept_out(&stats).map(|(reason, _)| reason);
        assert_eq!(counted.len(), shown.len(), "{counted:?} {shown:?}");
        for (name, reason) in counted.iter().zip(shown) {
            assert!(name.ends_with(reason), "{name} {reason}");
        }
    }
}

//! What the daemon counts, in OpenMetrics.
//!
//! A part that counts while it works holds a clone of its own handles ([`ApiMetrics`],
//! [`LoginMetrics`], …). A part whose numbers live in a state machine hands over its totals at
//! the moment of the scrape, see [`set_total`].

mod inbox;
mod people;
mod sessions;

pub use inbox::InboxMetrics;
pub use people::PeopleMetrics;
pub use sessions::{RelayMetrics, SessionMetrics};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::Ordering;

/// The content type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All counters and gauges of a daemon. A clone of a part counts into the same numbers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the node is in the network.
    pub overlay: OverlayMetrics,
    /// Its connections.
    pub net: NetMetrics,
    /// Its sessions with peers.
    pub sessions: SessionMetrics,
    /// What it gives away as a relay.
    pub relay: RelayMetrics,
    /// What people do on them.
    pub people: PeopleMetrics,
    /// Files that people send each other.
    pub inbox: InboxMetrics,
    /// Its share library.
    pub library: LibraryMetrics,
    /// What it fetches and serves.
    pub transfer: TransferMetrics,
    /// What it has to do with the login service.
    pub login: LoginMetrics,
    /// Its local API.
    pub api: ApiMetrics,
}

/// The overlay's numbers: totals and levels that are set at the moment of the scrape.
#[derive(Clone, Debug, Default)]
pub struct OverlayMetrics {
    /// Children attached.
    pub children: Gauge,
    /// Children for which this node is the standby.
    pub standbys: Gauge,
    /// Fellow supernodes linked.
    pub neighbours: Gauge,
    /// Supernodes known.
    pub supernodes_known: Gauge,
    /// The reputation of this node's name.
    pub reputation: Gauge,
    /// Names that have signed evidence for it.
    pub reputation_partners: Gauge,
    /// Vouchers signed for others.
    pub vouchers_signed: Counter,
    /// Receipts signed for others.
    pub receipts_signed: Counter,
    /// Statements about this node that were worth keeping.
    pub evidence_kept: Counter,
    /// Offences of others that were proven.
    pub offences_proven: Counter,
    /// 1 for a supernode, 0 for an ordinary node.
    pub supernode: Gauge,
    /// Records in the index.
    pub records: Gauge,
    /// Records of those who have gone that the index is still to forget.
    pub leaving_records: Gauge,
    /// Bytes that the index reckons to hold.
    pub index_bytes: Gauge,
    /// Bytes that the index may hold.
    pub index_bytes_limit: Gauge,
    /// Parts of which the index is made at the moment.
    pub index_segments: Gauge,
    /// Bits of the own query routing table.
    pub table_bits: Gauge,
    /// How many of them are set.
    pub table_bits_set: Gauge,
    /// Bytes that the neighbours' query routing tables take.
    pub tables_bytes: Gauge,
    /// Looks at neighbours' query routing tables that excluded them.
    pub table_excluded: Counter,
    /// Neighbours asked because their query routing tables did not exclude them.
    pub table_asks: Counter,
    /// Those of them that had nothing. Of these and those excluded together they are the tables' rate
    /// of false positives.
    pub table_misses: Counter,
    /// Standing queries of everybody.
    pub wishes: Gauge,
    /// Nodes kept for the directory.
    pub directory_nodes: Gauge,
    /// Sources kept for the directory.
    pub directory_sources: Gauge,
    /// Look-ups in the directory, of its own user and of its children.
    pub directory_lookups: Counter,
    /// Those that the first one that was asked could answer.
    pub directory_first_try: Counter,
    /// Searches of its own user and of its children.
    pub searches: Counter,
    /// Queries of neighbours.
    pub floods: Counter,
    /// Hits given.
    pub hits: Counter,
    /// Parents lost.
    pub parents_lost: Counter,
    /// What was refused because of a limit, by the limit.
    pub refused: Family<Reason, Counter>,
}

/// The network's numbers.
#[derive(Clone, Debug, Default)]
pub struct NetMetrics {
    /// Connections that stand.
    pub connections: Gauge,
    /// Handshakes that were turned away, by the reason.
    pub handshakes_refused: Family<Reason, Counter>,
    /// Frames that were no message, by what was wrong.
    pub codec_errors: Family<Reason, Counter>,
    /// What else was refused or dropped because of a limit or a check, by what it was.
    pub refused: Family<Reason, Counter>,
}

/// The share library's numbers.
#[derive(Clone, Debug, Default)]
pub struct LibraryMetrics {
    /// Files shared.
    pub files: Gauge,
    /// Their bytes.
    pub bytes: Gauge,
    /// Bytes hashed by scans.
    pub bytes_hashed: Counter,
    /// Files and folders that could not be read at the last scan of their share.
    pub unreadable: Gauge,
}

/// The transfers' numbers.
#[derive(Clone, Debug, Default)]
pub struct TransferMetrics {
    /// Uploads that run.
    pub uploads: Gauge,
    /// Downloads that run.
    pub downloads: Gauge,
    /// Bytes of files sent.
    pub bytes_up: Counter,
    /// Bytes of files received and verified.
    pub bytes_down: Counter,
    /// Of these, bytes that came through a relay.
    pub bytes_relayed: Counter,
    /// Sessions that downloads use.
    pub sessions: Gauge,
    /// Sources reached and not reached, by the way and the reason.
    pub sources: Family<Reason, Counter>,
    /// Sources dropped for a wrong byte.
    pub corrupt_sources: Counter,
    /// Uploads refused, by the reason.
    pub uploads_refused: Family<Reason, Counter>,
}

/// The numbers of the dealings with the login service.
#[derive(Clone, Debug, Default)]
pub struct LoginMetrics {
    /// Credentials renewed.
    pub renewals: Counter,
    /// Registrations, logins and renewals that failed, by the reason.
    pub failures: Family<Reason, Counter>,
}

/// The local API's numbers.
#[derive(Clone, Debug, Default)]
pub struct ApiMetrics {
    /// Answers, by HTTP status.
    pub responses: Family<HttpStatus, Counter>,
    /// Streams refused since too many were open.
    pub streams_refused: Counter,
    /// Connections that had to wait since too many were open.
    pub connections_delayed: Counter,
}

/// Why something was refused or failed: a word that the program chose, never text of a peer, so
/// that the number of series stays bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The word.
    pub reason: &'static str,
}

/// An HTTP status as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpStatus {
    /// The number.
    pub status: StatusCode,
}

/// The number of an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusCode(pub u16);

impl EncodeLabelValue for StatusCode {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        u32::from(self.0).encode(encoder)
    }
}

/// Raises a counter to a total that somebody else keeps. A total that is lower than the counter
/// leaves it as it is: a counter never goes back.
pub fn set_total(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// Sets a gauge to a number that has no sign.
pub fn set_level(gauge: &Gauge, level: impl TryInto<i64>) {
    gauge.set(level.try_into().unwrap_or(i64::MAX));
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Starts with zeroes.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("skein"),
            overlay: OverlayMetrics::default(),
            net: NetMetrics::default(),
            sessions: SessionMetrics::default(),
            relay: RelayMetrics::default(),
            people: PeopleMetrics::default(),
            inbox: InboxMetrics::default(),
            library: LibraryMetrics::default(),
            transfer: TransferMetrics::default(),
            login: LoginMetrics::default(),
            api: ApiMetrics::default(),
        };
        let root = &mut metrics.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        root.register("build", "The program", build);
        metrics.overlay.register(root.sub_registry_with_prefix("overlay"));
        metrics.net.register(root.sub_registry_with_prefix("net"));
        metrics.sessions.register(root.sub_registry_with_prefix("sessions"));
        metrics.relay.register(root.sub_registry_with_prefix("relay"));
        metrics.people.register(root.sub_registry_with_prefix("people"));
        metrics.inbox.register(root.sub_registry_with_prefix("inbox"));
        metrics.library.register(root.sub_registry_with_prefix("library"));
        metrics.transfer.register(root.sub_registry_with_prefix("transfer"));
        metrics.login.register(root.sub_registry_with_prefix("login"));
        metrics.api.register(root.sub_registry_with_prefix("api"));
        metrics
    }

    /// All numbers as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a string fails only if a metric's own encoding does.
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }
}

impl OverlayMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("children", "Children attached", self.children.clone());
        to.register("standbys", "Children that hold this node in reserve", self.standbys.clone());
        to.register("neighbours", "Fellow supernodes linked", self.neighbours.clone());
        to.register("supernodes_known", "Supernodes known", self.supernodes_known.clone());
        to.register("reputation", "Reputation of the name, 0 to 1000", self.reputation.clone());
        let help = "Names that have signed evidence for it";
        to.register("reputation_partners", help, self.reputation_partners.clone());
        to.register("vouchers_signed", "Vouchers signed", self.vouchers_signed.clone());
        to.register("receipts_signed", "Receipts signed", self.receipts_signed.clone());
        to.register("evidence_kept", "Evidence taken in", self.evidence_kept.clone());
        to.register("offences_proven", "Offences proven", self.offences_proven.clone());
        to.register("supernode", "1 for a supernode, else 0", self.supernode.clone());
        to.register("records", "Records in the index", self.records.clone());
        let help = "Records of those who have gone that the index is still to forget";
        to.register("leaving_records", help, self.leaving_records.clone());
        to.register("index_bytes", "Bytes that the index holds", self.index_bytes.clone());
        let help = "Bytes that the index may hold; then it refuses records";
        to.register("index_bytes_limit", help, self.index_bytes_limit.clone());
        let help = "Parts of which the index is made; they are merged when it is calm";
        to.register("index_segments", help, self.index_segments.clone());
        to.register("table_bits", "Bits of the query routing table", self.table_bits.clone());
        let help = "Bits of the query routing table that are set";
        to.register("table_bits_set", help, self.table_bits_set.clone());
        let help = "Bytes that the neighbours' query routing tables take";
        to.register("tables_bytes", help, self.tables_bytes.clone());
        let help = "Neighbours not asked because their query routing tables excluded them";
        to.register("table_excluded", help, self.table_excluded.clone());
        let help = "Neighbours asked because their query routing tables did not exclude them";
        to.register("table_asks", help, self.table_asks.clone());
        let help = "Neighbours so asked that had nothing: misses / (misses + excluded) is the rate of \
                    false positives";
        to.register("table_misses", help, self.table_misses.clone());
        to.register("wishes", "Standing queries of everybody", self.wishes.clone());
        let help = "Nodes kept for the directory";
        to.register("directory_nodes", help, self.directory_nodes.clone());
        let help = "Sources kept for the directory";
        to.register("directory_sources", help, self.directory_sources.clone());
        let help = "Look-ups in the directory";
        to.register("directory_lookups", help, self.directory_lookups.clone());
        let help = "Look-ups that the first supernode asked could answer";
        to.register("directory_first_try", help, self.directory_first_try.clone());
        to.register("searches", "Searches of its user and its children", self.searches.clone());
        to.register("floods", "Queries of neighbours", self.floods.clone());
        to.register("hits", "Hits given", self.hits.clone());
        to.register("parents_lost", "Parents lost", self.parents_lost.clone());
        to.register("refused", "Refused because of a limit", self.refused.clone());
    }
}

impl NetMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("connections", "Connections that stand", self.connections.clone());
        to.register(
            "handshakes_refused",
            "Handshakes turned away",
            self.handshakes_refused.clone(),
        );
        to.register("codec_errors", "Frames that were no message", self.codec_errors.clone());
        let help = "Refused or dropped because of a limit or a check";
        to.register("refused", help, self.refused.clone());
    }
}

impl LibraryMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("files", "Files shared", self.files.clone());
        to.register("bytes", "Bytes of the files shared", self.bytes.clone());
        to.register("bytes_hashed", "Bytes hashed by scans", self.bytes_hashed.clone());
        to.register(
            "unreadable",
            "Files that could not be read at the last scan",
            self.unreadable.clone(),
        );
    }
}

impl TransferMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("uploads", "Uploads that run", self.uploads.clone());
        to.register("downloads", "Downloads that run", self.downloads.clone());
        to.register("bytes_up", "Bytes of files sent", self.bytes_up.clone());
        to.register("bytes_down", "Bytes of files received, verified", self.bytes_down.clone());
        let help = "Of bytes_down, those that came through a relay";
        to.register("bytes_relayed", help, self.bytes_relayed.clone());
        to.register("sessions", "Sessions that downloads use", self.sessions.clone());
        let help = "Sources reached or not, by the way or the reason";
        to.register("sources", help, self.sources.clone());
        to.register(
            "corrupt_sources",
            "Sources dropped for a wrong byte",
            self.corrupt_sources.clone(),
        );
        to.register("uploads_refused", "Uploads refused", self.uploads_refused.clone());
    }
}

impl LoginMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("renewals", "Credentials renewed", self.renewals.clone());
        to.register(
            "failures",
            "Registrations, logins and renewals that failed",
            self.failures.clone(),
        );
    }
}

impl ApiMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("responses", "Answers by HTTP status", self.responses.clone());
        to.register(
            "streams_refused",
            "Streams refused since too many were open",
            self.streams_refused.clone(),
        );
        to.register(
            "connections_delayed",
            "Connections that waited since too many were open",
            self.connections_delayed.clone(),
        );
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        self.responses.get_or_create(&HttpStatus { status: StatusCode(status) }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_part_counts_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.api.clone().answered(403);
        metrics.net.codec_errors.get_or_create(&Reason { reason: "too-large" }).inc_by(2);
        set_level(&metrics.overlay.children, 7_u32);
        set_total(&metrics.overlay.searches, 5);
        let text = metrics.render();
        for line in [
            "skein_api_responses_total{status=\"403\"} 1",
            "skein_net_codec_errors_total{reason=\"too-large\"} 2",
            "skein_overlay_children 7",
            "skein_overlay_searches_total 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_counter_never_goes_back() {
        let counter = Counter::default();
        set_total(&counter, 5);
        set_total(&counter, 3);
        assert_eq!(counter.get(), 5);
    }
}

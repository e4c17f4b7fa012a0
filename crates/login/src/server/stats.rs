//! Counters: every limit and every failure has one.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the service has done since it started. All counters only grow, but for
        /// [`Stats::connections_open`]. What its socket refused is told by
        /// [`Server::network_stats`](super::Server::network_stats).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }

        impl Stats {
            /// All counters by their names, for logs and metrics.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections that are open at present.
    connections_open,
    /// Connections that were accepted.
    connections_accepted,
    /// Connections closed since nothing was asked on them for a while.
    connections_idle,
    /// Streams on which something other than a request came, or none in time.
    bad_requests,
    /// Requests answered, refusals included.
    requests,
    /// Names registered.
    registered,
    /// Nodes that logged in with a name and a password.
    logged_in,
    /// Credentials renewed.
    renewed,
    /// Nodes revoked.
    revoked,
    /// Bootstrap lists given out.
    bootstraps,
    /// Nodes invited to be the first supernode.
    invited,
    /// Reports of supernodes taken.
    reports,
    /// Refusals of all kinds, the limited ones included.
    refused,
    /// Wrong names or passwords.
    wrong_passwords,
    /// Requests refused by the limit on all requests of an address.
    limited_requests,
    /// Registrations refused by the limit of an address.
    limited_registrations,
    /// Password attempts refused by the limit of an address.
    limited_attempts_by_address,
    /// Password attempts refused by the limit of a name.
    limited_attempts_by_name,
    /// Decisions made by the shared overflow bucket since a table of limits was full.
    limit_table_overflows,
    /// Password hashes computed.
    hashes,
    /// Requests refused since too many were waiting for a password hash.
    hash_queue_full,
    /// Dial-backs made.
    dial_backs,
    /// Dial-backs that reached the node.
    dial_backs_reached,
    /// Dial-backs not made since too many were made to the address.
    limited_dial_backs,
    /// Dial-backs not made since too many were under way.
    dial_backs_over_limit,
    /// Claimed addresses not dialled since they were not the asker's own.
    foreign_addresses,
    /// Failures of the store.
    store_failures,
}

/// A number that counts.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_many(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_what_was_counted() {
        let counters = Counters::default();
        counters.hashes.add();
        counters.foreign_addresses.add_many(3);
        let stats = counters.snapshot();
        assert_eq!((stats.hashes, stats.foreign_addresses), (1, 3));
        assert!(stats.named().any(|(name, count)| name == "hashes" && count == 1));
    }
}

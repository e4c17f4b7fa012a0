//! What an endpoint counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The running totals behind [`EndpointStats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        /// Totals since the endpoint was bound; those called live are the number at present.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct EndpointStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl EndpointStats {
            /// All of them with their names, for a metrics page.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> EndpointStats {
                EndpointStats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Inbound connections that were authenticated.
    handshakes_accepted,
    /// Outbound connections that were authenticated.
    handshakes_dialled,
    /// Inbound attempts that had to prove their address first (a QUIC Retry packet).
    handshakes_retried,
    /// Inbound attempts refused since their address made too many in a short time.
    handshakes_refused_rate,
    /// Inbound attempts refused since too many handshakes were under way.
    handshakes_refused_pending,
    /// Inbound attempts refused since as many connections were open as are allowed.
    handshakes_refused_full,
    /// Inbound attempts that failed by what the dialler sent: no certificate, a wrong protocol,
    /// a malformed packet.
    handshakes_failed_peer,
    /// Inbound attempts that were not completed in time, or were given up by the dialler.
    handshakes_abandoned,
    /// Dials that got no connection from any address.
    dials_failed,
    /// Dials refused here, since as many were under way or open as are allowed.
    dials_over_limit,
    /// Live inbound connections.
    connections_incoming_live,
    /// Live outbound connections.
    connections_outgoing_live,
    /// Inbound connections closed since nobody took them from the queue.
    connections_dropped_queue_full,
    /// Outbound connections that were to be announced by `accept`, but found its queue full.
    connections_unannounced,
    /// Connections closed since their peer had opened too many others after them.
    connections_superseded,
    /// Datagrams received.
    datagrams_in,
    /// Datagrams sent.
    datagrams_out,
    /// Datagrams dropped since they are of a kind of frame that this version does not know.
    datagrams_unknown,
    /// Datagrams of sessions that had no route.
    session_datagrams_unroutable,
    /// Batches of sessions dropped since too many came mixed with those of others.
    session_datagrams_overflowed,
    /// Messages received.
    messages_in,
    /// Messages sent.
    messages_out,
    /// Messages skipped since this version does not know them.
    messages_unknown,
    /// Streams given up since what came was no message.
    messages_malformed,
}

/// A number that goes up, and down where it counts what is live.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

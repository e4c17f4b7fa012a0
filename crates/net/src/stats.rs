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
    /// Inbound attempts along a session that this side dials itself: its own packets, sent back, or
    /// old ones of its peer.
    handshakes_reflected,
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
    /// Datagrams that the system refused to send, such as those that are longer than the line takes.
    datagrams_refused,
    /// Datagrams dropped since they came from port 0, where nobody is.
    datagrams_from_nowhere,
    /// Datagrams dropped since they are of a kind of frame that this version does not know.
    datagrams_unknown,
    /// Datagrams of sessions that had no route.
    session_datagrams_unroutable,
    /// Batches of sessions dropped since too many came mixed with those of others.
    session_datagrams_overflowed,
    /// Batches of sessions sent along another route as well, while the one in use was silent.
    session_batches_tried_elsewhere,
    /// Tunnels over TCP that others opened.
    tunnels_accepted,
    /// Tunnels over TCP that this side opened since UDP brought nothing.
    tunnels_dialled,
    /// Tunnels of this side that broke and were opened again.
    tunnels_redialled,
    /// Tunnels of this side that were left since UDP works again.
    tunnels_left_for_udp,
    /// Live tunnels that others opened.
    tunnels_incoming_live,
    /// Live tunnels that this side opened.
    tunnels_outgoing_live,
    /// Tunnels refused since as many were open as are allowed, and no network had clearly more of
    /// them than the newcomer's.
    tunnels_refused_full,
    /// Tunnels of others ended, and handshakes for them, to make room for networks with fewer.
    tunnels_made_room,
    /// Tunnels refused since their address had as many open as one may have.
    tunnels_refused_source,
    /// Tunnels refused since their address, or all of them, began too many in a short time.
    tunnels_refused_rate,
    /// Tunnels not opened to what peers named as relays: none can be there, or there are too many.
    tunnels_refused_named,
    /// TCP connections of others that became no tunnel.
    tunnels_failed,
    /// Tunnels ended since what came through them was against the rules.
    tunnels_misused,
    /// Tunnels of others ended since they carried neither a connection nor a slot.
    tunnels_unused,
    /// Datagrams received through tunnels.
    tunnel_datagrams_in,
    /// Datagrams put into tunnels.
    tunnel_datagrams_out,
    /// Datagrams dropped since a tunnel's TCP connection did not keep up.
    tunnel_datagrams_dropped,
    /// Datagrams for tunnels that have ended, or out of them and longer than any of QUIC's.
    tunnel_datagrams_lost,
    /// Probes of UDP that were answered.
    tunnel_probes_answered,
    /// Probes and replies dropped since their proof does not hold.
    probes_forged,
    /// Probes dropped since they came before.
    probes_repeated,
    /// Probes and replies dropped since their session did not keep up.
    probes_overflowed,
    /// Addresses of a peer that were not probed: nobody can be there, or it had as many as are kept.
    probes_refused,
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

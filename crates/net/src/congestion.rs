//! Congestion control that can be told that a connection's packets go another way now.
//!
//! QUIC does not see that a session's path changes under it. If the one before let nothing through,
//! the window is full of packets that are lost and not known to be. Then nothing more is sent but a
//! probe at intervals that double, and no acknowledgement either while there is data that could go
//! with it: two ends that both send wait for each other's probes. On a new path an endpoint begins
//! with a new window (RFC 9000, section 9.4). So, when it is told, this one lets an initial window
//! pass beyond the one that is full, until something is acknowledged or known to be lost; apart from
//! that it is Cubic (RFC 9438).

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The initial window (RFC 9002, section 7.2).
const INITIAL: u64 = 14_720;

/// What may be sent beyond the window at most: when nothing has come back of the first, the second
/// may tell that something was received meanwhile.
const MOST: u64 = 4 * INITIAL;

/// Makes the windows of connections.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for Windows {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::clone(&self.cubic).build(now, current_mtu);
        Box::new(Window { cubic, extra: Arc::default(), in_flight: Arc::default() })
    }
}

/// The window of one connection.
pub(crate) struct Window {
    cubic: Box<dyn Controller>,
    /// What may be sent beyond it. Clones share it.
    extra: Arc<AtomicU64>,
    /// What was in flight after the last acknowledgement. Clones share it, too.
    in_flight: Arc<AtomicU64>,
}

impl Window {
    /// What is in flight may be lost, for another reason than that it is too much.
    pub(crate) fn extend(&self) {
        let more = |extra: u64| Some((extra + INITIAL).min(MOST));
        // It is never refused.
        let _ = self.extra.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Bytes that were in flight after the last acknowledgement.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn is_known_again(&self) {
        self.extra.store(0, Ordering::Relaxed);
    }
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.is_known_again();
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.is_known_again();
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window() + self.extra.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            extra: Arc::clone(&self.extra),
            in_flight: Arc::clone(&self.in_flight),
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_window_passes_until_it_is_known_what_was_lost() {
        let now = Instant::now();
        let mut window = Arc::new(Windows::default()).build(now, 1_200);
        let before = window.window();
        // As the owner of a connection gets at it: by a clone.
        let clone = window.clone_box().into_any().downcast::<Window>();
        let clone = clone.expect("it is ours");
        clone.extend();
        assert_eq!(window.window(), before + INITIAL);
        (0..9).for_each(|_| clone.extend());
        assert_eq!(window.window(), before + MOST);
        window.on_congestion_event(now, now, false, 1_200);
        assert!(window.window() < before, "{}", window.window());
    }
}

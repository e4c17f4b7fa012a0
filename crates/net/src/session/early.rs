//! Sending along a relay's slot before this end of it is bound: each packet with a proof of its own.

use super::binding::State;
use super::{Inner, Route, Sessions};
use crate::relay::frame::{Frame, MAX_EARLY};
use crate::socket::Transmit;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// From now on packets go along this route.
    pub(super) fn is_early_along(&self, route: Route, table: &Sessions) {
        let unbound = |state: dashmap::mapref::one::Ref<'_, Route, Arc<State>>| !state.is_bound();
        let early = table.bindings.get(&route).is_some_and(unbound);
        self.early.store(early, Ordering::Relaxed);
    }
}

impl Sessions {
    /// Sends what is meant for a slot whose near end is not bound yet. Answers `None` if it is by
    /// now. What is too long for that is lost, as on any path that does not take it.
    pub(super) fn try_send_early(
        &self,
        inner: &Inner,
        route: Route,
        transmit: &Transmit<'_>,
    ) -> Option<io::Result<()>> {
        let state = self.bindings.get(&route).map(|state| Arc::clone(&state));
        let Some(state) = state.filter(|state| !state.is_bound()) else {
            inner.early.store(false, Ordering::Relaxed);
            return None;
        };
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(segment) {
            if packet.len() > MAX_EARLY {
                self.counters.session_datagrams_unroutable.increment();
                continue;
            }
            let slot = route.number;
            let proof = state.early_proof(slot, packet);
            let contents = Frame::Early { slot, proof, packet }.encode();
            let transmit = Transmit {
                destination: self.on_socket(route.to),
                ecn: transmit.ecn,
                contents: &contents,
                segment_size: None,
                src_ip: None,
            };
            if let Err(error) = self.socket.try_send(&transmit) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

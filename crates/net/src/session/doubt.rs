//! A session that doubts its route tries its others at the same time.
//!
//! That a route is dead is known late: nobody says so, and a silence may be the peer's. QUIC sends
//! again meanwhile, but with a pause that doubles each time (RFC 9002, section 6.2), so that what
//! is lost just before the route changes is missed for as long again as the change took. To try
//! another route needs no certainty, however: a datagram that arrives twice is one to QUIC. So, in
//! doubt, all that is sent goes along the other routes as well, beginning with the datagram that
//! was sent last, whose acknowledgement tells QUIC what was lost before it. Whoever gets something
//! along another route while its own is silent answers along that one, too. Which of them works is
//! seen by what comes back.

use super::{Inner, Route, Session, Sessions};
use crate::relay::frame;
use crate::socket::{EcnCodepoint, Transmit};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// What a session does that doubts its route.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// Routes that may do instead.
    others: Vec<Route>,
    /// Those of them along which everything goes as well.
    tried: Vec<Route>,
    /// The datagram that was sent last since the doubt began; empty if nothing was.
    last: Vec<u8>,
    ecn: Option<EcnCodepoint>,
}

impl Doubt {
    /// Of a batch, the last datagram: the others are older.
    fn keep(&mut self, transmit: &Transmit<'_>) {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if let Some(last) = transmit.contents.chunks(segment).next_back() {
            self.last.clear();
            self.last.extend_from_slice(last);
            self.ecn = transmit.ecn;
        }
    }

    fn last(&self) -> Option<Transmit<'_>> {
        (!self.last.is_empty()).then(|| Transmit {
            // Each route has its own.
            destination: ([0, 0, 0, 0], 0).into(),
            ecn: self.ecn,
            contents: &self.last,
            segment_size: None,
            src_ip: None,
        })
    }
}

impl Session {
    /// Nothing has come along the route for a moment: from now on, what comes along one of these is
    /// answered along it as well. The route of the moment may be among them, and does not count.
    /// Ends with [`Self::trust`], and when the route changes.
    pub fn doubt(&self, others: impl IntoIterator<Item = Route>) {
        let current = self.route();
        let others = others.into_iter().map(Route::canonical);
        let others: Vec<Route> = others.filter(|other| Some(*other) != current).collect();
        let mut doubt = self.inner.doubt();
        doubt.tried.retain(|tried| others.contains(tried));
        doubt.others = others;
        self.inner.doubts.store(true, Ordering::Relaxed);
    }

    /// It has been silent for too long: what is sent goes along all the others as well.
    pub fn try_others(&self) {
        let mut doubt = self.inner.doubt();
        for other in doubt.others.clone() {
            self.table.try_along(&mut doubt, other);
        }
    }

    /// The route is as good as it should be.
    pub fn trust(&self) {
        self.inner.trust();
    }

    /// Batches that have come so far along all routes but these.
    pub fn received_besides(&self, others: &[Route]) -> u64 {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = routes.iter().filter(|route| !others.contains(route));
        routes.map(|route| self.received(*route)).sum()
    }
}

impl Inner {
    fn doubt(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trust(&self) {
        if self.doubts.swap(false, Ordering::Relaxed) {
            *self.doubt() = Doubt::default();
        }
    }
}

impl Sessions {
    /// Sends what goes along the route of a session that doubts it, along the others that are tried.
    pub(super) fn send_elsewhere(&self, inner: &Inner, transmit: &Transmit<'_>) {
        let mut doubt = inner.doubt();
        doubt.keep(transmit);
        for other in &doubt.tried {
            self.send_along(*other, transmit);
        }
    }

    /// Something came along a route, for a session that doubts its own.
    pub(super) fn hears_in_doubt(&self, inner: &Inner, route: Route) {
        let mut doubt = inner.doubt();
        if doubt.others.contains(&route) {
            self.try_along(&mut doubt, route);
        }
    }

    fn try_along(&self, doubt: &mut Doubt, other: Route) {
        if doubt.tried.contains(&other) {
            return;
        }
        doubt.tried.push(other);
        if let Some(last) = doubt.last() {
            self.send_along(other, &last);
        }
    }

    /// Sends along a route. What the system has no room for is lost, as in a network.
    fn send_along(&self, route: Route, transmit: &Transmit<'_>) {
        let destination = self.on_socket(route.to);
        let transmit = Transmit { destination, src_ip: None, ..*transmit };
        let header = frame::data_header(route.number);
        if self.socket.try_send_framed(&header, &transmit).is_ok() {
            self.counters.session_batches_tried_elsewhere.increment();
        }
    }
}

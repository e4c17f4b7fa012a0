//! What the sessions count.

use super::lease::LeaseCounts;
use super::path::PathKind;
use super::peer::PeerSession;
use skein_proto::session::OfferRefusal;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the sessions have counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions at present.
    pub live: u64,
    /// Sessions that began over a relay.
    pub begun_relayed: u64,
    /// Sessions that began directly.
    pub begun_direct: u64,
    /// Sessions moved to another relay since theirs let nothing through.
    pub moved: u64,
    /// Sessions that were not entered since there were too many.
    pub over_limit: u64,
    /// Offers and introductions refused since their name has as many as it may, or in too short a
    /// time.
    pub over_share: u64,
    /// Offers refused since this node takes as many as it can.
    pub offers_busy: u64,
    /// Offers refused since they were not genuine, or seen before.
    pub offers_unsound: u64,
    /// Offers refused since no relay worked for both ends.
    pub offers_without_path: u64,
    /// Offers that carried something that is no first packet of a dial.
    pub no_first_packet: u64,
    /// Slots that were not added to sessions that others began: this node adds so many at most, and so
    /// many for each name.
    pub slots_withheld: u64,
    /// Slots of relays that were needed no more and given back.
    pub slots_given_back: u64,
    /// Slots that were left to expire at the relay, since too many were to be given back at once, or
    /// this node is not linked with the relay any more.
    pub slots_not_given_back: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    relayed: AtomicU64,
    direct: AtomicU64,
    moved: AtomicU64,
    over_limit: AtomicU64,
    over_share: AtomicU64,
    busy: AtomicU64,
    unsound: AtomicU64,
    without_path: AtomicU64,
    no_first_packet: AtomicU64,
    slots_withheld: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn opened(&self, session: &PeerSession) {
        add(match session.path_now().kind {
            PathKind::Relayed { .. } => &self.relayed,
            PathKind::Direct { .. } => &self.direct,
        });
    }

    pub(super) fn moved(&self) {
        add(&self.moved);
    }

    pub(super) fn refused(&self) {
        add(&self.over_limit);
    }

    pub(super) fn over_share(&self) {
        add(&self.over_share);
    }

    pub(super) fn offer_refused(&self, reason: OfferRefusal) {
        match reason {
            OfferRefusal::Busy => add(&self.busy),
            OfferRefusal::Unsound => add(&self.unsound),
            OfferRefusal::NoPath => add(&self.without_path),
            _ => {}
        }
    }

    pub(super) fn no_first_packet(&self) {
        add(&self.no_first_packet);
    }

    pub(super) fn slot_withheld(&self) {
        add(&self.slots_withheld);
    }

    pub(super) fn snapshot(&self, live: usize, leases: &LeaseCounts) -> SessionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionCounts {
            live: live as u64,
            begun_relayed: read(&self.relayed),
            begun_direct: read(&self.direct),
            moved: read(&self.moved),
            over_limit: read(&self.over_limit),
            over_share: read(&self.over_share),
            offers_busy: read(&self.busy),
            offers_unsound: read(&self.unsound),
            offers_without_path: read(&self.without_path),
            no_first_packet: read(&self.no_first_packet),
            slots_withheld: read(&self.slots_withheld),
            slots_given_back: read(&leases.given_back),
            slots_not_given_back: read(&leases.left),
        }
    }
}

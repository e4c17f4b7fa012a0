//! A slot that has fallen silent is doubted before it is known to be dead: the others are tried
//! beside it, and the first that brings something is proof enough.

use crate::sessions::paths::Paths;
use crate::sessions::pulse::BUSY_LOOK;
use crate::sessions::relayed::NearEnd;
use skein_net::session::{Route, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the callee's own slot may be silent while the dialler's packets come along another one,
/// until it goes there, too: some packets may have overtaken others. A dialler that doubts its slot
/// takes longer, so that the two do not change places.
const FOLLOWS_AFTER: Duration = Duration::from_millis(100);

/// Grave doubts, one soon after the other, in which another slot has brought something and the one
/// in use has brought something as well, until it is left all the same. A relay may send what is no
/// packet of the session's, and QUIC does not tell which way those came that are.
const CONTESTED: u32 = 3;

/// How soon: a slot that was good for so long since the last one has shown that it is.
const CONTESTED_WITHIN: Duration = Duration::from_secs(3);

/// A slot that was not in use when the doubt began.
#[derive(Debug)]
struct Other {
    slot: u64,
    route: Route,
    /// What had come along it by then.
    received: u64,
}

/// What is to be done about a slot that is silent.
#[derive(Debug)]
pub(super) enum Resolve {
    Wait,
    /// The peer sends along another one: one of these.
    Follow(Vec<u64>),
    /// It lets nothing through, and these do.
    Leave(Vec<u64>),
}

/// The slot in use is silent.
#[derive(Debug)]
pub(super) struct Doubt {
    /// What QUIC had decrypted when it began: without more of that, nothing was brought.
    decrypted: u64,
    others: Vec<Other>,
    /// Since when one of the others is seen to bring something.
    brought: Option<Instant>,
    /// Since when it has been silent for too long, so that everything goes along the others as well.
    grave: Option<Instant>,
}

impl Doubt {
    pub(super) fn new(decrypted: u64) -> Self {
        Self { decrypted, others: Vec::new(), brought: None, grave: None }
    }

    /// Sees to it that what comes along the others is answered there.
    pub(super) fn keep_up(&mut self, paths: &Paths) {
        let spares = paths.spares();
        let session = paths.session();
        let known = |near: &Arc<NearEnd>| self.others.iter().any(|it| it.slot == near.slot());
        if spares.len() == self.others.len() && spares.iter().all(known) {
            return;
        }
        let mut before = std::mem::take(&mut self.others);
        self.others.extend(spares.iter().map(|near| {
            let (slot, route) = (near.slot(), near.route());
            let at = before.iter().position(|other| other.slot == slot);
            at.map(|at| before.swap_remove(at)).unwrap_or_else(|| Other {
                slot,
                route,
                received: session.received(route),
            })
        }));
        session.doubt(self.others.iter().map(|other| other.route));
        if self.grave.is_some() {
            session.try_others();
        }
    }

    /// It has been silent for too long.
    pub(super) fn is_grave(&mut self, session: &Session, now: Instant) {
        self.grave.get_or_insert(now);
        session.try_others();
    }

    /// The others that have brought something, of which QUIC has `decrypted` so much by now.
    fn bring(&self, session: &Session, decrypted: u64) -> Vec<u64> {
        if decrypted == self.decrypted {
            return Vec::new();
        }
        let brings = |other: &&Other| session.received(other.route) > other.received;
        self.others.iter().filter(brings).map(|other| other.slot).collect()
    }

    /// What is to be done about it: the dialler leads and the callee follows, as long as neither has
    /// waited for too long. The slot in use has the present round trip to show that it was only
    /// slower: what goes along the others goes along it, too.
    pub(super) fn resolve(
        &mut self,
        (session, decrypted): (&Session, u64),
        is_dialler: bool,
        rtt: Duration,
        now: Instant,
    ) -> Resolve {
        let bring = self.bring(session, decrypted);
        if bring.is_empty() {
            return Resolve::Wait;
        }
        let brought = *self.brought.get_or_insert(now);
        match self.grave {
            Some(grave) if now - grave >= rtt + BUSY_LOOK => Resolve::Leave(bring),
            None if !is_dialler && now - brought >= FOLLOWS_AFTER => Resolve::Follow(bring),
            _ => Resolve::Wait,
        }
    }
}

/// Doubts that ended with something having come along the slot in use, or so it seemed.
#[derive(Debug, Default)]
pub(super) struct Contested {
    times: u32,
    last: Option<Instant>,
}

impl Contested {
    /// A doubt is over. Answers which others to go to, where that has happened too often.
    pub(super) fn over(
        &mut self,
        doubt: &Doubt,
        (session, decrypted): (&Session, u64),
        now: Instant,
    ) -> Option<Vec<u64>> {
        doubt.grave?;
        let bring = doubt.bring(session, decrypted);
        if bring.is_empty() {
            return None;
        }
        let lately = self.last.is_some_and(|last| now - last < CONTESTED_WITHIN);
        self.times = if lately { self.times + 1 } else { 1 };
        self.last = Some(now);
        if self.times < CONTESTED {
            return None;
        }
        *self = Self::default();
        Some(bring)
    }
}

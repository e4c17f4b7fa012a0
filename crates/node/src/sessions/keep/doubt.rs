//! A slot that has fallen silent is doubted before it is known to be dead: the others are tried
//! beside it, and the first that brings something is proof enough.

use crate::sessions::paths::Paths;
use crate::sessions::relayed::NearEnd;
use skein_net::session::{Route, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the callee's own slot may be silent while the dialler's packets come along another one,
/// until it goes there, too: some packets may have overtaken others. A dialler that doubts its slot
/// takes longer, so that the two do not change places.
const FOLLOWS_AFTER: Duration = Duration::from_millis(100);

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
    since: Instant,
    others: Vec<Other>,
    /// It has been silent for too long, so that everything goes along the others as well.
    grave: bool,
}

impl Doubt {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, others: Vec::new(), grave: false }
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
        if self.grave {
            session.try_others();
        }
    }

    /// It has been silent for too long.
    pub(super) fn is_grave(&mut self, session: &Session) {
        self.grave = true;
        session.try_others();
    }

    /// What is to be done about it: the dialler leads and the callee follows, as long as neither has
    /// waited for too long.
    pub(super) fn resolve(&self, session: &Session, is_dialler: bool, now: Instant) -> Resolve {
        let brings = |other: &&Other| session.received(other.route) > other.received;
        let bring: Vec<u64> = self.others.iter().filter(brings).map(|other| other.slot).collect();
        match bring.is_empty() {
            false if self.grave => Resolve::Leave(bring),
            false if !is_dialler && now - self.since >= FOLLOWS_AFTER => Resolve::Follow(bring),
            _ => Resolve::Wait,
        }
    }
}

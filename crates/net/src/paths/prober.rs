//! Where probes and replies arrive: their proofs are checked before anybody is bothered with them.

use super::frame::{Body, ProbeFrame, ProbeKey, Side, Window};
use crate::relay::frame::SlotNumber;
use crate::stats::Counters;
use crate::tunnel::Tunnels;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Probes of one session that wait for its machine: more than both ends send in a second when they
/// probe all that they know.
pub(crate) const QUEUE: usize = 64;

/// A frame whose proof holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    pub(crate) frame: ProbeFrame,
    /// Of the datagram, padding included.
    pub(crate) length: usize,
}

/// Replies over one connection that are waited for at a time: one for each session that begins.
const MAX_AWAITED: usize = 64;

/// Whom the reply to a transaction is told.
type Awaited = Vec<(u64, oneshot::Sender<SocketAddr>)>;

/// What becomes of frames whose proof holds.
#[derive(Debug)]
enum Then {
    /// A session's machine decides.
    Tell(mpsc::Sender<Arrived>),
    /// A probe is answered at once; the reply to the one of ours that has this transaction is
    /// waited for.
    Answer { awaited: Mutex<Awaited>, next: AtomicU64 },
}

/// An end of something that probes are exchanged about: a session, or a connection.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) number: SlotNumber,
    key: ProbeKey,
    side: Side,
    window: Mutex<Window>,
    then: Then,
}

impl Prober {
    /// That of a session: its frames go into the queue.
    pub(crate) fn of_session(
        number: SlotNumber,
        key: ProbeKey,
        side: Side,
        queue: mpsc::Sender<Arrived>,
    ) -> Self {
        Self { number, key, side, window: Mutex::default(), then: Then::Tell(queue) }
    }

    /// That of a connection, over which an end learns where the other sees it.
    pub(crate) fn of_connection(number: SlotNumber, key: ProbeKey, side: Side) -> Self {
        let then = Then::Answer { awaited: Mutex::default(), next: AtomicU64::new(1) };
        Self { number, key, side, window: Mutex::default(), then }
    }

    /// The bytes of a frame of this end.
    pub(crate) fn seal(&self, transaction: u64, body: Body) -> [u8; super::frame::LENGTH] {
        ProbeFrame { number: self.number, transaction, body }.seal(&self.key, self.side)
    }

    /// The transaction of a probe over a connection, and where its reply is told. `None` if too
    /// many are waited for.
    pub(crate) fn await_reply(&self) -> Option<(u64, oneshot::Receiver<SocketAddr>)> {
        let Then::Answer { awaited, next } = &self.then else { return None };
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.retain(|(_, sender)| !sender.is_closed());
        if awaited.len() >= MAX_AWAITED {
            return None;
        }
        let transaction = next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        awaited.push((transaction, sender));
        Some((transaction, receiver))
    }

    /// Takes a datagram with this number. Answers what is to be sent back at once.
    pub(crate) fn receive(
        &self,
        from: SocketAddr,
        datagram: &[u8],
        counters: &Counters,
    ) -> Option<[u8; super::frame::LENGTH]> {
        let Some(frame) = ProbeFrame::open(datagram, &self.key, self.side.other()) else {
            counters.probes_forged.increment();
            return None;
        };
        if Tunnels::is_virtual(from) {
            // It came through TCP, and where from says nothing about UDP.
            return None;
        }
        let is_probe = matches!(frame.body, Body::Probe { .. });
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if is_probe && !window.admit(frame.transaction) {
            counters.probes_repeated.increment();
            return None;
        }
        drop(window);
        match (&self.then, frame.body) {
            (Then::Tell(queue), _) => {
                if queue.try_send(Arrived { from, frame, length: datagram.len() }).is_err() {
                    counters.probes_overflowed.increment();
                }
                None
            }
            (Then::Answer { .. }, Body::Probe { .. }) => {
                Some(self.seal(frame.transaction, Body::Reply { observed: from }))
            }
            (Then::Answer { awaited, .. }, Body::Reply { observed }) => {
                let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
                let asked = |(transaction, _): &(u64, _)| *transaction == frame.transaction;
                if let Some(at) = awaited.iter().position(asked) {
                    let (_, sender) = awaited.swap_remove(at);
                    // Whoever waited may have given up.
                    let _ = sender.send(observed);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn prober(side: Side) -> Prober {
        Prober::of_connection(SlotNumber::new(7), ProbeKey::from_bytes([1; 32]), side)
    }

    #[tokio::test]
    async fn all_who_ask_at_the_same_time_are_told() {
        let (near, far) = (prober(Side::Caller), prober(Side::Callee));
        let seen = SocketAddr::from(([192, 0, 2, 1], 4_000));
        let counters = Counters::default();
        let asked: Vec<_> = (0..MAX_AWAITED).map(|_| near.await_reply().unwrap()).collect();
        assert!(near.await_reply().is_none(), "there is a limit");
        for (transaction, reply) in asked {
            let probe = near.seal(transaction, Body::Probe { in_use: false });
            let answer = far.receive(seen, &probe, &counters).unwrap();
            assert_eq!(near.receive(seen, &answer, &counters), None);
            assert_eq!(reply.await, Ok(seen));
        }
        drop(near.await_reply().unwrap());
        assert!(near.await_reply().is_some(), "who has given up takes no place");
    }
}

//! Offers that are on their way through this node.

use skein_proto::{Instant, NodeId, SessionId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an answer may take: the callee binds its relays meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Offers on their way at the same time. An entry takes about 150 bytes. A supernode of 150
/// children that each call somebody every minute has some dozens.
const MAX_PASSAGES: usize = 4_096;

/// Where something came from, or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// This node's own user.
    User,
    /// A peer.
    Peer(NodeId),
}

/// Where an offer came from and where it went.
#[derive(Clone, Copy, Debug)]
struct Passage {
    back: Hop,
    ahead: Hop,
    until: Instant,
}

/// Why an offer is not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It is on its way already.
    Again,
    /// Too many are.
    Full,
}

/// Offers that are on their way through this node.
#[derive(Debug, Default)]
pub(super) struct Passages {
    open: BTreeMap<SessionId, Passage>,
}

impl Passages {
    /// Remembers an offer.
    pub(super) fn begin(
        &mut self,
        session: SessionId,
        back: Hop,
        ahead: Hop,
        now: Instant,
    ) -> Result<(), Stopped> {
        if self.open.get(&session).is_some_and(|passage| now < passage.until) {
            return Err(Stopped::Again);
        }
        if self.open.len() >= MAX_PASSAGES {
            return Err(Stopped::Full);
        }
        self.open.insert(session, Passage { back, ahead, until: now + PATIENCE });
        Ok(())
    }

    /// The answer to an offer came from `from`: tells where it goes, once.
    pub(super) fn end(&mut self, session: &SessionId, from: Hop, now: Instant) -> Option<Hop> {
        let passage = self.open.get(session)?;
        if passage.ahead != from || now >= passage.until {
            return None;
        }
        let back = passage.back;
        self.open.remove(session);
        Some(back)
    }

    pub(super) fn tidy(&mut self, now: Instant) {
        self.open.retain(|_, passage| now < passage.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u16) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    #[test]
    fn an_answer_goes_back_once_and_only_from_where_the_offer_went() {
        let (caller, callee) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let now = Instant::START;
        let mut passages = Passages::default();
        let (back, ahead) = (Hop::Peer(caller), Hop::Peer(callee));
        assert_eq!(passages.begin(session(1), back, ahead, now), Ok(()));
        assert_eq!(passages.begin(session(1), back, ahead, now), Err(Stopped::Again));
        assert_eq!(passages.end(&session(1), back, now), None, "not from the caller itself");
        assert_eq!(passages.end(&session(2), ahead, now), None);
        assert_eq!(passages.end(&session(1), ahead, now), Some(back));
        assert_eq!(passages.end(&session(1), ahead, now), None);
    }

    #[test]
    fn an_answer_that_is_late_goes_nowhere() {
        let mut passages = Passages::default();
        let (now, hop) = (Instant::START, Hop::Peer(NodeId::from_bytes([1; 32])));
        assert_eq!(passages.begin(session(1), Hop::User, hop, now), Ok(()));
        assert_eq!(passages.end(&session(1), hop, now + PATIENCE), None);
        passages.tidy(now + PATIENCE);
        assert!(passages.open.is_empty());
    }

    #[test]
    fn nobody_fills_the_table() {
        let mut passages = Passages::default();
        let now = Instant::START;
        for number in 0..4_096 {
            assert_eq!(passages.begin(session(number), Hop::User, Hop::User, now), Ok(()));
        }
        let over = passages.begin(session(5_000), Hop::User, Hop::User, now);
        assert_eq!(over, Err(Stopped::Full));
    }
}

//! Offers that are on their way through this node.

use skein_proto::{Instant, NodeId, SessionId, Username};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an answer may take: the callee binds its relays meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Offers on their way at the same time. An entry takes about 250 bytes. A supernode of 150
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
#[derive(Clone, Debug)]
struct Passage {
    back: Hop,
    ahead: Hop,
    /// Whose offer it is; nobody's is this node's own.
    of: Option<Username>,
    until: Instant,
}

/// Why an offer is not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It is on its way already.
    Again,
    /// Too many are, and no name has clearly more of them than this one.
    Full,
}

/// An offer that is not on its way any more, and where it came from.
pub(super) type Displaced = (SessionId, Hop);

/// Offers that are on their way through this node.
#[derive(Debug, Default)]
pub(super) struct Passages {
    open: BTreeMap<SessionId, Passage>,
    /// How many are of each name, but for this node's own.
    by_name: BTreeMap<Username, usize>,
}

impl Passages {
    /// Remembers an offer of a name, or of this node's own user. When there are as many as may be,
    /// the name with most of them loses the one that has waited longest to a name with clearly fewer,
    /// or to this node's user: so no names keep the others from calling.
    pub(super) fn begin(
        &mut self,
        session: SessionId,
        of: Option<&Username>,
        (back, ahead): (Hop, Hop),
        now: Instant,
    ) -> Result<Option<Displaced>, Stopped> {
        if self.open.get(&session).is_some_and(|passage| now < passage.until) {
            return Err(Stopped::Again);
        }
        self.remove(&session);
        let displaced = match self.open.len() < MAX_PASSAGES {
            true => None,
            false => Some(self.make_room_for(of).ok_or(Stopped::Full)?),
        };
        if let Some(of) = of {
            *self.by_name.entry(of.clone()).or_default() += 1;
        }
        let passage = Passage { back, ahead, of: of.cloned(), until: now + PATIENCE };
        self.open.insert(session, passage);
        Ok(displaced)
    }

    fn make_room_for(&mut self, newcomer: Option<&Username>) -> Option<Displaced> {
        let at_most = newcomer.map_or(0, |name| 1 + self.by_name.get(name).copied().unwrap_or(0));
        let (heaviest, count) = self.by_name.iter().max_by_key(|(_, count)| **count)?;
        if *count <= at_most {
            return None;
        }
        let its_own = self.open.iter().filter(|(_, it)| it.of.as_ref() == Some(heaviest));
        let session = *its_own.min_by_key(|(_, passage)| passage.until)?.0;
        Some((session, self.remove(&session)?.back))
    }

    fn remove(&mut self, session: &SessionId) -> Option<Passage> {
        let passage = self.open.remove(session)?;
        if let Some(of) = &passage.of
            && let Some(count) = self.by_name.get_mut(of)
        {
            *count -= 1;
            if *count == 0 {
                self.by_name.remove(of);
            }
        }
        Some(passage)
    }

    /// The answer to an offer came from `from`: tells where it goes, once.
    pub(super) fn end(&mut self, session: &SessionId, from: Hop, now: Instant) -> Option<Hop> {
        let passage = self.open.get(session)?;
        if passage.ahead != from || now >= passage.until {
            return None;
        }
        Some(self.remove(session)?.back)
    }

    pub(super) fn tidy(&mut self, now: Instant) {
        let is_over = |(_, passage): &(&SessionId, &Passage)| now >= passage.until;
        let over: Vec<SessionId> = self.open.iter().filter(is_over).map(|(it, _)| *it).collect();
        for session in over {
            self.remove(&session);
        }
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

    fn name(number: usize) -> Username {
        Username::parse(&format!("user{number}")).expect("a name")
    }

    #[test]
    fn an_answer_goes_back_once_and_only_from_where_the_offer_went() {
        let (caller, callee) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let (now, of) = (Instant::START, name(1));
        let mut passages = Passages::default();
        let (back, ahead) = (Hop::Peer(caller), Hop::Peer(callee));
        assert_eq!(passages.begin(session(1), Some(&of), (back, ahead), now), Ok(None));
        let again = passages.begin(session(1), Some(&of), (back, ahead), now);
        assert_eq!(again, Err(Stopped::Again));
        assert_eq!(passages.end(&session(1), back, now), None, "not from the caller itself");
        assert_eq!(passages.end(&session(2), ahead, now), None);
        assert_eq!(passages.end(&session(1), ahead, now), Some(back));
        assert_eq!(passages.end(&session(1), ahead, now), None);
        assert!(passages.by_name.is_empty());
    }

    #[test]
    fn an_answer_that_is_late_goes_nowhere() {
        let mut passages = Passages::default();
        let (now, hop) = (Instant::START, Hop::Peer(NodeId::from_bytes([1; 32])));
        for (number, of) in [(1, None), (2, Some(name(1)))] {
            let begun = passages.begin(session(number), of.as_ref(), (Hop::User, hop), now);
            assert_eq!(begun, Ok(None));
        }
        assert_eq!(passages.end(&session(1), hop, now + PATIENCE), None);
        passages.tidy(now + PATIENCE);
        assert!(passages.open.is_empty() && passages.by_name.is_empty());
    }

    /// A table that so many names have filled, one offer each second; those of this node first.
    fn filled_by(names: u16, own: u16) -> (Passages, Instant) {
        let mut passages = Passages::default();
        let mut now = Instant::START;
        for number in 0..4_096 {
            let of = (number >= own).then(|| name(usize::from(number % names)));
            let back = Hop::Peer(NodeId::from_bytes([1; 32]));
            let begun = passages.begin(session(number), of.as_ref(), (back, Hop::User), now);
            assert_eq!(begun, Ok(None));
            now = now + Duration::from_millis(1);
        }
        (passages, now)
    }

    #[test]
    fn names_that_fill_the_table_keep_no_other_from_calling() {
        let (mut passages, now) = filled_by(137, 0);
        let hops = (Hop::User, Hop::User);
        for number in 5_000..5_028 {
            let of = name(1_000);
            let begun = passages.begin(session(number), Some(&of), hops, now);
            let (gone, back) = begun.expect("room").expect("somebody else's");
            assert_eq!(back, Hop::Peer(NodeId::from_bytes([1; 32])), "who learns of it");
            assert!(gone < session(137), "the oldest of its name: {gone:?}");
            assert!(!passages.open.contains_key(&gone));
        }
        let same = passages.begin(session(6_000), Some(&name(1)), hops, now);
        assert_eq!(same, Err(Stopped::Full), "it has most itself");
        assert_eq!(passages.open.len(), MAX_PASSAGES);
    }

    #[test]
    fn one_offer_of_a_name_makes_room_for_nobody_but_this_nodes_user() {
        let (mut passages, now) = filled_by(4_096, 10);
        let hops = (Hop::User, Hop::User);
        let other = passages.begin(session(5_000), Some(&name(5_000)), hops, now);
        assert_eq!(other, Err(Stopped::Full));
        let own = passages.begin(session(5_001), None, hops, now).expect("room");
        assert!(own.is_some_and(|(gone, _)| gone >= session(10)), "not its own: {own:?}");
    }
}

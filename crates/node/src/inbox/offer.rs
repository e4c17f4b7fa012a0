//! One offer, as it is kept.

use crate::api::inbox::{FileOffer, OfferStage};
use skein_proto::id::OfferId;
use skein_proto::inbox::OfferState;
use skein_proto::{ContentId, NodeId, UnixTime, Username};
use std::path::PathBuf;
use std::time::Duration;

/// How long an offer stands, and how long the receiver may fetch the file after the last news: a
/// week, so that somebody who is away for some days finds it.
pub(super) const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long an offer can stand at all, however much news there is: enough for the largest file over
/// a slow line, and an end all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The least by which the end of an offer is put off: each time is a write to the disk.
const RENEW_STEP: Duration = Duration::from_secs(60 * 60);

/// An offer of a file, on either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The number that the user gives it.
    pub id: u64,
    pub offer: OfferId,
    /// Whether this node's user sends it.
    pub outgoing: bool,
    /// Whose it is, or who is to have it.
    pub peer: Username,
    /// The node of the peer that it came from, or was delivered to.
    pub node: Option<NodeId>,
    /// What the file is called; for display and as a wish for the name, cleaned.
    pub name: String,
    pub size: u64,
    /// Known to a sender once the file has been read.
    pub content: Option<ContentId>,
    pub note: String,
    /// The sender's file; of the receiver, the folder that was asked for, and then the file.
    pub path: Option<PathBuf>,
    /// When the sender's file was changed the last time, in nanoseconds since 1970.
    pub modified: Option<i64>,
    pub stage: OfferStage,
    /// Bytes read, while the sender reads the file; then bytes that the receiver has.
    pub bytes: u64,
    /// Whether the other side knows of the stage.
    pub told: bool,
    /// What it waits for, in words; that is not kept.
    pub waits: Option<String>,
    pub since: UnixTime,
    pub expires: UnixTime,
}

impl Offer {
    /// How it is shown.
    pub fn shown(&self) -> FileOffer {
        FileOffer {
            id: self.id,
            peer: self.peer.clone(),
            outgoing: self.outgoing,
            name: self.name.clone(),
            size: self.size,
            content: self.content,
            note: self.note.clone(),
            state: self.stage.clone(),
            bytes: self.bytes,
            // JSON has no other names than such that are text.
            path: self.path.as_ref().map(|path| path.to_string_lossy().into_owned().into()),
            waits: self.waits.clone(),
            since: self.since.0,
            expires: self.expires.0,
        }
    }

    /// How the receiver tells that it stands.
    pub fn news(&self) -> OfferState {
        match &self.stage {
            OfferStage::Accepted => OfferState::Accepted { verified: self.bytes },
            OfferStage::Done => OfferState::Done,
            OfferStage::Refused => OfferState::Refused,
            OfferStage::Withdrawn => OfferState::Withdrawn,
            OfferStage::Expired | OfferStage::Failed { .. } => OfferState::Failed,
            OfferStage::Hashing | OfferStage::Queued | OfferStage::Offered => OfferState::Held,
        }
    }

    /// Whether its user can take it back: also what has failed at the receiver, who could accept it
    /// again.
    pub fn may_be_withdrawn(&self) -> bool {
        !self.stage.is_final() || matches!(self.stage, OfferStage::Failed { .. })
    }

    /// Whether time can end it. Of what is over, that is what a receiver could take up again.
    pub fn may_expire(&self) -> bool {
        !self.stage.is_final() || (self.outgoing && self.may_be_withdrawn())
    }

    /// Whether the receiver may fetch the file: also after it has failed there, since it may be
    /// accepted again.
    pub fn is_granted(&self, now: UnixTime) -> bool {
        let stands = !matches!(
            self.stage,
            OfferStage::Hashing
                | OfferStage::Done
                | OfferStage::Refused
                | OfferStage::Withdrawn
                | OfferStage::Expired
        );
        self.outgoing && stands && now < self.expires
    }

    /// Ends it, whatever it is, since its user has blocked the other one; who is not told, and
    /// hears it when they ask. Answers whether there was anything to end.
    pub fn close(&mut self) -> bool {
        let open = if self.outgoing { self.may_be_withdrawn() } else { !self.stage.is_final() };
        if open {
            let end = if self.outgoing { OfferStage::Withdrawn } else { OfferStage::Refused };
            (self.stage, self.told, self.waits) = (end, true, None);
        }
        open
    }

    /// Takes in what the receiver says of it, as long as it stands. Answers whether the stage has
    /// changed.
    pub fn heard(&mut self, news: OfferState, now: UnixTime) -> bool {
        if now >= self.expires {
            return false;
        }
        let (stage, bytes) = match news {
            OfferState::Held => (OfferStage::Offered, 0),
            OfferState::Accepted { verified } => (OfferStage::Accepted, verified.min(self.size)),
            OfferState::Done => (OfferStage::Done, self.size),
            OfferState::Refused => (OfferStage::Refused, 0),
            OfferState::Failed => {
                let reason = "the receiver could not fetch it, or called it off; it can try again \
                              until you withdraw the offer";
                (OfferStage::Failed { reason: reason.to_owned() }, self.bytes)
            }
            // It is tried again, or the receiver has forgotten it.
            OfferState::Full | OfferState::Withdrawn | OfferState::Unknown => return false,
        };
        // What was sent in the other order may come in any.
        let is_over = matches!(
            self.stage,
            OfferStage::Done | OfferStage::Withdrawn | OfferStage::Expired | OfferStage::Refused
        );
        if is_over || (stage == OfferStage::Offered && self.stage != OfferStage::Queued) {
            return false;
        }
        self.bytes = bytes;
        let changed = self.stage != stage;
        if changed {
            // The receiver knows, since it has said so.
            self.told = true;
            self.stage = stage;
            self.expires = self.stands_until(now);
        }
        changed || (self.stage == OfferStage::Accepted && self.renew(now))
    }

    /// There is news of it: it stands for as long as that allows. Answers whether that is worth
    /// keeping.
    pub fn renew(&mut self, now: UnixTime) -> bool {
        let expires = self.stands_until(now);
        let later = expires.0.saturating_sub(self.expires.0) >= RENEW_STEP.as_secs();
        if later {
            self.expires = expires;
        }
        later
    }

    /// Until when it stands, if there is news now.
    fn stands_until(&self, now: UnixTime) -> UnixTime {
        now.plus(LIFE).min(self.since.plus(LONGEST_LIFE))
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub fn offer(number: u8, outgoing: bool, stage: OfferStage) -> Offer {
        Offer {
            id: number.into(),
            offer: OfferId::from_bytes([number; 16]),
            outgoing,
            peer: Username::parse("alice").unwrap(),
            node: Some(NodeId::from_bytes([number; 32])),
            name: "song.flac".to_owned(),
            size: 1_000,
            content: Some(ContentId::from_bytes([number; 32])),
            note: "for you".to_owned(),
            path: None,
            modified: None,
            stage,
            bytes: 0,
            told: false,
            waits: None,
            since: UnixTime(100),
            expires: UnixTime(100).plus(LIFE),
        }
    }

    #[test]
    fn an_offer_goes_from_queued_to_done_and_never_back() {
        let now = UnixTime(200);
        let mut sent = offer(1, true, OfferStage::Queued);
        assert!(sent.heard(OfferState::Held, now));
        assert!(sent.heard(OfferState::Accepted { verified: 10 }, now));
        assert!(!sent.heard(OfferState::Accepted { verified: 5_000 }, now), "no new stage");
        assert_eq!(sent.bytes, 1_000, "no more than there is");
        assert!(!sent.heard(OfferState::Held, now), "that was said before");
        assert!(sent.heard(OfferState::Done, now));
        assert!(!sent.heard(OfferState::Refused, now));
        assert_eq!(sent.stage, OfferStage::Done);
    }

    #[test]
    fn a_receiver_that_failed_may_accept_again() {
        let now = UnixTime(200);
        let mut sent = offer(1, true, OfferStage::Accepted);
        assert!(sent.heard(OfferState::Failed, now));
        assert!(sent.is_granted(now));
        assert!(sent.heard(OfferState::Accepted { verified: 10 }, now));
    }

    #[test]
    fn news_of_an_offer_that_has_expired_brings_it_back_in_no_stage() {
        let failed = OfferStage::Failed { reason: "no".to_owned() };
        for stage in [OfferStage::Offered, OfferStage::Accepted, failed] {
            let mut sent = offer(1, true, stage.clone());
            let late = sent.expires;
            assert!(!sent.heard(OfferState::Accepted { verified: 10 }, late), "{stage:?}");
            assert_eq!((&sent.stage, sent.expires), (&stage, late));
            assert!(!sent.is_granted(late));
        }
    }

    #[test]
    fn no_news_makes_an_offer_stand_for_ever() {
        let mut sent = offer(1, true, OfferStage::Offered);
        let mut now = sent.since;
        let states = [OfferState::Accepted { verified: 1 }, OfferState::Failed];
        for day in 0..200_usize {
            now = now.plus(Duration::from_secs(24 * 60 * 60));
            let _ = sent.heard(states[day % 2], now);
            sent.renew(now);
        }
        assert!(!sent.is_granted(now));
    }

    #[test]
    fn an_offer_that_is_being_fetched_stands_for_as_long_as_there_is_news() {
        let mut sent = offer(1, true, OfferStage::Accepted);
        let accepted = OfferState::Accepted { verified: 1 };
        assert!(!sent.heard(accepted, UnixTime(200)), "not worth a write");
        let later = UnixTime(100).plus(RENEW_STEP);
        assert!(sent.heard(accepted, later));
        assert_eq!(sent.expires, later.plus(LIFE));
    }

    #[test]
    fn only_what_is_offered_may_be_fetched_and_only_for_a_while() {
        let sent = offer(1, true, OfferStage::Offered);
        assert!(sent.is_granted(UnixTime(200)));
        assert!(!sent.is_granted(sent.expires));
        assert!(!offer(1, false, OfferStage::Accepted).is_granted(UnixTime(200)));
        for stage in [OfferStage::Hashing, OfferStage::Withdrawn, OfferStage::Refused] {
            assert!(!offer(1, true, stage).is_granted(UnixTime(200)));
        }
    }
}

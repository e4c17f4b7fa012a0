//! Sees to an offer until nothing is due for it.

use super::Inbox;
use super::offer::Offer;
use crate::api::inbox::OfferStage;
use dashmap::mapref::entry::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// When something that did not work is tried again, doubled each time: a peer that is not online
/// is found within five minutes after it has come.
const RETRY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5 * 60));

/// What is to be done for an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Read the file.
    Hash,
    /// Offer it.
    Deliver,
    /// Take it back.
    TakeBack,
    /// Fetch the file.
    Fetch,
    /// Tell the sender how it stands.
    Tell,
}

fn due(offer: &Offer) -> Option<Due> {
    match (offer.outgoing, &offer.stage) {
        (true, OfferStage::Hashing) => Some(Due::Hash),
        (true, OfferStage::Queued) => Some(Due::Deliver),
        (true, OfferStage::Withdrawn | OfferStage::Failed { .. }) if !offer.told => {
            Some(Due::TakeBack)
        }
        (false, OfferStage::Accepted) => Some(Due::Fetch),
        (false, stage) if stage.is_final() && !offer.told => Some(Due::Tell),
        _ => None,
    }
}

impl Inbox {
    /// Does what is due for an offer; if that is being done, it is looked at again what it is.
    pub(super) fn tend(&self, id: u64) {
        let nudge = match self.inner.tended.entry(id) {
            Entry::Occupied(tended) => return tended.get().notify_one(),
            Entry::Vacant(entry) => Arc::clone(&entry.insert(Arc::default())),
        };
        let inbox = self.clone();
        tokio::spawn(async move {
            let ended = inbox.inner.ended.clone();
            let all = ended.run_until_cancelled(inbox.do_what_is_due(id, &nudge)).await;
            inbox.inner.tended.remove(&id);
            // Something may have come up since it was last looked.
            if all.is_some() && inbox.inner.book.get(id).await.as_ref().and_then(due).is_some() {
                inbox.tend(id);
            }
        });
    }

    async fn do_what_is_due(&self, id: u64, nudge: &Notify) {
        let mut wait = RETRY.0;
        while let Some(offer) = self.inner.book.get(id).await
            && let Some(due) = due(&offer)
        {
            let done = match due {
                Due::Hash => self.read_file(&offer, nudge).await,
                Due::Deliver => self.deliver(&offer).await,
                Due::TakeBack => self.take_back(&offer).await,
                Due::Fetch => self.fetch(&offer, nudge).await,
                Due::Tell => self.tell(&offer).await,
            };
            // What could not be kept is due again at once, and must not be done without a pause.
            if done {
                wait = RETRY.0;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
                () = nudge.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer::tests::offer;
    use super::*;

    #[test]
    fn what_is_due_follows_from_the_stage() {
        let failed = || OfferStage::Failed { reason: "no".to_owned() };
        for (outgoing, stage, expected) in [
            (true, OfferStage::Hashing, Some(Due::Hash)),
            (true, OfferStage::Queued, Some(Due::Deliver)),
            (true, OfferStage::Offered, None),
            (true, OfferStage::Accepted, None),
            (true, OfferStage::Withdrawn, Some(Due::TakeBack)),
            (true, failed(), Some(Due::TakeBack)),
            (false, OfferStage::Offered, None),
            (false, OfferStage::Accepted, Some(Due::Fetch)),
            (false, OfferStage::Refused, Some(Due::Tell)),
            (false, OfferStage::Done, Some(Due::Tell)),
            (false, failed(), Some(Due::Tell)),
        ] {
            let offer = offer(1, outgoing, stage);
            assert_eq!(due(&offer), expected, "{offer:?}");
            let told = Offer { told: true, ..offer };
            if told.stage.is_final() {
                assert_eq!(due(&told), None, "{told:?}");
            }
        }
    }
}

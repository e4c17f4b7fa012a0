//! Messages about files that people send each other.

use super::values::{any_content_id, any_text};
use crate::bounded::BoundedString;
use crate::id::{ContentId, OfferId};
use crate::inbox::{OfferFile, OfferNews, OfferState, WithdrawOffer};
use crate::message::{Message, MessageKind};
use proptest::prelude::*;

fn long<const N: usize>() -> BoundedString<N> {
    BoundedString::truncated(&"x".repeat(N))
}

/// The largest message of a kind that is about offers; `None` for other kinds.
pub(super) fn largest(kind: MessageKind) -> Option<Message> {
    let offer = OfferId::from_bytes([0xff; 16]);
    Some(match kind {
        MessageKind::OfferFile => {
            let content = ContentId::from_bytes([7; 32]);
            OfferFile { offer, name: long(), size: u64::MAX, content, note: long() }.into()
        }
        MessageKind::OfferNews => {
            OfferNews { offer, state: OfferState::Accepted { verified: u64::MAX } }.into()
        }
        MessageKind::WithdrawOffer => WithdrawOffer { offer }.into(),
        _ => return None,
    })
}

/// Any message of a kind that is about offers; `None` for other kinds.
pub(super) fn any_of(kind: MessageKind) -> Option<BoxedStrategy<Message>> {
    let any_offer = any::<[u8; 16]>().prop_map(OfferId::from_bytes);
    Some(match kind {
        MessageKind::OfferFile => {
            (any_offer, any_text(), any::<u64>(), any_content_id(), any_text())
                .prop_map(|(offer, name, size, content, note)| {
                    OfferFile { offer, name, size, content, note }.into()
                })
                .boxed()
        }
        MessageKind::OfferNews => (any_offer, any_state())
            .prop_map(|(offer, state)| OfferNews { offer, state }.into())
            .boxed(),
        MessageKind::WithdrawOffer => {
            any_offer.prop_map(|offer| WithdrawOffer { offer }.into()).boxed()
        }
        _ => return None,
    })
}

fn any_state() -> impl Strategy<Value = OfferState> {
    prop_oneof![
        Just(OfferState::Held),
        any::<u64>().prop_map(|verified| OfferState::Accepted { verified }),
        Just(OfferState::Done),
        Just(OfferState::Refused),
        Just(OfferState::Failed),
        Just(OfferState::Full),
        Just(OfferState::Withdrawn),
        Just(OfferState::Unknown),
    ]
}

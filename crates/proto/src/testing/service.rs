//! Messages about services for people.

use super::values::{any_content_id, any_text};
use crate::bounded::BoundedString;
use crate::id::ContentId;
use crate::message::{Message, MessageKind};
use crate::service::{
    Carry, ChatId, ChatMessage, ChatRefusal, ChatReply, FileOffer, FileOfferReply, Here,
    MAX_CHAT_BYTES, OfferState, OpenService, ServiceRefusal, ServiceReply,
};
use crate::time::UnixTime;
use proptest::prelude::*;
use proptest::result::maybe_ok;
use proptest::sample::select;

fn long<const N: usize>() -> BoundedString<N> {
    BoundedString::truncated(&"x".repeat(N))
}

/// The largest message of a kind that is about services; `None` for other kinds.
pub(super) fn largest(kind: MessageKind) -> Option<Message> {
    let carry = Carry::Datagrams { flow: u32::MAX };
    let id = ChatId([0xff; 16]);
    Some(match kind {
        MessageKind::OpenService => OpenService { service: long(), carry }.into(),
        MessageKind::ServiceReply => ServiceReply { outcome: Ok(carry) }.into(),
        MessageKind::ChatMessage => {
            ChatMessage { id, sent: UnixTime(u64::MAX), text: long::<MAX_CHAT_BYTES>() }.into()
        }
        MessageKind::ChatReply => ChatReply { id, outcome: Err(ChatRefusal::Full) }.into(),
        MessageKind::FileOffer => {
            let content = ContentId::from_bytes([0xff; 32]);
            FileOffer { content, name: long(), size: u64::MAX }.into()
        }
        MessageKind::FileOfferReply => {
            FileOfferReply { state: OfferState::Failed, verified: u64::MAX }.into()
        }
        MessageKind::Here => Here.into(),
        _ => return None,
    })
}

/// Any message of a kind that is about services; `None` for other kinds.
pub(super) fn any_of(kind: MessageKind) -> Option<BoxedStrategy<Message>> {
    Some(match kind {
        MessageKind::OpenService => (any_text(), any_carry())
            .prop_map(|(service, carry)| OpenService { service, carry }.into())
            .boxed(),
        MessageKind::ServiceReply => maybe_ok(any_carry(), any_refusal())
            .prop_map(|outcome| ServiceReply { outcome }.into())
            .boxed(),
        MessageKind::ChatMessage => (any::<[u8; 16]>(), any::<u64>(), any_text())
            .prop_map(|(id, sent, text)| {
                ChatMessage { id: ChatId(id), sent: UnixTime(sent), text }.into()
            })
            .boxed(),
        MessageKind::ChatReply => (any::<[u8; 16]>(), maybe_ok(Just(()), Just(ChatRefusal::Full)))
            .prop_map(|(id, outcome)| ChatReply { id: ChatId(id), outcome }.into())
            .boxed(),
        MessageKind::FileOffer => (any_content_id(), any_text(), any::<u64>())
            .prop_map(|(content, name, size)| FileOffer { content, name, size }.into())
            .boxed(),
        MessageKind::FileOfferReply => (any_state(), any::<u64>())
            .prop_map(|(state, verified)| FileOfferReply { state, verified }.into())
            .boxed(),
        MessageKind::Here => Just(Here.into()).boxed(),
        _ => return None,
    })
}

fn any_carry() -> impl Strategy<Value = Carry> {
    prop_oneof![
        any::<u32>().prop_map(|window| Carry::Stream { window }),
        any::<u32>().prop_map(|flow| Carry::Datagrams { flow }),
    ]
}

fn any_refusal() -> impl Strategy<Value = ServiceRefusal> {
    use ServiceRefusal::{Busy, NoAnswer, NotAllowed};
    select(vec![NotAllowed, NoAnswer, Busy])
}

fn any_state() -> impl Strategy<Value = OfferState> {
    use OfferState::{Accepted, Asked, Failed, Full, Got, Rejected};
    select(vec![Asked, Accepted, Got, Rejected, Full, Failed])
}

//! Messages from person to person.

use super::values::any_text;
use crate::bounded::BoundedString;
use crate::chat::{ChatMessage, ChatRefusal, ChatReply, MAX_TEXT};
use crate::id::ChatId;
use crate::message::{Message, MessageKind};
use crate::time::UnixTime;
use proptest::prelude::*;
use proptest::result::maybe_ok;
use proptest::sample::select;

/// The largest message of a kind that is about chat; `None` for other kinds.
pub(super) fn largest(kind: MessageKind) -> Option<Message> {
    let id = ChatId::from_bytes([0xff; 16]);
    Some(match kind {
        MessageKind::ChatMessage => {
            let text = BoundedString::truncated(&"x".repeat(MAX_TEXT));
            ChatMessage { id, sent: UnixTime(u64::MAX), text }.into()
        }
        MessageKind::ChatReply => ChatReply { id, outcome: Err(ChatRefusal::Unavailable) }.into(),
        _ => return None,
    })
}

/// Any message of a kind that is about chat; `None` for other kinds.
pub(super) fn any_of(kind: MessageKind) -> Option<BoxedStrategy<Message>> {
    Some(match kind {
        MessageKind::ChatMessage => (any_id(), any::<u64>(), any_text())
            .prop_map(|(id, sent, text)| ChatMessage { id, sent: UnixTime(sent), text }.into())
            .boxed(),
        MessageKind::ChatReply => (any_id(), maybe_ok(Just(()), any_refusal()))
            .prop_map(|(id, outcome)| ChatReply { id, outcome }.into())
            .boxed(),
        _ => return None,
    })
}

fn any_id() -> impl Strategy<Value = ChatId> {
    any::<[u8; 16]>().prop_map(ChatId::from_bytes)
}

fn any_refusal() -> impl Strategy<Value = ChatRefusal> {
    use ChatRefusal::{Full, NotWanted, TooFast, Unavailable};
    select(vec![NotWanted, TooFast, Full, Unavailable])
}

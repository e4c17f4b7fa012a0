//! Messages about services for people.

use super::values::any_text;
use crate::bounded::BoundedString;
use crate::message::{Message, MessageKind};
use crate::service::{Carry, OpenService, ServiceRefusal, ServiceReply};
use proptest::prelude::*;
use proptest::result::maybe_ok;
use proptest::sample::select;

fn long<const N: usize>() -> BoundedString<N> {
    BoundedString::truncated(&"x".repeat(N))
}

/// The largest message of a kind that is about services; `None` for other kinds.
pub(super) fn largest(kind: MessageKind) -> Option<Message> {
    let carry = Carry::Datagrams { flow: u32::MAX };
    Some(match kind {
        MessageKind::OpenService => OpenService { service: long(), carry }.into(),
        MessageKind::ServiceReply => ServiceReply { outcome: Ok(carry) }.into(),
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
        _ => return None,
    })
}

fn any_carry() -> impl Strategy<Value = Carry> {
    prop_oneof![
        any::<u32>().prop_map(|window| Carry::Stream { window }),
        any::<u32>().prop_map(|flow| Carry::Datagrams { flow }),
        any::<bool>().prop_map(|packets| Carry::Nothing { packets }),
    ]
}

fn any_refusal() -> impl Strategy<Value = ServiceRefusal> {
    use ServiceRefusal::{Busy, NoAnswer, NotAllowed};
    select(vec![NotAllowed, NoAnswer, Busy])
}

//! Messages of the election.

use super::largest::{entry, full};
use super::values::{any_address, any_node_id, any_supernode_entry, few};
use crate::election::{
    Candidacy, Declined, DialBackOutcome, DialBackReply, DialBackRequest, Invite, InviteReply,
    Redirect, Standing, Verdict,
};
use crate::id::NodeId;
use crate::message::{Message, MessageKind};
use proptest::prelude::*;
use proptest::result::maybe_ok;
use std::net::SocketAddr;

/// The largest message of a kind of the election; `None` for other kinds.
pub(super) fn largest(kind: MessageKind, node: NodeId, address: SocketAddr) -> Option<Message> {
    Some(match kind {
        MessageKind::Candidacy => Candidacy { willing: true, capacity: u32::MAX }.into(),
        MessageKind::Invite => Invite { fill_percent: u8::MAX, fitness: u16::MAX }.into(),
        MessageKind::InviteReply => InviteReply { outcome: Err(Declined::NotYours) }.into(),
        MessageKind::DialBackRequest => {
            DialBackRequest { number: u64::MAX, node, addresses: full(&address) }.into()
        }
        MessageKind::DialBackReply => {
            DialBackReply { number: u64::MAX, outcome: DialBackOutcome::Refused }.into()
        }
        MessageKind::Standing => {
            let verdict = Verdict::TooYoung { up_secs: u32::MAX, asked_secs: u32::MAX };
            Standing { fill_percent: u8::MAX, verdict }.into()
        }
        MessageKind::Redirect => Redirect { to: entry() }.into(),
        _ => return None,
    })
}

/// A message of a kind of the election; `None` for other kinds.
pub(super) fn any_of(kind: MessageKind) -> Option<BoxedStrategy<Message>> {
    Some(match kind {
        MessageKind::Candidacy => any::<(bool, u32)>()
            .prop_map(|(willing, capacity)| Candidacy { willing, capacity }.into())
            .boxed(),
        MessageKind::Invite => any::<(u8, u16)>()
            .prop_map(|(fill_percent, fitness)| Invite { fill_percent, fitness }.into())
            .boxed(),
        MessageKind::InviteReply => maybe_ok(Just(()), any_declined())
            .prop_map(|outcome| InviteReply { outcome }.into())
            .boxed(),
        MessageKind::DialBackRequest => (any::<u64>(), any_node_id(), few(any_address()))
            .prop_map(|(number, node, addresses)| {
                DialBackRequest { number, node, addresses }.into()
            })
            .boxed(),
        MessageKind::DialBackReply => (any::<u64>(), any_outcome())
            .prop_map(|(number, outcome)| DialBackReply { number, outcome }.into())
            .boxed(),
        MessageKind::Standing => (any::<u8>(), any_verdict())
            .prop_map(|(fill_percent, verdict)| Standing { fill_percent, verdict }.into())
            .boxed(),
        MessageKind::Redirect => {
            any_supernode_entry().prop_map(|to| Redirect { to }.into()).boxed()
        }
        _ => return None,
    })
}

fn any_declined() -> impl Strategy<Value = Declined> {
    prop_oneof![Just(Declined::NotWilling), Just(Declined::TooSoon), Just(Declined::NotYours)]
}

fn any_outcome() -> impl Strategy<Value = DialBackOutcome> {
    prop_oneof![
        Just(DialBackOutcome::Reached),
        Just(DialBackOutcome::Unreached),
        Just(DialBackOutcome::Linked),
        Just(DialBackOutcome::Refused),
    ]
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::NotNeeded),
        Just(Verdict::Unwilling),
        any::<(u32, u32)>()
            .prop_map(|(up_secs, asked_secs)| Verdict::TooYoung { up_secs, asked_secs }),
        any::<(u16, u16)>().prop_map(|(has, asked)| Verdict::LowReputation { has, asked }),
        any::<(u32, u32)>().prop_map(|(capacity, asked)| Verdict::TooSmall { capacity, asked }),
        any::<(u8, u8)>().prop_map(|(failed, tried)| Verdict::Unreachable { failed, tried }),
        Just(Verdict::Unproven),
        any::<u16>().prop_map(|fitness| Verdict::Ready { fitness }),
    ]
}

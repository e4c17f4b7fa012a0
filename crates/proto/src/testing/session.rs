//! Messages about sessions.

use super::largest::{credential, full, key, node};
use super::values::{any_address, any_credential, any_key, any_node_id, few};
use crate::bounded::BoundedVec;
use crate::id::SessionId;
use crate::key::Signed;
use crate::message::{Message, MessageKind};
use crate::session::{
    Answer, AskSlot, Candidate, CandidateKind, NatKind, Offer, OfferRefusal, RelayEnd, ReleaseSlot,
    SealedKey, SessionAnswer, SessionHello, SessionNews, SessionOffer, SessionPing, SessionPong,
    SessionRefused, SlotGrant, SlotKey, SlotRefusal, SlotReply,
};
use crate::time::UnixTime;
use proptest::option;
use proptest::prelude::*;
use proptest::result::maybe_ok;
use proptest::sample::select;
use std::net::SocketAddr;

fn largest_relay(address: SocketAddr) -> RelayEnd {
    RelayEnd {
        relay: node(),
        addresses: full(&address),
        slot: u64::MAX,
        key: SealedKey([0xff; 32]),
        rtt_us: u32::MAX,
        load_percent: u8::MAX,
    }
}

/// The largest message of a kind that is about sessions; `None` for other kinds.
pub(super) fn largest(kind: MessageKind, address: SocketAddr) -> Option<Message> {
    let session = SessionId::from_bytes([0xff; 16]);
    let candidate = Candidate { address, kind: CandidateKind::Predicted };
    let (from, to, expires) = (node(), node(), UnixTime(u64::MAX));
    let (candidates, relays) = (full(&candidate), full(&largest_relay(address)));
    let nat = NatKind::UdpBlocked;
    Some(match kind {
        MessageKind::AskSlot => AskSlot { number: u64::MAX }.into(),
        MessageKind::SlotReply => {
            let grant = SlotGrant {
                slot: u64::MAX,
                keys: [SlotKey([0xff; 32]); 2],
                addresses: full(&address),
                rate: u32::MAX,
                idle_secs: u32::MAX,
                load_percent: u8::MAX,
                bound: true,
            };
            SlotReply { number: u64::MAX, outcome: Ok(grant) }.into()
        }
        MessageKind::ReleaseSlot => ReleaseSlot { slot: u64::MAX }.into(),
        MessageKind::SessionOffer => {
            let first = full(&u8::MAX);
            let offer = Offer { session, from, to, expires, nat, candidates, relays, first };
            let (offer, credential) = (Signed::new(offer, &key()), credential());
            SessionOffer { offer, credential, at: node() }.into()
        }
        MessageKind::SessionAnswer => {
            let bound = full(&Some(u32::MAX));
            let answer = Answer { session, from, to, expires, nat, candidates, bound, relays };
            let answer = Signed::new(answer, &key());
            SessionAnswer { answer, credential: credential() }.into()
        }
        MessageKind::SessionRefused => {
            SessionRefused { session, reason: OfferRefusal::NoPath }.into()
        }
        MessageKind::SessionHello => {
            SessionHello { session: Some(session), credential: credential(), nat }.into()
        }
        MessageKind::SessionNews => SessionNews::Whereabouts { nat, candidates }.into(),
        MessageKind::SessionPing => SessionPing { number: u64::MAX }.into(),
        MessageKind::SessionPong => {
            SessionPong { number: u64::MAX, nat, relay: Some(node()) }.into()
        }
        _ => return None,
    })
}

/// A message of a kind that is about sessions; `None` for other kinds.
pub(super) fn any_of(kind: MessageKind) -> Option<BoxedStrategy<Message>> {
    Some(match kind {
        MessageKind::AskSlot => any::<u64>().prop_map(|number| AskSlot { number }.into()).boxed(),
        MessageKind::SlotReply => (any::<u64>(), maybe_ok(any_grant(), any_slot_refusal()))
            .prop_map(|(number, outcome)| SlotReply { number, outcome }.into())
            .boxed(),
        MessageKind::ReleaseSlot => {
            any::<u64>().prop_map(|slot| ReleaseSlot { slot }.into()).boxed()
        }
        MessageKind::SessionOffer => (any_offer(), any_key(), any_credential(), any_node_id())
            .prop_map(|(offer, key, credential, at)| {
                SessionOffer { offer: Signed::new(offer, &key), credential, at }.into()
            })
            .boxed(),
        MessageKind::SessionAnswer => (any_answer(), any_key(), any_credential())
            .prop_map(|(answer, key, credential)| {
                SessionAnswer { answer: Signed::new(answer, &key), credential }.into()
            })
            .boxed(),
        MessageKind::SessionRefused => (any_session(), any_refusal())
            .prop_map(|(session, reason)| SessionRefused { session, reason }.into())
            .boxed(),
        MessageKind::SessionHello => (option::of(any_session()), any_credential(), any_nat())
            .prop_map(|(session, credential, nat)| SessionHello { session, credential, nat }.into())
            .boxed(),
        MessageKind::SessionNews => any_news().prop_map(Message::from).boxed(),
        MessageKind::SessionPing => {
            any::<u64>().prop_map(|number| SessionPing { number }.into()).boxed()
        }
        MessageKind::SessionPong => (any::<u64>(), any_nat(), option::of(any_node_id()))
            .prop_map(|(number, nat, relay)| SessionPong { number, nat, relay }.into())
            .boxed(),
        _ => return None,
    })
}

/// Any session id.
pub fn any_session() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId::from_bytes)
}

fn any_slot_key() -> impl Strategy<Value = SlotKey> {
    any::<[u8; 32]>().prop_map(SlotKey)
}

fn any_grant() -> impl Strategy<Value = SlotGrant> {
    let numbers = any::<(u64, u32, u32, u8)>();
    (numbers, [any_slot_key(), any_slot_key()], few(any_address())).prop_map(
        |((slot, rate, idle_secs, load_percent), keys, addresses)| SlotGrant {
            slot,
            keys,
            addresses,
            rate,
            idle_secs,
            load_percent,
            bound: slot % 2 == 0,
        },
    )
}

fn any_slot_refusal() -> impl Strategy<Value = SlotRefusal> {
    use SlotRefusal::{Full, NoCredential, OptedOut, TooFast, TooMany};
    select(vec![OptedOut, Full, TooMany, NoCredential, TooFast])
}

fn any_refusal() -> impl Strategy<Value = OfferRefusal> {
    use OfferRefusal::{Busy, NoPath, NotHere, NotWilling, ParentUnreachable, TooFast, Unsound};
    select(vec![NotHere, ParentUnreachable, TooFast, Unsound, NotWilling, Busy, NoPath])
}

fn any_nat() -> impl Strategy<Value = NatKind> {
    use NatKind::{Cone, Public, Symmetric, UdpBlocked, Unknown};
    select(vec![Unknown, Public, Cone, Symmetric, UdpBlocked])
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let kinds = vec![
        CandidateKind::Local,
        CandidateKind::Observed,
        CandidateKind::Mapped,
        CandidateKind::Predicted,
    ];
    (any_address(), select(kinds)).prop_map(|(address, kind)| Candidate { address, kind })
}

fn any_relay() -> impl Strategy<Value = RelayEnd> {
    let numbers = any::<(u64, u32, u8)>();
    (any_node_id(), few(any_address()), numbers, any::<[u8; 32]>().prop_map(SealedKey)).prop_map(
        |(relay, addresses, (slot, rtt_us, load_percent), key)| RelayEnd {
            relay,
            addresses,
            slot,
            key,
            rtt_us,
            load_percent,
        },
    )
}

fn any_relays() -> impl Strategy<Value = BoundedVec<RelayEnd, 3>> {
    proptest::collection::vec(any_relay(), 0..=3).prop_map(BoundedVec::truncated)
}

fn any_offer() -> impl Strategy<Value = Offer> {
    let ends = (any_session(), any_node_id(), any_node_id(), any::<u64>());
    (ends, any_nat(), few(any_candidate()), any_relays()).prop_map(
        |((session, from, to, expires), nat, candidates, relays)| {
            // As different as the numbers are, and of as many lengths.
            let first = expires.to_be_bytes().into_iter().skip(expires as usize % 9);
            let (first, expires) = (BoundedVec::truncated(first), UnixTime(expires));
            Offer { session, from, to, expires, nat, candidates, relays, first }
        },
    )
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let bound = proptest::collection::vec(option::of(any::<u32>()), 0..=3);
    (any_offer(), bound).prop_map(|(offer, bound)| {
        let Offer { session, from, to, expires, nat, candidates, relays, .. } = offer;
        let bound = BoundedVec::truncated(bound);
        Answer { session, from, to, expires, nat, candidates, bound, relays }
    })
}

fn any_news() -> impl Strategy<Value = SessionNews> {
    prop_oneof![
        any_relay().prop_map(SessionNews::Reserve),
        (any_node_id(), any::<(u64, u32)>())
            .prop_map(|(relay, (slot, rtt_us))| SessionNews::Bound { relay, slot, rtt_us }),
        (any_node_id(), any::<u64>())
            .prop_map(|(relay, slot)| SessionNews::Unbound { relay, slot }),
        any::<u64>().prop_map(|slot| SessionNews::Moved { slot }),
        (any_nat(), few(any_candidate()))
            .prop_map(|(nat, candidates)| SessionNews::Whereabouts { nat, candidates }),
        any_credential().prop_map(|credential| SessionNews::Relay(Box::new(credential))),
    ]
}

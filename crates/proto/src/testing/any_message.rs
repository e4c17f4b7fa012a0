//! A strategy for every kind of message.

use super::directory::{
    any_directory_key, any_found, any_node_record, any_presence, any_source_claim,
    any_source_records,
};
use super::election;
use super::gossip::any_gossip_of;
use super::values::{
    any_address, any_content_id, any_coverage, any_credential, any_evidence, any_file,
    any_hit_group, any_key, any_load, any_node_id, any_password, any_proof, any_query,
    any_query_id, any_ranges, any_receipt, any_supernode_entry, any_text, any_username,
    any_voucher, few,
};
use super::{chat, inbox, service, session};
use crate::budget::{BudgetLeft, BudgetWanted, SpendReport};
use crate::directory::{Announce, ArcSent, ArcWanted, Find, Put};
use crate::evidence::{Evidence, GiveReceipt, ShowEvidence, Vouched};
use crate::fetch::{FetchReply, FetchRequest};
use crate::key::Signed;
use crate::login::{LoginRefusal, LoginReply, LoginRequest};
use crate::message::{
    Attach, AttachReply, Bond, CancelSearch, Detach, Flood, Hello, Hits, Link, LinkReply,
    LoadUpdate, Message, MessageKind, PartingReason, Probe, ProbeReply, Publish, PublishAck,
    Refusal, Role, Search, SearchDone, Supernodes,
};
use crate::misconduct::Accuse;
use crate::routing::{SharedBytes, TableUpdate};
use crate::supernode::SupernodeList;
use crate::time::UnixTime;
use crate::wish::{StandingQuery, Wish, WishHit, WishUpdate};
use proptest::option;
use proptest::prelude::*;
use proptest::result::maybe_ok;

/// A message of any kind.
pub fn any_message() -> impl Strategy<Value = Message> {
    proptest::sample::select(MessageKind::ALL).prop_flat_map(any_message_of)
}

/// A message of this kind.
pub fn any_message_of(kind: MessageKind) -> BoxedStrategy<Message> {
    match kind {
        MessageKind::Hello => any_hello().prop_map(Message::from).boxed(),
        MessageKind::Probe => Just(Probe.into()).boxed(),
        MessageKind::ProbeReply => (any_role(), any_load())
            .prop_map(|(role, load)| ProbeReply { role, load }.into())
            .boxed(),
        MessageKind::Attach => any_bond().prop_map(|bond| Attach { bond }.into()).boxed(),
        MessageKind::AttachReply => {
            (maybe_ok(any_bond(), any_refusal()), few(any_supernode_entry()))
                .prop_map(|(outcome, others)| AttachReply { outcome, others }.into())
                .boxed()
        }
        MessageKind::Detach => any_parting().prop_map(|reason| Detach { reason }.into()).boxed(),
        MessageKind::Publish => {
            (any::<u64>(), any::<bool>(), few(any_content_id()), few(any_file()))
                .prop_map(|(sequence, reset, remove, add)| {
                    Publish { sequence, reset, remove, add }.into()
                })
                .boxed()
        }
        MessageKind::PublishAck => any::<[u64; 3]>()
            .prop_map(|[sequence, records, over_quota]| {
                PublishAck { sequence, records, over_quota }.into()
            })
            .boxed(),
        MessageKind::Search => (any_query_id(), any_query(), any::<u16>())
            .prop_map(|(id, query, wanted)| Search { id, query, wanted }.into())
            .boxed(),
        MessageKind::Flood => (
            (any_query_id(), any_query_id(), any_query()),
            (any::<u16>(), any::<u8>(), any::<bool>(), any_bytes()),
        )
            .prop_map(|((id, search, query), (wanted, hops_left, index, besides))| {
                let query = query.into();
                Flood { id, search, query, wanted, hops_left, index, besides }.into()
            })
            .boxed(),
        MessageKind::Hits => (any_query_id(), few(any_hit_group()))
            .prop_map(|(id, groups)| Hits { id, groups }.into())
            .boxed(),
        MessageKind::SearchDone => {
            (any_query_id(), any_coverage(), few(any::<[u8; 3]>()), few(any_hit_group()))
                .prop_map(|(id, coverage, covered, groups)| {
                    SearchDone { id, coverage, covered, groups }.into()
                })
                .boxed()
        }
        MessageKind::CancelSearch => {
            any_query_id().prop_map(|id| CancelSearch { id }.into()).boxed()
        }
        MessageKind::Link => any_load().prop_map(|load| Link { load }.into()).boxed(),
        MessageKind::LinkReply => (maybe_ok(any_load(), any_refusal()), few(any_supernode_entry()))
            .prop_map(|(outcome, others)| LinkReply { outcome, others }.into())
            .boxed(),
        MessageKind::Supernodes => {
            few(any_supernode_entry()).prop_map(|entries| Supernodes { entries }.into()).boxed()
        }
        MessageKind::LoadUpdate => any_load().prop_map(|load| LoadUpdate { load }.into()).boxed(),
        MessageKind::Gossip
        | MessageKind::GossipOffer
        | MessageKind::GossipWant
        | MessageKind::GossipDigest
        | MessageKind::GossipInventory => any_gossip_of(kind),
        MessageKind::TableUpdate => any_table_update().prop_map(Message::from).boxed(),
        MessageKind::SpendReport => (any_node_record(), any::<u16>())
            .prop_map(|(record, spent)| SpendReport { record, spent }.into())
            .boxed(),
        MessageKind::BudgetWanted => {
            any_username().prop_map(|name| BudgetWanted { name }.into()).boxed()
        }
        MessageKind::BudgetLeft => (any_username(), any::<u16>())
            .prop_map(|(name, left)| BudgetLeft { name, left }.into())
            .boxed(),
        MessageKind::WishUpdate => {
            any_standing_query().prop_map(|standing| WishUpdate { standing }.into()).boxed()
        }
        MessageKind::WishHit => (
            any_query_id(),
            any_node_id(),
            any::<u8>(),
            any_hit_group().prop_map(|group| group.owner),
            any_file(),
        )
            .prop_map(|(id, wisher, hops_left, owner, file)| {
                WishHit { id, wisher, hops_left, owner, file }.into()
            })
            .boxed(),
        MessageKind::Announce => (option::of(any_presence()), few(any_source_claim()))
            .prop_map(|(presence, claims)| Announce { presence, claims }.into())
            .boxed(),
        MessageKind::Put => (few(any_node_record()), few(any_source_records()))
            .prop_map(|(nodes, sources)| Put { nodes, sources }.into())
            .boxed(),
        MessageKind::Find => (any_query_id(), any_directory_key())
            .prop_map(|(id, key)| Find { id, key }.into())
            .boxed(),
        MessageKind::Found => any_found().prop_map(Message::from).boxed(),
        MessageKind::ArcWanted => {
            any::<[u128; 2]>().prop_map(|[after, to]| ArcWanted { after, to }.into()).boxed()
        }
        MessageKind::ArcSent => (any::<[u128; 2]>(), any::<u32>(), any::<bool>())
            .prop_map(|([after, to], records, whole)| ArcSent { after, to, records, whole }.into())
            .boxed(),
        MessageKind::Candidacy
        | MessageKind::Invite
        | MessageKind::InviteReply
        | MessageKind::DialBackRequest
        | MessageKind::DialBackReply
        | MessageKind::Standing
        | MessageKind::Redirect => election::any_of(kind).expect("a kind of the election"),
        MessageKind::AskSlot
        | MessageKind::SlotReply
        | MessageKind::ReleaseSlot
        | MessageKind::SessionOffer
        | MessageKind::SessionAnswer
        | MessageKind::SessionRefused
        | MessageKind::SessionHello
        | MessageKind::SessionNews
        | MessageKind::SessionPing
        | MessageKind::SessionPong => session::any_of(kind).expect("about sessions"),
        MessageKind::Vouched => {
            any_voucher().prop_map(|voucher| Vouched { voucher }.into()).boxed()
        }
        MessageKind::ShowEvidence => (any_credential(), few(any_evidence()))
            .prop_map(|(owner, evidence)| ShowEvidence { owner, evidence }.into())
            .boxed(),
        MessageKind::Accuse => any_proof().prop_map(|proof| Accuse { proof }.into()).boxed(),
        MessageKind::LoginRequest => any_login_request().prop_map(Message::from).boxed(),
        MessageKind::LoginReply => any_login_reply().prop_map(Message::from).boxed(),
        MessageKind::OpenService | MessageKind::ServiceReply => {
            service::any_of(kind).expect("about services")
        }
        MessageKind::ChatMessage | MessageKind::ChatReply => {
            chat::any_of(kind).expect("about chat")
        }
        MessageKind::OfferFile | MessageKind::OfferNews | MessageKind::WithdrawOffer => {
            inbox::any_of(kind).expect("about offers")
        }
        MessageKind::FetchRequest => (any_content_id(), any_ranges(), option::of(any_credential()))
            .prop_map(|(content, ranges, credential)| {
                FetchRequest { content, ranges, credential }.into()
            })
            .boxed(),
        MessageKind::FetchReply => any_fetch_reply().prop_map(Message::from).boxed(),
        MessageKind::GiveReceipt => (any_receipt(), any_credential())
            .prop_map(|(claim, witness)| {
                GiveReceipt { receipt: Evidence { claim, witness } }.into()
            })
            .boxed(),
    }
}

fn any_hello() -> impl Strategy<Value = Hello> {
    (any_text(), any_role(), option::of(any_credential()), few(any_address()), any_address())
        .prop_map(|(agent, role, credential, listen, observed)| Hello {
            agent,
            role,
            credential,
            listen,
            observed,
        })
}

fn any_table_update() -> impl Strategy<Value = TableUpdate> {
    let whole = (any::<[u8; 2]>(), any_bytes(), any::<u32>(), any::<bool>()).prop_map(
        |([log2_bits, part], bits, nodes, pairs)| TableUpdate::Whole {
            log2_bits,
            part,
            bits,
            nodes,
            pairs,
        },
    );
    let flips =
        (any_bytes(), any::<u32>()).prop_map(|(flips, nodes)| TableUpdate::Flips { flips, nodes });
    prop_oneof![whole, flips]
}

/// Some wish.
pub(super) fn any_standing_query() -> impl Strategy<Value = StandingQuery> {
    (
        any_query_id(),
        any_query(),
        any_node_id(),
        any::<u64>(),
        any::<bool>(),
        any_key(),
        any_credential(),
    )
        .prop_map(|(id, query, parent, issued, withdrawn, key, credential)| {
            let (owner, issued) = (key.node_id(), UnixTime(issued));
            let wish = Wish { id, owner, query, parent, issued, withdrawn };
            StandingQuery { wish: Signed::new(wish, &key), credential }
        })
}

fn any_bytes<const N: usize>() -> impl Strategy<Value = SharedBytes<N>> {
    proptest::collection::vec(any::<u8>(), 0..=N.min(300))
        .prop_map(|bytes| SharedBytes::new(bytes).expect("few bytes"))
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Ordinary), Just(Role::Super)]
}

fn any_bond() -> impl Strategy<Value = Bond> {
    prop_oneof![Just(Bond::Active), Just(Bond::Standby)]
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::Full),
        Just(Refusal::NotSuper),
        Just(Refusal::NoCredential),
        Just(Refusal::TooFast),
    ]
}

fn any_parting() -> impl Strategy<Value = PartingReason> {
    prop_oneof![
        Just(PartingReason::Leaving),
        Just(PartingReason::Moved),
        any_node_id().prop_map(PartingReason::MovedTo),
        Just(PartingReason::Demoted),
        Just(PartingReason::Misbehaved),
        Just(PartingReason::CredentialExpired),
    ]
}

fn any_login_request() -> impl Strategy<Value = LoginRequest> {
    prop_oneof![
        (any_username(), any_password(), option::of(any_text()))
            .prop_map(|(name, password, invite)| LoginRequest::Register { name, password, invite }),
        (any_username(), any_password())
            .prop_map(|(name, password)| LoginRequest::Login { name, password }),
        Just(LoginRequest::Renew),
        (any_username(), any_password(), any_node_id())
            .prop_map(|(name, password, node)| LoginRequest::Revoke { name, password, node }),
        (any::<bool>(), few(any_address()))
            .prop_map(|(willing, listen)| LoginRequest::Bootstrap { willing, listen }),
        (any_load(), few(any_address()))
            .prop_map(|(load, listen)| LoginRequest::Report { load, listen }),
    ]
}

fn any_login_reply() -> impl Strategy<Value = LoginReply> {
    let refusal = prop_oneof![
        Just(LoginRefusal::NameTaken),
        Just(LoginRefusal::WrongPassword),
        any::<u32>().prop_map(|retry_secs| LoginRefusal::RateLimited { retry_secs }),
        Just(LoginRefusal::Unavailable),
    ];
    prop_oneof![
        any_credential().prop_map(LoginReply::Credential),
        (any_key(), any::<u64>(), few(any_supernode_entry()), any::<bool>(), any_address())
            .prop_map(|(key, issued, entries, invited, observed)| {
                let list = SupernodeList { issued: UnixTime(issued), entries };
                LoginReply::Bootstrap { list: Signed::new(list, &key), invited, observed }
            }),
        any::<bool>().prop_map(|reachable| LoginReply::Reported { reachable }),
        Just(LoginReply::Revoked),
        refusal.prop_map(LoginReply::Refused),
    ]
}

fn any_fetch_reply() -> impl Strategy<Value = FetchReply> {
    prop_oneof![
        (any::<u64>(), any_ranges()).prop_map(|(size, have)| FetchReply::Sending { size, have }),
        Just(FetchReply::NotFound),
        (any::<u32>(), any::<u32>())
            .prop_map(|(position, retry_secs)| FetchReply::Busy { position, retry_secs }),
        Just(FetchReply::BadRequest),
        Just(FetchReply::NotAllowed),
    ]
}

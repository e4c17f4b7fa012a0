//! What the directory's messages are made of: random ones, and the largest.

use super::largest::{address, credential, entry, full, id, key, node};
use super::values::{
    any_address, any_content_id, any_credential, any_key, any_node_id, any_query_id,
    any_supernode_entry, any_username, few,
};
use crate::bounded::BoundedVec;
use crate::directory::{
    Announce, Contact, DirectoryKey, FindOutcome, Found, Loss, NodeRecord, Presence, Put,
    PutPacker, Shared, SourceClaim, SourceRecords, SourceState,
};
use crate::id::ContentId;
use crate::key::Signed;
use crate::time::UnixTime;
use proptest::option;
use proptest::prelude::*;

pub(super) fn any_presence() -> impl Strategy<Value = Shared<Presence>> {
    let contact = (any_node_id(), few(any_address()))
        .prop_map(|(node, addresses)| Contact { node, addresses });
    (any::<[u64; 2]>(), any::<bool>(), few(any_address()), option::of(contact), any_key()).prop_map(
        |([issued, expires], online, addresses, parent, key)| {
            let (issued, expires) = (UnixTime(issued), UnixTime(expires));
            Signed::new(Presence { issued, expires, online, addresses, parent }, &key).into()
        },
    )
}

pub(super) fn any_source_claim() -> impl Strategy<Value = Shared<SourceClaim>> {
    let state = prop_oneof![
        Just(SourceState::Partial),
        Just(SourceState::Complete),
        Just(SourceState::Withdrawn),
    ];
    (any_content_id(), state, any::<[u64; 2]>(), any_key()).prop_map(
        |(content, state, [issued, expires], key)| {
            let (issued, expires) = (UnixTime(issued), UnixTime(expires));
            Signed::new(SourceClaim { content, state, issued, expires }, &key).into()
        },
    )
}

pub(super) fn any_node_record() -> impl Strategy<Value = NodeRecord> {
    let loss = (any_node_id(), any::<u64>(), any_key())
        .prop_map(|(node, at, key)| Signed::new(Loss { node, at: UnixTime(at) }, &key).into());
    (any_credential(), any_presence(), option::of(loss)).prop_map(|(credential, presence, loss)| {
        NodeRecord { credential: credential.into(), presence, loss }
    })
}

pub(super) fn any_source_records() -> impl Strategy<Value = SourceRecords> {
    (any_credential(), option::of(any_presence()), few(any_source_claim())).prop_map(
        |(credential, presence, claims)| SourceRecords {
            credential: credential.into(),
            presence,
            claims,
        },
    )
}

pub(super) fn any_directory_key() -> impl Strategy<Value = DirectoryKey> {
    prop_oneof![
        any_username().prop_map(DirectoryKey::Name),
        any_content_id().prop_map(DirectoryKey::Content),
    ]
}

pub(super) fn any_found() -> impl Strategy<Value = Found> {
    let outcome = prop_oneof![
        Just(FindOutcome::Answered),
        Just(FindOutcome::Elsewhere),
        Just(FindOutcome::OverBudget),
        Just(FindOutcome::Unreachable),
        Just(FindOutcome::NotAttached),
        Just(FindOutcome::Fetching),
    ];
    (
        any_query_id(),
        outcome,
        few(any_node_record()),
        few(any_source_records()),
        few(any_supernode_entry()),
    )
        .prop_map(|(id, outcome, nodes, sources, holders)| Found {
            id,
            outcome,
            nodes,
            sources,
            holders,
        })
}

fn presence() -> Shared<Presence> {
    let presence = Presence {
        issued: UnixTime(u64::MAX),
        expires: UnixTime(u64::MAX),
        online: true,
        addresses: full(&address()),
        parent: Some(Contact { node: node(), addresses: full(&address()) }),
    };
    Signed::new(presence, &key()).into()
}

fn claim() -> Shared<SourceClaim> {
    let claim = SourceClaim {
        content: ContentId::from_bytes([7; 32]),
        state: SourceState::Withdrawn,
        issued: UnixTime(u64::MAX),
        expires: UnixTime(u64::MAX),
    };
    Signed::new(claim, &key()).into()
}

pub(super) fn largest_node_record() -> NodeRecord {
    let loss = Loss { node: node(), at: UnixTime(u64::MAX) };
    NodeRecord {
        credential: credential().into(),
        presence: presence(),
        loss: Some(Signed::new(loss, &key()).into()),
    }
}

pub(super) fn largest_announce() -> Announce {
    Announce { presence: Some(presence()), claims: full(&claim()) }
}

/// As full as [`PutPacker`] makes it.
pub(super) fn largest_put() -> Put {
    let mut packer = PutPacker::default();
    for _ in 0..64 {
        packer.node(largest_node_record());
        packer.source(&credential().into(), Some(&presence()), claim());
    }
    packer.finish().swap_remove(0)
}

/// As holders make it: a source has one claim in an answer.
pub(super) fn largest_found() -> Found {
    let source = SourceRecords {
        credential: credential().into(),
        presence: Some(presence()),
        claims: BoundedVec::truncated([claim()]),
    };
    Found {
        id: id(),
        outcome: FindOutcome::NotAttached,
        nodes: full(&largest_node_record()),
        sources: full(&source),
        holders: full(&entry()),
    }
}

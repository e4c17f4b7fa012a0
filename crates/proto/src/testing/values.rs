//! Strategies for what messages are made of.

use crate::bounded::{BoundedString, BoundedVec};
use crate::credential::{Credential, SignedCredential};
use crate::evidence::{AnyEvidence, Evidence, Receipt, Voucher};
use crate::fetch::{ByteRange, GROUP_BYTES};
use crate::file::{FileMeta, FilePath, Kind, MediaTags};
use crate::id::{ContentId, NodeId, QueryId};
use crate::key::{KeyPair, Signed};
use crate::login::Password;
use crate::misconduct::{Misconduct, Proof};
use crate::name::Username;
use crate::query::{Ask, Coverage, Filter, HitGroup, Owner, Query, StopReason};
use crate::supernode::{Load, SupernodeEntry};
use crate::time::UnixTime;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

/// How many elements a list of a random message has at most. Tests of size use
/// [`super::largest_message`]; many small messages find more than few large ones.
const FEW: usize = 5;

/// A key pair; few enough that two messages often speak of the same node.
pub(super) fn any_key() -> impl Strategy<Value = KeyPair> {
    (0_u8..8).prop_map(|number| KeyPair::from_seed(&[number; 32]))
}

/// A node that has a key pair.
pub fn any_node_id() -> impl Strategy<Value = NodeId> {
    any_key().prop_map(|key| key.node_id())
}

/// Any content id.
pub fn any_content_id() -> impl Strategy<Value = ContentId> {
    any::<[u8; 32]>().prop_map(ContentId::from_bytes)
}

/// Any query id.
pub fn any_query_id() -> impl Strategy<Value = QueryId> {
    any::<[u8; 16]>().prop_map(QueryId::from_bytes)
}

/// Text of at most `N` bytes, of all scripts.
pub fn any_text<const N: usize>() -> impl Strategy<Value = BoundedString<N>> {
    "\\PC{0,40}".prop_map(|text| BoundedString::truncated(&text))
}

/// A user name, in one of several scripts.
pub fn any_username() -> impl Strategy<Value = Username> {
    prop_oneof!["[a-z0-9][a-z0-9._-]{0,30}[a-z0-9]", "[а-я]{2,32}", "[α-ω]{2,32}", "[一-十]{2,32}",]
        .prop_filter_map("not a name", |text| Username::parse(&text).ok())
}

/// A password.
pub fn any_password() -> impl Strategy<Value = Password> {
    "\\PC{0,40}".prop_filter_map("too long", |text| Password::new(text).ok())
}

/// An address of either family. Scope and flow of IPv6 do not travel and so are not there.
pub fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// A few elements of a list that may hold `N`.
pub(super) fn few<T: std::fmt::Debug, const N: usize>(
    element: impl Strategy<Value = T>,
) -> impl Strategy<Value = BoundedVec<T, N>> {
    vec(element, 0..=FEW.min(N)).prop_map(BoundedVec::truncated)
}

/// A credential that the login service with the key of seed `[0; 32]` has signed.
pub fn any_credential() -> impl Strategy<Value = SignedCredential> {
    (any_username(), any_node_id(), any::<[u64; 3]>()).prop_map(|(name, node, times)| {
        let [issued, expires, registered] = times.map(UnixTime);
        let login = KeyPair::from_seed(&[0; 32]);
        Signed::new(Credential { name, node, issued, expires, registered }, &login)
    })
}

/// The path of a shared file.
pub fn any_file_path() -> impl Strategy<Value = FilePath> {
    vec("\\PC{1,20}", 1..4)
        .prop_filter_map("not a path", |parts| FilePath::new(parts.join("/")).ok())
}

fn any_tags() -> impl Strategy<Value = MediaTags> {
    (
        option::of(any_text()),
        option::of(any_text()),
        option::of(any_text()),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
    )
        .prop_map(|(artist, title, album, bitrate_kbps, duration_secs)| MediaTags {
            artist,
            title,
            album,
            bitrate_kbps,
            duration_secs,
        })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(&Kind::ALL[..])
}

/// The metadata of a file.
pub fn any_file() -> impl Strategy<Value = FileMeta> {
    (any_content_id(), any::<u64>(), any_kind(), any_file_path(), option::of(any_tags())).prop_map(
        |(content, size, kind, path, tags)| FileMeta {
            content,
            size,
            kind,
            path,
            tags: tags.map(Box::new),
        },
    )
}

/// Conditions of a search.
pub fn any_filter() -> impl Strategy<Value = Filter> {
    (
        option::of(any_kind()),
        option::of(any_text()),
        (option::of(any::<u64>()), option::of(any::<u64>())),
        (option::of(any::<u32>()), option::of(any::<u32>()), option::of(any::<u32>())),
        option::of(any_username()),
    )
        .prop_map(|(kind, extension, sizes, media, owner)| Filter {
            kind,
            extension,
            min_size: sizes.0,
            max_size: sizes.1,
            min_bitrate_kbps: media.0,
            min_duration_secs: media.1,
            max_duration_secs: media.2,
            owner,
        })
}

/// A search.
pub fn any_query() -> impl Strategy<Value = Query> {
    let ask = prop_oneof![any_text().prop_map(Ask::Words), any_content_id().prop_map(Ask::Content)];
    (ask, any_filter()).prop_map(|(ask, filter)| Query { ask, filter })
}

/// A voucher by the node that it names.
pub(super) fn any_voucher() -> impl Strategy<Value = Signed<Voucher>> {
    (any_key(), any_username(), any::<[u32; 2]>(), any::<u64>()).prop_map(
        |(key, child, [day, connected_secs], signed)| {
            let (parent, signed) = (key.node_id(), UnixTime(signed));
            Signed::new(Voucher { parent, child, day, connected_secs, signed }, &key)
        },
    )
}

/// A receipt by the node that it names.
pub(super) fn any_receipt() -> impl Strategy<Value = Signed<Receipt>> {
    (any_key(), any_username(), any::<u32>(), any::<u64>()).prop_map(
        |(key, uploader, day, bytes)| {
            Signed::new(Receipt { downloader: key.node_id(), uploader, day, bytes }, &key)
        },
    )
}

/// Evidence of either sort; its witness need not be the one of the credential.
pub fn any_evidence() -> impl Strategy<Value = AnyEvidence> {
    prop_oneof![
        (any_voucher(), any_credential())
            .prop_map(|(claim, witness)| AnyEvidence::Voucher(Evidence { claim, witness })),
        (any_receipt(), any_credential())
            .prop_map(|(claim, witness)| AnyEvidence::Receipt(Evidence { claim, witness })),
    ]
}

/// What may be said to prove misconduct.
pub(super) fn any_proof() -> impl Strategy<Value = Proof> {
    let what = prop_oneof![
        any_voucher().prop_map(Misconduct::ImpossibleVoucher),
        any_receipt().prop_map(Misconduct::ImpossibleReceipt),
        (any_voucher(), any_voucher())
            .prop_map(|(earlier, later)| Misconduct::Contradiction { earlier, later }),
    ];
    (what, any_credential()).prop_map(|(what, signer)| Proof { what, signer })
}

/// Someone who offers files.
pub fn any_owner() -> impl Strategy<Value = Owner> {
    (any_node_id(), any_credential(), few(any_address()), any_node_id()).prop_map(
        |(node, credential, addresses, parent)| Owner { node, credential, addresses, parent },
    )
}

/// Hits that one owner offers.
pub fn any_hit_group() -> impl Strategy<Value = HitGroup> {
    (any_owner(), few(any_file())).prop_map(|(owner, files)| HitGroup { owner, files })
}

/// How complete an answer is.
pub(super) fn any_coverage() -> impl Strategy<Value = Coverage> {
    let stopped = prop_oneof![
        Just(StopReason::Exhausted),
        Just(StopReason::Enough),
        Just(StopReason::Unreached),
        Just(StopReason::TimedOut),
        Just(StopReason::Cancelled),
        Just(StopReason::OverBudget),
        Just(StopReason::NotAttached),
    ];
    (any::<[u32; 3]>(), stopped).prop_map(
        |([supernodes_asked, supernodes_known, nodes_covered], stopped)| Coverage {
            supernodes_asked,
            supernodes_known,
            nodes_covered,
            stopped,
        },
    )
}

/// How full a supernode says that it is.
pub fn any_load() -> impl Strategy<Value = Load> {
    (any::<[u32; 3]>(), any::<u64>(), any::<bool>()).prop_map(
        |([children, capacity, neighbours], records, accepting)| Load {
            children,
            capacity,
            neighbours,
            records,
            accepting,
        },
    )
}

/// A supernode, as somebody knows it.
pub fn any_supernode_entry() -> impl Strategy<Value = SupernodeEntry> {
    (any_node_id(), few(any_address()), any::<u8>(), any::<u64>()).prop_map(
        |(node, addresses, load_percent, seen)| SupernodeEntry {
            node,
            addresses,
            load_percent,
            seen: UnixTime(seen),
        },
    )
}

/// Ranges as an honest node asks for them: ascending, apart from each other, of whole groups.
pub(super) fn any_ranges() -> impl Strategy<Value = BoundedVec<ByteRange, 64>> {
    vec((1_u64..1 << 20, 1_u64..1 << 20), 0..=FEW).prop_map(|steps| {
        let mut end = 0;
        BoundedVec::truncated(steps.into_iter().map(|(gap, groups)| {
            let start = end + gap * GROUP_BYTES;
            end = start + groups * GROUP_BYTES;
            ByteRange { start, end }
        }))
    })
}

//! The largest message of each kind: every list full, every text and number as long as it may be.

use super::directory::{largest_announce, largest_found, largest_node_record, largest_put};
use super::election;
use super::gossip::largest_gossip;
use super::{chat, inbox, service, session};
use crate::bounded::{BoundedString, BoundedVec};
use crate::budget::{BudgetLeft, BudgetWanted, SpendReport};
use crate::credential::{Credential, SignedCredential};
use crate::directory::{ArcSent, ArcWanted, DirectoryKey, Find};
use crate::evidence::{
    AnyEvidence, Evidence, GiveReceipt, Receipt, ShowEvidence, Vouched, Voucher,
};
use crate::fetch::{ByteRange, FetchReply, FetchRequest};
use crate::file::{FileMeta, FilePath, Kind, MediaTags};
use crate::id::{ContentId, NodeId, QueryId};
use crate::key::{KeyPair, Signed};
use crate::login::{LoginReply, LoginRequest, Password};
use crate::membership::{Announcement, SupernodeRecord, SupernodeState};
use crate::message::{
    Attach, AttachReply, Bond, CancelSearch, Detach, Flood, Hello, Hits, Link, LinkReply,
    LoadUpdate, MAX_PUBLISHED, Message, MessageKind, PartingReason, Probe, ProbeReply, Publish,
    PublishAck, Role, Search, SearchDone, Supernodes,
};
use crate::misconduct::{Accuse, Misconduct, Proof};
use crate::name::Username;
use crate::pack;
use crate::query::{Ask, Coverage, Filter, HitGroup, Owner, Query, StopReason};
use crate::routing::{SharedBytes, TABLE_PART_BYTES, TableUpdate};
use crate::rumour::{News, Rumour};
use crate::supernode::{Load, SupernodeEntry, SupernodeList};
use crate::time::UnixTime;
use crate::wish::{StandingQuery, Wish, WishHit, WishUpdate};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The largest message that an honest sender makes of this kind. [`Hits`] and [`Publish`] are
/// cut by [`pack`], as every sender has them cut: their lists may be full of small elements or
/// hold fewer large ones, not both.
pub fn largest_message(kind: MessageKind) -> Message {
    match kind {
        MessageKind::Hello => Hello {
            agent: text(),
            role: Role::Super,
            credential: Some(credential()),
            listen: full(&address()),
            observed: address(),
        }
        .into(),
        MessageKind::Probe => Probe.into(),
        MessageKind::ProbeReply => ProbeReply { role: Role::Super, load: load() }.into(),
        MessageKind::Attach => Attach { bond: Bond::Standby }.into(),
        MessageKind::AttachReply => {
            AttachReply { outcome: Ok(Bond::Standby), others: full(&entry()) }.into()
        }
        MessageKind::Detach => Detach { reason: PartingReason::MovedTo(node()) }.into(),
        MessageKind::Publish => largest_publish().into(),
        MessageKind::PublishAck => {
            PublishAck { sequence: u64::MAX, records: u64::MAX, over_quota: u64::MAX }.into()
        }
        MessageKind::Search => Search { id: id(), query: query(), wanted: u16::MAX }.into(),
        MessageKind::Flood => {
            let besides = SharedBytes::new(vec![0xff; 6144]).expect("as many as fit");
            Flood {
                id: id(),
                search: id(),
                query: query().into(),
                wanted: u16::MAX,
                hops_left: u8::MAX,
                index: true,
                besides,
            }
            .into()
        }
        MessageKind::Hits => largest_hits().into(),
        MessageKind::SearchDone => largest_end().into(),
        MessageKind::CancelSearch => CancelSearch { id: id() }.into(),
        MessageKind::Link => Link { load: load() }.into(),
        MessageKind::LinkReply => LinkReply { outcome: Ok(load()), others: full(&entry()) }.into(),
        MessageKind::Supernodes => Supernodes { entries: full(&entry()) }.into(),
        MessageKind::LoadUpdate => LoadUpdate { load: load() }.into(),
        MessageKind::Gossip
        | MessageKind::GossipOffer
        | MessageKind::GossipWant
        | MessageKind::GossipDigest
        | MessageKind::GossipInventory => largest_gossip(kind, &largest_rumour()),
        MessageKind::TableUpdate => TableUpdate::Whole {
            log2_bits: u8::MAX,
            part: u8::MAX,
            bits: SharedBytes::new(vec![0xff; TABLE_PART_BYTES]).expect("a full part"),
            nodes: u32::MAX,
            pairs: true,
        }
        .into(),
        MessageKind::SpendReport => {
            SpendReport { record: largest_node_record(), spent: u16::MAX }.into()
        }
        MessageKind::BudgetWanted => BudgetWanted { name: name() }.into(),
        MessageKind::BudgetLeft => BudgetLeft { name: name(), left: u16::MAX }.into(),
        MessageKind::WishUpdate => WishUpdate { standing: standing() }.into(),
        MessageKind::WishHit => WishHit {
            id: id(),
            wisher: node(),
            hops_left: u8::MAX,
            owner: largest_owner(),
            file: largest_file(1),
        }
        .into(),
        MessageKind::Announce => largest_announce().into(),
        MessageKind::Put => largest_put().into(),
        MessageKind::Find => Find { id: id(), key: DirectoryKey::Name(name()) }.into(),
        MessageKind::Found => largest_found().into(),
        MessageKind::ArcWanted => ArcWanted { after: u128::MAX, to: u128::MAX }.into(),
        MessageKind::ArcSent => {
            ArcSent { after: u128::MAX, to: u128::MAX, records: u32::MAX, whole: true }.into()
        }
        MessageKind::Candidacy
        | MessageKind::Invite
        | MessageKind::InviteReply
        | MessageKind::DialBackRequest
        | MessageKind::DialBackReply
        | MessageKind::Standing
        | MessageKind::Redirect => {
            election::largest(kind, node(), address()).expect("a kind of the election")
        }
        MessageKind::AskSlot
        | MessageKind::SlotReply
        | MessageKind::ReleaseSlot
        | MessageKind::SessionOffer
        | MessageKind::SessionAnswer
        | MessageKind::SessionRefused
        | MessageKind::SessionHello
        | MessageKind::SessionNews
        | MessageKind::SessionPing
        | MessageKind::SessionPong => session::largest(kind, address()).expect("about sessions"),
        MessageKind::Vouched => Vouched { voucher: voucher() }.into(),
        MessageKind::ShowEvidence => {
            let evidence = Evidence { claim: voucher(), witness: credential() };
            let evidence = full(&AnyEvidence::Voucher(evidence));
            ShowEvidence { owner: credential(), evidence }.into()
        }
        MessageKind::Accuse => {
            let what = Misconduct::Contradiction { earlier: voucher(), later: voucher() };
            Accuse { proof: Proof { what, signer: credential() } }.into()
        }
        MessageKind::LoginRequest => LoginRequest::Register {
            name: name(),
            password: Password::new("p".repeat(256)).expect("256 bytes"),
            invite: Some(text()),
        }
        .into(),
        MessageKind::LoginReply => LoginReply::Bootstrap {
            list: Signed::new(
                SupernodeList { issued: UnixTime(u64::MAX), entries: full(&entry()) },
                &key(),
            ),
            invited: true,
            observed: address(),
        }
        .into(),
        MessageKind::OpenService | MessageKind::ServiceReply => {
            service::largest(kind).expect("about services")
        }
        MessageKind::ChatMessage | MessageKind::ChatReply => {
            chat::largest(kind).expect("about chat")
        }
        MessageKind::OfferFile | MessageKind::OfferNews | MessageKind::WithdrawOffer => {
            inbox::largest(kind).expect("about offers")
        }
        MessageKind::FetchRequest => FetchRequest {
            content: ContentId::from_bytes([7; 32]),
            ranges: full(&range()),
            credential: Some(credential()),
        }
        .into(),
        MessageKind::FetchReply => {
            FetchReply::Sending { size: u64::MAX, have: full(&range()) }.into()
        }
        MessageKind::GiveReceipt => {
            let (downloader, uploader) = (node(), name());
            let receipt = Receipt { downloader, uploader, day: u32::MAX, bytes: u64::MAX };
            let claim = Signed::new(receipt, &key());
            GiveReceipt { receipt: Evidence { claim, witness: credential() } }.into()
        }
    }
}

/// The metadata of a file with everything as long as it may be, and a content id of its own.
pub fn largest_file(number: u32) -> FileMeta {
    let mut content = [7; 32];
    content[..4].copy_from_slice(&number.to_le_bytes());
    FileMeta {
        content: ContentId::from_bytes(content),
        size: u64::MAX,
        kind: Kind::Software,
        path: FilePath::new("p".repeat(FilePath::MAX_BYTES)).expect("a path"),
        tags: Some(Box::new(MediaTags {
            artist: Some(text()),
            title: Some(text()),
            album: Some(text()),
            bitrate_kbps: Some(u32::MAX),
            duration_secs: Some(u32::MAX),
        })),
    }
}

/// An owner with the longest name and as many addresses as it may have.
pub fn largest_owner() -> Owner {
    Owner { node: node(), credential: credential(), addresses: full(&address()), parent: node() }
}

fn largest_rumour() -> Rumour {
    let record = SupernodeRecord {
        node: node(),
        addresses: full(&address()),
        load: load(),
        since: UnixTime(u64::MAX),
        issued: UnixTime(u64::MAX),
        lifetime_secs: u32::MAX,
        state: SupernodeState::Leaving,
    };
    let record = Signed::new(record, &key());
    Rumour::new(News::Announcement(Announcement { record, credential: credential() }))
}

fn many_hits() -> Vec<HitGroup> {
    let files = BoundedVec::truncated((0..64).map(largest_file));
    vec![HitGroup { owner: largest_owner(), files }; 2]
}

fn largest_hits() -> Hits {
    pack::hits(id(), many_hits()).swap_remove(0)
}

fn largest_end() -> SearchDone {
    let (mut before, done) = pack::end(id(), many_hits(), coverage(), full(&[0xff; 3]));
    SearchDone { groups: before.swap_remove(0).groups, ..done }
}

fn largest_publish() -> Publish {
    let mut remove: VecDeque<_> =
        (0..MAX_PUBLISHED as u32).map(|n| largest_file(n).content).collect();
    let mut add: VecDeque<_> = (0..MAX_PUBLISHED as u32).map(largest_file).collect();
    pack::take_publish(&mut remove, &mut add, u64::MAX, true)
}

pub(super) fn full<T: Clone, const N: usize>(element: &T) -> BoundedVec<T, N> {
    BoundedVec::truncated(vec![element.clone(); N])
}

fn text<const N: usize>() -> BoundedString<N> {
    BoundedString::truncated(&"t".repeat(N))
}

pub(super) fn key() -> KeyPair {
    KeyPair::from_seed(&[9; 32])
}

pub(super) fn node() -> NodeId {
    key().node_id()
}

pub(super) fn id() -> QueryId {
    QueryId::from_bytes([8; 16])
}

fn name() -> Username {
    // Characters of three bytes: those of four are no letters of living scripts, which alone are
    // allowed (UTS 39, table 1).
    Username::parse(&"漢".repeat(Username::MAX_CHARS)).expect("a name")
}

pub(super) fn address() -> SocketAddr {
    SocketAddr::from(([0xffff; 8], u16::MAX))
}

pub(super) fn credential() -> SignedCredential {
    let (issued, expires) = (UnixTime(u64::MAX), UnixTime(u64::MAX));
    Signed::new(
        Credential { name: name(), node: node(), issued, expires, registered: issued },
        &key(),
    )
}

fn voucher() -> Signed<Voucher> {
    let (parent, child, signed) = (node(), name(), UnixTime(u64::MAX));
    let voucher = Voucher { parent, child, day: u32::MAX, connected_secs: u32::MAX, signed };
    Signed::new(voucher, &key())
}

pub(super) fn entry() -> SupernodeEntry {
    SupernodeEntry {
        node: node(),
        addresses: full(&address()),
        load_percent: u8::MAX,
        seen: UnixTime(u64::MAX),
    }
}

fn load() -> Load {
    Load {
        children: u32::MAX,
        capacity: u32::MAX,
        neighbours: u32::MAX,
        records: u64::MAX,
        accepting: true,
    }
}

fn query() -> Query {
    Query {
        ask: Ask::Words(text()),
        filter: Filter {
            kind: Some(Kind::Software),
            extension: Some(text()),
            min_size: Some(u64::MAX),
            max_size: Some(u64::MAX),
            min_bitrate_kbps: Some(u32::MAX),
            min_duration_secs: Some(u32::MAX),
            max_duration_secs: Some(u32::MAX),
            owner: Some(name()),
        },
    }
}

fn standing() -> StandingQuery {
    let wish = Wish {
        id: id(),
        owner: node(),
        query: query(),
        parent: node(),
        issued: UnixTime(u64::MAX),
        withdrawn: true,
    };
    StandingQuery { wish: Signed::new(wish, &key()), credential: credential() }
}

fn coverage() -> Coverage {
    Coverage {
        supernodes_asked: u32::MAX,
        supernodes_known: u32::MAX,
        nodes_covered: u32::MAX,
        stopped: StopReason::NotAttached,
    }
}

fn range() -> ByteRange {
    ByteRange { start: u64::MAX, end: u64::MAX }
}

//! What goes into the overlay, and what comes out.

use crate::directory::{FoundNode, FoundSource};
use crate::election::RoleReason;
use crate::lookup::{LookUp, LookedUp};
use crate::sessions::SlotOutcome;
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::evidence::{Evidence, EvidenceRecord, Receipt, ShowEvidence};
use skein_proto::message::{PartingReason, RoleSetting};
use skein_proto::query::Coverage;
use skein_proto::session::{SessionAnswer, SessionOffer, SessionRefused, SlotGrant, SlotRefusal};
use skein_proto::supernode::Load;
use skein_proto::{
    ContentId, FileMeta, HitGroup, Instant, Message, NodeId, Query, QueryId, Role,
    SignedCredential, SupernodeEntry, UnixTime, Username,
};
use std::net::SocketAddr;
use std::time::Duration;

/// What time it is: on the driver's own clock, and by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On a clock that never goes back.
    pub instant: Instant,
    /// By the calendar, for what outlives a process.
    pub unix: UnixTime,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A control stream with a peer is open. Its key is proven; nothing else is.
    LinkUp {
        /// The peer.
        peer: NodeId,
        /// The address that it is seen at; with port 0 where that is no address of its socket, and
        /// unspecified where it is not seen at any.
        address: SocketAddr,
        /// The round trip as the transport knows it.
        rtt: Duration,
    },
    /// The control stream with a peer is gone.
    LinkDown {
        /// The peer.
        peer: NodeId,
    },
    /// A peer is connected, but answers nothing, not even the transport's probes.
    LinkSilent {
        /// The peer.
        peer: NodeId,
    },
    /// What [`Output::Dial`] asked for did not work.
    DialFailed {
        /// The peer.
        peer: NodeId,
    },
    /// A message came.
    Received {
        /// Who sent it.
        peer: NodeId,
        /// The message.
        message: Box<Message>,
    },
    /// The answer to [`Output::WantFiles`]: files by ascending content id.
    Files {
        /// The number of the page, as it was asked for.
        page: u64,
        /// The files behind the one that was named.
        files: Vec<FileMeta>,
        /// Whether there are none behind these.
        last: bool,
    },
    /// What this node shares has changed.
    LibraryChanged {
        /// Contents that are new or changed.
        added: Vec<FileMeta>,
        /// Contents that are gone.
        removed: Vec<ContentId>,
    },
    /// What this node shares has changed in a way that is not known: publish all of it again.
    LibraryReset,
    /// The credential of this node; the first, or a fresh one.
    Credential(SignedCredential),
    /// Supernodes to try: the answer to [`Output::WantBootstrap`], or a cache of an earlier run.
    Bootstrap {
        /// The supernodes.
        entries: Vec<SupernodeEntry>,
        /// The network has none, and this node is asked to be the first.
        invited: bool,
    },
    /// The login service did not answer.
    BootstrapFailed,
    /// Where this node listens; an unspecified address stands for all of its addresses.
    Listening(Vec<SocketAddr>),
    /// The user changed the role.
    SetRole(RoleSetting),
    /// The machine was measured.
    Capability {
        /// Children that it could hold.
        children: u32,
        /// Bytes that the index of a supernode may take on it.
        index_bytes: u64,
        /// Whether it runs on a battery.
        on_battery: bool,
    },
    /// What came of an [`Output::DialBack`].
    DialledBack {
        /// Its number.
        dial: u64,
        /// Whether the node answered with its own key.
        reached: bool,
    },
    /// The user searches.
    Search {
        /// A number that was not used before, drawn at random.
        id: QueryId,
        /// What is looked for.
        query: Query,
        /// How many different contents are enough, 1 to 1,000.
        wanted: u16,
    },
    /// The user wants no more hits.
    CancelSearch {
        /// Which search.
        id: QueryId,
    },
    /// What came of [`Output::LookUp`].
    LookedUp(LookedUp),
    /// The user looks up a name or a content id.
    Find {
        /// A number that was not used before, drawn at random.
        id: QueryId,
        /// What is looked up.
        key: DirectoryKey,
    },
    /// A download serves what it has verified, or does so no more.
    Serving {
        /// The content that is being downloaded.
        content: ContentId,
        /// Whether it is served.
        serving: bool,
    },
    /// The user wishes to be told of whatever is published from now on and matches.
    Wish {
        /// A number that was not used before, drawn at random; the same one after a restart.
        id: QueryId,
        /// What is looked for: a content, or at least one word or beginning of one.
        query: Query,
        /// What the user was told of before; the newest last.
        seen: Vec<ContentId>,
    },
    /// The user wishes for it no longer.
    EndWish {
        /// Which wish.
        id: QueryId,
    },
    /// Evidence that was kept by an earlier run, see [`Output::RememberEvidence`].
    Evidence(Box<EvidenceRecord>),
    /// A peer shows what others have signed about it, on a stream of its own.
    EvidenceShown {
        /// The peer.
        peer: NodeId,
        /// What it shows.
        shown: ShowEvidence,
    },
    /// Bytes were received and verified.
    BytesVerified {
        /// The node that sent them, and whose node it is.
        source: (NodeId, Username),
        /// How many came since the last time.
        bytes: u64,
    },
    /// A downloader gives a receipt for what this node has sent.
    ReceiptGiven {
        /// The downloader.
        peer: NodeId,
        /// The receipt.
        receipt: Box<Evidence<Receipt>>,
    },
    /// A node of this name has sent bytes that do not belong to the content.
    WrongBytes {
        /// The name.
        name: Username,
    },
    /// A session of the user wants a slot of a relay.
    AskSlot {
        /// A number that was not used before, drawn at random.
        ask: u64,
        /// Relays that it has already.
        besides: Vec<NodeId>,
        /// Which of the others is asked, from 0: so several can be asked at the same time.
        nth: usize,
    },
    /// A slot that the user was granted is needed no more.
    ReleaseSlot {
        /// The relay.
        relay: NodeId,
        /// The slot.
        slot: u64,
    },
    /// What the relay of this machine says to [`Output::GrantSlot`].
    SlotGranted {
        /// As it was asked.
        asker: NodeId,
        /// As it was asked.
        number: u64,
        /// The slot, without the addresses, or why there is none.
        outcome: Result<SlotGrant, SlotRefusal>,
    },
    /// The user calls somebody.
    OfferSession(Box<SessionOffer>),
    /// The user takes an offer.
    AnswerSession(Box<SessionAnswer>),
    /// The user refuses an offer.
    RefuseSession(SessionRefused),
    /// The node is about to end: tell those who count on it.
    Leave,
    /// The time that [`crate::Overlay::next_wakeup`] named has come.
    Tick,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a control stream with this peer, and say how it went.
    Dial {
        /// The peer.
        peer: NodeId,
        /// Where to try.
        addresses: Vec<SocketAddr>,
    },
    /// Send this over the control stream with this peer.
    Send {
        /// The peer.
        peer: NodeId,
        /// The message.
        message: Box<Message>,
    },
    /// Send what is under way, then close the control stream with this peer.
    HangUp {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: PartingReason,
    },
    /// Find out whether a node answers with its own key at one of these addresses, from a socket
    /// and with a key that were never used before, and close that connection again.
    DialBack {
        /// Names the dial in [`Input::DialledBack`].
        dial: u64,
        /// Who shall answer.
        node: NodeId,
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// Hand in a page of what this node shares.
    WantFiles {
        /// Names the page in the answer.
        page: u64,
        /// The content that the last page ended with.
        after: Option<ContentId>,
        /// How many at most.
        limit: usize,
    },
    /// Ask the login service for supernodes.
    WantBootstrap {
        /// Whether this node would be the first supernode.
        willing: bool,
    },
    /// Tell the login service that this supernode is up.
    Report {
        /// How full it is.
        load: Load,
        /// Where it can be reached, as far as it knows: what was handed in as
        /// [`Input::Listening`], and where others see it.
        addresses: Vec<SocketAddr>,
    },
    /// Keep these for the next start.
    RememberSupernodes(Vec<SupernodeEntry>),
    /// Keep this for the next start: all evidence about this node, and proofs against others.
    RememberEvidence(Box<EvidenceRecord>),
    /// Give this receipt to an uploader, on a stream of its own, if it is still connected.
    Receipt {
        /// The uploader.
        peer: NodeId,
        /// The receipt.
        receipt: Box<Evidence<Receipt>>,
    },
    /// Search the index, on whatever thread, and hand in what came of it as [`Input::LookedUp`]:
    /// once for each of these, for they are counted.
    LookUp(LookUp),
    /// Hits for the user; the owners' names are checked.
    Hits {
        /// Which search.
        id: QueryId,
        /// The hits.
        groups: Vec<HitGroup>,
    },
    /// Something that the user wished for is there; of each content this comes once.
    WishHits {
        /// Which wish.
        id: QueryId,
        /// The hits.
        groups: Vec<HitGroup>,
    },
    /// A search of the user is over.
    SearchDone {
        /// Which search.
        id: QueryId,
        /// How complete it is.
        coverage: Coverage,
    },
    /// What came of [`Input::Find`]; every record was checked.
    Found {
        /// Which look-up.
        id: QueryId,
        /// How it went.
        outcome: FindOutcome,
        /// The nodes of a name.
        nodes: Vec<FoundNode>,
        /// Sources of a content.
        sources: Vec<FoundSource>,
    },
    /// This supernode is asked for a slot by [`Input::AskSlot`]. It may be silent.
    SlotAsked {
        /// Which question.
        ask: u64,
        /// The supernode.
        relay: NodeId,
    },
    /// What came of [`Input::AskSlot`]; nothing comes when the supernode that was asked is silent.
    Slot {
        /// Which question.
        ask: u64,
        /// What came of it.
        outcome: SlotOutcome,
    },
    /// Grant a slot of this machine's relay, if the donor lets this name have one.
    GrantSlot {
        /// The peer that asks.
        asker: NodeId,
        /// Names the question in [`Input::SlotGranted`].
        number: u64,
        /// The name that it is for; its credential was checked.
        name: Username,
    },
    /// Take a slot of this machine's relay back, if it was granted to this name.
    ReleaseSlot {
        /// The slot.
        slot: u64,
        /// The name of the peer that gives it back; its credential was checked.
        name: Username,
    },
    /// Somebody calls the user. Whether the offer is genuine is still to be checked.
    SessionOffered(Box<SessionOffer>),
    /// Somebody answers the user's offer. Whether the answer is genuine is still to be checked.
    SessionAnswered(Box<SessionAnswer>),
    /// There will be no session.
    SessionRefused(SessionRefused),
    /// Something that people may want to know.
    Event(Event),
}

/// Something that people may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A parent took this node as its child.
    Attached {
        /// The parent.
        parent: NodeId,
    },
    /// The parent, or this supernode's own index, holds all that this node shares.
    Published {
        /// How many records.
        records: u64,
        /// The time since the last parent was lost, if this makes up for it.
        recovery: Option<Duration>,
    },
    /// The parent is lost.
    Detached {
        /// The parent.
        parent: NodeId,
        /// Whether a standby takes over.
        standby: bool,
    },
    /// The node is something else from now on.
    RoleChanged {
        /// What it is.
        role: Role,
        /// Why.
        reason: RoleReason,
    },
}

//! A daemon that does nothing but remember what it was asked.

use crate::api::backend::{Backend, EventStream};
use crate::api::types::*;
use futures_util::StreamExt;
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{ContentId, Kind, NodeId, Role, Username};
use std::sync::Mutex;
use tokio::sync::{Notify, mpsc};

/// The daemon. What it was asked is in `asked`; what it is to refuse next is in `refuse`.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) refuse: Mutex<Option<ApiError>>,
    /// Gets a word when a search stream is dropped.
    pub(super) dropped: mpsc::UnboundedSender<()>,
    /// Adding [`SLOW`] takes until this says so.
    pub(super) slow: Notify,
}

/// A share that takes its time.
pub(super) const SLOW: &str = "/slow";

/// Says so when it is dropped.
struct TellDrop(mpsc::UnboundedSender<()>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Fake {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (dropped, drops) = mpsc::unbounded_channel();
        (
            Self {
                asked: Mutex::default(),
                refuse: Mutex::default(),
                dropped,
                slow: Notify::new(),
            },
            drops,
        )
    }

    /// Remembers a call; the words of all calls so far come out of `asked`.
    fn hear<T>(&self, call: String, answer: T) -> Result<T, ApiError> {
        self.asked.lock().unwrap().push(call);
        match self.refuse.lock().unwrap().take() {
            Some(refusal) => Err(refusal),
            None => Ok(answer),
        }
    }
}

pub(super) fn node() -> NodeId {
    NodeId::from_bytes([1; 32])
}

pub(super) fn content() -> ContentId {
    ContentId::from_bytes([2; 32])
}

pub(super) fn identity() -> Identity {
    Identity {
        node: node(),
        name: Some("alice".parse().unwrap()),
        credential_expires: Some(7),
        ticket: None,
        data_dir: "/data".into(),
    }
}

pub(super) fn status() -> Status {
    Status {
        version: "1".into(),
        pid: 2,
        uptime_secs: 3,
        identity: identity(),
        role: Role::Ordinary,
        role_setting: RoleSetting::Auto,
        role_reason: "nobody asked".into(),
        role_code: "not-weighed".into(),
        role_for_secs: 1,
        listen: ([0, 0, 0, 0], 4701).into(),
        observed: None,
        udp: Default::default(),
        attachment: Attachment::default(),
        login_seen_secs_ago: None,
        problems: vec!["none".into()],
        library: LibraryStatus::default(),
        capacity: None,
        supernode: Some(SupernodeStatus::default()),
        reputation: Default::default(),
        supernodes_known: 4,
        downloads_active: 5,
        downloads_checking: 1,
        uploads_active: 6,
    }
}

pub(super) fn share(path: &str) -> Share {
    Share {
        path: path.into(),
        name: "music".into(),
        files: 1,
        bytes: 2,
        scan: Some(ScanProgress::default()),
        unreadable: 1,
        unreadable_examples: vec!["/music/secret: Permission denied".into()],
        waiting_files: 3,
        problem: None,
    }
}

pub(super) fn wish(number: u64) -> Wish {
    let (words, filter) = ("rare melody".to_owned(), Default::default());
    Wish { number, words, filter, since: 7, hits: vec![] }
}

pub(super) fn hit(number: u32) -> SearchEvent {
    SearchEvent::Hit(Box::new(ContentHit {
        number,
        content: content(),
        name: "a.ogg".into(),
        path: "music/a.ogg".into(),
        size: 9,
        kind: Kind::Audio,
        tags: None,
        sources: vec![],
    }))
}

pub(super) fn done() -> SearchEvent {
    SearchEvent::Done(SearchReport {
        contents: 1,
        sources: 1,
        first_hit_ms: Some(1),
        took_ms: 2,
        coverage: Coverage {
            supernodes_asked: 1,
            supernodes_known: 1,
            nodes_covered: 1,
            stopped: StopReason::Exhausted,
        },
        stopped: StopReason::Exhausted.in_words().into(),
    })
}

pub(super) fn download(state: DownloadState) -> Download {
    Download {
        id: 8,
        content: content(),
        name: "a.ogg".into(),
        path: "/got/a.ogg".into(),
        state,
        size: Some(9),
        verified: 9,
        as_left: false,
        resumed: 0,
        rate: 1,
        sources_active: 1,
        sources_known: 1,
        via: Vec::new(),
        trouble: vec![],
    }
}

pub(super) fn peer() -> Peer {
    Peer {
        node: node(),
        name: None,
        address: ([192, 0, 2, 1], 1).into(),
        relation: Relation::Parent,
        rtt_us: 1,
        connected_secs: 2,
        agent: "skein".into(),
    }
}

pub(super) fn named_node() -> NamedNode {
    NamedNode {
        node: node(),
        name: "alice".parse().unwrap(),
        online: true,
        seen: 3,
        addresses: vec![([10, 0, 0, 1], 4701).into()],
        parent: Some(node()),
        parent_name: None,
        parent_addresses: vec![],
    }
}

/// The words for which a search gives one hit and then neither ends nor goes on.
pub(super) const ENDLESS: &str = "endless";

pub(super) fn relay() -> RelayStatus {
    RelayStatus {
        active: true,
        slots: 1,
        slots_per_name: 2,
        slot_rate: 3,
        name_rate: 4,
        rate: 5,
        slots_used: 6,
        granted: 7,
        refused: 8,
        bytes: 9,
        dropped_over_rate: 10,
        dropped_queue: 11,
        dropped_unsendable: 13,
        dropped_unbound: 12,
        foreign: 13,
        forged: 14,
        set: SetRelay { rate: Some(5), ..SetRelay::default() },
        history: Vec::new(),
    }
}

impl Backend for Fake {
    async fn status(&self) -> Result<Status, ApiError> {
        self.hear("status".into(), status())
    }

    fn shutdown(&self) {
        let _ = self.hear("shutdown".into(), ());
    }

    async fn shares(&self) -> Result<Vec<Share>, ApiError> {
        self.hear("shares".into(), vec![share("/music")])
    }

    async fn add_share(&self, wanted: AddShare) -> Result<Share, ApiError> {
        let path = wanted.path.display().to_string();
        if path == SLOW {
            let dropped = TellDrop(self.dropped.clone());
            let _: () = self.hear("begin".into(), ())?;
            self.slow.notified().await;
            std::mem::forget(dropped);
        }
        self.hear(format!("add {path}"), share(&path))
    }

    async fn remove_share(&self, wanted: RemoveShare) -> Result<(), ApiError> {
        self.hear(format!("remove {}", wanted.path.display()), ())
    }

    async fn rescan_share(&self, wanted: RescanShare) -> Result<Share, ApiError> {
        let path = wanted.path.display().to_string();
        self.hear(format!("rescan {path}"), share(&path))
    }

    fn events(&self) -> EventStream<DaemonEvent> {
        let _ = self.hear("events".into(), ());
        let first = DaemonEvent::Attached { parent: node() };
        futures_util::stream::iter([first]).chain(futures_util::stream::pending()).boxed()
    }

    async fn search(&self, wanted: StartSearch) -> Result<EventStream<SearchEvent>, ApiError> {
        self.hear(format!("search {}", wanted.words), ())?;
        if wanted.words != ENDLESS {
            return Ok(futures_util::stream::iter([hit(1), hit(2), done()]).boxed());
        }
        let tell = TellDrop(self.dropped.clone());
        let events = futures_util::stream::iter([hit(1)]).chain(futures_util::stream::pending());
        let events = events.inspect(move |_| {
            let _held = &tell;
        });
        Ok(events.boxed())
    }

    async fn start_download(&self, wanted: StartDownload) -> Result<Download, ApiError> {
        self.hear(format!("download {:?}", wanted.target), download(DownloadState::Running))
    }

    async fn downloads(&self) -> Result<Vec<Download>, ApiError> {
        self.hear("downloads".into(), vec![download(DownloadState::Done)])
    }

    async fn watch_download(&self, id: u64) -> Result<EventStream<Download>, ApiError> {
        let states = [DownloadState::Running, DownloadState::Done].map(download);
        self.hear(format!("watch {id}"), futures_util::stream::iter(states).boxed())
    }

    async fn cancel_download(&self, id: u64) -> Result<(), ApiError> {
        self.hear(format!("cancel {id}"), ())
    }

    async fn forget_download(&self, id: u64) -> Result<ForgottenDownload, ApiError> {
        self.hear(format!("forget {id}"), ForgottenDownload { freed_bytes: 5 })
    }

    async fn wishes(&self) -> Result<Vec<Wish>, ApiError> {
        self.hear("wishes".into(), vec![wish(1)])
    }

    async fn add_wish(&self, asked: AddWish) -> Result<Wish, ApiError> {
        self.hear(format!("wish for {}", asked.words), wish(2))
    }

    async fn remove_wish(&self, number: u64) -> Result<(), ApiError> {
        self.hear(format!("no wish {number}"), ())
    }

    async fn find(&self, name: Username) -> Result<Vec<NamedNode>, ApiError> {
        self.hear(format!("find {name}"), vec![named_node()])
    }

    async fn peers(&self) -> Result<Vec<Peer>, ApiError> {
        self.hear("peers".into(), vec![peer()])
    }

    fn sessions(&self) -> Vec<SessionInfo> {
        Vec::new()
    }

    async fn ping(&self, ping: StartPing) -> Result<EventStream<PingEvent>, ApiError> {
        let lost = PingEvent::Lost { number: 1 };
        self.hear(format!("ping {}", ping.peer), futures_util::stream::iter([lost]).boxed())
    }

    async fn relay(&self) -> Result<RelayStatus, ApiError> {
        self.hear("relay".into(), relay())
    }

    async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus, ApiError> {
        self.hear(format!("set relay {:?}", set.slots), relay())
    }

    async fn reset_relay(&self) -> Result<RelayStatus, ApiError> {
        self.hear("reset relay".into(), relay())
    }

    async fn register(&self, account: RegisterAccount) -> Result<Identity, ApiError> {
        self.hear(format!("register {}", account.name), identity())
    }

    async fn login(&self, account: LoginAccount) -> Result<Identity, ApiError> {
        self.hear(format!("login {}", account.name), identity())
    }

    async fn revoke(&self, node: RevokeNode) -> Result<(), ApiError> {
        self.hear(format!("revoke {}", node.node.short()), ())
    }

    async fn metrics(&self) -> String {
        let _ = self.hear("metrics".into(), ());
        "# EOF\n".into()
    }
}

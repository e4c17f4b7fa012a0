//! The daemon as the local API sees it.

use super::Shared;
use super::driver::OverlayView;
use super::search::{SearchError, Tally};
use crate::account::AccountError;
use crate::api::backend::{Backend, EventStream};
use crate::api::types::{
    AddShare, AddWish, ApiError, Attachment, DaemonEvent, Download, DownloadTarget, ErrorCode,
    ForgottenDownload, Identity, LoginAccount, NamedNode, Peer, PingEvent, RegisterAccount,
    RelayStatus, RemoveShare, RescanShare, RevokeNode, SearchEvent, SessionInfo, SetRelay, Share,
    StartDownload, StartPing, StartSearch, Status, SupernodeStatus, Udp, Wish,
};
use crate::home::HomeError;
use crate::inbox::Inbox;
use crate::library::LibraryError;
use crate::people::People;
use crate::services::Services;
use crate::transfer::{Folder, TransferError};
use futures_util::StreamExt;
use futures_util::stream;
use rand::RngExt;
use skein_net::UdpState;
use skein_overlay::Input;
use skein_proto::{ContentId, QueryId, Ticket, Username};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

/// How long a caller is kept waiting for a scan; the events tell how it goes on.
const RESCAN_PATIENCE: Duration = Duration::from_secs(20);

/// The daemon as the local API sees it.
pub(super) struct NodeBackend(pub(super) Arc<Shared>);

impl Backend for NodeBackend {
    async fn status(&self) -> Result<Status, ApiError> {
        self.0.status().await
    }

    fn shutdown(&self) {
        self.0.ended.cancel();
    }

    async fn shares(&self) -> Result<Vec<Share>, ApiError> {
        Ok(self.0.library.shares())
    }

    async fn add_share(&self, share: AddShare) -> Result<Share, ApiError> {
        Ok(self.0.library.add_share(&share.path).await?)
    }

    async fn remove_share(&self, share: RemoveShare) -> Result<(), ApiError> {
        Ok(self.0.library.remove_share(&share.path).await?)
    }

    async fn rescan_share(&self, share: RescanShare) -> Result<Share, ApiError> {
        let library = &self.0.library;
        // The scan goes on when nobody waits for it any more.
        if let Ok(done) = tokio::time::timeout(RESCAN_PATIENCE, library.rescan(&share.path)).await {
            done?;
        }
        let path = tokio::fs::canonicalize(&share.path).await.unwrap_or(share.path);
        let found = library.shares().into_iter().find(|known| known.path == path);
        Ok(found.ok_or(LibraryError::NotShared(path))?)
    }

    fn events(&self) -> EventStream<DaemonEvent> {
        // Whoever lags misses events, and asks for the status if it must know.
        let events = BroadcastStream::new(self.0.events.subscribe());
        events.filter_map(async |event| event.ok()).boxed()
    }

    async fn search(&self, search: StartSearch) -> Result<EventStream<SearchEvent>, ApiError> {
        let (begun, query, wanted) = self.0.last_search.start(search)?;
        let id = QueryId::from_bytes(rand::rng().random());
        let updates = self.0.driver.search(id, query, wanted).await;
        let conduct = self.0.member.conduct();
        let tally = Tally::new(updates, self.0.last_search.clone(), begun, conduct);
        let events = stream::unfold(tally, async |mut tally| {
            let event = tally.next().await?;
            Some((event, tally))
        });
        Ok(events.boxed())
    }

    async fn start_download(&self, download: StartDownload) -> Result<Download, ApiError> {
        self.0.start_download(download).await
    }

    async fn downloads(&self) -> Result<Vec<Download>, ApiError> {
        Ok(self.0.transfers.list())
    }

    async fn watch_download(&self, id: u64) -> Result<EventStream<Download>, ApiError> {
        let watched = self.0.transfers.watch(id).ok_or(TransferError::NotFound(id))?;
        // The stream ends behind the first final state.
        let states = stream::unfold(Some(WatchStream::new(watched)), async |states| {
            let mut states = states?;
            let state = states.next().await?;
            let rest = (!state.state.is_final()).then_some(states);
            Some((state, rest))
        });
        Ok(states.boxed())
    }

    async fn cancel_download(&self, id: u64) -> Result<(), ApiError> {
        Ok(self.0.transfers.cancel(id).await?)
    }

    async fn forget_download(&self, id: u64) -> Result<ForgottenDownload, ApiError> {
        Ok(ForgottenDownload { freed_bytes: self.0.transfers.forget(id).await? })
    }

    async fn wishes(&self) -> Result<Vec<Wish>, ApiError> {
        Ok(self.0.wishes.list().await)
    }

    async fn add_wish(&self, wish: AddWish) -> Result<Wish, ApiError> {
        self.0.wishes.add(&self.0.driver, wish).await
    }

    async fn remove_wish(&self, number: u64) -> Result<(), ApiError> {
        self.0.wishes.remove(&self.0.driver, number).await
    }

    async fn find(&self, name: Username) -> Result<Vec<NamedNode>, ApiError> {
        self.0.find(name).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, ApiError> {
        self.0.peers().await
    }

    fn sessions(&self) -> Vec<SessionInfo> {
        self.0.session_list()
    }

    async fn ping(&self, ping: StartPing) -> Result<EventStream<PingEvent>, ApiError> {
        self.0.ping(ping).await
    }

    async fn relay(&self) -> Result<RelayStatus, ApiError> {
        self.0.relay_status().await
    }

    async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus, ApiError> {
        self.0.set_relay(set).await
    }

    async fn reset_relay(&self) -> Result<RelayStatus, ApiError> {
        self.0.reset_relay().await
    }

    async fn register(&self, account: RegisterAccount) -> Result<Identity, ApiError> {
        self.0.check_network(account.ticket.as_deref())?;
        let joined = self.0.accounts.register(account).await?;
        self.0.take_credential(joined.credential).await;
        Ok(joined.identity)
    }

    async fn login(&self, account: LoginAccount) -> Result<Identity, ApiError> {
        self.0.check_network(account.ticket.as_deref())?;
        let joined = self.0.accounts.login(account).await?;
        self.0.take_credential(joined.credential).await;
        Ok(joined.identity)
    }

    async fn revoke(&self, node: RevokeNode) -> Result<(), ApiError> {
        Ok(self.0.accounts.revoke(node).await?)
    }

    fn services(&self) -> Result<&Services, ApiError> {
        Ok(&self.0.services)
    }

    fn inbox(&self) -> Result<&Inbox, ApiError> {
        Ok(&self.0.inbox)
    }

    fn people(&self) -> Result<&People, ApiError> {
        Ok(&self.0.people)
    }

    async fn metrics(&self) -> String {
        self.0.scrape().await
    }
}

impl Shared {
    pub(super) async fn view(&self) -> Result<OverlayView, ApiError> {
        self.driver.view().await.ok_or_else(|| ApiError::unavailable("the daemon is ending"))
    }

    async fn status(&self) -> Result<Status, ApiError> {
        let view = self.view().await?;
        let snapshot = &view.snapshot;
        let identity = self.accounts.identity()?;
        let library = self.library.status();
        let ties = &snapshot.parent;
        let linked = |node: Option<_>| snapshot.peers.iter().find(|peer| node == Some(peer.node));
        let (parent, standby) = (linked(ties.parent), linked(ties.standby));
        let unpublished = ties.pending.max(library.files.saturating_sub(ties.published));
        let pending = match (ties.complete, ties.parent) {
            (true, _) => 0,
            // What is known to be missing may be nothing while the last word is under way.
            (false, Some(_)) => unpublished.max(1),
            (false, None) => unpublished,
        };
        let attachment = Attachment {
            parent: ties.parent,
            parent_name: parent.and_then(|parent| parent.name.clone()),
            parent_rtt_us: parent.map(|parent| micros(self.rtt(&parent.node, parent.rtt))),
            since_secs: ties.since.map(|since| since.as_secs()),
            standby: ties.standby,
            standby_name: standby.and_then(|standby| standby.name.clone()),
            published: ties.published,
            publish_pending: pending,
            parents_lost: ties.lost,
            last_recovery_ms: ties.last_recovery.map(|time| micros(time) / 1_000),
        };
        let supernode = snapshot.supernode.as_ref().map(|supernode| SupernodeStatus {
            children: supernode.children,
            standbys: supernode.standbys,
            capacity: supernode.capacity,
            neighbours: supernode.neighbours,
            records: supernode.records,
            index_bytes: supernode.index_bytes,
            searches: view.counters.searches_answered,
            floods: view.counters.floods_answered,
            outlook: super::outlook::status(supernode),
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.clock.now().instant.as_micros() / 1_000_000,
            problems: self.problems(&view, &identity),
            identity,
            role: snapshot.role,
            role_setting: self.config.role(),
            role_reason: snapshot.role_reason.to_string(),
            role_code: snapshot.role_reason.code().to_owned(),
            role_for_secs: snapshot.role_for.as_secs(),
            listen: self.listen,
            observed: snapshot.observed,
            udp: match self.endpoint.udp_state() {
                UdpState::Works => Udp::Works,
                UdpState::Blocked => Udp::Blocked,
                UdpState::Off => Udp::Off,
                _ => Udp::Unknown,
            },
            attachment,
            login_seen_secs_ago: self.login.answered_secs_ago(),
            library,
            reputation: snapshot.reputation.into(),
            capacity: self.measured.get().map(|found| found.status(self.config.max_children())),
            supernode,
            supernodes_known: u32::try_from(snapshot.supernodes_known).unwrap_or(u32::MAX),
            downloads_active: u32::try_from(self.transfers.running()).unwrap_or(u32::MAX),
            downloads_checking: u32::try_from(self.transfers.checking()).unwrap_or(u32::MAX),
            uploads_active: u32::try_from(self.transfers.upload_stats().active).unwrap_or(u32::MAX),
        })
    }

    /// The round trip as it is now, or as it was when the link came up.
    pub(super) fn rtt(&self, node: &skein_proto::NodeId, at_first: Duration) -> Duration {
        self.endpoint.connection(node).map_or(at_first, |connection| connection.rtt())
    }

    async fn start_download(&self, download: StartDownload) -> Result<Download, ApiError> {
        let hit = match download.target {
            DownloadTarget::Number(number) => {
                Some(self.last_search.by_number(number).ok_or_else(|| {
                    ApiError::not_found(format!(
                        "there is no number {number} in the last search: search again, or give a \
                         content id"
                    ))
                })?)
            }
            DownloadTarget::Content(content) => self.last_search.by_content(&content),
        };
        let (content, name, mut sources) = match (hit, download.target) {
            (Some(hit), _) => (hit.content, hit.name, hit.sources),
            (None, DownloadTarget::Content(content)) => self.look_up(content).await?,
            (None, DownloadTarget::Number(_)) => {
                return Err(ApiError::internal("a number without a hit"));
            }
        };
        let me = self.endpoint.node_id();
        let offered = sources.len();
        sources.retain(|source| source.node != me);
        if sources.is_empty()
            && offered > 0
            && let Some(file) = self.library.locate(&content).await?
        {
            let why = format!("this file is in your own share: {}", file.path.display());
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let usual = Folder::Usual(self.config.download_dir());
        let folder = download.dir.as_deref().map_or(usual, Folder::AskedFor);
        let id = self.transfers.start(content, &name, sources, folder).await?;
        let watched = self.transfers.watch(id).ok_or(TransferError::NotFound(id))?;
        Ok(watched.borrow().clone())
    }

    /// Finds a content that the user named by its id.
    async fn look_up(
        &self,
        content: ContentId,
    ) -> Result<(ContentId, String, Vec<crate::api::types::Source>), ApiError> {
        // A download that is on record already has its name.
        if let Some(known) = self.transfers.list().into_iter().find(|d| d.content == content) {
            return Ok((content, known.name, Vec::new()));
        }
        if let Some(file) = self.library.locate(&content).await? {
            let why = format!("this file is in your own share: {}", file.path.display());
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let (name, sources) = self.finder.offers(content).await;
        // Where nobody offers it now, the download waits for somebody who does; until then its id
        // is all that is known of it.
        Ok((content, name.unwrap_or_else(|| content.to_string()), sources))
    }

    /// A running daemon stays in its network: all that it knows belongs there.
    fn check_network(&self, ticket: Option<&str>) -> Result<(), ApiError> {
        let Some(text) = ticket else { return Ok(()) };
        let ticket: Ticket = text.parse().map_err(AccountError::from)?;
        if ticket.login_key == self.login_key {
            return Ok(());
        }
        let why = "the daemon runs in another network: end it with `skein down` first";
        Err(ApiError::new(ErrorCode::Conflict, why))
    }

    async fn take_credential(&self, credential: skein_proto::SignedCredential) {
        self.login.succeeded();
        self.member.renewed(credential.clone());
        self.driver.input(Input::Credential(credential)).await;
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<HomeError> for ApiError {
    fn from(error: HomeError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<LibraryError> for ApiError {
    fn from(error: LibraryError) -> Self {
        let code = match &error {
            LibraryError::Unshareable(_) => ErrorCode::BadRequest,
            LibraryError::NotShared(_) => ErrorCode::NotFound,
            _ => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> Self {
        let code = match &error {
            TransferError::Destination { .. }
            | TransferError::NotAbsolute(_)
            | TransferError::Empty => ErrorCode::BadRequest,
            TransferError::NotFound(_) => ErrorCode::NotFound,
            TransferError::Elsewhere { .. }
            | TransferError::Complete { .. }
            | TransferError::StillRuns(_) => ErrorCode::Conflict,
            _ => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

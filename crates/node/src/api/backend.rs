//! What the daemon does for the local API.

use super::types::{
    AddShare, AddWish, ApiError, DaemonEvent, Download, ForgottenDownload, Identity, LoginAccount,
    NamedNode, Peer, PingEvent, RegisterAccount, RelayStatus, RemoveShare, RescanShare, RevokeNode,
    SearchEvent, SessionInfo, SetRelay, Share, StartDownload, StartPing, StartSearch, Status, Wish,
};
use crate::inbox::Inbox;
use crate::people::People;
use crate::services::Services;
use futures_util::stream::BoxStream;
use skein_proto::Username;
use std::future::Future;

/// Values that come as they happen. Dropping the stream ends what feeds it.
pub type EventStream<T> = BoxStream<'static, T>;

/// The daemon as the local API sees it. Each method is one call of the table in
/// [`super::types`]; an error is handed to the caller as it is.
///
/// A call that takes over a minute is cut off by dropping its future.
pub trait Backend: Send + Sync + 'static {
    /// How the daemon is doing.
    fn status(&self) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// Begins to end the daemon; does not wait for the end.
    fn shutdown(&self);

    /// The shared folders.
    fn shares(&self) -> impl Future<Output = Result<Vec<Share>, ApiError>> + Send;

    /// Shares a folder and begins to scan it.
    fn add_share(&self, share: AddShare) -> impl Future<Output = Result<Share, ApiError>> + Send;

    /// Shares a folder no longer.
    fn remove_share(&self, share: RemoveShare)
    -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Scans a shared folder now.
    fn rescan_share(
        &self,
        share: RescanShare,
    ) -> impl Future<Output = Result<Share, ApiError>> + Send;

    /// What happens in the daemon from now on.
    fn events(&self) -> EventStream<DaemonEvent>;

    /// Starts a search; dropping the stream cancels it.
    fn search(
        &self,
        search: StartSearch,
    ) -> impl Future<Output = Result<EventStream<SearchEvent>, ApiError>> + Send;

    /// The wishes, with what came of them.
    fn wishes(&self) -> impl Future<Output = Result<Vec<Wish>, ApiError>> + Send;

    /// Wishes for something.
    fn add_wish(&self, wish: AddWish) -> impl Future<Output = Result<Wish, ApiError>> + Send;

    /// Wishes for it no longer.
    fn remove_wish(&self, number: u64) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Starts a download, or goes on with one.
    fn start_download(
        &self,
        download: StartDownload,
    ) -> impl Future<Output = Result<Download, ApiError>> + Send;

    /// The downloads of this run.
    fn downloads(&self) -> impl Future<Output = Result<Vec<Download>, ApiError>> + Send;

    /// A download from its present state to its end: the stream ends behind a final state. It
    /// does not end the download when it is dropped.
    fn watch_download(
        &self,
        id: u64,
    ) -> impl Future<Output = Result<EventStream<Download>, ApiError>> + Send;

    /// Calls a download off.
    fn cancel_download(&self, id: u64) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Lists a download that is over no longer, and removes what came of an incomplete one.
    fn forget_download(
        &self,
        id: u64,
    ) -> impl Future<Output = Result<ForgottenDownload, ApiError>> + Send;

    /// The nodes of a user.
    fn find(&self, name: Username)
    -> impl Future<Output = Result<Vec<NamedNode>, ApiError>> + Send;

    /// The connections.
    fn peers(&self) -> impl Future<Output = Result<Vec<Peer>, ApiError>> + Send;

    /// The sessions with peers.
    fn sessions(&self) -> Vec<SessionInfo>;

    /// Opens a session and pings the peer; dropping the stream ends it.
    fn ping(
        &self,
        ping: StartPing,
    ) -> impl Future<Output = Result<EventStream<PingEvent>, ApiError>> + Send;

    /// What the relay of this machine gives, and what is used of it.
    fn relay(&self) -> impl Future<Output = Result<RelayStatus, ApiError>> + Send;

    /// Gives more or less from now on.
    fn set_relay(
        &self,
        set: SetRelay,
    ) -> impl Future<Output = Result<RelayStatus, ApiError>> + Send;

    /// Makes it give what the settings say.
    fn reset_relay(&self) -> impl Future<Output = Result<RelayStatus, ApiError>> + Send;

    /// Takes a new name.
    fn register(
        &self,
        account: RegisterAccount,
    ) -> impl Future<Output = Result<Identity, ApiError>> + Send;

    /// Adds this node to a name.
    fn login(
        &self,
        account: LoginAccount,
    ) -> impl Future<Output = Result<Identity, ApiError>> + Send;

    /// Casts another node of its name out.
    fn revoke(&self, node: RevokeNode) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// What people do on sessions.
    ///
    /// # Errors
    /// This daemon has none.
    #[expect(private_interfaces, reason = "the daemon is the only backend that has them")]
    fn services(&self) -> Result<&Services, ApiError> {
        Err(ApiError::unavailable("this daemon has no services"))
    }

    /// Files that people send each other.
    ///
    /// # Errors
    /// This daemon has none.
    #[expect(private_interfaces, reason = "the daemon is the only backend that has them")]
    fn inbox(&self) -> Result<&Inbox, ApiError> {
        Err(ApiError::unavailable("this daemon has no inbox"))
    }

    /// Chat, and whom the user deals with.
    ///
    /// # Errors
    /// This daemon has none.
    #[expect(private_interfaces, reason = "the daemon is the only backend that has them")]
    fn people(&self) -> Result<&People, ApiError> {
        Err(ApiError::unavailable("this daemon has no chat"))
    }

    /// All counters, as OpenMetrics text.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

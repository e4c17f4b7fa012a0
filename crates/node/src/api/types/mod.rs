//! What the local API says, as JSON. The command line and every other client use these types.
//!
//! | call | answers with |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `POST /v1/shutdown` | 202; the daemon ends cleanly |
//! | `GET /v1/shares` | a list of [`Share`] |
//! | `POST /v1/shares` with [`AddShare`] | [`Share`] |
//! | `DELETE /v1/shares` with [`RemoveShare`] | 204 |
//! | `POST /v1/shares/rescan` with [`RescanShare`] | [`Share`], once the scan is over, or still scanning after some seconds |
//! | `GET /v1/events` | a stream of [`DaemonEvent`] |
//! | `POST /v1/searches` with [`StartSearch`] | a stream of [`SearchEvent`]; hanging up cancels |
//! | `GET /v1/wishes` | a list of [`Wish`] |
//! | `POST /v1/wishes` with [`AddWish`] | [`Wish`]; what comes of it is a [`DaemonEvent::WishHit`] |
//! | `DELETE /v1/wishes/{number}` | 204 |
//! | `POST /v1/downloads` with [`StartDownload`] | [`Download`] |
//! | `GET /v1/downloads` | a list of [`Download`] |
//! | `GET /v1/downloads/{id}/events` | a stream of [`Download`], the last one finished or failed |
//! | `DELETE /v1/downloads/{id}` | 204; what was fetched is kept for a later try; a conflict if it is complete |
//! | `POST /v1/downloads/{id}/forget` | [`ForgottenDownload`]; a conflict while it runs |
//! | `GET /v1/names/{name}` | a list of [`NamedNode`], the nodes of a user; 404 where nobody is known by that name |
//! | `GET /v1/peers` | a list of [`Peer`] |
//! | `GET /v1/sessions` | a list of [`SessionInfo`] |
//! | `POST /v1/sessions/ping` with [`StartPing`] | a stream of [`PingEvent`]; hanging up ends it |
//! | `GET /v1/relay` | [`RelayStatus`] |
//! | `PUT /v1/relay` with [`SetRelay`] | [`RelayStatus`]; it holds over restarts |
//! | `DELETE /v1/relay` | [`RelayStatus`], as the settings say from then on |
//! | `POST /v1/account/register` with [`RegisterAccount`] | [`Identity`] |
//! | `POST /v1/account/login` with [`LoginAccount`] | [`Identity`] |
//! | `POST /v1/account/revoke` with [`RevokeNode`] | 204 |
//! | `GET /metrics` | OpenMetrics text |
//!
//! Every call carries `Authorization: Bearer` with the token of the data folder. Streams
//! are server-sent events whose `data` is one JSON value. What fails answers with [`ApiError`].

mod account;
mod download;
mod event;
mod peer;
mod reputation;
mod search;
mod session;
mod share;
mod status;

pub use account::{LoginAccount, RegisterAccount, RevokeNode};
pub use download::{
    Download, DownloadState, DownloadTarget, ForgottenDownload, SourcePath, SourceUsed,
    StartDownload,
};
pub use event::DaemonEvent;
pub use peer::{NamedNode, Peer, Relation};
pub use reputation::ReputationStatus;
pub use search::{AddWish, ContentHit, SearchEvent, SearchReport, Source, StartSearch, Wish};
pub use session::{PingEvent, RelayStatus, SessionInfo, SessionPath, SetRelay, StartPing};
pub use share::{AddShare, RemoveShare, RescanShare, ScanProgress, Share};
pub use skein_proto::message::RoleSetting;
pub use status::{
    Attachment, CapacityStatus, Identity, LibraryStatus, OutlookStatus, Status, SupernodeStatus,
    Udp,
};

use serde::{Deserialize, Serialize};

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// One line for people: what is wrong and what to do.
    pub error: String,
    /// One word for programs.
    pub code: ErrorCode,
}

/// Who is at fault, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is wrong: 400.
    BadRequest,
    /// No token, a wrong one, or a wrong Host or Origin: 401 or 403.
    Denied,
    /// What was named does not exist: 404.
    NotFound,
    /// It clashes with what is there: 409.
    Conflict,
    /// The login service said no: 422.
    Refused,
    /// The network or the disk does not allow it now: 503.
    Unavailable,
    /// A defect of the daemon: 500.
    Internal,
}

//! The other end of the local API: what the command line and the tests speak with.

use super::announce::Announcement;
use super::token::ApiToken;
use super::types::{
    AddShare, AddWish, ApiError, DaemonEvent, Download, ErrorCode, ForgottenDownload, Identity,
    LoginAccount, NamedNode, Peer, PingEvent, RegisterAccount, RelayStatus, RemoveShare,
    RescanShare, RevokeNode, SearchEvent, SessionInfo, SetRelay, Share, StartDownload, StartPing,
    StartSearch, Status, Wish,
};
use crate::home::{Home, HomeError};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_proto::Username;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// How long a connection to this machine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the daemon may be silent: longer than any call takes there, and six times as long as
/// a stream is ever silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);

/// Values of the daemon as they come. Dropping the stream hangs up.
pub type ApiStream<T> = BoxStream<'static, Result<T, ClientError>>;

/// Why a call to the daemon failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon runs on this data folder.
    #[error("no daemon is running on {}: start one with `skein up`", dir.display())]
    NotRunning {
        /// The data folder.
        dir: PathBuf,
    },
    /// The daemon was killed or has crashed.
    #[error(
        "the daemon on {} (process {pid}) has ended without saying so: start it again with \
         `skein up`",
        dir.display()
    )]
    Died {
        /// The data folder.
        dir: PathBuf,
        /// The process that it was.
        pid: u32,
    },
    /// The daemon has the data folder, but does not answer calls yet, or no longer.
    #[error("the daemon on {} is just starting or ending: try again in a moment", dir.display())]
    Busy {
        /// The data folder.
        dir: PathBuf,
    },
    /// The data folder cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The daemon could not be reached, or the connection to it broke.
    #[error("the daemon at {address} does not answer: {source}")]
    Unreachable {
        /// Where it should answer.
        address: SocketAddr,
        /// What happened.
        source: reqwest::Error,
    },
    /// The daemon says no, in its own words.
    #[error("{0}")]
    Refused(ApiError),
    /// What came is not what this version of the program understands.
    #[error(
        "the daemon at {address} gave an answer that makes no sense ({why}): is it another \
         version? end it with `skein down` and start it again"
    )]
    Malformed {
        /// Where it answers.
        address: SocketAddr,
        /// What is wrong with the answer.
        why: String,
    },
}

impl ClientError {
    /// What the daemon said, if it was the daemon that refused.
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Whether there is no daemon to talk to.
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Died { .. })
    }
}

/// A client of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    address: SocketAddr,
    token: ApiToken,
}

impl ApiClient {
    /// A client of the daemon that runs on this data folder. The daemon is not called yet.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Died`], [`ClientError::Busy`],
    /// [`ClientError::Home`].
    pub fn from_home(home: &Home) -> Result<Self, ClientError> {
        let dir = home.dir().to_owned();
        home.is_for_a_node()?;
        let announcement = Announcement::read(home)?;
        // The lock, not the announcement, says whether a daemon lives: a killed one leaves its
        // announcement behind, and its port may be another program's by now.
        let announcement = match (announcement, home.occupant()?) {
            (Some(announcement), Some(occupant)) if occupant.pid == Some(announcement.pid) => {
                announcement
            }
            (_, Some(_)) => return Err(ClientError::Busy { dir }),
            (Some(stale), None) => return Err(ClientError::Died { dir, pid: stale.pid }),
            (None, None) => return Err(ClientError::NotRunning { dir }),
        };
        let Some(token) = ApiToken::load(home)? else { return Err(ClientError::Busy { dir }) };
        // The token may be that of a daemon which has started since; the address is not.
        if Announcement::read(home)?.as_ref() != Some(&announcement) {
            return Err(ClientError::Busy { dir });
        }
        Self::new(announcement.address, token)
    }

    /// A client of the daemon at this address.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if there can be no HTTP client at all.
    pub fn new(address: SocketAddr, token: ApiToken) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            // A connection costs nothing here, and one that is kept may be closed by the daemon
            // at the very moment of the next call.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|source| ClientError::Unreachable { address, source })?;
        Ok(Self { http, address, token })
    }

    /// Where the daemon answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the daemon is doing.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Ends the daemon; it may take some seconds after this has returned.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.call(self.request(Method::POST, "/v1/shutdown")).await.map(drop)
    }

    /// The shared folders.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn shares(&self) -> Result<Vec<Share>, ClientError> {
        self.get("/v1/shares").await
    }

    /// Shares a folder, given by its absolute path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_share(&self, path: impl Into<PathBuf>) -> Result<Share, ClientError> {
        self.send(Method::POST, "/v1/shares", &AddShare { path: path.into() }).await
    }

    /// Shares a folder no longer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_share(&self, path: impl Into<PathBuf>) -> Result<(), ClientError> {
        let share = RemoveShare { path: path.into() };
        self.call(self.request(Method::DELETE, "/v1/shares").json(&share)).await.map(drop)
    }

    /// Scans a shared folder now. The answer comes when the scan is over, or after some seconds
    /// while it still runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rescan_share(&self, path: impl Into<PathBuf>) -> Result<Share, ClientError> {
        let share = RescanShare { path: path.into() };
        self.send(Method::POST, "/v1/shares/rescan", &share).await
    }

    /// What happens in the daemon from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self) -> Result<ApiStream<DaemonEvent>, ClientError> {
        self.stream(self.request(Method::GET, "/v1/events")).await
    }

    /// Searches. The stream ends behind [`SearchEvent::Done`]; dropping it cancels the search.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search(
        &self,
        search: &StartSearch,
    ) -> Result<ApiStream<SearchEvent>, ClientError> {
        self.stream(self.request(Method::POST, "/v1/searches").json(search)).await
    }

    /// Starts a download, or goes on with one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_download(&self, download: &StartDownload) -> Result<Download, ClientError> {
        self.send(Method::POST, "/v1/downloads", download).await
    }

    /// The downloads.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn downloads(&self) -> Result<Vec<Download>, ClientError> {
        self.get("/v1/downloads").await
    }

    /// A download from its present state to its end. Dropping the stream does not end the
    /// download.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_download(&self, id: u64) -> Result<ApiStream<Download>, ClientError> {
        self.stream(self.request(Method::GET, &format!("/v1/downloads/{id}/events"))).await
    }

    /// Calls a download off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_download(&self, id: u64) -> Result<(), ClientError> {
        self.call(self.request(Method::DELETE, &format!("/v1/downloads/{id}"))).await.map(drop)
    }

    /// Lists a download that is over no longer, and removes what came of an incomplete one.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal while the download runs.
    pub async fn forget_download(&self, id: u64) -> Result<ForgottenDownload, ClientError> {
        let path = format!("/v1/downloads/{id}/forget");
        self.read(self.call(self.request(Method::POST, &path)).await?).await
    }

    /// The wishes, with what came of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wishes(&self) -> Result<Vec<Wish>, ClientError> {
        self.get("/v1/wishes").await
    }

    /// Wishes to be told of whatever is shared from now on and matches.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_wish(&self, wish: &AddWish) -> Result<Wish, ClientError> {
        self.send(Method::POST, "/v1/wishes", wish).await
    }

    /// Wishes for it no longer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_wish(&self, number: u64) -> Result<(), ClientError> {
        self.call(self.request(Method::DELETE, &format!("/v1/wishes/{number}"))).await.map(drop)
    }

    /// The nodes of a user.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where nobody is known by that name.
    pub async fn find(&self, name: &Username) -> Result<Vec<NamedNode>, ClientError> {
        // Letters of any script: a path has them encoded.
        let mut url = format!("http://{}/v1/names/", self.address);
        for byte in name.as_str().bytes() {
            let _ = match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => write!(url, "{}", char::from(byte)),
                other => write!(url, "%{other:02X}"),
            };
        }
        let request = self.http.request(Method::GET, url).bearer_auth(self.token.as_str());
        self.read(self.call(request).await?).await
    }

    /// The daemon's connections.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<Peer>, ClientError> {
        self.get("/v1/peers").await
    }

    /// The sessions with peers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, ClientError> {
        self.get("/v1/sessions").await
    }

    /// Opens a session and pings the peer, until the stream is dropped.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal when there is no session.
    pub async fn ping(&self, ping: &StartPing) -> Result<ApiStream<PingEvent>, ClientError> {
        self.stream(self.request(Method::POST, "/v1/sessions/ping").json(ping)).await
    }

    /// What the relay of this machine gives, and what is used of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn relay(&self) -> Result<RelayStatus, ClientError> {
        self.get("/v1/relay").await
    }

    /// Gives more or less from now on.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal when a number is out of its range.
    pub async fn set_relay(&self, set: &SetRelay) -> Result<RelayStatus, ClientError> {
        self.read(self.call(self.request(Method::PUT, "/v1/relay").json(set)).await?).await
    }

    /// Makes the relay of this machine give what the settings say.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reset_relay(&self) -> Result<RelayStatus, ClientError> {
        self.read(self.call(self.request(Method::DELETE, "/v1/relay")).await?).await
    }

    /// Takes a new name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, account: &RegisterAccount) -> Result<Identity, ClientError> {
        self.send(Method::POST, "/v1/account/register", account).await
    }

    /// Adds this node to a name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login(&self, account: &LoginAccount) -> Result<Identity, ClientError> {
        self.send(Method::POST, "/v1/account/login", account).await
    }

    /// Casts another node of the daemon's name out: it gets no more credentials.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke(&self, node: &RevokeNode) -> Result<(), ClientError> {
        let request = self.request(Method::POST, "/v1/account/revoke").json(node);
        self.call(request).await.map(drop)
    }

    /// All counters of the daemon, as OpenMetrics text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let response = self.call(self.request(Method::GET, "/metrics")).await?;
        response.text().await.map_err(|source| self.unreachable(source))
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method, url).bearer_auth(self.token.as_str())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.call(self.request(Method::GET, path)).await?).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.read(self.call(self.request(method, path).json(body)).await?).await
    }

    /// Sends a request and takes what is not 2xx for a refusal.
    pub(super) async fn call(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        Err(ClientError::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| {
            ApiError::new(ErrorCode::Internal, format!("the daemon answered with {status}"))
        })))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|error| malformed(self.address, error))
    }

    pub(super) async fn stream<T: DeserializeOwned + Send + 'static>(
        &self,
        request: RequestBuilder,
    ) -> Result<ApiStream<T>, ClientError> {
        let response = self.call(request).await?;
        let address = self.address;
        let events = response.bytes_stream().eventsource().map(move |event| match event {
            Ok(event) => {
                serde_json::from_str(&event.data).map_err(|error| malformed(address, error))
            }
            Err(eventsource_stream::EventStreamError::Transport(source)) => {
                Err(ClientError::Unreachable { address, source })
            }
            Err(error) => Err(malformed(address, error)),
        });
        Ok(events.boxed())
    }

    pub(super) fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { address: self.address, source }
    }
}

fn malformed(address: SocketAddr, why: impl ToString) -> ClientError {
    ClientError::Malformed { address, why: why.to_string() }
}

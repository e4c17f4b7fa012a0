//! Serves the local API on a loopback address.

use super::announce::Announced;
use super::backend::Backend;
use super::error::Failure;
use super::guard::Guard;
use super::routes;
use super::types::ApiError;
use crate::home::{Home, HomeError};
use crate::metrics::ApiMetrics;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest body of a request. A search with all its filters has less than 2 KB; a path may
/// have 4 KB; the rest is room for what is to come.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most streams that are open at a time: a person has a few windows, a script may have more.
/// Each holds a connection and a queue of the daemon's.
pub const MAX_STREAMS: usize = 64;

/// The most pipes that are open at a time. Each holds two buffers of 64 KiB and a stream of a
/// session.
pub const MAX_PIPES: usize = 512;

/// The most connections at a time: all streams and as many short calls as any client makes at
/// once. Others wait in the system's queue. It also bounds what other users of this machine, who
/// have no token, can take.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take for the headers of a request, and may be silent between two
/// requests. On loopback they come in microseconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call may take until its answer (or its stream) begins. The slowest one is a login:
/// a dial and a password hash on a login service that is under load.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long calls that run may take to finish when the daemon ends.
const DRAIN: Duration = Duration::from_secs(3);

/// How long to wait before the next `accept` when the system has none to give (above all no file
/// descriptors): long enough not to spin, short enough not to be felt.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What all calls share.
pub(super) struct Api<B> {
    pub(super) backend: Arc<B>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) pipes: Arc<Semaphore>,
    pub(super) metrics: ApiMetrics,
    pub(super) ended: CancellationToken,
}

/// Why the local API cannot be served. It is the user's or the machine's fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be had.
    #[error(
        "cannot open the local API at {address} ({source}): choose another address with \
         --api-listen"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The address can be reached from other machines.
    #[error("the local API is for this machine only: {0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The token or the announcement cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The local API, open but not yet served: see [`ApiServer::run`].
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    address: SocketAddr,
    home: Home,
}

impl ApiServer {
    /// Opens the address. The caller holds the lock of the data folder.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(home: &Home, address: SocketAddr) -> Result<Self, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let failed = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, home: home.clone() })
    }

    /// The address, with the port that the system has chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Announces the API in the data folder, with a new token, at once: whoever is told from now on that the daemon
    /// is ready finds it. The future serves it until `ended`; then all streams end, calls that
    /// run are given some seconds, and the announcement is taken back.
    ///
    /// # Errors
    /// The future ends at once with [`ServeError::Home`] if the API could not be announced.
    pub fn run<B: Backend>(
        self,
        backend: Arc<B>,
        metrics: ApiMetrics,
        ended: CancellationToken,
    ) -> impl Future<Output = Result<(), ServeError>> + Send {
        let announced = Announced::new(&self.home, self.address);
        async move {
            let (_announced, token) = announced?;
            let guard = Arc::new(Guard::new(token, self.address));
            let delayed = metrics.connections_delayed.clone();
            let streams = Arc::new(Semaphore::new(MAX_STREAMS));
            let pipes = Arc::new(Semaphore::new(MAX_PIPES));
            let ended_too = ended.clone();
            let api = Api { backend, streams, pipes, metrics, ended: ended_too };
            let router = router(guard, api);
            serve(self.listener, router, delayed, ended).await;
            Ok(())
        }
    }
}

/// Accepts connections until `ended`, then waits for those that are busy.
async fn serve(listener: TcpListener, router: Router, delayed: Counter, ended: CancellationToken) {
    let connections = TaskTracker::new();
    // However this ends, no connection outlives it.
    let cut_off = CancellationToken::new();
    let _cut_off_at_the_end = cut_off.clone().drop_guard();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(stream) = ended.run_until_cancelled(accept(&listener)).await {
        if places.available_permits() == 0 {
            delayed.inc();
        }
        let place = places.clone().acquire_owned();
        let Some(Ok(place)) = ended.run_until_cancelled(place).await else { break };
        let connection = serve_connection(stream, router.clone(), ended.clone());
        let cut_off = cut_off.clone();
        connections.spawn(async move {
            cut_off.run_until_cancelled(connection).await;
            drop(place);
        });
    }
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(calls = connections.len(), "calls to the local API are cut off");
    }
}

/// All routes behind all guards.
fn router<B: Backend>(guard: Arc<Guard>, api: Api<B>) -> Router {
    let metrics = api.metrics.clone();
    let guarded = middleware::from_fn(move |request: Request, next: Next| {
        let (guard, metrics) = (Arc::clone(&guard), metrics.clone());
        async move {
            let response = match guard.check(request.headers()) {
                Ok(()) => in_time(carried_through(request, next)).await,
                Err(refusal) => *refusal,
            };
            metrics.answered(response.status().as_u16());
            response
        }
    });
    routes::routes()
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(guarded)
        .with_state(Arc::new(api))
}

/// Answers a request. What changes something is carried through also when the client hangs up or
/// the daemon has run out of patience: a half of it might be on disk and the rest forgotten.
async fn carried_through(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let answered = tokio::spawn(next.run(request)).await;
    answered.unwrap_or_else(|panic| {
        let why = format!("the daemon broke down over this call: {panic}");
        Failure::from(ApiError::internal(why)).into_response()
    })
}

async fn in_time(response: impl Future<Output = Response>) -> Response {
    timeout(REQUEST_TIMEOUT, response).await.unwrap_or_else(|_| {
        let why = format!("the daemon did not answer within {} s", REQUEST_TIMEOUT.as_secs());
        Failure::from(ApiError::unavailable(why)).into_response()
    })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the local API was not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, ended: CancellationToken) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ended.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // A client that hangs up in the middle of a stream is an everyday thing.
        tracing::trace!(%error, "a connection to the local API has ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_answered_in_the_end() {
        let began = tokio::time::Instant::now();
        let response = in_time(std::future::pending()).await;
        assert_eq!(response.status(), axum::http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
    }
}

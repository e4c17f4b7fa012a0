//! The calls of the local API.

use super::backend::{Backend, EventStream};
use super::error::Failure;
use super::server::{Api, MAX_STREAMS};
use super::stream;
use super::types::{
    AddShare, AddWish, ApiError, Download, ErrorCode, ForgottenDownload, Identity, LoginAccount,
    NamedNode, Peer, RegisterAccount, RelayStatus, RemoveShare, RescanShare, RevokeNode,
    SessionInfo, SetRelay, Share, StartDownload, StartPing, StartSearch, Status, Wish,
};
use crate::metrics;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_proto::Username;
use std::sync::Arc;

pub(super) type Shared<B> = State<Arc<Api<B>>>;
pub(super) type Answer<T> = Result<Json<T>, Failure>;

pub(super) fn routes<B: Backend>() -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/shutdown", post(shutdown))
        .route("/v1/shares", get(shares).post(add_share).delete(remove_share))
        .route("/v1/shares/rescan", post(rescan_share))
        .route("/v1/events", get(events))
        .route("/v1/searches", post(search))
        .route("/v1/wishes", get(wishes).post(add_wish))
        .route("/v1/wishes/{number}", delete(remove_wish))
        .route("/v1/downloads", get(downloads).post(start_download))
        .route("/v1/downloads/{id}", delete(cancel_download))
        .route("/v1/downloads/{id}/events", get(watch_download))
        .route("/v1/downloads/{id}/forget", post(forget_download))
        .route("/v1/names/{name}", get(find))
        .route("/v1/peers", get(peers))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/ping", post(ping))
        .route("/v1/relay", get(relay).put(set_relay).delete(reset_relay))
        .route("/v1/account/register", post(register))
        .route("/v1/account/login", post(login))
        .route("/v1/account/revoke", post(revoke))
        .route("/metrics", get(scrape))
        .merge(super::buddy_routes::routes())
        .merge(super::chat_routes::routes())
        .merge(super::inbox_routes::routes())
        .merge(super::people_routes::routes())
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_method)
}

/// A JSON body; what is wrong with it is answered as every other error is.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

async fn status<B: Backend>(State(api): Shared<B>) -> Answer<Status> {
    Ok(Json(api.backend.status().await?))
}

async fn shutdown<B: Backend>(State(api): Shared<B>) -> StatusCode {
    api.backend.shutdown();
    StatusCode::ACCEPTED
}

async fn shares<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Share>> {
    Ok(Json(api.backend.shares().await?))
}

async fn add_share<B: Backend>(
    State(api): Shared<B>,
    Body(share): Body<AddShare>,
) -> Answer<Share> {
    if !share.path.is_absolute() {
        return Err(ApiError::bad_request("the path of a share must be absolute").into());
    }
    Ok(Json(api.backend.add_share(share).await?))
}

async fn remove_share<B: Backend>(
    State(api): Shared<B>,
    Body(share): Body<RemoveShare>,
) -> Result<StatusCode, Failure> {
    api.backend.remove_share(share).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rescan_share<B: Backend>(
    State(api): Shared<B>,
    Body(share): Body<RescanShare>,
) -> Answer<Share> {
    Ok(Json(api.backend.rescan_share(share).await?))
}

async fn events<B: Backend>(State(api): Shared<B>) -> Result<Response, Failure> {
    respond(&api, async || Ok(api.backend.events())).await
}

async fn search<B: Backend>(
    State(api): Shared<B>,
    Body(search): Body<StartSearch>,
) -> Result<Response, Failure> {
    respond(&api, async || api.backend.search(search).await).await
}

async fn wishes<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Wish>> {
    Ok(Json(api.backend.wishes().await?))
}

async fn add_wish<B: Backend>(State(api): Shared<B>, Body(wish): Body<AddWish>) -> Answer<Wish> {
    Ok(Json(api.backend.add_wish(wish).await?))
}

async fn remove_wish<B: Backend>(
    State(api): Shared<B>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(number) = number?;
    api.backend.remove_wish(number).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn downloads<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Download>> {
    Ok(Json(api.backend.downloads().await?))
}

async fn start_download<B: Backend>(
    State(api): Shared<B>,
    Body(download): Body<StartDownload>,
) -> Answer<Download> {
    if download.dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        return Err(ApiError::bad_request("the folder of a download must be absolute").into());
    }
    Ok(Json(api.backend.start_download(download).await?))
}

async fn cancel_download<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(id) = id?;
    api.backend.cancel_download(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn watch_download<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id?;
    respond(&api, async || api.backend.watch_download(id).await).await
}

async fn forget_download<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
) -> Answer<ForgottenDownload> {
    let Path(id) = id?;
    Ok(Json(api.backend.forget_download(id).await?))
}

async fn find<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
) -> Answer<Vec<NamedNode>> {
    let Path(name) = name?;
    let name = Username::parse(&name).map_err(|wrong| ApiError::bad_request(wrong.to_string()))?;
    Ok(Json(api.backend.find(name).await?))
}

async fn peers<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Peer>> {
    Ok(Json(api.backend.peers().await?))
}

async fn sessions<B: Backend>(State(api): Shared<B>) -> Answer<Vec<SessionInfo>> {
    Ok(Json(api.backend.sessions()))
}

async fn ping<B: Backend>(
    State(api): Shared<B>,
    Body(ping): Body<StartPing>,
) -> Result<Response, Failure> {
    respond(&api, async || api.backend.ping(ping).await).await
}

async fn relay<B: Backend>(State(api): Shared<B>) -> Answer<RelayStatus> {
    Ok(Json(api.backend.relay().await?))
}

async fn set_relay<B: Backend>(
    State(api): Shared<B>,
    Body(set): Body<SetRelay>,
) -> Answer<RelayStatus> {
    Ok(Json(api.backend.set_relay(set).await?))
}

async fn reset_relay<B: Backend>(State(api): Shared<B>) -> Answer<RelayStatus> {
    Ok(Json(api.backend.reset_relay().await?))
}

async fn register<B: Backend>(
    State(api): Shared<B>,
    Body(account): Body<RegisterAccount>,
) -> Answer<Identity> {
    Ok(Json(api.backend.register(account).await?))
}

async fn login<B: Backend>(
    State(api): Shared<B>,
    Body(account): Body<LoginAccount>,
) -> Answer<Identity> {
    Ok(Json(api.backend.login(account).await?))
}

async fn revoke<B: Backend>(
    State(api): Shared<B>,
    Body(node): Body<RevokeNode>,
) -> Result<StatusCode, Failure> {
    api.backend.revoke(node).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn scrape<B: Backend>(State(api): Shared<B>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], api.backend.metrics().await).into_response()
}

async fn no_such_call() -> Failure {
    ApiError::not_found("there is no such call").into()
}

async fn no_such_method() -> Failure {
    let why = "this call has no such method";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, why)
}

/// Takes a place among the open streams, then starts one: a stream that cannot be served is not
/// begun.
pub(super) async fn respond<B: Backend, T: Serialize + Send + 'static>(
    api: &Api<B>,
    start: impl AsyncFnOnce() -> Result<EventStream<T>, ApiError>,
) -> Result<Response, Failure> {
    let Ok(permit) = api.streams.clone().try_acquire_owned() else {
        api.metrics.streams_refused.inc();
        let why = format!("{MAX_STREAMS} streams are open: close some first");
        return Err(ApiError::unavailable(why).into());
    };
    Ok(stream::respond(start().await?, permit, api.ended.clone()))
}

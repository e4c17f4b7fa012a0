//! The calls of [`super::people`].

use super::backend::Backend;
use super::error::Failure;
use super::people::{AddService, OfferedService, OpenPipe, PIPE_PROTOCOL};
use super::routes::{Answer, Body, Shared};
use super::server::{Api, MAX_PIPES};
use super::types::ApiError;
use crate::sessions::PeerName;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

pub(super) fn routes<B: Backend>() -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/v1/pipes", post(open_pipe))
        .route("/v1/pipes/look", post(look_at_service))
        .route("/v1/services", get(services).post(add_service))
        .route("/v1/services/{name}", delete(remove_service))
}

fn peer(text: &str) -> Result<PeerName, ApiError> {
    text.parse().map_err(|wrong| ApiError::bad_request(format!("{wrong}")))
}

async fn open_pipe<B: Backend>(
    State(api): Shared<B>,
    mut request: Request,
) -> Result<Response, Failure> {
    let asked = request.headers().get(UPGRADE).is_some_and(|asked| asked == PIPE_PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (true, Some(upgrade)) = (asked, upgrade) else {
        let why = format!("this call needs `Upgrade: {PIPE_PROTOCOL}`");
        return Err(ApiError::bad_request(why).into());
    };
    let Body(OpenPipe { peer: name, service, datagrams }) =
        Body::from_request(request, &()).await?;
    let Ok(place) = api.pipes.clone().try_acquire_owned() else {
        api.metrics.streams_refused.inc();
        let why = format!("{MAX_PIPES} pipes are open: close some first");
        return Err(ApiError::unavailable(why).into());
    };
    let pipe = api.backend.services()?.open_pipe(&peer(&name)?, &service, datagrams).await?;
    tokio::spawn(async move {
        let _place = place;
        let Ok(upgraded) = upgrade.await else { return };
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        if let Err(error) = pipe.run(reader, writer).await {
            tracing::debug!(peer = name, service, %error, "a pipe broke off");
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PIPE_PROTOCOL));
    Ok(response)
}

async fn look_at_service<B: Backend>(
    State(api): Shared<B>,
    Body(OpenPipe { peer: name, service, datagrams }): Body<OpenPipe>,
) -> Result<StatusCode, Failure> {
    api.backend.services()?.look_at_service(&peer(&name)?, &service, datagrams).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn services<B: Backend>(State(api): Shared<B>) -> Answer<Vec<OfferedService>> {
    Ok(Json(api.backend.services()?.offered().await?))
}

async fn add_service<B: Backend>(
    State(api): Shared<B>,
    Body(service): Body<AddService>,
) -> Answer<OfferedService> {
    Ok(Json(api.backend.services()?.offer(service).await?))
}

async fn remove_service<B: Backend>(
    State(api): Shared<B>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    api.backend.services()?.withdraw(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

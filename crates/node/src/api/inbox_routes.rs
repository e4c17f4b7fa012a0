//! The calls of [`super::inbox`].

use super::backend::Backend;
use super::chat_routes::username;
use super::error::Failure;
use super::inbox::{AcceptOffer, FileOffer, SendFile};
use super::routes::{Answer, Body, Shared, respond};
use super::server::Api;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use skein_proto::Username;
use std::sync::Arc;

pub(super) fn routes<B: Backend>() -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/v1/offers", get(offers).post(send))
        .route("/v1/offers/events", get(events))
        .route("/v1/offers/always", get(always))
        .route("/v1/offers/always/{name}", put(add_always).delete(remove_always))
        .route("/v1/offers/{id}", delete(withdraw))
        .route("/v1/offers/{id}/accept", post(accept))
        .route("/v1/offers/{id}/refuse", post(refuse))
}

async fn offers<B: Backend>(State(api): Shared<B>) -> Answer<Vec<FileOffer>> {
    Ok(Json(api.backend.inbox()?.offers().await))
}

async fn events<B: Backend>(State(api): Shared<B>) -> Result<Response, Failure> {
    respond(&api, async || Ok(api.backend.inbox()?.events().await)).await
}

async fn send<B: Backend>(State(api): Shared<B>, Body(file): Body<SendFile>) -> Answer<FileOffer> {
    Ok(Json(api.backend.inbox()?.send(file).await?))
}

async fn accept<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
    Body(accept): Body<AcceptOffer>,
) -> Answer<FileOffer> {
    let Path(id) = id?;
    Ok(Json(api.backend.inbox()?.accept(id, accept).await?))
}

async fn refuse<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
) -> Answer<FileOffer> {
    let Path(id) = id?;
    Ok(Json(api.backend.inbox()?.refuse(id).await?))
}

async fn withdraw<B: Backend>(
    State(api): Shared<B>,
    id: Result<Path<u64>, PathRejection>,
) -> Answer<FileOffer> {
    let Path(id) = id?;
    Ok(Json(api.backend.inbox()?.withdraw(id).await?))
}

async fn always<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Username>> {
    Ok(Json(api.backend.inbox()?.always().await?))
}

async fn add_always<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let name = username(name)?;
    api.backend.inbox()?.set_always(&name, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_always<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let name = username(name)?;
    api.backend.inbox()?.set_always(&name, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

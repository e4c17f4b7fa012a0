//! The calls of [`super::chat`].

use super::backend::Backend;
use super::chat::{ChatLine, Conversation, ReadChat, SendChat};
use super::error::Failure;
use super::routes::{Answer, Body, Shared, respond};
use super::server::Api;
use super::types::ApiError;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use skein_proto::Username;
use std::sync::Arc;

/// Lines of a conversation, where the caller does not say how many.
const USUAL_LINES: u32 = 20;

pub(super) fn routes<B: Backend>() -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/v1/chats", get(chats).post(say))
        .route("/v1/chats/{name}", get(history).delete(forget))
        .route("/v1/chats/{name}/read", post(mark_read))
        .route("/v1/unread", get(unread))
        .route("/v1/people/events", get(events))
}

pub(super) fn username(name: Result<Path<String>, PathRejection>) -> Result<Username, Failure> {
    let Path(name) = name?;
    parsed(&name)
}

fn parsed(name: &str) -> Result<Username, Failure> {
    Ok(Username::parse(name).map_err(|wrong| ApiError::bad_request(wrong.to_string()))?)
}

fn wrong(rejection: &QueryRejection) -> ApiError {
    ApiError::bad_request(rejection.body_text())
}

async fn chats<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Conversation>> {
    Ok(Json(api.backend.people()?.conversations().await?))
}

async fn say<B: Backend>(State(api): Shared<B>, Body(said): Body<SendChat>) -> Answer<ChatLine> {
    Ok(Json(api.backend.people()?.say(&said.to, &said.text).await?))
}

#[derive(Debug, Deserialize)]
struct Which {
    last: Option<u32>,
    #[serde(default)]
    after: u64,
}

async fn history<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer<Vec<ChatLine>> {
    let name = username(name)?;
    let Query(which) = which.map_err(|rejection| wrong(&rejection))?;
    let last = which.last.unwrap_or(USUAL_LINES);
    Ok(Json(api.backend.people()?.history(&name, last, which.after).await?))
}

async fn mark_read<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
    Body(read): Body<ReadChat>,
) -> Result<StatusCode, Failure> {
    api.backend.people()?.mark_read(&username(name)?, read.up_to).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn forget<B: Backend>(
    State(api): Shared<B>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    api.backend.people()?.forget(&username(name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct From {
    from: Option<String>,
}

async fn unread<B: Backend>(
    State(api): Shared<B>,
    from: Result<Query<From>, QueryRejection>,
) -> Answer<Vec<ChatLine>> {
    let Query(From { from }) = from.map_err(|rejection| wrong(&rejection))?;
    let from = from.as_deref().map(parsed).transpose()?;
    Ok(Json(api.backend.people()?.unread(from.as_ref()).await?))
}

async fn events<B: Backend>(State(api): Shared<B>) -> Result<Response, Failure> {
    respond(&api, async || Ok(api.backend.people()?.events())).await
}

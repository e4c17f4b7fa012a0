//! The calls of [`super::buddies`].

use super::backend::Backend;
use super::buddies::{AddBuddy, Blocked, Buddy, TrustBuddy};
use super::chat_routes::username;
use super::error::Failure;
use super::routes::{Answer, Body, Shared};
use super::server::Api;
use super::types::ApiError;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use std::sync::Arc;

type Name = Result<Path<String>, PathRejection>;

pub(super) fn routes<B: Backend>() -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/v1/buddies", get(buddies).post(add))
        .route("/v1/buddies/{name}", delete(remove))
        .route("/v1/buddies/{name}/trust", post(trust))
        .route("/v1/blocked", get(blocked))
        .route("/v1/blocked/{name}", put(block).delete(unblock))
}

async fn buddies<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Buddy>> {
    Ok(Json(api.backend.people()?.buddies().await?))
}

async fn add<B: Backend>(State(api): Shared<B>, Body(buddy): Body<AddBuddy>) -> Answer<Buddy> {
    Ok(Json(api.backend.people()?.add_buddy(&buddy.name).await?))
}

async fn remove<B: Backend>(State(api): Shared<B>, name: Name) -> Result<StatusCode, Failure> {
    api.backend.people()?.remove_buddy(&username(name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn trust<B: Backend>(
    State(api): Shared<B>,
    name: Name,
    Body(trust): Body<TrustBuddy>,
) -> Answer<Buddy> {
    Ok(Json(api.backend.people()?.trust_buddy(&username(name)?, trust.node).await?))
}

async fn blocked<B: Backend>(State(api): Shared<B>) -> Answer<Vec<Blocked>> {
    Ok(Json(api.backend.people()?.blocked()))
}

async fn block<B: Backend>(State(api): Shared<B>, name: Name) -> Result<StatusCode, Failure> {
    let name = username(name)?;
    let people = api.backend.people()?;
    let blocked = people.block(&name).await;
    // They are blocked also when what is queued for them could not be deleted.
    if people.has_blocked(&name) {
        api.backend.inbox()?.close_to(&name).await.map_err(ApiError::from)?;
    }
    blocked?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unblock<B: Backend>(State(api): Shared<B>, name: Name) -> Result<StatusCode, Failure> {
    api.backend.people()?.unblock(&username(name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Server-sent events (WHATWG HTML, section 9.2): one JSON value each.

use super::backend::EventStream;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// How often a silent stream says that it is alive. A client that has hung up is noticed at the
/// latest when this is written; the client waits for six of them.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers with a stream that ends with `events`, when the client hangs up (then `events` is
/// dropped), or when the server ends.
pub(super) fn respond<T: Serialize + Send + 'static>(
    events: EventStream<T>,
    permit: OwnedSemaphorePermit,
    ended: CancellationToken,
) -> Response {
    let events = events
        .map(move |event| {
            // The place among the open streams is given back when the stream is dropped.
            let _held = &permit;
            Event::default().json_data(event)
        })
        .take_until(ended.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_that_it_is_alive() {
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let silent = futures_util::stream::pending::<u8>().boxed();
        let response = respond(silent, permit, CancellationToken::new());
        let mut body = response.into_body().into_data_stream();
        let began = tokio::time::Instant::now();
        let comment = body.next().await.unwrap().unwrap();
        assert!(comment.starts_with(b":"), "{comment:?}");
        assert_eq!(began.elapsed(), KEEP_ALIVE);
    }
}

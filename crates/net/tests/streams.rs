//! Messages and raw bytes on streams between two endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use std::time::Duration;

#[tokio::test]
async fn a_request_is_answered() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    assert_eq!(dialled.peer(), bob.node_id());
    assert_eq!(accepted.peer(), alice.node_id());
    assert!(dialled.is_dialler() && !accepted.is_dialler());
    assert_eq!(accepted.remote_address(), address(&alice));

    let server = tokio::spawn(async move {
        let mut stream = accepted.accept_stream().await.unwrap();
        assert_eq!(stream.receiver.recv().await, Ok(Some(probe())));
        assert_eq!(stream.receiver.recv().await, Ok(None));
        stream.sender.send(&probe_reply()).await.unwrap();
        stream.sender.finish().await.unwrap();
        stream.sender.delivered().await.unwrap();
        accepted
    });
    let mut stream = dialled.open_stream().await.unwrap();
    let answer = stream.request(&probe(), Duration::from_secs(10)).await;
    assert_eq!(answer, Ok(Some(probe_reply())));
    server.await.unwrap();
}

//! Messages and raw bytes on streams between two endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::*;
use skein_net::{Endpoint, Fault, StreamError};
use skein_proto::{CodecError, Message};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let answer = stream.request(&probe(), Duration::from_secs(60)).await;
    assert_eq!(answer, Ok(Some(probe_reply())));
    server.await.unwrap();
}

/// A frame with this header and body.
fn frame(length: u32, kind: u16, version: u8, body: &[u8]) -> Bytes {
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(kind.to_be_bytes());
    frame.extend([version, 0]);
    frame.extend(body);
    frame.into()
}

/// What a peer that sends these bytes is answered with.
async fn received(bytes: Bytes, finish: bool) -> (Result<Option<Message>, StreamError>, Endpoint) {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let mut stream = dialled.open_stream().await.unwrap();
    stream.sender.send_raw(bytes).await.unwrap();
    if finish {
        stream.sender.finish().await.unwrap();
    }
    let mut far = accepted.accept_stream().await.unwrap();
    let result = far.receiver.recv().await;
    // The stream's fate does not change by asking again.
    if result.is_err() {
        assert_eq!(far.receiver.recv().await, result);
    }
    (result, bob)
}

#[tokio::test]
async fn an_over_long_frame_is_refused_by_its_header_alone() {
    // The body never comes: a receiver that waited or allocated for it would wait forever.
    let (result, bob) = received(frame(u32::MAX, 2, 1, &[]), false).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StreamError::Malformed(CodecError::TooLarge { .. })), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(bob.stats().messages_malformed, 1);
}

#[tokio::test]
async fn a_message_of_a_later_version_is_skipped() {
    let mut bytes = frame(3, 0x7ff0, 1, b"new").to_vec();
    bytes.extend(skein_proto::codec::encode(&probe()).unwrap());
    let (result, bob) = received(bytes.into(), false).await;
    assert_eq!(result, Ok(Some(probe())));
    assert_eq!(bob.stats().messages_unknown, 1);
    assert_eq!(bob.stats().messages_in, 1);
}

#[tokio::test]
async fn a_message_that_may_not_be_skipped_ends_the_stream() {
    let (result, _) = received(frame(3, 0x8001, 1, b"new"), false).await;
    assert_eq!(result, Err(StreamError::Malformed(CodecError::UnknownCritical(0x8001))));
}

#[tokio::test]
async fn another_framing_ends_the_stream() {
    let (result, _) = received(frame(0, 2, 9, &[]), false).await;
    assert_eq!(result, Err(StreamError::Malformed(CodecError::Version(9))));
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_message_is_told_from_one_that_ends_behind_it() {
    let whole = Bytes::from(skein_proto::codec::encode(&probe_reply()).unwrap());
    let (result, _) = received(whole.slice(..whole.len() - 1), true).await;
    assert_eq!(result, Err(StreamError::Truncated));
    let (result, _) = received(whole.slice(..3), true).await;
    assert_eq!(result, Err(StreamError::Truncated));
    let (result, _) = received(Bytes::new(), true).await;
    assert_eq!(result, Ok(None));
}

#[tokio::test]
async fn the_sender_of_nonsense_is_told_to_stop() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let mut near = dialled.open_stream().await.unwrap();
    near.sender.send_raw(frame(0, 0xffff, 1, &[])).await.unwrap();
    let mut far = accepted.accept_stream().await.unwrap();
    far.receiver.recv().await.unwrap_err();
    assert_eq!(near.sender.delivered().await, Err(StreamError::Stopped(4)));
    assert_eq!(near.sender.send(&probe()).await, Err(StreamError::Stopped(4)));
}

#[tokio::test]
async fn a_sender_that_is_dropped_before_the_end_breaks_the_stream_off() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let (near, mut far) = stream_between(&dialled, &accepted).await;
    drop(near);
    assert_eq!(far.receiver.recv().await, Err(StreamError::Reset(0)));
}

#[tokio::test]
async fn a_finished_stream_takes_nothing_more() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let (mut near, mut far) = stream_between(&dialled, &accepted).await;
    near.sender.finish().await.unwrap();
    near.sender.finish().await.unwrap();
    assert_eq!(near.sender.send(&probe()).await, Err(StreamError::Finished));
    assert_eq!(far.receiver.recv().await, Ok(None));
    assert_eq!(far.receiver.recv().await, Ok(None));
}

#[tokio::test]
async fn a_receiver_that_is_dropped_stops_the_sender() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let (mut near, far) = stream_between(&dialled, &accepted).await;
    drop(far.receiver);
    assert_eq!(near.sender.delivered().await, Err(StreamError::Stopped(0)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_by_who_is_not_patient() {
    let network = skein_net::simnet::Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let (mut near, mut far) = stream_between(&dialled, &accepted).await;
    let patience = Duration::from_secs(90);
    assert_eq!(far.receiver.recv_within(patience).await, Err(StreamError::Silent(patience)));
    // It was silence and nothing else: the stream goes on.
    near.sender.send(&probe_reply()).await.unwrap();
    assert_eq!(far.receiver.recv_within(patience).await, Ok(Some(probe_reply())));
}

#[tokio::test(start_paused = true)]
async fn receiving_loses_nothing_when_it_is_interrupted_anywhere() {
    let network = skein_net::simnet::Network::new(1);
    let (alice, bob) = (on(&network, 1, Default::default()), on(&network, 2, Default::default()));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let bytes = skein_proto::codec::encode(&probe_reply()).unwrap();
    let sending = tokio::spawn(async move {
        let mut near = dialled.open_stream().await.unwrap();
        for byte in bytes.repeat(3) {
            near.sender.send_raw(Bytes::from(vec![byte])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        near.sender.finish().await.unwrap();
        near.sender.delivered().await.unwrap();
    });
    let mut far = accepted.accept_stream().await.unwrap();
    let (mut messages, mut interruptions) = (0, 0);
    loop {
        tokio::select! {
            biased;
            message = far.receiver.recv() => match message.unwrap() {
                Some(message) => {
                    assert_eq!(message, probe_reply());
                    messages += 1;
                }
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(2)) => interruptions += 1,
        }
    }
    assert_eq!(messages, 3);
    assert!(interruptions > 20, "{interruptions}");
    sending.await.unwrap();
}

#[tokio::test]
async fn raw_bytes_follow_a_message() {
    let (alice, bob) = (bind(1), bind(2));
    let (dialled, accepted) = connected(&alice, &bob).await;
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        let mut near = dialled.open_stream().await.unwrap();
        near.sender.set_priority(-1);
        near.sender.send(&probe_reply()).await.unwrap();
        near.sender.write_all(&sent).await.unwrap();
        near.sender.shutdown().await.unwrap();
        near.sender.delivered().await.unwrap();
    });
    let mut far = accepted.accept_stream().await.unwrap();
    assert_eq!(far.receiver.recv().await, Ok(Some(probe_reply())));
    let mut got = Vec::new();
    far.receiver.read_to_end(&mut got).await.unwrap();
    assert!(got == body);
    sending.await.unwrap();
}

//! What peers open: connections, and streams on them. The first message on a stream says what it
//! is for.

use super::driver::Driver;
use crate::sessions::Sessions;
use crate::transfer::Transfers;
use skein_net::{CloseReason, Connection, Endpoint, Stream};
use skein_overlay::Input;
use skein_proto::Message;
use skein_proto::evidence::{MAX_CARRIED, PAGE};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the first message on a stream may take. A stream that says nothing holds one of the
/// few places that a peer has.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Pages of evidence that one stream may show: all that a name carries.
const MAX_PAGES: usize = MAX_CARRIED.div_ceil(PAGE);

/// Serves every connection of the endpoint, whoever dialled it, until the endpoint is closed. When
/// it is dropped, all that it serves ends.
pub(super) async fn serve(
    endpoint: Endpoint,
    driver: Driver,
    transfers: Transfers,
    sessions: Sessions,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = endpoint.accept() => match connection {
                Some(connection) => {
                    let to = (driver.clone(), transfers.clone(), sessions.clone());
                    connections.spawn(serve_connection(connection, to));
                }
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(connection: Connection, to: (Driver, Transfers, Sessions)) {
    // The peer can have only as many streams open as the endpoint allows, so these tasks are few.
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_stream() => match stream {
                Ok(stream) => {
                    streams.spawn(serve_stream(connection.clone(), stream, to.clone()));
                }
                Err(_) => return,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn serve_stream(
    connection: Connection,
    mut stream: Stream,
    (driver, transfers, sessions): (Driver, Transfers, Sessions),
) {
    match stream.receiver.recv_within(FIRST_MESSAGE).await {
        Ok(Some(Message::Hello(hello))) => driver.inbound(connection, stream, hello).await,
        Ok(Some(Message::FetchRequest(request))) => {
            transfers.handle_stream(connection, request, stream).await;
        }
        Ok(Some(Message::GiveReceipt(given))) => {
            driver
                .aside(Input::ReceiptGiven {
                    peer: connection.peer(),
                    receipt: Box::new(given.receipt),
                })
                .await;
        }
        Ok(Some(Message::ShowEvidence(first))) => {
            let mut page = first;
            for _ in 0..MAX_PAGES {
                let peer = connection.peer();
                driver.aside(Input::EvidenceShown { peer, shown: page }).await;
                match stream.receiver.recv_within(FIRST_MESSAGE).await {
                    Ok(Some(Message::ShowEvidence(next))) => page = next,
                    _ => return,
                }
            }
        }
        Ok(Some(message)) if sessions.takes(message.kind()) => {
            sessions.serve(connection, message, stream).await;
        }
        Ok(Some(message)) => {
            let kind = message.kind().name();
            tracing::debug!(peer = %connection.peer().short(), kind, "no way to begin a stream");
            connection.close(CloseReason::Misbehaved);
        }
        // Dropping the stream resets it; the peer may have better ones on the same connection.
        Ok(None) => {}
        Err(error) => {
            tracing::debug!(peer = %connection.peer().short(), %error, "a stream without a message");
        }
    }
}

//! What peers open: connections, and streams on them. The first message on a stream says what it
//! is for.

use super::driver::Driver;
use crate::transfer::Transfers;
use skein_net::{CloseReason, Connection, Endpoint, Stream};
use skein_proto::Message;
use std::time::Duration;

/// How long the first message on a stream may take. A stream that says nothing holds one of the
/// few places that a peer has.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Serves every connection of the endpoint, whoever dialled it, until the endpoint is closed.
pub(super) async fn serve(endpoint: Endpoint, driver: Driver, transfers: Transfers) {
    while let Some(connection) = endpoint.accept().await {
        tokio::spawn(serve_connection(connection, driver.clone(), transfers.clone()));
    }
}

async fn serve_connection(connection: Connection, driver: Driver, transfers: Transfers) {
    // The peer can have only as many streams open as the endpoint allows, so these tasks are few.
    while let Ok(stream) = connection.accept_stream().await {
        let (connection, driver) = (connection.clone(), driver.clone());
        tokio::spawn(serve_stream(connection, stream, driver, transfers.clone()));
    }
}

async fn serve_stream(
    connection: Connection,
    mut stream: Stream,
    driver: Driver,
    transfers: Transfers,
) {
    match stream.receiver.recv_within(FIRST_MESSAGE).await {
        Ok(Some(Message::Hello(hello))) => driver.inbound(connection, stream, hello).await,
        Ok(Some(Message::FetchRequest(request))) => {
            transfers.handle_stream(connection, request, stream).await;
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

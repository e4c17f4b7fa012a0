//! Both ends of a connection say whose node they are.

use super::error::SessionError;
use skein_net::{Connection, Stream};
use skein_proto::session::{NatKind, SessionHello};
use skein_proto::{Message, NodeId, SessionId, SignedCredential, UnixTime, Username};
use std::time::Duration;
use tokio::time::timeout;

/// How long the other side may take: a few round trips of the longest path.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one end says.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) session: Option<SessionId>,
    pub(super) credential: SignedCredential,
    pub(super) nat: NatKind,
}

impl Own {
    /// When the credential runs out.
    pub(super) fn expires(&self) -> UnixTime {
        self.credential.unverified().expires
    }

    pub(super) fn hello(&self) -> Message {
        let Self { session, credential, nat } = self.clone();
        SessionHello { session, credential, nat }.into()
    }
}

/// What the other end has said, checked.
#[derive(Clone, Debug)]
pub(super) struct Theirs {
    pub(super) name: Username,
    pub(super) nat: NatKind,
    /// When the credential runs out: then it has to show another one.
    pub(super) expires: UnixTime,
}

/// Checks what the other end of a connection says.
pub(super) fn check(
    hello: &SessionHello,
    login_key: &NodeId,
    peer: &NodeId,
    now: UnixTime,
) -> Result<Theirs, SessionError> {
    let credential = hello.credential.check(login_key, peer, now);
    let credential = credential.map_err(|_| SessionError::Unproven)?;
    let (name, expires) = (credential.name.clone(), credential.expires);
    Ok(Theirs { name, nat: hello.nat, expires })
}

/// Opens the stream on which both ends say who they are, and says it, as the dialler does. It stays
/// open for the news of the session, the first of which is what the other end says.
pub(super) async fn say(connection: &Connection, own: &Own) -> Result<Stream, SessionError> {
    let say = async {
        let mut stream = connection.open_stream().await?;
        match stream.sender.send(&own.hello()).await {
            Ok(()) => Ok(stream),
            Err(_) => Err(not_taken(connection)),
        }
    };
    timeout(PATIENCE, say).await.map_err(|_| SessionError::Silent)?
}

/// As [`say`], and waits for what the other end says.
pub(super) async fn introduce(
    connection: &Connection,
    own: &Own,
    login_key: &NodeId,
    now: UnixTime,
) -> Result<(Stream, Theirs), SessionError> {
    let exchange = async {
        let mut stream = say(connection, own).await?;
        match stream.receiver.recv().await {
            Ok(Some(Message::SessionHello(hello))) => {
                Ok((stream, check(&hello, login_key, &connection.peer(), now)?))
            }
            Ok(Some(_)) => Err(SessionError::Unproven),
            Ok(None) | Err(_) => Err(not_taken(connection)),
        }
    };
    timeout(PATIENCE, exchange).await.map_err(|_| SessionError::Silent)?
}

/// The stream has ended: the peer wants no session, or there is no connection any more.
fn not_taken(connection: &Connection) -> SessionError {
    connection.close_reason().map_or(SessionError::NotTaken, SessionError::Connection)
}

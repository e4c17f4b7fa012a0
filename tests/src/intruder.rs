//! A peer that keeps to the rules only as far as the test wants.

use crate::PATIENCE;
use skein_net::{Connection, Endpoint, EndpointConfig, Stream, StreamError};
use skein_proto::message::{Attach, AttachReply, Bond, Hello, Publish};
use skein_proto::session::{NatKind, SessionHello};
use skein_proto::{
    BoundedString, BoundedVec, FileMeta, KeyPair, Message, NodeId, Role, SignedCredential,
};
use std::net::SocketAddr;

/// A peer in the test's own process, which speaks the protocol by hand.
#[derive(Debug)]
pub struct Intruder {
    key: KeyPair,
    endpoint: Endpoint,
}

/// An intruder's control stream with a node.
#[derive(Debug)]
pub struct Control {
    stream: Stream,
}

/// An intruder's session with a node.
#[derive(Debug)]
pub struct PeerSession {
    connection: Connection,
    /// The session ends with it.
    _news: Stream,
}

impl Intruder {
    /// An intruder whose key comes of `seed`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn new(seed: u8) -> Self {
        let key = KeyPair::from_seed(&[seed; 32]);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint =
            Endpoint::bind(&key, address, EndpointConfig::default()).expect("a free port");
        Self { key, endpoint }
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.key.node_id()
    }

    /// Opens a control stream with a node, and says nothing yet.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn dial(&self, node: NodeId, address: SocketAddr) -> Control {
        let connection = self.endpoint.connect(node, &[address]).await.expect("it answers");
        let stream = connection.open_stream().await.expect("it takes a stream");
        Control { stream }
    }

    /// Opens a session with a node as somebody with this credential.
    ///
    /// # Panics
    /// If the node does not answer as in a session.
    pub async fn session(
        &self,
        node: NodeId,
        address: SocketAddr,
        credential: SignedCredential,
    ) -> PeerSession {
        let connection = self.endpoint.connect(node, &[address]).await.expect("it answers");
        let mut stream = connection.open_stream().await.expect("it takes a stream");
        let hello = SessionHello { session: None, credential, nat: NatKind::Unknown };
        let answer = stream.sender.send(&hello.into()).await;
        answer.expect("it takes a message");
        match stream.receiver.recv_within(PATIENCE).await {
            Ok(Some(Message::SessionHello(_))) => PeerSession { connection, _news: stream },
            other => panic!("no session: {other:?}"),
        }
    }

    /// Says who it claims to be.
    pub fn hello(&self, credential: Option<SignedCredential>) -> Message {
        let address = self.endpoint.local_addr().expect("it listens");
        Hello {
            agent: BoundedString::truncated("intruder"),
            role: Role::Ordinary,
            credential,
            listen: BoundedVec::truncated([address]),
            observed: address,
        }
        .into()
    }
}

impl PeerSession {
    /// Says something on a stream of its own; the answer, if there is one.
    pub async fn ask(&self, message: impl Into<Message>) -> Option<Message> {
        let mut stream = self.connection.open_stream().await.ok()?;
        stream.request(&message.into(), PATIENCE).await.ok().flatten()
    }
}

impl Control {
    /// Sends a message; whether the node still wants it shows in what it answers.
    pub async fn send(&mut self, message: impl Into<Message>) {
        let _ = self.stream.sender.send(&message.into()).await;
    }

    /// Sends bytes that need be no message.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.sender.send_raw(bytes.to_vec().into()).await;
    }

    /// The next message of the node; `None` once it has hung up.
    ///
    /// # Panics
    /// If it does neither within [`PATIENCE`].
    pub async fn next(&mut self) -> Option<Message> {
        match self.stream.receiver.recv_within(PATIENCE).await {
            Ok(message) => message,
            Err(StreamError::Silent(_)) => panic!("the node neither answers nor hangs up"),
            Err(_) => None,
        }
    }

    /// Asks to be a child and waits for the answer; `None` if the node hangs up instead.
    pub async fn attach(&mut self, bond: Bond) -> Option<AttachReply> {
        self.send(Attach { bond }).await;
        loop {
            if let Message::AttachReply(reply) = self.next().await? {
                return Some(reply);
            }
        }
    }

    /// Publishes files, as if it were a child.
    pub async fn publish(&mut self, files: Vec<FileMeta>) {
        let (remove, add) = (BoundedVec::default(), BoundedVec::truncated(files));
        self.send(Publish { sequence: 1, reset: true, remove, add }).await;
    }

    /// Waits until the node hangs up.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub async fn hung_up(&mut self) {
        while self.next().await.is_some() {}
    }
}

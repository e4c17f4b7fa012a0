//! Delivers what is queued: whenever there is a sign that the peer is there, and from time to time.

use super::retry::{Retries, Tried};
use super::{People, Why};
use crate::api::chat::{ChatLine, ChatState, PeopleEvent};
use crate::daemon::clock::unix_now;
use crate::services::StoreError;
use crate::sessions::{PeerName, PeerSession, SessionError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skein_net::{Stream, StreamError};
use skein_proto::chat::{ChatMessage, ChatRefusal};
use skein_proto::{BoundedString, Message, UnixTime, Username};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a peer may take to put a message on its disk.
pub(super) const REPLY_PATIENCE: Duration = Duration::from_secs(15);

/// Why a message was not delivered by a try. It stays queued.
#[derive(Debug, Error)]
pub(super) enum Undelivered {
    /// There is no session (network, or the peer is away).
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The buddy is there with another key than it is known by.
    #[error(
        "@{0} shows a key that you do not know it by: if that is right, run `skein buddies trust @{0}`"
    )]
    NewKey(Username),
    /// The stream broke off (network, or the peer).
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The peer does not take it now (peer).
    #[error("{0}")]
    Refused(ChatRefusal),
    /// The peer does not understand chat (peer).
    #[error("the peer does not understand chat")]
    Misunderstood,
    /// This node cannot read what is queued (local).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something that makes a delivery worth trying.
#[derive(Debug)]
pub(super) enum Wake {
    /// The user has written something.
    Queued(Username),
    /// The peer seems to be there.
    Seen(Username),
}

impl People {
    /// Delivers until the daemon ends.
    pub(super) async fn deliver_all(&self, mut wakes: mpsc::Receiver<Wake>) {
        let mut retries = Retries::default();
        match self.inner.store.awaited().await {
            Ok(peers) => peers.into_iter().for_each(|peer| retries.queued(peer, Instant::now())),
            Err(error) => tracing::error!(%error, "what is queued cannot be read"),
        }
        let mut running: FuturesUnordered<BoxFuture<'_, (Username, Tried)>> =
            FuturesUnordered::new();
        loop {
            while let Some(peer) = retries.next(Instant::now()) {
                running.push(self.try_peer(peer).boxed());
            }
            let due = retries.next_due();
            tokio::select! {
                wake = wakes.recv() => match wake {
                    Some(Wake::Queued(peer)) => retries.queued(peer, Instant::now()),
                    Some(Wake::Seen(peer)) => retries.seen(&peer, Instant::now()),
                    None => return,
                },
                Some((peer, tried)) = running.next() => {
                    retries.done(&peer, tried, rand::random(), Instant::now());
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    async fn try_peer(&self, peer: Username) -> (Username, Tried) {
        match self.deliver(&peer).await {
            Ok(()) => {
                self.inner.waiting.remove(&peer);
                (peer, Tried::Emptied)
            }
            Err(error) => {
                self.inner.counts.failed();
                let reason = error.to_string();
                tracing::debug!(%peer, reason, "messages are not delivered yet");
                let unknown = matches!(error, Undelivered::Session(SessionError::Unknown(_)));
                let why = Why { reason, unknown };
                let last = self.inner.waiting.insert(peer.clone(), why.clone());
                if last.as_ref() != Some(&why) {
                    self.tell(why.event(peer.clone()));
                }
                (peer, Tried::Failed)
            }
        }
    }

    /// Delivers all that is queued for a peer. The user may block them or delete what is queued at
    /// any moment, and it is the peer who says how fast this goes.
    async fn deliver(&self, peer: &Username) -> Result<(), Undelivered> {
        let mut queued = self.inner.store.queued_for(peer).await?;
        if queued.is_empty() || self.has_blocked(peer) {
            return Ok(());
        }
        let session = self.reach(peer).await?;
        // The peer may have as many streams of this node open as it allows.
        let opening = timeout(REPLY_PATIENCE, session.connection().open_stream()).await;
        let opened = opening.map_err(|_| StreamError::Silent(REPLY_PATIENCE))?;
        let mut stream = opened.map_err(StreamError::from)?;
        while !queued.is_empty() {
            for line in queued {
                if self.has_blocked(peer) {
                    return Ok(());
                }
                if self.inner.store.is_queued(line.number).await? {
                    self.deliver_one(&session, &mut stream, line).await?;
                }
            }
            queued = self.inner.store.queued_for(peer).await?;
        }
        stream.sender.finish().await?;
        Ok(())
    }

    async fn deliver_one(
        &self,
        session: &PeerSession,
        stream: &mut Stream,
        line: ChatLine,
    ) -> Result<(), Undelivered> {
        let text = BoundedString::truncated(&line.text);
        let message = ChatMessage { id: line.id, sent: UnixTime(line.sent), text };
        stream.sender.send_within(&message.into(), REPLY_PATIENCE).await?;
        let reply = stream.receiver.recv_within(REPLY_PATIENCE).await?;
        let outcome = match reply {
            Some(Message::ChatReply(reply)) if reply.id == line.id => reply.outcome,
            _ => return Err(Undelivered::Misunderstood),
        };
        let state = match outcome {
            Ok(()) => ChatState::Delivered,
            Err(ChatRefusal::NotWanted) => ChatState::Refused,
            Err(refusal) => return Err(Undelivered::Refused(refusal)),
        };
        let node = session.node();
        let settled = self.inner.store.settle_message(line.number, state, node, unix_now()).await?;
        self.inner.counts.settled(state);
        if let Some(line) = settled {
            self.tell(PeopleEvent::Message(line));
        }
        Ok(())
    }

    /// A session with somebody, on a node that they are known by.
    async fn reach(&self, peer: &Username) -> Result<Arc<PeerSession>, Undelivered> {
        let person = self.inner.roster.get(peer).unwrap_or_default();
        let sessions = &self.inner.sessions;
        let live = sessions
            .all()
            .into_iter()
            .find(|session| session.name() == peer && !person.is_new(&session.node()));
        if let Some(session) = live {
            return Ok(session);
        }
        if person.keys.is_empty() {
            return Ok(sessions.open(&PeerName::User(peer.clone())).await?);
        }
        let found = sessions.look_up(peer).await?;
        let there = || found.iter().filter(|node| node.online);
        let best = there().filter(|node| !person.is_new(&node.node)).max_by_key(|node| node.seen);
        match best {
            Some(node) => {
                Ok(sessions.open(&PeerName::NodeOf(peer.clone(), node.node.into())).await?)
            }
            None if there().next().is_some() => Err(Undelivered::NewKey(peer.clone())),
            None => Err(SessionError::Offline(peer.clone()).into()),
        }
    }
}

//! Takes what others say.

use super::People;
use super::admission::Standing;
use super::messages::{Came, Kept};
use super::outbox::{REPLY_PATIENCE, Wake};
use crate::api::chat::PeopleEvent;
use crate::daemon::clock::unix_now;
use crate::sessions::PeerSession;
use skein_net::Stream;
use skein_proto::Message;
use skein_proto::chat::{ChatMessage, ChatRefusal, ChatReply};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the next message on a stream may take. Another stream costs nothing.
const NEXT_PATIENCE: Duration = Duration::from_secs(30);

impl People {
    /// Takes what a peer says on a stream, until it says no more.
    pub(super) async fn hear(
        &self,
        session: Arc<PeerSession>,
        first: ChatMessage,
        mut stream: Stream,
    ) {
        let mut next = Some(Message::ChatMessage(first));
        while let Some(Message::ChatMessage(message)) = next {
            let outcome = self.take(&session, &message).await;
            if let Err(refusal) = outcome {
                self.inner.counts.refused(refusal);
                tracing::debug!(peer = %session.name(), %refusal, "a message is refused");
            }
            let reply = ChatReply { id: message.id, outcome }.into();
            if stream.sender.send_within(&reply, REPLY_PATIENCE).await.is_err() {
                return;
            }
            next = stream.receiver.recv_within(NEXT_PATIENCE).await.ok().flatten();
        }
        let _ = stream.sender.finish().await;
    }

    /// Puts a message on disk, once; says so only when it is there.
    async fn take(&self, session: &PeerSession, message: &ChatMessage) -> Result<(), ChatRefusal> {
        let (peer, node) = (session.name(), session.node());
        let standing = self.inner.roster.standing(peer, &node);
        if standing == Standing::Blocked || message.text.trim().is_empty() {
            return Err(ChatRefusal::NotWanted);
        }
        if !self.admission().admit(peer, standing, Instant::now()) {
            return Err(ChatRefusal::TooFast);
        }
        let new_key = self.inner.roster.get(peer).is_some_and(|person| person.is_new(&node));
        let known = standing == Standing::Known;
        let came = Came { peer, node, known, new_key, message, now: unix_now() };
        match self.inner.store.keep_message(came).await {
            Ok(Kept::New(line)) => {
                self.inner.counts.kept();
                self.tell(PeopleEvent::Message(line));
                self.wake(Wake::Seen(peer.clone())).await;
                Ok(())
            }
            Ok(Kept::Already) => {
                self.inner.counts.repeated();
                Ok(())
            }
            Ok(Kept::Full) => Err(ChatRefusal::Full),
            Err(error) => {
                tracing::error!(%error, "a message cannot be kept");
                Err(ChatRefusal::Unavailable)
            }
        }
    }
}

//! The client's calls about chat.

use super::chat::{ChatLine, Conversation, PeopleEvent, ReadChat, SendChat};
use super::client::{ApiClient, ApiStream, ClientError};
use super::client_people::encoded;
use reqwest::Method;
use skein_proto::Username;

impl ApiClient {
    /// All conversations, the latest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chats(&self) -> Result<Vec<Conversation>, ClientError> {
        self.get("/v1/chats").await
    }

    /// Says something to somebody. It is on this node's disk when this returns.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if the text is too long, or too many messages wait.
    pub async fn say(&self, said: &SendChat) -> Result<ChatLine, ClientError> {
        self.send(Method::POST, "/v1/chats", said).await
    }

    /// The last lines of a conversation that are newer than number `after`, the oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chat_history(
        &self,
        peer: &Username,
        last: u32,
        after: u64,
    ) -> Result<Vec<ChatLine>, ClientError> {
        let peer = encoded(peer.as_str());
        self.get(&format!("/v1/chats/{peer}?last={last}&after={after}")).await
    }

    /// Says that the user has seen what a peer said, up to that number.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mark_read(&self, peer: &Username, up_to: u64) -> Result<(), ClientError> {
        let path = format!("/v1/chats/{}/read", encoded(peer.as_str()));
        let request = self.request(Method::POST, &path).json(&ReadChat { up_to });
        self.call(request).await.map(drop)
    }

    /// Deletes a conversation, with what is queued in it.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if there is none.
    pub async fn forget_chat(&self, peer: &Username) -> Result<(), ClientError> {
        let path = format!("/v1/chats/{}", encoded(peer.as_str()));
        self.call(self.request(Method::DELETE, &path)).await.map(drop)
    }

    /// What was not read yet, of one or of all, the oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unread(&self, from: Option<&Username>) -> Result<Vec<ChatLine>, ClientError> {
        match from {
            Some(from) => self.get(&format!("/v1/unread?from={}", encoded(from.as_str()))).await,
            None => self.get("/v1/unread").await,
        }
    }

    /// What happens with people from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn people_events(&self) -> Result<ApiStream<PeopleEvent>, ClientError> {
        self.stream(self.request(Method::GET, "/v1/people/events")).await
    }
}

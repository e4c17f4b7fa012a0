//! The client's calls about buddies and those who are blocked.

use super::buddies::{AddBuddy, Blocked, Buddy, TrustBuddy};
use super::client::{ApiClient, ClientError};
use super::client_people::encoded;
use reqwest::Method;
use skein_proto::{NodeId, Username};

impl ApiClient {
    /// The buddies, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn buddies(&self) -> Result<Vec<Buddy>, ClientError> {
        self.get("/v1/buddies").await
    }

    /// Makes somebody a buddy, known by the nodes that bear the name now.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if there are too many, or they are blocked.
    pub async fn add_buddy(&self, name: &Username) -> Result<Buddy, ClientError> {
        self.send(Method::POST, "/v1/buddies", &AddBuddy { name: name.clone() }).await
    }

    /// Makes somebody a buddy no longer.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if that is no buddy.
    pub async fn remove_buddy(&self, name: &Username) -> Result<(), ClientError> {
        self.on_name(Method::DELETE, "buddies", name).await
    }

    /// Says that a node belongs to a buddy, or all that bear the name now.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if that is no buddy, or no node bears the name.
    pub async fn trust_buddy(
        &self,
        name: &Username,
        node: Option<NodeId>,
    ) -> Result<Buddy, ClientError> {
        let path = format!("/v1/buddies/{}/trust", encoded(name.as_str()));
        self.send(Method::POST, &path, &TrustBuddy { node }).await
    }

    /// Those of whom nothing is taken, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn blocked(&self) -> Result<Vec<Blocked>, ClientError> {
        self.get("/v1/blocked").await
    }

    /// Takes nothing of somebody from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn block(&self, name: &Username) -> Result<(), ClientError> {
        self.on_name(Method::PUT, "blocked", name).await
    }

    /// Takes messages of somebody again.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if they are not blocked.
    pub async fn unblock(&self, name: &Username) -> Result<(), ClientError> {
        self.on_name(Method::DELETE, "blocked", name).await
    }

    async fn on_name(
        &self,
        method: Method,
        what: &str,
        name: &Username,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/{what}/{}", encoded(name.as_str()));
        self.call(self.request(method, &path)).await.map(drop)
    }
}

//! The client's calls about files that people send each other.

use super::client::{ApiClient, ApiStream, ClientError};
use super::client_people::encoded;
use super::inbox::{AcceptOffer, FileOffer, SendFile};
use reqwest::Method;
use serde_json::json;
use skein_proto::Username;

impl ApiClient {
    /// All offers, the user's own and those of others.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn offers(&self) -> Result<Vec<FileOffer>, ClientError> {
        self.get("/v1/offers").await
    }

    /// How all offers stand, and every change from then on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_offers(&self) -> Result<ApiStream<FileOffer>, ClientError> {
        self.stream(self.request(Method::GET, "/v1/offers/events")).await
    }

    /// Offers a file to a person.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_file(&self, file: &SendFile) -> Result<FileOffer, ClientError> {
        self.send(Method::POST, "/v1/offers", file).await
    }

    /// Accepts a file.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where it is not to be had any more.
    pub async fn accept_offer(
        &self,
        id: u64,
        accept: &AcceptOffer,
    ) -> Result<FileOffer, ClientError> {
        self.send(Method::POST, &format!("/v1/offers/{id}/accept"), accept).await
    }

    /// Declines a file.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where there is nothing to decline.
    pub async fn refuse_offer(&self, id: u64) -> Result<FileOffer, ClientError> {
        self.send(Method::POST, &format!("/v1/offers/{id}/refuse"), &json!({})).await
    }

    /// Takes an offer of one's own back.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where it is over.
    pub async fn withdraw_offer(&self, id: u64) -> Result<FileOffer, ClientError> {
        self.send(Method::DELETE, &format!("/v1/offers/{id}"), &json!({})).await
    }

    /// Whose files are accepted without a question.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn always_accepted(&self) -> Result<Vec<Username>, ClientError> {
        self.get("/v1/offers/always").await
    }

    /// Accepts the files of this name without a question from now on, or asks again.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where it is so already.
    pub async fn set_always_accepted(
        &self,
        name: &Username,
        always: bool,
    ) -> Result<(), ClientError> {
        let method = if always { Method::PUT } else { Method::DELETE };
        let path = format!("/v1/offers/always/{}", encoded(name.as_str()));
        self.call(self.request(method, &path)).await.map(drop)
    }
}

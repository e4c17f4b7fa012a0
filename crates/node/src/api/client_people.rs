//! The client's calls about services and people.

use super::client::{ApiClient, ClientError};
use super::people::{AddService, OfferedService, OpenPipe, PIPE_PROTOCOL};
use super::types::{ApiError, ErrorCode};
use crate::services::{PieceReader, PieceWriter};
use reqwest::header::{CONNECTION, UPGRADE};
use reqwest::{Method, StatusCode, Upgraded};
use tokio::io::{ReadHalf, WriteHalf};

/// Both directions of an open pipe.
pub type PipeEnds = (PieceReader<ReadHalf<Upgraded>>, PieceWriter<WriteHalf<Upgraded>>);

impl ApiClient {
    /// Opens a service of a peer. Whoever writes ends with [`PieceWriter::finish`]; dropped before,
    /// the pipe breaks off.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where the peer is not there or does not want to.
    pub async fn open_pipe(&self, pipe: &OpenPipe) -> Result<PipeEnds, ClientError> {
        let request = self
            .request(Method::POST, "/v1/pipes")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PIPE_PROTOCOL)
            .json(pipe);
        let response = self.call(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let why = "the daemon does not open pipes: is it another version?";
            return Err(ClientError::Refused(ApiError::new(ErrorCode::Internal, why)));
        }
        let upgraded = response.upgrade().await.map_err(|source| self.unreachable(source))?;
        let (reader, writer) = tokio::io::split(upgraded);
        Ok((PieceReader::new(reader), PieceWriter::new(writer)))
    }

    /// Asks whether a service of a peer could be opened, and leaves the program behind it alone.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal where the peer is not there or does not want to.
    pub async fn look_at_service(&self, pipe: &OpenPipe) -> Result<(), ClientError> {
        let request = self.request(Method::POST, "/v1/pipes/look").json(pipe);
        self.call(request).await.map(drop)
    }

    /// What this node offers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn services(&self) -> Result<Vec<OfferedService>, ClientError> {
        self.get("/v1/services").await
    }

    /// Offers a service.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_service(&self, service: &AddService) -> Result<OfferedService, ClientError> {
        self.send(Method::POST, "/v1/services", service).await
    }

    /// Offers a service no longer.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal if there is none of that name.
    pub async fn remove_service(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/services/{}", encoded(name));
        self.call(self.request(Method::DELETE, &path)).await.map(drop)
    }
}

/// A text as one part of a path.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

//! How a client finds the daemon: a small file in the data folder.

use super::token::ApiToken;
use crate::home::{Home, HomeError, read_small, remove, write_atomic};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where a daemon answers: the content of `api.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The TCP address of its local API.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
}

impl Announcement {
    /// What is announced in the data folder, by a daemon that runs or by one that was killed. A
    /// file that cannot be understood counts as none.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn read(home: &Home) -> Result<Option<Self>, HomeError> {
        let bytes = read_small(&home.api_file())?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// An announcement that is taken back when this is dropped.
#[derive(Debug)]
pub(super) struct Announced(Home);

impl Announced {
    /// Announces this process at `address`, with a new token. That comes last: as long as an
    /// address is another's, there is no token to be shown to it.
    pub(super) fn new(home: &Home, address: SocketAddr) -> Result<(Self, ApiToken), HomeError> {
        let announcement = Announcement {
            address,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let path = home.api_file();
        let json = serde_json::to_vec(&announcement)
            .map_err(|error| HomeError::io("write", &path, error.into()))?;
        write_atomic(&path, &json)?;
        let announced = Self(home.clone());
        let token = ApiToken::create(home)?;
        Ok((announced, token))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        for path in [self.0.api_file(), self.0.api_token_file()] {
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, "what announced the local API is left behind");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_is_no_token_before_there_is_an_address_to_show_it_to() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        std::fs::create_dir(home.api_file()).unwrap();
        Announced::new(&home, ([127, 0, 0, 1], 1).into()).unwrap_err();
        assert!(ApiToken::load(&home).unwrap().is_none());
    }
}

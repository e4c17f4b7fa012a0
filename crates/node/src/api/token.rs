//! The token that opens the local API: whoever can read the user's files may use the daemon.

use crate::home::{Home, HomeError, read_small, write_atomic};
use data_encoding::BASE32_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use std::fmt;
use std::io;
use zeroize::Zeroizing;

/// Random bytes in a token: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    /// Draws a token and puts it into the data folder, with mode 0600, in place of an earlier
    /// one. Each run of a daemon has its own: if another program gets hold of the port of a
    /// daemon that has died, the token that a client shows it opens nothing.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn create(home: &Home) -> Result<Self, HomeError> {
        let path = home.api_token_file();
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        SysRng
            .try_fill_bytes(&mut *bytes)
            .map_err(|error| HomeError::io("draw a token for", &path, io::Error::other(error)))?;
        let text = Zeroizing::new(BASE32_NOPAD.encode(&*bytes).to_ascii_lowercase());
        write_atomic(&path, text.as_bytes())?;
        Ok(Self(text))
    }

    /// The token of the running daemon, if there is one.
    ///
    /// # Errors
    /// [`HomeError::Io`], above all for a data folder of somebody else.
    pub fn load(home: &Home) -> Result<Option<Self>, HomeError> {
        let Some(bytes) = read_small(&home.api_token_file())? else { return Ok(None) };
        let bytes = Zeroizing::new(bytes);
        let text = String::from_utf8_lossy(&bytes);
        Ok(Some(Self(Zeroizing::new(text.trim().to_owned()))))
    }

    /// The token, to be sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether somebody knows the token. How long it takes says nothing of how much of it was
    /// right: two hashes are compared, in constant time.
    pub fn matches(&self, shown: &[u8]) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(shown)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_that_can_read_the_file_knows_the_token() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        assert!(ApiToken::load(&home).unwrap().is_none());
        let token = ApiToken::create(&home).unwrap();
        let loaded = ApiToken::load(&home).unwrap().unwrap();
        assert!(token.matches(loaded.as_str().as_bytes()));
        assert!(!token.matches(&loaded.as_str().as_bytes()[1..]));
        assert!(!token.matches(b""));
    }

    #[test]
    fn each_run_has_its_own_token() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let first = ApiToken::create(&home).unwrap();
        let second = ApiToken::create(&home).unwrap();
        assert!(!second.matches(first.as_str().as_bytes()));
    }
}

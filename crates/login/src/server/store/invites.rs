//! Invite codes: each one lets one name in.

use super::{Store, StoreError, seconds};
use data_encoding::BASE32_NOPAD;
use skein_proto::login::LoginRefusal;
use skein_proto::{UnixTime, Username};
use sqlx::{Any, Transaction};
use std::fmt;

/// A single-use invite code: 26 letters and digits, 128 random bits, which cannot be guessed over
/// a network.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode(String);

impl InviteCode {
    /// A new code from 16 random bytes.
    pub fn from_random(bytes: &[u8; 16]) -> Self {
        Self(BASE32_NOPAD.encode(bytes).to_ascii_lowercase())
    }

    /// What a person typed; upper case, blanks and hyphens do not matter.
    pub fn typed(text: &str) -> Self {
        let kept = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        Self(kept.flat_map(char::to_lowercase).collect())
    }

    /// The code, to be given to whoever is invited.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Vec<u8> {
        // A fast hash is enough: nobody can try 2^128 codes.
        blake3::hash(self.0.as_bytes()).as_bytes().to_vec()
    }

    pub(super) async fn use_up(
        &self,
        tx: &mut Transaction<'static, Any>,
        name: &Username,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let used = sqlx::query(
            "UPDATE invites SET used_by = $2 \
             WHERE code_hash = $1 AND used_by IS NULL AND expires > $3",
        )
        .bind(self.hash())
        .bind(name.as_str())
        .bind(seconds(now))
        .execute(&mut **tx)
        .await?;
        if used.rows_affected() == 0 {
            return Err(LoginRefusal::BadInvite.into());
        }
        Ok(())
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever reads the log must not be able to join.
        f.write_str("InviteCode(…)")
    }
}

impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Store {
    /// Makes a code good until it is used or expires, and forgets the expired ones.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn add_invite(
        &self,
        code: &InviteCode,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM invites WHERE used_by IS NULL AND expires <= $1")
            .bind(seconds(now))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO invites (code_hash, expires) VALUES ($1, $2)")
            .bind(code.hash())
            .bind(seconds(expires))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether a code would be taken now. Only [`Store::register`] decides; this one spares the
    /// work of hashing a password for nothing.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn is_invited(&self, code: &InviteCode, now: UnixTime) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT code_hash FROM invites \
             WHERE code_hash = $1 AND used_by IS NULL AND expires > $2",
        )
        .bind(code.hash())
        .bind(seconds(now))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_read_out_over_the_telephone_is_the_same_code() {
        let code = InviteCode::from_random(&[7; 16]);
        let (head, tail) = code.as_str().split_at(6);
        assert_eq!(InviteCode::typed(&format!(" {}-{tail}\n", head.to_uppercase())), code);
    }
}

//! Supernodes by their reports, and the one invitation that may be pending.

use super::{Store, StoreError, damaged, node_id, seconds, time};
use skein_proto::login::LoginRefusal;
use skein_proto::{BoundedVec, NodeId, SupernodeEntry, UnixTime, codec};
use sqlx::Row;
use sqlx::any::AnyRow;

impl Store {
    /// Notes a supernode's report in place of its last one. If it was the invited one, its
    /// invitation is fulfilled.
    ///
    /// # Errors
    /// [`LoginRefusal::NotRegistered`] if the node's credential has run out or was revoked, or the
    /// database's failure.
    pub async fn put_supernode(&self, entry: &SupernodeEntry) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // Changes nothing, but takes the lock of the row: a revocation comes before or after.
        let valid = sqlx::query(
            "UPDATE nodes SET revoked = 0 WHERE node = $1 AND revoked = 0 AND expires > $2",
        )
        .bind(entry.node.as_bytes().to_vec())
        .bind(seconds(entry.seen))
        .execute(&mut *tx)
        .await?;
        if valid.rows_affected() == 0 {
            return Err(LoginRefusal::NotRegistered.into());
        }
        sqlx::query(
            "INSERT INTO supernodes (node, addresses, load_percent, seen) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (node) DO UPDATE SET addresses = excluded.addresses, \
             load_percent = excluded.load_percent, seen = excluded.seen",
        )
        .bind(entry.node.as_bytes().to_vec())
        .bind(codec::encode_statement(&entry.addresses))
        .bind(i64::from(entry.load_percent))
        .bind(seconds(entry.seen))
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM invitation WHERE node = $1")
            .bind(entry.node.as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a supernode that cannot be reached.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn remove_supernode(&self, node: NodeId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM supernodes WHERE node = $1")
            .bind(node.as_bytes().to_vec())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The supernodes that reported at `since` or later, the freshest `limit` of them.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn supernodes_since(
        &self,
        since: UnixTime,
        limit: u32,
    ) -> Result<Vec<SupernodeEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT node, addresses, load_percent, seen FROM supernodes WHERE seen >= $1 \
             ORDER BY seen DESC, node LIMIT $2",
        )
        .bind(seconds(since))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(entry).collect()
    }

    /// Forgets the supernodes that last reported before `before`.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn forget_supernodes(&self, before: UnixTime) -> Result<u64, StoreError> {
        let gone = sqlx::query("DELETE FROM supernodes WHERE seen < $1")
            .bind(seconds(before))
            .execute(&self.pool)
            .await?;
        Ok(gone.rows_affected())
    }

    /// Who was asked to be the first supernode and still has time to report.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn pending_invitation(&self, now: UnixTime) -> Result<Option<NodeId>, StoreError> {
        let row = sqlx::query("SELECT node FROM invitation WHERE id = 1 AND expires > $1")
            .bind(seconds(now))
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| node_id(&row, "node")).transpose()
    }

    /// Invites a node, unless another one's invitation is pending. Of several that ask at once,
    /// at any instance, one gets it.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn claim_invitation(
        &self,
        node: NodeId,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<bool, StoreError> {
        let claimed = sqlx::query(
            "INSERT INTO invitation (id, node, expires) VALUES (1, $1, $2) \
             ON CONFLICT (id) DO UPDATE SET node = excluded.node, expires = excluded.expires \
             WHERE invitation.expires <= $3",
        )
        .bind(node.as_bytes().to_vec())
        .bind(seconds(expires))
        .bind(seconds(now))
        .execute(&self.pool)
        .await?;
        Ok(claimed.rows_affected() == 1)
    }
}

fn entry(row: &AnyRow) -> Result<SupernodeEntry, StoreError> {
    let addresses: Vec<u8> = row.try_get("addresses")?;
    let load: i64 = row.try_get("load_percent")?;
    Ok(SupernodeEntry {
        node: node_id(row, "node")?,
        addresses: codec::decode_statement::<BoundedVec<_, 4>>(&addresses)
            .map_err(|error| damaged(&error.to_string()))?,
        load_percent: u8::try_from(load).unwrap_or(100).min(100),
        seen: time(row, "seen")?,
    })
}

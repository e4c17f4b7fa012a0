//! Names and the nodes that they own.

use super::invites::InviteCode;
use super::{Store, StoreError, node_id, seconds, time, username};
use skein_proto::login::LoginRefusal;
use skein_proto::{NodeId, UnixTime, Username};
use sqlx::{Any, Row, Transaction};
use std::time::Duration;

/// A node that has not renewed for so long after its credential ran out gives its place to a new
/// one of the same name: its key was most likely lost with its disk.
const ABANDONED_AFTER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How many revoked nodes are remembered for each one that a name may have. A forgotten one is
/// unknown, and so gets no credential without the password either.
const REVOKED_KEPT_FACTOR: u32 = 4;

/// A name to be registered, with its first node.
#[derive(Clone, Copy, Debug)]
pub struct NewAccount<'a> {
    /// The name.
    pub name: &'a Username,
    /// The PHC string of its password.
    pub password_hash: &'a str,
    /// Its first node.
    pub node: NodeId,
    /// The invite code to use up, if the policy asks for one.
    pub invite: Option<&'a InviteCode>,
    /// The time.
    pub now: UnixTime,
    /// When the node's credential will expire.
    pub expires: UnixTime,
}

/// What is on record of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Who owns it.
    pub name: Username,
    /// When its newest credential expires.
    pub expires: UnixTime,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl Store {
    /// Registers a name, uses up the invite code and adds the node: all of it or nothing.
    ///
    /// # Errors
    /// [`LoginRefusal::NameTaken`], [`LoginRefusal::BadInvite`], [`LoginRefusal::OtherName`] or
    /// [`LoginRefusal::NodeRevoked`], or the database's failure.
    pub async fn register(&self, new: NewAccount<'_>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // No target: a clash of the name and one of its skeleton are the same refusal.
        let inserted = sqlx::query(
            "INSERT INTO accounts (name, skeleton, password, created, last_seen) \
             VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING",
        )
        .bind(new.name.as_str())
        .bind(new.name.skeleton())
        .bind(new.password_hash)
        .bind(seconds(new.now))
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Err(LoginRefusal::NameTaken.into());
        }
        if let Some(code) = new.invite {
            code.use_up(&mut tx, new.name, new.now).await?;
        }
        insert_node(&mut tx, new.name, new.node, new.now, new.expires).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether the name, or one that looks like it, belongs to somebody.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn is_taken(&self, name: &Username) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT name FROM accounts WHERE skeleton = $1")
            .bind(name.skeleton())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// The PHC string of a name's password.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn password_hash(&self, name: &Username) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT password FROM accounts WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("password")).transpose()?)
    }

    /// When a name was registered.
    ///
    /// # Errors
    /// [`LoginRefusal::NotRegistered`] if it is not, or the database's failure.
    pub async fn registered(&self, name: &Username) -> Result<UnixTime, StoreError> {
        let row = sqlx::query("SELECT created FROM accounts WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await?
            .ok_or(LoginRefusal::NotRegistered)?;
        time(&row, "created")
    }

    /// What is on record of a node.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeRecord>, StoreError> {
        let row = sqlx::query("SELECT name, expires, revoked FROM nodes WHERE node = $1")
            .bind(node.as_bytes().to_vec())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(NodeRecord {
                name: username(&row, "name")?,
                expires: time(&row, "expires")?,
                revoked: time(&row, "revoked")? != UnixTime(0),
            })
        })
        .transpose()
    }

    /// Gives a node to a name whose password was right, or notes a new credential for one that it
    /// has. `limit` is how many a name may have.
    ///
    /// # Errors
    /// [`LoginRefusal::OtherName`], [`LoginRefusal::NodeRevoked`],
    /// [`LoginRefusal::TooManyNodes`], or [`LoginRefusal::WrongPassword`] if the name does not
    /// exist; or the database's failure.
    pub async fn log_in(
        &self,
        name: &Username,
        node: NodeId,
        limit: u32,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        lock_account(&mut tx, name, now).await?;
        if touch_node(&mut tx, name, node, expires).await? {
            tx.commit().await?;
            return Ok(());
        }
        if count_nodes(&mut tx, name).await? >= i64::from(limit) {
            let abandoned = now.0.saturating_sub(ABANDONED_AFTER.as_secs());
            drop_abandoned(&mut tx, name, UnixTime(abandoned)).await?;
            if count_nodes(&mut tx, name).await? >= i64::from(limit) {
                return Err(LoginRefusal::TooManyNodes.into());
            }
        }
        insert_node(&mut tx, name, node, now, expires).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes a new credential for a node that is on record, and says whose it is.
    ///
    /// # Errors
    /// [`LoginRefusal::NotRegistered`] or [`LoginRefusal::NodeRevoked`], or the database's
    /// failure.
    pub async fn renew(&self, node: NodeId, expires: UnixTime) -> Result<Username, StoreError> {
        let mut tx = self.begin().await?;
        // The update comes first, so that a revocation at the same time waits for it or wins.
        let updated = sqlx::query("UPDATE nodes SET expires = $2 WHERE node = $1 AND revoked = 0")
            .bind(node.as_bytes().to_vec())
            .bind(seconds(expires))
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT name FROM nodes WHERE node = $1")
            .bind(node.as_bytes().to_vec())
            .fetch_optional(&mut *tx)
            .await?
            .ok_or(LoginRefusal::NotRegistered)?;
        if updated.rows_affected() == 0 {
            return Err(LoginRefusal::NodeRevoked.into());
        }
        let name = username(&row, "name")?;
        tx.commit().await?;
        Ok(name)
    }

    /// Casts out a node: it gets no more credentials and leaves the list of supernodes at once.
    /// Doing so twice is no error.
    ///
    /// # Errors
    /// [`LoginRefusal::NotRegistered`] if the name has no such node, or the database's failure.
    pub async fn revoke(
        &self,
        name: &Username,
        node: NodeId,
        limit: u32,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        lock_account(&mut tx, name, now).await?;
        let found = sqlx::query("SELECT name FROM nodes WHERE node = $1 AND name = $2")
            .bind(node.as_bytes().to_vec())
            .bind(name.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_none() {
            return Err(LoginRefusal::NotRegistered.into());
        }
        sqlx::query("UPDATE nodes SET revoked = $2 WHERE node = $1 AND revoked = 0")
            .bind(node.as_bytes().to_vec())
            .bind(seconds(now).max(1))
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM supernodes WHERE node = $1")
            .bind(node.as_bytes().to_vec())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM nodes WHERE node IN (SELECT node FROM nodes \
             WHERE name = $1 AND revoked > 0 ORDER BY revoked DESC, node LIMIT 1000 OFFSET $2)",
        )
        .bind(name.as_str())
        .bind(i64::from(limit.saturating_mul(REVOKED_KEPT_FACTOR)))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The nodes of a name that were not revoked, the oldest first.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn nodes_of(&self, name: &Username) -> Result<Vec<NodeId>, StoreError> {
        let rows = sqlx::query(
            "SELECT node FROM nodes WHERE name = $1 AND revoked = 0 ORDER BY added, node",
        )
        .bind(name.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| node_id(row, "node")).collect()
    }
}

/// Takes the lock of the account's row until the transaction ends, in a way that both databases
/// understand: so two logins of one name cannot both take its last place.
async fn lock_account(
    tx: &mut Transaction<'static, Any>,
    name: &Username,
    now: UnixTime,
) -> Result<(), StoreError> {
    let locked = sqlx::query("UPDATE accounts SET last_seen = $2 WHERE name = $1")
        .bind(name.as_str())
        .bind(seconds(now))
        .execute(&mut **tx)
        .await?;
    if locked.rows_affected() == 0 {
        return Err(LoginRefusal::WrongPassword.into());
    }
    Ok(())
}

/// Whether the name has the node already; if so, its new expiry is noted.
async fn touch_node(
    tx: &mut Transaction<'static, Any>,
    name: &Username,
    node: NodeId,
    expires: UnixTime,
) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT name, revoked FROM nodes WHERE node = $1")
        .bind(node.as_bytes().to_vec())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(false);
    };
    refuse_known(&row, name)?;
    sqlx::query("UPDATE nodes SET expires = $2 WHERE node = $1")
        .bind(node.as_bytes().to_vec())
        .bind(seconds(expires))
        .execute(&mut **tx)
        .await?;
    Ok(true)
}

/// Why a node that is on record cannot be given to `name`, if it cannot.
fn refuse_known(row: &sqlx::any::AnyRow, name: &Username) -> Result<(), StoreError> {
    if username(row, "name")? != *name {
        return Err(LoginRefusal::OtherName.into());
    }
    if time(row, "revoked")? != UnixTime(0) {
        return Err(LoginRefusal::NodeRevoked.into());
    }
    Ok(())
}

async fn insert_node(
    tx: &mut Transaction<'static, Any>,
    name: &Username,
    node: NodeId,
    now: UnixTime,
    expires: UnixTime,
) -> Result<(), StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO nodes (node, name, added, expires, revoked) VALUES ($1, $2, $3, $4, 0) \
         ON CONFLICT DO NOTHING",
    )
    .bind(node.as_bytes().to_vec())
    .bind(name.as_str())
    .bind(seconds(now))
    .bind(seconds(expires))
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(LoginRefusal::OtherName.into());
    }
    Ok(())
}

async fn count_nodes(
    tx: &mut Transaction<'static, Any>,
    name: &Username,
) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT COUNT(*) AS nodes FROM nodes WHERE name = $1 AND revoked = 0")
        .bind(name.as_str())
        .fetch_one(&mut **tx)
        .await?;
    Ok(row.try_get("nodes")?)
}

async fn drop_abandoned(
    tx: &mut Transaction<'static, Any>,
    name: &Username,
    before: UnixTime,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM supernodes WHERE node IN \
         (SELECT node FROM nodes WHERE name = $1 AND revoked = 0 AND expires < $2)",
        "DELETE FROM nodes WHERE name = $1 AND revoked = 0 AND expires < $2",
    ] {
        sqlx::query(statement).bind(name.as_str()).bind(seconds(before)).execute(&mut **tx).await?;
    }
    Ok(())
}

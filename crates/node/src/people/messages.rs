//! The history of what was said, and what is queued, on disk.

use crate::api::chat::{ChatLine, ChatState, Conversation};
use crate::services::{Store, StoreError};
use skein_proto::chat::ChatMessage;
use skein_proto::{ChatId, NodeId, UnixTime, Username};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// Messages that wait for one peer: more than anybody writes to somebody who is away. All of them
/// are 1 MiB at most.
pub(super) const MAX_QUEUED: i64 = 256;

/// Messages that wait for all peers together.
pub(super) const MAX_QUEUED_IN_ALL: i64 = 4_096;

/// Unread messages of somebody known; the sender keeps the others until some were read.
pub(super) const MAX_UNREAD: i64 = 1_000;

/// Unread messages of a stranger.
pub(super) const MAX_UNREAD_OF_STRANGER: i64 = 16;

/// Messages of all strangers together, read or not: 1 MiB at most.
pub(super) const MAX_OF_STRANGERS: i64 = 256;

/// Messages that are kept of one conversation: years of it. Older ones are dropped.
const MAX_HISTORY: i64 = 20_000;

/// Before how many messages, in the mean, the older ones of a conversation are looked for again.
/// Chance decides: any counter that conversations share could leave one of them out for ever.
const PRUNE_EVERY: u32 = 64;

/// Messages that are read at a time to be sent.
const BATCH: i64 = 32;

/// A message that has come, and from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) peer: &'a Username,
    pub(super) node: NodeId,
    /// Whether the user knows the peer; strangers have less room.
    pub(super) known: bool,
    pub(super) new_key: bool,
    pub(super) message: &'a ChatMessage,
    pub(super) now: UnixTime,
}

/// What was done with a message that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is on disk now.
    New(ChatLine),
    /// It was on disk already.
    Already,
    /// There is no room for it.
    Full,
}

impl Store {
    /// Puts a message of this user on disk; `None` if too many are queued.
    pub(super) async fn queue_message(
        &self,
        peer: &Username,
        message: &ChatMessage,
    ) -> Result<Option<ChatLine>, StoreError> {
        let mut change = self.pool().begin().await?;
        let counts = sqlx::query(
            "SELECT count(*) AS everybody, coalesce(sum(peer = ?1), 0) AS one FROM messages \
             WHERE state = 'queued'",
        );
        let counts = counts.bind(peer.as_str()).fetch_one(&mut *change).await?;
        let (everybody, one): (i64, i64) = (counts.get("everybody"), counts.get("one"));
        if one >= MAX_QUEUED || everybody >= MAX_QUEUED_IN_ALL {
            return Ok(None);
        }
        let line = ChatLine {
            number: 0,
            peer: peer.clone(),
            outgoing: true,
            id: message.id,
            text: message.text.as_str().to_owned(),
            sent: message.sent.0,
            state: ChatState::Queued,
            since: message.sent.0,
            node: None,
            new_key: false,
        };
        let line = insert(&mut change, line, false).await?;
        change.commit().await?;
        Ok(Some(line))
    }

    /// Puts a message that has come on disk, once.
    pub(super) async fn keep_message(&self, came: Came<'_>) -> Result<Kept, StoreError> {
        let mut change = self.pool().begin().await?;
        let known = "SELECT 1 FROM messages WHERE peer = ?1 AND outgoing = 0 AND id = ?2";
        let known = sqlx::query(known)
            .bind(came.peer.as_str())
            .bind(came.message.id.as_bytes().as_slice())
            .fetch_optional(&mut *change)
            .await?;
        if known.is_some() {
            return Ok(Kept::Already);
        }
        let unread = "SELECT count(*) FROM messages WHERE state = 'unread' AND peer = ?1";
        let unread: i64 =
            sqlx::query_scalar(unread).bind(came.peer.as_str()).fetch_one(&mut *change).await?;
        let room = if came.known { MAX_UNREAD } else { MAX_UNREAD_OF_STRANGER };
        if unread >= room || (!came.known && !room_for_stranger(&mut change).await?) {
            return Ok(Kept::Full);
        }
        let line = ChatLine {
            number: 0,
            peer: came.peer.clone(),
            outgoing: false,
            id: came.message.id,
            text: came.message.text.as_str().to_owned(),
            sent: came.message.sent.0,
            state: ChatState::Unread,
            since: came.now.0,
            node: Some(came.node),
            new_key: came.new_key,
        };
        let line = insert(&mut change, line, !came.known).await?;
        change.commit().await?;
        Ok(Kept::New(line))
    }

    /// Says what has become of a queued message; `None` if it is not queued any more.
    pub(super) async fn settle_message(
        &self,
        number: u64,
        state: ChatState,
        node: NodeId,
        now: UnixTime,
    ) -> Result<Option<ChatLine>, StoreError> {
        let settled = "UPDATE messages SET state = ?1, since = ?2, node = ?3 \
                       WHERE number = ?4 AND state = 'queued' RETURNING *";
        let row = sqlx::query(settled)
            .bind(word(state))
            .bind(signed(now.0))
            .bind(node.as_bytes().as_slice())
            .bind(signed(number))
            .fetch_optional(self.pool())
            .await?;
        Ok(row.as_ref().and_then(line))
    }

    /// The next messages for a peer, in the order in which they were written.
    pub(super) async fn queued_for(&self, peer: &Username) -> Result<Vec<ChatLine>, StoreError> {
        let queued = "SELECT * FROM messages WHERE state = 'queued' AND peer = ?1 \
                      ORDER BY number LIMIT ?2";
        let rows = sqlx::query(queued).bind(peer.as_str()).bind(BATCH);
        Ok(rows.fetch_all(self.pool()).await?.iter().filter_map(line).collect())
    }

    /// Whether a message is still queued.
    pub(super) async fn is_queued(&self, number: u64) -> Result<bool, StoreError> {
        let queued = "SELECT count(*) FROM messages WHERE number = ?1 AND state = 'queued'";
        let queued: i64 =
            sqlx::query_scalar(queued).bind(signed(number)).fetch_one(self.pool()).await?;
        Ok(queued > 0)
    }

    /// Those for whom something is queued.
    pub(super) async fn awaited(&self) -> Result<Vec<Username>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT peer FROM messages WHERE state = 'queued'")
                .fetch_all(self.pool())
                .await?;
        Ok(names.iter().filter_map(|name| Username::parse(name).ok()).collect())
    }

    /// How many messages are queued, and how many unread.
    pub(super) async fn open_messages(&self) -> Result<(u64, u64), StoreError> {
        let counts = sqlx::query(
            "SELECT coalesce(sum(state = 'queued'), 0) AS queued, \
             coalesce(sum(state = 'unread'), 0) AS unread \
             FROM messages WHERE state IN ('queued', 'unread')",
        );
        let counts = counts.fetch_one(self.pool()).await?;
        Ok((unsigned(counts.get("queued")), unsigned(counts.get("unread"))))
    }

    /// How many messages are queued for one, and how many of them unread.
    pub(super) async fn open_with(&self, peer: &Username) -> Result<(u64, u64), StoreError> {
        let counts = sqlx::query(
            "SELECT coalesce(sum(state = 'queued'), 0) AS queued, \
             coalesce(sum(state = 'unread'), 0) AS unread \
             FROM messages WHERE state IN ('queued', 'unread') AND peer = ?1",
        );
        let counts = counts.bind(peer.as_str()).fetch_one(self.pool()).await?;
        Ok((unsigned(counts.get("queued")), unsigned(counts.get("unread"))))
    }

    /// Deletes what is queued for somebody.
    pub(super) async fn drop_queued(&self, peer: &Username) -> Result<(), StoreError> {
        let gone = sqlx::query("DELETE FROM messages WHERE state = 'queued' AND peer = ?1");
        gone.bind(peer.as_str()).execute(self.pool()).await?;
        Ok(())
    }

    /// The last messages of a conversation that are newer than `after`, the oldest first.
    pub(super) async fn history(
        &self,
        peer: &Username,
        last: u32,
        after: u64,
    ) -> Result<Vec<ChatLine>, StoreError> {
        let history = "SELECT * FROM messages WHERE peer = ?1 AND number > ?2 \
                       ORDER BY number DESC LIMIT ?3";
        let rows = sqlx::query(history)
            .bind(peer.as_str())
            .bind(signed(after))
            .bind(last)
            .fetch_all(self.pool())
            .await?;
        Ok(rows.iter().rev().filter_map(line).collect())
    }

    /// What was not read, of one or of all, the oldest first; no more than `most`.
    pub(super) async fn unread(
        &self,
        from: Option<&Username>,
        most: u32,
    ) -> Result<Vec<ChatLine>, StoreError> {
        let unread = "SELECT * FROM messages WHERE state = 'unread' \
                      AND (?1 IS NULL OR peer = ?1) ORDER BY number LIMIT ?2";
        let rows = sqlx::query(unread)
            .bind(from.map(Username::as_str))
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        Ok(rows.iter().filter_map(line).collect())
    }

    /// The user has seen what this peer said, up to that number.
    pub(super) async fn mark_read(
        &self,
        peer: &Username,
        up_to: u64,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let read = "UPDATE messages SET state = 'read', since = ?1 \
                    WHERE state = 'unread' AND peer = ?2 AND number <= ?3";
        sqlx::query(read)
            .bind(signed(now.0))
            .bind(peer.as_str())
            .bind(signed(up_to))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// All conversations, the latest first.
    pub(super) async fn conversations(&self) -> Result<Vec<Conversation>, StoreError> {
        let all = "SELECT *, \
             (SELECT count(*) FROM messages o WHERE state = 'unread' AND o.peer = m.peer) AS unread, \
             (SELECT count(*) FROM messages o WHERE state = 'queued' AND o.peer = m.peer) AS queued \
             FROM messages m \
             WHERE number IN (SELECT max(number) FROM messages GROUP BY peer) ORDER BY number DESC";
        let rows = sqlx::query(all).fetch_all(self.pool()).await?;
        let conversation = |row: &SqliteRow| {
            let last = line(row)?;
            Some(Conversation {
                peer: last.peer.clone(),
                unread: unsigned(row.get("unread")),
                queued: unsigned(row.get("queued")),
                waiting: None,
                last,
            })
        };
        Ok(rows.iter().filter_map(conversation).collect())
    }

    /// Deletes a conversation; false if there is none.
    pub(super) async fn forget_conversation(&self, peer: &Username) -> Result<bool, StoreError> {
        let gone = sqlx::query("DELETE FROM messages WHERE peer = ?1");
        Ok(gone.bind(peer.as_str()).execute(self.pool()).await?.rows_affected() > 0)
    }
}

/// Whether there is room for one more message of strangers, if need be in place of the oldest one
/// that was read.
async fn room_for_stranger(change: &mut SqliteConnection) -> Result<bool, StoreError> {
    let count = "SELECT count(*) FROM messages WHERE stranger";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *change).await?;
    if count < MAX_OF_STRANGERS {
        return Ok(true);
    }
    let oldest = "DELETE FROM messages WHERE number = \
                  (SELECT min(number) FROM messages WHERE stranger AND state = 'read')";
    Ok(sqlx::query(oldest).execute(&mut *change).await?.rows_affected() > 0)
}

async fn insert(
    change: &mut SqliteConnection,
    line: ChatLine,
    stranger: bool,
) -> Result<ChatLine, StoreError> {
    let insert = "INSERT INTO messages \
                  (peer, outgoing, id, body, sent, state, since, node, new_key, stranger) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let number = sqlx::query(insert)
        .bind(line.peer.as_str())
        .bind(line.outgoing)
        .bind(line.id.as_bytes().as_slice())
        .bind(&line.text)
        .bind(signed(line.sent))
        .bind(word(line.state))
        .bind(signed(line.since))
        .bind(line.node.as_ref().map(|node| node.as_bytes().as_slice()))
        .bind(line.new_key)
        .bind(stranger)
        .execute(&mut *change)
        .await?
        .last_insert_rowid();
    if rand::random_ratio(1, PRUNE_EVERY) {
        let prune = "DELETE FROM messages WHERE peer = ?1 AND state NOT IN ('queued', 'unread') \
                     AND number <= (SELECT number FROM messages WHERE peer = ?1 \
                     ORDER BY number DESC LIMIT 1 OFFSET ?2)";
        sqlx::query(prune).bind(line.peer.as_str()).bind(MAX_HISTORY).execute(&mut *change).await?;
    }
    Ok(ChatLine { number: unsigned(number), ..line })
}

const fn word(state: ChatState) -> &'static str {
    match state {
        ChatState::Queued => "queued",
        ChatState::Delivered => "delivered",
        ChatState::Refused => "refused",
        ChatState::Unread => "unread",
        ChatState::Read => "read",
    }
}

/// A row as it was written; one that somebody has damaged is none.
fn line(row: &SqliteRow) -> Option<ChatLine> {
    let state = match row.get("state") {
        "queued" => ChatState::Queued,
        "delivered" => ChatState::Delivered,
        "refused" => ChatState::Refused,
        "unread" => ChatState::Unread,
        "read" => ChatState::Read,
        _ => return None,
    };
    let node: Option<Vec<u8>> = row.get("node");
    Some(ChatLine {
        number: unsigned(row.get("number")),
        peer: Username::parse(row.get("peer")).ok()?,
        outgoing: row.get("outgoing"),
        id: ChatId::from_bytes(row.get::<Vec<u8>, _>("id").try_into().ok()?),
        text: row.get("body"),
        sent: unsigned(row.get("sent")),
        state,
        since: unsigned(row.get("since")),
        node: node.and_then(|node| Some(NodeId::from_bytes(node.try_into().ok()?))),
        new_key: row.get("new_key"),
    })
}

/// As SQLite keeps numbers; a time that a peer claims may be any.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

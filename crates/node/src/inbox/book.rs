//! All offers of this node: in memory, on disk, and told to those who watch.

use super::grants::OfferGrants;
use super::offer::Offer;
use crate::api::inbox::{FileOffer, OfferStage};
use crate::services::{Store, StoreError};
use skein_proto::id::OfferId;
use skein_proto::{ContentId, NodeId, UnixTime, Username};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast};

/// Offers that are over and still listed, each way. The oldest ones are forgotten first.
const MAX_OVER: usize = 200;

/// Changes that a slow listener may lag behind before it misses some.
const CHANGES_KEPT: usize = 256;

/// Names whose files are accepted without a question.
const MAX_ALWAYS: i64 = 1_000;

/// The offers. What is changed is on disk before anybody hears of it.
pub(super) struct Book {
    store: Store,
    grants: Arc<OfferGrants>,
    offers: Mutex<BTreeMap<u64, Offer>>,
    changes: broadcast::Sender<FileOffer>,
}

impl Book {
    /// Reads what is kept.
    pub async fn open(store: Store, grants: Arc<OfferGrants>) -> Result<Self, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM file_offers ORDER BY id").fetch_all(store.pool()).await?;
        let offers: BTreeMap<u64, Offer> =
            rows.iter().filter_map(read).map(|offer| (offer.id, offer)).collect();
        grants.set(offers.values());
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        Ok(Self { store, grants, offers: Mutex::new(offers), changes })
    }

    /// All of them, by their numbers.
    pub async fn all(&self) -> Vec<Offer> {
        self.offers.lock().await.values().cloned().collect()
    }

    pub async fn get(&self, id: u64) -> Option<Offer> {
        self.offers.lock().await.get(&id).cloned()
    }

    /// The one that a peer speaks of.
    pub async fn find(&self, outgoing: bool, peer: &Username, offer: OfferId) -> Option<Offer> {
        let offers = self.offers.lock().await;
        let is_it = |known: &&Offer| {
            known.outgoing == outgoing && known.peer == *peer && known.offer == offer
        };
        offers.values().find(is_it).cloned()
    }

    /// Every change from now on, and how all stand now.
    pub async fn watch(&self) -> (Vec<FileOffer>, broadcast::Receiver<FileOffer>) {
        let offers = self.offers.lock().await;
        (offers.values().map(Offer::shown).collect(), self.changes.subscribe())
    }

    /// Enters a new one, if `fits` says so of those that are there; it gets a number.
    pub async fn add(
        &self,
        mut offer: Offer,
        fits: impl FnOnce(&BTreeMap<u64, Offer>) -> bool,
    ) -> Result<Option<Offer>, StoreError> {
        let mut offers = self.offers.lock().await;
        if !fits(&offers) {
            return Ok(None);
        }
        offer.id = offers.keys().next_back().map_or(1, |last| last + 1);
        self.save(&offer).await?;
        offers.insert(offer.id, offer.clone());
        self.forget_oldest(&mut offers, offer.outgoing).await?;
        self.tell(&offers, &offer);
        Ok(Some(offer))
    }

    /// Changes one; nothing happens if `change` answers that nothing did. Answers how it is then.
    pub async fn change(
        &self,
        id: u64,
        change: impl FnOnce(&mut Offer) -> bool,
    ) -> Result<Option<Offer>, StoreError> {
        let mut offers = self.offers.lock().await;
        let Some(known) = offers.get(&id) else { return Ok(None) };
        let mut changed = known.clone();
        if change(&mut changed) {
            self.save(&changed).await?;
            offers.insert(id, changed.clone());
            self.tell(&offers, &changed);
        }
        Ok(Some(changed))
    }

    /// So many bytes of it are there. That is shown, and not kept.
    pub async fn progress(&self, id: u64, bytes: u64) {
        let mut offers = self.offers.lock().await;
        if let Some(offer) = offers.get_mut(&id)
            && offer.bytes != bytes
            && !offer.stage.is_final()
        {
            offer.bytes = bytes;
            let _ = self.changes.send(offer.shown());
        }
    }

    /// It goes on later, and this is why. That is shown, and not kept.
    pub async fn waits(&self, id: u64, why: String) {
        let mut offers = self.offers.lock().await;
        if let Some(offer) = offers.get_mut(&id)
            && offer.waits.as_ref() != Some(&why)
        {
            offer.waits = Some(why);
            let _ = self.changes.send(offer.shown());
        }
    }

    fn tell(&self, offers: &BTreeMap<u64, Offer>, changed: &Offer) {
        self.grants.set(offers.values());
        if let (true, true, Some(content)) =
            (changed.outgoing, changed.stage.is_final(), &changed.content)
        {
            let same = |other: &Offer| other.outgoing && other.content.as_ref() == Some(content);
            let may_go_on = |other: &Offer| {
                !other.stage.is_final() || matches!(other.stage, OfferStage::Failed { .. })
            };
            if !offers.values().any(|other| same(other) && may_go_on(other)) {
                // A hash tree that stays costs nothing but room.
                let _ = std::fs::remove_file(self.grants.outboard(content));
            }
        }
        // Nobody may be listening.
        let _ = self.changes.send(changed.shown());
    }

    async fn forget_oldest(
        &self,
        offers: &mut BTreeMap<u64, Offer>,
        outgoing: bool,
    ) -> Result<(), StoreError> {
        let over = |offer: &&Offer| offer.outgoing == outgoing && offer.stage.is_final();
        let ids: Vec<u64> = offers.values().filter(over).map(|offer| offer.id).collect();
        for id in ids.iter().take(ids.len().saturating_sub(MAX_OVER)) {
            sqlx::query("DELETE FROM file_offers WHERE id = ?1")
                .bind(as_signed(*id))
                .execute(self.store.pool())
                .await?;
            offers.remove(id);
        }
        Ok(())
    }

    async fn save(&self, offer: &Offer) -> Result<(), StoreError> {
        let state = serde_json::to_string(&offer.stage).unwrap_or_default();
        sqlx::query(
            "INSERT OR REPLACE INTO file_offers (id, offer, outgoing, peer, node, name, size, \
             content, note, path, modified, state, bytes, told, since, expires) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )
        .bind(as_signed(offer.id))
        .bind(offer.offer.as_bytes().as_slice())
        .bind(offer.outgoing)
        .bind(offer.peer.as_str())
        .bind(offer.node.map(|node| node.as_bytes().to_vec()))
        .bind(&offer.name)
        .bind(as_signed(offer.size))
        .bind(offer.content.map(|content| content.as_bytes().to_vec()))
        .bind(&offer.note)
        .bind(offer.path.as_ref().map(|path| path.to_string_lossy().into_owned()))
        .bind(offer.modified)
        .bind(state)
        .bind(as_signed(offer.bytes))
        .bind(offer.told)
        .bind(as_signed(offer.since.0))
        .bind(as_signed(offer.expires.0))
        .execute(self.store.pool())
        .await?;
        Ok(())
    }

    /// Whose files are accepted without a question.
    pub async fn always(&self) -> Result<Vec<Username>, StoreError> {
        let rows = sqlx::query("SELECT user FROM inbox_always ORDER BY user");
        let rows = rows.fetch_all(self.store.pool()).await?;
        Ok(rows.iter().filter_map(|row| Username::parse(row.get("user")).ok()).collect())
    }

    /// Accepts the files of this name without a question, from now on. False if there are as many
    /// names as may be.
    pub async fn add_always(&self, name: &Username) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox_always WHERE user != ?1")
            .bind(name.as_str())
            .fetch_one(self.store.pool())
            .await?;
        if count >= MAX_ALWAYS {
            return Ok(false);
        }
        let add = sqlx::query("INSERT OR IGNORE INTO inbox_always (user) VALUES (?1)");
        add.bind(name.as_str()).execute(self.store.pool()).await?;
        Ok(true)
    }

    /// Asks again before files of this name are fetched; false if that was so already.
    pub async fn remove_always(&self, name: &Username) -> Result<bool, StoreError> {
        let remove = sqlx::query("DELETE FROM inbox_always WHERE user = ?1");
        Ok(remove.bind(name.as_str()).execute(self.store.pool()).await?.rows_affected() > 0)
    }
}

/// What SQLite can hold; nothing here comes near the limit.
fn as_signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn as_unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An offer as it was written; one that somebody has damaged is none.
fn read(row: &SqliteRow) -> Option<Offer> {
    let bytes = |column: &str| row.get::<Option<Vec<u8>>, _>(column);
    let node = bytes("node").and_then(|bytes| bytes.try_into().ok());
    let content = bytes("content").and_then(|bytes| bytes.try_into().ok());
    Some(Offer {
        id: as_unsigned(row.get("id")),
        offer: OfferId::from_bytes(bytes("offer")?.try_into().ok()?),
        outgoing: row.get("outgoing"),
        peer: Username::parse(row.get("peer")).ok()?,
        node: node.map(NodeId::from_bytes),
        name: row.get("name"),
        size: as_unsigned(row.get("size")),
        content: content.map(ContentId::from_bytes),
        note: row.get("note"),
        path: row.get::<Option<String>, _>("path").map(PathBuf::from),
        modified: row.get("modified"),
        stage: serde_json::from_str(row.get("state")).ok()?,
        bytes: as_unsigned(row.get("bytes")),
        told: row.get("told"),
        waits: None,
        since: UnixTime(as_unsigned(row.get("since"))),
        expires: UnixTime(as_unsigned(row.get("expires"))),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::offer::tests::offer;
    use super::*;
    use crate::home::Home;
    use tempfile::TempDir;

    async fn book(temp: &TempDir) -> Book {
        let store = Store::open(&Home::open(temp.path()).unwrap()).await.unwrap();
        let (grants, _) = OfferGrants::new(temp.path().to_owned());
        Book::open(store, Arc::new(grants)).await.unwrap()
    }

    #[tokio::test]
    async fn offers_are_there_after_a_restart_as_they_were() {
        let temp = tempfile::tempdir().unwrap();
        let before = book(&temp).await;
        let reason = "no room".to_owned();
        for stage in [OfferStage::Offered, OfferStage::Failed { reason }] {
            let number = if stage == OfferStage::Offered { 1 } else { 2 };
            let path = Some(PathBuf::from("/music"));
            let new = Offer { path, modified: Some(-5), ..offer(number, false, stage) };
            assert!(before.add(new, |_| true).await.unwrap().is_some());
        }
        let changed = before.change(1, |offer| {
            offer.stage = OfferStage::Accepted;
            true
        });
        assert_eq!(changed.await.unwrap().unwrap().stage, OfferStage::Accepted);
        let kept = before.all().await;
        drop(before);
        let after = book(&temp).await;
        assert_eq!(after.all().await, kept);
        assert!(after.find(false, &kept[0].peer, kept[0].offer).await.is_some());
        assert!(after.find(true, &kept[0].peer, kept[0].offer).await.is_none());
    }

    #[tokio::test]
    async fn what_is_over_makes_room_and_what_is_open_stays() {
        let temp = tempfile::tempdir().unwrap();
        let book = book(&temp).await;
        assert!(book.add(offer(255, true, OfferStage::Offered), |_| true).await.unwrap().is_some());
        for number in 0..=u8::try_from(MAX_OVER).unwrap() {
            let over = offer(number, true, OfferStage::Refused);
            assert!(book.add(over, |_| true).await.unwrap().is_some());
        }
        let all = book.all().await;
        assert_eq!(all.len(), MAX_OVER + 1);
        assert_eq!(all[0].stage, OfferStage::Offered);
        let refused = book.add(offer(254, true, OfferStage::Offered), |known| known.len() < 5);
        assert!(refused.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn those_who_are_always_accepted_are_remembered_until_they_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let book = book(&temp).await;
        let alice = Username::parse("alice").unwrap();
        assert!(book.add_always(&alice).await.unwrap());
        assert!(book.add_always(&alice).await.unwrap(), "once more changes nothing");
        assert_eq!(book.always().await.unwrap(), std::slice::from_ref(&alice));
        assert!(book.remove_always(&alice).await.unwrap());
        assert!(!book.remove_always(&alice).await.unwrap());
    }
}

//! All offers of this node: in memory, on disk, and told to those who watch.

use super::grants::OfferGrants;
use super::offer::Offer;
use crate::api::inbox::{FileOffer, OfferStage};
use crate::services::{Store, StoreError};
use skein_proto::id::OfferId;
use skein_proto::{ContentId, NodeId, UnixTime, Username};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast};

/// Offers that are over and still listed, each way. Of the name that has the most of them the
/// oldest is forgotten first.
const MAX_OVER: usize = 200;

/// With so many, also those are forgotten whose end the other side has not heard of. A peer that is
/// away for a week is not told any more, so that a list that long is somebody's intention.
const MAX_UNTOLD: usize = 1_000;

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
        let sent = offers.values().filter(|offer| offer.outgoing && offer.may_expire());
        let named: HashSet<ContentId> = sent.filter_map(|offer| offer.content).collect();
        let clearing = Arc::clone(&grants);
        // A panic in there has been reported by the runtime.
        let _ = tokio::task::spawn_blocking(move || clearing.clear_outbox(&named)).await;
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
        while let Some(id) = to_forget(offers, outgoing) {
            sqlx::query("DELETE FROM file_offers WHERE id = ?1")
                .bind(as_signed(id))
                .execute(self.store.pool())
                .await?;
            offers.remove(&id);
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
        .bind(offer.path.as_deref().map(as_bytes))
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

    /// See [`super::Inbox::keep_nothing_more`].
    #[cfg(test)]
    pub async fn keep_nothing_more(&self) {
        for statement in [
            "CREATE TABLE tries (number INTEGER)",
            "CREATE TRIGGER fails BEFORE INSERT ON file_offers WHEN NEW.content IS NOT NULL \
             BEGIN INSERT INTO tries VALUES (1); SELECT RAISE(FAIL, 'the disk is full'); END",
        ] {
            sqlx::query(statement).execute(self.store.pool()).await.expect("it is sound");
        }
    }

    /// See [`super::Inbox::failed_to_keep`].
    #[cfg(test)]
    pub async fn failed_to_keep(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM tries");
        count.fetch_one(self.store.pool()).await.expect("there is such a table")
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

/// Which offer that is over is to be forgotten next, if there are too many.
fn to_forget(offers: &BTreeMap<u64, Offer>, outgoing: bool) -> Option<u64> {
    let over = || offers.values().filter(|it| it.outgoing == outgoing && it.stage.is_final());
    let count = over().count();
    if count <= MAX_OVER {
        return None;
    }
    let mut of_names: BTreeMap<&Username, (usize, u64)> = BTreeMap::new();
    for offer in over().filter(|offer| offer.told) {
        of_names.entry(&offer.peer).or_insert((0, offer.id)).0 += 1;
    }
    let most = of_names.into_values().max_by_key(|(count, _)| *count).map(|(_, oldest)| oldest);
    most.or_else(|| over().next().filter(|_| count > MAX_UNTOLD).map(|offer| offer.id))
}

/// A path as the system has it, which need not be text.
#[cfg(unix)]
fn as_bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn as_path(bytes: Vec<u8>) -> PathBuf {
    <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn as_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn as_path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
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
        path: bytes("path").map(as_path),
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
        let (grants, _) = OfferGrants::new(temp.path().join("outbox"));
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
            let over = Offer { told: true, ..offer(number, true, OfferStage::Refused) };
            assert!(book.add(over, |_| true).await.unwrap().is_some());
        }
        let all = book.all().await;
        assert_eq!(all.len(), MAX_OVER + 1);
        assert_eq!(all[0].stage, OfferStage::Offered);
        let refused = book.add(offer(254, true, OfferStage::Offered), |known| known.len() < 5);
        assert!(refused.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_the_other_side_does_not_know_yet_is_not_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let book = book(&temp).await;
        let untold = offer(255, false, OfferStage::Refused);
        assert!(book.add(untold, |_| true).await.unwrap().is_some());
        for number in 0..=u8::try_from(MAX_OVER).unwrap() {
            let over = Offer { told: true, ..offer(number, false, OfferStage::Done) };
            assert!(book.add(over, |_| true).await.unwrap().is_some());
        }
        assert_eq!(book.all().await[0].stage, OfferStage::Refused);
    }

    #[tokio::test]
    async fn who_offers_much_has_their_own_offers_forgotten_first() {
        let temp = tempfile::tempdir().unwrap();
        let book = book(&temp).await;
        let over = |number, name: &str| Offer {
            told: true,
            peer: Username::parse(name).unwrap(),
            ..offer(number, false, OfferStage::Done)
        };
        for number in 0..10 {
            assert!(book.add(over(number, "carol"), |_| true).await.unwrap().is_some());
        }
        for number in 0..=u8::MAX {
            assert!(book.add(over(number, "mallory"), |_| true).await.unwrap().is_some());
        }
        let all = book.all().await;
        assert_eq!(all.len(), MAX_OVER);
        assert_eq!(all.iter().filter(|offer| offer.peer.as_str() == "carol").count(), 10);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_may_have_a_name_that_is_no_text() {
        use std::os::unix::ffi::OsStringExt;
        let temp = tempfile::tempdir().unwrap();
        let before = book(&temp).await;
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/music/\xff\xfe".to_vec()));
        let new = Offer { path: Some(path.clone()), ..offer(1, true, OfferStage::Offered) };
        assert!(before.add(new, |_| true).await.unwrap().is_some());
        drop(before);
        let all = book(&temp).await.all().await;
        assert_eq!(all[0].path.as_ref(), Some(&path));
        assert!(serde_json::to_string(&all[0].shown()).is_ok(), "it can be listed");
    }

    #[tokio::test]
    async fn what_a_crash_left_in_the_outbox_is_cleared_away() {
        let temp = tempfile::tempdir().unwrap();
        let before = book(&temp).await;
        let open = offer(1, true, OfferStage::Offered);
        let (kept, stray) = (open.content.unwrap(), ContentId::from_bytes([9; 32]));
        let open = Offer { expires: UnixTime(u64::MAX), ..open };
        assert!(before.add(open, |_| true).await.unwrap().is_some());
        drop(before);
        let outbox = temp.path().join("outbox");
        std::fs::create_dir_all(&outbox).unwrap();
        for name in [format!("{kept}.obao4"), format!("{stray}.obao4"), ".tmpA1b2C3".to_owned()] {
            std::fs::write(outbox.join(name), "tree").unwrap();
        }
        let _after = book(&temp).await;
        let left: Vec<_> = std::fs::read_dir(&outbox)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, [format!("{kept}.obao4")]);
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

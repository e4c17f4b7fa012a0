//! What the user wishes for: kept on disk with what came of it, so that nothing is told twice.

use super::driver::Driver;
use super::search::{SearchError, query_of};
use crate::api::types::{
    AddWish, ApiError, ContentHit, DaemonEvent, ErrorCode, Source, StartSearch, Wish,
};
use crate::home::files::{move_aside, read_up_to, write_atomic};
use crate::home::{Home, HomeError};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use skein_overlay::Input;
use skein_proto::{ContentId, HitGroup, QueryId};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc};

/// Wishes of one user, as many as supernodes keep for a name.
const MAX_WISHES: usize = 32;

/// Hits of a wish that are listed; older ones are forgotten.
const MAX_HITS: usize = 100;

/// Contents of a wish that the user was told of, so that they are not told again; as many as the
/// overlay keeps.
const MAX_SEEN: usize = 1_024;

/// The largest file of wishes. All of them with all that is kept of each have some 5 MiB with the
/// usual names; with the longest ones the oldest hits are forgotten sooner.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// Hits that came of wishes, on their way from the driver.
pub(super) type WishHits = (QueryId, Vec<HitGroup>);

/// A wish as it is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    id: QueryId,
    wish: Wish,
    seen: Vec<ContentId>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The number that the last wish was given.
    last: u64,
    wishes: Vec<Record>,
}

/// What the user wishes for.
#[derive(Clone, Debug)]
pub(super) struct WishBook {
    kept: Arc<Mutex<Kept>>,
    /// One write at a time, in the order of the changes.
    writing: Arc<tokio::sync::Mutex<()>>,
    file: PathBuf,
}

impl WishBook {
    /// Reads what was wished for before. What cannot be read is moved aside, and said.
    ///
    /// # Errors
    /// [`HomeError`] if it can neither be read nor be moved: the next wish would overwrite it.
    pub(super) fn open(home: &Home) -> Result<Self, HomeError> {
        let file = home.dir().join("wishes.json");
        let read = read_up_to(&file, MAX_FILE_BYTES as u64).map_err(|error| error.to_string());
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        let kept = read.and_then(|bytes| {
            bytes.map(parse).transpose().map_err(|error: serde_json::Error| error.to_string())
        });
        let kept = match kept {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                let beside = move_aside(&file)?;
                let beside = beside.display();
                tracing::error!(%error, "the wishes cannot be read; they are kept as {beside}");
                Kept::default()
            }
        };
        Ok(Self { kept: Arc::new(Mutex::new(kept)), writing: Arc::default(), file })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is complete in itself, also when a thread panicked after it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands all wishes to the overlay, at the start.
    pub(super) async fn begin(&self, driver: &Driver) {
        let wishes = self.kept().wishes.clone();
        for record in wishes {
            if let Ok(input) = record.input() {
                driver.input(input).await;
            }
        }
    }

    pub(super) async fn list(&self) -> Vec<Wish> {
        // What has come is shown when it is on record.
        let _turn = self.writing.lock().await;
        self.kept().wishes.iter().map(|record| record.wish.clone()).collect()
    }

    /// Wishes for something from now on.
    pub(super) async fn add(&self, driver: &Driver, wish: AddWish) -> Result<Wish, ApiError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let id = QueryId::from_bytes(rand::rng().random());
        let (wish, input) = self
            .change(|kept| {
                if kept.wishes.len() >= MAX_WISHES {
                    let why = format!("there are {MAX_WISHES} wishes: remove one first");
                    return Err(ApiError::new(ErrorCode::Conflict, why));
                }
                let is_it = |known: &&Record| {
                    known.wish.words == wish.words && known.wish.filter == wish.filter
                };
                if let Some(known) = kept.wishes.iter().find(is_it) {
                    let why = format!("that is wish {} already", known.wish.number);
                    return Err(ApiError::new(ErrorCode::Conflict, why));
                }
                kept.last += 1;
                let wish = Wish {
                    number: kept.last,
                    words: wish.words,
                    filter: wish.filter,
                    since: now,
                    hits: Vec::new(),
                };
                let record = Record { id, wish: wish.clone(), seen: Vec::new() };
                let input = record.input()?;
                kept.wishes.push(record);
                Ok((wish, input))
            })
            .await?;
        driver.input(input).await;
        Ok(wish)
    }

    /// Wishes for it no longer.
    pub(super) async fn remove(&self, driver: &Driver, number: u64) -> Result<(), ApiError> {
        let id = self
            .change(|kept| {
                let at = kept.wishes.iter().position(|record| record.wish.number == number);
                let at =
                    at.ok_or_else(|| ApiError::not_found(format!("there is no wish {number}")))?;
                Ok(kept.wishes.remove(at).id)
            })
            .await?;
        driver.input(Input::EndWish { id }).await;
        Ok(())
    }

    /// Changes the wishes as soon as the change is on disk; else they stay what they are.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Kept) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let _turn = self.writing.lock().await;
        let mut next = self.kept().clone();
        let changed = change(&mut next)?;
        self.write(&mut next).await?;
        *self.kept() = next;
        Ok(changed)
    }

    /// Puts on record what comes of the wishes, and tells it.
    pub(super) async fn keep(
        self,
        mut hits: mpsc::Receiver<WishHits>,
        events: broadcast::Sender<DaemonEvent>,
    ) {
        while let Some((id, groups)) = hits.recv().await {
            // On record first: what was told is not told again after a crash.
            let turn = self.writing.lock().await;
            let told = self.kept().note(id, groups);
            if !told.is_empty() {
                let mut next = self.kept().clone();
                // What is told once is not told again, whether the disk takes it or not.
                if let Err(error) = self.write(&mut next).await {
                    tracing::warn!(%error, "what came of a wish is not on record");
                }
                *self.kept() = next;
            }
            drop(turn);
            for event in told {
                // Nobody may be listening.
                let _ = events.send(event);
            }
        }
    }

    /// Writes all of it down; the caller has the turn.
    async fn write(&self, kept: &mut Kept) -> Result<(), ApiError> {
        let json = kept.encode().map_err(|error| ApiError::internal(error.to_string()))?;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || write_atomic(&file, &json)).await;
        match written {
            Ok(written) => Ok(written?),
            Err(error) => Err(ApiError::internal(error.to_string())),
        }
    }
}

impl Kept {
    /// What is written: never more than what is read again. If there is more, the older half of
    /// the hits of each wish is forgotten.
    fn encode(&mut self) -> serde_json::Result<Vec<u8>> {
        loop {
            let json = serde_json::to_vec(self)?;
            if json.len() <= MAX_FILE_BYTES || self.wishes.iter().all(|it| it.wish.hits.is_empty())
            {
                return Ok(json);
            }
            for record in &mut self.wishes {
                let half = record.wish.hits.len().div_ceil(2);
                record.wish.hits.drain(..half);
            }
        }
    }

    /// Takes in what came of a wish, and answers what is new.
    fn note(&mut self, id: QueryId, groups: Vec<HitGroup>) -> Vec<DaemonEvent> {
        let Some(record) = self.wishes.iter_mut().find(|record| record.id == id) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for group in groups {
            let owner = &group.owner;
            let source = Source {
                node: owner.node,
                name: owner.credential.unverified().name.clone(),
                addresses: owner.addresses.to_vec(),
                parent: owner.parent,
            };
            for file in &group.files {
                if record.seen.contains(&file.content) {
                    continue;
                }
                if record.seen.len() >= MAX_SEEN {
                    record.seen.remove(0);
                }
                record.seen.push(file.content);
                let number = record.wish.hits.last().map_or(1, |hit| hit.number.wrapping_add(1));
                let hit = ContentHit {
                    number,
                    content: file.content,
                    name: file.path.file_name().to_owned(),
                    path: file.path.as_str().to_owned(),
                    size: file.size,
                    kind: file.kind,
                    tags: file.tags.clone(),
                    sources: vec![source.clone()],
                };
                if record.wish.hits.len() >= MAX_HITS {
                    record.wish.hits.remove(0);
                }
                record.wish.hits.push(hit.clone());
                told.push(DaemonEvent::WishHit {
                    wish: record.wish.number,
                    words: record.wish.words.clone(),
                    hit: Box::new(hit),
                });
            }
        }
        told
    }
}

impl Record {
    fn input(&self) -> Result<Input, SearchError> {
        let Wish { words, filter, .. } = &self.wish;
        let search =
            StartSearch { words: words.clone(), filter: filter.clone(), ..StartSearch::default() };
        let (query, _) = query_of(search)?;
        let parsed = skein_index::text::ParsedQuery::parse(&query)?;
        if parsed.content().is_none() && parsed.required_keys().next().is_none() {
            return Err(SearchError::Nothing);
        }
        Ok(Input::Wish { id: self.id, query, seen: self.seen.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::Kind;

    /// As much as may be kept, of files with names of so many bytes.
    fn full(name_bytes: usize) -> Kept {
        let id =
            |number: usize| ContentId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let hit = |number: usize| ContentHit {
            number: u32::try_from(number).unwrap(),
            content: id(number),
            name: "n".repeat(name_bytes),
            path: "p".repeat(name_bytes),
            size: 1,
            kind: Kind::Audio,
            tags: None,
            sources: Vec::new(),
        };
        let record = |number: u64| Record {
            id: QueryId::from_bytes([7; 16]),
            wish: Wish {
                number,
                words: "mp3".to_owned(),
                filter: Default::default(),
                since: 1,
                hits: (0..MAX_HITS).map(hit).collect(),
            },
            seen: (0..MAX_SEEN).map(id).collect(),
        };
        let last = MAX_WISHES as u64;
        Kept { last, wishes: (1..=last).map(record).collect() }
    }

    async fn replace(book: &WishBook, by: Kept) -> Result<(), ApiError> {
        let change = |kept: &mut Kept| {
            *kept = by;
            Ok(())
        };
        book.change(change).await
    }

    fn home() -> (tempfile::TempDir, Home) {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path().join("node")).unwrap();
        (temp, home)
    }

    #[tokio::test]
    async fn as_many_wishes_as_may_be_outlive_a_restart_with_all_that_came_of_them() {
        let (_temp, home) = home();
        let book = WishBook::open(&home).unwrap();
        replace(&book, full(200)).await.unwrap();
        let before = book.list().await;
        assert!(std::fs::metadata(&book.file).unwrap().len() > 1024 * 1024);
        let after = WishBook::open(&home).unwrap().list().await;
        assert_eq!(after, before);
        assert!(after.len() == MAX_WISHES && after[0].hits.len() == MAX_HITS);
    }

    #[tokio::test]
    async fn of_more_than_the_file_may_hold_the_oldest_hits_are_forgotten_and_no_wish() {
        let (_temp, home) = home();
        let book = WishBook::open(&home).unwrap();
        replace(&book, full(4_000)).await.unwrap();
        let after = WishBook::open(&home).unwrap().list().await;
        assert_eq!(after.len(), MAX_WISHES);
        let left = &after[0].hits;
        assert!(!left.is_empty() && left.len() < MAX_HITS);
        assert_eq!(left.last().unwrap().number as usize, MAX_HITS - 1);
    }

    #[tokio::test]
    async fn wishes_that_cannot_be_read_are_not_overwritten() {
        let (_temp, home) = home();
        let file = home.dir().join("wishes.json");
        for (number, name) in ["wishes.json.damaged", "wishes.json.damaged-2"].iter().enumerate() {
            let bytes = format!("{{\"last\": {number}");
            std::fs::write(&file, &bytes).unwrap();
            let book = WishBook::open(&home).unwrap();
            replace(&book, full(1)).await.unwrap();
            assert_eq!(std::fs::read_to_string(home.dir().join(name)).unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn what_is_not_on_disk_is_not_changed() {
        let (_temp, home) = home();
        let mut book = WishBook::open(&home).unwrap();
        replace(&book, full(1)).await.unwrap();
        let before = book.list().await;
        book.file = home.dir().join("gone").join("wishes.json");
        replace(&book, Kept::default()).await.unwrap_err();
        assert_eq!(book.list().await, before);
    }
}

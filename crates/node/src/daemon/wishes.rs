//! What the user wishes for: kept on disk with what came of it, so that nothing is told twice.

use super::driver::Driver;
use super::search::{SearchError, query_of};
use crate::api::types::{
    AddWish, ApiError, ContentHit, DaemonEvent, ErrorCode, Source, StartSearch, Wish,
};
use crate::home::Home;
use crate::home::files::{read_small, write_atomic};
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
    /// Reads what was wished for before. What cannot be read is left as it is, and said.
    pub(super) fn open(home: &Home) -> Self {
        let file = home.dir().join("wishes.json");
        let read = read_small(&file).map(|bytes| bytes.unwrap_or_else(|| b"{}".to_vec()));
        let kept = match read {
            Ok(bytes) if bytes == b"{}" => Kept::default(),
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "the wishes cannot be read");
                Kept::default()
            }),
            Err(error) => {
                tracing::warn!(%error, "the wishes cannot be read");
                Kept::default()
            }
        };
        Self { kept: Arc::new(Mutex::new(kept)), writing: Arc::default(), file }
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
        let (record, input) = {
            let mut kept = self.kept();
            if kept.wishes.len() >= MAX_WISHES {
                let why = format!("there are {MAX_WISHES} wishes: remove one first");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            let wish = Wish {
                number: kept.last + 1,
                words: wish.words,
                filter: wish.filter,
                since: now,
                hits: Vec::new(),
            };
            let id = QueryId::from_bytes(rand::rng().random());
            let record = Record { id, wish, seen: Vec::new() };
            let input = record.input()?;
            kept.last += 1;
            kept.wishes.push(record.clone());
            (record, input)
        };
        self.save().await?;
        driver.input(input).await;
        Ok(record.wish)
    }

    /// Wishes for it no longer.
    pub(super) async fn remove(&self, driver: &Driver, number: u64) -> Result<(), ApiError> {
        let id = {
            let mut kept = self.kept();
            let at = kept.wishes.iter().position(|record| record.wish.number == number);
            let at = at.ok_or_else(|| ApiError::not_found(format!("there is no wish {number}")))?;
            kept.wishes.remove(at).id
        };
        self.save().await?;
        driver.input(Input::EndWish { id }).await;
        Ok(())
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
            let told = self.note(id, groups);
            if !told.is_empty()
                && let Err(error) = self.write().await
            {
                tracing::warn!(%error, "what came of a wish is not on record");
            }
            drop(turn);
            for event in told {
                // Nobody may be listening.
                let _ = events.send(event);
            }
        }
    }

    fn note(&self, id: QueryId, groups: Vec<HitGroup>) -> Vec<DaemonEvent> {
        let mut kept = self.kept();
        let Some(record) = kept.wishes.iter_mut().find(|record| record.id == id) else {
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

    async fn save(&self) -> Result<(), ApiError> {
        let _turn = self.writing.lock().await;
        self.write().await
    }

    /// Writes all of it down; the caller has the turn.
    async fn write(&self) -> Result<(), ApiError> {
        let json = serde_json::to_vec(&*self.kept())
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || write_atomic(&file, &json)).await;
        match written {
            Ok(written) => Ok(written?),
            Err(error) => Err(ApiError::internal(error.to_string())),
        }
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

//! Whom the user deals with: buddies with the keys that they are known by, those whom the user has
//! written to, and those who are blocked. All of it is in memory, and on disk before it counts.

use super::admission::Standing;
use super::messages::{signed, unsigned};
use crate::api::types::{ApiError, ErrorCode};
use crate::services::{Store, StoreError};
use skein_proto::{NodeId, UnixTime, Username};
use sqlx::Row;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// People that one user can have dealt with. An entry takes some 200 bytes.
pub(super) const MAX_PEOPLE: usize = 10_000;

/// Buddies. Each is looked up from time to time.
pub(super) const MAX_BUDDIES: usize = 256;

/// Keys of one buddy: a person has a few machines.
pub(super) const MAX_KEYS: usize = 16;

/// Somebody whom the user deals with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// Since when they are a buddy.
    pub(super) buddy_since: Option<UnixTime>,
    pub(super) blocked_since: Option<UnixTime>,
    /// Whether the user has written to them.
    pub(super) written_to: bool,
    /// When they were last seen.
    pub(super) seen: UnixTime,
    /// The nodes that the buddy is known by; none until the first was seen.
    pub(super) keys: Vec<NodeId>,
}

impl Person {
    /// How they stand with the user when they come from this node. A buddy that comes from a node
    /// that it is not known by counts as a stranger.
    pub(super) fn standing(&self, node: &NodeId) -> Standing {
        match self {
            Self { blocked_since: Some(_), .. } => Standing::Blocked,
            Self { buddy_since: Some(_), .. } if self.is_new(node) => Standing::Stranger,
            Self { buddy_since: Some(_), .. } | Self { written_to: true, .. } => Standing::Known,
            _ => Standing::Stranger,
        }
    }

    /// Whether this is a buddy, and not known by that node.
    pub(super) fn is_new(&self, node: &NodeId) -> bool {
        self.buddy_since.is_some() && !self.keys.is_empty() && !self.keys.contains(node)
    }

    fn is_nobody(&self) -> bool {
        self.buddy_since.is_none() && self.blocked_since.is_none() && !self.written_to
    }
}

/// Everybody whom the user deals with.
#[derive(Debug)]
pub(super) struct Roster {
    store: Store,
    people: Mutex<BTreeMap<Username, Person>>,
    /// One change at a time: memory must not get ahead of the disk, nor behind it.
    turn: tokio::sync::Mutex<()>,
}

impl Roster {
    pub(super) async fn open(store: Store) -> Result<Self, StoreError> {
        let people = Mutex::new(store.people().await?);
        Ok(Self { store, people, turn: tokio::sync::Mutex::default() })
    }

    /// Deletes what is queued for those who are blocked: after a crash, or a full disk, between the
    /// two.
    pub(super) async fn drop_for_blocked(&self) -> Result<(), StoreError> {
        for (name, _) in self.all(|person| person.blocked_since.is_some()) {
            self.store.drop_queued(&name).await?;
        }
        Ok(())
    }

    /// Somebody, if the user deals with them.
    pub(super) fn get(&self, name: &Username) -> Option<Person> {
        self.people().get(name).cloned()
    }

    /// All of whom this holds, by name.
    pub(super) fn all(&self, which: impl Fn(&Person) -> bool) -> Vec<(Username, Person)> {
        let people = self.people();
        let which = people.iter().filter(|(_, person)| which(person));
        which.map(|(name, person)| (name.clone(), person.clone())).collect()
    }

    /// How somebody stands with the user.
    pub(super) fn standing(&self, name: &Username, node: &NodeId) -> Standing {
        self.people().get(name).map_or(Standing::Stranger, |person| person.standing(node))
    }

    /// Changes what is known of somebody. `change` says no by an error.
    pub(super) async fn change<T>(
        &self,
        name: &Username,
        change: impl FnOnce(&mut Person) -> Result<T, ApiError> + Send,
    ) -> Result<T, ApiError> {
        let _turn = self.turn.lock().await;
        let before = self.get(name).unwrap_or_default();
        let mut person = before.clone();
        let outcome = change(&mut person)?;
        if person == before {
            return Ok(outcome);
        }
        {
            let people = self.people();
            if people.len() >= MAX_PEOPLE && !people.contains_key(name) {
                let why = format!("{MAX_PEOPLE} people are on record: remove some first");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            let buddies = people.values().filter(|person| person.buddy_since.is_some()).count();
            let is_one_more = person.buddy_since.is_some() && before.buddy_since.is_none();
            if is_one_more && buddies >= MAX_BUDDIES {
                let why = format!("you have {MAX_BUDDIES} buddies: remove one first");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
        }
        self.store.save_person(name, &person).await?;
        let mut people = self.people();
        match person.is_nobody() {
            true => people.remove(name),
            false => people.insert(name.clone(), person),
        };
        Ok(outcome)
    }

    fn people(&self) -> std::sync::MutexGuard<'_, BTreeMap<Username, Person>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    async fn people(&self) -> Result<BTreeMap<Username, Person>, StoreError> {
        let mut people = BTreeMap::new();
        let rows = sqlx::query("SELECT * FROM people").fetch_all(self.pool()).await?;
        for row in rows {
            let Ok(name) = Username::parse(row.get("name")) else { continue };
            let time = |column| row.get::<Option<i64>, _>(column).map(|at| UnixTime(unsigned(at)));
            let person = Person {
                buddy_since: time("buddy_since"),
                blocked_since: time("blocked_since"),
                written_to: row.get("written_to"),
                seen: time("seen").unwrap_or_default(),
                keys: Vec::new(),
            };
            people.insert(name, person);
        }
        let rows = sqlx::query("SELECT name, node FROM person_keys ORDER BY place");
        for row in rows.fetch_all(self.pool()).await? {
            let name = Username::parse(row.get("name")).ok();
            let node = <[u8; 32]>::try_from(row.get::<Vec<u8>, _>("node")).ok();
            let person = name.and_then(|name| people.get_mut(&name));
            if let (Some(person), Some(node)) = (person, node) {
                person.keys.push(NodeId::from_bytes(node));
            }
        }
        Ok(people)
    }

    async fn save_person(&self, name: &Username, person: &Person) -> Result<(), StoreError> {
        let mut change = self.pool().begin().await?;
        let time = |at: Option<UnixTime>| at.map(|at| signed(at.0));
        sqlx::query("DELETE FROM people WHERE name = ?1")
            .bind(name.as_str())
            .execute(&mut *change)
            .await?;
        if !person.is_nobody() {
            let insert = "INSERT INTO people (name, buddy_since, blocked_since, written_to, seen) \
                          VALUES (?1, ?2, ?3, ?4, ?5)";
            sqlx::query(insert)
                .bind(name.as_str())
                .bind(time(person.buddy_since))
                .bind(time(person.blocked_since))
                .bind(person.written_to)
                .bind(signed(person.seen.0))
                .execute(&mut *change)
                .await?;
        }
        for (place, node) in person.keys.iter().enumerate() {
            let insert = "INSERT INTO person_keys (name, node, place) VALUES (?1, ?2, ?3)";
            sqlx::query(insert)
                .bind(name.as_str())
                .bind(node.as_bytes().as_slice())
                .bind(i64::try_from(place).unwrap_or(i64::MAX))
                .execute(&mut *change)
                .await?;
        }
        if person.written_to || person.buddy_since.is_some() {
            // What somebody said before the user knew them takes no room of strangers any more.
            let known = "UPDATE messages SET stranger = 0 \
                         WHERE stranger AND peer = ?1 AND (NOT new_key OR node IN \
                         (SELECT node FROM person_keys WHERE name = ?1))";
            sqlx::query(known).bind(name.as_str()).execute(&mut *change).await?;
        }
        Ok(change.commit().await?)
    }
}

//! Chat between people, and whom the user of this node deals with.
//!
//! ```text
//!   inbox      what others say ──▶ admission, roster ──▶ messages (disk) ──▶ "kept"
//!   outbox     what the user says ──▶ messages (disk) ──▶ retry ──▶ a session with the peer
//!   roster     buddies with their keys, those written to, those blocked
//!   presence   whether buddies are there: looks, the directory, sessions
//! ```
//!
//! Who a peer is follows from the credential that it showed when the session began; see
//! [`crate::sessions`]. What is kept is in `people.db`, as all that [`crate::services`] keeps.

mod admission;
mod buddies;
mod counts;
mod inbox;
mod looks;
mod messages;
mod outbox;
mod presence;
mod retry;
mod roster;
#[cfg(test)]
mod tests;

pub(crate) use admission::{Budgets, Standing};
pub use counts::ChatCounts;

use crate::api::backend::EventStream;
use crate::api::chat::{ChatLine, Conversation, MAX_LINES, PeopleEvent};
use crate::api::types::{ApiError, ErrorCode};
use crate::daemon::clock::unix_now;
use crate::services::{Store, StoreError};
use crate::sessions::Sessions;
use admission::Admission;
use counts::Counts;
use dashmap::DashMap;
use futures_util::StreamExt;
use outbox::Wake;
use presence::Sight;
use roster::Roster;
use skein_proto::chat::{ChatMessage, MAX_TEXT};
use skein_proto::message::MessageKind;
use skein_proto::{BoundedString, ChatId, Message, NodeId, Username};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow listener before it misses some.
const EVENTS_KEPT: usize = 256;

/// Signs of life that wait for the outbox; those who bring them wait when there are more.
const WAKES_WAITING: usize = 64;

/// What people are made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    pub(crate) ended: CancellationToken,
}

/// Chat, and whom the user deals with. Clones are the same.
#[derive(Clone)]
pub(crate) struct People {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    sessions: Sessions,
    roster: Roster,
    admission: Mutex<Admission>,
    /// Why what is queued for somebody was not delivered at the last try.
    waiting: DashMap<Username, Why>,
    /// What was seen of buddies in this run.
    sights: DashMap<Username, Sight>,
    /// There is somebody to be looked up.
    look: Notify,
    /// Somebody was blocked.
    blocking: Notify,
    counts: Counts,
    events: broadcast::Sender<PeopleEvent>,
    wakes: mpsc::Sender<Wake>,
    ended: CancellationToken,
}

/// Why what is queued for somebody was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Why {
    /// In words.
    reason: String,
    /// Whether the directory knows nobody of that name.
    unknown: bool,
}

impl Why {
    fn event(self, peer: Username) -> PeopleEvent {
        PeopleEvent::Waiting { peer, reason: self.reason, unknown: self.unknown }
    }
}

/// What has to run for as long as the daemon does.
pub(crate) struct Running {
    people: People,
    wakes: mpsc::Receiver<Wake>,
}

impl Running {
    /// Delivers what is queued and looks after buddies, until the daemon ends.
    pub(crate) async fn run(self) {
        let Self { people, wakes } = self;
        let both = async { tokio::join!(people.deliver_all(wakes), people.watch_buddies()) };
        let _ = people.inner.ended.run_until_cancelled(both).await;
    }
}

impl People {
    /// Opens what is kept and takes what others say from now on. Nothing is delivered before
    /// [`Running::run`].
    ///
    /// # Errors
    /// The database cannot be used.
    pub(crate) async fn start(parts: Parts) -> Result<(Self, Running), StoreError> {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (wakes, woken) = mpsc::channel(WAKES_WAITING);
        let roster = Roster::open(parts.store.clone()).await?;
        roster.drop_for_blocked().await?;
        let inner = Inner {
            roster,
            store: parts.store,
            sessions: parts.sessions,
            admission: Mutex::default(),
            waiting: DashMap::new(),
            sights: DashMap::new(),
            look: Notify::new(),
            blocking: Notify::new(),
            counts: Counts::default(),
            events,
            wakes,
            ended: parts.ended,
        };
        let people = Self { inner: Arc::new(inner) };
        people.listen();
        Ok((people.clone(), Running { people, wakes: woken }))
    }

    fn listen(&self) {
        // The sessions keep this for as long as they live, and the people keep the sessions.
        let people = Arc::downgrade(&self.inner);
        let hear = move |session, message, stream| {
            let people = people.upgrade().map(|inner| Self { inner });
            async move {
                if let (Some(people), Message::ChatMessage(first)) = (people, message) {
                    let ended = people.inner.ended.clone();
                    let _ = ended.run_until_cancelled(people.hear(session, first, stream)).await;
                }
            }
        };
        self.inner.sessions.on_stream(MessageKind::ChatMessage, hear);
    }

    /// Says something to somebody: on disk now, delivered as soon as they are there.
    pub(crate) async fn say(&self, to: &Username, text: &str) -> Result<ChatLine, ApiError> {
        self.not_oneself(to)?;
        let text = BoundedString::<MAX_TEXT>::new(text.replace('\t', " ")).map_err(|error| {
            let why = format!("a message has at most {MAX_TEXT} bytes, this one {}", error.actual);
            ApiError::bad_request(why)
        })?;
        if text.trim().is_empty() {
            return Err(ApiError::bad_request("there is nothing to say in an empty message"));
        }
        let person = self.inner.roster.get(to).unwrap_or_default();
        if person.blocked_since.is_some() {
            let why = format!("you have blocked @{to}: run `skein buddies unblock @{to}` first");
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        if !person.written_to {
            let change = |person: &mut roster::Person| {
                person.written_to = true;
                Ok(())
            };
            self.inner.roster.change(to, change).await?;
        }
        let id = ChatId::from_bytes(rand::random());
        let message = ChatMessage { id, sent: unix_now(), text };
        let Some(line) = self.inner.store.queue_message(to, &message).await? else {
            return Err(Self::queue_is_full(to));
        };
        self.tell(PeopleEvent::Message(line.clone()));
        let why = self.inner.waiting.get(to).map(|why| why.clone());
        match why {
            // That may have changed since, and whoever waits goes away when told so.
            Some(why) if why.unknown => {
                self.inner.waiting.remove(to);
                self.wake(Wake::Seen(to.clone())).await;
            }
            // Whoever failed lately is not tried sooner for another message, so nothing else says it.
            Some(why) => self.tell(why.event(to.clone())),
            None => {}
        }
        self.wake(Wake::Queued(to.clone())).await;
        Ok(line)
    }

    /// The last messages of a conversation that are newer than number `after`.
    pub(crate) async fn history(
        &self,
        peer: &Username,
        last: u32,
        after: u64,
    ) -> Result<Vec<ChatLine>, ApiError> {
        Ok(self.inner.store.history(peer, last.min(MAX_LINES), after).await?)
    }

    /// All conversations, the latest first.
    pub(crate) async fn conversations(&self) -> Result<Vec<Conversation>, ApiError> {
        let mut all = self.inner.store.conversations().await?;
        for conversation in all.iter_mut().filter(|conversation| conversation.queued > 0) {
            let waiting = self.inner.waiting.get(&conversation.peer);
            conversation.waiting = waiting.map(|why| why.reason.clone());
        }
        Ok(all)
    }

    /// What was not read yet.
    pub(crate) async fn unread(&self, from: Option<&Username>) -> Result<Vec<ChatLine>, ApiError> {
        Ok(self.inner.store.unread(from, MAX_LINES).await?)
    }

    /// The user has seen what this peer said.
    pub(crate) async fn mark_read(&self, peer: &Username, up_to: u64) -> Result<(), ApiError> {
        Ok(self.inner.store.mark_read(peer, up_to, unix_now()).await?)
    }

    /// Deletes a conversation, with what is queued in it.
    pub(crate) async fn forget(&self, peer: &Username) -> Result<(), ApiError> {
        match self.inner.store.forget_conversation(peer).await? {
            true => Ok(()),
            false => Err(ApiError::not_found(format!("nothing was said between you and @{peer}"))),
        }
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> EventStream<PeopleEvent> {
        let events = BroadcastStream::new(self.inner.events.subscribe());
        // Who watches wants to know more often.
        self.inner.look.notify_one();
        events.map(|event| event.unwrap_or(PeopleEvent::Missed)).boxed()
    }

    /// Lets no message be deleted any more.
    #[cfg(test)]
    pub(crate) async fn delete_nothing_more(&self) {
        let trigger = "CREATE TRIGGER keeps BEFORE DELETE ON messages \
                       BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        sqlx::query(trigger).execute(self.inner.store.pool()).await.expect("it is sound");
    }

    /// Waits until the user blocks this peer.
    pub(crate) async fn until_blocked(&self, name: &Username) {
        loop {
            // From here on it hears of a change, also before it is waited for.
            let blocking = self.inner.blocking.notified();
            if self.has_blocked(name) {
                return;
            }
            blocking.await;
        }
    }

    /// Whether the user has blocked this peer.
    pub(crate) fn has_blocked(&self, name: &Username) -> bool {
        self.inner.roster.get(name).is_some_and(|person| person.blocked_since.is_some())
    }

    /// How somebody stands with the user when they come from that node.
    pub(crate) fn standing(&self, name: &Username, node: &NodeId) -> Standing {
        self.inner.roster.standing(name, node)
    }

    /// Whether this is a buddy.
    pub(crate) fn is_buddy(&self, name: &Username) -> bool {
        self.inner.roster.get(name).is_some_and(|person| person.buddy_since.is_some())
    }

    /// Whether this is a buddy, and not known by that node.
    pub(crate) fn is_new_node(&self, name: &Username, node: &NodeId) -> bool {
        self.inner.roster.get(name).is_some_and(|person| person.is_new(node))
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> ChatCounts {
        self.inner.counts.snapshot()
    }

    /// How many messages are queued, and how many unread.
    pub(crate) async fn open_messages(&self) -> (u64, u64) {
        self.inner.store.open_messages().await.unwrap_or_default()
    }

    fn tell(&self, event: PeopleEvent) {
        // Nobody may be listening.
        let _ = self.inner.events.send(event);
    }

    async fn wake(&self, wake: Wake) {
        // There is nobody to be woken only while the daemon ends.
        let _ = self.inner.wakes.send(wake).await;
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        self.inner.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

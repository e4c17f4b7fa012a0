//! Whether buddies are there: the directory says so, and so does a session that is open. Modest
//! polling: see [`super::looks`].

use super::People;
use super::looks::Looks;
use super::outbox::Wake;
use super::roster::MAX_KEYS;
use crate::api::buddies::{Buddy, PresenceState};
use crate::api::chat::PeopleEvent;
use crate::daemon::clock::unix_now;
use crate::services::StoreError;
use crate::sessions::{PeerSession, SessionChange, SessionError};
use skein_proto::{NodeId, UnixTime, Username};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

/// What was seen of a buddy in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    state: PresenceState,
    seen: UnixTime,
    /// The node that is there.
    node: Option<NodeId>,
    /// Nodes that bear the name and that the buddy is not known by.
    new_keys: Vec<NodeId>,
}

impl People {
    /// Looks after buddies until the daemon ends.
    pub(super) async fn watch_buddies(&self) {
        let mut changes = self.inner.sessions.changes();
        let mut looks = Looks::default();
        loop {
            let buddies = self.inner.roster.all(|person| person.buddy_since.is_some());
            let buddies: Vec<Username> = buddies.into_iter().map(|(name, _)| name).collect();
            let next = looks.next(&buddies, self.is_watched(), Instant::now());
            let due = next.as_ref().map_or_else(Instant::now, |(_, due)| *due);
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => {
                        looks.look_again(&change.name);
                        self.on_session(&change).await;
                    }
                    // The directory tells what was missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = self.inner.look.notified() => {}
                () = sleep_until(due), if next.is_some() => {
                    let Some((name, _)) = next else { continue };
                    let answered = self.look(&name).await;
                    looks.done(&name, answered, Instant::now());
                }
            }
        }
    }

    /// Whether anybody follows what happens with people.
    fn is_watched(&self) -> bool {
        self.inner.events.receiver_count() > 0
    }

    /// Asks the directory for a buddy; false if it could not be asked.
    async fn look(&self, name: &Username) -> bool {
        let found = match self.inner.sessions.look_up(name).await {
            Ok(found) => found,
            // The directory forgets those who were away for long.
            Err(SessionError::Unknown(_)) => Vec::new(),
            Err(error) => {
                tracing::debug!(%name, %error, "a buddy cannot be looked up");
                return false;
            }
        };
        let nodes: Vec<NodeId> = found.iter().map(|node| node.node).collect();
        let keys = self.bind(name, &nodes).await;
        let ours = || found.iter().filter(|node| keys.contains(&node.node));
        let there = ours().filter(|node| node.online).max_by_key(|node| node.seen);
        let seen = ours().map(|node| node.seen).max().unwrap_or_default();
        let session = self.session_with(name, &keys);
        let sight = Sight {
            state: match there.is_some() || session.is_some() {
                true => PresenceState::Online,
                false => PresenceState::Offline,
            },
            seen: if session.is_some() { unix_now() } else { seen },
            node: session.map(|session| session.node()).or(there.map(|node| node.node)),
            new_keys: nodes.into_iter().filter(|node| !keys.contains(node)).collect(),
        };
        self.saw(name, sight).await;
        true
    }

    /// A session with somebody has begun or ended.
    async fn on_session(&self, change: &SessionChange) {
        let SessionChange { name, node, live } = change;
        if *live {
            self.wake(Wake::Seen(name.clone())).await;
        }
        if self.inner.roster.get(name).is_none_or(|person| person.buddy_since.is_none()) {
            return;
        }
        let keys = self.bind(name, &[*node]).await;
        let before = self.inner.sights.get(name).map(|sight| sight.clone()).unwrap_or_default();
        let sight = match (live, keys.contains(node)) {
            (true, true) => Sight {
                state: PresenceState::Online,
                seen: unix_now(),
                node: Some(*node),
                ..before
            },
            (true, false)
                if !before.new_keys.contains(node) && before.new_keys.len() < MAX_KEYS =>
            {
                let new_keys = before.new_keys.iter().copied().chain([*node]).collect();
                Sight { new_keys, ..before }
            }
            // The directory is asked next, and knows better.
            _ => before,
        };
        if !self.saw(name, sight).await {
            // The path is another one.
            self.tell_buddy(name).await;
        }
    }

    /// Remembers the nodes of a buddy of whom none is known yet; answers with those that are.
    pub(super) async fn bind(&self, name: &Username, nodes: &[NodeId]) -> Vec<NodeId> {
        let person = self.inner.roster.get(name).unwrap_or_default();
        if !person.keys.is_empty() || nodes.is_empty() {
            return person.keys;
        }
        let bound = self.inner.roster.change(name, |person| {
            if person.buddy_since.is_some() && person.keys.is_empty() {
                person.keys = nodes.iter().copied().take(MAX_KEYS).collect();
            }
            Ok(person.keys.clone())
        });
        bound.await.unwrap_or_else(|error| {
            tracing::error!(%name, %error, "the keys of a buddy cannot be kept");
            Vec::new()
        })
    }

    /// Keeps what was seen, and tells everybody if it is new; whether it is.
    async fn saw(&self, name: &Username, sight: Sight) -> bool {
        let before = self.inner.sights.insert(name.clone(), sight.clone()).unwrap_or_default();
        if sight.new_keys.iter().any(|node| !before.new_keys.contains(node)) {
            let nodes: Vec<String> = sight.new_keys.iter().map(NodeId::short).collect();
            tracing::warn!(
                %name, nodes = nodes.join(", "),
                "a buddy's name is borne by nodes that the buddy is not known by"
            );
        }
        let came = sight.state == PresenceState::Online && before.state != sight.state;
        if came {
            self.wake(Wake::Seen(name.clone())).await;
        }
        let same = (before.state, &before.new_keys) == (sight.state, &sight.new_keys);
        if same {
            return false;
        }
        let seen = self.inner.roster.change(name, |person| {
            if person.buddy_since.is_some() {
                person.seen = person.seen.max(sight.seen);
            }
            Ok(())
        });
        if let Err(error) = seen.await {
            tracing::warn!(%name, %error, "when a buddy was seen cannot be kept");
        }
        self.tell_buddy(name).await;
        true
    }

    pub(super) async fn tell_buddy(&self, name: &Username) {
        match self.buddy(name).await {
            Ok(Some(buddy)) => self.tell(PeopleEvent::Buddy(Box::new(buddy))),
            Ok(None) => {}
            Err(error) => tracing::warn!(%name, %error, "a change of a buddy is not told"),
        }
    }

    fn session_with(&self, name: &Username, keys: &[NodeId]) -> Option<Arc<PeerSession>> {
        let all = self.inner.sessions.all().into_iter();
        all.filter(|session| session.name() == name).find(|session| keys.contains(&session.node()))
    }

    /// A buddy as it is now; `None` if that is none.
    pub(super) async fn buddy(&self, name: &Username) -> Result<Option<Buddy>, StoreError> {
        let Some(person) = self.inner.roster.get(name) else { return Ok(None) };
        let Some(added) = person.buddy_since else { return Ok(None) };
        let sight = self.inner.sights.get(name).map(|sight| sight.clone()).unwrap_or_default();
        let session = self.session_with(name, &person.keys);
        let (queued, unread) = self.inner.store.open_with(name).await?;
        Ok(Some(Buddy {
            name: name.clone(),
            added: added.0,
            presence: if session.is_some() { PresenceState::Online } else { sight.state },
            seen: sight.seen.max(person.seen).0,
            node: session.as_ref().map(|session| session.node()).or(sight.node),
            path: session.map(|session| session.shown(session.path_now())),
            new_keys: sight.new_keys.into_iter().filter(|key| !person.keys.contains(key)).collect(),
            keys: person.keys,
            unread,
            queued,
        }))
    }
}

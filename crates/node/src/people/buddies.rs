//! What the user decides about others: who is a buddy, by which keys, and who is blocked.

use super::People;
use super::messages::MAX_QUEUED;
use super::outbox::Wake;
use super::roster::{MAX_KEYS, Person};
use crate::api::buddies::{Blocked, Buddy};
use crate::api::types::{ApiError, ErrorCode};
use crate::daemon::clock::unix_now;
use skein_proto::{NodeId, Username};

impl People {
    /// The buddies, by name.
    pub(crate) async fn buddies(&self) -> Result<Vec<Buddy>, ApiError> {
        let mut buddies = Vec::new();
        for (name, _) in self.inner.roster.all(|person| person.buddy_since.is_some()) {
            buddies.extend(self.buddy(&name).await?);
        }
        Ok(buddies)
    }

    /// Makes somebody a buddy, known by the nodes that bear the name now; by those that do so first
    /// if there are none now.
    pub(crate) async fn add_buddy(&self, name: &Username) -> Result<Buddy, ApiError> {
        self.not_oneself(name)?;
        let nodes = self.nodes_of(name).await;
        let added = self.inner.roster.change(name, |person| {
            if person.blocked_since.is_some() {
                let why = format!("@{name} is blocked: run `skein buddies unblock @{name}` first");
                return Err(ApiError::new(ErrorCode::Conflict, why));
            }
            if person.buddy_since.is_none() {
                person.buddy_since = Some(unix_now());
                person.keys = nodes.into_iter().take(MAX_KEYS).collect();
            }
            Ok(())
        });
        added.await?;
        self.inner.look.notify_one();
        self.tell_buddy(name).await;
        self.existing_buddy(name).await
    }

    /// Makes somebody a buddy no longer. What was said stays.
    pub(crate) async fn remove_buddy(&self, name: &Username) -> Result<(), ApiError> {
        let removed = self.inner.roster.change(name, |person| {
            person.buddy_since.take().ok_or_else(|| no_buddy(name))?;
            person.keys.clear();
            Ok(())
        });
        removed.await?;
        self.inner.sights.remove(name);
        Ok(())
    }

    /// Says that a node belongs to a buddy, or all that bear the name now.
    pub(crate) async fn trust_buddy(
        &self,
        name: &Username,
        node: Option<NodeId>,
    ) -> Result<Buddy, ApiError> {
        let nodes = match node {
            Some(node) => vec![node],
            None => self.nodes_of(name).await,
        };
        if nodes.is_empty() {
            let why = format!("no node of @{name} is known now: name the one, or try again later");
            return Err(ApiError::unavailable(why));
        }
        let trusted = self.inner.roster.change(name, |person| {
            if person.buddy_since.is_none() {
                return Err(no_buddy(name));
            }
            for node in nodes {
                if person.keys.contains(&node) {
                    continue;
                }
                if person.keys.len() >= MAX_KEYS {
                    let why =
                        format!("@{name} has {MAX_KEYS} nodes: remove and add the buddy anew");
                    return Err(ApiError::new(ErrorCode::Conflict, why));
                }
                person.keys.push(node);
            }
            Ok(())
        });
        trusted.await?;
        self.inner.look.notify_one();
        self.wake(Wake::Seen(name.clone())).await;
        self.tell_buddy(name).await;
        self.existing_buddy(name).await
    }

    /// Knows a buddy by this node only.
    #[cfg(test)]
    pub(crate) async fn know_only(&self, name: &Username, node: NodeId) {
        let known = self.inner.roster.change(name, |person| {
            person.keys = vec![node];
            Ok(())
        });
        known.await.expect("it can be kept");
    }

    /// Those of whom nothing is taken, by name.
    pub(crate) fn blocked(&self) -> Vec<Blocked> {
        let all = self.inner.roster.all(|person| person.blocked_since.is_some()).into_iter();
        all.map(|(name, person)| {
            let since = person.blocked_since.unwrap_or_default().0;
            Blocked { name, since }
        })
        .collect()
    }

    /// Takes no messages, files and use of services of somebody from now on; they are no buddy any
    /// more, and get nothing that is still queued. What they use at present ends.
    pub(crate) async fn block(&self, name: &Username) -> Result<(), ApiError> {
        self.not_oneself(name)?;
        let blocked = self.inner.roster.change(name, |person| {
            *person = Person {
                blocked_since: Some(person.blocked_since.unwrap_or_else(unix_now)),
                buddy_since: None,
                keys: Vec::new(),
                ..person.clone()
            };
            Ok(())
        });
        blocked.await?;
        self.inner.blocking.notify_waiters();
        self.inner.sights.remove(name);
        Ok(self.inner.store.drop_queued(name).await?)
    }

    /// Takes messages of somebody again.
    pub(crate) async fn unblock(&self, name: &Username) -> Result<(), ApiError> {
        if self.has_blocked(name) {
            // What could not be deleted when they were blocked must not be delivered now.
            self.inner.store.drop_queued(name).await?;
        }
        let unblocked = self.inner.roster.change(name, |person| {
            let why = || ApiError::not_found(format!("@{name} is not blocked"));
            person.blocked_since.take().ok_or_else(why)?;
            Ok(())
        });
        unblocked.await
    }

    /// That somebody else is meant.
    pub(crate) fn not_oneself(&self, name: &Username) -> Result<(), ApiError> {
        match self.inner.sessions.own_name() {
            Some(own) if own == *name => Err(ApiError::bad_request("that is your own name")),
            _ => Ok(()),
        }
    }

    /// The nodes that bear a name now, as the directory and open sessions say.
    async fn nodes_of(&self, name: &Username) -> Vec<NodeId> {
        let found = self.inner.sessions.look_up(name).await.unwrap_or_default();
        let mut nodes: Vec<NodeId> = found.into_iter().map(|node| node.node).collect();
        for session in self.inner.sessions.all() {
            if session.name() == name && !nodes.contains(&session.node()) {
                nodes.push(session.node());
            }
        }
        nodes
    }

    async fn existing_buddy(&self, name: &Username) -> Result<Buddy, ApiError> {
        self.buddy(name).await?.ok_or_else(|| no_buddy(name))
    }

    /// That there are too many messages for somebody.
    pub(super) fn queue_is_full(name: &Username) -> ApiError {
        let why = format!(
            "{MAX_QUEUED} messages wait for @{name}, or very many for all: write again when they \
             have gone out, or delete the whole conversation with `skein chat @{name} --forget`"
        );
        ApiError::new(ErrorCode::Conflict, why)
    }
}

fn no_buddy(name: &Username) -> ApiError {
    ApiError::not_found(format!(
        "@{name} is no buddy of yours: `skein buddies` lists those who are"
    ))
}

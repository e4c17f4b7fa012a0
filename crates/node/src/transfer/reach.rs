//! The way to a source: its address where it can be dialled, a session where it cannot.

use super::store::{SessionWay, SourceSessions};
use crate::api::types::{Source, SourcePath};
use crate::sessions::SessionError;
use dashmap::DashMap;
use skein_net::{Connection, DialError, Endpoint};
use skein_proto::NodeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Sessions that downloads use at the same time. Each may hold a slot of a relay, which others
/// want as well, and some hundred kilobytes of buffers; eight downloads of eight sources each have
/// room in it.
const MAX_SESSIONS: usize = 64;

/// How long a dial goes on alone before a session is opened beside it: three round trips of the
/// longest path. A source that answers its address costs no relay anything.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

/// How long a source that did not answer its addresses is asked over a session first. A home whose
/// router was opened is dialled again within the same download.
const NOT_DIALLED_FOR: Duration = Duration::from_secs(10 * 60);

/// Sources that are remembered not to answer their addresses: as many as eight downloads know.
const MAX_SILENT: usize = 2_048;

/// Why a source cannot be asked.
#[derive(Debug, Error)]
pub(super) enum ReachError {
    /// It does not answer its addresses, and sessions are not to be had.
    #[error("cannot be reached: {0}")]
    Dial(#[from] DialError),
    /// There is no session with it, and it has no address that answers.
    #[error("cannot be reached over a session: {0}")]
    Session(#[from] SessionError),
    /// As many sessions are used as may be.
    #[error("cannot be reached yet: {MAX_SESSIONS} sessions are in use for downloads")]
    TooMany,
}

impl ReachError {
    /// Whether it is this node that can open no session at the time, so that nothing is known of
    /// the source.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::TooMany => true,
            Self::Session(error) => error.is_passing(),
            Self::Dial(_) => false,
        }
    }
}

/// A session that downloads use; it is theirs until the last request over it has ended.
struct Held {
    way: Arc<dyn SessionWay>,
    _place: OwnedSemaphorePermit,
}

/// A connection with a source.
#[derive(Clone)]
pub(super) struct Line {
    connection: Connection,
    session: Option<Arc<Held>>,
}

impl Line {
    fn direct(connection: Connection) -> Self {
        Self { connection, session: None }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Which way it goes at present.
    pub fn path(&self) -> SourcePath {
        self.session.as_ref().map_or(SourcePath::Direct, |held| held.way.path())
    }
}

/// What has been counted since the start.
#[derive(Debug, Default)]
pub(super) struct ReachCounts {
    pub dialled: AtomicU64,
    pub over_sessions: AtomicU64,
    pub failed: AtomicU64,
    pub over_limit: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Finds the way to sources.
pub(super) struct Reach {
    endpoint: Endpoint,
    sessions: Option<Arc<dyn SourceSessions>>,
    head_start: Duration,
    /// Until when sources are asked over a session first.
    silent: Mutex<HashMap<NodeId, Instant>>,
    held: DashMap<NodeId, Weak<Held>>,
    places: Arc<Semaphore>,
    pub counts: ReachCounts,
}

impl Reach {
    pub fn new(
        endpoint: Endpoint,
        sessions: Option<Arc<dyn SourceSessions>>,
        head_start: Duration,
    ) -> Self {
        Self {
            endpoint,
            sessions,
            head_start,
            silent: Mutex::default(),
            held: DashMap::new(),
            places: Arc::new(Semaphore::new(MAX_SESSIONS)),
            counts: ReachCounts::default(),
        }
    }

    /// Who this node is.
    pub fn own_id(&self) -> NodeId {
        self.endpoint.node_id()
    }

    /// Sessions that downloads use at present.
    pub fn sessions_in_use(&self) -> usize {
        MAX_SESSIONS - self.places.available_permits()
    }

    /// A connection with a source: one that stands already, else by its addresses, else a session.
    /// The session comes first where the source has no addresses, did not answer them lately, or
    /// where this node is not to be seen by those whom it asks.
    ///
    /// # Errors
    /// [`ReachError`]; of two failures the one that tells more of the source.
    pub async fn connect(&self, source: &Source) -> Result<Line, ReachError> {
        let sessions = self.sessions.as_deref();
        if let Some(line) = self.present(&source.node, sessions)? {
            return Ok(line);
        }
        let Some(sessions) = sessions else {
            return Ok(self.dial(source).await?);
        };
        let outcome = if sessions.is_hidden() || source.addresses.is_empty() {
            self.session(source, sessions).await
        } else if self.was_silent(&source.node) {
            match self.session(source, sessions).await {
                Ok(line) => Ok(line),
                // It may have got an address that answers, or the session's way may be what fails.
                Err(error) => self.dial(source).await.map_err(|_| error),
            }
        } else {
            self.race(source, sessions).await
        };
        if let Err(ReachError::Session(_)) = &outcome {
            add(&self.counts.failed);
        }
        outcome
    }

    /// A way that stands already. A direct connection is better than a session over a relay.
    fn present(
        &self,
        node: &NodeId,
        sessions: Option<&dyn SourceSessions>,
    ) -> Result<Option<Line>, ReachError> {
        let connection = self.endpoint.connection(node);
        let Some(way) = sessions.and_then(|sessions| sessions.live(node)) else {
            // One of a session that is just being opened is that session's.
            let is_session = |it: &Connection| it.seen_at().ip().is_unspecified();
            return Ok(connection.filter(|it| !is_session(it)).map(Line::direct));
        };
        match connection {
            Some(connection)
                if connection.id() != way.connection().id()
                    && way.path() == SourcePath::SessionRelayed =>
            {
                Ok(Some(Line::direct(connection)))
            }
            _ => self.hold(*node, way).map(Some),
        }
    }

    async fn dial(&self, source: &Source) -> Result<Line, DialError> {
        let connection = self.endpoint.connect(source.node, &source.addresses).await?;
        self.silent().remove(&source.node);
        add(&self.counts.dialled);
        Ok(Line::direct(connection))
    }

    async fn session(
        &self,
        source: &Source,
        sessions: &dyn SourceSessions,
    ) -> Result<Line, ReachError> {
        // Nobody is called for whom there is no room.
        if self.places.available_permits() == 0 {
            add(&self.counts.over_limit);
            return Err(ReachError::TooMany);
        }
        let way = sessions.open(source).await?;
        add(&self.counts.over_sessions);
        self.hold(source.node, way)
    }

    async fn race(
        &self,
        source: &Source,
        sessions: &dyn SourceSessions,
    ) -> Result<Line, ReachError> {
        let dial = self.dial(source);
        tokio::pin!(dial);
        let dialled = match timeout(self.head_start, &mut dial).await {
            Ok(Ok(line)) => return Ok(line),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        self.fell_silent(source.node);
        let session = self.session(source, sessions);
        if let Some(error) = dialled {
            return session.await.map_err(|other| more_telling(error, other));
        }
        tokio::pin!(session);
        tokio::select! {
            dialled = &mut dial => match dialled {
                Ok(line) => Ok(line),
                Err(error) => session.await.map_err(|other| more_telling(error, other)),
            },
            opened = &mut session => match opened {
                Ok(line) => Ok(line),
                Err(other) => dial.await.map_err(|error| more_telling(error, other)),
            },
        }
    }

    /// Takes a place for a session, if it has none yet.
    fn hold(&self, node: NodeId, way: Arc<dyn SessionWay>) -> Result<Line, ReachError> {
        let connection = way.connection().clone();
        let mut entry = self.held.entry(node).or_default();
        let known = entry.upgrade().filter(|held| held.way.connection().id() == connection.id());
        let held = match known {
            Some(held) => held,
            None => {
                let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                    add(&self.counts.over_limit);
                    return Err(ReachError::TooMany);
                };
                let held = Arc::new(Held { way, _place: place });
                *entry = Arc::downgrade(&held);
                held
            }
        };
        drop(entry);
        // What is not used any more is not kept either.
        if self.held.len() > 2 * MAX_SESSIONS {
            self.held.retain(|_, held| held.strong_count() > 0);
        }
        Ok(Line { connection, session: Some(held) })
    }

    fn was_silent(&self, node: &NodeId) -> bool {
        self.silent().get(node).is_some_and(|until| Instant::now() < *until)
    }

    fn fell_silent(&self, node: NodeId) {
        let now = Instant::now();
        let mut silent = self.silent();
        if silent.len() >= MAX_SILENT {
            silent.retain(|_, until| now < *until);
        }
        if silent.len() < MAX_SILENT {
            silent.insert(node, now + NOT_DIALLED_FOR);
        }
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<NodeId, Instant>> {
        // No code that holds it can leave it half-changed by a panic.
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a dial and a session that both failed, what says most of the source: a session that this node
/// could not have opened with anybody says nothing of it.
fn more_telling(dialled: DialError, session: ReachError) -> ReachError {
    match &session {
        ReachError::Session(error) if !error.is_local() || error.is_passing() => session,
        ReachError::TooMany => session,
        _ => dialled.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_net::EndpointConfig;
    use skein_proto::KeyPair;
    use std::net::Ipv4Addr;

    struct Way(Connection);

    impl SessionWay for Way {
        fn connection(&self) -> &Connection {
            &self.0
        }

        fn path(&self) -> SourcePath {
            SourcePath::SessionRelayed
        }
    }

    fn endpoint(seed: u8) -> Endpoint {
        let key = KeyPair::from_seed(&[seed; 32]);
        Endpoint::bind(&key, (Ipv4Addr::LOCALHOST, 0).into(), EndpointConfig::default()).unwrap()
    }

    #[tokio::test]
    async fn downloads_use_so_many_sessions_and_no_more_until_one_is_free() {
        let (ours, theirs) = (endpoint(1), endpoint(2));
        let address = theirs.local_addr().unwrap();
        let connection = ours.connect(theirs.node_id(), &[address]).await.unwrap();
        let reach = Reach::new(ours, None, HEAD_START);
        let hold = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            reach.hold(NodeId::from_bytes(bytes), Arc::new(Way(connection.clone())))
        };
        let mut lines: Vec<Line> =
            (0..MAX_SESSIONS).map(|number| hold(number).ok().unwrap()).collect();
        assert!(hold(0).is_ok(), "one that is in use has its place");
        assert!(matches!(hold(MAX_SESSIONS), Err(ReachError::TooMany)));
        assert_eq!(reach.counts.over_limit.load(Ordering::Relaxed), 1);
        assert!(lines.pop().is_some());
        assert!(hold(MAX_SESSIONS).is_ok());
        lines.clear();
        assert_eq!(reach.sessions_in_use(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_was_silent_is_dialled_first_again_after_a_while() {
        let reach = Reach::new(endpoint(1), None, HEAD_START);
        let node = NodeId::from_bytes([7; 32]);
        assert!(!reach.was_silent(&node));
        reach.fell_silent(node);
        assert!(reach.was_silent(&node));
        tokio::time::advance(NOT_DIALLED_FOR).await;
        assert!(!reach.was_silent(&node));
    }
}

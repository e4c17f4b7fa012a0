//! Signs of life between peers.

use super::{PathKind, PeerName, PeerSession, SessionError, Sessions};
use crate::api::types::PingEvent;
use skein_net::Stream;
use skein_proto::session::{SessionPing, SessionPong};
use skein_proto::{Message, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a ping is waited for: a session that moves to another relay does so within a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// Events that wait for whoever shows them.
const EVENTS: usize = 16;

/// Answers the pings of a peer, until it sends no more.
pub(super) async fn answer(session: Arc<PeerSession>, first: Message, mut stream: Stream) {
    let mut next = Some(first);
    while let Some(Message::SessionPing(ping)) = next {
        let path = session.path_now();
        let relay = match path.kind {
            PathKind::Relayed { relay, .. } => Some(relay),
            PathKind::Direct { .. } => None,
        };
        let pong = SessionPong { number: ping.number, nat: path.nat_here, relay };
        if stream.sender.send(&pong.into()).await.is_err() {
            return;
        }
        next = stream.receiver.recv().await.ok().flatten();
    }
}

impl Sessions {
    /// Pings a peer `count` times, or without end. The first session has to come about; when one
    /// ends later, another is opened.
    ///
    /// # Errors
    /// [`SessionError`] when there is no first session.
    pub(crate) async fn ping(
        &self,
        peer: PeerName,
        count: Option<u32>,
        interval: Duration,
    ) -> Result<mpsc::Receiver<PingEvent>, SessionError> {
        let begun = Instant::now();
        let session = self.open(&peer).await?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let pinger = Pinger { sessions: self.clone(), peer, events, interval, number: 0 };
        let left = count.map_or(u64::MAX, u64::from);
        tokio::spawn(pinger.run(session, begun, left));
        Ok(receiver)
    }
}

struct Pinger {
    sessions: Sessions,
    peer: PeerName,
    events: mpsc::Sender<PingEvent>,
    interval: Duration,
    number: u64,
}

/// Why a series of pings over one session is over.
enum Over {
    /// Nobody listens any more, or there are none left.
    Done,
    /// The session has ended.
    Ended(String),
}

impl Pinger {
    async fn run(mut self, mut session: Arc<PeerSession>, mut begun: Instant, last: u64) {
        loop {
            let connected = PingEvent::Connected {
                node: session.node(),
                name: session.name().clone(),
                took_us: micros(begun.elapsed()),
                path: session.shown(session.path_now()),
            };
            if self.events.send(connected).await.is_err() {
                return;
            }
            let Over::Ended(reason) = self.series(&session, last).await else { return };
            if self.events.send(PingEvent::Ended { reason }).await.is_err() {
                return;
            }
            session = loop {
                if self.number >= last {
                    return;
                }
                begun = Instant::now();
                match self.sessions.open(&self.peer).await {
                    Ok(session) => break session,
                    Err(error) => {
                        self.number += 1;
                        let number = self.number;
                        tracing::debug!(%error, "no session to ping over");
                        let lost = self.events.send(PingEvent::Lost { number });
                        if lost.await.is_err() {
                            return;
                        }
                        sleep_until(begun + self.interval).await;
                    }
                }
            };
        }
    }

    async fn series(&mut self, session: &PeerSession, last: u64) -> Over {
        let mut path = session.path();
        path.mark_unchanged();
        let mut stream = match session.connection().open_stream().await {
            Ok(stream) => stream,
            Err(error) => return Over::Ended(error.to_string()),
        };
        while self.number < last {
            let begun = Instant::now();
            self.number += 1;
            let number = self.number;
            let pong = timeout(PATIENCE, exchange(&mut stream, number));
            tokio::pin!(pong);
            let event = loop {
                tokio::select! {
                    pong = &mut pong => break match pong {
                        Ok(Ok(their_relay)) => {
                            let rtt_us = micros(begun.elapsed());
                            PingEvent::Pong { number, rtt_us, their_relay }
                        }
                        Ok(Err(reason)) => return Over::Ended(reason),
                        Err(_) => PingEvent::Lost { number },
                    },
                    Ok(()) = path.changed() => {
                        let path = session.shown(*path.borrow_and_update());
                        if self.events.send(PingEvent::Path { path }).await.is_err() {
                            return Over::Done;
                        }
                    }
                }
            };
            if self.events.send(event).await.is_err() {
                return Over::Done;
            }
            if self.number >= last {
                break;
            }
            loop {
                tokio::select! {
                    () = sleep_until(begun + self.interval) => break,
                    () = self.events.closed() => return Over::Done,
                    Ok(()) = path.changed() => {
                        let path = session.shown(*path.borrow_and_update());
                        if self.events.send(PingEvent::Path { path }).await.is_err() {
                            return Over::Done;
                        }
                    }
                }
            }
        }
        Over::Done
    }
}

/// Sends a ping and waits for its answer; older answers that come late are passed over.
async fn exchange(stream: &mut Stream, number: u64) -> Result<Option<NodeId>, String> {
    let ping = SessionPing { number };
    stream.sender.send(&ping.into()).await.map_err(|error| error.to_string())?;
    loop {
        match stream.receiver.recv().await {
            Ok(Some(Message::SessionPong(pong))) if pong.number == number => return Ok(pong.relay),
            Ok(Some(Message::SessionPong(_))) => {}
            Ok(_) => return Err("the peer has ended it".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

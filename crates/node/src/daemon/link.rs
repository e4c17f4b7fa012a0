//! A link: the control stream with one peer, as two tasks between the stream and the driver.

use super::driver::{FromLink, LinkEvent};
use skein_net::{CloseReason, Connection, FrameReceiver, FrameSender, Stream};
use skein_proto::message::PartingReason;
use skein_proto::{Message, NodeId};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Messages that wait to be sent to one peer. With most of them under 1 KiB that is some hundred
/// KiB; a peer that lets more pile up has stopped reading, and its link is cut.
const OUT_QUEUE: usize = 1_024;

/// How long a peer may take to read the last messages before its stream is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often a dialled link is looked at for signs of life.
const PULSE: Duration = Duration::from_millis(500);

/// Something was sent, and nothing at all came back for so long: the transport has sent its
/// probes several times by then (RFC 9002 doubles them from about three round trips on).
const SILENCE: Duration = Duration::from_secs(2);

/// What the driver asks of a link.
#[derive(Debug)]
pub(super) enum ToLink {
    /// Send this.
    Send(Box<Message>),
    /// Send what waits, then close.
    Close(PartingReason),
}

/// The driver's end of a link.
#[derive(Debug)]
pub(super) struct LinkHandle {
    /// Tells this link from others with the same peer, before and after it.
    pub(super) generation: u64,
    pub(super) connection: Connection,
    /// Whether this side opened the control stream.
    pub(super) opened_here: bool,
    out: mpsc::Sender<ToLink>,
}

impl LinkHandle {
    /// Starts the tasks of a link. They end when the stream does, or when the handle is dropped.
    pub(super) fn start(
        generation: u64,
        connection: Connection,
        stream: Stream,
        opened_here: bool,
        events: mpsc::Sender<FromLink>,
    ) -> Self {
        let (out, queue) = mpsc::channel(OUT_QUEUE);
        let peer = connection.peer();
        tokio::spawn(send(stream.sender, queue, connection.clone()));
        let receiving =
            receive(stream.receiver, peer, generation, events, connection.clone(), opened_here);
        tokio::spawn(receiving);
        Self { generation, connection, opened_here, out }
    }

    /// Queues a message. Answers false if the peer has let too many pile up.
    pub(super) fn send(&self, message: Box<Message>) -> bool {
        match self.out.try_send(ToLink::Send(message)) {
            // A closed queue belongs to a link whose end is on its way to the driver.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// Closes the stream behind what is queued; the connection stays for other uses, but for a
    /// peer that misbehaved.
    pub(super) fn close(self, reason: PartingReason) {
        if self.out.try_send(ToLink::Close(reason)).is_err() || reason == PartingReason::Misbehaved
        {
            self.connection.close(CloseReason::from(reason));
        }
    }
}

async fn send(mut sender: FrameSender, mut queue: mpsc::Receiver<ToLink>, connection: Connection) {
    while let Some(order) = queue.recv().await {
        match order {
            ToLink::Send(message) => {
                if let Err(error) = sender.send(&message).await {
                    tracing::debug!(peer = %connection.peer().short(), %error, "a link broke off");
                    return;
                }
            }
            ToLink::Close(reason) => {
                let farewell = async {
                    sender.finish().await?;
                    sender.delivered().await
                };
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
                tracing::debug!(peer = %connection.peer().short(), ?reason, "a link is closed");
                return;
            }
        }
    }
}

async fn receive(
    mut receiver: FrameReceiver,
    peer: NodeId,
    generation: u64,
    events: mpsc::Sender<FromLink>,
    connection: Connection,
    watch: bool,
) {
    let mut pulse = Pulse::new(&connection);
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            message = receiver.recv() => match message {
                Ok(Some(message)) => LinkEvent::Message(Box::new(message)),
                Ok(None) => LinkEvent::Ended,
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), %error, "a link has ended");
                    LinkEvent::Ended
                }
            },
            _ = ticks.tick(), if watch => {
                if !pulse.stopped(&connection) {
                    continue;
                }
                LinkEvent::Silent
            }
        };
        let ended = matches!(event, LinkEvent::Ended);
        if events.send(FromLink { peer, generation, event }).await.is_err() || ended {
            return;
        }
    }
}

/// Notices that a peer answers nothing, long before its connection times out.
#[derive(Debug)]
struct Pulse {
    heard: u64,
    said: u64,
    unanswered_since: Option<Instant>,
    reported: bool,
}

impl Pulse {
    fn new(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            heard: stats.bytes_in,
            said: stats.bytes_out,
            unanswered_since: None,
            reported: false,
        }
    }

    /// Looks at the counters; true once for each silence.
    fn stopped(&mut self, connection: &Connection) -> bool {
        let stats = connection.stats();
        if stats.bytes_in != self.heard {
            self.heard = stats.bytes_in;
            self.said = stats.bytes_out;
            self.unanswered_since = None;
            self.reported = false;
            return false;
        }
        if stats.bytes_out == self.said {
            return false;
        }
        let since = *self.unanswered_since.get_or_insert_with(Instant::now);
        let stopped = !self.reported && since.elapsed() >= SILENCE;
        self.reported |= stopped;
        stopped
    }
}

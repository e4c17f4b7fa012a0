//! A link: the control stream with one peer, as a task between the stream and the driver.

use super::driver::FromPeer;
use skein_net::{CloseReason, Connection, FrameReceiver, FrameSender, Stream};
use skein_proto::message::PartingReason;
use skein_proto::{Message, NodeId};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Messages that wait to be sent to one peer. With most of them under 1 KiB that is some hundred
/// KiB; a peer that lets more pile up has stopped reading, and its link is cut.
const OUT_QUEUE: usize = 1_024;

/// How long a peer may take to read the last messages before its stream is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often a dialled link is looked at for signs of life.
const PULSE: Duration = Duration::from_millis(500);

/// Nothing at all came between so many looks, which is 6.5 s. The transport proves each connection
/// alive every 4 s, so a peer that lives is heard that often; the rest is for lost packets (the
/// transport repeats its probe several times meanwhile, RFC 9002) and for a machine that is busy for
/// a second or two. Looks are counted rather than seconds: while this node does not run (its machine
/// was suspended, or is overloaded) what its peers send waits to be read, and is no silence.
/// That something was sent and not answered says nothing by itself: it may be an acknowledgement.
const SILENT_LOOKS: u32 = 13;

/// Looks in a row that do not count since they come late by one look or more.
const MAX_LATE: u32 = 3;

/// What a link tells the driver.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The peer sent this.
    Message(Box<Message>),
    /// The peer answers nothing, not even the transport's probes.
    Silent,
    /// It is over: the last event of every link.
    Ended,
}

/// What the driver asks of a link.
#[derive(Debug)]
enum ToLink {
    /// Send this.
    Send(Box<Message>),
    /// Send what waits, then close.
    Close(PartingReason),
}

/// The driver's end of a link. Dropped, the link ends at once.
#[derive(Debug)]
pub(super) struct LinkHandle {
    /// Tells this link from others with the same peer, before and after it.
    pub(super) generation: u64,
    pub(super) connection: Connection,
    /// Whether this side opened the control stream.
    pub(super) opened_here: bool,
    /// When it came up.
    pub(super) since: Instant,
    out: mpsc::Sender<ToLink>,
    abandon: DropGuard,
}

impl LinkHandle {
    /// Starts the task of a link. It ends when either direction of the stream does, so that there
    /// is no link that only seems to be up, or when the handle is dropped.
    pub(super) fn start(
        generation: u64,
        connection: Connection,
        stream: Stream,
        opened_here: bool,
        events: mpsc::Sender<FromPeer>,
        tasks: &TaskTracker,
    ) -> Self {
        let (out, queue) = mpsc::channel(OUT_QUEUE);
        let abandoned = CancellationToken::new();
        let abandon = abandoned.clone().drop_guard();
        let peer = connection.peer();
        let link = Link { peer, generation, events, connection: connection.clone() };
        tasks.spawn(async move {
            tokio::select! {
                // In this order: what has come is handed on, also where the peer takes no more.
                biased;
                () = abandoned.cancelled() => return,
                () = link.receive(stream.receiver, opened_here) => {}
                () = link.send(stream.sender, queue) => {}
            }
            link.tell(LinkEvent::Ended).await;
        });
        Self { generation, connection, opened_here, since: Instant::now(), out, abandon }
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
    /// peer that misbehaved or does not read.
    pub(super) fn close(self, reason: PartingReason) {
        match self.out.try_send(ToLink::Close(reason)) {
            // It ends by itself, within the time of a farewell.
            Ok(()) => drop(self.abandon.disarm()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.connection.close(CloseReason::from(reason));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
        if reason == PartingReason::Misbehaved {
            self.connection.close(CloseReason::from(reason));
        }
    }
}

/// What the task of a link works with.
struct Link {
    peer: NodeId,
    generation: u64,
    events: mpsc::Sender<FromPeer>,
    connection: Connection,
}

impl Link {
    /// Answers whether anybody listens.
    async fn tell(&self, event: LinkEvent) -> bool {
        let Self { peer, generation, .. } = *self;
        self.events.send(FromPeer::Link { peer, generation, event }).await.is_ok()
    }

    /// Sends what the driver has queued, until the peer wants no more or the farewell is over.
    async fn send(&self, mut sender: FrameSender, mut queue: mpsc::Receiver<ToLink>) {
        while let Some(order) = queue.recv().await {
            match order {
                ToLink::Send(message) => {
                    if let Err(error) = sender.send(&message).await {
                        tracing::debug!(peer = %self.peer.short(), %error, "a link broke off");
                        return;
                    }
                }
                ToLink::Close(reason) => {
                    let farewell = async {
                        sender.finish().await?;
                        sender.delivered().await
                    };
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    tracing::debug!(peer = %self.peer.short(), ?reason, "a link is closed");
                    return;
                }
            }
        }
    }

    /// Hands on what the peer sends, until it sends no more. `watch` is whether its silence is
    /// told, too.
    async fn receive(&self, mut receiver: FrameReceiver, watch: bool) {
        let bytes_in = || self.connection.stats().bytes_in;
        let mut pulse = Pulse::new(bytes_in());
        loop {
            let event = tokio::select! {
                message = receiver.recv() => match message {
                    Ok(Some(message)) => LinkEvent::Message(Box::new(message)),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(peer = %self.peer.short(), %error, "a link has ended");
                        return;
                    }
                },
                () = pulse.stops(bytes_in), if watch => LinkEvent::Silent,
            };
            if !self.tell(event).await {
                return;
            }
        }
    }
}

/// Notices that a peer answers nothing, long before its connection times out.
#[derive(Debug)]
struct Pulse {
    ticks: Interval,
    heard: u64,
    /// Looks in a row at which nothing had come.
    silent: u32,
    /// Looks in a row that were late.
    late: u32,
}

impl Pulse {
    fn new(heard: u64) -> Self {
        let mut ticks = interval_at(Instant::now() + PULSE, PULSE);
        // However late a look is, the next one is as much later: by then what waited has been read.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, heard, silent: 0, late: 0 }
    }

    /// Looks at the number of bytes that have come until that has stopped: once for each silence.
    /// Nothing is lost when it is dropped in between.
    async fn stops(&mut self, bytes_in: impl Fn() -> u64) {
        loop {
            let due = self.ticks.tick().await;
            let heard = bytes_in();
            // What came while this node did not run is not read yet. One that is always late looks all
            // the same.
            let is_late = due.elapsed() >= PULSE && self.late < MAX_LATE;
            self.late = if is_late { self.late + 1 } else { 0 };
            if is_late && heard == self.heard {
                continue;
            }
            self.silent = match heard == self.heard {
                true => self.silent.saturating_add(1),
                false => 0,
            };
            self.heard = heard;
            if self.silent == SILENT_LOOKS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::time::{advance, timeout};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_heard_with_each_keep_alive_is_alive() {
        let (mut pulse, start) = (Pulse::new(0), Instant::now());
        let keep_alives = || start.elapsed().as_secs() / 4;
        assert!(timeout(MINUTE, pulse.stops(keep_alives)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_once_and_again_after_the_peer_was_heard() {
        let (mut pulse, start) = (Pulse::new(7), Instant::now());
        pulse.stops(|| 7).await;
        assert_eq!(start.elapsed(), Duration::from_millis(6_500));
        assert!(timeout(MINUTE, pulse.stops(|| 7)).await.is_err(), "once");
        assert!(timeout(MINUTE, pulse.stops(|| 8)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_in_which_this_node_did_not_run_is_no_silence_of_its_peers() {
        let (mut pulse, heard) = (Pulse::new(0), AtomicU64::new(0));
        let bytes_in = || heard.load(Ordering::Relaxed);
        assert!(timeout(PULSE * 12 + PULSE / 2, pulse.stops(bytes_in)).await.is_err());
        // One more would do. What came meanwhile is read only after the first look.
        advance(MINUTE).await;
        assert_eq!(pulse.stops(bytes_in).now_or_never(), None);
        heard.store(1, Ordering::Relaxed);
        assert!(timeout(MINUTE / 10, pulse.stops(bytes_in)).await.is_err());
        // Whoever is silent also afterwards is found out.
        assert!(timeout(PULSE * 4, pulse.stops(bytes_in)).await.is_ok());
    }
}

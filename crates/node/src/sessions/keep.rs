//! Keeps a session: notices when its path dies, moves it to the reserve, sees to a new one, and
//! closes it when nobody uses it any more.

mod doubt;
mod leave;
mod look;

use super::answer::{Answered, Asking};
use super::error::SessionError;
use super::moving::{Change, Changes, Theirs};
use super::paths::{MAX_SLOTS, Paths, WORTH_BEGINNING, WORTH_MOVING};
use super::peer::PeerSession;
use super::pulse::Watch;
use super::relayed::{BIND_PATIENCE, NearEnd, micros};
use super::whereabouts::Own;
use super::{Sessions, hello};
use crate::daemon::clock::unix_now;
use doubt::{Contested, Doubt};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skein_net::{CloseReason, FrameReceiver, FrameSender, Stream};
use skein_proto::session::{RelayEnd, SessionHello, SessionNews};
use skein_proto::{Message, SignedCredential};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a session is kept that nobody uses: long enough for the next command of a person.
pub(super) const UNUSED: Duration = Duration::from_secs(60);

/// How often the reserve's binding is renewed: routers forget a mapping after 30 s at the earliest
/// (RFC 4787 asks for 2 minutes), and a relay an unused slot after 120 s.
const REFRESH: Duration = Duration::from_secs(20);

/// How long the callee leaves it to the caller to see to a reserve.
const CALLEE_WAITS: Duration = Duration::from_secs(3);

/// When a reserve is looked for again after that did not work, doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long the way to the peer is kept after a connection was closed: what tells the peer of it goes
/// that way, some time after this was asked for.
const FAREWELL: Duration = Duration::from_secs(1);

/// The least time between two slots of the peer's that are bound: whatever it names, this node
/// sends a few frames there.
const RESERVE_PACE: Duration = Duration::from_secs(1);

/// What has come of something that was begun.
enum Done {
    /// A relay that was suspected has answered, or not.
    Probed { slot: u64, alive: bool, since: Instant },
    /// The reserve has been bound anew, or not.
    Refreshed { slot: u64, alive: bool },
    /// A slot for a reserve has been granted and bound, or not.
    Reserve(Option<Arc<NearEnd>>),
    /// The offer has been answered, or refused.
    Answered(Result<Answered, SessionError>),
    /// A slot that the peer has named is bound, or not.
    Named { end: RelayEnd, near: Option<Arc<NearEnd>> },
}

/// The task of one session.
pub(super) struct Keeper {
    sessions: Sessions,
    session: Arc<PeerSession>,
    receiver: FrameReceiver,
    tell: Teller,
    watch: Watch,
    /// The slot in use is silent.
    doubt: Option<Doubt>,
    contested: Contested,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    probing: bool,
    seeking: bool,
    /// Slots that the peer has named and that are being bound here.
    binding: usize,
    reserve_due: Instant,
    retry: Duration,
    refresh_due: Instant,
    named_at: Option<Instant>,
    /// Credentials of relays that the peer may still show: each costs a check of a signature.
    whose_left: usize,
    /// The slots of whose relays the peer knows the nodes.
    told_whose: Vec<u64>,
    theirs: Theirs,
    unused_since: Option<Instant>,
    /// The peer has begun another session on the same connection.
    superseded: CancellationToken,
}

struct Teller(FrameSender);

impl Teller {
    async fn tell(&mut self, news: SessionNews) {
        self.send(&news.into()).await;
    }

    /// A few bytes fit into the stream's buffer, whatever becomes of the path.
    async fn send(&mut self, message: &Message) {
        let sent = self.0.send_within(message, Duration::from_secs(1)).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "news of a session were not sent");
        }
    }
}

impl Keeper {
    pub(super) fn new(sessions: Sessions, session: Arc<PeerSession>, stream: Stream) -> Self {
        let now = Instant::now();
        let waits = if session.is_dialler() { Duration::ZERO } else { CALLEE_WAITS };
        Self {
            sessions,
            session,
            receiver: stream.receiver,
            tell: Teller(stream.sender),
            watch: Watch::new(now),
            doubt: None,
            contested: Contested::default(),
            running: FuturesUnordered::new(),
            probing: false,
            seeking: false,
            binding: 0,
            reserve_due: now + waits,
            retry: FIRST_RETRY,
            refresh_due: now + REFRESH,
            named_at: None,
            whose_left: MAX_SLOTS,
            told_whose: Vec::new(),
            theirs: Theirs::default(),
            unused_since: None,
            superseded: CancellationToken::new(),
        }
    }

    /// Ends when this is cancelled, and leaves the connection as it is.
    pub(super) fn until(self, superseded: CancellationToken) -> Self {
        Self { superseded, ..self }
    }

    /// Runs until the connection or the session has ended. `later` are slots of the peer's to bind
    /// now that the session is there; `asking` is the offer, if it is not answered yet.
    pub(super) async fn run(mut self, later: Vec<RelayEnd>, asking: Option<Asking>) {
        later.into_iter().for_each(|end| self.bind_named(end));
        if let Some(asking) = asking {
            // The callee sees to a reserve in its answer.
            self.reserve_due += CALLEE_WAITS;
            self.running.push(asking.map(Done::Answered).boxed());
        }
        let connection = self.session.connection().clone();
        let mut look_at = Instant::now();
        let endpoint = &self.sessions.inner.parts.endpoint;
        let mut changes = Changes::new(endpoint, self.session.paths());
        let mut renewed = self.sessions.inner.parts.credential.clone();
        loop {
            changes.follow(self.session.paths());
            tokio::select! {
                error = connection.closed() => {
                    tracing::debug!(peer = %connection.peer().short(), %error, "a session has ended");
                    break;
                }
                news = self.receiver.recv() => match news {
                    Ok(Some(Message::SessionNews(news))) => self.on_news(news).await,
                    Ok(Some(Message::SessionHello(hello))) if self.is_proven_by(&hello) => {}
                    // Without its news, a session cannot be kept.
                    _ => {
                        self.let_go();
                        break;
                    }
                },
                () = self.superseded.cancelled() => break,
                Ok(()) = renewed.changed() => self.show_credential().await,
                change = changes.next() => self.on_change(change).await,
                Some(done) = self.running.next(), if !self.running.is_empty() => {
                    self.on_done(done).await;
                    self.tell_dropped().await;
                }
                // At a time that no news of the peer can put off.
                () = sleep_until(look_at) => {
                    self.look().await;
                    if self.session.has_expired(unix_now()) {
                        tracing::info!(peer = %self.session.node().short(), "a credential ran out");
                        self.let_go();
                        break;
                    }
                    if self.is_over() {
                        self.let_go();
                        break;
                    }
                    let now = Instant::now();
                    look_at = now + self.watch.next_look(now);
                }
            }
        }
        self.sessions.remove(&self.session);
    }

    async fn on_change(&mut self, change: Change) {
        let session = Arc::clone(&self.session);
        let Some(paths) = session.paths() else { return };
        match change {
            // Nothing that the peer sends over a relay arrives before that knows where this node is.
            Change::Network => paths.all().into_iter().for_each(|near| self.refresh(near)),
            Change::Own(own) => {
                let whereabouts = self.sessions.tellable(own);
                session.set_nats(Some(whereabouts.nat), None);
                let Own { nat, candidates } = whereabouts;
                self.tell.tell(SessionNews::Whereabouts { nat, candidates }).await;
                paths.look_for_direct();
            }
            Change::Path { doubtful } => {
                let before = session.path_now().kind;
                session.refresh_path();
                if session.path_now().kind != before {
                    self.watch.restart(Instant::now());
                }
                if doubtful {
                    // Relays may know this node elsewhere, too.
                    paths.all().into_iter().for_each(|near| self.refresh(near));
                    self.sessions.inner.whereabouts.doubt();
                }
            }
        }
    }

    /// Shows the credential that has taken the place of the one before.
    async fn show_credential(&mut self) {
        if let Ok(own) = self.sessions.own()
            && self.session.is_news(own.expires())
        {
            self.tell.send(&own.hello()).await;
        }
    }

    /// Whether the peer has shown that it has its name, for the first time or still.
    fn is_proven_by(&self, hello: &SessionHello) -> bool {
        let login_key = &self.sessions.inner.parts.login_key;
        match hello::check(hello, login_key, &self.session.node(), unix_now()) {
            Ok(shown) if shown.name == *self.session.name() => {
                self.session.holds_until(shown.expires);
                self.session.set_nats(None, Some(shown.nat));
                true
            }
            _ => false,
        }
    }

    /// Closes the connection, if it was made for this session. Another one, such as the link to the
    /// parent or that of a download, is left to those who use it, and closed for want of traffic.
    fn let_go(&self) {
        if let Some(paths) = self.session.keep_paths() {
            self.session.connection().close(CloseReason::Done);
            tokio::spawn(async move {
                sleep(FAREWELL).await;
                drop(paths);
            });
        }
    }

    /// Whether nobody has used the session for long. The dialler decides: the other side cannot
    /// know what it is still wanted for.
    fn is_over(&mut self) -> bool {
        let is_used = self.session.is_used(self.sessions.has_entered(&self.session));
        if is_used || !self.session.is_dialler() {
            self.unused_since = None;
            return false;
        }
        let since = *self.unused_since.get_or_insert_with(Instant::now);
        since.elapsed() >= self.sessions.inner.unused()
    }

    fn refresh(&mut self, near: Arc<NearEnd>) {
        self.running.push(Box::pin(async move {
            let alive = near.renew(BIND_PATIENCE).await;
            Done::Refreshed { slot: near.slot(), alive }
        }));
    }

    /// Looks for a reserve. The callee has only so many slots for those who call it.
    fn seek(&mut self, paths: &Paths) {
        self.seeking = true;
        let leave = match self.session.is_dialler() {
            true => None,
            false => match self.sessions.inner.callers.may_add(self.session.name()) {
                None => {
                    self.sessions.inner.counts.slot_withheld();
                    return self.running.push(Box::pin(async { Done::Reserve(None) }));
                }
                leave => leave,
            },
        };
        paths.drop_failed();
        let mut besides = paths.relays();
        besides.push(self.session.node());
        let sessions = self.sessions.clone();
        self.running.push(Box::pin(async move {
            let granted = sessions.inner.control.ask_slot(&besides, 0).await.ok();
            let endpoint = &sessions.inner.parts.endpoint;
            let near = match granted {
                Some(granted) => NearEnd::of_grant(endpoint, granted).await,
                None => None,
            };
            if let (Some(near), Some(leave)) = (&near, leave) {
                near.holds(leave);
            }
            Done::Reserve(near)
        }));
    }

    fn bind_named(&mut self, end: RelayEnd) {
        let (sessions, peer) = (self.sessions.clone(), self.session.node());
        self.binding += 1;
        self.running.push(Box::pin(async move {
            let endpoint = &sessions.inner.parts.endpoint;
            let near = match sessions.seal_for(&peer) {
                Some(seal) => sessions.ends_of(&end, &seal).await.prove_one(endpoint).await,
                None => None,
            };
            Done::Named { end, near }
        }));
    }

    async fn on_done(&mut self, done: Done) {
        let session = Arc::clone(&self.session);
        let Some(paths) = session.paths() else { return };
        match done {
            Done::Probed { slot, alive, since } => {
                self.probing = false;
                if !alive {
                    self.sessions.inner.whereabouts.doubt();
                }
                let used = paths.used().is_some_and(|near| near.slot() == slot);
                if !alive && used && !self.watch.heard_since(since) {
                    tracing::info!(peer = %session.node().short(), "a relay does not answer");
                    self.leave(slot, true, &[]).await;
                } else if alive && !self.watch.awaits_answer() {
                    // Neither end has anything to say.
                    self.trust(paths);
                }
            }
            Done::Refreshed { slot, alive } => {
                let used = paths.used().is_some_and(|near| near.slot() == slot);
                if !alive && used {
                    self.leave(slot, true, &[]).await;
                } else if !alive {
                    paths.drop_slot(slot);
                    session.refresh_path();
                }
            }
            Done::Reserve(near) => {
                self.seeking = false;
                self.reserve_due = Instant::now() + self.retry;
                self.retry = (self.retry * 2).min(LONGEST_RETRY);
                // The peer may have named one meanwhile.
                if let Some(near) = near.filter(|_| paths.reserve().is_none())
                    && let Some(seal) = self.sessions.seal_for(&session.node())
                    && let Some(end) = near.for_far_end(&seal)
                    && paths.add(Arc::clone(&near), None)
                {
                    self.tell.tell(SessionNews::Reserve(end)).await;
                    self.tell_whose(paths).await;
                }
            }
            Done::Answered(Err(error)) => {
                tracing::debug!(peer = %session.node().short(), %error, "no answer to the offer");
            }
            Done::Answered(Ok(answered)) => {
                session.set_nats(None, Some(answered.answer.nat));
                answered.tell(paths, true);
                answered.meet(paths);
                let later = answered.answer.relays.to_vec();
                later.into_iter().for_each(|end| self.bind_named(end));
                self.on_bound(paths, WORTH_BEGINNING).await;
            }
            Done::Named { end, near } => {
                self.binding -= 1;
                let (relay, slot) = (end.relay, end.slot);
                let far = Duration::from_micros(end.rtt_us.into());
                let rtt_us = near.as_ref().map(|near| micros(near.rtt()));
                let added = near.is_some_and(|near| paths.add(near, Some(far)));
                let news = match rtt_us.filter(|_| added) {
                    Some(rtt_us) => SessionNews::Bound { relay, slot, rtt_us },
                    None => SessionNews::Unbound { relay, slot },
                };
                self.tell.tell(news).await;
                self.on_bound(paths, WORTH_MOVING).await;
            }
        }
    }

    async fn on_news(&mut self, news: SessionNews) {
        let session = Arc::clone(&self.session);
        let Some(paths) = session.paths() else { return };
        match news {
            SessionNews::Reserve(end) => {
                let lately = self.named_at.is_some_and(|at| at.elapsed() < RESERVE_PACE);
                if lately {
                    let (relay, slot) = (end.relay, end.slot);
                    self.tell.tell(SessionNews::Unbound { relay, slot }).await;
                } else {
                    self.named_at = Some(Instant::now());
                    self.whose_left = (self.whose_left + 1).min(MAX_SLOTS);
                    paths.drop_failed();
                    self.bind_named(end);
                }
            }
            SessionNews::Bound { slot, rtt_us, .. } => {
                if paths.far_bound(slot, Duration::from_micros(rtt_us.into())) {
                    self.retry = FIRST_RETRY;
                }
                self.on_bound(paths, WORTH_MOVING).await;
            }
            SessionNews::Unbound { slot, .. } => {
                // The peer takes nothing there any more.
                if paths.used().is_some_and(|near| near.slot() == slot) {
                    self.leave(slot, true, &[]).await;
                } else {
                    paths.drop_slot(slot);
                    session.refresh_path();
                }
            }
            SessionNews::Moved { slot } => {
                if paths.move_to(slot) {
                    self.doubt = None;
                    self.watch.restart(Instant::now());
                    session.refresh_path();
                }
            }
            SessionNews::Whereabouts { nat, candidates } => {
                session.set_nats(None, Some(nat));
                // A punch needs two who know where they are.
                self.sessions.inner.whereabouts.doubt_what_is_old();
                self.theirs.named(&candidates);
                if let Some(theirs) = self.theirs.take(Instant::now()) {
                    paths.meet(theirs);
                }
            }
            // More credentials than relays were named are not worth a look.
            SessionNews::Relay(credential) if self.whose_left > 0 => {
                self.whose_left -= 1;
                self.learn_relay(&credential);
            }
            SessionNews::Relay(_) => {}
        }
    }

    /// Whose nodes the relays are that this node has been granted slots of, each once. A session
    /// begins before its callee has been granted one.
    async fn tell_whose(&mut self, paths: &Paths) {
        let all = paths.all();
        self.told_whose.retain(|slot| all.iter().any(|near| near.slot() == *slot));
        for near in all {
            if self.told_whose.contains(&near.slot()) {
                continue;
            }
            self.told_whose.push(near.slot());
            if let Some(credential) = near.credential() {
                self.learn_relay(credential);
                self.tell.tell(SessionNews::Relay(Box::new(credential.clone()))).await;
            }
        }
    }

    fn learn_relay(&self, credential: &SignedCredential) {
        let login_key = &self.sessions.inner.parts.login_key;
        let node = credential.unverified().node;
        if let Ok(whose) = credential.check(login_key, &node, unix_now()) {
            self.session.learn_relay(whose);
        }
    }

    /// The peer would count on them, and go there when its relay dies.
    async fn tell_dropped(&mut self) {
        let dropped = self.session.paths().map_or_else(Vec::new, Paths::take_dropped);
        for (relay, slot) in dropped {
            self.tell.tell(SessionNews::Unbound { relay, slot }).await;
        }
    }

    /// Both ends of further slots are bound: the dialler moves to the best if it is `worth` that.
    async fn on_bound(&mut self, paths: &Paths, worth: u32) {
        if self.session.is_dialler()
            && let Some(slot) = paths.better(worth)
            && paths.move_to(slot)
        {
            self.tell.tell(SessionNews::Moved { slot }).await;
        }
        self.session.refresh_path();
    }
}

//! Files from one person to another: offered, and fetched once the other one has said yes.
//!
//! ```text
//!   offer      one offer, on either side                               a small state machine
//!   book       all of them: in memory, on disk, told to those who watch
//!   tend       what is due for an offer, until nothing is
//!   sending    reading the file, offering it, taking it back           hash
//!   receiving  taking offers, fetching what was accepted, telling how it goes
//!   admission  how much others may say of offers
//!   grants     which names may fetch what, for the upload side of transfers
//! ```
//!
//! The bytes take the way of every download: verified, resumable, over whatever path there is.

mod admission;
mod book;
mod grants;
mod hash;
mod offer;
mod receiving;
mod sending;
mod tend;

pub(crate) use grants::OfferGrants;

use crate::api::backend::EventStream;
use crate::api::inbox::{FileOffer, OfferStage};
use crate::api::types::{ApiError, ErrorCode};
use crate::config::InboxAccept;
use crate::daemon::clock::unix_now;
use crate::people::People;
use crate::services::{Store, StoreError};
use crate::sessions::{PeerSession, Sessions};
use crate::transfer::{Transfers, is_invisible};
use admission::{Admission, Teller};
use book::Book;
use dashmap::DashMap;
use futures_util::{StreamExt, stream};
use skein_net::Stream;
use skein_proto::id::OfferId;
use skein_proto::inbox::{OfferNews, OfferState};
use skein_proto::message::MessageKind;
use skein_proto::{Message, Username};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Peers that are called about offers at the same time.
const MAX_CALLING: usize = 8;

/// How long a peer may take to answer a message about an offer: it writes to its disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked for offers that have expired.
const SWEEP: Duration = Duration::from_secs(60);

/// What the inbox is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) people: People,
    pub(crate) sessions: Sessions,
    pub(crate) transfers: Transfers,
    pub(crate) grants: Arc<OfferGrants>,
    /// Where files go that nobody has named another folder for.
    pub(crate) dir: PathBuf,
    /// Of whom offers are taken.
    pub(crate) accept: InboxAccept,
    pub(crate) ended: CancellationToken,
}

/// Files from and for people. Clones are the same.
#[derive(Clone)]
pub(crate) struct Inbox {
    inner: Arc<Inner>,
}

struct Inner {
    book: Book,
    people: People,
    sessions: Sessions,
    transfers: Transfers,
    grants: Arc<OfferGrants>,
    dir: PathBuf,
    accept: InboxAccept,
    /// The offers that something is done for.
    tended: DashMap<u64, Arc<Notify>>,
    /// The offers whose files are being fetched, until that is over.
    fetching: DashMap<u64, CancellationToken>,
    calling: Semaphore,
    admission: Admission,
    counts: Counts,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    full: AtomicU64,
    unsound: AtomicU64,
    not_wanted: AtomicU64,
    too_fast: AtomicU64,
    delivered: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InboxStats {
    /// Offers of others that were taken in.
    pub(crate) taken: u64,
    /// Offers of others for which there was no room.
    pub(crate) full: u64,
    /// Offers of others that no file can fit.
    pub(crate) unsound: u64,
    /// Offers of those of whom the user takes none.
    pub(crate) not_wanted: u64,
    /// What others said of offers too often.
    pub(crate) too_fast: u64,
    /// Offers that others have taken in.
    pub(crate) delivered: u64,
    /// Files received.
    pub(crate) received: u64,
    /// Files that others have received.
    pub(crate) sent: u64,
}

impl Inbox {
    /// Reads what is kept, goes on with it, and takes what peers say from now on. `changed` tells
    /// the offers whose file turned out to be another one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(crate) async fn start(
        parts: Parts,
        changed: mpsc::Receiver<u64>,
    ) -> Result<Self, StoreError> {
        let book = Book::open(parts.store, Arc::clone(&parts.grants)).await?;
        let inner = Inner {
            book,
            people: parts.people,
            sessions: parts.sessions,
            transfers: parts.transfers,
            grants: parts.grants,
            dir: parts.dir,
            accept: parts.accept,
            tended: DashMap::new(),
            fetching: DashMap::new(),
            calling: Semaphore::new(MAX_CALLING),
            admission: Admission::default(),
            counts: Counts::default(),
            ended: parts.ended,
        };
        let inbox = Self { inner: Arc::new(inner) };
        for blocked in inbox.inner.people.blocked() {
            // Where a crash came between the two.
            inbox.close_to(&blocked.name).await?;
        }
        inbox.listen();
        for offer in inbox.inner.book.all().await {
            inbox.mark(&offer).await;
            inbox.tend(offer.id);
        }
        tokio::spawn(inbox.clone().sweep(changed));
        Ok(inbox)
    }

    fn listen(&self) {
        use MessageKind::{OfferFile, OfferNews as News, WithdrawOffer};
        for kind in [OfferFile, News, WithdrawOffer] {
            // The sessions keep this for as long as they live, and the inbox keeps the sessions.
            let inbox = Arc::downgrade(&self.inner);
            self.inner.sessions.on_stream(kind, move |session, message, stream| {
                let inbox = inbox.upgrade().map(|inner| Self { inner });
                async move {
                    if let Some(inbox) = inbox
                        && let Some(news) = inbox.answer(&session, message).await
                    {
                        reply(stream, news).await;
                    }
                }
            });
        }
    }

    /// How an offer stands, after a peer has said something about it.
    async fn answer(&self, session: &PeerSession, message: Message) -> Option<OfferNews> {
        let standing = |name: &_, node: &_| self.inner.people.standing(name, node);
        let teller = Teller::new(session, standing);
        // What those hear who are not listened to: ever, and at this moment.
        let (offer, never, later) = match &message {
            Message::OfferFile(offered) => (offered.offer, OfferState::Refused, OfferState::Full),
            Message::OfferNews(news) => (news.offer, OfferState::Withdrawn, OfferState::Held),
            Message::WithdrawOffer(gone) => (gone.offer, OfferState::Refused, OfferState::Held),
            _ => return None,
        };
        let state = match message {
            _ if self.inner.people.has_blocked(teller.name) => {
                add(&self.inner.counts.not_wanted);
                never
            }
            _ if !self.inner.admission.may_say(teller) => {
                add(&self.inner.counts.too_fast);
                later
            }
            Message::OfferFile(offered) => self.on_offered(teller, offered).await,
            Message::OfferNews(news) => self.on_news(teller, news).await,
            _ => self.on_withdrawn(teller, offer).await,
        };
        Some(OfferNews { offer, state })
    }

    /// Whether what is kept may be changed for what this one says; counts if not.
    fn may_write(&self, teller: Teller<'_>) -> bool {
        let may = self.inner.admission.may_write(teller);
        if !may {
            add(&self.inner.counts.too_fast);
        }
        may
    }

    /// All offers.
    pub(crate) async fn offers(&self) -> Vec<FileOffer> {
        self.inner.book.all().await.iter().map(offer::Offer::shown).collect()
    }

    /// How all stand now, and every change from then on. Who listens too slowly hears how all stand
    /// once more.
    pub(crate) async fn events(&self) -> EventStream<FileOffer> {
        let (all, changes) = self.inner.book.watch().await;
        let state = (self.clone(), VecDeque::from(all), changes);
        stream::unfold(state, async |(inbox, mut waiting, mut changes)| {
            loop {
                if let Some(next) = waiting.pop_front() {
                    return Some((next, (inbox, waiting, changes)));
                }
                match changes.recv().await {
                    Ok(changed) => waiting.push_back(changed),
                    Err(RecvError::Lagged(_)) => {
                        let (all, later) = inbox.inner.book.watch().await;
                        (waiting, changes) = (all.into(), later);
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    /// Whose files are accepted without a question.
    pub(crate) async fn always(&self) -> Result<Vec<Username>, ApiError> {
        Ok(self.inner.book.always().await?)
    }

    /// Accepts the files of this name without a question, from now on, or asks again.
    pub(crate) async fn set_always(&self, name: &Username, always: bool) -> Result<(), ApiError> {
        if !always {
            return match self.inner.book.remove_always(name).await? {
                true => Ok(()),
                false => {
                    let why = format!("files of @{name} are not accepted without a question");
                    Err(ApiError::not_found(why))
                }
            };
        }
        if self.inner.accept == InboxAccept::Nobody {
            let why = "this node takes files from nobody: start it with `--inbox-accept buddies` or \
                       `everybody` first";
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        match self.inner.book.add_always(name).await? {
            true => Ok(()),
            false => Err(ApiError::new(ErrorCode::Conflict, "there are too many such names")),
        }
    }

    /// Ends all that is open with somebody whom the user has blocked: what was offered to them is
    /// taken back, what they offer is refused, and nothing of theirs is accepted by itself. They
    /// are not called for that, and hear it when they ask.
    pub(crate) async fn close_to(&self, name: &Username) -> Result<(), StoreError> {
        self.inner.book.remove_always(name).await?;
        for offer in self.inner.book.all().await.into_iter().filter(|it| it.peer == *name) {
            self.inner.book.change(offer.id, offer::Offer::close).await?;
            self.tend(offer.id);
        }
        Ok(())
    }

    /// Counts since the start.
    pub(crate) fn stats(&self) -> InboxStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.inner.counts;
        InboxStats {
            taken: get(&counts.taken),
            full: get(&counts.full),
            unsound: get(&counts.unsound),
            not_wanted: get(&counts.not_wanted),
            too_fast: get(&counts.too_fast),
            delivered: get(&counts.delivered),
            received: get(&counts.received),
            sent: get(&counts.sent),
        }
    }

    /// Whether something is being done for an offer.
    #[cfg(test)]
    pub(crate) fn is_tending(&self, id: u64) -> bool {
        self.inner.tended.contains_key(&id)
    }

    /// How an offer is named between nodes.
    #[cfg(test)]
    pub(crate) async fn wire_id(&self, id: u64) -> OfferId {
        self.inner.book.get(id).await.expect("there is one").offer
    }

    /// Looks for what has expired, and for what the upload side has found changed.
    async fn sweep(self, mut changed: mpsc::Receiver<u64>) {
        let ended = self.inner.ended.clone();
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                Some(id) = changed.recv() => {
                    // Should it not be kept, whoever fetches it next finds it changed again.
                    let _ = self.fail(id, "the file has changed").await;
                    self.tend(id);
                }
                () = tokio::time::sleep(SWEEP) => {
                    let now = unix_now();
                    for offer in self.inner.book.all().await {
                        if offer.may_expire() && offer.expires <= now {
                            // It stays due until it is kept.
                            let _ = self.expire(offer.id).await;
                            self.tend(offer.id);
                        }
                    }
                }
            }
        }
    }

    async fn expire(&self, id: u64) -> Result<(), NotKept> {
        self.set(id, |offer| {
            // The sender knows when it expires; what was being fetched is another matter.
            offer.told = offer.outgoing || offer.stage != OfferStage::Accepted;
            offer.stage = OfferStage::Expired;
            true
        })
        .await
        .map(drop)
    }

    /// It does not work, for a reason on this side.
    async fn fail(&self, id: u64, reason: &str) -> Result<(), NotKept> {
        self.set(id, |offer| {
            let fails = !offer.stage.is_final();
            if fails {
                offer.stage = OfferStage::Failed { reason: reason.to_owned() };
                offer.told = offer.outgoing && offer.node.is_none();
                offer.waits = None;
            }
            fails
        })
        .await
        .map(drop)
    }

    /// Changes an offer, and answers how it is then, if there is one. What cannot be kept is not
    /// changed, and said in the log.
    async fn set(
        &self,
        id: u64,
        change: impl FnOnce(&mut offer::Offer) -> bool,
    ) -> Result<Option<offer::Offer>, NotKept> {
        self.inner.book.change(id, change).await.map_err(|error| {
            tracing::error!(%error, "the state of an offer cannot be kept");
            NotKept
        })
    }

    /// Lets no offer come any further on disk than that its file is to be read.
    #[cfg(test)]
    pub(crate) async fn keep_nothing_more(&self) {
        self.inner.book.keep_nothing_more().await;
    }

    /// How often something could not be kept since then.
    #[cfg(test)]
    pub(crate) async fn failed_to_keep(&self) -> i64 {
        self.inner.book.failed_to_keep().await
    }
}

/// The state of an offer could not be written to disk (local); it stays what it was.
#[derive(Clone, Copy, Debug)]
struct NotKept;

async fn reply(mut stream: Stream, news: OfferNews) {
    // A peer that does not hear it says it again.
    if stream.sender.send_within(&news.into(), PATIENCE).await.is_ok() {
        let _ = stream.sender.finish().await;
    }
}

/// Says something about an offer, and answers what the peer makes of it.
async fn exchange(session: &PeerSession, offer: OfferId, message: Message) -> Option<OfferState> {
    let talk = async {
        let mut stream = session.connection().open_stream().await.ok()?;
        match stream.request(&message, PATIENCE).await {
            Ok(Some(Message::OfferNews(news))) if news.offer == offer => Some(news.state),
            _ => None,
        }
    };
    tokio::time::timeout(PATIENCE, talk).await.ok()?
}

/// A text of strangers as one line without anything that a terminal would obey or that hides.
fn clean_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let shown = text.chars().filter(|&c| !is_invisible(c));
    let clean: String = shown.map(|c| if breaks(c) { ' ' } else { c }).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_stranger_commands_no_terminal_and_hides_nothing() {
        assert_eq!(clean_line(" for\tyou\u{1b}[2J\n"), "for you [2J");
        assert_eq!(clean_line("gpj\u{202e}exe"), "gpjexe");
        assert_eq!(clean_line("a\u{61c}b\u{2028}c\u{2029}d"), "ab c d");
        assert_eq!(clean_line("音楽 ♪"), "音楽 ♪");
    }
}

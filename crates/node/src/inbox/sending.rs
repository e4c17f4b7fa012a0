//! The sender's side.

use super::grants::stamp;
use super::hash::hash;
use super::offer::{LIFE, Offer};
use super::{Inbox, Teller, add, clean_line, exchange};
use crate::api::inbox::{FileOffer, OfferStage, SendFile};
use crate::api::types::{ApiError, ErrorCode};
use crate::daemon::clock::unix_now;
use crate::sessions::{PeerName, PeerSession, SessionError};
use crate::transfer::clean_name;
use skein_proto::id::OfferId;
use skein_proto::inbox::{MAX_NOTE, OfferFile, OfferNews, OfferState, WithdrawOffer};
use skein_proto::{BoundedString, Message};
use skein_swarm::MAX_FILE_BYTES;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Offers of one's own that are not over. Each one that has not arrived calls its receiver now and
/// then.
const MAX_OPEN: usize = 200;

/// How often the progress of reading is shown.
const SHOW_TIME: Duration = Duration::from_millis(200);

impl Inbox {
    /// Offers a file to a person; it is read and offered in the background.
    pub(crate) async fn send(&self, asked: SendFile) -> Result<FileOffer, ApiError> {
        let bad = |why: String| Err(ApiError::bad_request(why));
        let peer: PeerName = match asked.peer.parse() {
            Ok(peer) => peer,
            Err(wrong) => return bad(format!("{wrong}")),
        };
        let (peer, node) = match peer {
            PeerName::User(name) => (name, None),
            PeerName::NodeOf(name, mark) => {
                let node = self.inner.sessions.whole_id(&name, &mark).await?;
                (name, Some(node))
            }
            PeerName::Node(_) => return bad("a file is for a person: name @NAME".to_owned()),
        };
        let note = clean_line(&asked.note);
        if note.len() > MAX_NOTE {
            return bad(format!("the line of text has over {MAX_NOTE} bytes"));
        }
        let shown = asked.path.display();
        if !asked.path.is_absolute() {
            return bad("the path of a file must be absolute".to_owned());
        }
        let (size, modified) = match look(&asked.path).await {
            Ok(found) => found,
            Err(error) => return bad(format!("cannot read {shown}: {error}")),
        };
        if size == 0 {
            return bad(format!("{shown} is empty: there is nothing to send"));
        }
        if size > MAX_FILE_BYTES {
            return bad(format!("{shown} is larger than any file system holds"));
        }
        self.inner.people.not_oneself(&peer)?;
        let now = unix_now();
        let name = asked.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let offer = Offer {
            id: 0,
            offer: OfferId::from_bytes(rand::random()),
            outgoing: true,
            peer,
            node,
            name: clean_name(&name, "file"),
            size,
            content: None,
            note,
            path: Some(asked.path),
            modified,
            stage: OfferStage::Hashing,
            bytes: 0,
            told: true,
            waits: None,
            since: now,
            expires: now.plus(LIFE),
        };
        let has_room = |known: &std::collections::BTreeMap<u64, Offer>| {
            known.values().filter(|it| it.outgoing && !it.stage.is_final()).count() < MAX_OPEN
        };
        let Some(offer) = self.inner.book.add(offer, has_room).await? else {
            let why = format!("{MAX_OPEN} files are offered already: withdraw some first");
            return Err(ApiError::new(ErrorCode::Conflict, why));
        };
        self.tend(offer.id);
        Ok(offer.shown())
    }

    /// Takes an offer of one's own back.
    pub(crate) async fn withdraw(&self, id: u64) -> Result<FileOffer, ApiError> {
        let offer = self.of_side(id, true).await?;
        if !offer.may_be_withdrawn() {
            let why = format!("offer {id} is over already");
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let withdrawn = self.inner.book.change(id, |offer| {
            let open = offer.may_be_withdrawn();
            if open {
                // A receiver that has not heard of it need not hear that it is gone.
                offer.told = matches!(offer.stage, OfferStage::Hashing) || offer.node.is_none();
                offer.stage = OfferStage::Withdrawn;
                offer.waits = None;
            }
            open
        });
        let withdrawn = withdrawn.await?;
        self.tend(id);
        withdrawn.map(|offer| offer.shown()).ok_or_else(|| no_such(id))
    }

    /// The offer of that number, if it is of this side.
    pub(super) async fn of_side(&self, id: u64, outgoing: bool) -> Result<Offer, ApiError> {
        let offer = self.inner.book.get(id).await.ok_or_else(|| no_such(id))?;
        match (offer.outgoing, outgoing) {
            (true, true) | (false, false) => Ok(offer),
            (true, false) => {
                let why = format!("{id} is an offer of yours: take it back with `withdraw`");
                Err(ApiError::bad_request(why))
            }
            (false, true) => {
                let why = format!("{id} is an offer to you: decline it with `refuse`");
                Err(ApiError::bad_request(why))
            }
        }
    }

    /// Reads the file. Answers whether that is over, and kept.
    pub(super) async fn read_file(&self, offer: &Offer, nudge: &Notify) -> bool {
        let Some(path) = offer.path.clone() else { return false };
        let progress = Arc::new(AtomicU64::new(0));
        let cancel = CancellationToken::new();
        // When this is dropped, nobody wants it any more.
        let _end = cancel.clone().drop_guard();
        let (outbox, counted) = (self.inner.grants.outbox().to_owned(), Arc::clone(&progress));
        let stop = cancel.clone();
        let mut reading =
            tokio::task::spawn_blocking(move || hash(&path, &outbox, &counted, &stop));
        let hashed = loop {
            tokio::select! {
                hashed = &mut reading => break hashed,
                () = nudge.notified() => {
                    let now = self.inner.book.get(offer.id).await;
                    if now.is_none_or(|now| now.stage != OfferStage::Hashing) {
                        cancel.cancel();
                    }
                }
                () = tokio::time::sleep(SHOW_TIME) => {
                    let read = progress.load(Ordering::Relaxed);
                    self.inner.book.progress(offer.id, read).await;
                }
            }
        };
        let kept = match hashed.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(hashed) => {
                let kept = self.set(offer.id, |offer| {
                    let wanted = offer.stage == OfferStage::Hashing;
                    if wanted {
                        offer.content = Some(hashed.content);
                        (offer.size, offer.modified) = (hashed.size, hashed.modified);
                        (offer.stage, offer.bytes) = (OfferStage::Queued, 0);
                    }
                    wanted
                });
                kept.await.map(drop)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            Err(error) => self.fail(offer.id, &format!("cannot read the file: {error}")).await,
        };
        kept.is_ok()
    }

    /// Offers it. Answers whether the receiver has answered, and that is kept.
    pub(super) async fn deliver(&self, offer: &Offer) -> bool {
        let Some(content) = offer.content else { return false };
        let session = match self.call(offer).await {
            Ok(session) => session,
            Err(error @ SessionError::Own) => {
                return self.fail(offer.id, &error.to_string()).await.is_ok();
            }
            Err(error) => return self.wait(offer.id, error.to_string()).await,
        };
        let message = OfferFile {
            offer: offer.offer,
            name: BoundedString::truncated(&offer.name),
            size: offer.size,
            content,
            note: BoundedString::truncated(&offer.note),
        };
        let node = session.node();
        if self.inner.people.is_new_node(&offer.peer, &node) {
            let peer = &offer.peer;
            let why = format!(
                "@{peer} has a new key: run `skein buddies trust @{peer}` if that is right"
            );
            return self.wait(offer.id, why).await;
        }
        // From now on it may be there, whatever comes back.
        let noted = self.set(offer.id, |offer| offer.node.replace(node) != Some(node)).await;
        if noted.is_err() {
            return false;
        }
        let state = match exchange(&session, offer.offer, message.into()).await {
            Some(OfferState::Full) => {
                let why = format!("@{} has too many offers to decide on", offer.peer);
                return self.wait(offer.id, why).await;
            }
            Some(state) => state,
            None => return self.wait(offer.id, "the peer does not answer".to_owned()).await,
        };
        let heard = self.set(offer.id, |offer| {
            offer.waits = None;
            offer.heard(state, unix_now())
        });
        let Ok(heard) = heard.await else { return false };
        if heard.is_some_and(|offer| offer.stage != OfferStage::Queued) {
            add(&self.inner.counts.delivered);
            return true;
        }
        self.fail(offer.id, "the receiver does not take it").await.is_ok()
    }

    /// It goes on later, and this is why.
    async fn wait(&self, id: u64, why: String) -> bool {
        self.inner.book.waits(id, why).await;
        false
    }

    /// Tells the receiver that the offer is gone. Answers whether it knows, and that is kept.
    pub(super) async fn take_back(&self, offer: &Offer) -> bool {
        if offer.expires > unix_now() {
            let Ok(session) = self.call(offer).await else { return false };
            let message = Message::from(WithdrawOffer { offer: offer.offer });
            match exchange(&session, offer.offer, message).await {
                // A receiver that could not take it down still holds it.
                None | Some(OfferState::Held) => return false,
                Some(_) => {}
            }
        }
        let told = self.set(offer.id, |offer| !std::mem::replace(&mut offer.told, true));
        told.await.is_ok()
    }

    /// A session with the other side of an offer.
    pub(super) async fn call(&self, offer: &Offer) -> Result<Arc<PeerSession>, SessionError> {
        let name = offer.peer.clone();
        let peer = match offer.node {
            Some(node) => PeerName::NodeOf(name, node.into()),
            None => PeerName::User(name),
        };
        let _place = self.inner.calling.acquire().await.map_err(|_| SessionError::Ending)?;
        self.inner.sessions.open(&peer).await
    }

    /// The receiver says how an offer stands.
    pub(super) async fn on_news(&self, teller: Teller<'_>, news: OfferNews) -> OfferState {
        let Some(offer) = self.inner.book.find(true, teller.name, news.offer).await else {
            return OfferState::Unknown;
        };
        let now = unix_now();
        let is_gone = |offer: &Offer| {
            matches!(offer.stage, OfferStage::Withdrawn | OfferStage::Expired)
                || offer.expires <= now
        };
        if is_gone(&offer) {
            return OfferState::Withdrawn;
        }
        let was_done = offer.stage == OfferStage::Done;
        let (id, size) = (offer.id, offer.size);
        let heard = if offer.clone().heard(news.state, now) {
            if !self.may_write(teller) {
                return OfferState::Held;
            }
            let heard = self.set(id, |offer| offer.heard(news.state, now)).await;
            // Whoever offers it hears of it, too.
            self.tend(id);
            heard.ok().flatten()
        } else {
            Some(offer)
        };
        match heard {
            Some(offer) if is_gone(&offer) => OfferState::Withdrawn,
            Some(offer) => {
                if offer.stage == OfferStage::Done && !was_done {
                    add(&self.inner.counts.sent);
                }
                if let OfferState::Accepted { verified } = news.state {
                    self.inner.book.progress(id, verified.min(size)).await;
                }
                news.state
            }
            // It could not be kept, and is to be told again.
            None => OfferState::Held,
        }
    }
}

pub(super) fn no_such(id: u64) -> ApiError {
    ApiError::not_found(format!("there is no offer number {id}: `skein inbox --sent` lists all"))
}

/// The length of a regular file, and when it was changed the last time.
async fn look(path: &Path) -> io::Result<(u64, Option<i64>)> {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_dir() {
            let why = "it is a folder: send its files, or one archive of them";
            return Err(io::Error::new(io::ErrorKind::IsADirectory, why));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        stamp(&path)
    });
    looked.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

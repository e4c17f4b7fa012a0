//! The receiver's side.

use super::offer::{LIFE, Offer};
use super::sending::no_such;
use super::{Inbox, Teller, add, clean_line, exchange};
use crate::api::inbox::{AcceptOffer, FileOffer, OfferStage};
use crate::api::types::{ApiError, Download, DownloadState, ErrorCode, Source};
use crate::config::InboxAccept;
use crate::daemon::clock::unix_now;
use crate::transfer::{Folder, clean_name};
use dashmap::DashMap;
use skein_proto::Message;
use skein_proto::id::OfferId;
use skein_proto::inbox::{OfferFile, OfferNews, OfferState};
use skein_swarm::MAX_FILE_BYTES;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Undecided offers of one name, and of all. A person decides on some; more are somebody's attempt
/// to bury them.
const MAX_OF_PEER: usize = 20;
const MAX_IN_ALL: usize = 200;

/// How often the sender is told how far it is, at most.
const TELL_TIME: Duration = Duration::from_secs(1);

/// How long a sender that could not be told that its file is wanted is left alone.
const TELL_AGAIN: Duration = Duration::from_secs(10);

impl Inbox {
    /// Somebody offers a file. Answers how the offer stands then.
    pub(super) async fn on_offered(&self, teller: Teller<'_>, offered: OfferFile) -> OfferState {
        let (counts, Teller { name: peer, node, .. }) = (&self.inner.counts, teller);
        if let Some(known) = self.inner.book.find(false, peer, offered.offer).await {
            if !known.stage.is_final() && known.node != Some(node) && self.may_write(teller) {
                // What is not kept is said again by the sender.
                let _ = self.set(known.id, |offer| offer.node.replace(node) != Some(node)).await;
            }
            return known.news();
        }
        if offered.size == 0 || offered.size > MAX_FILE_BYTES {
            add(&counts.unsound);
            return OfferState::Failed;
        }
        if !self.inner.admission.may_offer(teller) {
            add(&counts.too_fast);
            return OfferState::Full;
        }
        let always = self.inner.book.always().await.is_ok_and(|names| names.contains(peer));
        if !self.takes_of(teller, always) {
            add(&counts.not_wanted);
            return OfferState::Refused;
        }
        let now = unix_now();
        let offer = Offer {
            id: 0,
            offer: offered.offer,
            outgoing: false,
            peer: peer.clone(),
            node: Some(node),
            name: clean_name(offered.name.as_str(), &offered.content.short()),
            size: offered.size,
            content: Some(offered.content),
            note: clean_line(offered.note.as_str()),
            path: None,
            modified: None,
            stage: OfferStage::Offered,
            bytes: 0,
            told: true,
            waits: None,
            since: now,
            expires: now.plus(LIFE),
        };
        let has_room = |known: &BTreeMap<u64, Offer>| {
            let of_peer = |it: &&Offer| it.peer == *peer;
            let theirs = || known.values().filter(|it| !it.outgoing);
            let open = || theirs().filter(|it| it.stage == OfferStage::Offered);
            let same = |it: &Offer| it.offer == offered.offer && it.peer == *peer;
            !theirs().any(same)
                && open().count() < MAX_IN_ALL
                && open().filter(of_peer).count() < MAX_OF_PEER
        };
        let taken = match self.inner.book.add(offer, has_room).await {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                add(&counts.full);
                return OfferState::Full;
            }
            Err(error) => {
                tracing::error!(%error, "an offer cannot be kept");
                return OfferState::Full;
            }
        };
        add(&counts.taken);
        tracing::info!(peer = peer.as_str(), name = taken.name, "a file is offered");
        self.mark(&taken).await;
        let is_known = !self.inner.people.is_new_node(peer, &node);
        if always
            && is_known
            && let Ok(Some(accepted)) = self.take(taken.id, None).await
        {
            return accepted.news();
        }
        taken.news()
    }

    /// Whether the user takes offers of this peer at all; `always`: the files of that name are
    /// accepted without a question.
    fn takes_of(&self, Teller { name, node, .. }: Teller<'_>, always: bool) -> bool {
        let people = &self.inner.people;
        match self.inner.accept {
            InboxAccept::Everybody => true,
            InboxAccept::Buddies => {
                (always || people.is_buddy(name)) && !people.is_new_node(name, &node)
            }
            InboxAccept::Nobody => false,
        }
    }

    /// Says of an offer that it comes from a node which its sender, a buddy, was not known by.
    pub(super) async fn mark(&self, offer: &Offer) {
        let Some(node) = offer.node else { return };
        if !offer.outgoing
            && offer.stage == OfferStage::Offered
            && self.inner.people.is_new_node(&offer.peer, &node)
        {
            let why = format!("careful, @{} was not known by this node until now", offer.peer);
            self.inner.book.waits(offer.id, why).await;
        }
    }

    /// The sender takes an offer back.
    pub(super) async fn on_withdrawn(&self, teller: Teller<'_>, offer: OfferId) -> OfferState {
        let Some(offer) = self.inner.book.find(false, teller.name, offer).await else {
            return OfferState::Unknown;
        };
        if offer.stage.is_final() {
            return offer.news();
        }
        if !self.may_write(teller) {
            return OfferState::Held;
        }
        let gone = self.gone(offer.id).await;
        self.tend(offer.id);
        gone.map_or(OfferState::Held, |offer| offer.news())
    }

    /// The sender has taken an offer back; what is over stays what it is.
    async fn gone(&self, id: u64) -> Option<Offer> {
        self.set(id, |offer| {
            let open = !offer.stage.is_final();
            if open {
                offer.stage = OfferStage::Withdrawn;
                offer.told = true;
                offer.waits = None;
            }
            open
        })
        .await
        .ok()
        .flatten()
    }

    /// Accepts a file, or tries again to fetch one.
    pub(crate) async fn accept(&self, id: u64, accept: AcceptOffer) -> Result<FileOffer, ApiError> {
        let offer = self.of_side(id, false).await?;
        match &accept.dir {
            Some(dir) if !dir.is_absolute() => {
                return Err(ApiError::bad_request("the folder must be absolute"));
            }
            _ => {}
        }
        let elsewhere = accept.dir.is_some() && accept.dir != offer.path;
        if offer.stage == OfferStage::Accepted && elsewhere {
            let why = format!("offer {id} is being fetched into another folder already");
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let may = matches!(
            offer.stage,
            OfferStage::Offered | OfferStage::Accepted | OfferStage::Failed { .. }
        );
        if !may || offer.expires <= unix_now() {
            let why = format!("offer {id} cannot be accepted: {}", how_it_ended(&offer.stage));
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let accepted = self.take(id, accept.dir).await?.ok_or_else(|| no_such(id))?;
        Ok(accepted.shown())
    }

    async fn take(&self, id: u64, dir: Option<PathBuf>) -> Result<Option<Offer>, ApiError> {
        let change = |offer: &mut Offer| {
            let new = offer.stage != OfferStage::Accepted;
            if new {
                offer.stage = OfferStage::Accepted;
                offer.path = dir.or(offer.path.take());
                offer.told = false;
                offer.waits = None;
                offer.expires = unix_now().plus(LIFE);
            }
            new
        };
        let taken = self.inner.book.change(id, change).await?;
        self.tend(id);
        Ok(taken)
    }

    /// Declines a file, or calls the fetching of it off: nothing of it stays then. A file that comes
    /// in first is here, and cannot be refused any more.
    pub(crate) async fn refuse(&self, id: u64) -> Result<FileOffer, ApiError> {
        let offer = self.of_side(id, false).await?;
        if !matches!(offer.stage, OfferStage::Offered | OfferStage::Accepted) {
            return Err(not_refused(&offer));
        }
        let change = |offer: &mut Offer| {
            let open = !offer.stage.is_final();
            if open {
                offer.stage = OfferStage::Refused;
                offer.told = false;
                offer.waits = None;
            }
            open
        };
        let refused = self.inner.book.change(id, change).await?.ok_or_else(|| no_such(id))?;
        self.tend(id);
        // Whoever fetches it knows which of the two was first.
        let fetching = self.inner.fetching.get(&id).map(|over| over.clone());
        let Some(over) = fetching else { return Ok(refused.shown()) };
        over.cancelled().await;
        let now = self.of_side(id, false).await?;
        if now.stage == OfferStage::Done { Err(not_refused(&now)) } else { Ok(now.shown()) }
    }

    /// Fetches an accepted file, and tells the sender how it goes. Answers whether that is over,
    /// and kept.
    pub(super) async fn fetch(&self, offer: &Offer, nudge: &Notify) -> bool {
        let (id, transfers) = (offer.id, &self.inner.transfers);
        let (Some(content), Some(node)) = (offer.content, offer.node) else { return false };
        let _fetching = Fetching::begin(&self.inner.fetching, id);
        // Whoever refuses it looks for the above after having put that on record, and this is the
        // other way round: one of the two sees the other.
        if self.inner.book.get(id).await.is_none_or(|now| now.stage != OfferStage::Accepted) {
            return true;
        }
        let source = Source { node, name: offer.peer.clone(), addresses: Vec::new(), parent: node };
        let folder = match &offer.path {
            Some(dir) => Folder::AskedFor(dir),
            None => Folder::Usual(&self.inner.dir),
        };
        let started = transfers.start_private(content, &offer.name, vec![source], folder).await;
        let claim = match started {
            Ok(claim) => claim,
            Err(error) => return self.fail(id, &error.to_string()).await.is_ok(),
        };
        let Some(view) = transfers.watch(claim.id()) else { return false };
        let ended = self.follow(offer, view, nudge).await;
        match ended {
            Some(Ok(path)) => self.arrived(offer, path).await,
            Some(Err(reason)) => {
                transfers.give_up(claim).await;
                self.fail(id, &reason).await.is_ok()
            }
            // Somebody has decided otherwise meanwhile, if that could be kept.
            None => {
                let now = self.inner.book.get(id).await.map(|now| now.stage);
                if matches!(now, Some(OfferStage::Refused | OfferStage::Withdrawn)) {
                    if let Some(path) = transfers.discard(claim).await {
                        return self.arrived(offer, path).await;
                    }
                } else {
                    transfers.give_up(claim).await;
                }
                let now = self.inner.book.get(id).await;
                now.is_none_or(|now| now.stage != OfferStage::Accepted)
            }
        }
    }

    /// The file is here. Answers whether that is kept.
    async fn arrived(&self, offer: &Offer, path: PathBuf) -> bool {
        let size = offer.size;
        let done = self.set(offer.id, |offer| {
            // A refusal that came too late: nobody has heard of it yet, since it is told when the
            // fetching is over.
            let too_late = offer.stage == OfferStage::Refused && !offer.told;
            let is_so = offer.stage == OfferStage::Accepted || too_late;
            if is_so {
                offer.stage = OfferStage::Done;
                (offer.path, offer.bytes) = (Some(path), size);
                (offer.told, offer.waits) = (false, None);
            }
            is_so
        });
        let Ok(done) = done.await else { return false };
        if done.is_some_and(|offer| offer.stage == OfferStage::Done) {
            add(&self.inner.counts.received);
        }
        true
    }

    /// Watches a download to its end: the file, or why there is none. `None` if the offer is not
    /// accepted any more.
    async fn follow(
        &self,
        offer: &Offer,
        mut view: watch::Receiver<Download>,
        nudge: &Notify,
    ) -> Option<Result<PathBuf, String>> {
        let mut told = offer.told.then_some(0);
        let mut tell_at = Instant::now();
        loop {
            let shown = view.borrow_and_update().clone();
            // The content id names the bytes, and nothing but them says how many there are.
            if shown.size.is_some_and(|size| size != offer.size) {
                return Some(Err("it has not the size that was offered".to_owned()));
            }
            self.inner.book.progress(offer.id, shown.verified).await;
            match &shown.state {
                DownloadState::Done => return Some(Ok(shown.path)),
                DownloadState::Failed { reason } => return Some(Err(reason.clone())),
                DownloadState::Cancelled => return Some(Err("it was called off".to_owned())),
                DownloadState::Waiting { reason } => {
                    self.inner.book.waits(offer.id, reason.clone()).await;
                }
                DownloadState::Running | DownloadState::Checking { .. } => {}
            }
            tokio::select! {
                changed = view.changed() => changed.ok()?,
                () = nudge.notified() => {
                    let now = self.inner.book.get(offer.id).await?;
                    if now.stage != OfferStage::Accepted {
                        return None;
                    }
                }
                () = tokio::time::sleep_until(tell_at), if told != Some(shown.verified) => {
                    let state = OfferState::Accepted { verified: shown.verified };
                    let said = tokio::select! {
                        said = self.say(offer, state, told.is_none()) => said,
                        // A peer that does not answer keeps nobody waiting who decides here.
                        () = nudge.notified() => {
                            nudge.notify_one();
                            continue;
                        }
                    };
                    match said {
                        Some(OfferState::Unknown | OfferState::Withdrawn) => {
                            self.gone(offer.id).await;
                            return None;
                        }
                        Some(_) => {
                            // Without it the offer ends sooner, at the worst.
                            let _ = self.set(offer.id, |offer| offer.renew(unix_now())).await;
                            told = Some(shown.verified);
                            tell_at = Instant::now() + TELL_TIME;
                        }
                        None => tell_at = Instant::now() + TELL_AGAIN,
                    }
                }
            }
        }
    }

    /// Tells the sender how an offer ended. Answers whether it knows now, and that is kept.
    pub(super) async fn tell(&self, offer: &Offer) -> bool {
        let expired = offer.expires <= unix_now();
        let heard = if expired { None } else { self.say(offer, offer.news(), true).await };
        let told = expired || heard.is_some_and(|state| state != OfferState::Held);
        if !told {
            return false;
        }
        let stage = offer.stage.clone();
        let kept = self.set(offer.id, |offer| {
            // Only what was told is known.
            offer.stage == stage && !std::mem::replace(&mut offer.told, true)
        });
        kept.await.is_ok()
    }

    /// Says how an offer stands; a session is opened for it only if `opens`.
    async fn say(&self, offer: &Offer, state: OfferState, opens: bool) -> Option<OfferState> {
        let live = self.inner.sessions.live(&offer.node?);
        let session = match live {
            Some(session) => session,
            None if opens => self.call(offer).await.ok()?,
            None => return None,
        };
        let news = OfferNews { offer: offer.offer, state };
        exchange(&session, offer.offer, Message::from(news)).await
    }
}

/// A file is being fetched for an offer, for as long as this lives.
struct Fetching<'a> {
    all: &'a DashMap<u64, CancellationToken>,
    id: u64,
}

impl<'a> Fetching<'a> {
    fn begin(all: &'a DashMap<u64, CancellationToken>, id: u64) -> Self {
        all.insert(id, CancellationToken::new());
        Self { all, id }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if let Some((_, over)) = self.all.remove(&self.id) {
            over.cancel();
        }
    }
}

fn not_refused(offer: &Offer) -> ApiError {
    let why = format!("offer {} cannot be refused: {}", offer.id, how_it_ended(&offer.stage));
    ApiError::new(ErrorCode::Conflict, why)
}

fn how_it_ended(stage: &OfferStage) -> &'static str {
    match stage {
        OfferStage::Done => "the file is here already",
        OfferStage::Refused => "it was refused",
        OfferStage::Withdrawn => "its sender has taken it back",
        OfferStage::Accepted => "it is accepted already",
        _ => "it has expired",
    }
}

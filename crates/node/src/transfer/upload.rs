//! Serving others: one stream for each request, nothing that has not been verified while it is
//! read.

use super::ranges::{announced, chunks_of, requested, tree};
use super::served::{OwnFile, Served};
use super::store::{ContentStore, Granted, Grants, Membership};
use bao_tree::blake3;
use bao_tree::io::EncodeError;
use bao_tree::io::outboard::PostOrderOutboard;
use bao_tree::io::sync::{ReadAt, encode_ranges_validated};
use bytes::Bytes;
use skein_net::{Connection, FrameSender, Stream, StreamError};
use skein_proto::fetch::{FetchReply, FetchRequest};
use skein_proto::{BoundedVec, ContentId, Instant, Message, NodeId, Username};
use skein_swarm::{
    Admission, Class, Lease, RequestGate, RunSet, UploadConfig, UploadCounters, Uploads,
};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many bytes are handed from the reader of the disk to the sender at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many such chunks may wait for the network. With 8 slots of 4 requests that is 8 MiB.
const CHUNKS_WAITING: usize = 4;

/// A peer that takes nothing for so long loses its slot: others wait for it.
const STALL: Duration = Duration::from_secs(30);

/// Counts of the upload side since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadStats {
    /// Peers that are served at present.
    pub active: u64,
    /// Peers that wait for a slot.
    pub waiting: u64,
    /// Requests that came, those that only ask what there is included.
    pub requests: u64,
    /// Requests for bytes that were served to their end.
    pub served: u64,
    /// Bytes sent, hashes included.
    pub bytes: u64,
    /// Requests that came too fast.
    pub too_fast: u64,
    /// Requests for something that is not here.
    pub not_found: u64,
    /// Requests that broke a rule.
    pub bad_requests: u64,
    /// Requests of peers without a valid credential that were refused.
    pub not_allowed: u64,
    /// Uploads that the peer or the network broke off.
    pub broken_off: u64,
    /// Uploads that ended since the file could not be read, or is no longer what it was.
    pub unreadable: u64,
    /// Uploads of what was offered to somebody and taken back meanwhile.
    pub taken_back: u64,
    /// Uploads that were broken off since they took too long while others waited.
    pub overdue: u64,
    /// What the slots and the queue counted.
    pub slots: UploadCounters,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    served: AtomicU64,
    bytes: AtomicU64,
    not_found: AtomicU64,
    bad_requests: AtomicU64,
    not_allowed: AtomicU64,
    broken_off: AtomicU64,
    unreadable: AtomicU64,
    taken_back: AtomicU64,
    overdue: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// How an upload ended that did not reach its end.
enum Broken {
    Peer,
    File,
    Overdue,
    TakenBack,
}

/// The upload side.
pub(super) struct Uploader {
    store: Arc<dyn ContentStore>,
    grants: Option<Arc<dyn Grants>>,
    membership: Arc<dyn Membership>,
    serve_guests: bool,
    slots: Arc<Mutex<Uploads>>,
    gate: Mutex<RequestGate>,
    counts: Counts,
    started: tokio::time::Instant,
}

impl Uploader {
    pub fn new(
        store: Arc<dyn ContentStore>,
        grants: Option<Arc<dyn Grants>>,
        membership: Arc<dyn Membership>,
        config: UploadConfig,
        serve_guests: bool,
    ) -> Self {
        Self {
            store,
            grants,
            membership,
            serve_guests,
            slots: Arc::new(Mutex::new(Uploads::new(config, rand::random()))),
            gate: Mutex::default(),
            counts: Counts::default(),
            started: tokio::time::Instant::now(),
        }
    }

    pub fn stats(&self) -> UploadStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        UploadStats {
            active: slots.serving() as u64,
            waiting: slots.waiting() as u64,
            requests: get(&self.counts.requests),
            served: get(&self.counts.served),
            bytes: get(&self.counts.bytes),
            too_fast: self.gate().refused(),
            not_found: get(&self.counts.not_found),
            bad_requests: get(&self.counts.bad_requests),
            not_allowed: get(&self.counts.not_allowed),
            broken_off: get(&self.counts.broken_off),
            unreadable: get(&self.counts.unreadable),
            taken_back: get(&self.counts.taken_back),
            overdue: get(&self.counts.overdue),
            slots: slots.counters(),
        }
    }

    /// Serves one request. `own` is what this node itself is downloading or has downloaded.
    pub async fn serve(
        &self,
        connection: &Connection,
        request: FetchRequest,
        stream: Stream,
        own: Option<Served>,
    ) {
        add(&self.counts.requests, 1);
        // What the peer might send further is of no interest, but its half is kept: to drop it
        // would tell the peer to stop.
        let Stream { mut sender, receiver: _receiver } = stream;
        // Whatever else this connection carries is more urgent than bulk data.
        sender.set_priority(-1);
        match self.answer(connection, &request, &mut sender, own).await {
            Ok(()) => {}
            Err(error) => {
                add(&self.counts.broken_off, 1);
                tracing::debug!(peer = %connection.peer().short(), %error, "an upload broke off");
            }
        }
    }

    async fn answer(
        &self,
        connection: &Connection,
        request: &FetchRequest,
        sender: &mut FrameSender,
        own: Option<Served>,
    ) -> Result<(), StreamError> {
        let peer = connection.peer();
        if !self.gate().admit(peer, self.now()) {
            return last_reply(sender, FetchReply::Busy { position: 1, retry_secs: 1 }).await;
        }
        let Some((class, name)) = self.class_of(&peer, request) else {
            add(&self.counts.not_allowed, 1);
            return last_reply(sender, FetchReply::NotAllowed).await;
        };
        let shared = self.store.locate(&request.content).await.map(Served::Whole);
        let own = match own {
            Some(Served::Own(own)) if shared.is_none() && !own.is_there().await => None,
            own => own,
        };
        let served = match (shared.or(own), &self.grants, name) {
            (None, Some(grants), Some(name)) => {
                grants.granted(&request.content, &peer, name).await.map(Served::Granted)
            }
            (served, _, _) => served,
        };
        let Some(served) = served else {
            add(&self.counts.not_found, 1);
            return last_reply(sender, FetchReply::NotFound).await;
        };
        let (size, have) = (served.size(), served.have());
        let Ok(wanted) = requested(&request.ranges, size) else {
            add(&self.counts.bad_requests, 1);
            return last_reply(sender, FetchReply::BadRequest).await;
        };
        if have.is_empty() || wanted.iter().any(|run| !have.contains_run(run)) {
            add(&self.counts.not_found, 1);
            return last_reply(sender, FetchReply::NotFound).await;
        }
        let have = match &served {
            Served::Whole(_) | Served::Own(_) | Served::Granted(_) => BoundedVec::default(),
            Served::Part(_) => announced(&have, size),
        };
        let sending = FetchReply::Sending { size, have };
        if wanted.is_empty() {
            return last_reply(sender, sending).await;
        }
        let slot = match self.admit(peer, class) {
            Ok(slot) => slot,
            Err(busy) => return last_reply(sender, busy).await,
        };
        connection.widen_for_sending();
        let sent = self.send(request.content, &served, &wanted, sending, sender, &slot);
        let sent = served.gone().run_until_cancelled(sent).await;
        drop(slot);
        let sent = sent.unwrap_or(Err(Broken::TakenBack));
        match sent {
            Ok(()) => {
                add(&self.counts.served, 1);
                sender.finish().await
            }
            Err(broken) => {
                // The stream is reset when its sender is dropped unfinished.
                let counter = match broken {
                    Broken::Peer => &self.counts.broken_off,
                    Broken::File => &self.counts.unreadable,
                    Broken::Overdue => &self.counts.overdue,
                    Broken::TakenBack => &self.counts.taken_back,
                };
                add(counter, 1);
                Ok(())
            }
        }
    }

    fn gate(&self) -> MutexGuard<'_, RequestGate> {
        // No code that holds it can leave it half-changed by a panic.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a peer is ranked, and its name if it has shown one; `None` if it is not served at all.
    fn class_of<'a>(
        &self,
        peer: &NodeId,
        request: &'a FetchRequest,
    ) -> Option<(Class, Option<&'a Username>)> {
        let Some(credential) = &request.credential else {
            return self.serve_guests.then_some((Class::Guest, None));
        };
        let login_key = self.membership.login_key()?;
        match credential.check(&login_key, peer, self.membership.now()) {
            Ok(shown) => {
                Some((Class::Member { rank: self.membership.rank(&shown.name) }, Some(&shown.name)))
            }
            Err(error) => {
                tracing::debug!(peer = %peer.short(), %error, "an upload is refused");
                None
            }
        }
    }

    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn admit(&self, peer: NodeId, class: Class) -> Result<Slot, FetchReply> {
        let now = self.now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.request(peer, class, now) {
            Admission::Granted(lease) => {
                Ok(Slot { slots: Arc::clone(&self.slots), lease: Some(lease) })
            }
            Admission::Busy { position, retry } => {
                let retry_secs = u32::try_from(retry.as_secs()).unwrap_or(u32::MAX).max(1);
                Err(FetchReply::Busy { position, retry_secs })
            }
        }
    }

    async fn send(
        &self,
        content: ContentId,
        served: &Served,
        wanted: &RunSet,
        sending: FetchReply,
        sender: &mut FrameSender,
        slot: &Slot,
    ) -> Result<(), Broken> {
        // The files are opened before anything is promised.
        let opening = served.clone();
        let opened = tokio::task::spawn_blocking(move || Opened::open(&opening, content)).await;
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                self.unreadable(&content, served, &error.to_string()).await;
                let _ = last_reply(sender, FetchReply::NotFound).await;
                return Err(Broken::File);
            }
            // A panic in there has been reported by the runtime.
            Err(_) => return Err(Broken::File),
        };
        if sender.send_within(&Message::FetchReply(sending), STALL).await.is_err() {
            return Err(Broken::Peer);
        }
        let chunks = chunks_of(wanted.iter());
        let (output, mut chunks_read) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
        let reader = tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter { output, buffer: Vec::with_capacity(CHUNK_BYTES) };
            encode_ranges_validated(&opened.data, &opened.outboard, &chunks, &mut writer)?;
            writer.flush().map_err(EncodeError::from)
        });
        while let Some(chunk) = chunks_read.recv().await {
            if slot.is_overdue(self.now()) {
                return Err(Broken::Overdue);
            }
            let length = chunk.len() as u64;
            match tokio::time::timeout(STALL, sender.send_raw(chunk)).await {
                Ok(Ok(())) => add(&self.counts.bytes, length),
                // The reader ends when nobody takes what it reads.
                Ok(Err(_)) | Err(_) => return Err(Broken::Peer),
            }
        }
        match reader.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.unreadable(&content, served, &error.to_string()).await;
                Err(Broken::File)
            }
            Err(_) => Err(Broken::File),
        }
    }

    async fn unreadable(&self, content: &ContentId, served: &Served, error: &str) {
        match served {
            Served::Whole(file) => {
                tracing::warn!(path = %file.path.display(), %error, "a shared file has changed or cannot be read");
                self.store.changed(content, file).await;
            }
            Served::Own(own) => own.give_up(error),
            Served::Granted(granted) => {
                let path = granted.file.path.display();
                tracing::warn!(%path, %error, "an offered file has changed or cannot be read");
                if let Some(grants) = &self.grants {
                    grants.changed(granted.number);
                }
            }
            Served::Part(partial) => {
                tracing::warn!(path = %partial.path.display(), %error, "a partial download cannot be read");
            }
        }
    }
}

async fn last_reply(sender: &mut FrameSender, reply: FetchReply) -> Result<(), StreamError> {
    sender.send_within(&Message::FetchReply(reply), STALL).await?;
    sender.finish().await
}

/// A slot that is given back however the upload ends, also when its task is dropped.
struct Slot {
    slots: Arc<Mutex<Uploads>>,
    lease: Option<Lease>,
}

impl Slot {
    fn is_overdue(&self, now: Instant) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.lease.as_ref().is_some_and(|lease| slots.is_overdue(lease, now))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).finished(lease);
        }
    }
}

/// The files behind something that is served.
struct Opened {
    data: File,
    outboard: PostOrderOutboard<OutboardFile>,
}

impl Opened {
    fn open(served: &Served, content: ContentId) -> io::Result<Self> {
        let (path, outboard) = match served {
            Served::Whole(file)
            | Served::Own(OwnFile { file, .. })
            | Served::Granted(Granted { file, .. }) => (&file.path, file.outboard.as_deref()),
            Served::Part(partial) => (&partial.path, Some(partial.outboard.as_path())),
        };
        let data = File::open(path)?;
        if data.metadata()?.len() != served.size() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its length has changed"));
        }
        let outboard = PostOrderOutboard {
            root: blake3::Hash::from_bytes(*content.as_bytes()),
            tree: tree(served.size()),
            data: OutboardFile(outboard.map(File::open).transpose()?),
        };
        Ok(Self { data, outboard })
    }
}

/// A hash tree on disk; a file of one chunk group has none.
pub(super) struct OutboardFile(Option<File>);

impl OutboardFile {
    /// Opens the hash tree of a file of more than one chunk group.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(|file| Self(Some(file)))
    }
}

impl ReadAt for OutboardFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.read_at(offset, into))
    }
}

/// Hands on what is written to it, chunk by chunk.
struct ChunkWriter {
    output: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::ConnectionReset, "nobody takes it");
        if full.is_empty() { Ok(()) } else { self.output.blocking_send(full.into()).map_err(gone) }
    }
}

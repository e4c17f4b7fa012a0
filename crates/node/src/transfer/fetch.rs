//! Asking one source: what it has, or bytes, which are verified as they come.

use super::partial::Batch;
use super::ranges::{announced_by_peer, chunks_of, tree};
use super::reach::ReachError;
use super::task::Event;
use bao_tree::blake3;
use bao_tree::io::fsm::{ResponseDecoder, ResponseDecoderNext};
use bao_tree::io::{BaoContentItem, DecodeError};
use bytes::{Bytes, BytesMut};
use iroh_io::AsyncStreamReader;
use skein_net::{Connection, FrameReceiver, StreamError};
use skein_proto::fetch::{ByteRange, FetchReply, FetchRequest};
use skein_proto::{BoundedVec, ContentId, Message, SignedCredential};
use skein_swarm::{Failure, Have, RequestId, groups_within};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long a source may take to answer a request, and to send the next byte after it has begun.
/// A disk that has to spin up takes ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many bytes are written at once: sixteen chunk groups. Fewer would be a system call and a
/// decision of the swarm for every 16 KiB; more would be lost in a crash without need.
const BATCH_BYTES: u64 = 256 * 1024;

/// How long verified bytes wait for more before they are written, so that a slow source shows
/// progress as well.
const BATCH_TIME: Duration = Duration::from_millis(500);

/// When a source is asked again after this node could open no session with it at the time: as long
/// as it takes until a few more may be opened.
const LATER: Duration = Duration::from_secs(5);

/// What a request is about.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub content: ContentId,
    pub credential: Option<SignedCredential>,
}

/// Where verified bytes go.
#[derive(Debug)]
pub(super) struct Sink {
    pub request: RequestId,
    pub events: mpsc::Sender<Event>,
}

/// What a source says that it has.
#[derive(Debug)]
pub(super) struct Offer {
    pub size: u64,
    pub have: Have,
}

/// Why a source did not give what it was asked for.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    /// There is no connection.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The connection or the stream broke.
    #[error("broke off: {0}")]
    Stream(#[from] StreamError),
    /// The bytes ended too early.
    #[error("broke off in the middle")]
    CutShort,
    /// It does not have it.
    #[error("does not have it")]
    NotFound,
    /// Its upload slots are taken.
    #[error("is busy, place {position} in its queue")]
    Busy { position: u32, retry: Duration },
    /// It serves members only.
    #[error("serves members of the network only")]
    NotAllowed,
    /// It broke the protocol, or thinks that this node did.
    #[error("does not follow the protocol: {0}")]
    Protocol(&'static str),
    /// It sent bytes, or a length, that do not belong to the content.
    #[error("sent wrong bytes: {0}")]
    WrongBytes(String),
}

impl FetchError {
    /// What the swarm makes of it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Reach(error) if error.is_passing() => Failure::Busy(LATER),
            Self::Reach(_) | Self::Stream(_) | Self::CutShort => Failure::Lost,
            Self::NotFound => Failure::NotFound,
            Self::Busy { retry, .. } => Failure::Busy(*retry),
            Self::NotAllowed | Self::Protocol(_) => Failure::Refused,
            Self::WrongBytes(_) => Failure::WrongBytes,
        }
    }
}

/// Asks a source what it has.
pub(super) async fn probe(connection: &Connection, asked: &Asked) -> Result<Offer, FetchError> {
    let (offer, _) = ask(connection, asked, None).await?;
    Ok(offer)
}

/// Fetches a range of bytes and hands on what has been verified, batch by batch; also what came
/// before an error.
///
/// `size` is the length under which the bytes are to be verified.
pub(super) async fn fetch(
    connection: &Connection,
    asked: &Asked,
    range: ByteRange,
    size: u64,
    sink: &Sink,
) -> Result<Offer, FetchError> {
    let (offer, receiver) = ask(connection, asked, Some(range)).await?;
    if offer.size != size {
        return Err(FetchError::WrongBytes(format!("it claims {} bytes", offer.size)));
    }
    let root = blake3::Hash::from_bytes(*asked.content.as_bytes());
    let chunks = chunks_of([groups_within(range, size)]);
    let reader = RawReader { receiver, buffer: BytesMut::new() };
    let mut decoder = ResponseDecoder::new(root, chunks, tree(size), reader);
    let mut batcher = Batcher { size, sink, batch: Batch::default(), since: Instant::now() };
    loop {
        match decoder.next().await {
            ResponseDecoderNext::More((rest, Ok(item))) => {
                batcher.add(item).await;
                decoder = rest;
            }
            ResponseDecoderNext::More((_, Err(error))) => {
                batcher.flush().await;
                return Err(decode_error(error));
            }
            ResponseDecoderNext::Done(_) => {
                batcher.flush().await;
                return Ok(offer);
            }
        }
    }
}

async fn ask(
    connection: &Connection,
    asked: &Asked,
    range: Option<ByteRange>,
) -> Result<(Offer, FrameReceiver), FetchError> {
    let request = FetchRequest {
        content: asked.content,
        ranges: BoundedVec::truncated(range),
        credential: asked.credential.clone(),
    };
    let opening = timeout(PATIENCE, connection.open_stream()).await;
    let mut stream =
        opening.map_err(|_| StreamError::Silent(PATIENCE))?.map_err(StreamError::from)?;
    let reply = stream.request(&Message::FetchRequest(request), PATIENCE).await?;
    match reply {
        Some(Message::FetchReply(FetchReply::Sending { size, have })) => {
            let have = announced_by_peer(&have, size);
            Ok((Offer { size, have }, stream.receiver))
        }
        Some(Message::FetchReply(FetchReply::NotFound)) => Err(FetchError::NotFound),
        Some(Message::FetchReply(FetchReply::Busy { position, retry_secs })) => {
            Err(FetchError::Busy { position, retry: Duration::from_secs(retry_secs.into()) })
        }
        Some(Message::FetchReply(FetchReply::NotAllowed)) => Err(FetchError::NotAllowed),
        Some(Message::FetchReply(FetchReply::BadRequest)) => {
            Err(FetchError::Protocol("it takes a good request for a bad one"))
        }
        Some(_) => Err(FetchError::Protocol("its answer is none")),
        None => Err(FetchError::CutShort),
    }
}

fn decode_error(error: DecodeError) -> FetchError {
    match error {
        DecodeError::ParentHashMismatch(_) => {
            FetchError::WrongBytes("a hash does not fit the content".to_owned())
        }
        DecodeError::LeafHashMismatch(chunk) => {
            FetchError::WrongBytes(format!("at byte {}", chunk.to_bytes()))
        }
        DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_) => FetchError::CutShort,
        DecodeError::Io(error) => match error.downcast::<StreamError>() {
            Ok(error) => error.into(),
            Err(_) => FetchError::CutShort,
        },
    }
}

/// Collects what is verified into batches.
struct Batcher<'a> {
    size: u64,
    sink: &'a Sink,
    batch: Batch,
    since: Instant,
}

impl Batcher<'_> {
    async fn add(&mut self, item: BaoContentItem) {
        match item {
            BaoContentItem::Parent(parent) => self.batch.parents.push((parent.node, parent.pair)),
            BaoContentItem::Leaf(leaf) => {
                let end = leaf.offset.saturating_add(leaf.data.len() as u64);
                let run = groups_within(ByteRange { start: leaf.offset, end }, self.size);
                // One range is asked for, so leaves follow upon each other.
                self.batch.run.get_or_insert(run).end = run.end;
                self.batch.leaves.push((leaf.offset, leaf.data));
            }
        }
        if self.batch.bytes() >= BATCH_BYTES || self.since.elapsed() >= BATCH_TIME {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        self.since = Instant::now();
        if !self.batch.leaves.is_empty() {
            // The download is over when nobody takes it; then this task is about to be ended.
            let batch = std::mem::take(&mut self.batch);
            let _ = self.sink.events.send(Event::Batch(self.sink.request, batch)).await;
        }
    }
}

/// The raw bytes of a stream, in the sizes that the decoder wants.
struct RawReader {
    receiver: FrameReceiver,
    buffer: BytesMut,
}

impl RawReader {
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.buffer.len() < wanted {
            let missing = wanted - self.buffer.len();
            match self.receiver.recv_raw_within(missing.max(64 * 1024), PATIENCE).await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => return Ok(()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }
}

impl AsyncStreamReader for RawReader {
    async fn read_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        self.fill(len).await?;
        let count = len.min(self.buffer.len());
        Ok(self.buffer.split_to(count).freeze())
    }

    async fn read<const L: usize>(&mut self) -> io::Result<[u8; L]> {
        self.fill(L).await?;
        let bytes = self.buffer.split_to(L.min(self.buffer.len()));
        <[u8; L]>::try_from(&bytes[..]).map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }
}

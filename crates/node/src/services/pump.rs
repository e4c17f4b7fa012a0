//! Moves the bytes of a service between its near end and the stream of a session, both ways at
//! once, and no faster than whoever reads them.

use super::piece::{Header, MAX_PIECE, Sink, Source};
use bytes::{BufMut, BytesMut};
use skein_net::{FrameReceiver, FrameSender, Stream, StreamError};
use std::io;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// The most that one side may have been allowed to send and has not sent. Nobody needs more; it
/// keeps sums far from their limits.
const MAX_CREDIT: usize = 1 << 30;

/// Why a pipe broke off.
#[derive(Debug, Error)]
pub(super) enum PumpError {
    /// The near end broke off.
    #[error("the near end broke off: {0}")]
    Near(io::Error),
    /// The peer, or the way to it, broke off.
    #[error("the peer broke off: {0}")]
    Far(io::Error),
    /// The peer has sent more than it may.
    #[error("the peer sent more than it may")]
    Flood,
}

/// Moves bytes until both directions have ended. `ours` is what the peer may send before it is
/// allowed more, `theirs` the same for this side. When one side takes no more, what it has to say
/// itself still goes through.
pub(super) async fn pump(
    stream: Stream,
    (source, sink): (impl Source, impl Sink),
    (ours, theirs): (u32, u32),
) -> Result<(), PumpError> {
    let Stream { sender, receiver } = stream;
    let sender = Mutex::new(sender);
    let state = State {
        credit: Semaphore::new(as_size(theirs).min(MAX_CREDIT)),
        sent_all: CancellationToken::new(),
        unwanted: CancellationToken::new(),
    };
    let (passed_on, taken) = watch::channel(0_u64);
    tokio::try_join!(
        outward(source, &sender, &state),
        inward(receiver, sink, ours, &state, passed_on),
        allow_more(&sender, ours, taken),
    )?;
    // The stream is kept open until now: each side allows the other more on it.
    let _ = sender.into_inner().finish().await;
    Ok(())
}

/// What the directions of a pipe know of each other.
struct State {
    /// Bytes that this side may send.
    credit: Semaphore,
    /// This side has sent all that it will.
    sent_all: CancellationToken,
    /// The peer takes no more.
    unwanted: CancellationToken,
}

/// From the near end to the peer.
async fn outward(
    mut source: impl Source,
    sender: &Mutex<FrameSender>,
    state: &State,
) -> Result<(), PumpError> {
    let mut buffer = vec![0; MAX_PIECE];
    loop {
        let next = state.unwanted.run_until_cancelled(async {
            let taken = take(&state.credit).await;
            (taken, source.read(&mut buffer[..taken]).await)
        });
        let Some((taken, read)) = next.await else { break };
        let count = read.map_err(PumpError::Near)?;
        state.credit.add_permits(taken - count);
        let mut piece = BytesMut::with_capacity(4 + count);
        if count == 0 {
            piece.put_slice(&Header::End.encode());
        } else {
            piece.put_slice(&Header::Bytes(count).encode());
            piece.put_slice(&buffer[..count]);
        }
        match sender.lock().await.send_raw(piece.freeze()).await {
            Ok(()) if count > 0 => {}
            // That the peer takes no more is no failure: what it has to say may still come.
            Ok(()) | Err(StreamError::Stopped(_)) => break,
            Err(error) => return Err(PumpError::Far(error.into())),
        }
    }
    state.sent_all.cancel();
    Ok(())
}

/// Takes as much of the credit as fits into a piece; waits for the first byte of it.
async fn take(credit: &Semaphore) -> usize {
    let Ok(first) = credit.acquire().await else { return 0 };
    first.forget();
    let more = credit.available_permits().min(MAX_PIECE - 1);
    match credit.try_acquire_many(u32::try_from(more).unwrap_or(0)) {
        Ok(rest) => {
            rest.forget();
            more + 1
        }
        Err(_) => 1,
    }
}

/// From the peer to the near end.
async fn inward(
    mut receiver: FrameReceiver,
    mut sink: impl Sink,
    ours: u32,
    state: &State,
    passed_on: watch::Sender<u64>,
) -> Result<(), PumpError> {
    let mut buffer = vec![0; MAX_PIECE];
    // Bytes that have come, and that have been passed on.
    let (mut came, mut passed) = (0_u64, 0_u64);
    // Whether the peer has sent all, and whether the near end takes no more.
    let (mut ended, mut closed) = (false, false);
    loop {
        let mut header = [0; 4];
        let header = async { receiver.read_exact(&mut header).await.map(|_| header) };
        let header = match ended || closed {
            // Only credits are of interest then, for as long as this side sends.
            true => state.sent_all.run_until_cancelled(header).await,
            false => Some(header.await),
        };
        let header = match header {
            None => return Ok(()),
            Some(Ok(header)) => header,
            // It is over for the peer in both directions.
            Some(Err(error)) if ended && error.kind() == io::ErrorKind::UnexpectedEof => {
                state.unwanted.cancel();
                return Ok(());
            }
            Some(Err(error)) => return Err(PumpError::Far(error)),
        };
        match Header::decode(header).map_err(PumpError::Far)? {
            Header::Credit(count) => {
                if state.credit.available_permits().saturating_add(as_size(count)) > MAX_CREDIT {
                    return Err(PumpError::Flood);
                }
                state.credit.add_permits(as_size(count));
            }
            Header::End if ended => return Err(PumpError::Flood),
            Header::End => {
                ended = true;
                closed |= sink.finish().await.is_err();
            }
            Header::Bytes(count) => {
                came += count as u64;
                if ended || came - passed > u64::from(ours) {
                    return Err(PumpError::Flood);
                }
                let mut left = count;
                while left > 0 {
                    let read = receiver.read(&mut buffer[..left]).await.map_err(PumpError::Far)?;
                    if read == 0 {
                        return Err(PumpError::Far(io::ErrorKind::UnexpectedEof.into()));
                    }
                    left -= read;
                    closed = closed || sink.write(&buffer[..read]).await.is_err();
                }
                if !closed {
                    passed += count as u64;
                    passed_on.send_replace(passed);
                }
            }
        }
    }
}

/// Lets the peer send more, whenever a quarter of its window has been passed on.
async fn allow_more(
    sender: &Mutex<FrameSender>,
    ours: u32,
    mut taken: watch::Receiver<u64>,
) -> Result<(), PumpError> {
    let step = u64::from(ours / 4).max(1);
    let mut told = 0;
    while let Ok(passed) = taken.wait_for(|passed| passed - told >= step).await.map(|seen| *seen) {
        let more = u32::try_from(passed - told).unwrap_or(u32::MAX >> 1);
        told = passed;
        let credit = BytesMut::from(Header::Credit(more).encode().as_slice()).freeze();
        // After its own end this side can allow no more, and a peer that has stopped wants none.
        if sender.lock().await.send_raw(credit).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn as_size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(MAX_CREDIT)
}

//! Streams that carry messages, and raw bytes where a message announces them.

use crate::connection::Connection;
use crate::error::{StreamError, small};
use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, VarInt, WriteError};
use skein_proto::codec::{self, HEADER_BYTES, Header};
use skein_proto::{CodecError, Decoded, Message};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The code of a stream that its sender let go before the end.
const CODE_DROPPED: VarInt = VarInt::from_u32(0);

/// The code with which a stream is refused that carries something that is no message.
const CODE_MALFORMED: VarInt = VarInt::from_u32(4);

/// Bytes that are read beyond a message when they are there already: most messages and the header
/// of the next one come in one piece.
const READ_AHEAD: usize = 4 * 1024;

/// A stream in both directions. The halves are independent: take them apart to send in one task
/// and receive in another.
#[derive(Debug)]
pub struct Stream {
    /// What this side sends.
    pub sender: FrameSender,
    /// What the peer sends.
    pub receiver: FrameReceiver,
}

impl Stream {
    pub(crate) fn new(
        connection: Connection,
        send: quinn::SendStream,
        receive: quinn::RecvStream,
    ) -> Self {
        Self {
            sender: FrameSender {
                connection: connection.clone(),
                quic: send,
                pending: Bytes::new(),
                finished: false,
            },
            receiver: FrameReceiver {
                connection,
                quic: receive,
                buffer: BytesMut::new(),
                broken: None,
            },
        }
    }

    /// Sends one message and nothing after it, and waits for the one answer. `patience` is how long
    /// the peer may take to let the message through, and then to answer. `None` means that the peer
    /// ended the stream without an answer.
    ///
    /// # Errors
    /// See [`FrameSender::send_within`] and [`FrameReceiver::recv_within`].
    pub async fn request(
        &mut self,
        message: &Message,
        patience: Duration,
    ) -> Result<Option<Message>, StreamError> {
        self.sender.send_within(message, patience).await?;
        self.sender.finish().await?;
        self.receiver.recv_within(patience).await
    }
}

/// The sending half of a stream.
///
/// It ends cleanly by [`FrameSender::finish`]. To drop it before is to break off: the stream is
/// reset, what is on its way is thrown away, and the peer gets [`StreamError::Reset`]. So an
/// upload that was cut short cannot be taken for a whole one.
#[derive(Debug)]
pub struct FrameSender {
    connection: Connection,
    quic: quinn::SendStream,
    /// The rest of a message whose sending was interrupted.
    pending: Bytes,
    finished: bool,
}

impl FrameSender {
    /// Sends a message. It is on its way, but not yet acknowledged, when this returns.
    ///
    /// When the returned future is dropped before its end, the message has gone out whole or not at
    /// all, never in part: a rest of it goes before whatever is sent next.
    ///
    /// # Errors
    /// [`StreamError::Unsendable`] if there is too much in it,
    /// [`StreamError::Stopped`] if the peer wants no more, [`StreamError::Connection`].
    pub async fn send(&mut self, message: &Message) -> Result<(), StreamError> {
        let frame = codec::encode(message).map_err(StreamError::Unsendable)?;
        self.flush_pending().await?;
        self.check_open()?;
        self.pending = Bytes::from(frame);
        self.connection.counters().messages_out.increment();
        self.flush_pending().await
    }

    /// As [`FrameSender::send`], but waits for at most `patience` while the peer lets nothing
    /// through.
    ///
    /// # Errors
    /// [`StreamError::Silent`] if the message is not on its way by then.
    pub async fn send_within(
        &mut self,
        message: &Message,
        patience: Duration,
    ) -> Result<(), StreamError> {
        match tokio::time::timeout(patience, self.send(message)).await {
            Ok(result) => result,
            Err(_) => Err(StreamError::Silent(patience)),
        }
    }

    /// Sends bytes as they are, behind a message that announced them. A dropped future leaves them
    /// sent whole or not at all, as with [`FrameSender::send`].
    ///
    /// # Errors
    /// [`StreamError::Stopped`], [`StreamError::Connection`].
    pub async fn send_raw(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.flush_pending().await?;
        self.check_open()?;
        self.pending = bytes;
        self.flush_pending().await
    }

    /// Says that nothing more comes. The peer's [`FrameReceiver::recv`] yields `None` after the
    /// last message.
    ///
    /// # Errors
    /// [`StreamError::Stopped`], [`StreamError::Connection`]. To finish twice is no error.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.flush_pending().await?;
        if !self.finished {
            self.finished = true;
            // It fails only when the peer has stopped the stream: then nobody waits for its end.
            let _ = self.quic.finish();
        }
        Ok(())
    }

    /// After [`FrameSender::finish`]: waits until the peer's machine has acknowledged all bytes.
    /// Whoever closes the connection after a last message waits for this.
    ///
    /// # Errors
    /// [`StreamError::Stopped`], [`StreamError::Connection`].
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        match self.quic.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(StreamError::Stopped(small(code))),
            Err(error) => Err(self.write_error(error.into())),
        }
    }

    /// Which stream of a connection goes first when the line is full: the highest number does.
    /// All begin with 0; bulk data should go below.
    pub fn set_priority(&self, priority: i32) {
        // It fails only for a stream that has nothing more to send.
        let _ = self.quic.set_priority(priority);
    }

    async fn flush_pending(&mut self) -> Result<(), StreamError> {
        // What is handed over is taken off in the same step, so that no byte is sent twice or lost
        // when this future is dropped; and it is not copied.
        while !self.pending.is_empty() {
            let written = self.quic.write_chunks(std::slice::from_mut(&mut self.pending)).await;
            written.map_err(|error| self.write_error(error))?;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), StreamError> {
        if self.finished { Err(StreamError::Finished) } else { Ok(()) }
    }

    fn write_error(&mut self, error: WriteError) -> StreamError {
        self.pending.clear();
        match error {
            WriteError::Stopped(code) => StreamError::Stopped(small(code)),
            WriteError::ConnectionLost(error) => self.connection.error(error).into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Finished,
        }
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        if !self.finished {
            // quinn alone would finish it, and half an upload would look like a whole one. It
            // fails only for a stream that has ended already.
            let _ = self.quic.reset(CODE_DROPPED);
        }
    }
}

/// Writes raw bytes; to shut it down is to [finish](FrameSender::finish) it.
impl AsyncWrite for FrameSender {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.check_open()?;
        match ready!(Pin::new(&mut self.quic).poll_write(cx, bytes)) {
            Ok(count) => Poll::Ready(Ok(count)),
            Err(error) => Poll::Ready(Err(self.write_error(error).into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.pending.is_empty() {
            match ready!(Pin::new(&mut this.quic).poll_write(cx, &this.pending)) {
                Ok(count) => this.pending.advance(count),
                Err(error) => return Poll::Ready(Err(this.write_error(error).into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        if !self.finished {
            self.finished = true;
            // See `finish`.
            let _ = self.quic.finish();
        }
        Poll::Ready(Ok(()))
    }
}

/// The receiving half of a stream.
///
/// It holds at most one message and 4 KiB more, and nothing while it waits for the
/// first byte of one. To drop it before the end tells the peer to stop sending.
#[derive(Debug)]
pub struct FrameReceiver {
    connection: Connection,
    quic: quinn::RecvStream,
    buffer: BytesMut,
    /// Once something was no message, nothing behind it can be told apart.
    broken: Option<StreamError>,
}

impl FrameReceiver {
    /// The next message; `None` when the peer has finished. Messages of a later version that may be
    /// skipped are skipped and counted.
    ///
    /// The returned future may be dropped at any time, as `tokio::select!` does: what has come so
    /// far is kept for the next call.
    ///
    /// # Errors
    /// [`StreamError::Malformed`], [`StreamError::Truncated`] and [`StreamError::Reset`] are the
    /// peer's fault; [`StreamError::Connection`] tells whose.
    pub async fn recv(&mut self) -> Result<Option<Message>, StreamError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        loop {
            let wanted = match self.next_frame() {
                Ok(Next::Message(message)) => {
                    self.connection.counters().messages_in.increment();
                    return Ok(Some(*message));
                }
                Ok(Next::Skipped) => {
                    self.connection.counters().messages_unknown.increment();
                    continue;
                }
                Ok(Next::Missing(bytes)) => bytes,
                Err(error) => return Err(self.give_up(error)),
            };
            match self.quic.read_chunk(wanted.max(READ_AHEAD), true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => {
                    self.broken = Some(StreamError::Truncated);
                    return Err(StreamError::Truncated);
                }
                Err(error) => return Err(self.read_error(error)),
            }
        }
    }

    /// As [`FrameReceiver::recv`], but waits for at most `patience`.
    ///
    /// # Errors
    /// [`StreamError::Silent`] if the message has not come in that time; the next call goes on
    /// where this one stopped.
    pub async fn recv_within(
        &mut self,
        patience: Duration,
    ) -> Result<Option<Message>, StreamError> {
        match tokio::time::timeout(patience, self.recv()).await {
            Ok(result) => result,
            Err(_) => Err(StreamError::Silent(patience)),
        }
    }

    /// The next raw bytes, at most `limit` of them, without copying where that can be; `None` at
    /// the end. It may be dropped at any time, too.
    ///
    /// # Errors
    /// [`StreamError::Reset`], [`StreamError::Connection`].
    pub async fn recv_raw(&mut self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        if !self.buffer.is_empty() {
            let count = self.buffer.len().min(limit);
            return Ok(Some(self.buffer.split_to(count).freeze()));
        }
        match self.quic.read_chunk(limit, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(error) => Err(self.read_error(error)),
        }
    }

    /// As [`FrameReceiver::recv_raw`], but waits for at most `patience`.
    ///
    /// # Errors
    /// [`StreamError::Silent`] if no byte has come in that time.
    pub async fn recv_raw_within(
        &mut self,
        limit: usize,
        patience: Duration,
    ) -> Result<Option<Bytes>, StreamError> {
        match tokio::time::timeout(patience, self.recv_raw(limit)).await {
            Ok(result) => result,
            Err(_) => Err(StreamError::Silent(patience)),
        }
    }

    /// Takes one frame off the buffer, if it is all there.
    fn next_frame(&mut self) -> Result<Next, CodecError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(Next::Missing(HEADER_BYTES - self.buffer.len()));
        };
        let header = Header::parse(header)?;
        let length = HEADER_BYTES + header.body_len();
        let Some(body) = self.buffer.get(HEADER_BYTES..length) else {
            let missing = length - self.buffer.len();
            self.buffer.reserve(missing);
            return Ok(Next::Missing(missing));
        };
        let decoded = header.decode(body)?;
        self.buffer.advance(length);
        if self.buffer.is_empty() {
            // One large message must not pin its memory on a stream that may be idle for hours.
            self.buffer = BytesMut::new();
        }
        Ok(match decoded {
            Decoded::Message(message) => Next::Message(message),
            Decoded::Unknown(_) => Next::Skipped,
        })
    }

    fn give_up(&mut self, error: CodecError) -> StreamError {
        self.connection.counters().messages_malformed.increment();
        // It fails only for a stream that has ended already.
        let _ = self.quic.stop(CODE_MALFORMED);
        self.buffer = BytesMut::new();
        let error = StreamError::Malformed(error);
        self.broken = Some(error.clone());
        error
    }

    fn read_error(&self, error: ReadError) -> StreamError {
        match error {
            ReadError::Reset(code) => StreamError::Reset(small(code)),
            ReadError::ConnectionLost(error) => self.connection.error(error).into(),
            // Only ordered reads are made here, and no 0-RTT.
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => StreamError::Finished,
        }
    }
}

/// What the buffer begins with.
enum Next {
    Message(Box<Message>),
    Skipped,
    /// So many bytes at least are still to come.
    Missing(usize),
}

/// Reads the raw bytes that follow the last message received.
impl AsyncRead for FrameReceiver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.buffer.is_empty() {
            let count = self.buffer.len().min(into.remaining());
            into.put_slice(&self.buffer.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match ready!(self.quic.poll_read_buf(cx, into)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(self.read_error(error).into())),
        }
    }
}

//! The pieces that the bytes of a service are cut into, on the way between two daemons and on the
//! way between a daemon and a client of its local API: so each side can end without the other, and
//! an end can be told from a break.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes in one piece.
pub const MAX_PIECE: usize = 64 * 1024;

/// The bit that tells a credit from bytes.
const CREDIT: u32 = 1 << 31;

/// What a piece begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// So many bytes follow.
    Bytes(usize),
    /// Nothing more comes.
    End,
    /// So many bytes more may be sent.
    Credit(u32),
}

impl Header {
    pub(super) fn encode(self) -> [u8; 4] {
        let number = match self {
            Self::Bytes(count) => u32::try_from(count).unwrap_or(0),
            Self::End => 0,
            Self::Credit(count) => CREDIT | count,
        };
        number.to_be_bytes()
    }

    pub(super) fn decode(bytes: [u8; 4]) -> io::Result<Self> {
        match u32::from_be_bytes(bytes) {
            0 => Ok(Self::End),
            number if number & CREDIT != 0 => Ok(Self::Credit(number & !CREDIT)),
            number => match usize::try_from(number) {
                Ok(count) if count <= MAX_PIECE => Ok(Self::Bytes(count)),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a piece is too long")),
            },
        }
    }
}

/// Where the bytes of a pipe's near end come from.
pub(super) trait Source: Send {
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

/// Where the bytes for a pipe's near end go.
pub(super) trait Sink: Send {
    /// Writes all of them.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Says that nothing more comes.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Bytes as they are, such as those of a TCP connection.
#[derive(Debug)]
pub(super) struct Raw<T>(pub(super) T);

impl<T: AsyncRead + Unpin + Send> Source for Raw<T> {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).await
    }
}

impl<T: AsyncWrite + Unpin + Send> Sink for Raw<T> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// Reads bytes that come in pieces.
#[derive(Debug)]
pub struct PieceReader<R> {
    inner: R,
    /// Bytes of the present piece that are still to come.
    left: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin + Send> PieceReader<R> {
    /// Reads pieces from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, ended: false }
    }

    /// Reads some bytes, of one piece at most; 0 once the other side has ended in order. It must
    /// not be dropped while waiting if anything is to be read afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the other side has broken off.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut header = [0; 4];
            self.inner.read_exact(&mut header).await?;
            match Header::decode(header)? {
                Header::Bytes(count) => self.left = count,
                Header::End => self.ended = true,
                Header::Credit(_) => {
                    let why = "a credit where none is wanted";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        let wanted = self.left.min(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut into[..wanted]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }

    /// After the end: waits until the other side has gone altogether.
    pub async fn closed(&mut self) {
        // Nothing comes behind the end, so that this ends with the connection only.
        let _ = self.inner.read(&mut [0]).await;
    }

    /// Reads a whole piece, as one packet; `None` once the other side has ended. `into` must have
    /// room for [`MAX_PIECE`] bytes. It must not be dropped while waiting either.
    ///
    /// # Errors
    /// As [`PieceReader::read`].
    pub async fn read_piece(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let mut filled = self.read(into).await?;
        if filled == 0 {
            return Ok(None);
        }
        while self.left > 0 {
            filled += self.read(&mut into[filled..]).await?;
        }
        Ok(Some(filled))
    }
}

impl<R: AsyncRead + Unpin + Send> Source for PieceReader<R> {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Self::read(self, into).await
    }
}

/// Writes bytes in pieces. Dropped before [`PieceWriter::finish`], it has broken off.
#[derive(Debug)]
pub struct PieceWriter<W> {
    inner: W,
}

impl<W: AsyncWrite + Unpin + Send> PieceWriter<W> {
    /// Writes pieces to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Writes bytes, each [`MAX_PIECE`] of them as one piece.
    ///
    /// # Errors
    /// What `inner` says.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_PIECE) {
            // One write: a header on its own would be a packet on its own.
            let mut out = Vec::with_capacity(4 + piece.len());
            out.extend_from_slice(&Header::Bytes(piece.len()).encode());
            out.extend_from_slice(piece);
            self.inner.write_all(&out).await?;
        }
        self.inner.flush().await
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// What `inner` says.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.inner.write_all(&Header::End.encode()).await?;
        self.inner.flush().await
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for PieceWriter<W> {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::write(self, bytes).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        Self::finish(self).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_and_the_end_is_an_end() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut written = Vec::new();
        let mut writer = PieceWriter::new(&mut written);
        writer.write(&bytes).await.unwrap();
        writer.finish().await.unwrap();
        let mut reader = PieceReader::new(written.as_slice());
        let (mut read, mut chunk) = (Vec::new(), [0; 1_000]);
        loop {
            match reader.read(&mut chunk).await.unwrap() {
                0 => break,
                count => read.extend_from_slice(&chunk[..count]),
            }
        }
        assert_eq!(read, bytes);
        assert_eq!(reader.read(&mut chunk).await.unwrap(), 0, "it stays at its end");
    }

    #[tokio::test]
    async fn a_break_is_no_end() {
        let mut reader = PieceReader::new([0, 0, 0, 2, 7].as_slice());
        let mut chunk = [0; 8];
        assert_eq!(reader.read(&mut chunk).await.unwrap(), 1);
        let broken = reader.read(&mut chunk).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
        let empty = PieceReader::new([].as_slice()).read(&mut chunk).await.unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn headers_are_read_as_they_are_written_and_no_piece_is_too_long() {
        for header in [Header::Bytes(1), Header::Bytes(MAX_PIECE), Header::End, Header::Credit(9)] {
            assert_eq!(Header::decode(header.encode()).unwrap(), header);
        }
        assert!(Header::decode(Header::Bytes(MAX_PIECE + 1).encode()).is_err());
    }
}

//! How datagrams follow each other in a tunnel.
//!
//! ```text
//!   length 2, big-endian | datagram        from 1 to 2,048 bytes
//!   00 00                                  nothing: it only keeps the tunnel open
//! ```

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bytes before each datagram.
pub const PREFIX: usize = 2;

/// The longest datagram. QUIC looks for packets of 1,452 bytes at most, a frame's header adds 8;
/// more than the next power of two is nothing that an endpoint sends.
pub const MAX_DATAGRAM: usize = 2_048;

/// The other side said that a longer datagram follows than there is. What comes behind it cannot
/// be understood, so the tunnel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a datagram of {0} bytes was announced")]
pub struct TooLong(
    /// How long it is said to be.
    pub usize,
);

/// Writes a datagram behind what is there. One that is too long is left out: answers false.
pub fn write(datagram: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else { return false };
    if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
        return false;
    }
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(datagram);
    true
}

/// The next whole datagram of what has come, which is taken out; `None` until more comes.
///
/// # Errors
/// [`TooLong`].
pub fn read(come: &mut BytesMut) -> Result<Option<Bytes>, TooLong> {
    loop {
        let Some(prefix) = come.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length > MAX_DATAGRAM {
            return Err(TooLong(length));
        }
        if come.len() < PREFIX + length {
            return Ok(None);
        }
        come.advance(PREFIX);
        if length > 0 {
            return Ok(Some(come.split_to(length).freeze()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut(
            datagrams in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..80), 0..20),
            cut in 1_usize..50,
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                prop_assert!(write(datagram, &mut stream));
                stream.extend_from_slice(&[0, 0]);
            }
            let (mut come, mut out) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(cut) {
                come.extend_from_slice(piece);
                while let Some(datagram) = read(&mut come)? {
                    out.push(datagram.to_vec());
                }
            }
            prop_assert_eq!(out, datagrams);
            prop_assert!(come.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut come = BytesMut::from(&bytes[..]);
            while let Ok(Some(datagram)) = read(&mut come) {
                prop_assert!(!datagram.is_empty() && datagram.len() <= MAX_DATAGRAM);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_neither_written_nor_waited_for() {
        let mut out = Vec::new();
        assert!(!write(&[0; MAX_DATAGRAM + 1], &mut out) && !write(&[], &mut out));
        assert!(out.is_empty());
        let mut come = BytesMut::from(&[0x08, 0x01][..]);
        assert_eq!(read(&mut come), Err(TooLong(MAX_DATAGRAM + 1)));
    }
}

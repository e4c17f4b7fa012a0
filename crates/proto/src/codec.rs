//! Messages as bytes, and back.
//!
//! A frame is
//!
//! ```text
//! 0        4        6         7          8
//! | length | kind   | version | reserved | body … extension blocks … |
//! | u32 BE | u16 BE | u8 = 1  | u8 = 0   | length bytes              |
//! ```
//!
//! The body is bincode 2 in its standard configuration (little endian, variable-length
//! integers). Behind the body there may be extension blocks, each `tag: u16 BE`,
//! `length: u16 BE` and so many bytes; a node skips the tags that it does not know. So a later
//! version can add to a message without breaking an earlier one.
//!
//! Decoding allocates in proportion to the bytes that really came, never to a length that
//! somebody claims: see [`crate::bounded`]. bincode is nobody's charge any more, so this module
//! is the only one that knows of it.

mod size;

use crate::message::{FIRST_CRITICAL_KIND, Message, MessageKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use size::Size;
use thiserror::Error;

/// Bytes of a frame before its body.
pub const HEADER_BYTES: usize = 8;

/// The version of the framing.
pub const VERSION: u8 = 1;

/// The largest body of any kind, and of a kind that this version does not know.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most extension blocks behind one body.
pub const MAX_EXTENSIONS: usize = 16;

/// Why bytes are no message. It is the sender's fault, but for [`CodecError::TooLarge`] while
/// encoding.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The body is over the limit of its kind.
    #[error("a {kind} of {bytes} bytes is over its limit of {limit}")]
    TooLarge {
        /// The kind's name, or "unknown message".
        kind: &'static str,
        /// The length that was claimed or reached.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The framing is of another version.
    #[error("the frame is of version {0}, this node speaks version 1")]
    Version(u8),
    /// The sender says that this message may not be skipped, and this version does not know it.
    #[error("the message number {0:#x} is not known here and may not be skipped")]
    UnknownCritical(u16),
    /// The body is not what its kind says.
    #[error("a malformed {kind}: {why}")]
    Malformed {
        /// The kind's name.
        kind: &'static str,
        /// What the decoder stumbled on.
        why: String,
    },
}

/// The first eight bytes of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u16,
    length: usize,
}

impl Header {
    /// Reads and checks a header. What it accepts is safe to allocate for.
    ///
    /// # Errors
    /// [`CodecError::Version`], [`CodecError::UnknownCritical`] or [`CodecError::TooLarge`].
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, CodecError> {
        let [l0, l1, l2, l3, k0, k1, version, _reserved] = *bytes;
        if version != VERSION {
            return Err(CodecError::Version(version));
        }
        let number = u16::from_be_bytes([k0, k1]);
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let (name, limit) = match MessageKind::from_number(number) {
            Some(kind) => (kind.name(), kind.limit()),
            None if number >= FIRST_CRITICAL_KIND => {
                return Err(CodecError::UnknownCritical(number));
            }
            None => ("unknown message", MAX_BODY_BYTES),
        };
        if length > limit {
            return Err(CodecError::TooLarge { kind: name, bytes: length, limit });
        }
        Ok(Self { kind: number, length })
    }

    /// Bytes of the body that follows, extension blocks included.
    pub const fn body_len(&self) -> usize {
        self.length
    }

    /// Decodes the body; `body` holds exactly [`Header::body_len`] bytes.
    ///
    /// # Errors
    /// [`CodecError::Malformed`].
    pub fn decode(&self, body: &[u8]) -> Result<Decoded, CodecError> {
        let Some(kind) = MessageKind::from_number(self.kind) else {
            return Ok(Decoded::Unknown(self.kind));
        };
        let malformed = |error: CodecError| match error {
            CodecError::Malformed { why, .. } => CodecError::Malformed { kind: kind.name(), why },
            other => other,
        };
        let (message, used) = Message::decode_body(kind, body).map_err(malformed)?;
        check_extensions(body.get(used..).unwrap_or_default())
            .map_err(|why| CodecError::Malformed { kind: kind.name(), why: why.to_owned() })?;
        Ok(Decoded::Message(Box::new(message)))
    }
}

/// What a frame held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A message.
    Message(Box<Message>),
    /// A message of a later version that may be skipped.
    Unknown(u16),
}

/// Extension blocks must be well formed even where nobody knows their tags, so that a sender's
/// mistake shows at once and not at the first version that gives them a meaning.
fn check_extensions(mut rest: &[u8]) -> Result<(), &'static str> {
    for _ in 0..MAX_EXTENSIONS {
        let [_tag0, _tag1, l0, l1, tail @ ..] = rest else {
            return if rest.is_empty() { Ok(()) } else { Err("bytes left over") };
        };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        rest = tail.get(length..).ok_or("an extension block is cut off")?;
    }
    if rest.is_empty() { Ok(()) } else { Err("too many extension blocks") }
}

/// A message as a frame.
///
/// # Errors
/// [`CodecError::TooLarge`] if the message is over the limit of its kind: the caller put too much
/// into it.
pub fn encode(message: &Message) -> Result<Vec<u8>, CodecError> {
    let kind = message.kind();
    let mut frame = vec![0; HEADER_BYTES];
    message.encode_body(&mut frame)?;
    let length = frame.len() - HEADER_BYTES;
    let too_large = CodecError::TooLarge { kind: kind.name(), bytes: length, limit: kind.limit() };
    if length > kind.limit() {
        return Err(too_large);
    }
    let length = u32::try_from(length).map_err(|_| too_large)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[4..6].copy_from_slice(&(kind as u16).to_be_bytes());
    frame[6] = VERSION;
    Ok(frame)
}

/// How long the frame of a message is, without making it.
///
/// # Errors
/// As [`encode`].
pub fn frame_len(message: &Message) -> Result<usize, CodecError> {
    let kind = message.kind();
    let length = message.body_len();
    if length > kind.limit() {
        return Err(CodecError::TooLarge { kind: kind.name(), bytes: length, limit: kind.limit() });
    }
    Ok(HEADER_BYTES + length)
}

/// The first message of `bytes` and the length of its frame; `None` while it is not all there.
///
/// # Errors
/// [`CodecError`]; the stream cannot be followed any further.
pub fn decode(bytes: &[u8]) -> Result<Option<(Decoded, usize)>, CodecError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let header = Header::parse(header)?;
    let Some(body) = rest.get(..header.body_len()) else {
        return Ok(None);
    };
    Ok(Some((header.decode(body)?, HEADER_BYTES + header.body_len())))
}

fn bincode_config() -> impl bincode::config::Config {
    // Twice the largest body: what bincode counts is what it would allocate.
    bincode::config::standard().with_limit::<{ 2 * MAX_BODY_BYTES }>()
}

pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, bincode_config())
        .map(|_| ())
        .map_err(|error| CodecError::Malformed { kind: "value", why: error.to_string() })
}

/// How many bytes a value takes in a body: what [`crate::pack`] reckons with.
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    let mut size = Size::default();
    // A value of this crate cannot fail to encode (see `encode_statement`); were one to, it would
    // count as too large for any message rather than as small enough.
    match value.serialize(&mut size) {
        Ok(()) => size.0,
        Err(_) => usize::MAX,
    }
}

pub(crate) fn decode_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, bincode_config())
        .map_err(|error| CodecError::Malformed { kind: "value", why: error.to_string() })
}

/// The bytes of a value outside of a frame: what is signed, or kept in a store.
///
/// # Panics
/// Never for the types of this crate: writing to a vector cannot fail, and none of them holds a
/// map or sequence of unknown length, which is all that bincode refuses.
#[allow(clippy::expect_used)]
pub fn encode_statement<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out).expect("values of this crate have known lengths");
    out
}

/// Reads what [`encode_statement`] wrote; all of `bytes` must be used.
///
/// # Errors
/// [`CodecError::Malformed`].
pub fn decode_statement<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_from(bytes)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError::Malformed { kind: "value", why: "bytes left over".to_owned() })
    }
}

#[cfg(test)]
mod tests;

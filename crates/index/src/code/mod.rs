//! How numbers are written in few bytes.

mod bits;
mod packed;
pub(crate) mod varint;

pub(crate) use bits::LiveBits;
pub(crate) use packed::{Packed, PackedWriter};

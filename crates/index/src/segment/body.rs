//! What is written of one document, gone through part by part; `documents` says how it is laid out.

use super::documents::Code;
use crate::code::varint;
use skein_proto::Kind;

/// Takes the kind, the size, and whether there are tags.
pub(super) fn take_head(bytes: &mut &[u8]) -> (Kind, u64, bool) {
    let head = varint::take_bytes(bytes, 1).first().copied().unwrap_or_default();
    let len = usize::from(head >> 4).min(8);
    let size = match bytes.first_chunk() {
        // Of eight bytes at once the last ones are shifted out.
        Some(eight) if len > 0 => u64::from_le_bytes(*eight) << (64 - 8 * len) >> (64 - 8 * len),
        _ => bytes.iter().take(len).rev().fold(0, |size, byte| size << 8 | u64::from(*byte)),
    };
    varint::take_bytes(bytes, len);
    let kind = Kind::ALL.get(usize::from(head & 7)).copied().unwrap_or_default();
    (kind, size, head & 8 != 0)
}

/// The codes in what is written of a document, behind which there may be so many bytes more: to take
/// numbers is quicker where some are.
pub(super) fn codes_of((body, behind): (&[u8], usize)) -> Codes<'_> {
    let mut rest = body;
    let (_, _, has_tags) = take_head(&mut rest);
    let (mut texts, mut numbers) = (0, 0);
    if has_tags {
        let which = varint::take(&mut rest);
        (texts, numbers) = ((which & 7).count_ones(), (which >> 3).count_ones());
    }
    Codes { rest, behind, texts, numbers }
}

/// See [`codes_of`].
pub(super) struct Codes<'a> {
    rest: &'a [u8],
    behind: usize,
    /// Texts of tags that are still to come, and numbers behind them.
    texts: u32,
    numbers: u32,
}

impl Iterator for Codes<'_> {
    type Item = Code;

    #[inline]
    fn next(&mut self) -> Option<Code> {
        if self.texts > 0 {
            self.texts -= 1;
        } else {
            for _ in 0..std::mem::take(&mut self.numbers) {
                varint::take(&mut self.rest);
            }
            if self.rest.len() <= self.behind {
                return None;
            }
        }
        Some(varint::take32(&mut self.rest))
    }
}

/// A part of what is written of a document.
pub(super) enum Part<'a> {
    /// So many bytes at the front of these.
    Verbatim(&'a [u8], usize),
    Code(Code),
}

/// Goes through what is written of a document, as [`codes_of`].
#[inline]
pub(super) fn for_each_code((body, behind): (&[u8], usize), mut see: impl FnMut(Part<'_>)) {
    let mut rest = body;
    let (_, _, has_tags) = take_head(&mut rest);
    see(Part::Verbatim(body, body.len() - rest.len()));
    if has_tags {
        let start = rest;
        let which = varint::take(&mut rest);
        see(Part::Verbatim(start, start.len() - rest.len()));
        for _ in 0..(which & 7).count_ones() {
            see(Part::Code(varint::take32(&mut rest)));
        }
        let start = rest;
        for _ in 0..(which >> 3).count_ones() {
            varint::take(&mut rest);
        }
        see(Part::Verbatim(start, start.len() - rest.len()));
    }
    while rest.len() > behind {
        see(Part::Code(varint::take32(&mut rest)));
    }
}

//! Writing posting lists.

use super::{BLOCK, Form, SKIP_BYTES};
use crate::code::varint;
use bitpacking::{BitPacker as _, BitPacker4x};

/// From one document in so many on, a list is a bitmap.
const DENSE: usize = 10;

/// Documents that have a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbers<'a> {
    /// In ascending order.
    Listed(&'a [u32]),
    /// A bit for each document of the segment, and how many are set.
    Bits(&'a [u64], usize),
}

impl Numbers<'_> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Listed(list) => list.len(),
            Self::Bits(_, count) => *count,
        }
    }
}

/// Appends a list of documents below `universe`.
pub(crate) fn write(list: Numbers<'_>, universe: usize, out: &mut Vec<u8>) -> Form {
    match list {
        Numbers::Listed(list) => write_list(list, universe, out),
        Numbers::Bits(words, count) if count >= BLOCK && count * DENSE >= universe => {
            varint::put(out, count as u64);
            out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            Form::Dense
        }
        Numbers::Bits(words, count) => {
            let mut list = Vec::with_capacity(count);
            for (at, word) in (0..).zip(words) {
                let mut rest = *word;
                while rest != 0 {
                    list.push(at * 64 + rest.trailing_zeros());
                    rest &= rest - 1;
                }
            }
            write_list(&list, universe, out)
        }
    }
}

fn write_list(list: &[u32], universe: usize, out: &mut Vec<u8>) -> Form {
    if list.len() < BLOCK {
        write_distances(list, None, out);
        return Form::Short;
    }
    varint::put(out, list.len() as u64);
    if list.len() * DENSE >= universe {
        let start = out.len();
        out.resize(start + universe.div_ceil(64) * 8, 0);
        for number in list {
            out[start + *number as usize / 8] |= 1 << (number % 8);
        }
        return Form::Dense;
    }
    let packer = BitPacker4x::new();
    let (blocks, rest) = list.as_chunks::<BLOCK>();
    let mut skips = Vec::with_capacity(blocks.len() * SKIP_BYTES);
    let mut packed = Vec::new();
    let mut before = None;
    for block in blocks {
        let width = packer.num_bits_strictly_sorted(before, block);
        let last = block[BLOCK - 1];
        skips.extend_from_slice(&last.to_le_bytes());
        skips.push(width);
        let start = packed.len();
        packed.resize(start + BitPacker4x::compressed_block_size(width), 0);
        packer.compress_strictly_sorted(before, block, &mut packed[start..], width);
        before = Some(last);
    }
    out.extend_from_slice(&skips);
    out.extend_from_slice(&packed);
    write_distances(rest, before, out);
    Form::Blocked
}

/// Distances less one, for no two numbers are equal.
fn write_distances(list: &[u32], mut before: Option<u32>, out: &mut Vec<u8>) {
    for number in list {
        varint::put(out, u64::from(number - before.map_or(0, |before| before + 1)));
        before = Some(*number);
    }
}

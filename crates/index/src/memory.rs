//! Reckoning memory: what the system allocator takes for what is asked of it.

use std::mem::size_of;

/// The bytes that one allocation takes: with glibc's malloc, 8 bytes of its own, a multiple of 16,
/// at least 32. Other allocators differ by a few bytes either way.
pub(crate) const fn allocation(bytes: usize) -> u64 {
    if bytes == 0 {
        return 0;
    }
    let chunk = (bytes + 8).next_multiple_of(16);
    if chunk < 32 { 32 } else { chunk as u64 }
}

/// The bytes of a vector's buffer.
pub(crate) const fn vector<T>(capacity: usize) -> u64 {
    allocation(capacity * size_of::<T>())
}

/// The bytes of a hash table that has held so many elements at most: a power of two of buckets,
/// filled to 7/8 at most, with one control byte each.
pub(crate) const fn hash_table<T>(elements: usize) -> u64 {
    if elements == 0 {
        return 0;
    }
    let least = if elements < 4 { 4 } else { elements * 8 / 7 };
    let buckets = least.next_power_of_two();
    allocation(buckets * (size_of::<T>() + 1) + 16)
}

/// The bytes of a B-tree of so many elements. Its nodes have room for 11 elements and are two
/// thirds full on average; edges and headers add about 4 bytes an element.
pub(crate) const fn b_tree<T>(elements: usize) -> u64 {
    (elements * (size_of::<T>() * 3 / 2 + 4)) as u64
}

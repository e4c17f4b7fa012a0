//! Strings and lists that cannot be longer than their type says.
//!
//! The bound is checked while decoding, element by element, so that a frame that claims a million
//! elements costs no more than one that holds the allowed number.

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use thiserror::Error;

/// A value is longer than its type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{actual} is over the limit of {limit}")]
pub struct TooLong {
    /// The length that was given, in bytes for a string and in elements for a list.
    pub actual: usize,
    /// The longest that is allowed, in the same unit.
    pub limit: usize,
}

/// A UTF-8 string of at most `N` bytes without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BoundedString<const N: usize>(String);

impl<const N: usize> BoundedString<N> {
    /// Takes a string as it is. Control characters are removed, since such a string may end up on
    /// somebody's terminal.
    ///
    /// # Errors
    /// [`TooLong`] if more than `N` bytes are left.
    pub fn new(text: impl Into<String>) -> Result<Self, TooLong> {
        let mut text = text.into();
        if has_unprintable(&text) {
            text.retain(|c| !is_unprintable(c));
        }
        if text.len() > N {
            return Err(TooLong { actual: text.len(), limit: N });
        }
        Ok(Self(text))
    }

    /// A string that was one before it was written down, read again: it is not checked.
    pub(crate) fn kept(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Takes as much of a string as fits, cut at a character's end.
    pub fn truncated(text: &str) -> Self {
        let mut out = String::with_capacity(text.len().min(N));
        for c in text.chars().filter(|c| !is_unprintable(*c)) {
            if out.len() + c.len_utf8() > N {
                break;
            }
            out.push(c);
        }
        Self(out)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Control characters, the invisible ones that reorder text on a screen ("Trojan Source",
/// CVE-2021-42574), and the separators that some terminals and logs break a line at.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn has_unprintable(text: &str) -> bool {
    if text.is_ascii() {
        // Most text is, and without an early end the compiler looks at many bytes at a time.
        return text.bytes().fold(false, |found, byte| found | byte.is_ascii_control());
    }
    text.chars().any(is_unprintable)
}

impl<const N: usize> Deref for BoundedString<N> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> fmt::Display for BoundedString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for BoundedString<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<const N: usize>;

        impl<const N: usize> Visitor<'_> for TextVisitor<N> {
            type Value = BoundedString<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string of at most {N} bytes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.len() > N {
                    return Err(E::custom(TooLong { actual: text.len(), limit: N }));
                }
                if has_unprintable(text) {
                    return Err(E::custom("a string holds control characters"));
                }
                Ok(BoundedString(text.to_owned()))
            }
        }

        deserializer.deserialize_str(TextVisitor::<N>)
    }
}

/// A list of at most `N` elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct BoundedVec<T, const N: usize>(Vec<T>);

impl<T, const N: usize> BoundedVec<T, N> {
    /// The most elements that this list can hold.
    pub const LIMIT: usize = N;

    /// Takes a list as it is.
    ///
    /// # Errors
    /// [`TooLong`] if it holds more than `N` elements.
    pub fn new(items: Vec<T>) -> Result<Self, TooLong> {
        if items.len() > N {
            return Err(TooLong { actual: items.len(), limit: N });
        }
        Ok(Self(items))
    }

    /// Takes the first `N` elements.
    pub fn truncated(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(N).collect())
    }

    /// The elements, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> Default for BoundedVec<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> Deref for BoundedVec<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> IntoIterator for BoundedVec<T, N> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a BoundedVec<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for BoundedVec<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for ListVisitor<T, N> {
            type Value = BoundedVec<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let claimed = seq.size_hint().unwrap_or(0);
                if claimed > N {
                    return Err(A::Error::custom(TooLong { actual: claimed, limit: N }));
                }
                // A claimed length is not yet a proven one: reserve little and grow with proof.
                let mut items = Vec::with_capacity(claimed.min(64));
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(A::Error::custom(TooLong { actual: N + 1, limit: N }));
                    }
                    items.push(item);
                }
                Ok(BoundedVec(items))
            }
        }

        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_cut_at_a_character_not_inside_one() {
        let text = BoundedString::<5>::truncated("äöü");
        assert_eq!(text.as_str(), "äö");
    }

    #[test]
    fn text_that_would_fool_a_terminal_is_cleaned() {
        let text = BoundedString::<32>::new("a\u{1b}[31mb\u{202e}c").expect("short enough");
        assert_eq!(text.as_str(), "a[31mbc");
    }

    #[test]
    fn what_turns_the_writing_or_breaks_the_line_is_taken_out() {
        let text = BoundedString::<32>::truncated("a\u{61c}b\u{2028}c\u{2029}d");
        assert_eq!(text.as_str(), "abcd");
    }

    #[test]
    fn a_list_over_its_limit_is_refused() {
        assert_eq!(BoundedVec::<u8, 2>::new(vec![1, 2, 3]), Err(TooLong { actual: 3, limit: 2 }));
    }
}

//! User names: normalised, so that one name has one spelling, and free of look-alikes.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use unicode_security::{GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection};

/// Why a text is no user name. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Shorter or longer than [`Username::MIN_CHARS`] to [`Username::MAX_CHARS`].
    #[error("a name has {min} to {max} characters, this one has {0}", min = Username::MIN_CHARS, max = Username::MAX_CHARS)]
    Length(usize),
    /// Holds a character that names may not have.
    #[error("a name has letters, digits, '-', '_' and '.', but this one has {0:?}")]
    Character(char),
    /// Begins or ends with a sign.
    #[error("a name begins and ends with a letter or a digit")]
    Edge,
    /// Mixes scripts, for example a Cyrillic letter among Latin ones.
    #[error("a name is written in one script, but this one mixes several")]
    MixedScripts,
}

/// A user name in its one normal form: NFKC, case-folded, 2 to 32 characters, one script
/// (UTS 39, "highly restrictive").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Username(String);

impl Username {
    /// The shortest name, in characters.
    pub const MIN_CHARS: usize = 2;
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Normalises what a person typed; a leading `@` is allowed and dropped.
    ///
    /// # Errors
    /// [`NameError`] if it cannot be a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let text = text.strip_prefix('@').unwrap_or(text);
        if is_plain(text) {
            return Ok(Self(text.to_owned()));
        }
        Self::normalise(text)
    }

    fn normalise(text: &str) -> Result<Self, NameError> {
        // Normalising can make text grow at most 18-fold; cut off what can only be too long.
        if text.chars().nth(4 * Self::MAX_CHARS).is_some() {
            return Err(NameError::Length(text.chars().count()));
        }
        let folded = caseless::default_case_fold_str(&text.nfkc().collect::<String>());
        let name: String = folded.nfkc().collect();

        let length = name.chars().count();
        if !(Self::MIN_CHARS..=Self::MAX_CHARS).contains(&length) {
            return Err(NameError::Length(length));
        }
        let is_sign = |c: char| matches!(c, '-' | '_' | '.');
        let is_allowed = |c: char| is_sign(c) || (c.is_alphanumeric() && c.identifier_allowed());
        if let Some(bad) = name.chars().find(|c| !is_allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        if name.starts_with(is_sign) || name.ends_with(is_sign) {
            return Err(NameError::Edge);
        }
        if !name.as_str().check_restriction_level(RestrictionLevel::HighlyRestrictive) {
            return Err(NameError::MixedScripts);
        }
        Ok(Self(name))
    }

    /// The name without the `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name looks like (the skeleton of UTS 39, section 4): two names with the same
    /// skeleton can be taken for each other, so only one of them may be registered.
    pub fn skeleton(&self) -> String {
        unicode_security::skeleton(&self.0).collect()
    }
}

/// Whether a text is a name in its normal form without further ado, as most are: lower-case Latin
/// letters and digits are their own normal form, all of one script, and allowed. A message with
/// hits holds a name for each of its owners, so this is asked often.
fn is_plain(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (Username::MIN_CHARS..=Username::MAX_CHARS).contains(&bytes.len())
        && bytes.iter().all(|byte| is_letter(byte) || matches!(byte, b'-' | b'_' | b'.'))
        && bytes.first().is_some_and(is_letter)
        && bytes.last().is_some_and(is_letter)
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Username {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = crate::BoundedString::<{ 4 * Self::MAX_CHARS }>::deserialize(deserializer)?;
        let name = Self::parse(&text).map_err(D::Error::custom)?;
        if name.0 != text.as_str() {
            return Err(D::Error::custom("a name is not in its normal form"));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_name_has_one_spelling() {
        let plain = Username::parse("alice").expect("a name");
        for spelling in ["Alice", "@ALICE", " alice ", "ａｌｉｃｅ"] {
            assert_eq!(Username::parse(spelling), Ok(plain.clone()), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        assert_eq!(Username::parse("a"), Err(NameError::Length(1)));
        assert_eq!(Username::parse(&"a".repeat(33)), Err(NameError::Length(33)));
        assert_eq!(Username::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(Username::parse("a\u{200d}b"), Err(NameError::Character('\u{200d}')));
        assert_eq!(Username::parse("-ab"), Err(NameError::Edge));
        assert_eq!(Username::parse("p\u{430}ypal"), Err(NameError::MixedScripts));
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        let name = |text| Username::parse(text).expect("a name");
        assert_eq!(name("rnary").skeleton(), name("mary").skeleton());
        assert_ne!(name("mary").skeleton(), name("marv").skeleton());
    }

    proptest! {
        #[test]
        fn a_plain_name_is_what_normalising_makes_of_it(text in "[a-z0-9._-]{0,34}") {
            if is_plain(&text) {
                prop_assert_eq!(Username::parse(&text), Username::normalise(&text));
            } else {
                prop_assert!(Username::normalise(&text).is_err());
            }
        }

        #[test]
        fn the_normal_form_is_its_own_normal_form(text in "\\PC{0,40}") {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(Username::parse(name.as_str()), Ok(name.clone()));
            }
        }
    }
}

//! Which results come first.

use crate::class::Class;
use crate::text::{ParsedQuery, RecordWords, TermMatch};
use skein_proto::ContentId;

/// How a document has the words that are asked for; the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// All of them whole, and in the file name.
    InName,
    /// All of them whole, some in tags or folders only.
    Whole,
    /// Some only as the beginning of a word.
    Begun,
}

impl Fit {
    pub(crate) const ALL: [Self; 3] = [Self::InName, Self::Whole, Self::Begun];

    /// How a record has the words of a query; `None` if it has not all of them.
    pub(crate) fn of(query: &ParsedQuery, words: &RecordWords) -> Option<Self> {
        let mut fit = Self::InName;
        for term in query.terms() {
            let mut whole = None;
            let mut is_begun = false;
            for (word, in_name) in words.iter() {
                if term.accepts(word) {
                    is_begun = true;
                    if word == term.text || term.by == TermMatch::Character {
                        whole = Some(whole.unwrap_or(false) | in_name);
                    }
                }
            }
            fit = fit.max(match whole {
                Some(true) => Self::InName,
                Some(false) => Self::Whole,
                None if is_begun => Self::Begun,
                None => return None,
            });
        }
        Some(fit)
    }
}

/// The place of a document among the results; the smaller, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) fit: Fit,
    pub(crate) class: Class,
    /// Decides ties, the same way at every supernode.
    pub(crate) content: ContentId,
}

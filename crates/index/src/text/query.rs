//! Queries, ready to be matched: rules 13 to 19, and the filter.

use super::split::{Script, runs};
use super::{
    MAX_QUERY_WORDS, MIN_OPEN_CHARS, RecordWords, beginning_hash, beginnings, fold, for_each_pair,
    word_hash,
};
use skein_proto::{Ask, ContentId, FileMeta, Filter, Kind, Query, Username};
use thiserror::Error;

/// Why a query is refused. It is the asker's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// More than [`MAX_QUERY_WORDS`] words.
    #[error("a search may have {MAX_QUERY_WORDS} words, this one has {0}")]
    TooManyWords(usize),
}

/// How a word of a query is compared with the words of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermMatch {
    /// It is the same.
    Exact,
    /// It begins with it; the same is better.
    Prefix,
    /// It begins with it, which for one character of a script without spaces is as good as
    /// being the same.
    Character,
}

/// One word that must match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The word, folded.
    pub text: String,
    /// How it is compared.
    pub by: TermMatch,
}

impl Term {
    /// Whether a record's word satisfies the term.
    pub fn accepts(&self, word: &str) -> bool {
        match self.by {
            TermMatch::Exact => word == self.text,
            TermMatch::Prefix | TermMatch::Character => word.starts_with(&self.text),
        }
    }
}

/// A query, parsed once and matched often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParsedQuery {
    content: Option<ContentId>,
    terms: Vec<Term>,
    excluded: Vec<Term>,
    phrases: Vec<Vec<Term>>,
    filter: Filter,
    extension: Option<String>,
}

impl ParsedQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// [`QueryError::TooManyWords`].
    pub fn parse(query: &Query) -> Result<Self, QueryError> {
        let (content, words) = match &query.ask {
            Ask::Words(text) => (None, Words::parse(text)?),
            Ask::Content(content) => (Some(*content), Words::default()),
        };
        let Words { terms, excluded, phrases } = words;
        let filter = query.filter.clone();
        let extension =
            filter.extension.as_ref().map(|text| fold(text.strip_prefix('.').unwrap_or(text)));
        Ok(Self { content, terms, excluded, phrases, filter, extension })
    }

    /// The one content that is asked for, if it is no search by words.
    pub fn content(&self) -> Option<&ContentId> {
        self.content.as_ref()
    }

    /// The different words that must all match.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The different words none of which may match.
    pub fn excluded(&self) -> &[Term] {
        &self.excluded
    }

    /// Runs of words that must follow each other in one text: the words are among
    /// [`ParsedQuery::terms`] too.
    pub fn phrases(&self) -> &[Vec<Term>] {
        &self.phrases
    }

    /// The hashes (rules 20 and 21) of the words and beginnings that each match must have:
    /// whoever lacks one of them has no match.
    pub fn required_keys(&self) -> impl Iterator<Item = u64> {
        self.terms.iter().filter_map(|term| match term.by {
            TermMatch::Exact => Some(word_hash(&term.text)),
            TermMatch::Prefix | TermMatch::Character => {
                beginnings(&term.text).next().map(beginning_hash)
            }
        })
    }

    /// The hashes (rule 22) of the pairs of words that each match must have.
    pub fn required_pairs(&self) -> Vec<u64> {
        let mut pairs = Vec::new();
        let whole = self.terms.iter().filter(|term| term.by != TermMatch::Character);
        for_each_pair(whole.map(|term| term.text.as_str()), |hash| pairs.push(hash));
        pairs
    }

    /// The conditions beside the words.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether nothing can match: there is neither a word nor a content, nor an owner whose
    /// files could be listed.
    pub fn is_empty(&self) -> bool {
        self.content.is_none() && self.terms.is_empty() && self.filter.owner.is_none()
    }

    /// Whether one file of one owner matches, with no index at hand: for standing queries, and
    /// for hits that a stranger sent.
    pub fn matches(&self, file: &FileMeta, owner: &Username) -> bool {
        if self.is_empty()
            || self.filter.owner.as_ref().is_some_and(|wanted| wanted != owner)
            || self.content.is_some_and(|content| content != file.content)
            || !self.passes_filter(file)
        {
            return false;
        }
        if self.terms.is_empty() && self.excluded.is_empty() {
            return true;
        }
        let mut words = RecordWords::default();
        words.read(file.path.as_str(), file.tags.as_deref());
        let is_there = |term: &Term| words.iter().any(|(word, _)| term.accepts(word));
        self.terms.iter().all(is_there)
            && !self.excluded.iter().any(is_there)
            && self.has_phrases(file)
    }

    /// Whether all phrases stand in a file's name, tags and folders.
    pub(crate) fn has_phrases(&self, file: &FileMeta) -> bool {
        if self.phrases.is_empty() {
            return true;
        }
        let tags = file.tags.iter().flat_map(|tags| [&tags.title, &tags.artist, &tags.album]);
        let texts = file.path.as_str().split('/').chain(tags.flatten().map(|text| text.as_str()));
        let texts: Vec<Vec<String>> = texts
            .map(|text| runs(&fold(text)).iter().flat_map(|run| run.terms()).collect())
            .collect();
        let follow = |phrase: &Vec<Term>, words: &[String]| {
            phrase.iter().zip(words).all(|(term, word)| term.accepts(word))
        };
        self.phrases.iter().all(|phrase| {
            let mut windows = texts.iter().flat_map(|words| words.windows(phrase.len()));
            windows.any(|words| follow(phrase, words))
        })
    }

    /// Whether there is any condition on a file beside its words and its owner.
    pub(crate) fn has_filter(&self) -> bool {
        let filter = &self.filter;
        filter.kind.is_some()
            || filter.min_size.is_some()
            || filter.max_size.is_some()
            || self.needs_text()
    }

    /// Whether a file must be read as a whole to be judged.
    pub(crate) fn needs_text(&self) -> bool {
        let filter = &self.filter;
        !self.phrases.is_empty()
            || self.extension.is_some()
            || filter.min_bitrate_kbps.is_some()
            || filter.min_duration_secs.is_some()
            || filter.max_duration_secs.is_some()
    }

    /// Whether a file of this kind and size may meet the filter.
    pub(crate) fn passes_kind_and_size(&self, kind: Kind, size: u64) -> bool {
        let filter = &self.filter;
        filter.kind.is_none_or(|wanted| wanted == kind)
            && filter.min_size.is_none_or(|min| size >= min)
            && filter.max_size.is_none_or(|max| size <= max)
    }

    /// Whether a file meets the filter, but for the owner.
    pub(crate) fn passes_filter(&self, file: &FileMeta) -> bool {
        let filter = &self.filter;
        let bitrate = file.tags.as_ref().and_then(|tags| tags.bitrate_kbps);
        let duration = file.tags.as_ref().and_then(|tags| tags.duration_secs);
        let extension = || file.path.extension();
        filter.kind.is_none_or(|kind| kind == file.kind)
            && filter.min_size.is_none_or(|min| file.size >= min)
            && filter.max_size.is_none_or(|max| file.size <= max)
            && filter.min_bitrate_kbps.is_none_or(|min| bitrate.is_some_and(|rate| rate >= min))
            && filter.min_duration_secs.is_none_or(|min| duration.is_some_and(|time| time >= min))
            && filter.max_duration_secs.is_none_or(|max| duration.is_some_and(|time| time <= max))
            && self
                .extension
                .as_ref()
                .is_none_or(|wanted| extension().is_some_and(|given| same_extension(given, wanted)))
    }
}

/// Folds only what is not ASCII: this is asked of each candidate of a search.
fn same_extension(given: &str, folded: &str) -> bool {
    if given.is_ascii() { given.eq_ignore_ascii_case(folded) } else { fold(given) == folded }
}

/// What the text of a query comes to.
#[derive(Default)]
struct Words {
    terms: Vec<Term>,
    excluded: Vec<Term>,
    phrases: Vec<Vec<Term>>,
}

/// What the words of a part of the text are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    Phrase,
    Excluded,
}

impl Words {
    fn parse(text: &str) -> Result<Self, QueryError> {
        let mut words = Self::default();
        let mut count = 0;
        let parts = parts(text);
        let last = parts.len().saturating_sub(1);
        for (i, (part, text)) in parts.into_iter().enumerate() {
            let runs = runs(&fold(text));
            count += runs.len();
            if count > MAX_QUERY_WORDS {
                continue;
            }
            let may_be_unfinished =
                part == Part::Plain && i == last && !text.ends_with(char::is_whitespace);
            let mut found = Vec::new();
            for (k, run) in runs.iter().enumerate() {
                let starred = run.next == Some('*') && part != Part::Phrase;
                let is_last = k + 1 == runs.len();
                let open =
                    may_be_unfinished && is_last && run.text.chars().count() >= MIN_OPEN_CHARS;
                let by = if run.is_one_character() {
                    TermMatch::Character
                } else if run.script == Script::Spaced && (starred || open) {
                    TermMatch::Prefix
                } else {
                    TermMatch::Exact
                };
                found.extend(run.terms().into_iter().map(|text| Term { text, by }));
            }
            match part {
                Part::Excluded => words.excluded.append(&mut found),
                Part::Plain => words.terms.append(&mut found),
                Part::Phrase => {
                    words.terms.extend_from_slice(&found);
                    if found.len() > 1 {
                        words.phrases.push(found);
                    }
                }
            }
        }
        if count > MAX_QUERY_WORDS {
            return Err(QueryError::TooManyWords(count));
        }
        for list in [&mut words.terms, &mut words.excluded] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(words)
    }
}

/// Cuts the text of a query where quotes and minus signs say so.
fn parts(text: &str) -> Vec<(Part, &str)> {
    const QUOTES: [char; 3] = ['"', '“', '”'];
    let mut parts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut behind_space = true;
    while let Some(c) = text[at..].chars().next() {
        let after = at + c.len_utf8();
        let excludes =
            c == '-' && behind_space && text[after..].starts_with(|c: char| !c.is_whitespace());
        if !excludes && !QUOTES.contains(&c) {
            behind_space = c.is_whitespace();
            at = after;
            continue;
        }
        if start < at {
            parts.push((Part::Plain, &text[start..at]));
        }
        let quoted = text[after..].strip_prefix(QUOTES).filter(|_| excludes);
        let (inner, ends_at_quote) = match quoted {
            Some(inner) => (inner, true),
            None => (&text[after..], !excludes),
        };
        let end = if ends_at_quote { inner.find(QUOTES) } else { inner.find(char::is_whitespace) };
        let inside = &inner[..end.unwrap_or(inner.len())];
        parts.push((if excludes { Part::Excluded } else { Part::Phrase }, inside));
        at = text.len() - inner.len() + inside.len();
        if ends_at_quote && let Some(quote) = text[at..].chars().next() {
            at += quote.len_utf8();
        }
        (start, behind_space) = (at, true);
    }
    if start < text.len() {
        parts.push((Part::Plain, &text[start..]));
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use skein_proto::{BoundedString, FilePath};

    fn parse(text: &str) -> Result<ParsedQuery, QueryError> {
        let ask = Ask::Words(BoundedString::truncated(text));
        ParsedQuery::parse(&Query { ask, filter: Filter::default() })
    }

    /// The terms as a person would write them: `*` for a beginning, `?` for a character.
    fn terms(text: &str) -> Vec<String> {
        let parsed = parse(text).expect("not too many words");
        let mark = |by| match by {
            TermMatch::Exact => "",
            TermMatch::Prefix => "*",
            TermMatch::Character => "?",
        };
        parsed.terms().iter().map(|term| format!("{}{}", term.text, mark(term.by))).collect()
    }

    #[test]
    fn the_last_word_may_be_unfinished_and_a_star_opens_any() {
        let cases: [(&str, &[&str]); 16] = [
            ("", &[]),
            (" * ** ", &[]),
            ("Some Song", &["some", "song*"]),
            ("Some Song ", &["some", "song"]),
            ("song\u{a0}", &["song"]),
            ("song some song", &["some", "song", "song*"]),
            ("so* song ", &["so*", "song"]),
            ("so＊ song ", &["so*", "song"]),
            ("so * song ", &["so", "song"]),
            ("a", &["a"]),
            ("a* ", &["a*"]),
            ("*.mp3", &["mp3*"]),
            ("日本語", &["日本", "本語"]),
            ("語", &["語?"]),
            ("語 ", &["語?"]),
            ("foo日本", &["foo", "日本"]),
        ];
        for (text, expected) in cases {
            assert_eq!(terms(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_make_phrases_and_a_minus_sign_excludes() {
        let case = |text: &str| {
            let parsed = parse(text).expect("not too many words");
            let texts = |terms: &[Term]| terms.iter().map(|it| it.text.clone()).collect::<Vec<_>>();
            let phrases: Vec<String> =
                parsed.phrases().iter().map(|it| texts(it).join("+")).collect();
            (terms(text).join(" "), texts(parsed.excluded()).join(" "), phrases.join(" "))
        };
        let expect = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(case("\"some song\" live"), expect("live* some song", "", "some+song"));
        assert_eq!(case("song -live"), expect("song", "live", ""));
        assert_eq!(case("song -live "), expect("song", "live", ""));
        assert_eq!(case("-\"the live\" song"), expect("song*", "live the", ""));
        assert_eq!(case("a-b c - d"), expect("a b c d", "", ""));
        assert_eq!(case("“one word”\"two"), expect("one two word", "", "one+word"));
        assert_eq!(case("\"東京都 x\""), expect("x 京都 東京", "", "東京+京都+x"));
        assert_eq!(case("\"\" -\" -"), expect("", "", ""));
    }

    #[test]
    fn a_phrase_stands_in_one_text_and_what_is_excluded_in_none() {
        let file = FileMeta {
            content: ContentId::from_bytes([3; 32]),
            size: 1000,
            kind: Kind::Audio,
            path: FilePath::new("the band/live some song.mp3").expect("a path"),
            tags: None,
        };
        let alice = Username::parse("alice").expect("a name");
        let matches = |text| parse(text).expect("few words").matches(&file, &alice);
        assert!(matches("\"some song\"") && matches("\"song mp3\"") && matches("\"the band\""));
        assert!(!matches("\"song some\"") && !matches("\"band live\"") && !matches("\"some mp3\""));
        assert!(matches("song -other") && !matches("song -live") && !matches("song -ba*"));
        assert!(!matches("-other"));
    }

    #[test]
    fn too_many_words_are_refused_and_a_long_run_is_not() {
        assert!(parse(&"ab ".repeat(MAX_QUERY_WORDS)).is_ok());
        let refused = parse(&"ab ".repeat(MAX_QUERY_WORDS + 1));
        assert_eq!(refused, Err(QueryError::TooManyWords(MAX_QUERY_WORDS + 1)));
        assert!(parse(&"東京都".repeat(10)).is_ok());
    }

    #[test]
    fn whole_words_are_required_and_the_longest_beginnings_that_have_a_hash() {
        let required = |text| parse(text).expect("few words").required_keys().collect::<Vec<_>>();
        assert_eq!(required("some song "), ["some", "song"].map(word_hash));
        assert_eq!(required("song"), [beginning_hash("song")]);
        assert_eq!(required("symphony"), [beginning_hash("symphony")]);
        assert_eq!(required("serenad"), [beginning_hash("serena")]);
        let mixed = [word_hash("京都"), word_hash("東京"), beginning_hash("語")];
        assert_eq!(required("東京都 語 "), mixed);
    }

    #[test]
    fn each_condition_of_the_filter_can_refuse() {
        let file = FileMeta {
            content: ContentId::from_bytes([3; 32]),
            size: 1000,
            kind: Kind::Audio,
            path: FilePath::new("a/song.MP3").expect("a path"),
            tags: Some(Box::new(skein_proto::MediaTags {
                bitrate_kbps: Some(192),
                duration_secs: Some(200),
                ..Default::default()
            })),
        };
        let bare = FileMeta { tags: None, ..file.clone() };
        let alice = Username::parse("alice").expect("a name");
        let passes = |change: fn(&mut Filter), file: &FileMeta| {
            let mut filter = Filter::default();
            change(&mut filter);
            let ask = Ask::Words(BoundedString::truncated("song"));
            ParsedQuery::parse(&Query { ask, filter }).expect("a query").matches(file, &alice)
        };
        let extension = |text| Some(BoundedString::truncated(text));
        assert!(passes(|_| (), &bare));
        assert!(passes(|f| f.kind = Some(Kind::Audio), &file));
        assert!(!passes(|f| f.kind = Some(Kind::Video), &file));
        for wanted in ["mp3", "Mp3", ".mp3"] {
            let ask = Ask::Words(BoundedString::truncated("song"));
            let filter = Filter { extension: extension(wanted), ..Filter::default() };
            let query = ParsedQuery::parse(&Query { ask, filter }).expect("a query");
            assert!(query.matches(&file, &alice), "{wanted:?}");
        }
        assert!(!passes(|f| f.extension = Some(BoundedString::truncated("mp")), &file));
        assert!(passes(|f| f.min_size = Some(1000), &file));
        assert!(!passes(|f| f.min_size = Some(1001), &file));
        assert!(passes(|f| f.max_size = Some(1000), &file));
        assert!(!passes(|f| f.max_size = Some(999), &file));
        assert!(passes(|f| f.min_bitrate_kbps = Some(192), &file));
        assert!(!passes(|f| f.min_bitrate_kbps = Some(193), &file));
        assert!(!passes(|f| f.min_bitrate_kbps = Some(0), &bare));
        assert!(passes(|f| f.min_duration_secs = Some(200), &file));
        assert!(!passes(|f| f.min_duration_secs = Some(201), &file));
        assert!(!passes(|f| f.min_duration_secs = Some(0), &bare));
        assert!(passes(|f| f.max_duration_secs = Some(200), &file));
        assert!(!passes(|f| f.max_duration_secs = Some(199), &file));
        assert!(!passes(|f| f.max_duration_secs = Some(u32::MAX), &bare));
        assert!(passes(|f| f.owner = Username::parse("Alice").ok(), &file));
        assert!(!passes(|f| f.owner = Username::parse("bob").ok(), &file));
    }

    proptest! {
        #[test]
        fn no_query_makes_the_parser_panic(text in any::<String>(), star in any::<bool>()) {
            let text = if star { text.replace(' ', "*") } else { text };
            if let Ok(parsed) = parse(&text) {
                // No character of three bytes folds to more than six of a script without spaces
                // (U+3316, square kilometre), and the text has at most 256 bytes.
                prop_assert!(parsed.terms().len() <= 2 * 256);
            }
        }
    }
}

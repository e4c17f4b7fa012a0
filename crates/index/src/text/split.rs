//! Cutting folded text into words: rules 7 to 11.

use super::{MAX_WORD_CHARS, fold};
use unicode_normalization::char::is_combining_mark;

/// A class of script, by how it separates its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Spaces stand between words.
    Spaced,
    /// Han, Hiragana, Katakana.
    Cjk,
    /// Thai, Lao, Khmer, Myanmar.
    SoutheastAsian,
}

impl Script {
    pub(super) fn of(c: char) -> Self {
        match c {
            // All that is in most names: none of the ranges below begins before.
            '\0'..='\u{dff}' => Self::Spaced,
            // Thai and Lao; Myanmar and its extensions A, B, C; Khmer.
            '\u{0e00}'..='\u{0eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{aa60}'..='\u{aa7f}'
            | '\u{a9e0}'..='\u{a9ff}'
            | '\u{116d0}'..='\u{116ff}'
            | '\u{1780}'..='\u{17ff}' => Self::SoutheastAsian,
            // Radicals; iteration marks and numerals; kana; Han with its extensions A and up,
            // and its compatibility forms; historic kana. U+3100–31EF are Bopomofo, Hangul and
            // signs.
            '\u{2e80}'..='\u{2fdf}'
            | '\u{3005}'..='\u{3007}'
            | '\u{3021}'..='\u{3029}'
            | '\u{3031}'..='\u{3035}'
            | '\u{3038}'..='\u{303c}'
            | '\u{3041}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{1aff0}'..='\u{1b16f}'
            | '\u{20000}'..='\u{3ffff}' => Self::Cjk,
            _ => Self::Spaced,
        }
    }
}

/// A run of word characters of one class of script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) script: Script,
    pub(super) text: String,
    /// What follows it at once, if anything does.
    pub(super) next: Option<char>,
}

impl Run {
    /// The words that the run asks for: itself, or its pairs of characters.
    pub(super) fn terms(&self) -> Vec<String> {
        if self.script == Script::Spaced {
            return vec![cut(self.text.chars())];
        }
        let characters = self.characters();
        match characters.as_slice() {
            [only] => vec![cut(only.chars())],
            many => many.windows(2).map(|pair| cut(pair.concat().chars())).collect(),
        }
    }

    /// Whether the run is one character of a script without spaces.
    pub(super) fn is_one_character(&self) -> bool {
        self.script != Script::Spaced && self.characters().len() == 1
    }

    /// The last character, which a record has as a word of its own.
    fn tail(&self) -> Option<String> {
        match self.characters().as_slice() {
            [_, .., last] if self.script != Script::Spaced => Some(cut(last.chars())),
            _ => None,
        }
    }

    fn characters(&self) -> Vec<&str> {
        let mut starts: Vec<usize> = self
            .text
            .char_indices()
            .filter(|(_, c)| !is_combining_mark(*c))
            .map(|(i, _)| i)
            .collect();
        // A run can begin with a mark that counts as a letter: it is a character then.
        if starts.first() != Some(&0) {
            starts.insert(0, 0);
        }
        let ends = starts.iter().skip(1).copied().chain([self.text.len()]);
        starts.iter().zip(ends).map(|(start, end)| &self.text[*start..end]).collect()
    }
}

fn cut(chars: impl Iterator<Item = char>) -> String {
    chars.take(MAX_WORD_CHARS).collect()
}

const fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '`' | '‘' | '’' | '‛' | 'ʻ' | 'ʼ')
}

/// Those of them that are ASCII.
pub(super) const fn is_ascii_apostrophe(byte: u8) -> bool {
    matches!(byte, b'\'' | b'`')
}

/// Cuts folded text into runs.
pub(super) fn runs(folded: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open: Option<(Script, String)> = None;
    let mut chars = folded.chars().peekable();
    while let Some(c) = chars.next() {
        if is_apostrophe(c) {
            // A mark behind it would come to stand behind the marks before it, in an order that is
            // not the canonical one.
            let goes_on = |next: &char| is_word_char(*next) && !is_combining_mark(*next);
            let inside = open.is_some() && chars.peek().is_some_and(goes_on);
            if !inside {
                close(&mut open, Some(c), &mut runs);
            }
            continue;
        }
        if is_word_char(c) {
            match &mut open {
                Some((script, text)) if Script::of(c) == *script => text.push(c),
                _ => {
                    close(&mut open, Some(c), &mut runs);
                    open = Some((Script::of(c), String::from(c)));
                }
            }
        } else if is_combining_mark(c) {
            // Behind a word character a mark belongs to it, whatever block it is from.
            if let Some((_, text)) = &mut open {
                text.push(c);
            }
        } else {
            close(&mut open, Some(c), &mut runs);
        }
    }
    close(&mut open, None, &mut runs);
    runs
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() && !is_apostrophe(c)
}

fn close(open: &mut Option<(Script, String)>, next: Option<char>, runs: &mut Vec<Run>) {
    if let Some((script, text)) = open.take() {
        runs.push(Run { script, text, next });
    }
}

/// The words of a text as a record would have them, in their order, repetitions included.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in runs(&fold(text)) {
        words.extend(run.terms());
        words.extend(run.tail());
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_cut_into_words() {
        let cases: [(&str, &[&str]); 22] = [
            ("", &[]),
            ("  -- .. __ !!", &[]),
            ("01_Some.Song-name (live).mp3", &["01", "some", "song", "name", "live", "mp3"]),
            ("01song", &["01song"]),
            ("camelCase", &["camelcase"]),
            ("AC/DC", &["ac", "dc"]),
            (
                "don't don’t don´t 'quoted' rock'n'roll ' '",
                &["dont", "dont", "dont", "quoted", "rocknroll"],
            ),
            ("naïve CAFÉ", &["naive", "cafe"]),
            ("Москва-Йошкар", &["москва", "иошкар"]),
            ("ΑΘΗΝΑ", &["αθηνα"]),
            ("שָׁלוֹם עולם", &["שלום", "עולם"]),
            ("مُحَمَّد عـبـد", &["محمد", "عبد"]),
            ("हिन्दी संगीत", &["हिन्दी", "संगीत"]),
            ("தமிழ்", &["தமிழ்"]),
            ("서울 노래", &["서울", "노래"]),
            ("東", &["東"]),
            ("東京都", &["東京", "京都", "都"]),
            ("ガンダムZZ第1話", &["ガン", "ンダ", "ダム", "ム", "zz", "第", "1", "話"]),
            ("ｶﾞﾝﾀﾞﾑ", &["ガン", "ンダ", "ダム", "ム"]),
            ("เพลง", &["เพ", "พล", "ลง", "ง"]),
            ("ที่นี่", &["ที่นี่", "นี่"]),
            ("日本ไทย", &["日本", "本", "ไท", "ทย", "ย"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_word_is_cut_at_its_limit() {
        assert_eq!(words(&"ä".repeat(100)), ["a".repeat(MAX_WORD_CHARS)]);
        let marks = format!("か{}", "\u{3099}".repeat(1000));
        assert!(words(&marks).iter().all(|word| word.chars().count() <= MAX_WORD_CHARS));
    }

    proptest! {
        #[test]
        fn any_text_is_cut_into_words_that_stay_as_they_are(text in any::<String>()) {
            for word in words(&text) {
                let length = word.chars().count();
                prop_assert!((1..=MAX_WORD_CHARS).contains(&length));
                prop_assert_eq!(fold(&word), word);
            }
        }

        #[test]
        fn case_and_composition_make_no_difference(text in "[a-zA-ZäöüÄÖÜéÉñßàÅ 가-힣ぁ-ん_.']{0,40}") {
            use unicode_normalization::UnicodeNormalization;
            let expected = words(&text);
            prop_assert_eq!(words(&text.nfd().collect::<String>()), expected.clone());
            prop_assert_eq!(words(&text.to_uppercase()), expected.clone());
            prop_assert_eq!(words(&text.to_lowercase()), expected);
        }
    }
}

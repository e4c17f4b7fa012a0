//! Cutting a path into the pieces of which a segment's documents are made.

use crate::text::{Run, is_word_byte};

/// A piece of a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The word of this number.
    Word(u32),
    /// Of a name of ASCII alone, of which parts are cut without a question where its characters begin.
    Text(&'a [u8]),
}

/// The same pieces as those of [`pieces`], of a file name of which the runs are known already.
pub(crate) fn pieces_of_runs<'a>(name: &'a str, runs: &[Run], mut see: impl FnMut(Piece<'a>)) {
    let name = name.as_bytes();
    let mut before = 0;
    for (number, run) in runs.iter().enumerate() {
        let (start, end) = (run.start as usize, run.end as usize);
        let is_ending = end == name.len() && name[..start].ends_with(b".");
        let gap = &name[before..start - usize::from(is_ending)];
        let is_implied = number > 0 && gap == b" " && !is_ending;
        if !gap.is_empty() && !is_implied {
            see(Piece::Text(gap));
        }
        see(match run.word {
            _ if is_ending => Piece::Text(&name[start - 1..]),
            Some(word) => Piece::Word(word),
            None => Piece::Text(&name[start..end]),
        });
        before = end;
    }
    if before < name.len() {
        see(Piece::Text(&name[before..]));
    }
}

/// Cuts a path into pieces: the folder, the runs of letters and digits of the name, what stands
/// between them but for single spaces, and the ending with its dot.
pub(crate) fn pieces<'a>(path: &'a str, mut see: impl FnMut(&'a str)) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(name);
    if !folder.is_empty() {
        see(folder);
    }
    // The ending, with its dot, is a piece: most names have one of a few.
    let dot = name.rfind('.').filter(|dot| is_word(&name[dot + 1..]));
    let (stem, ending) = name.split_at(dot.unwrap_or(name.len()));
    if stem.is_ascii() {
        stem_pieces(stem, ascii_run, &mut see);
    } else {
        stem_pieces(stem, run, &mut see);
    }
    if !ending.is_empty() {
        see(ending);
    }
}

/// Cuts a name without its ending; `run` says how long the run at the front of a text is.
#[inline]
fn stem_pieces<'a>(
    stem: &'a str,
    run: impl Fn(&str) -> (usize, bool),
    see: &mut impl FnMut(&'a str),
) {
    let mut rest = stem;
    let mut behind_word = false;
    while !rest.is_empty() {
        let (end, in_word) = run(rest);
        let (piece, later) = rest.split_at(end);
        // What follows a run that is no word is a word.
        let is_implied = behind_word && piece == " " && !later.is_empty();
        if !is_implied {
            see(piece);
        }
        (rest, behind_word) = (later, in_word);
    }
}

/// How many bytes at the front of a text are all of words or all of none, and which.
fn run(text: &str) -> (usize, bool) {
    let in_word = text.starts_with(char::is_alphanumeric);
    let end = text.find(|c: char| c.is_alphanumeric() != in_word);
    (end.unwrap_or(text.len()), in_word)
}

/// As [`run`], of ASCII.
#[inline]
fn ascii_run(text: &str) -> (usize, bool) {
    let in_word = text.bytes().next().is_some_and(is_word_byte);
    let end = text.bytes().position(|byte| is_word_byte(byte) != in_word);
    (end.unwrap_or(text.len()), in_word)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::super::documents::is_joint;
    use super::*;
    use crate::text::RecordWords;
    use proptest::prelude::*;

    fn joined(path: &str) -> String {
        let mut out = String::new();
        pieces(path, |piece| {
            if is_joint(out.as_bytes(), piece.as_bytes()) {
                out.push(' ');
            }
            out.push_str(piece);
        });
        out
    }

    #[test]
    fn a_path_is_cut_where_its_words_are() {
        let cut = |path| {
            let mut all = Vec::new();
            pieces(path, |piece| all.push(piece.to_owned()));
            all
        };
        assert_eq!(cut("some song name.mp3"), ["some", "song", "name", ".mp3"]);
        assert_eq!(
            cut("usr/share/a-b  c .txt"),
            ["usr/share/", "a", "-", "b", "  ", "c", " ", ".txt"]
        );
        assert_eq!(cut(" a.b c"), [" ", "a", ".", "b", "c"]);
    }

    proptest! {
        #[test]
        fn runs_that_are_known_give_the_same_pieces(
            path in "([a-c]{1,3}/)?[a-cA-B0 ._-]{0,20}|([ab]{30,40}[ .]){1,2}mp3|[ab東]{0,4}",
        ) {
            let mut words = RecordWords::default();
            words.read(&path, None);
            let mut expected = Vec::new();
            pieces(&path, |piece| expected.push(piece));
            let (folder, name) = path.split_at(words.name_start());
            let mut found = if folder.is_empty() { vec![] } else { vec![folder.to_owned()] };
            if let Some(runs) = words.runs() {
                pieces_of_runs(name, runs, |piece| found.push(match piece {
                    Piece::Word(word) => words.text_of(&words.words()[word as usize]).to_owned(),
                    Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
                }));
                prop_assert_eq!(found, expected);
            } else {
                prop_assert!(!path.is_ascii());
            }
        }

        #[test]
        fn pieces_make_up_their_path(path in "[a ./_東-]{0,20}|.{0,20}") {
            prop_assert_eq!(joined(&path), path);
        }
    }
}

//! Cutting a path into the pieces of which a segment's documents are made.

use crate::text::is_word_byte;

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
    use super::super::documents::join;
    use super::*;
    use proptest::prelude::*;

    fn joined(path: &str) -> String {
        let mut out = Vec::new();
        pieces(path, |piece| {
            let at = out.len();
            out.extend_from_slice(piece.as_bytes());
            join(&mut out, at);
        });
        String::from_utf8(out).expect("whole characters")
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
        fn pieces_make_up_their_path(path in "[a ./_東-]{0,20}|.{0,20}") {
            prop_assert_eq!(joined(&path), path);
        }
    }
}

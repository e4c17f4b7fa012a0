//! What a child publishes of a file: its metadata, never the file.

use crate::bounded::{BoundedString, TooLong};
use crate::id::ContentId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What sort of file it is, by its extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// None of the others, or a kind that this version does not know yet.
    #[default]
    Other = 0,
    /// Music and speech.
    Audio = 1,
    /// Films and clips.
    Video = 2,
    /// Pictures.
    Image = 3,
    /// Texts, books, tables.
    Document = 4,
    /// Packed collections of files.
    Archive = 5,
    /// Programs, packages and disk images.
    Software = 6,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Other,
        Self::Audio,
        Self::Video,
        Self::Image,
        Self::Document,
        Self::Archive,
        Self::Software,
    ];

    /// The kind of a file with this extension (without the dot, in any case).
    pub fn from_extension(extension: &str) -> Self {
        match extension.to_ascii_lowercase().as_str() {
            "mp3" | "flac" | "ogg" | "oga" | "opus" | "m4a" | "aac" | "wav" | "aif" | "aiff"
            | "wma" | "ape" | "wv" | "mpc" | "mid" | "midi" | "mka" => Self::Audio,
            "mp4" | "mkv" | "avi" | "mov" | "webm" | "mpg" | "mpeg" | "m4v" | "wmv" | "flv"
            | "ogv" | "3gp" => Self::Video,
            "jpg" | "jpeg" | "png" | "gif" | "webp" | "bmp" | "tif" | "tiff" | "svg" | "heic"
            | "avif" | "ico" | "psd" | "xcf" => Self::Image,
            "pdf" | "epub" | "mobi" | "azw3" | "djvu" | "txt" | "md" | "rst" | "doc" | "docx"
            | "odt" | "rtf" | "xls" | "xlsx" | "ods" | "csv" | "ppt" | "pptx" | "odp" | "ps"
            | "tex" | "html" | "htm" | "xml" | "json" => Self::Document,
            "zip" | "tar" | "gz" | "tgz" | "bz2" | "xz" | "zst" | "7z" | "rar" | "lz" | "lz4"
            | "cpio" => Self::Archive,
            "exe" | "msi" | "deb" | "rpm" | "apk" | "dmg" | "iso" | "img" | "jar" | "appimage"
            | "bin" | "so" | "dll" | "sh" | "py" => Self::Software,
            _ => Self::Other,
        }
    }

    /// The word for it, as it is typed after `--kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Image => "image",
            Self::Document => "document",
            Self::Archive => "archive",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names no kind of file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no kind of file: use audio, video, image, document, archive, software or other")]
pub struct ParseKindError(String);

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(word: &str) -> Result<Self, ParseKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(word.trim()))
            .ok_or_else(|| ParseKindError(word.chars().take(32).collect()))
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            serializer.serialize_u8(*self as u8)
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
            return word.parse().map_err(D::Error::custom);
        }
        // A newer node may know kinds that this one does not: they are "other" here.
        let number = usize::from(u8::deserialize(deserializer)?);
        Ok(Self::ALL.get(number).copied().unwrap_or_default())
    }
}

/// Where a file stands in its owner's share: relative, parts joined by `/`, at most
/// [`FilePath::MAX_BYTES`] bytes of UTF-8. Its first part is the name of the shared folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FilePath(BoundedString<{ FilePath::MAX_BYTES }>);

/// Why a text is no path of a shared file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// Longer than [`FilePath::MAX_BYTES`].
    #[error("a path may have 512 bytes: {0}")]
    TooLong(#[from] TooLong),
    /// Absolute, empty, or with an empty, `.` or `..` part: saving it could leave the folder.
    #[error("a path is relative and has no empty, \".\" or \"..\" part")]
    NotPlain,
}

impl FilePath {
    /// The longest path in bytes: room for two names of the usual file-system limit of 255.
    pub const MAX_BYTES: usize = 512;

    /// Takes a relative path.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn new(path: impl Into<String>) -> Result<Self, PathError> {
        let path = BoundedString::new(path)?;
        Self::check(path)
    }

    /// A path that was one before its owner wrote it down in its own memory, read again. An index
    /// reads out a hundred of them for a search, and to check them took a fifth of its time. What
    /// came from anywhere else is for [`FilePath::new`].
    pub fn kept(path: &str) -> Self {
        debug_assert!(Self::new(path).is_ok(), "{path:?} never was a path");
        Self(BoundedString::kept(path))
    }

    fn check(path: BoundedString<{ Self::MAX_BYTES }>) -> Result<Self, PathError> {
        if is_plain(&path) { Ok(Self(path)) } else { Err(PathError::NotPlain) }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// What follows the last dot of the file name, if anything does and something precedes it.
    pub fn extension(&self) -> Option<&str> {
        match self.file_name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => Some(extension),
            _ => None,
        }
    }
}

/// Whether a text is relative and has no part that is empty, `.` or `..`.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    // Without an early end the compiler looks at many bytes at a time, and in most paths no part
    // begins with a dot.
    let is_odd = |first: u8| (first == b'/') | (first == b'.');
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let has_odd_part = pairs.fold(is_odd(*first), |found, (before, first)| {
        found | ((*before == b'/') & is_odd(*first))
    });
    let has_backslash = bytes.iter().fold(false, |found, byte| found | (*byte == b'\\'));
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    !has_backslash && *last != b'/' && (!has_odd_part || path.split('/').all(is_part))
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::check(BoundedString::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What the file itself says of its music or film.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MediaTags {
    /// Who plays.
    pub artist: Option<BoundedString<128>>,
    /// What is played.
    pub title: Option<BoundedString<128>>,
    /// Where it was published.
    pub album: Option<BoundedString<128>>,
    /// Bits per second, in thousands.
    pub bitrate_kbps: Option<u32>,
    /// Playing time in whole seconds.
    pub duration_secs: Option<u32>,
}

/// The metadata of one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileMeta {
    /// The BLAKE3 root of its bytes.
    pub content: ContentId,
    /// Its length in bytes, as its owner says; the download proves it.
    pub size: u64,
    /// Its sort.
    pub kind: Kind,
    /// Its place in the share.
    pub path: FilePath,
    /// Its tags, if it is a media file that has some.
    pub tags: Option<Box<MediaTags>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_its_folder_is_refused() {
        for path in ["", "/etc/passwd", "a//b", "../a", "a/../b", "a/.", "a/", "a\\b"] {
            assert_eq!(FilePath::new(path), Err(PathError::NotPlain), "{path:?}");
        }
    }

    #[test]
    fn paths_of_few_letters_are_told_apart_part_by_part() {
        let letters = ["a", ".", "/", "\\", "ß"];
        let texts = (0..=7).flat_map(|length| {
            (0..letters.len().pow(length)).map(move |number| {
                let digits = (0..length).map(|place| number / letters.len().pow(place));
                digits.map(|digit| letters[digit % letters.len()]).collect::<String>()
            })
        });
        for text in texts {
            let text = text.as_str();
            let has_bad_part = text.split('/').any(|part| ["", ".", ".."].contains(&part));
            assert_eq!(is_plain(text), !has_bad_part && !text.contains('\\'), "{text:?}");
        }
    }

    #[test]
    fn a_path_knows_its_name_and_extension() {
        let path = FilePath::new("music/Some Band/01 Song.FLAC").expect("a path");
        assert_eq!(path.file_name(), "01 Song.FLAC");
        assert_eq!(path.extension(), Some("FLAC"));
        assert_eq!(FilePath::new(".hidden").expect("a path").extension(), None);
        assert_eq!(FilePath::new("trailing.").expect("a path").extension(), None);
    }

    #[test]
    fn every_kind_has_one_word() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("films".parse::<Kind>().is_err());
    }
}

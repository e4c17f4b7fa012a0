//! What media files say of themselves.

use lofty::config::{GlobalOptions, ParseOptions, apply_global_options};
use lofty::file::{AudioFile, TaggedFileExt};
use lofty::probe::Probe;
use lofty::properties::FileProperties;
use lofty::tag::{Accessor, Tag};
use skein_proto::{BoundedString, Kind, MediaTags};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The largest block that the parser may take into memory: tags with the picture of a cover are
/// smaller, and a forged length cannot take more.
const MAX_BLOCK_BYTES: usize = 16 * 1024 * 1024;

/// The most bytes that are read of one file for its tags. Tags stand at the beginning or the end;
/// only files that lead the parser astray need more.
const MAX_READ_BYTES: u64 = 32 * 1024 * 1024;

/// The most reads and seeks for one file, of those that reach the system. Walking the frames of
/// an hour of audio without an index takes some ten thousand.
const MAX_CALLS: u64 = 200_000;

/// What came of reading tags.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TagOutcome {
    /// It is no media file, or one without anything to say.
    None,
    /// It says this.
    Tags(Box<MediaTags>),
    /// The file is damaged, forged or of a form that is not known.
    Failed,
}

/// Whether files of this kind may have tags.
pub(super) fn may_have_tags(kind: Kind) -> bool {
    matches!(kind, Kind::Audio | Kind::Video)
}

/// Reads the tags of an open file, from its beginning.
pub(super) fn read(file: File) -> TagOutcome {
    // The parser is foreign code that is fed with files of strangers: if one makes it panic, that
    // file goes without tags.
    match catch_unwind(AssertUnwindSafe(|| parse(file))) {
        Ok(Ok(Some(tags))) => TagOutcome::Tags(Box::new(tags)),
        Ok(Ok(None)) => TagOutcome::None,
        Ok(Err(_)) | Err(_) => TagOutcome::Failed,
    }
}

fn parse(mut file: File) -> Result<Option<MediaTags>, lofty::error::FileParseError> {
    file.rewind()?;
    // The limit belongs to the thread, and any thread of the pool may be the one.
    apply_global_options(GlobalOptions::new().allocation_limit(MAX_BLOCK_BYTES));
    let reader = BufReader::with_capacity(16 * 1024, Budget::new(file));
    let probe = Probe::new(reader).guess_file_type()?;
    if probe.file_type().is_none() {
        return Ok(None);
    }
    let file = probe.options(ParseOptions::new().read_cover_art(false)).read()?;
    let tag = file.primary_tag().or_else(|| file.first_tag());
    let tags = collect(tag, file.properties());
    Ok(if tags == MediaTags::default() { None } else { Some(tags) })
}

fn collect(tag: Option<&Tag>, properties: &FileProperties) -> MediaTags {
    let text = |value: Option<std::borrow::Cow<'_, str>>| {
        let text = BoundedString::truncated(value?.trim());
        if text.is_empty() { None } else { Some(text) }
    };
    let seconds = properties.duration().as_secs_f64().round();
    MediaTags {
        artist: tag.and_then(|tag| text(tag.artist())),
        title: tag.and_then(|tag| text(tag.title())),
        album: tag.and_then(|tag| text(tag.album())),
        bitrate_kbps: properties
            .audio_bitrate()
            .or_else(|| properties.overall_bitrate())
            .filter(|rate| *rate > 0),
        // Casting a float saturates, and NaN becomes zero.
        duration_secs: Some(seconds as u32).filter(|seconds| *seconds > 0),
    }
}

/// A reader that fails when it has been asked for more than a sound file needs.
struct Budget<R> {
    inner: R,
    bytes: u64,
    calls: u64,
}

impl<R> Budget<R> {
    fn new(inner: R) -> Self {
        Self { inner, bytes: MAX_READ_BYTES, calls: MAX_CALLS }
    }

    fn spend(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.bytes.checked_sub(bytes).zip(self.calls.checked_sub(1));
        let (bytes, calls) =
            left.ok_or_else(|| io::Error::other("the tags of this file take too much work"))?;
        (self.bytes, self.calls) = (bytes, calls);
        Ok(())
    }
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.spend(read as u64)?;
        Ok(read)
    }
}

impl<R: Seek> Seek for Budget<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.spend(0)?;
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn rubbish_with_a_media_name_has_no_tags_and_does_no_harm() {
        for bytes in
            [&b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"[..], b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b""]
        {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            assert!(!matches!(read(file), TagOutcome::Tags(_)), "{bytes:?}");
        }
    }

    #[test]
    fn a_reader_that_never_stops_is_stopped() {
        let mut reader = Budget::new(io::repeat(0));
        let copied = io::copy(&mut reader, &mut io::sink());
        assert!(copied.is_err());
    }
}

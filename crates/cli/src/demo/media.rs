//! Small but real media files: sound as RIFF/WAVE with tags, pictures as BMP.
//!
//! Formats: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft,
//! 1991) for WAVE and its `LIST INFO` tags; the `BITMAPINFOHEADER` of Windows 3 for BMP.

use std::io::{self, Write};

/// What a sound file says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    /// Who plays.
    pub artist: &'a str,
    /// What is played.
    pub title: &'a str,
    /// Where it was published.
    pub album: &'a str,
}

/// The form of 16-bit PCM sound.
#[derive(Clone, Copy, Debug)]
struct Pcm {
    channels: u16,
    samples_per_second: u32,
}

/// Writes a little tune of `seconds` seconds: a melody of a pentatonic scale, which sounds well in
/// whatever order its notes come. `seed` chooses the order.
///
/// # Errors
/// Those of `out`.
pub fn write_tune(out: &mut impl Write, tags: Tags<'_>, seed: u8, seconds: u16) -> io::Result<()> {
    const FORM: Pcm = Pcm { channels: 1, samples_per_second: 11_025 };
    /// A minor pentatonic from A3 on, in hertz.
    const SCALE: [f32; 6] = [220.0, 261.63, 293.66, 329.63, 392.0, 440.0];
    const NOTES_PER_SECOND: u16 = 4;

    let order = blake3::hash(&[seed]);
    let samples_per_note = FORM.samples_per_second / u32::from(NOTES_PER_SECOND);
    let notes = NOTES_PER_SECOND * seconds;
    let data_bytes = u32::from(notes) * samples_per_note * 2;
    write_wave_header(out, tags, FORM, data_bytes)?;
    for note in 0..usize::from(notes) {
        let step = order.as_bytes()[note % 32];
        let pitch = SCALE[usize::from(step) % SCALE.len()];
        let mut samples = Vec::with_capacity(samples_per_note as usize * 2);
        for at in 0..samples_per_note {
            let time = at as f32 / FORM.samples_per_second as f32;
            // A plucked string: loud at once, then dying away, with a soft octave above.
            let envelope = (-6.0 * time).exp();
            let angle = std::f32::consts::TAU * pitch * time;
            let wave = envelope * (0.6 * angle.sin() + 0.2 * (2.0 * angle).sin());
            samples.extend_from_slice(&((wave * 30_000.0) as i16).to_le_bytes());
        }
        out.write_all(&samples)?;
    }
    Ok(())
}

/// Writes a recording of wind, `size` bytes of file in all: noise that no compression makes
/// smaller, so that fetching it takes as long as its size says.
///
/// # Errors
/// Those of `out`; and if `size` is too small for the header, or larger than the format allows.
pub fn write_wind(out: &mut impl Write, tags: Tags<'_>, size: u32) -> io::Result<()> {
    const FORM: Pcm = Pcm { channels: 2, samples_per_second: 44_100 };
    let mut header = Vec::new();
    write_wave_header(&mut header, tags, FORM, 0)?;
    let header_bytes = u32::try_from(header.len()).map_err(io::Error::other)?;
    let data_bytes = size
        .checked_sub(header_bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too small for a recording"))?;
    // Whole samples only: two bytes for each of two channels.
    let data_bytes = data_bytes - data_bytes % 4;
    write_wave_header(out, tags, FORM, data_bytes)?;

    let mut noise = blake3::Hasher::new().update(tags.title.as_bytes()).finalize_xof();
    let mut left = data_bytes as usize;
    let mut chunk = vec![0; 64 * 1024];
    while left > 0 {
        let take = left.min(chunk.len());
        noise.fill(&mut chunk[..take]);
        for sample in chunk[..take].chunks_exact_mut(2) {
            // A quarter of full volume: the sign is kept, the loudness divided.
            let quiet = i16::from_le_bytes([sample[0], sample[1]]) / 4;
            sample.copy_from_slice(&quiet.to_le_bytes());
        }
        out.write_all(&chunk[..take])?;
        left -= take;
    }
    Ok(())
}

/// Everything in front of the samples, with the lengths that they will have.
fn write_wave_header(
    out: &mut impl Write,
    tags: Tags<'_>,
    form: Pcm,
    data_bytes: u32,
) -> io::Result<()> {
    let mut info = b"INFO".to_vec();
    for (id, text) in [(b"INAM", tags.title), (b"IART", tags.artist), (b"IPRD", tags.album)] {
        let mut text = text.as_bytes().to_vec();
        text.push(0);
        chunk(&mut info, id, &text)?;
    }
    let bytes_per_frame = form.channels * 2;
    let mut format = Vec::new();
    format.extend_from_slice(&1u16.to_le_bytes());
    format.extend_from_slice(&form.channels.to_le_bytes());
    format.extend_from_slice(&form.samples_per_second.to_le_bytes());
    let bytes_per_second = form.samples_per_second * u32::from(bytes_per_frame);
    format.extend_from_slice(&bytes_per_second.to_le_bytes());
    format.extend_from_slice(&bytes_per_frame.to_le_bytes());
    format.extend_from_slice(&16u16.to_le_bytes());

    let mut body = b"WAVE".to_vec();
    chunk(&mut body, b"fmt ", &format)?;
    chunk(&mut body, b"LIST", &info)?;
    body.extend_from_slice(b"data");
    body.extend_from_slice(&data_bytes.to_le_bytes());

    let body_bytes = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(b"RIFF")?;
    out.write_all(&(body_bytes + data_bytes).to_le_bytes())?;
    out.write_all(&body)
}

/// A RIFF chunk: id, length, content, and a byte of padding after an odd length.
fn chunk(out: &mut Vec<u8>, id: &[u8; 4], content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    out.extend_from_slice(id);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(content);
    if !content.len().is_multiple_of(2) {
        out.push(0);
    }
    Ok(())
}

/// Writes a picture of `SIDE` by `SIDE` dots: an evening sky above a horizon. `seed` chooses the
/// colours and the height of the horizon.
///
/// # Errors
/// Those of `out`.
pub fn write_picture(out: &mut impl Write, seed: u8) -> io::Result<()> {
    /// A multiple of four, so that the rows of three bytes a dot need no padding.
    const SIDE: u8 = 64;
    const HEADER_BYTES: u32 = 54;

    let colors = blake3::hash(&[seed, 1]);
    let [red, green, blue, horizon, ..] = *colors.as_bytes();
    let horizon = SIDE / 4 + horizon % (SIDE / 2);
    let data_bytes = u32::from(SIDE) * u32::from(SIDE) * 3;

    let mut file = b"BM".to_vec();
    for word in [HEADER_BYTES + data_bytes, 0, HEADER_BYTES, 40, SIDE.into(), SIDE.into()] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    // One plane, 24 bits a dot, not compressed; sizes, resolution and palette left to the reader.
    for half in [1u16, 24, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    for word in [data_bytes, 0, 0, 0, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for row in 0..SIDE {
        for column in 0..SIDE {
            let dot = if row < horizon {
                [blue / 4, green / 3, red / 4]
            } else {
                let height = row - horizon;
                let glow = 200u8.saturating_sub(height.saturating_mul(3));
                [
                    blue / 2 + height,
                    green / 4 + glow / 4,
                    (red / 4).saturating_add(glow - column / 2 % 8),
                ]
            };
            file.extend_from_slice(&dot);
        }
    }
    out.write_all(&file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lofty::file::{AudioFile as _, TaggedFileExt as _};
    use lofty::tag::Accessor as _;
    use std::io::Cursor;

    const TAGS: Tags<'_> = Tags { artist: "The Reeds", title: "Low Tide", album: "Estuary" };

    #[test]
    fn a_tune_is_read_back_with_its_tags_and_length() {
        let mut file = Vec::new();
        write_tune(&mut file, TAGS, 7, 3).unwrap();
        let probe = lofty::probe::Probe::new(Cursor::new(file)).guess_file_type().unwrap();
        let read = probe.read().unwrap();
        assert_eq!(read.properties().duration().as_secs_f32().round() as u32, 3);
        let tag = read.first_tag().unwrap();
        assert_eq!(tag.title().as_deref(), Some("Low Tide"));
        assert_eq!(tag.artist().as_deref(), Some("The Reeds"));
        assert_eq!(tag.album().as_deref(), Some("Estuary"));
    }

    #[test]
    fn a_recording_has_the_size_that_was_asked_for() {
        let mut file = Vec::new();
        write_wind(&mut file, TAGS, 100_000).unwrap();
        assert!(file.len() > 100_000 - 4 && file.len() <= 100_000, "{}", file.len());
        let riff = u32::from_le_bytes(file[4..8].try_into().unwrap());
        assert_eq!(riff as usize + 8, file.len());
        assert!(write_wind(&mut Vec::new(), TAGS, 10).is_err());
    }

    #[test]
    fn a_picture_says_its_own_size() {
        for seed in 0..=255 {
            let mut file = Vec::new();
            write_picture(&mut file, seed).unwrap();
            let size = u32::from_le_bytes(file[2..6].try_into().unwrap());
            assert_eq!((&file[..2], size as usize), (&b"BM"[..], file.len()));
        }
    }

    #[test]
    fn another_seed_makes_another_file() {
        let tune = |seed| {
            let mut file = Vec::new();
            write_tune(&mut file, TAGS, seed, 1).unwrap();
            file
        };
        assert_ne!(tune(1), tune(2));
        assert_eq!(tune(1), tune(1));
    }
}

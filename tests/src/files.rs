//! Files to share.

use skein_proto::ContentId;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;

/// Bytes that are written and hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes a file of `bytes` bytes that `seed` chooses and no compression makes smaller; the folders
/// above it are made. Answers with its content id.
///
/// # Panics
/// If it cannot be written.
pub fn write_noise(path: &Path, seed: &str, bytes: usize) -> ContentId {
    let mut noise = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
    let mut content = blake3::Hasher::new();
    let mut file = create(path);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let take = left.min(chunk.len());
        noise.fill(&mut chunk[..take]);
        content.update(&chunk[..take]);
        file.write_all(&chunk[..take]).expect("the file can be written");
        left -= take;
    }
    file.flush().expect("the file can be written");
    ContentId::from_bytes(*content.finalize().as_bytes())
}

/// Writes a small text; the folders above it are made. Answers with its content id.
///
/// # Panics
/// If it cannot be written.
pub fn write_text(path: &Path, text: &str) -> ContentId {
    let mut file = create(path);
    file.write_all(text.as_bytes()).expect("the file can be written");
    file.flush().expect("the file can be written");
    ContentId::from_bytes(*blake3::hash(text.as_bytes()).as_bytes())
}

/// The content id of a file, reckoned from its bytes on disk.
///
/// # Panics
/// If it cannot be read.
pub fn content_of(path: &Path) -> ContentId {
    let mut file = File::open(path).expect("the file can be read");
    let mut content = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).expect("the file can be read") {
            0 => break,
            read => content.update(&chunk[..read]),
        };
    }
    ContentId::from_bytes(*content.finalize().as_bytes())
}

fn create(path: &Path) -> BufWriter<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("the folder can be made");
    }
    BufWriter::new(File::create(path).expect("the file can be made"))
}

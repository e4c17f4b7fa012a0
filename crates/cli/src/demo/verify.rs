//! Checking a download without the help of the node that made it.

use crate::failure::Failure;
use skein_proto::ContentId;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// What a comparison has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The content id, computed from the downloaded file.
    pub content: ContentId,
    /// The bytes that were compared, all of them equal.
    pub bytes: u64,
}

/// Hashes the copy and compares it with the original, byte by byte.
///
/// # Errors
/// A file cannot be read, or they differ: says where.
pub async fn compare(copy: PathBuf, original: PathBuf) -> Result<Verified, Failure> {
    tokio::task::spawn_blocking(move || compare_now(&copy, &original))
        .await
        .map_err(|error| Failure::failed(format!("the comparison was cut off: {error}")))?
}

fn compare_now(copy: &Path, original: &Path) -> Result<Verified, Failure> {
    const CHUNK: usize = 64 * 1024;
    let unreadable = |path: &Path, error: io::Error| Failure::file("read", path, &error);
    let open = |path: &Path| {
        File::open(path)
            .map(|file| BufReader::with_capacity(CHUNK, file))
            .map_err(|error| unreadable(path, error))
    };
    let (mut left, mut right) = (open(copy)?, open(original)?);
    let (mut left_chunk, mut right_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut hasher = blake3::Hasher::new();
    let mut bytes: u64 = 0;
    loop {
        let got = left.read(&mut left_chunk).map_err(|error| unreadable(copy, error))?;
        let read = &left_chunk[..got];
        let expected = &mut right_chunk[..got.max(1)];
        if got == 0 {
            // The copy is at its end: so must be the original.
            return match right.read(expected).map_err(|error| unreadable(original, error))? {
                0 => Ok(Verified {
                    content: ContentId::from_bytes(*hasher.finalize().as_bytes()),
                    bytes,
                }),
                _ => Err(Failure::failed(format!(
                    "the file is shorter than its original: {bytes} bytes"
                ))),
            };
        }
        match right.read_exact(expected) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failure::failed("the file is longer than its original"));
            }
            Err(error) => return Err(unreadable(original, error)),
        }
        if let Some(at) = read.iter().zip(expected.iter()).position(|(left, right)| left != right) {
            let at = bytes + at as u64;
            return Err(Failure::failed(format!(
                "the file differs from its original at byte {at}"
            )));
        }
        hasher.update(read);
        bytes += got as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn compare(copy: &[u8], original: &[u8]) -> Result<Verified, Failure> {
        let temp = tempfile::tempdir().unwrap();
        let (left, right) = (temp.path().join("copy"), temp.path().join("original"));
        std::fs::write(&left, copy).unwrap();
        std::fs::write(&right, original).unwrap();
        compare_now(&left, &right)
    }

    #[test]
    fn equal_files_are_verified_with_their_hash() {
        let bytes = vec![7; 200_000];
        let verified = compare(&bytes, &bytes).unwrap();
        assert_eq!(verified.bytes, 200_000);
        assert_eq!(verified.content.as_bytes(), blake3::hash(&bytes).as_bytes());
        assert_eq!(compare(b"", b"").unwrap().bytes, 0);
    }

    #[test]
    fn any_difference_is_noticed() {
        let bytes = vec![7; 200_000];
        let mut other = bytes.clone();
        other[150_001] = 8;
        assert!(compare(&bytes, &other).unwrap_err().to_string().contains("byte 150001"));
        assert!(compare(&bytes[1..], &bytes).unwrap_err().to_string().contains("shorter"));
        assert!(compare(&bytes, &bytes[1..]).unwrap_err().to_string().contains("longer"));
    }
}

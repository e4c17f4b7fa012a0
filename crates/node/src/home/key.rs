//! The node's key in a file: one line, `skein-node-key-1 SEED NODE-ID`, both in base 32.
//!
//! The id is there so that a damaged seed is noticed: it would make another node, silently.

use super::{HomeError, files};
use data_encoding::BASE32_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use skein_proto::{KeyPair, NodeId};
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

const FORMAT: &str = "skein-node-key-1";

pub(super) fn load_or_create(path: &Path) -> Result<KeyPair, HomeError> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let mut seed = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(&mut *seed)
        .map_err(|error| HomeError::io("draw a key for", path, io::Error::other(error)))?;
    let key = KeyPair::from_seed(&seed);
    if files::write_new(path, to_line(&key).as_bytes())? {
        return Ok(key);
    }
    // Another process was faster: its key is the node's.
    load(path)?.ok_or_else(|| HomeError::io("read", path, io::Error::from(io::ErrorKind::NotFound)))
}

pub(super) fn load(path: &Path) -> Result<Option<KeyPair>, HomeError> {
    let Some(bytes) = files::read_small(path)? else { return Ok(None) };
    let bytes = Zeroizing::new(bytes);
    let key =
        from_line(&bytes).map_err(|why| HomeError::DamagedKey { path: path.to_owned(), why })?;
    // Whoever could read it before may have done so, hence the warning.
    if files::close_to_others(path).map_err(|error| HomeError::io("protect", path, error))? {
        tracing::warn!(path = %path.display(), "others could read the node key; it is private now");
    }
    Ok(Some(key))
}

fn to_line(key: &KeyPair) -> Zeroizing<String> {
    let seed = Zeroizing::new(BASE32_NOPAD.encode(&*key.seed()));
    Zeroizing::new(format!("{FORMAT} {} {}\n", *seed, key.node_id()))
}

fn from_line(bytes: &[u8]) -> Result<KeyPair, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let mut words = text.split_whitespace();
    let (format, seed, id) = (words.next(), words.next(), words.next());
    if format != Some(FORMAT) {
        return Err(if text.trim().is_empty() { "it is empty" } else { "it is no node key" });
    }
    let (Some(seed), Some(id), None) = (seed, id, words.next()) else {
        return Err("it is cut off or has too much in it");
    };
    let decoded = BASE32_NOPAD.decode(seed.as_bytes()).map_err(|_| "its secret is not base 32")?;
    let decoded = Zeroizing::new(decoded);
    let seed: &[u8; 32] =
        decoded.as_slice().try_into().map_err(|_| "its secret is not 32 bytes long")?;
    let key = KeyPair::from_seed(seed);
    let id: NodeId = id.parse().map_err(|_| "its node id is not readable")?;
    if key.node_id() == id { Ok(key) } else { Err("its secret and its node id do not fit") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.key");
        assert!(load(&path).unwrap().is_none());
        let made = load_or_create(&path).unwrap();
        let read = load_or_create(&path).unwrap();
        assert_eq!(made.node_id(), read.node_id());
        let other = load_or_create(&temp.path().join("other.key")).unwrap();
        assert_ne!(made.node_id(), other.node_id());
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.key");
        let ids = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap().node_id())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.key");
        load_or_create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let seed_at = FORMAT.len() + 1;
        let mut flipped = good.clone();
        let other = if good.as_bytes()[seed_at] == b'A' { "B" } else { "A" };
        flipped.replace_range(seed_at..=seed_at, other);
        for damaged in ["", "\n", "hello", &good[..80], &flipped, &format!("{good} more")] {
            fs::write(&path, damaged).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, HomeError::DamagedKey { .. }), "{damaged:?}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_could_read_is_closed_to_them() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        load_or_create(&path).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        load_or_create(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }
}

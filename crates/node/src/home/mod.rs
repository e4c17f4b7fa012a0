//! The data folder: what a node keeps between two runs, and where.
//!
//! | file | holds | mode |
//! |---|---|---|
//! | `node.key` | the node's secret, see [`KeyPair`] | 0600 |
//! | `network.ticket` | the network's ticket, one line | 0600 |
//! | `credential` | the credential, as it travels | 0600 |
//! | `supernodes.json` | supernodes to try before the login service | 0600 |
//! | `evidence` | what others have signed about this name, and proofs of misconduct | 0600 |
//! | `is-supernode` | there while this node is a supernode | 0600 |
//! | `relay.json` | what was set of the relay while the node ran | 0600 |
//! | `wishes.json` | what is wished for, and what came of it | 0600 |
//! | `people.db` | services, conversations, buddies and offers | 0600 |
//! | `library.db` | the share library | 0600 |
//! | `outboards/` | hash trees of what is shared | by the umask |
//! | `downloads/` | what is not wholly here yet | 0700 |
//! | `outbox/` | hash trees of what is sent to people | 0700 |
//! | `api.json` | where the running daemon answers | 0600 |
//! | `api.token` | what a client must show it | 0600 |
//! | `skein.log`, `skein.log.1` … | what a daemon in the background has logged | 0600 |
//! | `lock` | held by the running daemon; its process id | 0600 |

pub(crate) mod files;
mod key;
mod lock;
mod network;

pub use lock::{InstanceLock, Occupant};
pub use network::{MAX_SUPERNODES_CACHED, TicketChange};

pub(crate) use files::{read_small, remove, sync_parent, write_atomic};

use skein_proto::{KeyPair, TicketError, Username};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// What can go wrong with the data folder. It is the user's or the machine's fault, never a
/// peer's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The platform names no home folder for this user.
    #[error("this user has no home folder: choose a data folder with --data-dir")]
    NoHomeFolder,
    /// The folder or a file in it cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another daemon uses the folder.
    #[error(
        "another Skein daemon{} uses {}: end it with `skein down`, or choose another folder with \
         --data-dir",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The daemon's process, if it could be read.
        pid: Option<u32>,
    },
    /// The folder is that of a login service.
    #[error(
        "{} is the data folder of a login service, which has no node: choose another folder with \
         --data-dir",
        dir.display()
    )]
    LoginService {
        /// The folder.
        dir: PathBuf,
    },
    /// The node's key cannot be used.
    #[error(
        "the node key {} is damaged ({why}): restore it from a backup, or move it away and log in \
         again to become a new node",
        path.display()
    )]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The stored ticket cannot be used.
    #[error("{}: {source}", path.display())]
    DamagedTicket {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TicketError,
    },
    /// The ticket is another network's than the one in which this node has a name.
    #[error(
        "the ticket is another network's, and the node in {} is @{name} in its own: use another \
         --data-dir for the other network",
        dir.display()
    )]
    OtherNetwork {
        /// The folder.
        dir: PathBuf,
        /// The name that would be lost.
        name: Username,
    },
    /// The stored credential cannot be read.
    #[error(
        "the credential {} is damaged: remove it and run `skein login` for a new one",
        path.display()
    )]
    DamagedCredential {
        /// The file.
        path: PathBuf,
    },
}

impl HomeError {
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}

impl Home {
    /// Where the platform keeps a user's program data, for Skein:
    /// `~/.local/share/skein` on Linux.
    ///
    /// # Errors
    /// [`HomeError::NoHomeFolder`].
    pub fn default_dir() -> Result<PathBuf, HomeError> {
        directories::ProjectDirs::from("", "", "skein")
            .map(|dirs| dirs.data_local_dir().to_owned())
            .ok_or(HomeError::NoHomeFolder)
    }

    /// The data folder at `dir`, whether or not it is there: nothing is touched.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The data folder at `dir`, made with mode 0700 if it is not there. The mode of a folder
    /// that is there is left alone; all secrets in it are files of mode 0600.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let home = Self::at(dir);
        files::create_private_dir(&home.dir)?;
        Ok(home)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's secret.
    pub fn key_file(&self) -> PathBuf {
        self.dir.join("node.key")
    }

    /// The network's ticket.
    pub fn ticket_file(&self) -> PathBuf {
        self.dir.join("network.ticket")
    }

    /// The credential.
    pub fn credential_file(&self) -> PathBuf {
        self.dir.join("credential")
    }

    /// What others have signed about this name.
    pub fn evidence_file(&self) -> PathBuf {
        self.dir.join("evidence")
    }

    /// The supernode cache.
    pub fn supernodes_file(&self) -> PathBuf {
        self.dir.join("supernodes.json")
    }

    /// The share library.
    pub fn library_file(&self) -> PathBuf {
        self.dir.join("library.db")
    }

    /// What the donor has set of the relay while the node ran.
    pub fn relay_file(&self) -> PathBuf {
        self.dir.join("relay.json")
    }

    /// The folder of what is not wholly here yet, made if it is not there.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn downloads_dir(&self) -> Result<PathBuf, HomeError> {
        let dir = self.dir.join("downloads");
        files::create_private_dir(&dir)?;
        Ok(dir)
    }

    /// The folder of the hash trees of files that are sent to people, made if it is not there.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn outbox_dir(&self) -> Result<PathBuf, HomeError> {
        let dir = self.dir.join("outbox");
        files::create_private_dir(&dir)?;
        Ok(dir)
    }

    /// Where the running daemon answers.
    pub fn api_file(&self) -> PathBuf {
        self.dir.join("api.json")
    }

    /// What a client must show the running daemon.
    pub fn api_token_file(&self) -> PathBuf {
        self.dir.join("api.token")
    }

    /// The lock of the running daemon.
    pub fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Takes the folder for this process, until the lock is dropped or the process ends, however
    /// it ends. What a daemon that was killed has announced is removed: its address may be another
    /// program's by now.
    ///
    /// # Errors
    /// [`HomeError::Locked`] while another daemon has it; [`HomeError::Io`].
    pub fn lock(&self) -> Result<InstanceLock, HomeError> {
        let lock = InstanceLock::acquire(self)?;
        remove(&self.api_file())?;
        remove(&self.api_token_file())?;
        files::remove_leftovers(&self.dir);
        Ok(lock)
    }

    /// Nothing, if the folder may be a node's.
    ///
    /// # Errors
    /// [`HomeError::LoginService`] if it holds the key of one, and none of a node.
    pub fn is_for_a_node(&self) -> Result<(), HomeError> {
        if self.dir.join("login.key").exists() && !self.key_file().exists() {
            return Err(HomeError::LoginService { dir: self.dir.clone() });
        }
        Ok(())
    }

    /// Whether a daemon has the folder at present, and which process it is.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn occupant(&self) -> Result<Option<Occupant>, HomeError> {
        lock::occupant(self)
    }

    /// The node's key pair, drawn from the system's randomness if there is none yet.
    ///
    /// # Errors
    /// [`HomeError::DamagedKey`] for a file that is no key: it is never replaced, since the key is
    /// who the node is. [`HomeError::Io`].
    pub fn node_key(&self) -> Result<KeyPair, HomeError> {
        key::load_or_create(&self.key_file())
    }

    /// The node's key pair, if there is one.
    ///
    /// # Errors
    /// As [`Home::node_key`].
    pub fn existing_node_key(&self) -> Result<Option<KeyPair>, HomeError> {
        key::load(&self.key_file())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path().join("deep/er")).unwrap();
        let downloads = home.downloads_dir().unwrap();
        for dir in [home.dir(), &downloads] {
            let mode = std::fs::metadata(dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Home::open(file.join("home")).unwrap_err().to_string();
        assert!(error.contains(&*file.to_string_lossy()), "{error}");
    }

    #[test]
    fn whoever_takes_the_folder_removes_what_a_killed_daemon_has_announced() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        for path in [home.api_file(), home.api_token_file()] {
            std::fs::write(path, "left behind").unwrap();
        }
        let _lock = home.lock().unwrap();
        assert!(!home.api_file().exists() && !home.api_token_file().exists());
        std::fs::write(home.api_file(), "announced").unwrap();
        home.lock().unwrap_err();
        assert!(home.api_file().exists(), "it is that of a daemon that runs");
    }
}

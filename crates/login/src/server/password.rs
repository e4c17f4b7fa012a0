//! Hashing passwords, without letting it hold up anything else.

use super::stats::Counters;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use skein_proto::login::Password;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{Semaphore, TryAcquireError};

/// Memory of one hash in KiB: 19 MiB, passes: 2, lanes: 1. The first choice of the OWASP Password
/// Storage Cheat Sheet for Argon2id (RFC 9106): a guess costs an attacker's card 19 MiB of fast
/// memory, a login costs us some 20 ms of one core.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many requests may wait for a hash. At 20 ms each on one core the last one waits for 5 s,
/// half of what a client waits for its answer.
const MAX_WAITING: usize = 256;

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum HashError {
    /// Too many are waiting: the asker should come back.
    #[error("too many requests wait for a password hash")]
    Busy,
    /// The hash on record cannot be read, or the machine has no memory for one.
    #[error("a password hash could not be computed")]
    Failed,
}

/// Hashes passwords on threads of their own, as many at once as there are cores.
#[derive(Debug)]
pub(super) struct Hasher {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
    dummy: String,
    counters: Arc<Counters>,
}

impl Hasher {
    /// A hasher; `salt` is for the dummy that unknown names are checked against.
    pub(super) fn new(salt: [u8; 16], counters: Arc<Counters>) -> Result<Self, HashError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_limits(cores, MAX_WAITING, salt, counters)
    }

    fn with_limits(
        running: usize,
        waiting: usize,
        salt: [u8; 16],
        counters: Arc<Counters>,
    ) -> Result<Self, HashError> {
        Ok(Self {
            running: Arc::new(Semaphore::new(running)),
            places: Arc::new(Semaphore::new(running + waiting)),
            dummy: hash_now(b"nobody's password", &salt)?,
            counters,
        })
    }

    /// The PHC string of a new password.
    pub(super) async fn hash(
        &self,
        password: Password,
        salt: [u8; 16],
    ) -> Result<String, HashError> {
        self.run(move || hash_now(password.as_bytes(), &salt)).await?
    }

    /// Whether a password is the one of `recorded`. Without a record it takes just as long and
    /// says no, so that the time tells nobody which names exist.
    pub(super) async fn verify(
        &self,
        password: Password,
        recorded: Option<String>,
    ) -> Result<bool, HashError> {
        let exists = recorded.is_some();
        let recorded = recorded.unwrap_or_else(|| self.dummy.clone());
        let right = self.run(move || verify_now(password.as_bytes(), &recorded)).await??;
        Ok(right && exists)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits) => {
                self.counters.hash_queue_full.add();
                return Err(HashError::Busy);
            }
            Err(TryAcquireError::Closed) => return Err(HashError::Failed),
        };
        let turn =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| HashError::Failed)?;
        self.counters.hashes.add();
        let task = tokio::task::spawn_blocking(move || {
            // The places are kept until the work is done, even when nobody waits for it any more.
            let _held = (place, turn);
            work()
        });
        task.await.map_err(|_| HashError::Failed)
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| HashError::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &[u8], salt: &[u8; 16]) -> Result<String, HashError> {
    let hash: PasswordHash =
        argon2()?.hash_password_with_salt(password, salt).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

fn verify_now(password: &[u8], recorded: &str) -> Result<bool, HashError> {
    let recorded = PasswordHash::new(recorded).map_err(|_| HashError::Failed)?;
    // The parameters are those of the record, so that they can be raised for new passwords.
    match argon2()?.verify_password(password, &recorded) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(HashError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text).expect("short enough")
    }

    fn hasher(running: usize, waiting: usize) -> Hasher {
        Hasher::with_limits(running, waiting, [0; 16], Arc::default()).expect("a hasher")
    }

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let hasher = hasher(1, 8);
        let hash = hasher.hash(password("correct horse"), [1; 16]).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = |text| hasher.verify(password(text), Some(hash.clone()));
        assert_eq!(verify("correct horse").await, Ok(true));
        assert_eq!(verify("Correct horse").await, Ok(false));
    }

    #[tokio::test]
    async fn an_unknown_name_is_hashed_all_the_same_and_never_let_in() {
        let hasher = hasher(1, 8);
        assert_eq!(hasher.verify(password("nobody's password"), None).await, Ok(false));
        assert_eq!(hasher.counters.snapshot().hashes, 1);
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_so() {
        let hasher = hasher(1, 1);
        let turn = Arc::clone(&hasher.running).acquire_owned().await.expect("open");
        let mut first = Box::pin(hasher.hash(password("first"), [1; 16]));
        let mut second = Box::pin(hasher.hash(password("second"), [2; 16]));
        // Both take their places at their first poll and wait for the turn that the test holds.
        tokio::select! {
            biased;
            _ = &mut first => panic!("it has no turn"),
            _ = &mut second => panic!("it has no turn"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(hasher.hash(password("third"), [3; 16]).await, Err(HashError::Busy));
        assert_eq!(hasher.counters.snapshot().hash_queue_full, 1);
        drop(turn);
        assert!(first.await.is_ok() && second.await.is_ok());
    }

    #[tokio::test]
    async fn a_damaged_record_is_a_failure_and_not_a_wrong_password() {
        let hasher = hasher(1, 1);
        let verdict = hasher.verify(password("any"), Some("damaged".to_owned())).await;
        assert_eq!(verdict, Err(HashError::Failed));
    }
}

//! The daemon's dealings with the login service: first contacts, reports, fresh credentials.

use super::adapters::Member;
use super::clock::unix_now;
use super::driver::{Driver, LoginWish};
use crate::account::{Accounts, RenewalSchedule};
use crate::home::Home;
use skein_overlay::Input;
use skein_proto::SignedCredential;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// How the login service answered lately.
#[derive(Debug, Default)]
pub(crate) struct LoginView {
    /// When it last answered, in seconds since 1970; 0 for never.
    answered: AtomicU64,
    /// The last failure, if nothing has succeeded since.
    trouble: Mutex<Option<String>>,
    /// Whether it could reach this supernode, if it has tried.
    reachable: Mutex<Option<bool>>,
}

impl LoginView {
    pub(crate) fn answered_secs_ago(&self) -> Option<u64> {
        match self.answered.load(Ordering::Relaxed) {
            0 => None,
            at => Some(unix_now().0.saturating_sub(at)),
        }
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reachable(&self) -> Option<bool> {
        *self.reachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn succeeded(&self) {
        self.answered.store(unix_now().0, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, error: &impl ToString) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// What the tasks of this module work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) home: Home,
    pub(super) accounts: Arc<Accounts>,
    pub(super) driver: Driver,
    pub(super) member: Member,
    pub(super) view: Arc<LoginView>,
    pub(super) listen: SocketAddr,
    /// Rung when the user has registered or logged in.
    pub(super) renewed: Arc<Notify>,
    pub(super) ended: CancellationToken,
}

impl Parts {
    /// The credential on disk, if it can be read.
    pub(super) fn credential(&self) -> Option<SignedCredential> {
        self.home.credential().unwrap_or_else(|error| {
            tracing::warn!(%error, "the credential cannot be read");
            None
        })
    }
}

/// Fulfils the overlay's wishes until the end, one after the other: the service is asked for one
/// thing at a time.
pub(super) async fn fulfil(parts: Parts, mut wishes: mpsc::Receiver<LoginWish>) {
    while let Some(Some(wish)) = parts.ended.run_until_cancelled(wishes.recv()).await {
        match wish {
            LoginWish::Bootstrap { willing } => bootstrap(&parts, willing).await,
            LoginWish::Report { load } => {
                let Ok(client) = parts.accounts.client() else { continue };
                match client.report(load, &[parts.listen]).await {
                    Ok(reachable) => {
                        parts.view.succeeded();
                        let mut known =
                            parts.view.reachable.lock().unwrap_or_else(PoisonError::into_inner);
                        if *known != Some(reachable) {
                            tracing::info!(reachable, "the login service has tried to reach us");
                        }
                        *known = Some(reachable);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the login service did not take the report");
                        parts.view.failed(&error);
                    }
                }
            }
        }
    }
}

async fn bootstrap(parts: &Parts, willing: bool) {
    let asked = async {
        let client = parts.accounts.client()?;
        Ok::<_, crate::account::AccountError>(client.bootstrap(willing, &[parts.listen]).await?)
    };
    let input = match asked.await {
        Ok(bootstrap) => {
            parts.view.succeeded();
            let entries = bootstrap.list.entries.into_vec();
            tracing::debug!(supernodes = entries.len(), bootstrap.invited, "bootstrapped");
            Input::Bootstrap { entries, invited: bootstrap.invited }
        }
        Err(error) => {
            tracing::debug!(%error, "the login service gave no first contacts");
            parts.view.failed(&error);
            Input::BootstrapFailed
        }
    };
    parts.driver.input(input).await;
}

/// Keeps the credential fresh until the end.
pub(super) async fn keep_fresh(parts: Parts, mut credential: Option<SignedCredential>, seed: u64) {
    let mut schedule = RenewalSchedule::new(seed);
    loop {
        let wait = match &credential {
            Some(credential) => {
                let claimed = credential.unverified();
                schedule.due_in(claimed.issued, claimed.expires, unix_now())
            }
            // Nobody has registered yet; whoever does rings the bell.
            None => Duration::MAX,
        };
        if !wait_for(&parts, wait).await {
            return;
        }
        if credential.is_some() {
            renew(&parts, &mut schedule, &credential).await;
        }
        credential = parts.credential();
    }
}

/// Waits until the time is over or the user has logged in; false at the end of the daemon.
async fn wait_for(parts: &Parts, wait: Duration) -> bool {
    tokio::select! {
        () = parts.ended.cancelled() => false,
        () = parts.renewed.notified() => true,
        () = tokio::time::sleep(wait) => true,
    }
}

/// Tries until there is a fresh credential, the user has logged in, or the daemon ends.
async fn renew(parts: &Parts, schedule: &mut RenewalSchedule, old: &Option<SignedCredential>) {
    if parts.credential() != *old {
        // The bell rang: it is fresh already.
        return;
    }
    loop {
        match parts.accounts.renew().await {
            Ok(credential) => {
                parts.view.succeeded();
                tracing::info!("the credential is renewed");
                parts.member.renewed(credential.clone());
                parts.driver.input(Input::Credential(credential)).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the credential was not renewed");
                parts.view.failed(&error);
                let expires = old.as_ref().map_or(unix_now(), |old| old.unverified().expires);
                let at_least = Duration::from_secs(error.retry_secs().unwrap_or(0).into());
                let pause = schedule.after_failure(expires, unix_now(), at_least);
                if !wait_for(parts, pause).await || parts.credential() != *old {
                    return;
                }
            }
        }
    }
}

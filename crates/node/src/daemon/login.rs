//! The daemon's dealings with the login service: first contacts, reports, fresh credentials.

use super::adapters::Member;
use super::clock::unix_now;
use super::driver::{Driver, LoginWish};
use crate::account::{Accounts, RenewalSchedule};
use skein_net::listening;
use skein_overlay::Input;
use skein_proto::SignedCredential;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a failure is worth telling. Whatever still matters is tried again, and fails again,
/// within ten minutes; what nobody tries any more is no trouble.
const TROUBLE_KEPT: Duration = Duration::from_secs(15 * 60);

/// How often the calendar is looked at while a renewal is awaited: tokio's clock stands still
/// while the machine sleeps, a credential's does not.
const LOOK: Duration = Duration::from_secs(60);

/// How the login service answered lately.
#[derive(Debug, Default)]
pub(crate) struct LoginView {
    /// When it last answered, in seconds since 1970; 0 for never.
    answered: AtomicU64,
    /// The last failure, if nothing has succeeded since.
    trouble: Mutex<Option<(String, Instant)>>,
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
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, at) = trouble.as_ref()?;
        (at.elapsed() < TROUBLE_KEPT).then(|| text.clone())
    }

    pub(crate) fn reachable(&self) -> Option<bool> {
        *self.reachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn succeeded(&self) {
        self.answered.store(unix_now().0, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, error: &impl ToString) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((error.to_string(), Instant::now()));
    }
}

/// What the tasks of this module work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) accounts: Arc<Accounts>,
    pub(super) driver: Driver,
    pub(super) member: Member,
    pub(super) view: Arc<LoginView>,
    pub(super) listen: SocketAddr,
    pub(super) ended: CancellationToken,
}

/// Fulfils the overlay's wishes until the end, one after the other: the service is asked for one
/// thing at a time.
pub(super) async fn fulfil(parts: Parts, mut wishes: mpsc::Receiver<LoginWish>) {
    while let Some(Some(wish)) = parts.ended.run_until_cancelled(wishes.recv()).await {
        match wish {
            LoginWish::Bootstrap { willing } => bootstrap(&parts, willing).await,
            LoginWish::Report { load, addresses } => {
                let Ok(client) = parts.accounts.client() else { continue };
                match client.report(load, &addresses).await {
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
        // It is looked at only to find out whether others could reach this node.
        let listen = if willing { listening(parts.listen) } else { vec![parts.listen] };
        Ok::<_, crate::account::AccountError>(client.bootstrap(willing, &listen).await?)
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

/// Keeps the credential fresh until the end, also one that has expired already.
pub(super) async fn keep_fresh(parts: Parts, seed: u64) {
    let mut schedule = RenewalSchedule::new(seed);
    let mut held = parts.member.watch();
    let mut current = held.borrow_and_update().clone();
    let due = |schedule: &mut RenewalSchedule, current: &SignedCredential| {
        let claimed = current.unverified();
        schedule.due_in(claimed.issued, claimed.expires, unix_now())
    };
    // Without a credential there is nothing to renew until the user registers.
    let mut wait = current.as_ref().map(|current| due(&mut schedule, current));
    loop {
        match pause(wait, &mut held, &parts.ended).await {
            Woken::Ended => return,
            Woken::Fresh => {
                current = held.borrow_and_update().clone();
                wait = current.as_ref().map(|current| due(&mut schedule, current));
            }
            Woken::Due => match parts.accounts.renew().await {
                Ok(renewed) => {
                    parts.view.succeeded();
                    tracing::info!("the credential is renewed");
                    parts.member.renewed(renewed.clone());
                    parts.driver.input(Input::Credential(renewed)).await;
                    current = held.borrow_and_update().clone();
                    wait = current.as_ref().map(|current| {
                        let claimed = current.unverified();
                        schedule.after_success(claimed.issued, claimed.expires, unix_now())
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the credential was not renewed");
                    parts.view.failed(&error);
                    let expires =
                        current.as_ref().map_or(unix_now(), |old| old.unverified().expires);
                    let at_least = Duration::from_secs(error.retry_secs().unwrap_or(0).into());
                    wait = Some(schedule.after_failure(expires, unix_now(), at_least));
                }
            },
        }
    }
}

enum Woken {
    /// The time is over.
    Due,
    /// The user has registered or logged in.
    Fresh,
    /// The daemon ends.
    Ended,
}

/// Waits for so long, by the calendar; for ever without a time.
async fn pause(
    wait: Option<Duration>,
    held: &mut watch::Receiver<Option<SignedCredential>>,
    ended: &CancellationToken,
) -> Woken {
    let due = wait.map(|wait| unix_now().plus(wait));
    let mut left = wait.unwrap_or(LOOK);
    loop {
        tokio::select! {
            () = ended.cancelled() => return Woken::Ended,
            // The sender lives as long as the parts do.
            Ok(()) = held.changed() => return Woken::Fresh,
            () = tokio::time::sleep(left.min(LOOK)) => {}
        }
        if let Some(due) = due {
            left = if left <= LOOK { Duration::ZERO } else { due.since(unix_now()) };
            if left.is_zero() {
                return Woken::Due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_repeats_is_no_trouble_any_more() {
        let view = LoginView::default();
        view.failed(&"it is down");
        assert_eq!(view.trouble().as_deref(), Some("it is down"));
        tokio::time::advance(TROUBLE_KEPT).await;
        assert_eq!(view.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_just_before_the_wait_ends_it() {
        let member = watch::Sender::new(None);
        let mut held = member.subscribe();
        member.send_replace(None);
        let woken = pause(None, &mut held, &CancellationToken::new()).await;
        assert!(matches!(woken, Woken::Fresh));
    }
}

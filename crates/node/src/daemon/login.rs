//! The daemon's dealings with the login service: first contacts, reports, fresh credentials.

use super::adapters::Member;
use super::clock::unix_now;
use super::driver::{Driver, LoginWish};
use crate::account::{AccountError, Accounts, RenewalSchedule};
use rand::RngExt;
use skein_net::listening;
use skein_overlay::Input;
use skein_proto::SignedCredential;
use skein_proto::supernode::Load;
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

/// The pause after a report that failed, which doubles with each that fails after it, up to
/// [`LONGEST_PAUSE`]: whoever is new finds nobody as long as the service knows of no supernode. Behind that
/// the overlay has spoken again.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

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

/// What a supernode tells of itself, until the service has taken it.
#[derive(Debug, Default)]
struct Report {
    told: Option<(Load, Vec<SocketAddr>)>,
    /// How often in a row the service did not take a report.
    failures: u32,
    /// When it is told again.
    due: Option<Instant>,
}

impl Report {
    /// Something newer is to be told, now.
    fn renew(&mut self, load: Load, addresses: Vec<SocketAddr>) {
        self.told = Some((load, addresses));
        self.due = Some(Instant::now());
    }

    /// What is to be told, when it is due; never if there is nothing.
    async fn due(&self) -> (Load, Vec<SocketAddr>) {
        if let (Some(due), Some(told)) = (self.due, &self.told) {
            tokio::time::sleep_until(due).await;
            return told.clone();
        }
        std::future::pending().await
    }

    fn taken(&mut self) {
        *self = Self::default();
    }

    /// It was not taken; the service may have asked for a pause of at least so long. `spread` is of 0 to 1:
    /// all supernodes find the service gone, and must not find it back, at the same moment.
    fn failed(&mut self, at_least: Duration, spread: f64) {
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(LONGEST_PAUSE).mul_f64((spread + 1.0) / 2.0);
        self.due = Some(Instant::now() + pause.max(at_least));
    }
}

/// Fulfils the overlay's wishes until the end, one after the other: the service is asked for one
/// thing at a time.
pub(super) async fn fulfil(parts: Parts, mut wishes: mpsc::Receiver<LoginWish>) {
    let mut own = Report::default();
    loop {
        tokio::select! {
            () = parts.ended.cancelled() => return,
            wish = wishes.recv() => match wish {
                Some(LoginWish::Bootstrap { willing }) => bootstrap(&parts, willing).await,
                Some(LoginWish::Report { load, addresses }) => own.renew(load, addresses),
                None => return,
            },
            (load, addresses) = own.due() => report(&parts, &mut own, load, &addresses).await,
        }
    }
}

async fn report(parts: &Parts, own: &mut Report, load: Load, addresses: &[SocketAddr]) {
    let Ok(client) = parts.accounts.client() else {
        own.taken();
        return;
    };
    match client.report(load, addresses).await {
        Ok(reachable) => {
            own.taken();
            parts.view.succeeded();
            let mut known = parts.view.reachable.lock().unwrap_or_else(PoisonError::into_inner);
            if *known != Some(reachable) {
                tracing::info!(reachable, "the login service has tried to reach us");
            }
            *known = Some(reachable);
        }
        Err(error) => {
            let error = AccountError::from(error);
            tracing::debug!(%error, "the login service did not take the report");
            let at_least = Duration::from_secs(error.retry_secs().unwrap_or(0).into());
            own.failed(at_least, rand::rng().random());
            parts.view.failed(&error);
        }
    }
}

async fn bootstrap(parts: &Parts, willing: bool) {
    let asked = async {
        let client = parts.accounts.client()?;
        // It is looked at only to find out whether others could reach this node.
        let listen = if willing { listening(parts.listen) } else { vec![parts.listen] };
        Ok::<_, AccountError>(client.bootstrap(willing, &listen).await?)
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
    async fn a_report_that_failed_is_made_again_soon_and_never_one_that_was_taken() {
        let (started, load) = (Instant::now(), Load::default());
        let mut own = Report::default();
        let nothing = tokio::time::timeout(Duration::from_secs(3_600), own.due());
        assert!(nothing.await.is_err(), "there is nothing to tell");
        own.renew(load, Vec::new());
        let mut last = Instant::now();
        for pause in [0, 2, 4, 8, 16, 32, 32] {
            own.due().await;
            assert_eq!(last.elapsed(), Duration::from_secs(pause));
            own.failed(Duration::ZERO, 1.0);
            last = Instant::now();
        }
        // Something newer is told at once, and as much later as before if that fails too.
        own.renew(load, vec![SocketAddr::from(([203, 0, 113, 9], 4700))]);
        assert_eq!(own.due().await.1.len(), 1);
        assert_eq!(last.elapsed(), Duration::ZERO);
        own.failed(Duration::ZERO, 0.0);
        own.due().await;
        assert_eq!(last.elapsed(), LONGEST_PAUSE / 2);
        // The service says when.
        own.failed(Duration::from_secs(300), 0.5);
        own.due().await;
        assert_eq!(last.elapsed(), LONGEST_PAUSE / 2 + Duration::from_secs(300));
        own.taken();
        let again = tokio::time::timeout(Duration::from_secs(3_600), own.due());
        assert!(again.await.is_err());
        assert!(started.elapsed() > Duration::from_secs(7_200));
        own.renew(load, Vec::new());
        own.failed(Duration::ZERO, 1.0);
        last = Instant::now();
        own.due().await;
        assert_eq!(last.elapsed(), FIRST_PAUSE);
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

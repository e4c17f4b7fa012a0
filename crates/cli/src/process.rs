//! Processes: how a service learns that it should end, and what one that failed has logged.

use crate::failure::Failure;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use tokio::sync::oneshot;

/// Why a service ends, or a command is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as service managers send it, or the terminal was closed.
    Terminate,
    /// Standard input has ended, and with it the process that started this one.
    ParentGone,
}

/// Ctrl-C, noticed from the moment on at which this is made, also while nobody waits for it.
pub struct Interrupt {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Interrupt {
    /// Listens for it. Must be called within a runtime.
    ///
    /// # Errors
    /// The system does not let the process listen for signals.
    pub fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = |error| Failure::failed(format!("cannot listen for signals: {error}"));
            Ok(Self { signal: signal(SignalKind::interrupt()).map_err(failed)? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits until it is pressed.
    pub async fn pressed(&mut self) {
        #[cfg(unix)]
        let _ = self.signal.recv().await;
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Ctrl-C or SIGTERM, noticed from the moment on at which this is made.
pub struct CalledOff {
    interrupt: Interrupt,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl CalledOff {
    /// Listens for them. Must be called within a runtime.
    ///
    /// # Errors
    /// The system does not let the process listen for signals.
    pub fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: Interrupt::listen()?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?,
        })
    }

    /// Waits for the first of them.
    pub async fn by(&mut self) -> Reason {
        #[cfg(unix)]
        {
            tokio::select! {
                () = self.interrupt.pressed() => Reason::Interrupt,
                _ = self.terminate.recv() => Reason::Terminate,
            }
        }
        #[cfg(not(unix))]
        {
            self.interrupt.pressed().await;
            Reason::Interrupt
        }
    }
}

/// Waits for the first reason to end. Made before the service starts, so that a signal during the
/// start is not lost.
pub struct Shutdown {
    #[cfg(unix)]
    signals: Signals,
    parent: Option<oneshot::Receiver<()>>,
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    ignore_hangup: bool,
}

impl Shutdown {
    /// Begins to listen.
    ///
    /// `with_parent`: also end when standard input ends. `ignore_hangup`: a service in the
    /// background outlives the terminal that it was started from.
    ///
    /// # Errors
    /// The system does not let the process listen for signals.
    pub fn listen(with_parent: bool, ignore_hangup: bool) -> Result<Self, Failure> {
        let parent = with_parent.then(watch_stdin);
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = |error| Failure::failed(format!("cannot listen for signals: {error}"));
            let signals = Signals {
                interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
                terminate: signal(SignalKind::terminate()).map_err(failed)?,
                hangup: signal(SignalKind::hangup()).map_err(failed)?,
                ignore_hangup,
            };
            Ok(Self { signals, parent })
        }
        #[cfg(not(unix))]
        {
            let _ = ignore_hangup;
            Ok(Self { parent })
        }
    }

    /// Waits for a reason.
    pub async fn reason(&mut self) -> Reason {
        let parent = async {
            match &mut self.parent {
                Some(gone) => {
                    let _ = gone.await;
                }
                None => std::future::pending().await,
            }
        };
        #[cfg(unix)]
        let signal = self.signals.next();
        #[cfg(not(unix))]
        let signal = async {
            let _ = tokio::signal::ctrl_c().await;
            Reason::Interrupt
        };
        tokio::select! {
            reason = signal => reason,
            () = parent => Reason::ParentGone,
        }
    }
}

#[cfg(unix)]
impl Signals {
    async fn next(&mut self) -> Reason {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Reason::Interrupt,
                _ = self.terminate.recv() => return Reason::Terminate,
                _ = self.hangup.recv() => {
                    if !self.ignore_hangup {
                        return Reason::Terminate;
                    }
                }
            }
        }
    }
}

/// Reads standard input to its end, on a thread of its own: a blocked read cannot be called off,
/// and must not hold up the end of the runtime.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (gone, is_gone) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
        // The service may have ended for another reason by now.
        let _ = gone.send(());
    });
    is_gone
}

/// How much of a log is read to find out why its process failed.
const LOG_TAIL_BYTES: u64 = 4096;

/// The end of what was logged after the first `start` bytes, if it can be read. A log that is
/// shorter than that was begun anew since.
pub fn log_tail(log: &Path, start: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    let start = if start > length { 0 } else { start };
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES)))).ok()?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut tail).ok()?;
    Some(String::from_utf8_lossy(&tail).into_owned())
}

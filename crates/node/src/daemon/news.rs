//! What the library tells, passed on to the overlay and to everyone who listens.

use super::driver::Driver;
use crate::api::types::DaemonEvent;
use crate::library::LibraryChange;
use skein_overlay::Input;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What the library tells.
pub(super) struct LibraryNews {
    pub(super) changes: broadcast::Receiver<Arc<LibraryChange>>,
    pub(super) scans: broadcast::Receiver<DaemonEvent>,
}

impl LibraryNews {
    /// Tells the overlay what changes in the library, and everyone how scans go on.
    pub(super) async fn pass_on(mut self, driver: Driver, events: broadcast::Sender<DaemonEvent>) {
        use broadcast::error::RecvError;
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => {
                        let change = Arc::unwrap_or_clone(change);
                        let input =
                            Input::LibraryChanged { added: change.added, removed: change.removed };
                        driver.input(input).await;
                    }
                    Err(RecvError::Lagged(_)) => driver.input(Input::LibraryReset).await,
                    Err(RecvError::Closed) => return,
                },
                scan = self.scans.recv() => match scan {
                    // Nobody may be listening.
                    Ok(event) => drop(events.send(event)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

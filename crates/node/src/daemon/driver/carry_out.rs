//! What the overlay wants done, carried out or handed to whoever does it.

use super::task::Task;
use super::{DirectoryAnswer, LoginWish, SearchUpdate};
use crate::api::types::DaemonEvent;
use crate::daemon::conduct::tell;
use crate::sessions::SessionEvent;
use skein_overlay::{Event, Input, Output};
use skein_proto::evidence::GiveReceipt;
use skein_proto::{ContentId, NodeId, Username};
use std::time::Duration;
use tokio::sync::mpsc;

/// When a library that could not be read is asked again.
const LIBRARY_RETRY: Duration = Duration::from_secs(10);

impl Task {
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.parts.overlay.poll_output() {
            match output {
                Output::Dial { peer, addresses } => self.dial(peer, addresses),
                Output::DialBack { dial, node, addresses } => self.dial_back(dial, node, addresses),
                Output::Send { peer, message } => self.send(peer, message),
                Output::HangUp { peer, reason } => self.hang_up(peer, reason),
                Output::WantFiles { page, after, limit } => self.fetch_page(page, after, limit),
                Output::WantBootstrap { willing } => {
                    self.wish(LoginWish::Bootstrap { willing });
                }
                Output::Report { load, addresses } => {
                    self.wish(LoginWish::Report { load, addresses });
                }
                Output::RememberSupernodes(entries) => self.parts.memory.set(entries),
                Output::RememberEvidence(record) => self.parts.memory.set_evidence(*record),
                Output::Receipt { peer, receipt } => {
                    self.give(peer, GiveReceipt { receipt: *receipt })
                }
                Output::LookUp(look_up) => self.searchers.search(look_up),
                Output::Hits { id, groups } => {
                    if let Some(updates) = self.searches.get(&id)
                        && let Err(mpsc::error::TrySendError::Full(_)) =
                            updates.try_send(SearchUpdate::Hits(groups))
                    {
                        self.hits_unread += 1;
                    }
                }
                Output::WishHits { id, groups } => {
                    if self.parts.wish_hits.try_send((id, groups)).is_err() {
                        self.hits_unread += 1;
                    }
                }
                Output::SearchDone { id, coverage } => {
                    if let Some(updates) = self.searches.remove(&id) {
                        // The end must arrive even where hits were dropped.
                        tokio::spawn(async move {
                            let _ = updates.send(SearchUpdate::Done(coverage)).await;
                        });
                    }
                }
                Output::Found { id, outcome, nodes, sources } => {
                    if let Some(answer) = self.finds.remove(&id) {
                        // Whoever asked may have gone.
                        let _ = answer.send(DirectoryAnswer { outcome, nodes, sources });
                    }
                }
                Output::GrantSlot { asker, number, name } => self.grant(asker, number, &name),
                Output::ReleaseSlot { slot, name } => self.parts.donor.release(&name, slot),
                Output::SlotAsked { ask, relay } => {
                    self.on_session(SessionEvent::SlotAsked(ask, relay));
                }
                Output::Slot { ask, outcome } => {
                    self.on_session(SessionEvent::Slot(ask, outcome));
                }
                Output::SessionOffered(offer) => self.on_session(SessionEvent::Offered(offer)),
                Output::SessionAnswered(answer) => {
                    self.on_session(SessionEvent::Answered(answer));
                }
                Output::SessionRefused(refused) => {
                    self.on_session(SessionEvent::Refused(refused));
                }
                Output::Event(event) => self.announce(event),
            }
        }
    }

    fn on_session(&mut self, event: SessionEvent) {
        // Whoever waits gives up in time; a caller is answered by nobody.
        if self.parts.sessions.try_send(event).is_err() {
            self.session_events_dropped += 1;
        }
    }

    /// The donor's relay decides.
    fn grant(&mut self, asker: NodeId, number: u64, name: &Username) {
        let connection = self.parts.endpoint.connection(&asker);
        let outcome = self.parts.donor.grant(name, connection.as_ref());
        let now = self.parts.clock.now();
        self.parts.overlay.handle(Input::SlotGranted { asker, number, outcome }, now);
    }

    fn fetch_page(&self, page: u64, after: Option<ContentId>, limit: usize) {
        let library = self.parts.library.clone();
        let driver = self.driver.clone();
        let ended = self.parts.ended.clone();
        tokio::spawn(async move {
            loop {
                match library.files_after(after, limit).await {
                    Ok(files) => {
                        let last = files.len() < limit;
                        driver.input(Input::Files { page, files, last }).await;
                        return;
                    }
                    Err(error) => tracing::error!(%error, "what is shared cannot be read"),
                }
                // A full or failing disk may recover; until then nothing more can be published.
                let pause = tokio::time::sleep(LIBRARY_RETRY);
                if ended.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        });
    }

    fn give(&self, uploader: NodeId, receipt: GiveReceipt) {
        // One that has gone by now gets the next total when it is met again.
        let Some(connection) = self.parts.endpoint.connection(&uploader) else { return };
        tokio::spawn(async move {
            if let Err(error) = tell(&connection, vec![receipt.into()]).await {
                tracing::debug!(peer = %uploader.short(), %error, "a receipt was not given");
            }
        });
    }

    fn wish(&mut self, wish: LoginWish) {
        let is_bootstrap = matches!(wish, LoginWish::Bootstrap { .. });
        if self.parts.wishes.try_send(wish).is_err() && is_bootstrap {
            let now = self.parts.clock.now();
            self.parts.overlay.handle(Input::BootstrapFailed, now);
        }
    }

    fn announce(&self, event: Event) {
        let event = match event {
            Event::Attached { parent } => {
                tracing::info!(parent = %parent.short(), "attached");
                return;
            }
            Event::Published { records, recovery } => {
                tracing::info!(records, ?recovery, "everything is published");
                let snapshot = self.parts.overlay.snapshot(self.parts.clock.now());
                // A supernode publishes into its own index: it is attached to nobody.
                let Some(parent) = snapshot.parent.parent else { return };
                DaemonEvent::Attached { parent }
            }
            Event::Detached { parent, standby } => {
                tracing::info!(parent = %parent.short(), standby, "the parent is lost");
                let reason = if standby {
                    "the parent is lost; the standby takes over"
                } else {
                    "the parent is lost; looking for another"
                };
                DaemonEvent::Detached { reason: reason.to_owned() }
            }
            Event::RoleChanged { role, reason } => {
                let reason = reason.to_string();
                tracing::info!(?role, reason, "the role has changed");
                self.parts.memory.set_role(role);
                DaemonEvent::RoleChanged { role, reason }
            }
            _ => return,
        };
        // Nobody may be listening.
        let _ = self.parts.events.send(event);
    }
}

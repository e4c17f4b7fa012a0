//! How a download stands, for the user.

use super::{SHOW_TIME, Task};
use crate::api::types::{Download, DownloadState};
use crate::transfer::journal::Stage;
use skein_swarm::Situation;
use tokio::time::Instant as Clock;

impl Task {
    fn state(&self) -> DownloadState {
        let waiting = |reason: String| DownloadState::Waiting { reason };
        match &self.record.stage {
            Stage::Active | Stage::Naming => {}
            stage => return stage.state(),
        }
        if let Some((reason, _)) = &self.problem {
            return waiting(reason.clone());
        }
        match self.swarm.situation() {
            Situation::AllBusy { until } => {
                let secs = until.since(self.now()).as_secs() + 1;
                waiting(format!("all sources are busy; asking again within {secs} s"))
            }
            Situation::NoneAnswers => {
                waiting("none of the known sources has what is missing, or answers".to_owned())
            }
            Situation::NoSource if self.finding => waiting("looking for sources".to_owned()),
            Situation::NoSource => waiting("no source is known at present".to_owned()),
            _ => DownloadState::Running,
        }
    }

    /// Shows how it stands, at once if something more than a number has changed.
    pub(super) fn show(&mut self, now: bool) {
        let clock = Clock::now();
        let state = self.state();
        let same =
            std::mem::discriminant(&self.view.borrow().state) == std::mem::discriminant(&state);
        if !now && (!self.unshown || (same && clock < self.shown_at + SHOW_TIME)) {
            return;
        }
        let rate = self.rate.get(clock);
        let shown =
            Download {
                id: self.record.id,
                content: self.record.content,
                name: self.record.name.clone(),
                path: self.record.shown_path(),
                size: self.record.size,
                verified: self.swarm.verified_bytes(),
                resumed: self.resumed,
                as_left: false,
                rate: if state.is_final() { 0 } else { rate },
                sources_active: u32::try_from(self.swarm.active_sources()).unwrap_or(u32::MAX),
                sources_known: u32::try_from(self.swarm.known_sources()).unwrap_or(u32::MAX),
                via: self.via.shown(self.workers.values().filter_map(|worker| {
                    Some((self.sources.get(&worker.source)?, worker.path()?))
                })),
                trouble: self.trouble.lines(),
                state,
            };
        self.view.send_if_modified(|view| {
            let changed = *view != shown;
            *view = shown;
            changed
        });
        self.shown_at = clock;
        // A rate goes down though nothing happens.
        self.unshown = rate > 0;
    }
}

//! What this node shares: it is published at the parent, or indexed here.

use crate::io::{Event, Now};
use crate::overlay::Overlay;
use crate::publish::Complete;
use skein_proto::{ContentId, FileMeta, Role};

impl Overlay {
    pub(crate) fn on_published(&mut self, complete: Option<Complete>, now: Now) {
        if let Some(Complete { records }) = complete {
            let recovery = self.lost_at.take().map(|lost| now.instant.since(lost));
            self.last_recovery = recovery.or(self.last_recovery);
            self.core.event(Event::Published { records, recovery });
            self.offer();
        }
    }

    pub(crate) fn on_files(&mut self, page: u64, files: Vec<FileMeta>, last: bool, now: Now) {
        if self.on_directory_files(page, &files, last) {
            return;
        }
        if self.core.role == Role::Ordinary {
            let complete = self.publisher.on_files(&mut self.core, page, files, last);
            self.on_published(complete, now);
            return;
        }
        let Some(whole) = self.local_copy.on_files(&mut self.core, page, &files, last) else {
            return;
        };
        if let Some(name) = self.own_name() {
            let found = self.wished_for(&self.core.me, &files);
            self.children.publish_own(&mut self.core, &name, files);
            self.push_matches(self.core.me, found, now);
        }
        self.tables.touch(now.instant);
        if whole {
            let records = self.children.index.owner_records(&self.core.me);
            self.core.event(Event::Published { records, recovery: None });
        }
    }

    pub(crate) fn on_library_change(
        &mut self,
        added: Vec<FileMeta>,
        removed: Vec<ContentId>,
        now: Now,
    ) {
        self.on_directory_change(&added, &removed, now);
        if self.core.role == Role::Ordinary {
            self.publisher.on_change(&mut self.core, added, removed);
            return;
        }
        if self.local_copy.is_running() {
            // The page under way may be older than this change: begin again.
            self.local_copy.start(&mut self.core);
        }
        self.children.index.withdraw(&self.core.me, &removed);
        if let Some(name) = self.own_name() {
            let found = self.wished_for(&self.core.me, &added);
            self.children.publish_own(&mut self.core, &name, added);
            self.push_matches(self.core.me, found, now);
        }
        self.tables.touch(now.instant);
    }

    pub(crate) fn on_library_reset(&mut self, now: Now) {
        self.on_directory_reset(now);
        match self.core.role {
            Role::Ordinary => self.publisher.restart(&mut self.core),
            Role::Super => {
                self.children.index.clear_owner(&self.core.me);
                self.local_copy.start(&mut self.core);
            }
        }
    }
}

//! Telling the parent what this node shares: all of it once, then only what changes.
//!
//! The metadata stays with the driver, which hands it in page by page; here are only the page
//! under way and the changes that were not sent yet. At most [`WINDOW`] messages are on their way
//! without being acknowledged, so that searches on the same link never queue behind megabytes.

use crate::core::Core;
use crate::io::Output;
use skein_proto::message::{MAX_PUBLISHED, Publish, PublishAck};
use skein_proto::{ContentId, FileMeta, Instant, NodeId, pack};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Messages on their way at the same time: with 16 KiB each an eighth of a mebibyte, which fills a
/// 10 Mbit/s line at 100 ms round trip.
const WINDOW: usize = 8;

/// How long a parent may take to acknowledge anything while something is on its way to it: some
/// times what an eighth of a mebibyte takes over the slowest lines. What it does not take in
/// cannot be found, so a parent that takes nothing in is as bad as none.
const ACK_PATIENCE: Duration = Duration::from_secs(30);

/// Files asked of the driver at once.
const PAGE: usize = 1_024;

/// Changes kept while they cannot be sent. Beyond it, they are forgotten and all is published
/// anew: the changes would cost more memory than the pages.
const MAX_PENDING: usize = 65_536;

/// Walks through all that is shared, page by page.
#[derive(Debug, Default)]
struct Pager {
    after: Option<ContentId>,
    /// The page that was asked for and has not come.
    asked: Option<u64>,
    /// All pages have come.
    whole: bool,
}

impl Pager {
    fn ask(&mut self, core: &mut Core) {
        let page = core.next_page();
        self.asked = Some(page);
        core.outputs.push_back(Output::WantFiles { page, after: self.after, limit: PAGE });
    }

    /// Whether this is the page that was asked for, and not one that an earlier walk left behind.
    fn take(&mut self, page: u64, files: &[FileMeta], last: bool) -> bool {
        if self.asked != Some(page) {
            return false;
        }
        self.asked = None;
        self.after = files.last().map(|file| file.content).or(self.after);
        self.whole = last || files.is_empty();
        true
    }
}

/// What happened to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    /// Records that the parent now holds.
    pub(crate) records: u64,
}

/// Keeps one parent's picture of this node's files right.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    parent: Option<NodeId>,
    copying: Option<Pager>,
    pending: BTreeMap<ContentId, Option<FileMeta>>,
    next_sequence: u64,
    acknowledged: u64,
    /// What was acknowledged when the parent was last seen to go on, and when that was.
    progress: Option<(u64, Instant)>,
    reset: bool,
    announced: bool,
    /// The parent's last word about how many records it holds.
    pub(crate) published: u64,
    /// The parent's last word about how many it did not take.
    pub(crate) over_quota: u64,
}

impl Publisher {
    /// Begins with a parent that knows nothing.
    pub(crate) fn start(&mut self, core: &mut Core, parent: NodeId) {
        *self = Self {
            parent: Some(parent),
            copying: Some(Pager::default()),
            next_sequence: 1,
            reset: true,
            ..Self::default()
        };
        self.pump(core);
    }

    /// There is nobody to publish to.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// Changes that were not sent yet.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Whether the parent has taken nothing in for too long.
    pub(crate) fn is_stuck(&mut self, now: Instant) -> bool {
        if self.in_flight() == 0 {
            self.progress = None;
            return false;
        }
        let acknowledged = self.acknowledged;
        match self.progress {
            Some((last, since)) if last == acknowledged => now.since(since) >= ACK_PATIENCE,
            _ => {
                self.progress = Some((acknowledged, now));
                false
            }
        }
    }

    /// Whether the parent holds all that it should.
    pub(crate) fn is_complete(&self) -> bool {
        self.parent.is_some()
            && self.copying.is_none()
            && self.pending.is_empty()
            && self.acknowledged + 1 == self.next_sequence
    }

    /// A page came from the driver.
    pub(crate) fn on_files(
        &mut self,
        core: &mut Core,
        page: u64,
        files: Vec<FileMeta>,
        last: bool,
    ) -> Option<Complete> {
        let pager = self.copying.as_mut()?;
        if !pager.take(page, &files, last) {
            return None;
        }
        for file in files {
            // A change that came while the page was on its way is the newer truth.
            self.pending.entry(file.content).or_insert(Some(file));
        }
        self.pump(core);
        // An empty last page may come behind the last acknowledgement.
        self.take_complete()
    }

    /// What is shared has changed.
    pub(crate) fn on_change(
        &mut self,
        core: &mut Core,
        added: Vec<FileMeta>,
        removed: Vec<ContentId>,
    ) {
        if self.parent.is_none() {
            return;
        }
        for content in removed {
            self.pending.insert(content, None);
        }
        for file in added {
            self.pending.insert(file.content, Some(file));
        }
        if self.pending.len() > MAX_PENDING {
            self.restart(core);
        } else {
            self.pump(core);
        }
    }

    /// Publishes all of it again on the same bond.
    pub(crate) fn restart(&mut self, core: &mut Core) {
        if self.parent.is_none() {
            return;
        }
        self.pending.clear();
        self.reset = true;
        self.copying = Some(Pager::default());
        self.pump(core);
    }

    /// The parent has taken in what was sent up to here.
    pub(crate) fn on_ack(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        ack: PublishAck,
    ) -> Option<Complete> {
        if self.parent != Some(peer) || ack.sequence >= self.next_sequence {
            return None;
        }
        self.acknowledged = self.acknowledged.max(ack.sequence);
        self.published = ack.records;
        self.over_quota = ack.over_quota;
        self.pump(core);
        self.take_complete()
    }

    fn take_complete(&mut self) -> Option<Complete> {
        if self.announced || !self.is_complete() {
            return None;
        }
        self.announced = true;
        Some(Complete { records: self.published })
    }

    fn in_flight(&self) -> usize {
        // Without a parent both are 0.
        let unacknowledged = self.next_sequence.saturating_sub(self.acknowledged + 1);
        usize::try_from(unacknowledged).unwrap_or(usize::MAX)
    }

    fn pump(&mut self, core: &mut Core) {
        while let Some(publish) = self.next_message() {
            if let Some(parent) = self.parent {
                core.send(parent, publish);
            }
        }
        if let Some(copying) = &mut self.copying {
            if copying.whole {
                self.copying = None;
            } else if copying.asked.is_none() && self.pending.len() < PAGE / 2 {
                copying.ask(core);
            }
        }
    }

    /// The next message that may be sent now.
    fn next_message(&mut self) -> Option<Publish> {
        // While a page is on its way nothing is sent: what is sent must not be overtaken by an
        // older state in that page.
        let waiting = self.copying.as_ref().is_some_and(|copying| copying.asked.is_some());
        if waiting || self.in_flight() >= WINDOW {
            return None;
        }
        let nothing_left = self.pending.is_empty();
        let ends_copy = self.copying.as_ref().is_none_or(|copying| copying.whole);
        // Even a node that shares nothing says so once: the reset is what makes it searchable.
        if nothing_left && !(self.reset && ends_copy) {
            return None;
        }
        let mut remove = VecDeque::new();
        let mut add = VecDeque::new();
        while remove.len() < MAX_PUBLISHED && add.len() < MAX_PUBLISHED {
            match self.pending.pop_first() {
                Some((content, None)) => remove.push_back(content),
                Some((_, Some(file))) => add.push_back(file),
                None => break,
            }
        }
        let publish = pack::take_publish(&mut remove, &mut add, self.next_sequence, self.reset);
        self.pending.extend(remove.into_iter().map(|content| (content, None)));
        self.pending.extend(add.into_iter().map(|file| (file.content, Some(file))));
        if self.pending.is_empty() {
            // An empty tree keeps a node, with room for eleven files.
            self.pending = BTreeMap::new();
        }
        self.next_sequence += 1;
        self.reset = false;
        Some(publish)
    }
}

/// Publishing into this node's own index, for a supernode that shares files itself: no messages,
/// only pages.
#[derive(Debug, Default)]
pub(crate) struct LocalCopy {
    copying: Option<Pager>,
}

impl LocalCopy {
    /// Begins to copy all.
    pub(crate) fn start(&mut self, core: &mut Core) {
        self.copying.insert(Pager::default()).ask(core);
    }

    pub(crate) fn stop(&mut self) {
        self.copying = None;
    }

    /// A page came: answers whether it is to be indexed, and whether it is the last one.
    pub(crate) fn on_files(
        &mut self,
        core: &mut Core,
        page: u64,
        files: &[FileMeta],
        last: bool,
    ) -> Option<bool> {
        let pager = self.copying.as_mut()?;
        if !pager.take(page, files, last) {
            return None;
        }
        let whole = pager.whole;
        if whole {
            self.copying = None;
        } else {
            pager.ask(core);
        }
        Some(whole)
    }

    /// Whether a copy is under way.
    pub(crate) fn is_running(&self) -> bool {
        self.copying.is_some()
    }
}

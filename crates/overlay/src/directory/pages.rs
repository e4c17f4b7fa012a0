//! The records of an arc for whoever has come to keep it, page by page.
//!
//! A page ends behind a place, and says which: whoever asked goes on from there, with the same
//! supernode or with another one. So an arc of any length moves, whatever the receiver lets others
//! do to it, and nobody has more than a page of it in a queue.

use crate::core::Core;
use crate::io::Now;
use crate::membership::Place;
use skein_proto::NodeId;
use skein_proto::directory::{ArcSent, ArcWanted};

use super::arc::Arc;
use super::queue::Parcel;
use super::table::MAX_PER_CONTENT;
use super::{COPIES, Holder};

/// Records in a page: half a megabyte at most.
const PAGE: usize = 1_000;

/// Records looked at for a page: only those that belong to the asker are sent.
const LOOKED_AT: usize = 4_000;

/// What a page costs the one that asks: half of what it may cause in a second, so that one page
/// in a second always comes.
pub(super) const PAGE_COST: usize = 100;

/// The work that a page causes at the one that asked: three signatures for each record, and there
/// may be more records of the last place than fill the page.
pub(super) const PAGE_WORK: usize = 3 * (PAGE + MAX_PER_CONTENT + MANY_NODES);

/// Nodes of one name for which there is room at the end of a page: the most that a login service
/// allows.
const MANY_NODES: usize = 1_000;

/// Some of the records of an arc, from its beginning.
struct Page {
    parcels: Vec<Parcel>,
    /// The last place of which they are.
    to: Place,
}

impl Holder {
    /// A supernode asks for an arc that has come to belong to it.
    pub(super) fn on_arc_wanted(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        wanted: ArcWanted,
        now: Now,
    ) {
        let arc = Arc { after: Place(wanted.after), to: Place(wanted.to) };
        let Page { parcels, to } = self.page(core, peer, arc);
        let records = u32::try_from(parcels.len()).unwrap_or(u32::MAX);
        let whole = !self.reach.is_fetching(Arc { to, ..arc }, now);
        let sent = ArcSent { after: wanted.after, to: to.0, records, whole };
        if self.outbox.put_page(core, peer, parcels, sent) {
            core.counters.directory_records_moved += u64::from(records);
        }
    }

    fn page(&self, core: &Core, peer: NodeId, arc: Arc) -> Page {
        // Whoever asks may have heard of deaths that this supernode has not heard of.
        let theirs = |place| core.membership.is_near(place, &peer, 2 * COPIES);
        let mut nodes = self.table.nodes_on(arc).peekable();
        let mut sources = self.table.sources_on(arc).peekable();
        let mut page = Page { parcels: Vec::new(), to: arc.to };
        let (mut last, mut looked_at) = (None, 0);
        loop {
            let places = [nodes.peek().map(|(at, _)| *at), sources.peek().map(|(at, _)| *at)];
            let next = places.into_iter().flatten().min_by_key(|place| arc.offset(*place));
            let Some(place) = next else { return page };
            if let Some(last) = last.filter(|last| *last != place)
                && (page.parcels.len() >= PAGE || looked_at >= LOOKED_AT)
            {
                page.to = last;
                return page;
            }
            last = Some(place);
            let is_theirs = theirs(place);
            while let Some((_, record)) = nodes.next_if(|(at, _)| *at == place) {
                looked_at += 1;
                page.parcels.extend(is_theirs.then_some(Parcel::Node(record)));
            }
            while let Some((_, source)) = sources.next_if(|(at, _)| *at == place) {
                looked_at += 1;
                page.parcels.extend(super::parcels(source).into_iter().filter(|_| is_theirs));
            }
        }
    }
}

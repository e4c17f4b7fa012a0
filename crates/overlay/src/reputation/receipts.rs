//! What a downloader signs: bytes that it received and verified.

use crate::core::{Core, earlier};
use crate::io::{Now, Output};
use skein_proto::evidence::{Evidence, MOST_BYTES, Receipt};
use skein_proto::{Instant, NodeId, Signed, Username};
use std::collections::BTreeMap;
use std::time::Duration;

/// The least time between two receipts for one uploader while bytes keep coming.
const PERIOD: Duration = Duration::from_secs(10);

/// Uploaders of one day whose totals are kept in mind; an entry takes about 100 bytes.
const MAX_UPLOADERS: usize = 1_024;

#[derive(Debug)]
struct Owed {
    bytes: u64,
    /// The node that the latest bytes came from.
    node: NodeId,
    /// When the next receipt is due, if there are bytes that were not signed for.
    due: Option<Instant>,
    signed: Option<Instant>,
}

/// What a downloader owes receipts for.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    day: u32,
    owed: BTreeMap<Username, Owed>,
}

impl Receipts {
    /// Bytes of this uploader were verified.
    pub(crate) fn received(
        &mut self,
        core: &mut Core,
        (node, name): (NodeId, Username),
        bytes: u64,
        now: Now,
    ) {
        if now.unix.day() != self.day {
            self.day = now.unix.day();
            self.owed.clear();
        }
        if !self.owed.contains_key(&name) && self.owed.len() >= MAX_UPLOADERS {
            core.counters.receipts_over_limit += 1;
            return;
        }
        let owed =
            self.owed.entry(name).or_insert(Owed { bytes: 0, node, due: None, signed: None });
        owed.bytes = owed.bytes.saturating_add(bytes).min(MOST_BYTES);
        owed.node = node;
        let after = owed.signed.map_or(now.instant, |signed| signed + PERIOD);
        owed.due.get_or_insert(after.max(now.instant));
    }

    /// Signs what is due.
    pub(crate) fn step(&mut self, core: &mut Core, now: Now) {
        if self.owed.is_empty() || !core.has_credential(now.unix) || now.unix.day() != self.day {
            return;
        }
        let Some(witness) = core.credential.clone() else { return };
        for (uploader, owed) in &mut self.owed {
            if owed.due.is_none_or(|due| due > now.instant) {
                continue;
            }
            owed.due = None;
            owed.signed = Some(now.instant);
            if witness.unverified().name == *uploader {
                continue;
            }
            let receipt = Receipt {
                downloader: core.me,
                uploader: uploader.clone(),
                day: self.day,
                bytes: owed.bytes,
            };
            core.counters.receipts_signed += 1;
            let claim = Signed::new(receipt, &core.key);
            let receipt = Box::new(Evidence { claim, witness: witness.clone() });
            core.outputs.push_back(Output::Receipt { peer: owed.node, receipt });
        }
    }

    /// When [`Receipts::step`] has something to do next.
    pub(crate) fn next_wakeup(&self, has_credential: bool) -> Option<Instant> {
        if !has_credential {
            return None;
        }
        self.owed.values().fold(None, |wake, owed| earlier(wake, owed.due))
    }
}

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
            // What is owed for the day before is signed at once: it will have no entry any more.
            for owed in self.owed.values_mut() {
                owed.due = owed.due.map(|due| due.min(now.instant));
            }
            self.step(core, now);
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

    /// Signs what is due, also what is due for the day before: uploaders take that. What was owed for any
    /// other day, by a clock that has been set since, is owed to nobody any more.
    pub(crate) fn step(&mut self, core: &mut Core, now: Now) {
        if now.unix.day().abs_diff(self.day) > 1 {
            self.owed.clear();
        }
        if self.owed.is_empty() || !core.has_credential(now.unix) {
            return;
        }
        let Some(witness) = core.credential.clone() else { return };
        // It must have been valid on the day that the receipt is for.
        if witness.unverified().issued.day() > self.day {
            self.owed.values_mut().for_each(|owed| owed.due = None);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::Config;
    use skein_proto::{Credential, KeyPair, UnixTime};

    const DAY: u32 = 20_000;

    /// So many seconds after a minute to midnight.
    fn at(secs: u64) -> Now {
        let midnight = u64::from(DAY + 1) * UnixTime::DAY;
        Now {
            instant: Instant::START + Duration::from_secs(secs),
            unix: UnixTime(midnight - 60 + secs),
        }
    }

    /// A downloader whose credential was issued then, and an uploader.
    fn downloader(issued: Now) -> (Core, (NodeId, Username)) {
        let login = KeyPair::from_seed(&[1; 32]);
        let key = KeyPair::from_seed(&[2; 32]);
        let mut core = Core::new(key.clone(), Config::new(login.node_id()), [3; 32]);
        let credential = Credential {
            name: Username::parse("dan").expect("a name"),
            node: key.node_id(),
            issued: issued.unix,
            expires: UnixTime(u64::MAX),
            registered: UnixTime(0),
        };
        core.credential = Some(Signed::new(credential, &login));
        (core, (NodeId::from_bytes([4; 32]), Username::parse("uma").expect("a name")))
    }

    /// The days and bytes that were signed for since this was last asked. Nothing must be left that
    /// was to be done by now: the node would wake for it again and again.
    fn signed(receipts: &Receipts, core: &mut Core, now: Now) -> Vec<(u32, u64)> {
        let wake = receipts.next_wakeup(core.has_credential(now.unix));
        assert!(wake.is_none_or(|at| at > now.instant), "{wake:?} is not after {now:?}");
        let receipts = core.outputs.drain(..).filter_map(|output| match output {
            Output::Receipt { receipt, .. } => Some(receipt.claim.unverified().clone()),
            _ => None,
        });
        receipts.map(|receipt| (receipt.day, receipt.bytes)).collect()
    }

    #[test]
    fn what_is_due_across_midnight_is_signed_for_the_day_before_and_wakes_nobody_again() {
        let (mut core, uma) = downloader(at(0));
        let mut receipts = Receipts::default();
        receipts.received(&mut core, uma.clone(), 5, at(51));
        receipts.step(&mut core, at(51));
        assert_eq!(signed(&receipts, &mut core, at(51)), [(DAY, 5)]);
        receipts.received(&mut core, uma.clone(), 2, at(52));
        receipts.step(&mut core, at(52));
        assert_eq!(signed(&receipts, &mut core, at(52)), []);
        receipts.step(&mut core, at(61));
        assert_eq!(signed(&receipts, &mut core, at(61)), [(DAY, 7)]);
        receipts.received(&mut core, uma, 1, at(62));
        receipts.step(&mut core, at(62));
        assert_eq!(signed(&receipts, &mut core, at(62)), [(DAY + 1, 1)]);
    }

    #[test]
    fn bytes_of_a_new_day_come_after_what_is_owed_for_the_old_one() {
        let (mut core, uma) = downloader(at(0));
        let mut receipts = Receipts::default();
        receipts.received(&mut core, uma.clone(), 5, at(59));
        receipts.received(&mut core, uma, 1, at(60));
        receipts.step(&mut core, at(60));
        assert_eq!(signed(&receipts, &mut core, at(60)), [(DAY, 5), (DAY + 1, 1)]);
    }

    #[test]
    fn what_nobody_would_take_any_more_is_not_signed_and_not_waited_for() {
        for (issued, later) in [(at(0), at(60 + UnixTime::DAY)), (at(60), at(61))] {
            let (mut core, uma) = downloader(issued);
            let mut receipts = Receipts::default();
            receipts.received(&mut core, uma, 5, at(59));
            receipts.step(&mut core, later);
            assert_eq!(signed(&receipts, &mut core, later), []);
        }
    }
}

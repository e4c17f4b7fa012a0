//! The login service, as far as nodes need it every day: who is a supernode.

use super::EPOCH;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rustc_hash::FxHashMap;
use skein_proto::{BoundedVec, Instant, KeyPair, NodeId, SupernodeEntry, UnixTime};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a report counts: two and a half beats of a supernode.
const FRESH: Duration = Duration::from_secs(150);

/// How long whoever was invited to be the first supernode has to report.
const INVITATION: Duration = Duration::from_secs(30);

struct Report {
    node: NodeId,
    address: SocketAddr,
    load_percent: u8,
    at: Instant,
}

/// The login service.
pub(super) struct Login {
    pub(super) key: KeyPair,
    pub(super) up: bool,
    /// The most supernodes that one answer names.
    list: usize,
    reports: Vec<Report>,
    /// Where in `reports` a node is.
    places: FxHashMap<NodeId, usize>,
    invited: Option<Instant>,
}

impl Login {
    pub(super) fn new(key: KeyPair, list: usize) -> Self {
        let (reports, places) = (Vec::new(), FxHashMap::default());
        Self { key, up: true, list, reports, places, invited: None }
    }

    /// A supernode says that it is up.
    pub(super) fn report(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        load_percent: u8,
        at: Instant,
    ) {
        let report = Report { node, address, load_percent, at };
        match self.places.get(&node) {
            Some(place) => self.reports[*place] = report,
            None => {
                self.places.insert(node, self.reports.len());
                self.reports.push(report);
            }
        }
    }

    /// Some supernodes that have reported lately, and whether the asker shall be the first one.
    pub(super) fn answer(
        &mut self,
        willing: bool,
        rng: &mut StdRng,
        now: Instant,
    ) -> (Vec<SupernodeEntry>, bool) {
        let mut entries = Vec::new();
        // Those that are stale are forgotten as they are met; then as many again are drawn.
        while entries.len() < self.list.min(self.reports.len()) {
            entries.clear();
            let count = self.list.min(self.reports.len());
            let drawn = sample(rng, self.reports.len(), count).into_vec();
            let mut stale: Vec<usize> = Vec::new();
            for place in drawn {
                let report = &self.reports[place];
                if now.since(report.at) >= FRESH {
                    stale.push(place);
                    continue;
                }
                entries.push(SupernodeEntry {
                    node: report.node,
                    addresses: BoundedVec::truncated([report.address]),
                    load_percent: report.load_percent,
                    seen: UnixTime(EPOCH.0 + report.at.as_micros() / 1_000_000),
                });
            }
            stale.sort_unstable();
            for place in stale.into_iter().rev() {
                self.forget(place);
            }
        }
        let free = self.invited.is_none_or(|at| now.since(at) > INVITATION);
        let invited = entries.is_empty() && willing && free;
        if invited {
            self.invited = Some(now);
        }
        (entries, invited)
    }

    fn forget(&mut self, place: usize) {
        let report = self.reports.swap_remove(place);
        self.places.remove(&report.node);
        if let Some(moved) = self.reports.get(place) {
            self.places.insert(moved.node, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn only_those_that_reported_lately_are_named() {
        let mut login = Login::new(KeyPair::from_seed(&[1; 32]), 50);
        let mut rng = StdRng::seed_from_u64(1);
        let node = |n: u8| NodeId::from_bytes([n; 32]);
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let at = |secs| Instant::START + Duration::from_secs(secs);
        assert_eq!(login.answer(true, &mut rng, at(0)), (Vec::new(), true));
        assert_eq!(login.answer(true, &mut rng, at(1)), (Vec::new(), false), "one at a time");
        for n in 0..200 {
            login.report(node(n), address, 10, at(if n % 2 == 0 { 100 } else { 10 }));
        }
        let (entries, invited) = login.answer(true, &mut rng, at(170));
        assert_eq!((entries.len(), invited), (50, false));
        assert!(entries.iter().all(|entry| entry.node.as_bytes()[0] % 2 == 0));
        assert!(login.answer(true, &mut rng, at(400)).1, "all are gone");
    }
}

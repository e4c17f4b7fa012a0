//! What a supernode vouches for: how long others were connected with it today.

use crate::core::Core;
use crate::hashed::{HashMap, HashSet};
use crate::io::Now;
use skein_proto::evidence::{Vouched, Voucher};
use skein_proto::{Instant, NodeId, Signed, UnixTime, Username};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is looked at who is connected.
const LOOK: Duration = Duration::from_secs(60);

/// How often a voucher is signed for each, jittered: often enough for most sessions (the median is
/// two hours) to lose little when they end without a word, seldom enough for 450 peers to cost less
/// than one signature in two seconds.
const PERIOD: Duration = Duration::from_secs(20 * 60);

/// Names whose time of this day is kept in mind: ten times the children of a supernode come and go
/// in a day. An entry takes about 80 bytes.
const MAX_TOTALS: usize = 4_096;

/// What a supernode vouches for.
#[derive(Debug)]
pub(crate) struct Vouching {
    day: u32,
    /// Seconds of the day for each name, those that have gone included.
    totals: BTreeMap<Username, u32>,
    /// When each peer gets its next voucher.
    due: HashMap<NodeId, Instant>,
    looked: Instant,
    /// The latest calendar time up to which time was counted. It never goes back, and so no total
    /// grows faster than the calendar does even when somebody sets the clock back.
    counted: UnixTime,
}

impl Vouching {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            day: now.unix.day(),
            totals: BTreeMap::new(),
            due: HashMap::default(),
            looked: now.instant,
            counted: now.unix,
        }
    }

    /// This node is a supernode from now on: what was before is not vouched for.
    pub(crate) fn begin(&mut self, now: Now) {
        self.looked = now.instant;
        self.counted = self.counted.max(now.unix);
        self.due.clear();
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        now.instant.since(self.looked) >= LOOK
    }

    /// Counts the time since the last look for all who are connected, and signs what is due.
    pub(crate) fn look(
        &mut self,
        core: &mut Core,
        mut connected: Vec<(NodeId, Username)>,
        now: Now,
    ) {
        connected.sort_unstable();
        self.count(core, &connected, now);
        self.due.retain(|peer, _| connected.binary_search_by_key(peer, |(node, _)| *node).is_ok());
        for (peer, name) in connected {
            let first = core.jitter(PERIOD);
            let due = *self.due.entry(peer).or_insert(now.instant + first);
            if due <= now.instant {
                let pause = core.jitter(PERIOD);
                self.due.insert(peer, now.instant + pause);
                self.sign(core, peer, name, now);
            }
        }
    }

    fn count(&mut self, core: &mut Core, connected: &[(NodeId, Username)], now: Now) {
        let mut passed = now.instant.since(self.looked).min(now.unix.since(self.counted));
        self.looked = now.instant;
        self.counted = self.counted.max(now.unix);
        if now.unix.day() > self.day {
            self.day = now.unix.day();
            self.totals.clear();
            let midnight = UnixTime(u64::from(self.day) * UnixTime::DAY);
            passed = passed.min(now.unix.since(midnight));
        }
        // Several nodes of one name are connected for the same time, not for its sum.
        let mut names: HashSet<&Username> = HashSet::default();
        for (peer, name) in connected {
            if name.as_str().is_empty() || !names.insert(name) {
                continue;
            }
            let since = core.peers.get(peer).map_or(Duration::ZERO, |p| now.instant.since(p.since));
            // At most a day, which fits.
            let secs = u32::try_from(passed.min(since).as_secs()).unwrap_or(0);
            if let Some(total) = self.totals.get_mut(name) {
                *total += secs;
            } else if self.totals.len() < MAX_TOTALS {
                self.totals.insert(name.clone(), secs);
            } else {
                core.counters.vouching_over_limit += 1;
            }
        }
    }

    /// Signs the total of the day for one that is about to go, or whose turn it is.
    pub(crate) fn sign(&self, core: &mut Core, peer: NodeId, child: Username, now: Now) {
        let Some(connected_secs) = self.totals.get(&child).copied().filter(|secs| *secs > 0) else {
            return;
        };
        // A word without a credential to show whose it is would be worth nothing.
        let same_day = now.unix.day() == self.day;
        let own = core.credential.as_ref().map(|own| own.unverified().name.clone());
        if !same_day || !core.has_credential(now.unix) || own.as_ref() == Some(&child) {
            return;
        }
        let parent = core.me;
        let voucher = Voucher { parent, child, day: self.day, connected_secs, signed: now.unix };
        core.counters.vouchers_signed += 1;
        let voucher = Signed::new(voucher, &core.key);
        core.send(peer, Vouched { voucher });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::Config;
    use crate::peers::Peer;
    use skein_proto::KeyPair;

    #[test]
    fn the_time_before_a_node_became_a_supernode_is_not_vouched_for() {
        let login = KeyPair::from_seed(&[1; 32]).node_id();
        let mut core = Core::new(KeyPair::from_seed(&[2; 32]), Config::new(login), [3; 32]);
        let at = |secs| Now {
            instant: Instant::START + Duration::from_secs(secs),
            unix: UnixTime(20_000 * UnixTime::DAY + secs),
        };
        let (peer, name) = (NodeId::from_bytes([4; 32]), Username::parse("uma").expect("a name"));
        let address = ([192, 0, 2, 1], 1).into();
        let known = Peer { address, rtt: Duration::ZERO, since: Instant::START, hello: None };
        core.peers.insert(peer, Box::new(known));
        let mut vouching = Vouching::new(at(0));
        vouching.begin(at(3_600));
        vouching.look(&mut core, vec![(peer, name.clone())], at(3_660));
        assert_eq!(vouching.totals.get(&name), Some(&60));
    }
}

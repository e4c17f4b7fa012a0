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
    /// The latest calendar time up to which time was counted, here or in an earlier run. It never goes
    /// back, and so no total grows faster than the calendar does even when somebody sets the clock
    /// back. Until the clock has come so far again nothing is signed: a total of later would prove of
    /// its signer that it lies.
    counted: UnixTime,
}

impl Vouching {
    /// One that may have vouched until `last` in an earlier run.
    pub(crate) fn new(now: Now, last: Option<UnixTime>) -> Self {
        Self {
            day: now.unix.day(),
            totals: BTreeMap::new(),
            due: HashMap::default(),
            looked: now.instant,
            counted: last.map_or(now.unix, |last| last.max(now.unix)),
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

    /// Signs the total of the day for one whose turn it is, or that this node is about to leave.
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
        if now.unix < self.counted {
            core.counters.vouchers_withheld += 1;
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
    use crate::io::Output;
    use crate::peers::Peer;
    use skein_proto::{Credential, KeyPair, Message};

    const NOON: u64 = 20_000 * UnixTime::DAY + 12 * 3_600;

    /// A supernode with a credential, and a peer that was there before it began.
    fn supernode() -> (Core, NodeId, Username) {
        let login = KeyPair::from_seed(&[1; 32]);
        let key = KeyPair::from_seed(&[2; 32]);
        let mut core = Core::new(key.clone(), Config::new(login.node_id()), [3; 32]);
        let credential = Credential {
            name: Username::parse("sue").expect("a name"),
            node: key.node_id(),
            issued: UnixTime(0),
            expires: UnixTime(u64::MAX),
            registered: UnixTime(0),
        };
        core.credential = Some(Signed::new(credential, &login));
        let (peer, name) = (NodeId::from_bytes([4; 32]), Username::parse("uma").expect("a name"));
        let address = ([192, 0, 2, 1], 1).into();
        let known = Peer { address, rtt: Duration::ZERO, since: Instant::START, hello: None };
        core.peers.insert(peer, Box::new(known));
        (core, peer, name)
    }

    /// What a supernode signs in these minutes after its start, by a clock that is so many seconds off.
    fn signed(
        vouching: &mut Vouching,
        (core, peer, name): (&mut Core, NodeId, &Username),
        minutes: std::ops::Range<u64>,
        off: i64,
    ) -> Vec<Voucher> {
        for minute in minutes {
            let instant = Instant::START + Duration::from_secs(minute * 60);
            let unix = UnixTime((NOON + minute * 60).saturating_add_signed(off));
            let now = Now { instant, unix };
            vouching.look(core, vec![(peer, name.clone())], now);
            vouching.sign(core, peer, name.clone(), now);
        }
        let sent = core.outputs.drain(..).filter_map(|output| match output {
            Output::Send { message, .. } => match *message {
                Message::Vouched(vouched) => Some(vouched.voucher.unverified().clone()),
                _ => None,
            },
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn nothing_is_signed_that_the_clock_has_not_come_to_again_after_it_was_set_back() {
        let (mut core, peer, name) = supernode();
        let start = Now { instant: Instant::START, unix: UnixTime(NOON) };
        let mut vouching = Vouching::new(start, None);
        let before = signed(&mut vouching, (&mut core, peer, &name), 0..60, 0);
        assert_eq!(before.last().map(|voucher| voucher.connected_secs), Some(59 * 60));
        let back = signed(&mut vouching, (&mut core, peer, &name), 60..79, -20 * 60);
        assert_eq!(back, [], "it is 12:40 to 12:58 again");
        assert!(core.counters.vouchers_withheld >= 19, "each minute, and what was due besides");
        let after = signed(&mut vouching, (&mut core, peer, &name), 79..90, -20 * 60);
        assert_eq!(after.last().map(|voucher| voucher.connected_secs), Some(69 * 60));
        let midnight = UnixTime(20_000 * UnixTime::DAY);
        assert!(after.iter().all(|it| it.signed.since(midnight).as_secs() > 12 * 3_600 + 58 * 60));
    }

    #[test]
    fn nor_after_a_restart_with_such_a_clock() {
        let (mut core, peer, name) = supernode();
        let back = 3_600;
        let start = Now { instant: Instant::START, unix: UnixTime(NOON - back) };
        let mut vouching = Vouching::new(start, Some(UnixTime(NOON)));
        let off = -i64::try_from(back).expect("an hour");
        assert_eq!(signed(&mut vouching, (&mut core, peer, &name), 0..60, off), []);
        let after = signed(&mut vouching, (&mut core, peer, &name), 60..70, off);
        let first = after.first().map(|voucher| (voucher.signed, voucher.connected_secs));
        assert_eq!(first, Some((UnixTime(NOON + 60), 60)), "it begins where it had ended");
    }

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
        let mut vouching = Vouching::new(at(0), None);
        vouching.begin(at(3_600));
        vouching.look(&mut core, vec![(peer, name.clone())], at(3_660));
        assert_eq!(vouching.totals.get(&name), Some(&60));
    }
}

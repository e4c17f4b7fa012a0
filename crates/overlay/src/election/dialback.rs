//! Whether a node can be reached from outside: others dial it.
//!
//! Who wants to know asks three supernodes, drawn at random, that the node has no link with, so
//! that they dial from hosts that it never sent to; each dials from a fresh socket. Two that agree
//! decide, so that one liar alone has nobody take a node for reachable. Where no two of the others do,
//! since most have a link with the node or say nothing, whoever wants to know dials as well.
//!
//! Who is asked to dial could be misused to send packets to somebody else. So it dials only what
//! an asker may ask for (see [`is_allowed`]), little for one asker and less for one neighbourhood
//! of targets. A dial that nobody answers is five packets of 1,200 bytes in 4 s.

use super::pace::Pace;
use crate::core::Core;
use crate::io::{Now, Output};
use rand::seq::IteratorRandom;
use skein_proto::election::{DialBackOutcome, DialBackReply, DialBackRequest};
use skein_proto::{BoundedVec, Instant, NodeId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How many others are asked about one node: an odd number, so that there is a majority.
const HELPERS: usize = 3;

/// How many are asked in all when some are linked with the node or refuse.
const MAX_ASKED: usize = 9;

/// How long an answer may take: a link to the helper, and its dial.
const PATIENCE: Duration = Duration::from_secs(15);

/// After which time this node dials as well if no two of the others agree by then: a dial that nobody
/// answers takes 4 s, and is over within [`PATIENCE`].
const OTHERS_FIRST: Duration = Duration::from_secs(8);

/// Nodes that are looked into at a time.
const MAX_CHECKS: usize = 32;

/// Dials for others under way. Each has a socket of its own for some seconds.
const MAX_DIALS: usize = 16;

/// Dials for one asker: as many as a supernode needs that weighs a handful of candidates.
const ASKER: (u32, Duration) = (8, Duration::from_secs(120));

/// Dials to one neighbourhood: with a thousand helpers, an attacker who asks all of them moves
/// 40 KB/s towards it in the long run, of which it must ask for each dial itself.
const TARGET: (u32, Duration) = (4, Duration::from_secs(600));

/// Askers and neighbourhoods that are kept in mind: some 100 KiB.
const MAX_KEPT: usize = 2_048;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Who was looked for.
    pub(crate) node: NodeId,
    /// Who could dial it.
    pub(crate) reached: u8,
    /// Who tried.
    pub(crate) tried: u8,
}

#[derive(Debug)]
struct Check {
    addresses: BoundedVec<SocketAddr, 2>,
    /// Whom was asked, by the number of the question, while it is open.
    open: BTreeMap<u64, NodeId>,
    asked: Vec<NodeId>,
    reached: u8,
    tried: u8,
    /// Whether this node itself is one of those who tried.
    tried_itself: bool,
    /// When this node dials as well if it is not over by then.
    late: Instant,
    deadline: Instant,
}

impl Check {
    /// Whether two say the same: the majority of three.
    const fn is_agreed(&self) -> bool {
        self.reached >= 2 || self.tried - self.reached >= 2
    }

    /// What has been found out by now. That a node can be reached nobody is believed who is alone with
    /// it, but this node itself where all others have said that they cannot tell.
    fn finding(&self, node: NodeId) -> Finding {
        match (self.reached, self.tried) {
            (1, 1) if !self.tried_itself || !self.open.is_empty() => {
                Finding { node, reached: 0, tried: 0 }
            }
            (reached, tried) => Finding { node, reached, tried },
        }
    }
}

/// Dial-backs that this node has asked for, and those that it makes for others.
#[derive(Debug)]
pub(crate) struct DialBacks {
    checks: BTreeMap<NodeId, Check>,
    /// Dials under way, with whom the answer is for; `None` for a check of this node's own.
    dials: BTreeMap<u64, (Option<NodeId>, u64)>,
    next_dial: u64,
    askers: Pace<NodeId>,
    targets: Pace<(IpAddr, u8)>,
}

impl Default for DialBacks {
    fn default() -> Self {
        Self {
            checks: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            askers: Pace::new(ASKER.0, ASKER.1, MAX_KEPT),
            targets: Pace::new(TARGET.0, TARGET.1, MAX_KEPT),
        }
    }
}

impl DialBacks {
    /// Whether this node is being looked for.
    pub(crate) fn is_checking(&self, node: &NodeId) -> bool {
        self.checks.contains_key(node)
    }

    /// Starts to find out whether `node` can be reached at `addresses`. Answers false when too
    /// many are looked into already.
    pub(crate) fn check(
        &mut self,
        core: &mut Core,
        node: NodeId,
        addresses: BoundedVec<SocketAddr, 2>,
        now: Now,
    ) -> bool {
        if self.checks.len() >= MAX_CHECKS || self.is_checking(&node) {
            return false;
        }
        let mut check = Check {
            addresses,
            open: BTreeMap::new(),
            asked: Vec::new(),
            reached: 0,
            tried: 0,
            tried_itself: false,
            late: now.instant + OTHERS_FIRST,
            deadline: now.instant + PATIENCE,
        };
        for _ in 0..HELPERS {
            ask_another(core, node, &mut check, now);
        }
        let is_alone = check.open.is_empty();
        let addresses = check.addresses.clone();
        self.checks.insert(node, check);
        if is_alone {
            self.dial_alone(core, node, &addresses);
        }
        true
    }

    /// An answer to a question of this node.
    pub(crate) fn on_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &DialBackReply,
        now: Now,
    ) {
        let found =
            self.checks.iter_mut().find(|(_, check)| check.open.get(&reply.number) == Some(&peer));
        let Some((node, check)) = found else { return };
        check.open.remove(&reply.number);
        match reply.outcome {
            DialBackOutcome::Reached => {
                check.reached += 1;
                check.tried += 1;
            }
            DialBackOutcome::Unreached => check.tried += 1,
            DialBackOutcome::Linked | DialBackOutcome::Refused => {
                ask_another(core, *node, check, now);
            }
        }
        check.tried_itself |= peer == core.me;
        // In a network of two or three everybody has a link with everybody.
        let is_open = check.open.is_empty() && !check.is_agreed();
        let may_dial = is_open && !check.asked.contains(&core.me);
        let (node, addresses) = (*node, check.addresses.clone());
        if may_dial {
            self.dial_alone(core, node, &addresses);
        }
    }

    /// Dials by itself, where too few others can. That proves less, since the node has sent to this
    /// host before; the socket and the key are fresh all the same.
    fn dial_alone(&mut self, core: &mut Core, node: NodeId, addresses: &[SocketAddr]) {
        let number = self.dial(core, None, 0, node, addresses);
        if let Some(check) = self.checks.get_mut(&node) {
            check.asked.push(core.me);
            check.open.insert(number, core.me);
        }
    }

    /// A question did not reach whom it was for.
    pub(crate) fn on_undelivered(
        &mut self,
        core: &mut Core,
        helper: NodeId,
        request: &DialBackRequest,
        now: Now,
    ) {
        let outcome = DialBackOutcome::Refused;
        self.on_reply(core, helper, &DialBackReply { number: request.number, outcome }, now);
    }

    /// What is known by now of those that were looked for: everybody has answered, or it took too
    /// long. Where no two agree in time, this node dials as well.
    pub(crate) fn take_findings(&mut self, core: &mut Core, now: Instant) -> Vec<Finding> {
        let late = self.checks.iter().filter(|(_, check)| {
            now >= check.late && !check.is_agreed() && !check.asked.contains(&core.me)
        });
        let late: Vec<_> = late.map(|(node, check)| (*node, check.addresses.clone())).collect();
        for (node, addresses) in late {
            self.dial_alone(core, node, &addresses);
        }
        let mut findings = Vec::new();
        self.checks.retain(|node, check| {
            let over = check.open.is_empty() || check.is_agreed() || now >= check.deadline;
            if over {
                findings.push(check.finding(*node));
            }
            !over
        });
        findings
    }

    /// When [`DialBacks::take_findings`] has something to do by the clock alone.
    pub(crate) fn next_deadline(&self, me: &NodeId) -> Option<Instant> {
        let next = self
            .checks
            .values()
            .map(|check| if check.asked.contains(me) { check.deadline } else { check.late });
        next.min()
    }

    /// Somebody asks this supernode to dial.
    pub(crate) fn on_request(
        &mut self,
        core: &mut Core,
        asker: NodeId,
        request: &DialBackRequest,
        now: Instant,
    ) {
        let Some(seen_at) = core.peers.get(&asker).map(|peer| peer.address.ip()) else { return };
        let targets: Vec<IpAddr> =
            request.addresses.iter().map(|address| address.ip().to_canonical()).collect();
        let outcome = if core.peers.contains_key(&request.node) || request.node == core.me {
            DialBackOutcome::Linked
        } else if !is_allowed(&request.addresses, seen_at)
            || self.dials.len() >= MAX_DIALS
            || !self.askers.take(asker, now)
            || !targets
                .first()
                .is_some_and(|ip| ip.is_loopback() || self.targets.take(neighbourhood(*ip), now))
        {
            core.counters.dial_backs_refused += 1;
            DialBackOutcome::Refused
        } else {
            self.dial(core, Some(asker), request.number, request.node, &request.addresses);
            return;
        };
        core.send(asker, DialBackReply { number: request.number, outcome });
    }

    fn dial(
        &mut self,
        core: &mut Core,
        asker: Option<NodeId>,
        number: u64,
        node: NodeId,
        addresses: &[SocketAddr],
    ) -> u64 {
        self.next_dial += 1;
        self.dials.insert(self.next_dial, (asker, number));
        core.counters.dial_backs_made += 1;
        let addresses = addresses.to_vec();
        core.outputs.push_back(Output::DialBack { dial: self.next_dial, node, addresses });
        self.next_dial
    }

    /// What came of a dial of this node.
    pub(crate) fn on_dialled(&mut self, core: &mut Core, dial: u64, reached: bool, now: Now) {
        let outcome = if reached { DialBackOutcome::Reached } else { DialBackOutcome::Unreached };
        match self.dials.remove(&dial) {
            Some((Some(asker), number)) => {
                core.deliver(asker, DialBackReply { number, outcome }, now);
            }
            Some((None, _)) => {
                let me = core.me;
                self.on_reply(core, me, &DialBackReply { number: dial, outcome }, now);
            }
            None => {}
        }
    }
}

/// Asks one more supernode about a node.
fn ask_another(core: &mut Core, node: NodeId, check: &mut Check, now: Now) {
    if check.asked.len() >= MAX_ASKED {
        return;
    }
    let helper = core
        .membership
        .iter()
        .map(|member| member.node)
        .filter(|member| *member != node && !check.asked.contains(member))
        .choose(&mut core.rng);
    let Some(helper) = helper else { return };
    let number = rand::RngExt::random(&mut core.rng);
    check.asked.push(helper);
    check.open.insert(number, helper);
    core.counters.dial_backs_asked += 1;
    core.deliver(helper, DialBackRequest { number, node, addresses: check.addresses.clone() }, now);
}

/// Whether an asker that is seen at `seen_at` may have these addresses dialled: all are one IP
/// address, which is public, or as private as the asker's own. So nobody outside has this node
/// knock at what is inside its own network.
fn is_allowed(addresses: &[SocketAddr], seen_at: IpAddr) -> bool {
    let Some(first) = addresses.first().map(|address| address.ip().to_canonical()) else {
        return false;
    };
    addresses.iter().all(|address| address.ip().to_canonical() == first && address.port() != 0)
        && match reach_of(first) {
            Reach::Nowhere => false,
            Reach::Public => true,
            near => near == reach_of(seen_at.to_canonical()),
        }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nowhere,
    Machine,
    Site,
    Public,
}

fn reach_of(ip: IpAddr) -> Reach {
    let (nowhere, site) = match ip {
        IpAddr::V4(v4) => (
            v4.is_broadcast() || v4.is_documentation(),
            // 100.64.0.0/10 is shared by the customers of one provider (RFC 6598).
            v4.is_private()
                || v4.is_link_local()
                || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        ),
        IpAddr::V6(v6) => (false, v6.is_unique_local() || v6.is_unicast_link_local()),
    };
    if nowhere || ip.is_unspecified() || ip.is_multicast() {
        Reach::Nowhere
    } else if ip.is_loopback() {
        Reach::Machine
    } else if site {
        Reach::Site
    } else {
        Reach::Public
    }
}

/// Whether it is an address of the internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    matches!(reach_of(ip), Reach::Public)
}

/// What one owner usually has: a /24 of IPv4, a /48 of IPv6.
fn neighbourhood(ip: IpAddr) -> (IpAddr, u8) {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            (IpAddr::from([a, b, c, 0]), 24)
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            (IpAddr::from([a, b, c, 0, 0, 0, 0, 0]), 48)
        }
    }
}

/// Where a node that is seen at `seen_at` says that it listens, as far as that is its own address.
pub(crate) fn own_addresses(seen_at: IpAddr, listen: &[SocketAddr]) -> BoundedVec<SocketAddr, 2> {
    let seen_at = seen_at.to_canonical();
    let mut own: Vec<SocketAddr> = Vec::new();
    for address in listen {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if address.ip() == seen_at && address.port() != 0 && !own.contains(&address) {
            own.push(address);
        }
    }
    BoundedVec::truncated(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use skein_proto::{KeyPair, UnixTime};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn nobody_outside_has_inner_addresses_dialled() {
        let outside: IpAddr = "203.0.114.9".parse().expect("an address");
        let inside: IpAddr = "192.168.1.9".parse().expect("an address");
        let here: IpAddr = "127.0.0.1".parse().expect("an address");
        let inner = [
            "192.168.1.1:80",
            "10.0.0.1:1",
            "100.64.1.1:1",
            "169.254.169.254:80",
            "[fd00::1]:1",
            "[fe80::1]:1",
        ];
        for text in inner {
            let target = addresses(&[text]);
            assert!(!is_allowed(&target, outside) && !is_allowed(&target, here), "{text}");
            assert!(is_allowed(&target, inside), "{text}");
        }
        assert!(!is_allowed(&addresses(&["127.0.0.1:22"]), inside));
        assert!(is_allowed(&addresses(&["127.0.0.1:22"]), here));
        assert!(is_allowed(&addresses(&["8.8.8.8:4701"]), outside));
        for text in ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "[ff02::1]:1", "8.8.8.8:0"] {
            assert!(!is_allowed(&addresses(&[text]), outside), "{text}");
        }
    }

    #[test]
    fn where_everybody_is_linked_with_everybody_the_asker_dials_by_itself() {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
        let [node, helper] = [9, 2].map(|number| NodeId::from_bytes([number; 32]));
        let mut dial_backs = DialBacks::default();
        let check = Check {
            addresses: BoundedVec::truncated(addresses(&["127.0.0.1:4701"])),
            open: BTreeMap::from([(5, helper)]),
            asked: vec![helper],
            reached: 0,
            tried: 0,
            tried_itself: false,
            late: now.instant + OTHERS_FIRST,
            deadline: now.instant + PATIENCE,
        };
        dial_backs.checks.insert(node, check);
        let linked = DialBackReply { number: 5, outcome: DialBackOutcome::Linked };
        dial_backs.on_reply(&mut core, helper, &linked, now);
        assert!(matches!(core.outputs.pop_front(), Some(Output::DialBack { dial: 1, .. })));
        assert_eq!(dial_backs.take_findings(&mut core, now.instant), []);
        dial_backs.on_dialled(&mut core, 1, true, now);
        let found = Finding { node, reached: 1, tried: 1 };
        assert_eq!(dial_backs.take_findings(&mut core, now.instant), [found]);
    }

    /// A check for which three others were asked, whose answers are one after the other what `outcomes`
    /// says (`None` says nothing); with what this node's own dial comes to if it makes one, and with
    /// how long that took.
    fn checked(outcomes: [Option<DialBackOutcome>; 3], own: bool) -> (Finding, bool, Duration) {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        let now = Now { instant: Instant::START, unix: UnixTime(1_000) };
        let [node, helpers @ ..] = [9, 2, 3, 4].map(|number| NodeId::from_bytes([number; 32]));
        let check = Check {
            addresses: BoundedVec::truncated(addresses(&["127.0.0.1:4701"])),
            open: (0..).zip(helpers).collect(),
            asked: helpers.to_vec(),
            reached: 0,
            tried: 0,
            tried_itself: false,
            late: now.instant + OTHERS_FIRST,
            deadline: now.instant + PATIENCE,
        };
        let checks = BTreeMap::from([(node, check)]);
        let mut dial_backs = DialBacks { checks, ..DialBacks::default() };
        for (number, (helper, outcome)) in (0..).zip(helpers.into_iter().zip(outcomes)) {
            if let Some(outcome) = outcome {
                dial_backs.on_reply(&mut core, helper, &DialBackReply { number, outcome }, now);
            }
        }
        let (mut instant, mut dials) = (now.instant, false);
        loop {
            let mut findings = dial_backs.take_findings(&mut core, instant);
            if let Some(finding) = findings.pop() {
                return (finding, dials, instant.since(now.instant));
            }
            if let Some(Output::DialBack { dial, .. }) = core.outputs.pop_front() {
                dials = true;
                dial_backs.on_dialled(&mut core, dial, own, Now { instant, ..now });
            } else if let Some(next) = dial_backs.next_deadline(&core.me) {
                assert!(next > instant, "nothing is left to be done at once");
                instant = next;
            }
        }
    }

    #[test]
    fn one_of_the_others_alone_has_nobody_taken_for_reachable() {
        use DialBackOutcome::{Linked, Reached, Unreached};
        let node = NodeId::from_bytes([9; 32]);
        let found = |reached, tried| Finding { node, reached, tried };
        let (at_once, late) = (Duration::ZERO, OTHERS_FIRST);
        for (outcomes, own, expected) in [
            ([Some(Reached), Some(Linked), Some(Linked)], false, (found(1, 2), true, at_once)),
            ([Some(Reached), Some(Linked), Some(Linked)], true, (found(2, 2), true, at_once)),
            ([Some(Reached), Some(Unreached), Some(Linked)], true, (found(2, 3), true, at_once)),
            ([Some(Reached), None, None], false, (found(1, 2), true, PATIENCE)),
            ([Some(Reached), None, None], true, (found(2, 2), true, late)),
            ([None, None, None], true, (found(0, 0), true, PATIENCE)),
            ([Some(Linked), Some(Linked), Some(Linked)], true, (found(1, 1), true, at_once)),
            ([Some(Reached), Some(Reached), None], false, (found(2, 2), false, at_once)),
            ([Some(Unreached), None, Some(Unreached)], true, (found(0, 2), false, at_once)),
        ] {
            assert_eq!(checked(outcomes, own), expected, "{outcomes:?} {own}");
        }
    }

    #[test]
    fn one_request_names_one_host() {
        let outside: IpAddr = "203.0.114.9".parse().expect("an address");
        assert!(is_allowed(&addresses(&["8.8.8.8:1", "8.8.8.8:2"]), outside));
        assert!(!is_allowed(&addresses(&["8.8.8.8:1", "8.8.4.4:1"]), outside));
        assert!(!is_allowed(&[], outside));
        let mapped = addresses(&["[::ffff:192.168.1.1]:80"]);
        assert!(!is_allowed(&mapped, outside), "an IPv4 address in disguise is still private");
    }

    #[test]
    fn only_a_nodes_own_address_is_looked_at() {
        let listen = addresses(&["203.0.114.9:4701", "198.51.100.1:53", "203.0.114.9:4701"]);
        let own = own_addresses("203.0.114.9".parse().expect("an address"), &listen);
        assert_eq!(own.to_vec(), addresses(&["203.0.114.9:4701"]));
    }

    #[test]
    fn a_neighbourhood_is_what_one_owner_has() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("203.0.114.9"), of("203.0.114.200"));
        assert_ne!(of("203.0.114.9"), of("203.0.115.9"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::2"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
    }
}

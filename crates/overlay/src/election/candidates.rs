//! The children of a supernode that could become supernodes, and what is known of each.

use super::absent::Absent;
use super::dialback::{DialBacks, Finding, is_public, own_addresses};
use super::fitness::{Asked, Known, NEW_NAME, weigh};
use crate::core::Core;
use crate::counters::Counters;
use crate::io::Now;
use skein_proto::election::{Candidacy, Standing, Verdict};
use skein_proto::{Instant, NodeId, Username};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long it is believed that a node can be reached. A router that was changed in the meantime
/// is noticed by the check that the node asks for as a supernode.
pub(crate) const REACHED_KEPT: Duration = Duration::from_secs(4 * 60 * 60);

/// How long before that is over a node is looked for again, so that it stays ready: all candidates are
/// weighed once a minute, and a look takes some seconds.
const RENEWED: Duration = Duration::from_secs(2 * 60);

/// How long it is believed that a node cannot be reached: whoever has opened a port need not wait
/// for half a day, and what is behind a NAT costs three dials an hour.
const UNREACHED_KEPT: Duration = Duration::from_secs(60 * 60);

/// When a node is looked for again of which nothing was found out.
const UNKNOWN_KEPT: Duration = Duration::from_secs(2 * 60);

/// How long one that has declined is not asked again.
const DECLINED_KEPT: Duration = Duration::from_secs(30 * 60);

/// Candidates that are kept ready, their reachability proven: when 30 % of all supernodes die,
/// each of the others has to find one at once, and one may decline.
const RESERVE: usize = 2;

/// Candidates that are looked into at once when there is none ready and the need is urgent.
const URGENT_RESERVE: usize = 4;

/// The least time between two words to one candidate about how it stands.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Steps of the fill, in percent, that a candidate is told of.
const FILL_STEP: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unknown { until: Instant },
    Reached { until: Instant },
    Unreached { failed: u8, tried: u8, until: Instant },
}

#[derive(Debug)]
struct Candidate {
    claims: Candidacy,
    reach: Reach,
    declined_until: Instant,
    told: Option<(Standing, Instant)>,
}

/// What is asked of candidates at present, and how they are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard {
    /// For how long a candidate must have been seen.
    pub(crate) uptime: Duration,
    /// Children that a supernode holds on average.
    pub(crate) mean_capacity: f64,
    /// How full the supernodes are, in percent.
    pub(crate) fill_percent: u8,
    /// Whether there is no room left for a failure.
    pub(crate) is_urgent: bool,
}

/// The children that could become supernodes.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    all: BTreeMap<NodeId, Candidate>,
    /// Those who were invited and did not come, children or not.
    absent: Absent,
}

impl Candidates {
    /// A child says what it can do.
    pub(crate) fn on_candidacy(&mut self, child: NodeId, claims: Candidacy) {
        let candidate = self.all.entry(child).or_insert(Candidate {
            claims,
            reach: Reach::Unknown { until: Instant::START },
            declined_until: Instant::START,
            told: None,
        });
        candidate.claims = claims;
    }

    /// Whether this node wants to know how it stands.
    pub(crate) fn contains(&self, node: &NodeId) -> bool {
        self.all.contains_key(node)
    }

    /// Forgets those that are children no more.
    pub(crate) fn retain(&mut self, is_child: impl Fn(&NodeId) -> bool) {
        self.all.retain(|node, _| is_child(node));
    }

    /// It was found out whether a candidate can be reached.
    pub(crate) fn on_finding(&mut self, finding: &Finding, now: Instant) {
        let Some(candidate) = self.all.get_mut(&finding.node) else { return };
        candidate.reach = if finding.tried == 0 {
            Reach::Unknown { until: now + UNKNOWN_KEPT }
        } else if finding.reached * 2 > finding.tried {
            Reach::Reached { until: now + REACHED_KEPT }
        } else {
            let failed = finding.tried - finding.reached;
            Reach::Unreached { failed, tried: finding.tried, until: now + UNREACHED_KEPT }
        };
    }

    /// One that was invited does not want to.
    pub(crate) fn on_declined(&mut self, child: &NodeId, now: Instant) {
        if let Some(candidate) = self.all.get_mut(child) {
            candidate.declined_until = now + DECLINED_KEPT;
        }
    }

    /// One of this name that was invited has not become a supernode, and never said that it does not
    /// want to.
    pub(crate) fn on_absent(&mut self, counters: &mut Counters, name: Username, now: Instant) {
        counters.invitations_not_followed += 1;
        counters.absent_over_limit += u64::from(self.absent.note(name, now));
    }

    /// One of this name that was invited has become a supernode.
    pub(crate) fn on_came(&mut self, name: &Username) {
        self.absent.forgive(name);
    }

    /// Whether a candidate may be asked, as far as what it made of earlier invitations goes.
    fn may_be_asked(&self, core: &Core, node: &NodeId, now: Instant) -> bool {
        let name = core.peers.get(node).and_then(|peer| peer.name());
        self.all.get(node).is_some_and(|candidate| now >= candidate.declined_until)
            && !name.is_some_and(|name| self.absent.contains(name, now))
    }

    /// Weighs all candidates, finds out what is not known of the best, and tells each how it
    /// stands where that has changed.
    pub(crate) fn review(
        &mut self,
        core: &mut Core,
        dial_backs: &mut DialBacks,
        standard: &Standard,
        now: Now,
    ) {
        let weighed = self.weigh_all(core, standard, now);
        let mut places = if standard.is_urgent { URGENT_RESERVE } else { RESERVE };
        let mut fit: Vec<(u16, NodeId)> =
            weighed.iter().filter_map(|(node, outcome)| Some((outcome.ok()?, *node))).collect();
        fit.sort_unstable();
        for (_, node) in fit.into_iter().rev() {
            if places == 0 {
                break;
            }
            // Whoever is not asked must not keep the place of one who is.
            if !self.may_be_asked(core, &node, now.instant) {
                continue;
            }
            let Some(candidate) = self.all.get(&node) else { continue };
            let due = match candidate.reach {
                Reach::Unreached { .. } => continue,
                Reach::Unknown { until } => now.instant >= until,
                Reach::Reached { until } => now.instant + RENEWED >= until,
            };
            // Whoever cannot be looked at must not keep the place of one who can.
            if !due || dial_backs.is_checking(&node) || look_for(core, dial_backs, node, now) {
                places -= 1;
            }
        }
        for (node, outcome) in weighed {
            self.tell(core, node, outcome, standard, now);
        }
    }

    /// Every candidate with its fitness, or with what it lacks.
    fn weigh_all(
        &mut self,
        core: &Core,
        standard: &Standard,
        now: Now,
    ) -> Vec<(NodeId, Result<u16, Verdict>)> {
        for candidate in self.all.values_mut() {
            // What was found out long ago is neither held against anybody nor believed.
            if let Reach::Unreached { until, .. } | Reach::Reached { until } = candidate.reach
                && now.instant >= until
            {
                candidate.reach = Reach::Unknown { until: now.instant };
            }
        }
        let mut reputations: Vec<u16> = Vec::with_capacity(self.all.len());
        let mut seen = Vec::with_capacity(self.all.len());
        for (node, candidate) in &self.all {
            let Some(peer) = core.peers.get(node) else { continue };
            let Some(credential) = peer.valid_credential(now.unix) else { continue };
            let reputation = super::reputation(core, &credential.unverified().name);
            reputations.push(reputation);
            let claims = candidate.claims;
            let known = Known { claims, seen: now.instant.since(peer.since), reputation };
            seen.push((*node, known));
        }
        if seen.is_empty() {
            return Vec::new();
        }
        let middle = reputations.len() / 2;
        let median = *reputations.select_nth_unstable(middle).1;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates.
        let capacity = ((standard.mean_capacity / 4.0) as u32).max(1);
        let asked =
            Asked { uptime: standard.uptime, reputation: NEW_NAME.max(median / 2), capacity };
        seen.into_iter()
            .map(|(node, known)| (node, weigh(&known, &asked, median, standard.mean_capacity)))
            .collect()
    }

    /// The fittest that can be reached, has not declined lately and did not stay away.
    pub(crate) fn best(
        &mut self,
        core: &Core,
        standard: &Standard,
        now: Now,
    ) -> Option<(NodeId, u16)> {
        let weighed = self.weigh_all(core, standard, now);
        weighed
            .into_iter()
            .filter_map(|(node, outcome)| Some((outcome.ok()?, node)))
            .filter(|(_, node)| {
                self.may_be_asked(core, node, now.instant)
                    && self
                        .all
                        .get(node)
                        .is_some_and(|candidate| matches!(candidate.reach, Reach::Reached { .. }))
            })
            .max()
            .map(|(fitness, node)| (node, fitness))
    }

    /// How many are known to be reachable.
    pub(crate) fn ready(&self, now: Instant) -> usize {
        let ready = |candidate: &&Candidate| matches!(candidate.reach, Reach::Reached { until } if now < until);
        self.all.values().filter(ready).count()
    }

    fn tell(
        &mut self,
        core: &mut Core,
        node: NodeId,
        outcome: Result<u16, Verdict>,
        standard: &Standard,
        now: Now,
    ) {
        let Some(candidate) = self.all.get_mut(&node) else { return };
        let verdict = match (outcome, candidate.reach) {
            (Err(lacks), _) => lacks,
            (Ok(_), Reach::Unreached { failed, tried, .. }) => {
                Verdict::Unreachable { failed, tried }
            }
            (Ok(fitness), Reach::Reached { .. }) => Verdict::Ready { fitness },
            (Ok(_), Reach::Unknown { .. }) if standard.is_urgent => Verdict::Unproven,
            (Ok(_), Reach::Unknown { .. }) => Verdict::NotNeeded,
        };
        let standing = Standing { fill_percent: standard.fill_percent, verdict };
        let is_news = candidate.told.is_none_or(|(told, at)| {
            let other = std::mem::discriminant(&told.verdict) != std::mem::discriminant(&verdict)
                || told.fill_percent.abs_diff(standing.fill_percent) >= FILL_STEP;
            other && now.instant.since(at) >= TELL_EVERY
        });
        if is_news {
            candidate.told = Some((standing, now.instant));
            core.send(node, standing);
        }
    }
}

/// Starts to find out whether a linked node can be reached. Answers whether it did; not if the
/// node names no address that is its own.
pub(crate) fn look_for(
    core: &mut Core,
    dial_backs: &mut DialBacks,
    node: NodeId,
    now: Now,
) -> bool {
    let Some(peer) = core.peers.get(&node) else { return false };
    let listen = peer.hello.as_ref().map(|hello| hello.listen.clone()).unwrap_or_default();
    let mut seen_at = peer.address.ip().to_canonical();
    // Supernodes must be able to reach each other, and some have IPv4 alone: where there is IPv4, that
    // is what has to work, be the link over IPv6.
    let has_v4 = core.own_addresses().iter().any(SocketAddr::is_ipv4);
    if has_v4 && !seen_at.is_ipv4() {
        let v4 = listen.iter().map(|address| address.ip().to_canonical());
        let Some(named) = v4.into_iter().find(|ip| ip.is_ipv4() && is_public(*ip)) else {
            return false;
        };
        seen_at = named;
    }
    let addresses = own_addresses(seen_at, &listen);
    if addresses.is_empty() {
        return false;
    }
    dial_backs.check(core, node, addresses, now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::Config;
    use crate::io::Output;
    use crate::peers::{Greeting, Peer};
    use skein_proto::{KeyPair, Role, UnixTime};

    const NOW: Now = Now { instant: Instant::START, unix: UnixTime(1_000) };

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// What a supernode at `own` dials of a node that is linked at `at` and names these; nothing if
    /// it does not look.
    fn dialled(own: &str, at: &str, named: &[&str]) -> Vec<SocketAddr> {
        let key = KeyPair::from_seed(&[1; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        core.listen = vec![address(own)];
        let node = NodeId::from_bytes([9; 32]);
        let hello = Greeting {
            agent: String::new(),
            role: Role::Ordinary,
            credential: None,
            owner: None,
            listen: named.iter().map(|text| address(text)).collect(),
        };
        let (rtt, since) = (Duration::ZERO, NOW.instant);
        let peer = Peer { address: address(at), rtt, since, hello: Some(hello) };
        core.peers.insert(node, Box::new(peer));
        let looks = look_for(&mut core, &mut DialBacks::default(), node, NOW);
        let asked = core.outputs.pop_front();
        assert_eq!(looks, asked.is_some());
        match asked {
            Some(Output::DialBack { addresses, .. }) => addresses,
            other => {
                assert!(other.is_none(), "{other:?}");
                Vec::new()
            }
        }
    }

    #[test]
    fn where_there_is_ipv4_it_has_to_work_whatever_the_link_goes_over() {
        let (v4, v6) = ("198.18.0.9:4701", "[2001:db8::9]:4701");
        let judge = "198.18.0.1:4701";
        for (at, named, expected) in [
            ("198.18.0.9:1", vec![v4, v6], vec![v4]),
            ("[2001:db8::9]:1", vec![v6, v4], vec![v4]),
            ("[2001:db8::9]:1", vec![v6], vec![]),
            ("[2001:db8::9]:1", vec![v6, "10.0.0.9:4701", "127.0.0.1:22"], vec![]),
        ] {
            let expected: Vec<SocketAddr> = expected.into_iter().map(address).collect();
            assert_eq!(dialled(judge, at, &named), expected, "{at} {named:?}");
        }
        assert_eq!(dialled("[2001:db8::1]:4701", "[2001:db8::9]:1", &[v6]), [address(v6)]);
    }
}

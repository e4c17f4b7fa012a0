//! Finding supernodes to be a child of: asking some how they are, and ranking those that answer.

use super::moving::MUCH_BETTER;
use super::{Candidate, Join, Seeking};
use crate::core::Core;
use crate::io::{Now, Output};
use rand::RngExt;
use rand::seq::IndexedRandom;
use skein_proto::message::{Probe, ProbeReply, RoleSetting};
use skein_proto::{NodeId, Role};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Supernodes asked at once, as a FastTrack client did: enough to avoid a bad one, few enough not
/// to burden the network with handshakes.
const PROBES: usize = 5;

/// The same for a node that has lost its parent, and whatever standby it had: many do at once then. Of
/// three that are all dead it knows soon, and asks the next.
const LONE_PROBES: usize = 3;

/// The same for a standby: the better one of two is far from the worst, and whoever loses many ties at
/// once should not make others hear of it five times.
const STANDBY_PROBES: usize = 2;

/// Others that are asked how they are when a child looks for a better parent.
const COMPARED: usize = 2;

/// How long to wait for the answers of all: a handshake over the longest paths takes about 1 s.
const PROBE_PATIENCE: Duration = Duration::from_secs(4);

/// How long to wait for the others once the first has answered: whoever is slower than this is no
/// good parent anyway.
const STRAGGLER_PATIENCE: Duration = Duration::from_millis(400);

/// Pauses between attempts to find what is missing, jittered and doubled.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause while supernodes answer that they are full: others are being added, and whoever
/// waits costs them five short messages each time.
const CROWDED_PAUSE: Duration = Duration::from_secs(15);

/// After so many attempts without a parent the login service is asked, however many supernodes are
/// known: they may all be gone, or made up by somebody who wants this node for himself.
const ATTEMPTS_ALONE: u32 = 2;

/// A missing standby is not urgent: the pauses begin here.
pub(super) const STANDBY_PAUSE: Duration = Duration::from_secs(5);

impl Join {
    pub(super) fn seek(&mut self, core: &mut Core, now: Now) {
        let ties = [self.parent.map(|tie| tie.node), self.standby.map(|tie| tie.node)];
        let me = core.me;
        let alone = self.parent.is_none();
        let probes = match (alone || self.parent_silent, self.lost_children > 0) {
            (true, false) => PROBES,
            (true, true) => LONE_PROBES,
            (false, _) => STANDBY_PROBES,
        };
        let picked = core.known.pick(probes, now.instant, &mut core.rng, |node| {
            *node == me || ties.contains(&Some(*node))
        });
        if picked.is_empty()
            || (alone && (picked.len() < 2 || self.seek_failures >= ATTEMPTS_ALONE))
        {
            self.want_bootstrap(core, now);
        }
        if picked.is_empty() {
            self.pause(core, now);
            return;
        }
        self.probe(core, picked, false, now);
    }

    /// Looks whether there is a much better parent.
    pub(super) fn compare(&mut self, core: &mut Core, now: Now) {
        let (Some(parent), me) = (self.parent(), core.me) else { return };
        let mut picked = core
            .known
            .pick(COMPARED, now.instant, &mut core.rng, |node| *node == me || *node == parent);
        picked.push((parent, Vec::new()));
        self.probe(core, picked, true, now);
    }

    fn probe(
        &mut self,
        core: &mut Core,
        picked: Vec<(NodeId, Vec<SocketAddr>)>,
        compares: bool,
        now: Now,
    ) {
        let mut candidates = BTreeMap::new();
        for (node, addresses) in picked {
            let state = if core.peers.contains_key(&node) {
                core.send(node, Probe);
                Candidate::Probed { sent: now.instant }
            } else {
                core.dial(node, addresses);
                Candidate::Dialling
            };
            candidates.insert(node, state);
        }
        let deadline = now.instant + PROBE_PATIENCE;
        self.seeking = Some(Seeking { candidates, deadline, compares });
    }

    fn pause(&mut self, core: &mut Core, now: Now) {
        let is_urgent = self.parent.is_none() || self.parent_silent;
        let first = if is_urgent { FIRST_PAUSE } else { STANDBY_PAUSE };
        let crowded = self.parent.is_none() && self.is_crowded;
        let longest = if crowded { CROWDED_PAUSE } else { LONGEST_PAUSE };
        let pause = core.back_off(self.seek_failures, first, longest);
        self.seek_failures = self.seek_failures.saturating_add(1);
        self.next_seek = now.instant + pause;
    }

    fn want_bootstrap(&mut self, core: &mut Core, now: Now) {
        if self.bootstrap_asked || now.instant < self.next_bootstrap {
            return;
        }
        self.bootstrap_asked = true;
        let willing = core.config.role == RoleSetting::Auto;
        core.outputs.push_back(Output::WantBootstrap { willing });
    }

    pub(crate) fn on_probe_reply(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        reply: &ProbeReply,
        now: Now,
    ) {
        self.on_target_load(core, peer, reply.load);
        let Some(seeking) = &mut self.seeking else { return };
        let Some(candidate) = seeking.candidates.get_mut(&peer) else { return };
        let Candidate::Probed { sent } = *candidate else { return };
        if reply.role != Role::Super {
            core.known.forget(&peer);
            *candidate = Candidate::Useless;
            return;
        }
        // Only a credentialed node may be a supernode; its greeting came before this reply.
        let credentialed =
            core.peers.get(&peer).is_some_and(|peer| peer.valid_credential(now.unix).is_some());
        let is_parent = self.parent.is_some_and(|tie| tie.node == peer);
        if !credentialed {
            *candidate = Candidate::Useless;
            return;
        }
        if !reply.load.accepting && !is_parent {
            *candidate = Candidate::Full;
            return;
        }
        let cost = cost(now.instant.since(sent), reply.load.percent());
        *candidate = Candidate::Ranked { cost, children: reply.load.children };
        seeking.deadline = seeking.deadline.min(now.instant + STRAGGLER_PATIENCE);
    }

    pub(super) fn rank(&mut self, core: &mut Core, now: Now) {
        let Some(seeking) = self.seeking.take() else { return };
        let compares = seeking.compares;
        let (mut ranked, mut full) = (Vec::new(), Vec::new());
        for (node, candidate) in seeking.candidates {
            match candidate {
                Candidate::Ranked { cost, children } => ranked.push((cost, node, children)),
                Candidate::Dialling | Candidate::Probed { .. } => {
                    core.known.failed(&node, now.instant);
                }
                Candidate::Full => full.push((node, 0)),
                Candidate::Useless => {}
            }
        }
        ranked.sort_unstable();
        if compares {
            self.judge(core, &ranked, now);
            return;
        }
        self.ranked = ranked.into_iter().map(|(_, node, children)| (node, children)).collect();
        self.is_crowded = self.ranked.is_empty() && !full.is_empty();
        if self.is_crowded && self.parent.is_none() {
            // It will be refused, and so be counted among those for whom there is no room.
            self.ranked.extend(full.choose(&mut core.rng).copied());
        }
        // What was found may still refuse; the pause ends what would else be a busy loop.
        self.pause(core, now);
    }

    /// Moves if another parent is much better, by a coin: of many children of one that is full,
    /// not all shall go, since each makes it emptier for the rest.
    fn judge(&mut self, core: &mut Core, ranked: &[(u64, NodeId, u32)], now: Now) {
        let Some(parent) = self.parent() else { return };
        let present = ranked.iter().find(|(_, node, _)| *node == parent);
        let best = ranked.iter().find(|(_, node, _)| *node != parent);
        if let (Some((cost, ..)), Some((other, node, children))) = (present, best)
            && other.saturating_mul(MUCH_BETTER) <= *cost
            && core.rng.random::<bool>()
        {
            self.move_to(core, (*node, Vec::new()), (*children, None), now);
        }
    }
}

/// The cost of a parent: its round trip, made up to four times longer by its load. A millisecond
/// is added to the round trip, so that in one LAN the load alone decides.
fn cost(round_trip: Duration, load_percent: u8) -> u64 {
    let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).saturating_add(1_000);
    micros.saturating_mul(100 + 3 * u64::from(load_percent.min(100))) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_parent_beats_a_far_one_until_it_is_much_fuller() {
        let near = Duration::from_millis(10);
        let far = Duration::from_millis(30);
        assert!(cost(near, 50) < cost(far, 0));
        assert!(cost(near, 100) > cost(far, 0));
        assert!(cost(Duration::from_micros(300), 10) < cost(Duration::from_micros(100), 50));
    }
}

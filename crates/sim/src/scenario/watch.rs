//! Looks at the network from time to time: who is what, who can be found, who carries how much.

use super::asked::quantile;
use crate::Network;
use crate::physics::Traffic;
use serde::Serialize;
use skein_proto::Role;

/// What a keep-alive of the transport costs in a second over one link, both ways: a packet with a
/// PING and one with its ACK, some 60 bytes each, every four seconds.
const KEEP_ALIVE_BYTES: f64 = 30.0;

/// How the network is doing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Whether this lies in what is measured.
    pub measured: bool,
    /// Nodes that run.
    pub alive: u32,
    /// Nodes that run and can be found: their parent runs, and holds all that they share.
    pub searchable: u32,
    /// Supernodes that run.
    pub supernodes: u32,
    /// Children of the fullest supernode.
    pub children_most: u32,
    /// Children of a supernode on average.
    pub children_mean: f64,
    /// Messages that all nodes sent since the last sample.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Messages in and out in a second, of the busiest supernode.
    pub busiest: f64,
    /// Messages in and out in a second, of a supernode on average.
    pub busy_mean: f64,
    /// Searches that were begun since the last sample, for something that was there, and whose asker
    /// stayed.
    pub searches: u32,
    /// Their mean recall.
    pub recall: Option<f64>,
}

/// Bytes on the wire in a second, headers and keep-alives of the transport included, in and out,
/// of nodes of one role.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rates {
    /// On average.
    pub mean: f64,
    /// The median node.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// Bytes of the messages alone, on average.
    pub messages_mean: f64,
}

/// Keeps what was seen last, to tell what has changed.
#[derive(Default)]
pub(super) struct Watch {
    last: Vec<(u32, Role, Traffic)>,
    last_at: f64,
    /// Bytes of the wire and of messages, and seconds, by node; for each role.
    spent: [Vec<(f64, f64, f64)>; 2],
}

impl Watch {
    /// Takes a sample. `measured`: whether rates count from the last one on.
    pub(super) fn sample(&mut self, network: &Network, at: f64, measured: bool) -> Sample {
        let mut sample = Sample { at, measured, ..Sample::default() };
        let seconds = at - self.last_at;
        let (mut children, mut busy) = (0_u64, 0.0);
        self.last.resize(network.len(), (u32::MAX, Role::Ordinary, Traffic::default()));
        for list in &mut self.spent {
            list.resize(network.len(), (0.0, 0.0, 0.0));
        }
        for node in 0..network.len() as u32 {
            let life = network.life(node);
            let traffic = network.traffic_of(node);
            let (last_life, last_role, last_traffic) = self.last[node as usize];
            let new = traffic.since(&last_traffic);
            sample.messages += new.messages_out;
            sample.bytes += new.bytes_out;
            let overlay = network.overlay_of(node).filter(|_| network.is_alive(node));
            let Some(overlay) = overlay else {
                self.last[node as usize] = (u32::MAX, Role::Ordinary, traffic);
                continue;
            };
            let role = overlay.role();
            self.last[node as usize] = (life, role, traffic);
            sample.alive += 1;
            // A parent that is dead holds nothing, even while its child does not know of it.
            let parent_lives = overlay.parent().is_none_or(|parent| {
                network.number(&parent).is_some_and(|parent| network.is_alive(parent))
            });
            sample.searchable += u32::from(overlay.is_searchable() && parent_lives);
            let same = last_life == life && last_role == role && seconds > 0.0;
            if role == Role::Super {
                sample.supernodes += 1;
                sample.children_most = sample.children_most.max(overlay.children());
                children += u64::from(overlay.children());
                if same {
                    let rate = (new.messages_in + new.messages_out) as f64 / seconds;
                    sample.busiest = sample.busiest.max(rate);
                    busy += rate;
                }
            }
            if same && measured {
                let links = network.links_of(node) as f64;
                let spent = &mut self.spent[usize::from(role == Role::Super)][node as usize];
                spent.0 += new.wire_bytes() as f64 + links * KEEP_ALIVE_BYTES * seconds;
                spent.1 += (new.bytes_in + new.bytes_out) as f64;
                spent.2 += seconds;
            }
        }
        let supernodes = f64::from(sample.supernodes.max(1));
        sample.children_mean = children as f64 / supernodes;
        sample.busy_mean = busy / supernodes;
        self.last_at = at;
        sample
    }

    /// What nodes of a role sent and received in a second while it was measured.
    pub(super) fn rates(&self, role: Role) -> Rates {
        let spent = &self.spent[usize::from(role == Role::Super)];
        let mut rates: Vec<f64> = spent.iter().filter(|s| s.2 > 0.0).map(|s| s.0 / s.2).collect();
        let seconds: f64 = spent.iter().map(|s| s.2).sum::<f64>().max(1.0);
        Rates {
            mean: spent.iter().map(|s| s.0).sum::<f64>() / seconds,
            median: quantile(&mut rates, 0.5).unwrap_or_default(),
            p99: quantile(&mut rates, 0.99).unwrap_or_default(),
            messages_mean: spent.iter().map(|s| s.1).sum::<f64>() / seconds,
        }
    }
}

//! Who takes part: access lines and NATs.

use super::{SettingError, check};
use crate::physics::Line;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// What stands between a node and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Nothing: everybody can reach it.
    Open,
    /// A NAT that keeps one port for all peers, so that holes can be punched.
    Cone,
    /// A NAT that takes another port for each peer.
    Symmetric,
}

/// How bytes get from one node to another, the best way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// One of them dials the other.
    Dialled,
    /// Both punch a hole.
    Punched,
    /// Over a relay.
    Relayed,
}

impl Nat {
    /// The way to a node behind another NAT. The port of a symmetric one towards a peer cannot be
    /// foretold, and most other NATs let nothing in from a port that was not asked: so no hole is
    /// counted on where one end is symmetric and the other behind a NAT.
    pub fn way_to(self, other: Self) -> Way {
        match (self, other) {
            (Self::Open, _) | (_, Self::Open) => Way::Dialled,
            (Self::Cone, Self::Cone) => Way::Punched,
            (Self::Symmetric, _) | (_, Self::Symmetric) => Way::Relayed,
        }
    }
}

/// How a node is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// What stands in front of it.
    pub nat: Nat,
    /// Bits per second towards it, in thousands.
    pub down_kbps: u32,
    /// Bits per second from it, in thousands.
    pub up_kbps: u32,
}

/// A kind of access line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLine {
    /// How common it is, in relation to the others.
    pub weight: f64,
    /// Bits per second towards the node, in thousands.
    pub down_kbps: u32,
    /// Bits per second from the node, in thousands.
    pub up_kbps: u32,
}

/// Shares of NATs and lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The share of nodes behind a NAT, 0 to 1; measured were 0.3 to 0.8.
    pub behind_nat: f64,
    /// The share of symmetric NATs among them, 0 to 1; measured were 0.1 to 0.2.
    pub symmetric: f64,
    /// The kinds of lines.
    pub lines: Vec<AccessLine>,
}

impl Default for Settings {
    /// 60 % behind NAT, 15 % of those symmetric; lines of 1 to 1,000 Mbit/s, the slower ones with
    /// a tenth of it towards the network, the fastest with all of it.
    fn default() -> Self {
        let line = |weight, down_kbps, up_kbps| AccessLine { weight, down_kbps, up_kbps };
        Self {
            behind_nat: 0.6,
            symmetric: 0.15,
            lines: vec![
                line(0.05, 1_000, 100),
                line(0.15, 5_000, 500),
                line(0.30, 20_000, 2_000),
                line(0.35, 100_000, 20_000),
                line(0.15, 1_000_000, 1_000_000),
            ],
        }
    }
}

/// How all nodes are connected.
#[derive(Clone, Debug)]
pub struct Population {
    hosts: Vec<Host>,
}

impl Population {
    /// Draws a line and a NAT for each node, independently of each other.
    pub(super) fn new(
        settings: &Settings,
        nodes: u32,
        rng: &mut impl Rng,
    ) -> Result<Self, SettingError> {
        let share = 0.0..=1.0;
        check(share.contains(&settings.behind_nat), "population.behind_nat", "0 to 1")?;
        check(share.contains(&settings.symmetric), "population.symmetric", "0 to 1")?;
        let weights: f64 = settings.lines.iter().map(|line| line.weight).sum();
        let positive = settings.lines.iter().all(|line| line.weight >= 0.0) && weights > 0.0;
        check(positive, "population.lines", "weights of 0 or more, not all 0")?;
        let hosts =
            (0..nodes)
                .map(|_| {
                    let mut drawn = rng.random::<f64>() * weights;
                    let line = settings.lines.iter().find(|line| {
                        drawn -= line.weight;
                        drawn < 0.0
                    });
                    let line = line.or(settings.lines.last());
                    let nat =
                        match (rng.random::<f64>(), rng.random::<f64>()) {
                            (nat, kind) if nat < settings.behind_nat => {
                                if kind < settings.symmetric { Nat::Symmetric } else { Nat::Cone }
                            }
                            _ => Nat::Open,
                        };
                    let (down_kbps, up_kbps) =
                        line.map_or((0, 0), |line| (line.down_kbps, line.up_kbps));
                    Host { nat, down_kbps, up_kbps }
                })
                .collect();
        Ok(Self { hosts })
    }

    /// How a node is connected. Numbers beyond the last node start from the first again, so that a
    /// node that comes later has a line, too.
    pub fn host(&self, node: u32) -> Host {
        self.hosts[node as usize % self.hosts.len()]
    }

    /// What the wires are told of it.
    pub fn line(&self, node: u32) -> Line {
        let host = self.host(node);
        Line {
            down_bps: u64::from(host.down_kbps) * 1_000,
            up_bps: u64::from(host.up_kbps) * 1_000,
            behind_nat: host.nat != Nat::Open,
            ..Line::default()
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.hosts.capacity() * size_of::<Host>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn shares_are_those_of_the_settings() {
        let settings = Settings::default();
        let mut rng = StdRng::seed_from_u64(1);
        let population = Population::new(&settings, 20_000, &mut rng).unwrap();
        let share = |which: &dyn Fn(&Host) -> bool| {
            (0..20_000).filter(|node| which(&population.host(*node))).count() as f64 / 20_000.0
        };
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.015;
        assert!(near(share(&|host| host.nat != Nat::Open), 0.6));
        assert!(near(share(&|host| host.nat == Nat::Symmetric), 0.6 * 0.15));
        assert!(near(share(&|host| host.down_kbps == 100_000), 0.35));
        assert!(near(share(&|host| host.down_kbps == 1_000), 0.05));
    }
}

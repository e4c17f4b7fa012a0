//! Hostile peers that send anything, in any order, at any time.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{SEED, key, roomy, seconds, words};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use skein_overlay::Input;
use skein_overlay::known::MAX_KNOWN;
use skein_proto::message::{
    Attach, AttachReply, Bond, Link, LinkReply, LoadUpdate, ProbeReply, Role, RoleSetting,
};
use skein_proto::query::HitGroup;
use skein_proto::testing::{any_message, any_supernode_entry};
use skein_proto::{BoundedVec, KeyPair, Message, NodeId, QueryId, SupernodeEntry};
use skein_sim::population::file;
use skein_sim::{Network, Settings};
use std::time::Duration;

const MAX_CHILDREN: u32 = 2;
const MAX_NEIGHBOURS: usize = 4;

/// Neighbours over the limit that are taken when they ask.
const COURTESY_PLACES: u32 = 10;

/// More than any input may make an overlay do that has a handful of peers.
const MOST_OUTPUTS: usize = 40;

/// Times that a node may wake up in a second when it has nothing to do but to look for others.
const MOST_WAKEUPS: u64 = 10;

const PUPPETS: usize = 7;

/// What a hostile peer does. A puppet and a victim are named by their numbers.
#[derive(Clone, Debug)]
enum Deed {
    Dial,
    HangUp,
    Greet {
        role: Role,
        member: bool,
    },
    /// Any message as it was drawn; or, when it is `apt`, made to fit what is under way.
    Say {
        message: Box<Message>,
        apt: bool,
    },
    /// Comes as a member and asks for a bond, or to be a neighbour.
    Befriend {
        role: Role,
        bond: Bond,
    },
    /// Says yes to all that it is asked for a while.
    Agree,
    /// The victim is told of supernodes, the puppet among them.
    Introduce(Vec<SupernodeEntry>),
    /// The victim's user searches.
    Search,
    SetRole(RoleSetting),
    /// The victim's credential is renewed.
    Renew,
    Wait(Duration),
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Super), Just(Role::Ordinary)]
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let wait = prop_oneof![0_u64..200, 0_u64..10_000, 0_u64..100_000];
    prop_oneof![
        3 => Just(Deed::Dial),
        1 => Just(Deed::HangUp),
        2 => (any_role(), any::<bool>()).prop_map(|(role, member)| Deed::Greet { role, member }),
        12 => (any_message(), any::<bool>())
            .prop_map(|(message, apt)| Deed::Say { message: Box::new(message), apt }),
        3 => (any_role(), prop_oneof![Just(Bond::Active), Just(Bond::Standby)])
            .prop_map(|(role, bond)| Deed::Befriend { role, bond }),
        5 => Just(Deed::Agree),
        1 => proptest::collection::vec(any_supernode_entry(), 0..5).prop_map(Deed::Introduce),
        2 => Just(Deed::Search),
        1 => prop_oneof![
            Just(RoleSetting::Super), Just(RoleSetting::Ordinary), Just(RoleSetting::Auto)
        ].prop_map(Deed::SetRole),
        1 => Just(Deed::Renew),
        4 => wait.prop_map(|millis| Deed::Wait(Duration::from_millis(millis))),
    ]
}

struct Stage {
    network: Network,
    victims: [NodeId; 2],
    puppets: Vec<(KeyPair, NodeId)>,
    /// The queries that the puppets have heard of.
    heard: Vec<QueryId>,
    sequence: u64,
}

impl Stage {
    fn new() -> Self {
        let mut network = Network::new(Settings {
            seed: SEED,
            max_children: MAX_CHILDREN,
            max_neighbours: MAX_NEIGHBOURS,
            ..Settings::default()
        });
        let supernode = network.add_node(RoleSetting::Super, vec![file("own/thing.txt")]);
        let ordinary = network.add_node(RoleSetting::Ordinary, vec![file("my/thing.txt")]);
        assert!(network.run_until_all(&[ordinary], seconds(20)));
        // The keys that the strategies draw from, so that messages speak of the puppets too.
        let keys = (0..8_u8).map(key).take(PUPPETS);
        let puppets = keys.map(|key| (key.clone(), network.add_puppet(&key))).collect();
        Self { network, victims: [supernode, ordinary], puppets, heard: Vec::new(), sequence: 1 }
    }

    fn act(&mut self, puppet: usize, victim: usize, deed: Deed) {
        let (key, puppet) = self.puppets[puppet].clone();
        let victim = self.victims[victim];
        match deed {
            Deed::Dial => {
                self.network.dial_as(puppet, victim);
                self.network.run_for(seconds(1));
            }
            Deed::HangUp => self.network.hang_up_as(puppet, victim),
            Deed::Greet { role, member } => {
                let credential = member.then(|| self.network.honest_credential(&key, 900));
                let hello = Network::greeting(role, credential);
                self.network.say_later(puppet, victim, hello);
            }
            Deed::Say { mut message, apt } => {
                if apt {
                    if !self.network.linked(puppet, victim) {
                        self.befriend(&key, victim, Role::Super);
                    }
                    self.make_apt(&key, &mut message);
                }
                self.network.say_later(puppet, victim, *message);
            }
            Deed::Befriend { role, bond } => {
                self.befriend(&key, victim, role);
                match role {
                    Role::Super => {
                        self.network.say_later(puppet, victim, Link { load: roomy() });
                    }
                    Role::Ordinary => {
                        self.sequence = 1;
                        self.network.say_later(puppet, victim, Attach { bond });
                    }
                }
            }
            Deed::Agree => {
                for _ in 0..10 {
                    self.network.run_for(Duration::from_millis(300));
                    self.agree(&key, puppet);
                }
            }
            Deed::Introduce(mut entries) => {
                entries.extend(self.network.entry(puppet));
                self.network.feed(victim, Input::Bootstrap { entries, invited: false });
            }
            Deed::Search => {
                self.network.start_search(victim, "thing", 5);
            }
            Deed::SetRole(role) => self.network.feed(victim, Input::SetRole(role)),
            Deed::Renew => {
                let login = self.network.login_key();
                let credential = self.network.credential(&victim, 950, &login);
                self.network.feed(victim, Input::Credential(credential));
            }
            Deed::Wait(time) => self.network.run_for(time),
        }
    }

    fn apt_hits(&self, key: &KeyPair, groups: &[HitGroup]) -> BoundedVec<HitGroup, 64> {
        let mut groups = groups.to_vec();
        for (number, group) in groups.iter_mut().enumerate() {
            if number != 1 {
                group.owner.node = key.node_id();
                group.owner.credential = self.network.honest_credential(key, 900);
            }
            group.files = BoundedVec::truncated([file("their/thing.txt")]);
        }
        BoundedVec::truncated(groups)
    }

    fn make_apt(&mut self, key: &KeyPair, message: &mut Message) {
        let id = self.heard.last().copied().unwrap_or(QueryId::from_bytes([7; 16]));
        match message {
            Message::Hits(hits) => {
                hits.id = id;
                hits.groups = self.apt_hits(key, &hits.groups);
            }
            Message::SearchDone(done) => {
                done.id = id;
                done.groups = self.apt_hits(key, &done.groups);
            }
            Message::CancelSearch(cancel) => cancel.id = id,
            Message::Search(search) => search.query = words("thing"),
            Message::Flood(flood) => flood.query = words("thing").into(),
            Message::PublishAck(ack) => ack.sequence %= 8,
            Message::Publish(publish) => {
                publish.sequence = self.sequence;
                self.sequence += 1;
            }
            Message::Attach(_) => self.sequence = 1,
            Message::Hello(hello) => {
                hello.credential = Some(self.network.honest_credential(key, 900));
            }
            Message::LoginRequest(_)
            | Message::LoginReply(_)
            | Message::FetchRequest(_)
            | Message::FetchReply(_) => *message = LoadUpdate { load: roomy() }.into(),
            _ => {}
        }
    }

    fn befriend(&mut self, key: &KeyPair, victim: NodeId, role: Role) {
        self.network.dial_as(key.node_id(), victim);
        self.network.run_for(seconds(1));
        let credential = self.network.honest_credential(key, 900);
        let hello = Network::greeting(role, Some(credential));
        self.network.say_later(key.node_id(), victim, hello);
    }

    fn agree(&mut self, key: &KeyPair, puppet: NodeId) {
        for (peer, message) in self.network.heard(puppet) {
            let others = BoundedVec::default();
            let reply: Message = match message {
                Message::Probe(_) => ProbeReply { role: Role::Super, load: roomy() }.into(),
                Message::Attach(attach) => AttachReply { outcome: Ok(attach.bond), others }.into(),
                Message::Link(_) => LinkReply { outcome: Ok(roomy()), others }.into(),
                Message::Search(search) => {
                    self.heard.push(search.id);
                    continue;
                }
                Message::Flood(flood) => {
                    self.heard.push(flood.id);
                    continue;
                }
                Message::Hello(_) => {
                    let credential = self.network.honest_credential(key, 900);
                    Network::greeting(Role::Super, Some(credential)).into()
                }
                _ => continue,
            };
            self.network.say_later(puppet, peer, reply);
        }
    }

    fn check_bounds(&self) {
        let network = &self.network;
        assert_eq!(
            network.tally.overdue_wakeups, 0,
            "what is due is done, and no wake-up is overdue"
        );
        assert!(
            network.tally.most_outputs <= MOST_OUTPUTS,
            "{} outputs",
            network.tally.most_outputs
        );
        for victim in self.victims {
            let snapshot = network.snapshot(victim).unwrap();
            assert!(snapshot.supernodes_known <= MAX_KNOWN);
            let Some(supernode) = snapshot.supernode else { continue };
            assert!(supernode.children <= MAX_CHILDREN * 3 / 2, "{supernode:?}");
            assert!(supernode.standbys <= MAX_CHILDREN * 2, "{supernode:?}");
            let most = u32::try_from(MAX_NEIGHBOURS).unwrap() + COURTESY_PLACES;
            assert!(supernode.neighbours <= most, "{supernode:?}");
        }
    }

    /// The puppets are gone: all is as it should be.
    fn check_recovery(mut self) {
        for (_, puppet) in self.puppets.clone() {
            for victim in self.victims {
                self.network.hang_up_as(puppet, victim);
            }
            self.network.kill(puppet);
        }
        let [supernode, ordinary] = self.victims;
        self.network.feed(supernode, Input::SetRole(RoleSetting::Super));
        self.network.feed(ordinary, Input::SetRole(RoleSetting::Ordinary));
        let newcomer =
            self.network.add_node(RoleSetting::Ordinary, vec![file("honest/newcomer.txt")]);
        // Whoever has found nobody for long asks once in two minutes.
        let served = self.network.run_until_all(&[newcomer, ordinary], seconds(600));
        assert!(served, "{:#?}", self.network.snapshot(ordinary));
        let outcome = self.network.search(ordinary, "newcomer", 5);
        assert_eq!(outcome.contents().len(), 1, "{:?}", outcome.coverage);
        let before = self.network.tally.wakeups;
        self.network.run_for(seconds(60));
        let wakeups = self.network.tally.wakeups - before;
        assert!(wakeups <= 3 * 60 * MOST_WAKEUPS, "{wakeups} wake-ups in a quiet minute");
        self.check_bounds();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..ProptestConfig::default()
    })]

    #[test]
    fn hostile_peers_break_neither_a_supernode_nor_an_ordinary_node(
        deeds in proptest::collection::vec((0..PUPPETS, 0..2_usize, any_deed()), 40..160),
    ) {
        let mut stage = Stage::new();
        for (puppet, victim, deed) in deeds {
            stage.act(puppet, victim, deed);
            stage.check_bounds();
        }
        stage.check_recovery();
    }
}

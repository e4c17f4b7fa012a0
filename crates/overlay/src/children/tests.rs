#![allow(clippy::expect_used)]
use super::*;
use crate::config::Config;
use crate::peers::{Greeting, Peer};
use skein_proto::message::RoleSetting;
use skein_proto::{Credential, KeyPair, Signed};
use std::net::SocketAddr;
use std::time::Duration;

const NOW: Now = Now { instant: Instant::START, unix: UnixTime(1_000) };

struct Supernode {
    core: Core,
    children: Children,
}

impl Supernode {
    fn new(max_children: u32) -> Self {
        let key = KeyPair::from_seed(&[9; 32]);
        let mut core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        core.config.role = RoleSetting::Super;
        core.config.max_children = max_children;
        core.role = Role::Super;
        let children = Children::new(&core);
        Self { core, children }
    }

    /// A linked node with a credential.
    fn peer(&mut self, number: u16) -> NodeId {
        let mut id = [0x33; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let node = NodeId::from_bytes(id);
        let name = Username::parse(&format!("user{number}")).expect("a name");
        let (issued, expires) = (UnixTime(0), UnixTime(1 << 30));
        let credential = Credential { name, node, issued, expires, registered: issued };
        let hello = Greeting {
            agent: String::new(),
            role: Role::Ordinary,
            credential: Some(Signed::new(credential, &KeyPair::from_seed(&[1; 32]))),
            owner: None,
            listen: Vec::new(),
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let (rtt, since) = (Duration::ZERO, NOW.instant);
        self.core.peers.insert(node, Box::new(Peer { address, rtt, since, hello: Some(hello) }));
        node
    }

    fn attach(&mut self, node: NodeId, bond: Bond) -> Result<Bond, Refusal> {
        self.children.take(&self.core, node, bond, NOW)
    }
}

#[test]
fn standbys_become_children_no_faster_than_newcomers_do() {
    let mut it = Supernode::new(1_000);
    let standbys: Vec<NodeId> = (0..400).map(|number| it.peer(number)).collect();
    for node in &standbys {
        assert_eq!(it.attach(*node, Bond::Standby), Ok(Bond::Standby));
    }
    let taken = standbys.iter().filter(|node| it.attach(**node, Bond::Active).is_ok()).count();
    assert_eq!(taken as u64, ARRIVALS.1);
    assert_eq!(it.children.standbys(), 200, "the others are standbys as before");
    let late = standbys.last().copied().expect("some");
    assert_eq!(it.attach(late, Bond::Active), Err(Refusal::TooFast));
}

#[test]
fn whoever_takes_no_new_children_takes_its_standbys_no_more_either() {
    let mut it = Supernode::new(10);
    let (standby, child) = (it.peer(1), it.peer(2));
    assert!(it.attach(standby, Bond::Standby).is_ok() && it.attach(child, Bond::Active).is_ok());
    it.children.set_open(false);
    assert_eq!(it.attach(standby, Bond::Active), Err(Refusal::Full));
    assert_eq!(it.attach(child, Bond::Active), Ok(Bond::Active), "it is one already");
    it.children.set_open(true);
    assert_eq!(it.attach(standby, Bond::Active), Ok(Bond::Active));
}

#[test]
fn whoever_has_a_full_index_takes_no_newcomers_and_keeps_those_it_has() {
    let mut it = Supernode::new(10);
    let (child, standby, newcomer) = (it.peer(1), it.peer(2), it.peer(3));
    assert!(it.attach(child, Bond::Active).is_ok() && it.attach(standby, Bond::Standby).is_ok());
    it.children.index.limit_to(1);
    assert_eq!(it.attach(newcomer, Bond::Active), Err(Refusal::Full));
    assert_eq!(it.attach(newcomer, Bond::Standby), Ok(Bond::Standby), "that takes no records");
    assert_eq!(it.attach(child, Bond::Active), Ok(Bond::Active), "it is one already");
    assert_eq!(it.attach(standby, Bond::Active), Ok(Bond::Active), "its parent has died");
    it.children.index.limit_to(1 << 30);
    let other = it.peer(4);
    assert_eq!(it.attach(other, Bond::Active), Ok(Bond::Active));
}

#[test]
fn newcomers_are_taken_whatever_the_index_has_room_for_while_many_have_died() {
    let mut it = Supernode::new(10);
    let (child, newcomer) = (it.peer(1), it.peer(2));
    assert!(it.attach(child, Bond::Active).is_ok());
    it.children.index.limit_to(1);
    assert_eq!(it.attach(newcomer, Bond::Active), Err(Refusal::Full));
    it.core.membership.count_death(NOW.instant);
    it.core.membership.count_death(NOW.instant);
    assert_eq!(it.attach(newcomer, Bond::Active), Ok(Bond::Active));
}

#[test]
fn a_full_index_makes_a_supernode_full_however_few_children_it_has() {
    let mut it = Supernode::new(10);
    let child = it.peer(1);
    assert!(it.attach(child, Bond::Active).is_ok());
    let load = it.children.load(&it.core, 0);
    assert_eq!((load.children, load.capacity, load.accepting), (1, 10, true));
    it.children.index.limit_to(1);
    let load = it.children.load(&it.core, 0);
    assert_eq!((load.children, load.capacity, load.accepting), (1, 1, false));
}

#[test]
fn for_how_many_there_is_room_does_not_depend_on_whether_it_was_looked_at_whose_records_they_are() {
    for most in [1, 10, 150] {
        for held in [0, 1, 9, 10, 149, 150, 200] {
            let filled = |step: u32| f64::from(step) / 100.0;
            let shortcut =
                (0..=120).map(filled).filter(|it| it * f64::from(most) <= f64::from(held));
            for (filled, own) in
                shortcut.flat_map(|filled| [0.0, 0.3, 1.0].map(|own| (filled, own)))
            {
                assert_eq!(room::capacity(most, held, filled, own), most, "{held}, {filled}");
            }
        }
    }
}

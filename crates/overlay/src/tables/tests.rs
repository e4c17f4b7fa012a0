#![allow(clippy::expect_used)]
use super::*;
use crate::config::Config;
use crate::io::Output;
use skein_index::Limits;
use skein_proto::{ContentId, FileMeta, FilePath, KeyPair, Kind, Message, UnixTime, Username};

const OWNER: NodeId = NodeId::from_bytes([1; 32]);
const NEIGHBOUR: NodeId = NodeId::from_bytes([2; 32]);

struct Supernode {
    core: Core,
    index: Index,
    tables: Tables,
    nodes: u32,
}

impl Supernode {
    fn new() -> Self {
        let key = KeyPair::from_seed(&[9; 32]);
        let core = Core::new(key.clone(), Config::new(key.node_id()), [0; 32]);
        let mut index = Index::new(Limits::default());
        index.set_owner(OWNER, &Username::parse("owner").expect("a name"));
        let mut it = Self { core, index, tables: Tables::new(Instant::START), nodes: 1 };
        it.tables.on_linked(&mut it.core, &mut it.index, NEIGHBOUR, Instant::START);
        it.core.outputs.clear();
        it
    }

    fn publish(&mut self, name: &str) {
        let file = FileMeta {
            content: ContentId::from_bytes(*blake3::hash(name.as_bytes()).as_bytes()),
            size: 1,
            kind: Kind::Audio,
            path: FilePath::new(name).expect("a path"),
            tags: None,
        };
        self.index.publish(&OWNER, [file]);
    }

    /// How many updates go to the neighbour so long after the start.
    fn told_at(&mut self, millis: u64) -> usize {
        let instant = Instant::START + Duration::from_millis(millis);
        let now = Now { instant, unix: UnixTime(0) };
        let to = [NEIGHBOUR].into_iter();
        self.tables.touch(instant);
        self.tables.step(&mut self.core, &mut self.index, self.nodes, to, now);
        let is_update = |output: &Output| {
            matches!(output, Output::Send { message, .. }
                if matches!(**message, Message::TableUpdate(_)))
        };
        self.core.outputs.drain(..).filter(is_update).count()
    }
}

#[test]
fn the_first_words_after_a_pause_are_told_at_once_and_those_behind_them_together() {
    let mut it = Supernode::new();
    it.publish("some song.ogg");
    assert_eq!(it.told_at(10), 1);
    it.publish("another song.ogg");
    assert_eq!(it.told_at(20), 0);
    it.publish("yet another.ogg");
    assert_eq!(it.told_at(509), 0);
    assert_eq!(it.tables.next_wakeup(), Some(Instant::START + Duration::from_millis(510)));
    assert_eq!(it.told_at(510), 1);
}

#[test]
fn neither_a_look_in_vain_nor_a_count_of_nodes_holds_up_words() {
    let mut it = Supernode::new();
    it.nodes = 1;
    assert_eq!(it.told_at(10), 1, "the number of nodes");
    assert_eq!(it.told_at(11), 0, "there is nothing to tell");
    it.publish("some song.ogg");
    assert_eq!(it.told_at(12), 1);
}

#[test]
fn a_count_of_nodes_waits_for_its_turn_and_is_told_then() {
    let mut it = Supernode::new();
    assert_eq!(it.told_at(10), 1);
    it.nodes = 2;
    assert_eq!(it.told_at(20), 0);
    assert_eq!(it.tables.next_wakeup(), Some(Instant::START + Duration::from_millis(510)));
    assert_eq!(it.told_at(510), 1);
    assert_eq!(it.told_at(2_000), 0);
    assert_eq!(it.tables.next_wakeup(), None);
}

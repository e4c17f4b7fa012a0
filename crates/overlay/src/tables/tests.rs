#![allow(clippy::expect_used)]
use super::*;
use crate::config::Config;
use crate::io::Output;
use skein_index::Limits;
use skein_proto::routing::SharedBytes;
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

#[test]
fn many_tables_are_looked_at_side_by_side_as_one_by_one() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state ^ (state >> 29)
    };
    let mut held = Vec::new();
    for number in 0..60_u8 {
        let log2_bits = 10 + number % 3;
        let mut filter = Filter::empty(log2_bits);
        // Half of the bits, so that keys are missed at any of theirs.
        let flips: Vec<u32> = (0..1 << log2_bits).filter(|_| random() % 2 == 0).collect();
        filter.flip(&flips);
        held.push((number % 7 != 0).then_some(Held { filter, pairs: number % 2 == 0 }));
    }
    for round in 0..200 {
        let keys = Keys {
            words: (0..round % 4).map(|_| random()).collect(),
            pairs: (0..round % 3).map(|_| random()).collect(),
            ..Keys::default()
        };
        let tables: Vec<Option<&Held>> = held.iter().map(Option::as_ref).collect();
        let one_by_one: Vec<bool> = tables
            .iter()
            .map(|held| held.is_none_or(|held| keys.may_be_in(&held.filter, held.pairs)))
            .collect();
        assert_eq!(keys.may_be_in_each(&tables), one_by_one);
        keys.are_shared();
        // What was said before, and then what is said by some that were not asked before.
        assert_eq!(keys.may_be_in_each(&tables[..30]), one_by_one[..30]);
        assert_eq!(keys.may_be_in_each(&tables), one_by_one);
        assert_eq!(keys.may_be_in_each(&tables), one_by_one);
    }
}

#[test]
fn a_neighbour_whose_part_was_dropped_for_want_of_room_is_not_to_blame_for_the_next() {
    let mut it = Supernode::new();
    let bits = Part::new(vec![0; 1 << 15]).expect("a part");
    let mut tell = |part, millis| {
        let whole =
            TableUpdate::Whole { log2_bits: 23, part, bits: bits.clone(), nodes: 1, pairs: false };
        let at = Instant::START + Duration::from_millis(millis);
        let honest = it.tables.on_update(&mut it.core, NEIGHBOUR, whole, at);
        (honest, it.tables.is_known(&NEIGHBOUR))
    };
    // As many as may come at once, and then the parts of one more, some of which are in time.
    for part in (0..32).cycle().take(160) {
        assert!(tell(part, 0).0);
    }
    for part in 0..32 {
        assert_eq!(tell(part, 500 * u64::from(part)), (true, false), "part {part}");
    }
    // It is known again when all of it has come.
    for part in 0..32 {
        assert_eq!(tell(part, 200_000), (true, part == 31), "part {part}");
    }
    assert!(!tell(5, 300_000).0, "out of turn for no reason of this side");
}

#[test]
fn a_table_that_comes_to_say_yes_to_nearly_everything_is_dropped_like_one_that_began_so() {
    let log2_bits = *TABLE_LOG2_BITS.start();
    let (part_bytes, _) = layout(log2_bits);
    for flips_first in [false, true] {
        let mut it = Supernode::new();
        let mut tell = |update| {
            assert!(it.tables.on_update(&mut it.core, NEIGHBOUR, update, Instant::START));
            it.tables.is_known(&NEIGHBOUR)
        };
        let mut whole = |byte| {
            let bits = Part::new(vec![byte; part_bytes]).expect("a part");
            tell(TableUpdate::Whole { log2_bits, part: 0, bits, nodes: 1, pairs: false })
        };
        if !flips_first {
            assert!(whole(0x77), "three quarters of all bits");
            assert!(!whole(0xff));
            continue;
        }
        assert!(whole(0));
        let most = 3 << (log2_bits - 2);
        let mut flip = |bits: Vec<u32>| {
            let mut known = true;
            for flips in flips::write_flips(&bits) {
                let flips = SharedBytes::new(flips).expect("fits");
                known = tell(TableUpdate::Flips { flips, nodes: 1 });
            }
            known
        };
        assert!(flip((0..most).collect()));
        assert!(!flip(vec![most]), "one more");
        assert_eq!(it.core.counters.tables_refused, 1);
    }
}

//! The rumours of one topic, in the order of their places.

use skein_proto::rumour::RumourId;
use skein_proto::{Place, Rumour, UnixTime};
use std::ops::Range;

/// Parts that the ring is cut into, by the first byte of a place. Two supernodes compare one
/// number for each, so that a difference costs what lies in one part and not all: with 10,000
/// supernodes a part holds 40.
pub(crate) const BUCKETS: usize = 256;

/// The rumours of one topic. It takes no memory before the first one.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By ascending place, one behind the other: all of them are gone through again and again. Eight
    /// bytes each: what they point to is shared by all who hold it.
    rumours: Vec<Rumour>,
    /// For each part of the ring.
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Where it ends among the rumours.
    end: u32,
    /// The exclusive or over the fingerprints of all of them.
    digest: u32,
}

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.rumours.len()
    }

    /// The rumour at a place.
    pub(crate) fn get(&self, place: u64) -> Option<&Rumour> {
        self.rumours.get(self.position(place).ok()?)
    }

    /// Takes in a rumour, in the place of the one that was there, which is handed back.
    pub(crate) fn insert(&mut self, rumour: Rumour) -> Option<Rumour> {
        if self.parts.is_empty() {
            self.parts.resize(BUCKETS, Part::default());
        }
        let id = rumour.id();
        let number = bucket_of(id.place);
        self.parts.get_mut(number)?.digest ^= id.fingerprint();
        match self.position(id.place) {
            Ok(at) => {
                let before = std::mem::replace(self.rumours.get_mut(at)?, rumour);
                self.parts.get_mut(number)?.digest ^= before.id().fingerprint();
                Some(before)
            }
            Err(at) => {
                self.rumours.insert(at, rumour);
                // There are fewer of them than 2^32: each topic is bounded.
                self.parts.iter_mut().skip(number).for_each(|part| part.end += 1);
                None
            }
        }
    }

    /// Takes out the rumour at a place.
    pub(crate) fn remove(&mut self, place: u64) -> Option<Rumour> {
        let at = self.position(place).ok()?;
        let removed = self.rumours.remove(at);
        let number = bucket_of(place);
        self.parts.iter_mut().skip(number).for_each(|part| part.end -= 1);
        self.parts.get_mut(number)?.digest ^= removed.id().fingerprint();
        Some(removed)
    }

    /// All of them, once around the ring, beginning at or behind a place.
    pub(crate) fn around(&self, place: Place) -> impl DoubleEndedIterator<Item = &Rumour> {
        let range = self.range(bucket_of(place.short()));
        let begin = range.start;
        let part = self.rumours.get(range).unwrap_or_default();
        let split = begin + part.partition_point(|rumour| rumour.place() < place);
        let (head, tail) = self.rumours.split_at(split);
        tail.iter().chain(head)
    }

    /// All of them, in the order of the ring.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rumour> {
        self.rumours.iter()
    }

    /// One of them by its number in the order of the ring.
    pub(crate) fn nth(&self, number: usize) -> Option<&Rumour> {
        self.rumours.get(number)
    }

    /// Those in one part of the ring.
    pub(crate) fn bucket(&self, number: usize) -> &[Rumour] {
        self.rumours.get(self.range(number)).unwrap_or_default()
    }

    /// Where those of one part are.
    fn range(&self, number: usize) -> Range<usize> {
        let end = |number: usize| self.parts.get(number).map_or(0, |part| part.end as usize);
        number.checked_sub(1).map_or(0, end)..end(number)
    }

    /// One number for each part of the ring; none if there is nothing at all.
    pub(crate) fn digest(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().map(|part| part.digest)
    }

    /// The parts of the ring in which somebody with this digest holds something else.
    pub(crate) fn differences(&self, digest: &[u32]) -> Vec<u8> {
        let at = |list: &[u32], number: usize| list.get(number).copied().unwrap_or_default();
        let own: Vec<u32> = self.digest().collect();
        (0..=u8::MAX)
            .filter(|number| at(digest, usize::from(*number)) != at(&own, usize::from(*number)))
            .collect()
    }

    /// The places in one part of the ring of what is worth nothing any more.
    pub(crate) fn expired(&self, bucket: usize, now: UnixTime) -> Vec<u64> {
        let expired = self.bucket(bucket).iter().filter(|rumour| rumour.expires() <= now);
        expired.map(|rumour| rumour.id().place).collect()
    }

    /// Where the rumour at a place is, or belongs.
    fn position(&self, place: u64) -> Result<usize, usize> {
        let range = self.range(bucket_of(place));
        let begin = range.start;
        let part = self.rumours.get(range).unwrap_or_default();
        let found = part.binary_search_by_key(&place, |rumour| rumour.place().short());
        found.map(|at| begin + at).map_err(|at| begin + at)
    }
}

fn bucket_of(place: u64) -> usize {
    usize::from(place.to_be_bytes()[0])
}

/// The ids of these rumours.
pub(crate) fn ids(rumours: &[Rumour]) -> impl Iterator<Item = RumourId> {
    rumours.iter().map(Rumour::id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skein_proto::KeyPair;
    use skein_proto::rumour::News;
    use skein_proto::testing::announcement_of;
    use std::collections::BTreeMap;

    /// The announcement of a supernode, at this time.
    fn rumour(number: u8, issued: u64) -> Rumour {
        let key = KeyPair::from_seed(&[number; 32]);
        let login = KeyPair::from_seed(&[0; 32]);
        Rumour::new(News::Announcement(announcement_of(&key, "somebody", &login, |record| {
            record.issued = UnixTime(issued);
        })))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_does_what_a_sorted_map_does(
            deeds in proptest::collection::vec((1..24_u8, 0..4_u64), 0..60),
            from in any::<u128>(),
        ) {
            let mut store = Store::default();
            let mut model: BTreeMap<Place, u64> = BTreeMap::new();
            for (number, version) in deeds {
                let rumour = rumour(number, version);
                let (place, id) = (rumour.place(), rumour.id());
                let before = if version == 0 {
                    (store.remove(id.place), model.remove(&place))
                } else {
                    (store.insert(rumour), model.insert(place, version))
                };
                prop_assert_eq!(before.0.map(|rumour| rumour.id().version), before.1);
            }
            prop_assert_eq!(store.len(), model.len());
            let from = Place(from);
            let found: Vec<Place> = store.around(from).map(Rumour::place).collect();
            let expected: Vec<Place> =
                model.range(from..).chain(model.range(..from)).map(|(place, _)| *place).collect();
            prop_assert_eq!(found, expected);
            let nth: Vec<Place> =
                (0..store.len()).filter_map(|at| store.nth(at)).map(Rumour::place).collect();
            prop_assert_eq!(nth, model.into_keys().collect::<Vec<_>>());
            // What is held decides the digest, not how it came about.
            let mut fresh = Store::default();
            for rumour in store.iter() {
                fresh.insert(rumour.clone());
            }
            let digest: Vec<u32> = fresh.digest().collect();
            prop_assert_eq!(store.differences(&digest), Vec::<u8>::new());
        }
    }

    #[test]
    fn one_that_differs_is_seen_in_its_part_of_the_ring_alone() {
        let mut store = Store::default();
        (1..40).for_each(|number| {
            store.insert(rumour(number, 5));
        });
        let digest: Vec<u32> = store.digest().collect();
        let changed = rumour(7, 6);
        store.insert(changed.clone());
        let part = usize::from(changed.id().place.to_be_bytes()[0]);
        assert_eq!(store.differences(&digest), [u8::try_from(part).expect("a byte")]);
        assert!(store.bucket(part).contains(&changed));
    }
}

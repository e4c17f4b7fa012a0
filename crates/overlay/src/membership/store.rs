//! The rumours of one topic, in the order of their places.

use skein_proto::rumour::RumourId;
use skein_proto::{Place, Rumour, UnixTime};

/// Parts that the ring is cut into, by the first byte of a place. Two supernodes compare one
/// number for each, so that a difference costs what lies in one part and not all: with 10,000
/// supernodes a part holds 40.
pub(crate) const BUCKETS: usize = 256;

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// By ascending place. Eight bytes each: what they point to is shared by all who hold it.
    rumours: Vec<Rumour>,
    /// The exclusive or over the fingerprints of all of them.
    digest: u32,
}

/// The rumours of one topic. It takes no memory before the first one.
#[derive(Debug, Default)]
pub(crate) struct Store {
    buckets: Vec<Bucket>,
    len: usize,
}

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The rumour at a place.
    pub(crate) fn get(&self, place: u64) -> Option<&Rumour> {
        let bucket = self.buckets.get(bucket_of(place))?;
        let at = bucket.position(place).ok()?;
        bucket.rumours.get(at)
    }

    /// Takes in a rumour, in the place of the one that was there, which is handed back.
    pub(crate) fn insert(&mut self, rumour: Rumour) -> Option<Rumour> {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Bucket::default);
        }
        let id = rumour.id();
        let bucket = self.buckets.get_mut(bucket_of(id.place))?;
        bucket.digest ^= id.fingerprint();
        match bucket.position(id.place) {
            Ok(at) => {
                let before = std::mem::replace(bucket.rumours.get_mut(at)?, rumour);
                bucket.digest ^= before.id().fingerprint();
                Some(before)
            }
            Err(at) => {
                bucket.rumours.insert(at, rumour);
                self.len += 1;
                None
            }
        }
    }

    /// Takes out the rumour at a place.
    pub(crate) fn remove(&mut self, place: u64) -> Option<Rumour> {
        let bucket = self.buckets.get_mut(bucket_of(place))?;
        let at = bucket.position(place).ok()?;
        let removed = bucket.rumours.remove(at);
        bucket.digest ^= removed.id().fingerprint();
        self.len -= 1;
        Some(removed)
    }

    /// All of them, once around the ring, beginning at or behind a place.
    pub(crate) fn around(&self, place: Place) -> impl DoubleEndedIterator<Item = &Rumour> {
        let first = bucket_of(place.short());
        let split = self
            .buckets
            .get(first)
            .map_or(0, |bucket| bucket.rumours.partition_point(|rumour| rumour.place() < place));
        let all = self.buckets.len();
        let tail = self.bucket(first).get(split..).unwrap_or_default();
        let head = self.bucket(first).get(..split).unwrap_or_default();
        let others = (1..all).map(move |step| (first + step) % all);
        tail.iter().chain(others.flat_map(|at| self.bucket(at))).chain(head)
    }

    /// All of them, in the order of the ring.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rumour> {
        self.buckets.iter().flat_map(|bucket| &bucket.rumours)
    }

    /// One of them by its number in the order of the ring.
    pub(crate) fn nth(&self, mut number: usize) -> Option<&Rumour> {
        for bucket in &self.buckets {
            match number.checked_sub(bucket.rumours.len()) {
                Some(left) => number = left,
                None => return bucket.rumours.get(number),
            }
        }
        None
    }

    /// Those in one part of the ring.
    pub(crate) fn bucket(&self, number: usize) -> &[Rumour] {
        self.buckets.get(number).map(|bucket| bucket.rumours.as_slice()).unwrap_or_default()
    }

    /// One number for each part of the ring; none if there is nothing at all.
    pub(crate) fn digest(&self) -> impl Iterator<Item = u32> {
        self.buckets.iter().map(|bucket| bucket.digest)
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
}

impl Bucket {
    fn position(&self, place: u64) -> Result<usize, usize> {
        self.rumours.binary_search_by_key(&place, |rumour| rumour.place().short())
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

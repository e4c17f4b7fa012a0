//! The slots of a relay, laid out for the way of a packet.
//!
//! With ten thousand callers the next packet is another slot's, of which the processor's cache
//! holds nothing: what a packet costs then is the number of places in memory that have to be
//! fetched one after the other. So all that its way needs of a slot lies in two neighbouring cache
//! lines, and the slot's number says where: its lower bits are the index in the table, in clear,
//! and the others, which are random, are compared with those of the slot that is there. No hash is
//! made and no pointer followed. The buckets are numbers that are reckoned when they are looked at
//! ([`Bucket`]), so that nothing has to visit the slots to fill them.

use super::GrantRefused;
use super::accounts::{Accounts, Added};
use super::early::Early;
use super::frame::SlotNumber;
use super::limits::{Bucket, Rate, RelayLimits};
use super::place::Place;
use skein_proto::Username;
use std::net::SocketAddr;

/// Bits of a slot's number that are its index: more slots than that make 128 MiB of table. 36
/// random bits are left, and whoever guesses them gains nothing.
const INDEX_BITS: u32 = 20;

/// Slots at the same time, whatever the donor says.
const MOST_SLOTS: u32 = 1 << INDEX_BITS;

/// The number of an entry that no slot has: it is longer than any.
const VACANT: u64 = u64::MAX;

/// Slots that one call of [`Table::expire`] looks at: some microseconds, for so long packets wait.
pub(super) const EXPIRED_AT_ONCE: usize = 1_024;

/// A slot. The first of its two cache lines is what says where a packet goes, the second what it
/// costs whom.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
struct Slot {
    number: u64,
    bucket: Bucket,
    ends: [Place; 2],
    /// Of its name, unless that one has several slots.
    name_bucket: Bucket,
    /// Nanoseconds since the relay's start.
    last_used: u64,
    salt: u64,
    /// The bucket that it shares with the other slots of its name.
    shared: Option<u32>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It goes there.
    To(SocketAddr),
    /// There is no such slot.
    NoSlot,
    /// It comes from an address that no end of the slot has bound.
    Foreign,
    /// The other end has bound no address.
    Unbound,
    /// It is more than a limit allows.
    OverRate,
}

/// All slots of a relay. Times are nanoseconds since its start.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Who asked for each.
    names: Vec<Option<Username>>,
    vacant: Vec<u32>,
    accounts: Accounts,
    limits: RelayLimits,
    slot_rate: Rate,
    name_rate: Rate,
    total_rate: Rate,
    total: Bucket,
    /// What was moved for ends that are not bound.
    pub(super) early: Early,
}

fn index(number: SlotNumber) -> usize {
    (number.get() & u64::from(MOST_SLOTS - 1)) as usize
}

impl Table {
    pub(super) fn new(limits: RelayLimits) -> Self {
        Self {
            slots: Vec::new(),
            names: Vec::new(),
            vacant: Vec::new(),
            accounts: Accounts::default(),
            limits,
            slot_rate: Rate::new(limits.slot_rate),
            name_rate: Rate::new(limits.name_rate),
            total_rate: Rate::new(limits.total_rate),
            total: Bucket::default(),
            early: Early::default(),
        }
    }

    pub(super) fn limits(&self) -> RelayLimits {
        self.limits
    }

    /// Slots at present.
    pub(super) fn len(&self) -> u32 {
        // Both are at most as many as there are indexes.
        (self.slots.len() - self.vacant.len()) as u32
    }

    /// Changes the limits; all buckets are full then. No slots at all ends those that are there.
    pub(super) fn set_limits(&mut self, limits: RelayLimits) {
        let slots = match limits.slots {
            0 => Vec::new(),
            _ => std::mem::take(&mut self.slots),
        };
        if slots.is_empty() {
            *self = Self::new(limits);
            return;
        }
        let names = std::mem::take(&mut self.names);
        let vacant = std::mem::take(&mut self.vacant);
        let accounts = std::mem::take(&mut self.accounts);
        *self = Self { slots, names, vacant, accounts, ..Self::new(limits) };
        self.accounts.fill();
        for slot in &mut self.slots {
            slot.bucket = Bucket::default();
            slot.name_bucket = Bucket::default();
        }
    }

    /// Gives a slot to a name. `random` makes its number, and `salt` is kept with it.
    pub(super) fn grant(
        &mut self,
        name: &Username,
        random: u64,
        salt: u64,
        now: u64,
    ) -> Result<SlotNumber, GrantRefused> {
        if self.limits.slots == 0 {
            return Err(GrantRefused::OptedOut);
        }
        if self.accounts.slots_of(name) >= self.limits.slots_per_name {
            return Err(GrantRefused::TooMany);
        }
        if self.len() >= self.limits.slots.min(MOST_SLOTS) && !self.make_room_for(name) {
            return Err(GrantRefused::Full);
        }
        let at = self.vacant.pop().unwrap_or(self.slots.len() as u32);
        let number = SlotNumber::new(random << INDEX_BITS | u64::from(at));
        let shared = match self.accounts.add(name, at) {
            Added::Alone => None,
            Added::Shares(bucket) => Some(bucket),
            Added::SharesWith { of, bucket } => {
                if let Some(first) = self.slots.get_mut(of as usize)
                    && let Some(shared) = self.accounts.shared_mut(bucket)
                {
                    *shared = first.name_bucket;
                    first.shared = Some(bucket);
                }
                Some(bucket)
            }
        };
        let slot = Slot {
            number: number.get(),
            bucket: Bucket::default(),
            ends: [Place::default(); 2],
            name_bucket: Bucket::default(),
            last_used: now,
            salt,
            shared,
        };
        let name = Some(name.clone());
        match self.slots.get_mut(at as usize).zip(self.names.get_mut(at as usize)) {
            Some((vacant, whose)) => (*vacant, *whose) = (slot, name),
            None => {
                self.slots.push(slot);
                self.names.push(name);
            }
        }
        Ok(number)
    }

    /// Takes back the slot of the name with most of them that has been silent for longest, if the
    /// newcomer has clearly fewer: so a few names cannot take all that there is. Its session goes on
    /// over another relay, as when this one stops. Answers whether there was one.
    fn make_room_for(&mut self, newcomer: &Username) -> bool {
        let own = self.accounts.slots_of(newcomer);
        let Some((heaviest, slots)) = self.accounts.heaviest() else { return false };
        if slots <= own + 1 {
            return false;
        }
        let its_own =
            self.names.iter().enumerate().filter(|(_, name)| name.as_ref() == Some(heaviest));
        let oldest = its_own.min_by_key(|(at, _)| self.slots.get(*at).map(|slot| slot.last_used));
        let Some(at) = oldest.map(|(at, _)| at) else { return false };
        self.vacate(at);
        true
    }

    /// Takes a slot back.
    pub(super) fn release(&mut self, number: SlotNumber) {
        if self.slot_mut(number).is_some() {
            self.vacate(index(number));
        }
    }

    /// Takes a slot back that this name was granted. Answers false if it was not, or if a bucket that
    /// would be forgotten with it is not full again: whoever takes and gives back slots in turn is
    /// held by the rates all the same.
    pub(super) fn release_of(&mut self, name: &Username, number: SlotNumber, now: u64) -> bool {
        let at = index(number);
        let is_its_own = self.names.get(at).and_then(Option::as_ref) == Some(name);
        let Some(slot) = self.slot_mut(number).filter(|_| is_its_own) else { return false };
        let (bucket, shared, of_name) = (slot.bucket, slot.shared, slot.name_bucket);
        let of_name = match shared {
            Some(_) if self.accounts.slots_of(name) > 1 => Bucket::default(),
            Some(shared) => self.accounts.shared_mut(shared).copied().unwrap_or_default(),
            None => of_name,
        };
        let settled = bucket.is_full(now) && of_name.is_full(now);
        if settled {
            self.vacate(at);
        }
        settled
    }

    fn vacate(&mut self, at: usize) {
        let Some((slot, name)) = self.slots.get_mut(at).zip(self.names.get_mut(at)) else { return };
        self.early.forget(SlotNumber::new(slot.number));
        slot.number = VACANT;
        self.vacant.push(at as u32);
        if let Some(name) = name.take() {
            self.accounts.remove(&name);
        }
        if self.len() == 0 {
            // The memory that many of them took is given back with the last.
            let (total, early) = (self.total, std::mem::take(&mut self.early));
            *self = Self { total, early, ..Self::new(self.limits) };
        }
    }

    /// Takes back those of some slots, from the index `from` on, that were not used for too long.
    /// Answers how many that were, and where to go on.
    pub(super) fn expire(&mut self, from: usize, now: u64) -> (usize, Option<usize>) {
        let idle = u64::try_from(self.limits.idle.as_nanos()).unwrap_or(u64::MAX);
        let end = self.slots.len().min(from.saturating_add(EXPIRED_AT_ONCE));
        let mut expired = 0;
        for at in from..end {
            let old = self.slots.get(at).is_some_and(|slot| {
                slot.number != VACANT && now.saturating_sub(slot.last_used) >= idle
            });
            if old {
                self.vacate(at);
                expired += 1;
            }
        }
        (expired, (end < self.slots.len()).then_some(end))
    }

    /// The salt of a slot, if it is there.
    pub(super) fn salt(&self, number: SlotNumber) -> Option<u64> {
        let slot = self.slots.get(index(number))?;
        (slot.number == number.get()).then_some(slot.salt)
    }

    /// An end of a slot, 0 or 1, is at this address from now on.
    pub(super) fn bind(&mut self, number: SlotNumber, end: u8, address: SocketAddr, now: u64) {
        if let Some(slot) = self.slot_mut(number)
            && let Some(place) = slot.ends.get_mut(usize::from(end))
        {
            *place = address.into();
            slot.last_used = now;
            self.early.is_bound(number, end);
        }
    }

    /// Who asked for a slot.
    pub(super) fn name_of(&self, number: SlotNumber) -> Option<Username> {
        self.salt(number)?;
        self.names.get(index(number))?.clone()
    }

    /// Where the ends of a slot are.
    pub(super) fn ends(&self, number: SlotNumber) -> Option<[Option<SocketAddr>; 2]> {
        let slot = self.slots.get(index(number))?;
        (slot.number == number.get()).then(|| slot.ends.map(|end| end.address()))
    }

    fn slot_mut(&mut self, number: SlotNumber) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index(number))?;
        (slot.number == number.get()).then_some(slot)
    }

    /// Where a batch goes that has come from `source` for a slot and takes so many bytes of the
    /// line. What may pass is accounted for, and what may not costs nobody anything.
    pub(super) fn pass(
        &mut self,
        number: SlotNumber,
        source: SocketAddr,
        bytes: usize,
        now: u64,
    ) -> Passage {
        let Some(slot) = self.slots.get_mut(index(number)) else { return Passage::NoSlot };
        if slot.number != number.get() {
            return Passage::NoSlot;
        }
        let source = Place::from(source);
        let to = match slot.ends {
            [near, far] if near == source => far,
            [far, near] if near == source => far,
            _ => return Passage::Foreign,
        };
        let Some(to) = to.address() else { return Passage::Unbound };
        if self.charge(number, bytes, now) { Passage::To(to) } else { Passage::OverRate }
    }

    /// Whether so many bytes of a slot may pass; if so, they are accounted for.
    #[inline]
    pub(super) fn charge(&mut self, number: SlotNumber, bytes: usize, now: u64) -> bool {
        let Some(slot) = self.slots.get_mut(index(number)) else { return false };
        slot.last_used = now;
        let shared = slot.shared.and_then(|bucket| self.accounts.shared_mut(bucket));
        let of_name = shared.unwrap_or(&mut slot.name_bucket);
        let (Some(of_slot), Some(of_name_less), Some(total)) = (
            slot.bucket.without(bytes, &self.slot_rate, now),
            of_name.without(bytes, &self.name_rate, now),
            self.total.without(bytes, &self.total_rate, now),
        ) else {
            return false;
        };
        *of_name = of_name_less;
        slot.bucket = of_slot;
        self.total = total;
        true
    }

    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.slots.is_empty() && self.accounts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn name(number: usize) -> Username {
        Username::parse(&format!("donee{number}")).unwrap()
    }

    fn bound(table: &mut Table, of: usize) -> SlotNumber {
        let number = table.grant(&name(of), 0x1234_5678, 0, 0).unwrap();
        table.bind(number, 0, at(1), 0);
        table.bind(number, 1, at(2), 0);
        number
    }

    #[test]
    fn what_the_way_of_a_packet_needs_of_a_slot_is_two_cache_lines() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (128, 128));
        assert_eq!(std::mem::offset_of!(Slot, name_bucket), 64, "where it goes is the first");
    }

    #[test]
    fn whoever_knows_the_index_of_a_slot_does_not_know_its_number() {
        let mut table = Table::new(RelayLimits::default());
        let number = bound(&mut table, 1);
        for bit in 0..56 {
            let guess = SlotNumber::new(number.get() ^ 1 << bit);
            assert_eq!(table.pass(guess, at(1), 100, 0), Passage::NoSlot, "bit {bit}");
            assert_eq!(table.salt(guess), None);
        }
        assert_eq!(table.pass(number, at(1), 100, 0), Passage::To(at(2)));
        table.release(number);
        assert_eq!(table.pass(number, at(1), 100, 0), Passage::NoSlot);
    }

    #[test]
    fn all_slots_of_a_name_share_its_rate_and_nobody_elses() {
        let limits = RelayLimits { total_rate: u32::MAX, ..RelayLimits::default() };
        let burst = limits.name_rate as usize / 4;
        let mut table = Table::new(limits);
        let first = bound(&mut table, 1);
        assert_eq!(table.pass(first, at(1), burst / 2, 0), Passage::To(at(2)));
        let second = bound(&mut table, 1);
        assert_eq!(table.pass(second, at(1), burst, 0), Passage::OverRate, "half is used up");
        assert_eq!(table.pass(second, at(1), burst / 2, 0), Passage::To(at(2)));
        assert_eq!(table.pass(first, at(1), 1_000, 0), Passage::OverRate);
        let other = bound(&mut table, 2);
        assert_eq!(table.pass(other, at(1), burst, 0), Passage::To(at(2)));

        table.release(first);
        assert_eq!(table.pass(second, at(1), 1_000, 0), Passage::OverRate, "what was used, was");
    }

    #[test]
    fn what_may_not_pass_takes_nothing_from_the_others() {
        let limits =
            RelayLimits { slot_rate: 1_000_000, name_rate: 1_000_000, ..RelayLimits::default() };
        let mut table = Table::new(limits);
        let slots = [1, 2].map(|of| bound(&mut table, of));
        let (burst, total) = (250_000, limits.total_rate as usize / 4);
        assert_eq!(table.pass(slots[0], at(1), burst, 0), Passage::To(at(2)));
        (0..10).for_each(|_| assert_eq!(table.pass(slots[0], at(1), 1_000, 0), Passage::OverRate));
        assert_eq!(table.pass(slots[1], at(1), total - burst, 0), Passage::To(at(2)));
        assert_eq!(table.pass(slots[1], at(1), 1, 0), Passage::OverRate, "the total is used up");
    }

    #[test]
    fn with_what_is_given_if_nobody_says_otherwise_no_name_starves_the_others() {
        let mut table = Table::new(RelayLimits::default());
        let [greedy, modest] = [1, 2].map(|of| bound(&mut table, of));
        let (mut of_greedy, mut of_modest) = (0, 0);
        for millisecond in 0..4_000 {
            let now = millisecond * 1_000_000;
            // Far more than there is, and half of a video call.
            (0..50).for_each(|_| {
                of_greedy +=
                    usize::from(table.pass(greedy, at(1), 1_250, now) == Passage::To(at(2)));
            });
            if millisecond % 5 == 0 {
                let passed = table.pass(modest, at(1), 1_250, now) == Passage::To(at(2));
                of_modest += usize::from(passed);
            }
        }
        assert_eq!(of_modest, 800, "all of it passes");
        assert!((2_000..=2_200).contains(&of_greedy), "{of_greedy}");
    }

    #[test]
    fn what_was_used_lately_stays_when_the_rest_expires() {
        let limits =
            RelayLimits { slots: 10_000, slots_per_name: 10_000, ..RelayLimits::default() };
        let mut table = Table::new(limits);
        let slots: Vec<_> = (0..3_000).map(|_| bound(&mut table, 1)).collect();
        let now = limits.idle.as_nanos() as u64;
        assert_eq!(table.pass(slots[2_500], at(1), 100, now - 1), Passage::To(at(2)));
        let (mut from, mut expired) = (Some(0), 0);
        while let Some(at) = from {
            let (some, next) = table.expire(at, now);
            (from, expired) = (next, expired + some);
        }
        assert_eq!((expired, table.len()), (2_999, 1));
        assert_eq!(table.expire(2_048, 2 * now), (1, None));
        assert!(table.is_forgotten());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant { of: usize, random: u64 },
        Release(usize),
        Pass(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_usize..4, any::<u64>()).prop_map(|(of, random)| Step::Grant { of, random }),
            (0_usize..20).prop_map(Step::Release),
            (0_usize..20).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn it_keeps_the_slots_that_a_plain_map_would(steps in proptest::collection::vec(step(), 1..120)) {
            let limits = RelayLimits { slots: 8, slots_per_name: 2, ..RelayLimits::default() };
            let mut table = Table::new(limits);
            let mut expected: BTreeMap<SlotNumber, usize> = BTreeMap::new();
            let mut given = Vec::new();
            for (turn, step) in (1_u16..).zip(steps) {
                match step {
                    Step::Grant { of, random } => {
                        let has = expected.values().filter(|name| **name == of).count();
                        let granted = table.grant(&name(of), random, turn.into(), 0);
                        let refusal = (has == 2).then_some(GrantRefused::TooMany);
                        prop_assert_eq!(granted.err(), refusal);
                        if let Ok(number) = granted {
                            table.bind(number, 0, at(1), 0);
                            table.bind(number, 1, at(turn), 0);
                            prop_assert_eq!(expected.insert(number, of), None);
                            given.push((number, turn));
                        }
                    }
                    Step::Release(which) if !given.is_empty() => {
                        let (number, _) = given[which % given.len()];
                        table.release(number);
                        expected.remove(&number);
                    }
                    Step::Pass(which) if !given.is_empty() => {
                        let (number, turn) = given[which % given.len()];
                        let there = match expected.contains_key(&number) {
                            true => Passage::To(at(turn)),
                            false => Passage::NoSlot,
                        };
                        prop_assert_eq!(table.pass(number, at(1), 1, 0), there);
                        let salt = expected.contains_key(&number).then_some(u64::from(turn));
                        prop_assert_eq!(table.salt(number), salt);
                    }
                    Step::Release(_) | Step::Pass(_) => {}
                }
                prop_assert_eq!(table.len() as usize, expected.len());
            }
            expected.keys().for_each(|number| table.release(*number));
            prop_assert!(table.is_forgotten());
        }
    }
}

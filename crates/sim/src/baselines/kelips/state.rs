//! The soft state: members, contacts, files.

use super::{CONTACTS, HEADER, Kelips, Rumour, Shared, seconds};
use crate::baselines::world::{Address, Context, World};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::VecDeque;

/// How many of the latest news are told first.
const FRESH: usize = 16;

/// Somebody of the own group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) at: Address,
    /// The second at which it was alive for sure.
    pub(super) heard: u32,
}

/// Somebody of another group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact {
    pub(super) at: Address,
    pub(super) heard: u32,
    pub(super) round_trip_ms: u16,
}

/// A file of the own group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuple {
    pub(super) file: u32,
    pub(super) home: Address,
    pub(super) heard: u32,
}

fn remember<T: PartialEq>(fresh: &mut VecDeque<T>, news: T) {
    if fresh.back() != Some(&news) {
        fresh.push_back(news);
    }
    if fresh.len() > FRESH {
        fresh.pop_front();
    }
}

impl Kelips {
    /// Takes news of a node into the own group's list or among the contacts.
    pub(super) fn learn(&mut self, rumour: Rumour, ctx: &mut Context<'_, Self>) {
        let now = seconds(ctx.now());
        let shared = *ctx.shared();
        let heard = now.saturating_sub(rumour.age);
        let group = shared.group(rumour.at);
        if group == self.group {
            if rumour.at != self.me && rumour.age < shared.forget_members {
                self.learn_member(rumour.at, heard);
            }
            return;
        }
        if rumour.age >= shared.forget_contacts {
            return;
        }
        let Some(contacts) = self.contacts.get_mut(group as usize) else { return };
        let known = |contact: &&mut Contact| contact.at == rumour.at;
        if let Some(contact) = contacts.iter_mut().flatten().find(known) {
            contact.heard = contact.heard.max(heard);
            return;
        }
        // A place that is free, or whose contact has not been heard of for half of the patience.
        let old = |contact: &Contact| contact.heard + shared.forget_contacts / 2 < now;
        let Some(place) = contacts.iter_mut().find(|place| place.as_ref().is_none_or(old)) else {
            return;
        };
        let Some(round_trip) = ctx.measure(rumour.at, HEADER) else { return };
        let round_trip_ms = u16::try_from(round_trip.as_millis()).unwrap_or(u16::MAX);
        *place = Some(Contact { at: rumour.at, heard, round_trip_ms });
    }

    fn learn_member(&mut self, at: Address, heard: u32) {
        match self.members.binary_search_by_key(&at, |member| member.at) {
            Ok(index) if self.members[index].heard >= heard => return,
            Ok(index) => self.members[index].heard = heard,
            Err(index) => self.members.insert(index, Member { at, heard }),
        }
        remember(&mut self.fresh, at);
    }

    /// Takes news of a file.
    pub(super) fn learn_file(&mut self, tuple: Tuple) {
        let moved = match self.tuples.binary_search_by_key(&tuple.file, |known| known.file) {
            Ok(index) if self.tuples[index].heard >= tuple.heard => return,
            Ok(index) => std::mem::replace(&mut self.tuples[index], tuple).home != tuple.home,
            Err(index) => {
                self.tuples.insert(index, tuple);
                true
            }
        };
        // That a file is still where it was is no news: it would crowd out what is.
        if moved {
            remember(&mut self.fresh_files, tuple.file);
        }
    }

    /// Drops what was not heard of for too long.
    pub(super) fn expire(&mut self, now: u32, shared: &Shared) {
        self.members.retain(|member| member.heard + shared.forget_members >= now);
        self.tuples.retain(|tuple| tuple.heard + shared.forget_files >= now);
        for place in self.contacts.iter_mut().flatten() {
            if place.is_some_and(|contact| contact.heard + shared.forget_contacts < now) {
                *place = None;
            }
        }
    }

    /// Drops a node that does not answer.
    pub(super) fn forget(&mut self, dead: Address, shared: &Shared) {
        if let Ok(index) = self.members.binary_search_by_key(&dead, |member| member.at) {
            self.members.remove(index);
        }
        if let Some(contacts) = self.contacts.get_mut(shared.group(dead) as usize) {
            for place in contacts {
                if place.is_some_and(|contact| contact.at == dead) {
                    *place = None;
                }
            }
        }
    }

    /// Where a file of the own group is.
    pub(super) fn home_of(&self, file: u32) -> Option<Address> {
        let index = self.tuples.binary_search_by_key(&file, |tuple| tuple.file).ok()?;
        Some(self.tuples[index].home)
    }

    /// The nearest that may know a file and was not tried.
    pub(super) fn contact_for(
        &self,
        file: u32,
        tried: &[Address],
        shared: &Shared,
    ) -> Option<Address> {
        let contacts = self.contacts.get(shared.group(file) as usize)?;
        let left = contacts.iter().flatten().filter(|contact| !tried.contains(&contact.at));
        left.min_by_key(|contact| contact.round_trip_ms).map(|contact| contact.at)
    }
}

/// Nodes among which the contacts of a group are chosen, the nearest first.
const CANDIDATES: usize = 6;

/// Sets all state as gossip leaves it when nobody comes and goes.
pub fn converge(world: &mut World<Kelips>, rng: &mut SmallRng) {
    let shared: Shared = *world.shared();
    let alive = world.alive().to_vec();
    let mut groups: Vec<Vec<Address>> = vec![Vec::new(); shared.groups as usize];
    let mut tuples: Vec<Vec<Tuple>> = vec![Vec::new(); shared.groups as usize];
    for at in &alive {
        groups[shared.group(*at) as usize].push(*at);
        let file = world.user_of(*at);
        tuples[shared.group(file) as usize].push(Tuple { file, home: *at, heard: 0 });
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    for group in &mut tuples {
        group.sort_unstable_by_key(|tuple| tuple.file);
    }
    for at in alive {
        let own = shared.group(at);
        let contacts = (0..shared.groups)
            .map(|group| {
                let mut chosen = [None; CONTACTS];
                let members = &groups[group as usize];
                if group == own || members.is_empty() {
                    return chosen;
                }
                let mut candidates: Vec<Contact> = (0..CANDIDATES)
                    .map(|_| {
                        let other = members[rng.random_range(0..members.len())];
                        let time = world.round_trip(at, other).as_millis();
                        let round_trip_ms = u16::try_from(time).unwrap_or(u16::MAX);
                        Contact { at: other, heard: 0, round_trip_ms }
                    })
                    .collect();
                candidates.sort_unstable_by_key(|contact| (contact.round_trip_ms, contact.at));
                candidates.dedup_by_key(|contact| contact.at);
                for (place, contact) in chosen.iter_mut().zip(candidates) {
                    *place = Some(contact);
                }
                chosen
            })
            .collect();
        let members = groups[own as usize].iter().filter(|member| **member != at);
        let members = members.map(|member| Member { at: *member, heard: 0 }).collect();
        if let Some(peer) = world.peer_mut(at) {
            peer.joined = true;
            peer.contacts = contacts;
            peer.members = members;
            peer.tuples.clone_from(&tuples[own as usize]);
        }
    }
}

/// Answers where a user's file is now.
pub fn truth(world: &World<Kelips>) -> impl Fn(u64) -> Option<Address> + use<> {
    let mut homes: Vec<(u32, Address)> =
        world.members().map(|at| (world.user_of(at), at)).collect();
    homes.sort_unstable();
    move |file| {
        let index = homes.binary_search_by_key(&file, |(user, _)| u64::from(*user)).ok()?;
        Some(homes[index].1)
    }
}

//! The network as it is when nobody has come or gone for long.

use super::{CACHE, FastTrack, LINKS, MOST_CHILDREN, shared_bytes};
use crate::baselines::world::{Address, World};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// Links supernodes at random, and gives each other node a parent that has room.
pub fn converge(world: &mut World<FastTrack>, rng: &mut SmallRng) {
    let alive = world.alive().to_vec();
    let is_super =
        |world: &World<FastTrack>, at: &Address| world.peer(*at).is_some_and(|peer| peer.is_super);
    let mut supers: Vec<Address> = alive.iter().copied().filter(|at| is_super(world, at)).collect();
    if supers.is_empty() {
        // A network in which nobody has a good line: the first one is a supernode nevertheless.
        let Some(first) = alive.first() else { return };
        if let Some(peer) = world.peer_mut(*first) {
            peer.is_super = true;
        }
        supers.push(*first);
    }
    let mut ends: Vec<Address> =
        supers.iter().flat_map(|at| std::iter::repeat_n(*at, LINKS)).collect();
    ends.shuffle(rng);
    for pair in ends.chunks_exact(2) {
        link(world, pair[0], pair[1]);
    }
    for at in &alive {
        let cache: Vec<Address> =
            supers.sample(rng, CACHE).copied().filter(|other| other != at).collect();
        let is_super = is_super(world, at);
        let Some(peer) = world.peer_mut(*at) else { continue };
        peer.cache = cache;
        let user = peer.user;
        if is_super {
            continue;
        }
        let bytes = shared_bytes(user, world.shared());
        let has_room = |world: &World<FastTrack>, at: Address| {
            world.peer(at).is_some_and(|peer| peer.children.len() < MOST_CHILDREN)
        };
        let first = rng.random_range(0..supers.len());
        let all = (0..supers.len()).map(|step| supers[(first + step) % supers.len()]);
        let mut all = all.filter(|parent| has_room(world, *parent));
        let Some(parent) = all.next() else { continue };
        if let Some(peer) = world.peer_mut(parent) {
            peer.children.push((*at, user));
            peer.index_bytes += bytes;
        }
        if let Some(peer) = world.peer_mut(*at) {
            peer.parent = Some(parent);
        }
    }
}

fn link(world: &mut World<FastTrack>, a: Address, b: Address) {
    if a == b || world.peer(a).is_none_or(|peer| peer.links.contains(&b)) {
        return;
    }
    for (from, to) in [(a, b), (b, a)] {
        if let Some(peer) = world.peer_mut(from) {
            peer.links.push(to);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::fasttrack::Shared;
    use crate::baselines::testing::{library, running, seconds};
    use crate::baselines::world::Operation;
    use crate::workload::Search;
    use rand::SeedableRng;

    fn converged(nodes: u32, ttl: u8) -> World<FastTrack> {
        running(Shared::new(library(nodes, 7), ttl), nodes, converge)
    }

    fn search(world: &mut World<FastTrack>, by: Address, search: &Search) -> Operation {
        let number = world.shared_mut().library.prepare(search);
        let operation = world.ask(by, number);
        world.run_for(seconds(20));
        world.operations()[operation as usize].clone()
    }

    fn supers(world: &World<FastTrack>) -> Vec<Address> {
        let alive = world.alive().iter().copied();
        alive.filter(|at| world.peer(*at).unwrap().is_super).collect()
    }

    #[test]
    fn supernodes_have_as_many_children_and_links_as_were_measured() {
        let world = converged(20_000, 7);
        let supers = supers(&world);
        assert_eq!(supers.len(), 159);
        let children: usize = supers.iter().map(|at| world.peer(*at).unwrap().children.len()).sum();
        let mean = children / supers.len();
        assert!((100..=150).contains(&mean), "{mean}");
        for at in &supers {
            let links = world.peer(*at).unwrap().links.len();
            assert!((24..=50).contains(&links), "{links}");
        }
    }

    #[test]
    fn a_flood_crosses_each_link_of_supernodes_at_most_twice_and_finds_what_is_there() {
        let mut world = converged(5_000, 7);
        let mut rng = SmallRng::seed_from_u64(2);
        let supers = supers(&world);
        let ends: usize = supers.iter().map(|at| world.peer(*at).unwrap().links.len()).sum();
        let flood = (ends - supers.len() + 1) as u64;
        for by in 0..20 {
            let rare = world.shared().library.workload().rare_search(&mut rng).unwrap();
            let found = search(&mut world, by, &rare);
            assert!(found.hits.iter().any(|hit| hit.content == rare.target));
            // The query to the parent, and hits over some hops.
            assert!((flood..flood + 20).contains(&found.messages), "{} {flood}", found.messages);
        }
    }

    #[test]
    fn children_of_a_dead_supernode_are_found_again() {
        let mut world = converged(2_000, 7);
        let mut rng = SmallRng::seed_from_u64(2);
        let dead: Vec<Address> = supers(&world).into_iter().step_by(2).collect();
        for at in &dead {
            world.kill(*at);
        }
        world.run_for(seconds(60));
        for at in world.alive() {
            let peer = world.peer(*at).unwrap();
            assert!(peer.links.iter().all(|link| !dead.contains(link)));
            assert!(peer.is_super || peer.parent.is_none_or(|parent| !dead.contains(&parent)));
        }
        let workload = world.shared().library.workload().clone();
        // The others have room for about as many again as they had: most of the orphans.
        let attached =
            world.alive().iter().filter(|at| world.peer(**at).unwrap().parent.is_some()).count();
        let room = supers(&world).len() * 150;
        assert!(attached + 20 >= room.min(world.alive().len() - 20), "{attached} of {room}");
        let rare = std::iter::from_fn(|| workload.rare_search(&mut rng))
            .find(|rare| {
                let holder = workload.holdings.holders(rare.target)[0];
                world.peer(holder).is_some_and(|peer| peer.parent.is_some())
            })
            .unwrap();
        let by =
            *world.alive().iter().find(|at| world.peer(**at).unwrap().parent.is_some()).unwrap();
        let found = search(&mut world, by, &rare);
        assert!(found.hits.iter().any(|hit| hit.content == rare.target));
    }
}

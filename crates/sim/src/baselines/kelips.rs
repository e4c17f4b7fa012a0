//! Kelips: groups of about the square root of all nodes, each node knowing its whole group, some
//! contacts in every other one, and where all files of its group are.
//!
//! Gupta, Birman, Linga, Demers, van Renesse, "Kelips: Building an Efficient and Stable P2P DHT
//! Through Increased Memory and Background Overhead", IPTPS 2003. All state is soft: it is spread by
//! gossip at a constant rate, what is new first, and forgotten when nothing new is heard of it. The
//! round trip is known of each contact, and the nearest is asked. Where the paper has heartbeat
//! counts, entries here carry their age, which does the same with less to remember.
//!
//! An entry has 60 bytes: that is what gives the paper's 1.93 MB of state for 100,000 nodes and 10
//! million files. A message has 5 bytes and its entries. Each user shares one file here, so that
//! the state is mostly routing. How often a node gossips, and how much, is chosen here: a packet of
//! 20 entries every 2 s.

mod gossip;
mod message;
mod state;

pub use message::Message;
pub use state::{converge, truth};

use super::world::{Address, Context, Peer};
use rand::RngExt;
use rand::rngs::SmallRng;
use skein_proto::Instant;
use state::{Contact, Member, Tuple};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of kind and number of a message.
const HEADER: u64 = 5;
/// Bytes of an entry.
const ENTRY: u64 = 60;

/// Contacts in each other group.
const CONTACTS: usize = 2;

/// Time between two packets of gossip.
const GOSSIP: Duration = Duration::from_secs(2);

/// Nodes of the own group in a packet of gossip, the sender among them.
const GOSSIP_MEMBERS: usize = 8;

/// Contacts in a packet of gossip.
const GOSSIP_CONTACTS: usize = 6;

/// Files in a packet of gossip: with the nodes, and 5 bytes, it makes 1,205 bytes.
const GOSSIP_FILES: usize = 6;

/// Every third packet goes to another group.
const ABROAD: u32 = 3;

/// How often the home of a file says that it is still there.
const REFRESH: Duration = Duration::from_secs(60);

/// Members of the own group that are asked for help when no contact is left.
const HELPERS: u32 = 4;

/// What all nodes know.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// How many groups there are.
    pub groups: u32,
    /// How many seconds a member of the own group is remembered of which nothing new is heard.
    forget_members: u32,
    /// How many seconds a contact is.
    forget_contacts: u32,
    /// How many seconds a file is.
    forget_files: u32,
}

impl Shared {
    /// For about so many nodes, with the square root of it as the number of groups, which makes
    /// the state smallest.
    ///
    /// A node receives as many entries as it sends, so it hears of each of so many others about
    /// every `others / entries` packets. The patience is ten times that, and at least half a
    /// minute: what is told first delays the rest, and few of those who live shall be forgotten.
    pub fn for_nodes(nodes: u32) -> Self {
        let groups = f64::from(nodes).sqrt().round().max(1.0);
        let patience = |others: f64, entries: usize| {
            let packets = others / entries as f64;
            (10.0 * packets * GOSSIP.as_secs_f64()).max(30.0) as u32
        };
        // Of the packets that a node gets, those from abroad do not tell of its own group.
        let at_home = f64::from(ABROAD - 1) / f64::from(ABROAD);
        let size = f64::from(nodes) / groups / at_home;
        Self {
            groups: groups as u32,
            forget_members: patience(size, GOSSIP_MEMBERS),
            forget_contacts: patience(groups, GOSSIP_CONTACTS),
            forget_files: patience(size, GOSSIP_FILES) + 3 * REFRESH.as_secs() as u32,
        }
    }

    /// The group of a node or file: a hash of its name.
    fn group(&self, name: u32) -> u32 {
        let hash = u64::from(name).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The high bits are well mixed, and the remainder fits.
        ((hash >> 32) % u64::from(self.groups)) as u32
    }
}

/// A node in gossip.
#[derive(Clone, Copy, Debug)]
pub struct Rumour {
    at: Address,
    /// Seconds since it was heard of from itself.
    age: u32,
}

/// A file in gossip.
#[derive(Clone, Copy, Debug)]
pub struct FileRumour {
    file: u32,
    home: Address,
    /// Seconds since its home said so.
    age: u32,
}

/// What a node wants to be reminded of.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Gossip is due.
    Gossip,
    /// The home of a file is to say that it is still there.
    Refresh,
    /// Joining did not work: it is tried again.
    Join,
}

/// A look-up of the user that is under way.
#[derive(Debug)]
struct Pending {
    operation: u32,
    file: u32,
    tried: Vec<Address>,
    helpers: u32,
}

/// A node.
#[derive(Debug)]
pub struct Kelips {
    me: Address,
    user: u32,
    group: u32,
    joined: bool,
    rounds: u32,
    /// The own group without this node, by address.
    members: Vec<Member>,
    /// For each group; none of the own one.
    contacts: Vec<[Option<Contact>; CONTACTS]>,
    /// The files of the own group, by number.
    tuples: Vec<Tuple>,
    /// Who was heard of last.
    fresh: VecDeque<Address>,
    fresh_files: VecDeque<u32>,
    pending: Vec<Pending>,
}

impl Peer for Kelips {
    type Message = Message;
    type Timer = Timer;
    type Ask = u64;
    type Shared = Shared;

    fn new(user: u32, me: Address, shared: &Shared, _: &mut SmallRng) -> Self {
        Self {
            me,
            user,
            group: shared.group(me),
            joined: false,
            rounds: 0,
            members: Vec::new(),
            contacts: vec![[None; CONTACTS]; shared.groups as usize],
            tuples: Vec::new(),
            fresh: VecDeque::new(),
            fresh_files: VecDeque::new(),
            pending: Vec::new(),
        }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        if joined {
            self.run(ctx);
        } else {
            self.join(ctx);
        }
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        if !matches!(message, Message::Answer { .. }) {
            self.learn(Rumour { at: from, age: 0 }, ctx);
        }
        match message {
            Message::Gossip { nodes, files } => self.on_gossip(&nodes, &files, ctx),
            Message::GetContacts => self.send_contacts(from, ctx),
            Message::GetGroup => self.send_group(from, ctx),
            Message::Insert { file, home } => {
                let now = seconds(ctx.now());
                self.learn_file(Tuple { file, home, heard: now });
            }
            Message::Ask { operation, file, by, hops } => {
                let home = self.home_of(file);
                ctx.send(by, Message::Answer { operation, home, hops });
            }
            Message::Help { operation, file, by } => {
                let nearest = self.contact_for(file, &[], ctx.shared());
                if let Some(contact) = nearest {
                    ctx.send(contact, Message::Ask { operation, file, by, hops: 2 });
                }
            }
            Message::Answer { operation, home, hops } => match home {
                Some(home) => {
                    self.pending.retain(|pending| pending.operation != operation);
                    ctx.answer(operation, home, hops);
                }
                None => self.try_next(operation, ctx),
            },
        }
    }

    fn unanswered(&mut self, to: Address, message: Message, ctx: &mut Context<'_, Self>) {
        self.forget(to, ctx.shared());
        match message {
            Message::Ask { operation, by, .. } if by == self.me => self.try_next(operation, ctx),
            // Somebody was to be helped: with the other contact, then.
            Message::Ask { operation, file, by, hops } => {
                if let Some(contact) = self.contact_for(file, &[], ctx.shared()) {
                    ctx.send(contact, Message::Ask { operation, file, by, hops });
                }
            }
            Message::Help { operation, .. } => self.try_next(operation, ctx),
            Message::GetContacts | Message::GetGroup if !self.joined => self.join(ctx),
            Message::Insert { .. } => self.publish(ctx),
            _ => {}
        }
    }

    fn timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        match timer {
            Timer::Join if self.joined => {}
            Timer::Join => self.join(ctx),
            Timer::Gossip => self.gossip(ctx),
            Timer::Refresh => {
                ctx.timer(REFRESH, Timer::Refresh);
                self.publish(ctx);
            }
        }
    }

    fn ask(&mut self, operation: u32, file: u64, ctx: &mut Context<'_, Self>) {
        // Files have the numbers of their users.
        let file = file as u32;
        if ctx.shared().group(file) == self.group
            && let Some(home) = self.home_of(file)
        {
            return ctx.answer(operation, home, 0);
        }
        self.pending.push(Pending { operation, file, tried: Vec::new(), helpers: 0 });
        self.try_next(operation, ctx);
    }

    fn state_bytes(&self) -> u64 {
        let contacts = self.contacts.iter().flatten().flatten().count();
        (self.members.len() + contacts + self.tuples.len()) as u64 * ENTRY
    }
}

impl Kelips {
    /// Asks the next one who may know: the nearest contact, the other one, or somebody of the own
    /// group for help.
    fn try_next(&mut self, operation: u32, ctx: &mut Context<'_, Self>) {
        let Some(index) = self.pending.iter().position(|p| p.operation == operation) else {
            return;
        };
        let file = self.pending[index].file;
        let me = self.me;
        if let Some(contact) = self.contact_for(file, &self.pending[index].tried, ctx.shared()) {
            self.pending[index].tried.push(contact);
            return ctx.send(contact, Message::Ask { operation, file, by: me, hops: 1 });
        }
        self.pending[index].helpers += 1;
        if self.pending[index].helpers > HELPERS || self.members.is_empty() {
            self.pending.swap_remove(index);
            return;
        }
        let helper = self.members[ctx.rng().random_range(0..self.members.len())].at;
        ctx.send(helper, Message::Help { operation, file, by: me });
    }

    fn run(&self, ctx: &mut Context<'_, Self>) {
        // Nodes have started at different times.
        let gossip = ctx.rng().random_range(Duration::ZERO..GOSSIP);
        let refresh = ctx.rng().random_range(Duration::ZERO..REFRESH);
        ctx.timer(gossip, Timer::Gossip);
        ctx.timer(refresh, Timer::Refresh);
    }
}

/// Whole seconds since the start.
const fn seconds(at: Instant) -> u32 {
    // Runs are shorter than a century.
    (at.as_micros() / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::{self, running, seconds, world};
    use crate::baselines::world::World;

    fn converged(nodes: u32) -> World<Kelips> {
        running(Shared::for_nodes(nodes), nodes, converge)
    }

    /// Looks up so many files of those who are up; answers which share was right, and the hops.
    fn look_up(world: &mut World<Kelips>, count: usize) -> (f64, Vec<u32>) {
        let (members, truth): (Vec<Address>, _) = (world.members().collect(), truth(world));
        let draw_file = |world: &World<Kelips>, rng: &mut SmallRng| {
            u64::from(world.user_of(members[rng.random_range(0..members.len())]))
        };
        let (right, answers) = testing::look_up(world, count, &members, draw_file, truth);
        (right, answers.into_iter().map(|(hops, _)| hops).collect())
    }

    #[test]
    fn a_look_up_takes_one_hop() {
        let mut world = converged(1_000);
        let (right, hops) = look_up(&mut world, 500);
        assert_eq!(right, 1.0);
        assert!(hops.iter().all(|hops| *hops <= 1), "{hops:?}");
    }

    #[test]
    fn the_state_is_that_of_the_formula() {
        let mut world = converged(2_500);
        let bytes: u64 = (0..2_500).map(|at| world.peer(at).unwrap().state_bytes()).sum();
        // A group and its files, and two contacts in each of 49 groups.
        let formula = 2_500.0 * (50.0 + 50.0 + 2.0 * 49.0) * 60.0;
        assert!((bytes as f64 / formula - 1.0).abs() < 0.05, "{bytes} of {formula}");
        // And it stays when nobody goes: nothing is forgotten by mistake for long.
        world.run_for(seconds(300));
        let later: u64 = (0..2_500).map(|at| world.peer(at).unwrap().state_bytes()).sum();
        assert!((later as f64 / formula - 1.0).abs() < 0.05, "{later} of {formula}");
    }

    #[test]
    fn newcomers_and_their_files_become_known() {
        let mut world: World<Kelips> = world(Shared::for_nodes(100), 100, 7);
        for address in 0..100 {
            world.join(address);
            world.run_for(seconds(2));
        }
        world.run_for(seconds(120));
        assert_eq!(world.members().count(), 100);
        let (right, _) = look_up(&mut world, 300);
        assert!(right > 0.99, "{right}");
    }

    #[test]
    fn the_dead_are_forgotten() {
        let mut world = converged(900);
        for address in (0..900).step_by(3) {
            world.kill(address);
        }
        let patience = u64::from(Shared::for_nodes(900).forget_files);
        world.run_for(seconds(patience + 60));
        for address in (1..900).step_by(90) {
            let peer = world.peer(address).unwrap();
            assert!(peer.members.iter().all(|member| member.at % 3 != 0));
            assert!(peer.tuples.iter().all(|tuple| tuple.home % 3 != 0));
            let group = |at: &&Address| world.shared().group(**at) == peer.group;
            let others = world.alive().iter().filter(group).count() - 1;
            assert!(peer.members.len() + 2 >= others, "{} of {others}", peer.members.len());
        }
        let (right, _) = look_up(&mut world, 300);
        assert!(right > 0.99, "{right}");
    }
}

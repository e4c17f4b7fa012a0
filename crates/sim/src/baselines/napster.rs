//! Napster: one server that knows who shares what.
//!
//! Messages are those of the OpenNap project's description ("napster messages", revisions of 2000
//! and 2001): 4 bytes of length and kind, and a line of text. A client logs in (2, 3), names its
//! files (100), searches (200), and gets a result for each match (201) and an end (202), which count
//! as one message here, since they leave the server in one go. The server knows of a client's death
//! by its connection. It never fails here; when a real one did, so did everything.

use super::library::Library;
use super::world::{Address, Context, Peer, World};
use crate::workload::Content;
use rand::rngs::SmallRng;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Bytes of length and kind.
const HEADER: u64 = 4;

/// Bytes of a line of login: name 8, password 8, port, `"v2.0 BETA 7"`, and line speed.
const LOGIN: u64 = 40;

/// Bytes of what a file's line has beside the name, for [`Message::Share`]: quotes, MD5 in
/// hexadecimal, size, bit rate, frequency, seconds, and blanks.
const FILE: u64 = 2 + 33 + 8 + 4 + 6 + 4;

/// Bytes of what a result's line has beside the name: that of the file, the client's name, its
/// address as a number, and the speed of its line.
const RESULT: u64 = FILE + 9 + 11 + 2;

/// The most results of a search: what clients asked for.
const MAX_RESULTS: usize = 100;

/// How long a client waits before it tries again to log in.
const RETRY: Duration = Duration::from_secs(5);

/// What all nodes know.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is shared and asked for.
    pub library: Library,
}

impl Shared {
    /// The server comes after all users.
    fn server_user(&self) -> u32 {
        self.library.workload().nodes()
    }
}

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Who I am. 4 + 40 bytes.
    Login {
        /// The user.
        user: u32,
    },
    /// Welcome, with an address of 20 bytes. 4 + 20 bytes.
    Welcome,
    /// What I share: for each file 4 bytes, its name and 57. One message.
    Share {
        /// Bytes of all lines.
        bytes: u64,
    },
    /// `FILENAME CONTAINS "..." MAX_RESULTS 100`. 4 + 36 bytes and the words.
    Search {
        /// The user's search.
        operation: u32,
        /// Its words.
        search: u32,
        /// Bytes of the words.
        text_bytes: u64,
    },
    /// For each result 4 bytes, its name and 79; and 4 for the end.
    Results {
        /// The user's search.
        operation: u32,
        /// What was found, and where.
        files: Vec<(Content, Address)>,
        /// Bytes of all lines.
        bytes: u64,
    },
}

impl super::world::Message for Message {
    fn bytes(&self) -> u64 {
        match self {
            Self::Login { .. } => HEADER + LOGIN,
            Self::Welcome => HEADER + 20,
            Self::Share { bytes } => *bytes,
            Self::Search { text_bytes, .. } => HEADER + 36 + text_bytes,
            Self::Results { bytes, .. } => HEADER + bytes,
        }
    }

    fn operation(&self) -> Option<u32> {
        match self {
            Self::Search { operation, .. } | Self::Results { operation, .. } => Some(*operation),
            _ => None,
        }
    }

    fn wants_answer(&self) -> bool {
        matches!(self, Self::Login { .. } | Self::Search { .. })
    }
}

/// The client is to log in.
#[derive(Clone, Copy, Debug)]
pub struct Login;

/// A client, or the server.
#[derive(Debug)]
pub struct Napster {
    user: u32,
    server: Option<Address>,
    /// The server's: where each user is.
    clients: FxHashMap<u32, Address>,
    users: FxHashMap<Address, u32>,
    /// The server's: how many files its clients share, and bytes of their lines.
    files_bytes: u64,
}

impl Peer for Napster {
    type Message = Message;
    type Timer = Login;
    type Ask = u32;
    type Shared = Shared;

    fn new(user: u32, _: Address, _: &Shared, _: &mut SmallRng) -> Self {
        Self {
            user,
            server: None,
            clients: FxHashMap::default(),
            users: FxHashMap::default(),
            files_bytes: 0,
        }
    }

    fn start(&mut self, joined: bool, ctx: &mut Context<'_, Self>) {
        if self.user == ctx.shared().server_user() {
            ctx.joined();
        } else if !joined {
            self.log_in(ctx);
        }
    }

    fn received(&mut self, from: Address, message: Message, ctx: &mut Context<'_, Self>) {
        match message {
            Message::Login { user } => {
                self.register(user, from, ctx.shared());
                ctx.send(from, Message::Welcome);
            }
            Message::Welcome => {
                self.server = Some(from);
                let library = &ctx.shared().library;
                let files = library.workload().shared_by(self.user);
                let bytes = library.name_bytes(files, HEADER + FILE);
                if bytes > 0 {
                    ctx.send(from, Message::Share { bytes });
                }
            }
            Message::Share { .. } => {}
            Message::Search { operation, search, .. } => {
                let files = self.find(search, ctx.shared());
                let contents: Vec<Content> = files.iter().map(|(content, _)| *content).collect();
                let bytes = ctx.shared().library.name_bytes(&contents, HEADER + RESULT);
                ctx.send(from, Message::Results { operation, files, bytes });
            }
            Message::Results { operation, files, .. } => {
                for (content, _) in &files {
                    ctx.hit(operation, *content, 1);
                }
                if let Some((_, holder)) = files.first() {
                    ctx.answer(operation, *holder, 1);
                }
            }
        }
    }

    fn unanswered(&mut self, _: Address, message: Message, ctx: &mut Context<'_, Self>) {
        if matches!(message, Message::Login { .. }) {
            ctx.timer(RETRY, Login);
        }
    }

    fn timer(&mut self, _: Login, ctx: &mut Context<'_, Self>) {
        self.log_in(ctx);
    }

    fn ask(&mut self, operation: u32, search: u32, ctx: &mut Context<'_, Self>) {
        let Some(server) = self.server else { return };
        let text_bytes = ctx.shared().library.text_bytes(search);
        ctx.send(server, Message::Search { operation, search, text_bytes });
    }

    fn link_down(&mut self, peer: Address, ctx: &mut Context<'_, Self>) {
        if let Some(user) = self.users.remove(&peer) {
            if self.clients.get(&user) == Some(&peer) {
                self.clients.remove(&user);
            }
            self.files_bytes -= index_bytes(user, ctx.shared());
        }
    }

    fn is_contact(&self) -> bool {
        false
    }

    fn links(&self) -> Vec<Address> {
        self.server.into_iter().collect()
    }

    /// A client's: the server's address. The server's: each client's name and address, and for
    /// each file its name, MD5, size, bit rate, frequency, seconds and owner.
    fn state_bytes(&self) -> u64 {
        let server = if self.server.is_some() { 6 } else { 0 };
        server + self.clients.len() as u64 * (8 + 6) + self.files_bytes
    }
}

/// What the files of a user take in the index, beside a name each.
fn index_bytes(user: u32, shared: &Shared) -> u64 {
    let files = shared.library.workload().shared_by(user);
    shared.library.name_bytes(files, 16 + 4 + 2 + 2 + 2 + 4)
}

impl Napster {
    fn log_in(&self, ctx: &mut Context<'_, Self>) {
        // The server's address is the one that everybody knows: only it is a contact.
        match ctx.contact() {
            Some(server) => ctx.send(server, Message::Login { user: self.user }),
            None => ctx.timer(RETRY, Login),
        }
    }

    fn register(&mut self, user: u32, at: Address, shared: &Shared) {
        self.clients.insert(user, at);
        if self.users.insert(at, user).is_none() {
            self.files_bytes += index_bytes(user, shared);
        }
    }

    fn find(&self, search: u32, shared: &Shared) -> Vec<(Content, Address)> {
        let mut found = Vec::new();
        for user in shared.library.holders(search) {
            let Some(at) = self.clients.get(&user) else { continue };
            let files = shared.library.matches(search, user);
            found.extend(files.iter().map(|content| (*content, *at)));
            if found.len() >= MAX_RESULTS {
                break;
            }
        }
        found.truncate(MAX_RESULTS);
        found
    }
}

/// Adds the server, with everyone logged in.
pub fn converge(world: &mut World<Napster>) {
    let clients = world.alive().to_vec();
    let server_user = world.shared().server_user();
    let server = world.add_server(server_user);
    for at in &clients {
        if let Some(peer) = world.peer_mut(*at) {
            peer.server = Some(server);
        }
    }
    let users: Vec<(u32, Address)> = clients.iter().map(|at| (world.user_of(*at), *at)).collect();
    world.with(server, |peer, ctx| {
        for (user, at) in users {
            peer.register(user, at, ctx.shared());
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::baselines::testing::{library, running, seconds};
    use crate::baselines::world::Operation;
    use crate::workload::Search;
    use rand::SeedableRng;

    fn converged(nodes: u32) -> World<Napster> {
        running(Shared { library: library(nodes, 7) }, nodes, |world, _| converge(world))
    }

    fn search(world: &mut World<Napster>, by: Address, search: &Search) -> Operation {
        let number = world.shared_mut().library.prepare(search);
        let operation = world.ask(by, number);
        world.run_for(seconds(5));
        world.operations()[operation as usize].clone()
    }

    #[test]
    fn a_search_is_a_question_and_an_answer() {
        let mut world = converged(500);
        let mut rng = SmallRng::seed_from_u64(1);
        let rare = world.shared().library.workload().rare_search(&mut rng).unwrap();
        let found = search(&mut world, 3, &rare);
        assert_eq!(found.messages, 2);
        assert!(found.hits.iter().any(|hit| hit.content == rare.target));
        assert_eq!(found.answer.unwrap().hops, 1);
    }

    #[test]
    fn who_has_gone_is_not_found_and_who_comes_again_is() {
        let mut world = converged(500);
        let mut rng = SmallRng::seed_from_u64(1);
        let rare = world.shared().library.workload().rare_search(&mut rng).unwrap();
        let holder = world.shared().library.workload().holdings.holders(rare.target)[0];
        let asker = if holder == 3 { 4 } else { 3 };
        world.kill(world.address_of(holder).unwrap());
        world.run_for(seconds(5));
        let gone = search(&mut world, asker, &rare);
        assert!(gone.hits.iter().all(|hit| hit.content != rare.target));
        let address = world.add(holder);
        world.join(address);
        world.run_for(seconds(20));
        let back = search(&mut world, asker, &rare);
        assert!(back.hits.iter().any(|hit| hit.content == rare.target));
        assert_eq!(back.answer.unwrap().node, address);
    }
}

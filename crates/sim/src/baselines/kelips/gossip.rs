//! Spreading news, joining, and saying where files are.

use super::{
    ABROAD, FileRumour, GOSSIP, GOSSIP_CONTACTS, GOSSIP_FILES, GOSSIP_MEMBERS, Kelips, Message,
    Rumour, Timer, Tuple, seconds,
};
use crate::baselines::world::{Address, Context};
use rand::RngExt;
use std::time::Duration;

/// Rounds of gossip between two looks for what is too old.
const EXPIRE_ROUNDS: u32 = 8;

impl Kelips {
    pub(super) fn join(&mut self, ctx: &mut Context<'_, Self>) {
        match ctx.contact() {
            Some(contact) => {
                ctx.send(contact, Message::GetContacts);
                ctx.timer(Duration::from_secs(5), Timer::Join);
            }
            None => self.finish_join(ctx),
        }
    }

    fn finish_join(&mut self, ctx: &mut Context<'_, Self>) {
        self.joined = true;
        ctx.joined();
        self.publish(ctx);
        self.run(ctx);
    }

    /// One packet: to somebody of the own group, or every third time to another group.
    pub(super) fn gossip(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.timer(GOSSIP, Timer::Gossip);
        self.rounds += 1;
        let now = seconds(ctx.now());
        if self.rounds.is_multiple_of(EXPIRE_ROUNDS) {
            self.expire(now, &ctx.shared().clone());
            self.call_for_contacts(ctx);
        }
        let abroad = self.rounds.is_multiple_of(ABROAD) || self.members.is_empty();
        let to = if abroad {
            self.random_contact(ctx)
        } else {
            let index = ctx.rng().random_range(0..self.members.len());
            Some(self.members[index].at)
        };
        let Some(to) = to else { return };
        let nodes = self.rumours(to, now, ctx);
        let files = if abroad { Box::default() } else { self.file_rumours(now, ctx) };
        ctx.send(to, Message::Gossip { nodes, files });
    }

    /// Who knows nobody of its own group, or nobody of half of the others, asks like a newcomer:
    /// small groups fall apart otherwise.
    fn call_for_contacts(&self, ctx: &mut Context<'_, Self>) {
        let unknown = self.contacts.iter().filter(|places| places.iter().all(Option::is_none));
        // The own group has no contacts either.
        if (self.members.is_empty() || unknown.count() > self.contacts.len() / 2 + 1)
            && let Some(contact) = ctx.contact()
        {
            ctx.send(contact, Message::GetContacts);
        }
    }

    pub(super) fn on_gossip(
        &mut self,
        nodes: &[Rumour],
        files: &[FileRumour],
        ctx: &mut Context<'_, Self>,
    ) {
        let now = seconds(ctx.now());
        for rumour in nodes {
            self.learn(*rumour, ctx);
        }
        let shared = *ctx.shared();
        for rumour in files {
            // A newcomer is told by contacts of all groups.
            if rumour.age < shared.forget_files && shared.group(rumour.file) == self.group {
                let heard = now.saturating_sub(rumour.age);
                self.learn_file(Tuple { file: rumour.file, home: rumour.home, heard });
            }
        }
        if self.joined {
            return;
        }
        // The first answer told of contacts everywhere: one in the own group tells the rest. Who
        // knows nobody there is the first of it.
        if files.is_empty() && !self.members.is_empty() && self.tuples.is_empty() {
            let index = ctx.rng().random_range(0..self.members.len());
            let member = self.members[index].at;
            ctx.send(member, Message::GetGroup);
        } else {
            self.finish_join(ctx);
        }
    }

    /// All contacts, and some of the own group: what a newcomer needs to find its own.
    pub(super) fn send_contacts(&self, to: Address, ctx: &mut Context<'_, Self>) {
        let now = seconds(ctx.now());
        let mut nodes: Vec<Rumour> = self
            .contacts
            .iter()
            .flatten()
            .flatten()
            .map(|contact| Rumour { at: contact.at, age: now.saturating_sub(contact.heard) })
            .collect();
        nodes.push(Rumour { at: self.me, age: 0 });
        ctx.send(to, Message::Gossip { nodes: nodes.into(), files: Box::default() });
    }

    /// The whole group and its files.
    pub(super) fn send_group(&self, to: Address, ctx: &mut Context<'_, Self>) {
        let now = seconds(ctx.now());
        let age = |heard: u32| now.saturating_sub(heard);
        let mut nodes: Vec<Rumour> =
            self.members.iter().map(|m| Rumour { at: m.at, age: age(m.heard) }).collect();
        nodes.push(Rumour { at: self.me, age: 0 });
        let files = self
            .tuples
            .iter()
            .map(|t| FileRumour { file: t.file, home: t.home, age: age(t.heard) })
            .collect();
        ctx.send(to, Message::Gossip { nodes: nodes.into(), files });
    }

    /// Tells one of the file's group that it is here.
    pub(super) fn publish(&mut self, ctx: &mut Context<'_, Self>) {
        let (file, home) = (self.user, self.me);
        if ctx.shared().group(file) == self.group {
            let heard = seconds(ctx.now());
            return self.learn_file(Tuple { file, home, heard });
        }
        let groups = self.contacts.get(ctx.shared().group(file) as usize);
        let contacts: Vec<Address> =
            groups.into_iter().flatten().flatten().map(|contact| contact.at).collect();
        if contacts.is_empty() {
            return;
        }
        let contact = contacts[ctx.rng().random_range(0..contacts.len())];
        ctx.send(contact, Message::Insert { file, home });
    }

    fn random_contact(&self, ctx: &mut Context<'_, Self>) -> Option<Address> {
        (0..8).find_map(|_| {
            let group = ctx.rng().random_range(0..self.contacts.len());
            let place = ctx.rng().random_range(0..super::CONTACTS);
            self.contacts[group][place].map(|contact| contact.at)
        })
    }

    /// What `to` is told: this node, the latest news of the own group, others of it at random,
    /// and some contacts.
    fn rumours(&self, to: Address, now: u32, ctx: &mut Context<'_, Self>) -> Box<[Rumour]> {
        let rumour = |at, heard: u32| Rumour { at, age: now.saturating_sub(heard) };
        let mut rumours = Vec::with_capacity(GOSSIP_MEMBERS + GOSSIP_CONTACTS);
        rumours.push(rumour(self.me, now));
        for at in self.fresh.iter().rev().take(GOSSIP_MEMBERS / 2) {
            if let Ok(index) = self.members.binary_search_by_key(at, |member| member.at) {
                rumours.push(rumour(*at, self.members[index].heard));
            }
        }
        while rumours.len() < GOSSIP_MEMBERS && !self.members.is_empty() {
            let member = self.members[ctx.rng().random_range(0..self.members.len())];
            rumours.push(rumour(member.at, member.heard));
        }
        // To another group first what is known of itself: so its parts find each other.
        let first = ctx.shared().group(to) as usize;
        for number in 0..GOSSIP_CONTACTS {
            let random = ctx.rng().random_range(0..self.contacts.len());
            let group = if number == 0 { first } else { random };
            let contacts = self.contacts[group].iter().flatten();
            if let Some(contact) = contacts.max_by_key(|contact| contact.heard) {
                rumours.push(rumour(contact.at, contact.heard));
            }
        }
        rumours.into()
    }

    fn file_rumours(&self, now: u32, ctx: &mut Context<'_, Self>) -> Box<[FileRumour]> {
        let rumour = |tuple: &Tuple| FileRumour {
            file: tuple.file,
            home: tuple.home,
            age: now.saturating_sub(tuple.heard),
        };
        let mut rumours = Vec::with_capacity(GOSSIP_FILES);
        for file in self.fresh_files.iter().rev().take(GOSSIP_FILES / 2) {
            if let Ok(index) = self.tuples.binary_search_by_key(file, |tuple| tuple.file) {
                rumours.push(rumour(&self.tuples[index]));
            }
        }
        while rumours.len() < GOSSIP_FILES && !self.tuples.is_empty() {
            let index = ctx.rng().random_range(0..self.tuples.len());
            rumours.push(rumour(&self.tuples[index]));
        }
        rumours.into()
    }
}

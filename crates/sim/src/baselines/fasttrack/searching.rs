//! Queries among supernodes, and hits on the way back.

use super::{FastTrack, Message};
use crate::baselines::library::MOST_RESULTS;
use crate::baselines::world::{Address, Context};
use crate::workload::Content;

impl FastTrack {
    /// The user asks: its parent, or the node itself when it is a supernode.
    pub(super) fn on_ask(&mut self, operation: u32, search: u32, ctx: &mut Context<'_, Self>) {
        let shared = ctx.shared();
        let text_bytes = u16::try_from(shared.library.text_bytes(search)).unwrap_or(u16::MAX);
        let me = ctx.me;
        if self.is_super {
            return self.on_query(me, (operation, search, text_bytes), (0, 0), ctx);
        }
        for content in ctx.shared().library.matches(search, self.user).to_vec() {
            ctx.hit(operation, content, 0);
        }
        self.queries.insert(operation, me);
        if let Some(parent) = self.parent {
            let query = Message::Query { operation, search, ttl: 0, hops: 0, text_bytes };
            ctx.send(parent, query);
        }
    }

    /// A query of a child (or of the node's own user), which starts the flood, or of a neighbour.
    pub(super) fn on_query(
        &mut self,
        from: Address,
        (operation, search, text_bytes): (u32, u32, u16),
        (ttl, hops): (u8, u8),
        ctx: &mut Context<'_, Self>,
    ) {
        let from_neighbour = self.links.contains(&from);
        let known =
            from_neighbour || from == ctx.me || self.children.iter().any(|child| child.0 == from);
        if !self.is_super || !known || !self.queries.insert(operation, from) {
            return;
        }
        let ttl = if from_neighbour { ttl } else { ctx.shared().ttl + 1 };
        let hops = hops + 1;
        let files = self.find(search, ctx);
        if !files.is_empty() {
            let bytes = ctx.shared().library.name_bytes(&files, 6 + 1 + 20 + 4 + 1);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.on_hits(operation, hops, files.into(), bytes, ctx);
        }
        if ttl > 1 {
            for link in self.links.iter().filter(|link| **link != from) {
                let ttl = ttl - 1;
                ctx.send(*link, Message::Query { operation, search, ttl, hops, text_bytes });
            }
        }
    }

    /// What the index of this supernode has: its own files and those of its children, each content
    /// once.
    fn find(&self, search: u32, ctx: &Context<'_, Self>) -> Vec<Content> {
        let library = &ctx.shared().library;
        let users = self.children.iter().map(|child| child.1).chain([self.user]);
        let mut files: Vec<Content> =
            users.flat_map(|user| library.matches(search, user)).copied().collect();
        files.sort_unstable();
        files.dedup();
        files.truncate(MOST_RESULTS);
        files
    }

    /// Hits go one step back on the way of the query, or to the user.
    pub(super) fn on_hits(
        &self,
        operation: u32,
        hops: u8,
        files: Box<[Content]>,
        files_bytes: u32,
        ctx: &mut Context<'_, Self>,
    ) {
        match self.queries.from(operation) {
            Some(back) if back == ctx.me => {
                for content in files {
                    ctx.hit(operation, content, hops.into());
                }
            }
            Some(back) => {
                ctx.send(back, Message::Hits { operation, hops, files, files_bytes });
            }
            None => {}
        }
    }
}

//! Iterative look-ups: one question after the other, back to the last one who answered when
//! somebody does not.

use super::{Chord, Message, Node};
use crate::baselines::world::{Address, Context};

/// Steps after which a look-up is given up; a way takes `log2 N` of them at most when the ring is
/// whole.
const MAX_STEPS: u32 = 64;

/// What a look-up is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Ask(u32),
    Finger(usize),
    Join,
}

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Walk {
    number: u32,
    pub(super) purpose: Purpose,
    key: u64,
    /// Those who answered, and at the end the one who is asked.
    path: Vec<Node>,
    steps: u32,
}

impl Walk {
    const fn operation(&self) -> Option<u32> {
        match self.purpose {
            Purpose::Ask(operation) => Some(operation),
            Purpose::Finger(_) | Purpose::Join => None,
        }
    }
}

impl Chord {
    /// Looks a key up, first with `first` or else with what the node knows itself.
    pub(super) fn walk(
        &mut self,
        purpose: Purpose,
        key: u64,
        first: Option<Node>,
        ctx: &mut Context<'_, Self>,
    ) {
        let number = self.next_walk;
        self.next_walk = self.next_walk.wrapping_add(1);
        self.walks.push(Walk { number, purpose, key, path: Vec::new(), steps: 0 });
        let (next, owner) = first.map_or_else(|| self.step(key), |first| (first, false));
        self.on_next(number, next, owner, ctx);
    }

    fn position(&self, number: u32) -> Option<usize> {
        self.walks.iter().position(|walk| walk.number == number)
    }

    /// The next one is known.
    pub(super) fn on_next(
        &mut self,
        number: u32,
        node: Node,
        owner: bool,
        ctx: &mut Context<'_, Self>,
    ) {
        let Some(index) = self.position(number) else { return };
        let walk = &mut self.walks[index];
        walk.steps += 1;
        if walk.steps > MAX_STEPS {
            self.walks.swap_remove(index);
            return;
        }
        if owner {
            return self.on_owner(index, node, ctx);
        }
        if node.at == self.me.at {
            // Somebody sends the asker to itself: it knows no better.
            self.walks.swap_remove(index);
            return;
        }
        walk.path.push(node);
        let (operation, key) = (walk.operation(), walk.key);
        ctx.send(node.at, Message::FindNext { operation, walk: number, key, failed: None });
    }

    fn on_owner(&mut self, index: usize, node: Node, ctx: &mut Context<'_, Self>) {
        let me = self.me;
        let walk = &mut self.walks[index];
        match walk.purpose {
            Purpose::Ask(operation) if node.at == me.at => {
                let hops = walk.path.len() as u32;
                ctx.answer(operation, me.at, hops);
                self.walks.swap_remove(index);
            }
            Purpose::Ask(operation) => {
                walk.path.push(node);
                ctx.send(node.at, Message::Get { operation, walk: walk.number });
            }
            Purpose::Finger(finger) => {
                self.fingers[finger] = (node.at != me.at).then_some(node);
                self.walks.swap_remove(index);
            }
            Purpose::Join => {
                self.walks.swap_remove(index);
                if node.at == me.at {
                    return;
                }
                self.successors = vec![node];
                ctx.send(node.at, Message::GetFingers);
                self.stabilise(ctx);
                self.begin_rounds(ctx);
            }
        }
    }

    /// The owner has answered.
    pub(super) fn on_got(&mut self, number: u32, ctx: &mut Context<'_, Self>) {
        let Some(index) = self.position(number) else { return };
        let walk = self.walks.swap_remove(index);
        if let (Purpose::Ask(operation), Some(owner)) = (walk.purpose, walk.path.last()) {
            ctx.answer(operation, owner.at, walk.path.len() as u32);
        }
    }

    /// The last one asked does not answer: the one before is told so and names another.
    pub(super) fn on_silence(&mut self, number: u32, dead: Address, ctx: &mut Context<'_, Self>) {
        let Some(index) = self.position(number) else { return };
        let walk = &mut self.walks[index];
        walk.path.retain(|node| node.at != dead);
        walk.steps += 1;
        let (operation, key) = (walk.operation(), walk.key);
        if let Some(before) = walk.path.last() {
            let failed = Some(dead);
            ctx.send(before.at, Message::FindNext { operation, walk: number, key, failed });
            return;
        }
        if matches!(walk.purpose, Purpose::Join) {
            // The timer for joining takes care of it.
            self.walks.swap_remove(index);
            return;
        }
        let (next, owner) = self.step(key);
        self.on_next(number, next, owner, ctx);
    }
}

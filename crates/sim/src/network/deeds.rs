//! What nodes do to others, until it is carried out.

use super::Settings;
use skein_overlay::Output;
use skein_proto::{Instant, Message, NodeId};

/// What a node does to others.
pub(super) enum Deed {
    /// It sends a message over a link.
    Send { to: u32, link: u32, bytes: u64, message: Box<Message> },
    /// It has closed its end of a link.
    HangUp { peer: NodeId, to: u32, link: u32 },
    /// It wants to be woken.
    Wake { at: Instant },
    /// It wants something else of its driver.
    Other(Output),
}

/// What one or more nodes do to others, in the order in which they do it.
#[derive(Default)]
pub(super) struct Deeds {
    /// Whether what nodes tell their users is kept.
    pub(super) keep_events: bool,
    /// Whether a search of an index takes no time.
    pub(super) looks_up_at_once: bool,
    list: Vec<Deed>,
    pub(super) tally: Tally,
}

/// Counts that tell whether nodes behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often an overlay wanted to be woken at a time that was over already: it would spin.
    pub overdue_wakeups: u64,
    /// How often an overlay was woken.
    pub wakeups: u64,
    /// The most that an overlay wanted done because of one input.
    pub most_outputs: usize,
    /// Messages that the codec refused to send.
    pub refused_messages: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.overdue_wakeups += other.overdue_wakeups;
        self.wakeups += other.wakeups;
        self.most_outputs = self.most_outputs.max(other.most_outputs);
        self.refused_messages += other.refused_messages;
    }
}

impl Deeds {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { keep_events, index_time, .. } = settings;
        Self {
            keep_events: *keep_events,
            looks_up_at_once: index_time.is_zero(),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, deed: Deed) {
        self.list.push(deed);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes out all deeds; there is room for as many again.
    pub(super) fn drain(&mut self) -> std::vec::Drain<'_, Deed> {
        self.list.drain(..)
    }
}

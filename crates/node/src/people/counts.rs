//! What chat counts.

use crate::api::chat::ChatState;
use skein_proto::chat::ChatRefusal;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of chat since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatCounts {
    /// Messages of others that were put on disk.
    pub kept: u64,
    /// Messages of others that were on disk already.
    pub repeated: u64,
    /// Messages of others refused since their sender is blocked, or they were empty.
    pub not_wanted: u64,
    /// Messages of others refused since they came too fast.
    pub too_fast: u64,
    /// Messages of others refused since too many were unread.
    pub full: u64,
    /// Messages of others refused since they could not be put on disk.
    pub unavailable: u64,
    /// Messages of this user that were delivered.
    pub delivered: u64,
    /// Messages of this user that were refused for good.
    pub refused: u64,
    /// Tries to deliver that did not work.
    pub tries_failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    kept: AtomicU64,
    repeated: AtomicU64,
    not_wanted: AtomicU64,
    too_fast: AtomicU64,
    full: AtomicU64,
    unavailable: AtomicU64,
    delivered: AtomicU64,
    refused: AtomicU64,
    tries_failed: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn kept(&self) {
        add(&self.kept);
    }

    pub(super) fn repeated(&self) {
        add(&self.repeated);
    }

    pub(super) fn refused(&self, refusal: ChatRefusal) {
        add(match refusal {
            ChatRefusal::NotWanted => &self.not_wanted,
            ChatRefusal::TooFast => &self.too_fast,
            ChatRefusal::Full => &self.full,
            ChatRefusal::Unavailable => &self.unavailable,
        });
    }

    pub(super) fn settled(&self, state: ChatState) {
        match state {
            ChatState::Delivered => add(&self.delivered),
            ChatState::Refused => add(&self.refused),
            ChatState::Queued | ChatState::Unread | ChatState::Read => {}
        }
    }

    pub(super) fn failed(&self) {
        add(&self.tries_failed);
    }

    pub(super) fn snapshot(&self) -> ChatCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ChatCounts {
            kept: read(&self.kept),
            repeated: read(&self.repeated),
            not_wanted: read(&self.not_wanted),
            too_fast: read(&self.too_fast),
            full: read(&self.full),
            unavailable: read(&self.unavailable),
            delivered: read(&self.delivered),
            refused: read(&self.refused),
            tries_failed: read(&self.tries_failed),
        }
    }
}

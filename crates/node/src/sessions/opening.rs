//! One call for each peer at a time: whoever else wants the peer waits, and finds a session.

use super::name::PeerName;
use dashmap::DashMap;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// The peers that are being called.
pub(super) type Turns = DashMap<PeerName, Arc<Mutex<()>>>;

/// Somebody wants a session with a peer. What is kept for that ends with the last who does, also
/// with one who gives up.
pub(super) struct Opening<'a> {
    turns: &'a Turns,
    peer: &'a PeerName,
    /// Until it is dropped.
    turn: Option<Arc<Mutex<()>>>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(turns: &'a Turns, peer: &'a PeerName) -> Self {
        let turn = Some(Arc::clone(&*turns.entry(peer.clone()).or_default()));
        Self { turns, peer, turn }
    }

    /// Waits until nobody else calls the peer.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        // Of two that end at the same time, the later one finds nobody else.
        self.turn = None;
        self.turns.remove_if(self.peer, |_, turn| Arc::strong_count(turn) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::NodeId;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_those_who_gave_up() {
        let (turns, peer) = (Turns::default(), PeerName::Node(NodeId::from_bytes([1; 32])));
        let first = Opening::new(&turns, &peer);
        let held = first.turn().await;
        let second = async {
            let opening = Opening::new(&turns, &peer);
            let _turn = opening.turn().await;
        };
        assert!(timeout(Duration::from_secs(1), second).await.is_err(), "it waits for its turn");
        assert_eq!(turns.len(), 1, "the first one goes on");
        drop(held);
        drop(first);
        assert!(turns.is_empty());
    }
}

//! Keeps the cache of supernodes on disk.

use crate::home::Home;
use skein_proto::SupernodeEntry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Keeps the cache of supernodes on disk: one write at a time, and always the latest state last.
/// What is overtaken while a slow disk writes is not written at all.
#[derive(Debug)]
pub(crate) struct Memory {
    wanted: watch::Sender<Vec<SupernodeEntry>>,
    writer: JoinHandle<()>,
}

impl Memory {
    /// Keeps what it is told in this folder. Must be called within a tokio runtime.
    pub(crate) fn start(home: Home) -> Self {
        let (wanted, mut changes) = watch::channel(Vec::new());
        let writer = tokio::spawn(async move {
            // After the last sender is gone this still yields what was set and not seen yet.
            while changes.changed().await.is_ok() {
                let entries = changes.borrow_and_update().clone();
                let home = home.clone();
                let write = tokio::task::spawn_blocking(move || home.set_supernodes(&entries));
                // A panic in there has been reported by the runtime.
                if let Ok(Err(error)) = write.await {
                    tracing::warn!(%error, "the cache of supernodes was not written");
                }
            }
        });
        Self { wanted, writer }
    }

    /// Keeps these from now on.
    pub(crate) fn set(&self, entries: Vec<SupernodeEntry>) {
        self.wanted.send_replace(entries);
    }

    /// Waits until what was set last is on disk.
    pub(crate) async fn close(self) {
        drop(self.wanted);
        // It ends in no other way than by the runtime's end.
        let _ = self.writer.await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::{BoundedVec, NodeId, UnixTime};

    fn supernodes(count: u8) -> Vec<SupernodeEntry> {
        (0..count)
            .map(|number| SupernodeEntry {
                node: NodeId::from_bytes([number; 32]),
                addresses: BoundedVec::truncated([([192, 0, 2, number], 1).into()]),
                load_percent: 1,
                seen: UnixTime(1),
            })
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_set_last_is_on_disk_when_it_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::open(temp.path()).unwrap();
        let memory = Memory::start(home.clone());
        for count in (1..=100).rev() {
            memory.set(supernodes(count));
            tokio::task::yield_now().await;
        }
        memory.close().await;
        assert_eq!(home.supernodes().unwrap(), supernodes(1));
    }
}

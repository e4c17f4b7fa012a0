//! Which nodes may fetch which files that are not shared.

use super::offer::Offer;
use crate::daemon::clock::unix_now;
use crate::library::outboard::outboard_bytes;
use crate::transfer::{Granted, Grants, StoredFile};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skein_proto::{ContentId, NodeId, UnixTime, Username};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Files found changed that wait to be told; one that is not told now is found again.
const CHANGED_WAITING: usize = 16;

/// How long the file system may take to say whether a file is what it was.
const LOOK_TIME: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Grant {
    id: u64,
    name: Username,
    node: NodeId,
    file: StoredFile,
    modified: Option<i64>,
    expires: UnixTime,
    gone: CancellationToken,
    /// One look at a time: where the file system does not answer, each takes a thread, however
    /// often a peer asks.
    looking: Arc<tokio::sync::Mutex<()>>,
}

/// What the open offers of this node allow.
#[derive(Debug)]
pub(crate) struct OfferGrants {
    outbox: PathBuf,
    grants: Mutex<HashMap<ContentId, Vec<Grant>>>,
    changed: mpsc::Sender<u64>,
}

impl OfferGrants {
    /// Without any. The hash trees are in the folder `outbox`; the offers whose file has changed
    /// come out of the receiver.
    pub(crate) fn new(outbox: PathBuf) -> (Self, mpsc::Receiver<u64>) {
        let (changed, changes) = mpsc::channel(CHANGED_WAITING);
        (Self { outbox, grants: Mutex::default(), changed }, changes)
    }

    /// The folder of the hash trees.
    pub(super) fn outbox(&self) -> &Path {
        &self.outbox
    }

    /// Where the hash tree of a content is.
    pub(super) fn outboard(&self, content: &ContentId) -> PathBuf {
        self.outbox.join(format!("{content}.obao4"))
    }

    /// Removes what was left in the folder of the hash trees but those of these contents. It
    /// blocks. What stays costs nothing but room.
    pub(super) fn clear_outbox(&self, but: &HashSet<ContentId>) {
        let kept: HashSet<PathBuf> = but.iter().map(|content| self.outboard(content)).collect();
        let Ok(entries) = std::fs::read_dir(&self.outbox) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !kept.contains(path))
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// From now on, what these offers allow. What was being sent and is not allowed any more ends.
    pub(super) fn set<'a>(&self, offers: impl Iterator<Item = &'a Offer>) {
        let now = unix_now();
        let mut current = self.lock();
        let known: HashMap<u64, Grant> = current
            .drain()
            .flat_map(|(_, of_content)| of_content)
            .map(|one| (one.id, one))
            .collect();
        let mut grants: HashMap<ContentId, Vec<Grant>> = HashMap::new();
        for offer in offers.filter(|offer| offer.is_granted(now)) {
            let (Some(content), Some(path), Some(node)) =
                (offer.content, offer.path.clone(), offer.node)
            else {
                continue;
            };
            let needs_tree = outboard_bytes(offer.size) > 0;
            let outboard = needs_tree.then(|| self.outboard(&content));
            let before = known.get(&offer.id).filter(|grant| grant.node == node);
            let before = before.map(|grant| (grant.gone.clone(), Arc::clone(&grant.looking)));
            let (gone, looking) = before.unwrap_or_default();
            grants.entry(content).or_default().push(Grant {
                gone,
                looking,
                id: offer.id,
                name: offer.peer.clone(),
                node,
                file: StoredFile { path, size: offer.size, outboard },
                modified: offer.modified,
                expires: offer.expires,
            });
        }
        let stays = |old: &Grant| {
            let same = |new: &Grant| new.id == old.id && new.node == old.node;
            grants.values().flatten().any(same)
        };
        known.values().filter(|grant| !stays(grant)).for_each(|grant| grant.gone.cancel());
        *current = grants;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContentId, Vec<Grant>>> {
        // No code that holds it can leave it half-changed by a panic.
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    /// Whether the file is what it was, as far as the file system tells in time.
    async fn is_as_it_was(&self) -> Option<bool> {
        let (path, expected) = (self.file.path.clone(), (self.file.size, self.modified));
        let look = async {
            let turn = Arc::clone(&self.looking).lock_owned().await;
            let look = move || {
                let found = stamp(&path);
                drop(turn);
                found
            };
            tokio::task::spawn_blocking(look).await
        };
        let found = timeout(LOOK_TIME, look).await.ok()?.ok()?;
        Some(found.ok() == Some(expected))
    }
}

impl Grants for OfferGrants {
    fn granted<'a>(
        &'a self,
        content: &'a ContentId,
        node: &'a NodeId,
        name: &'a Username,
    ) -> BoxFuture<'a, Option<Granted>> {
        async move {
            let is_theirs = |grant: &&Grant| {
                grant.name == *name && grant.node == *node && unix_now() < grant.expires
            };
            let grant = self.lock().get(content)?.iter().find(is_theirs)?.clone();
            if grant.is_as_it_was().await? {
                return Some(Granted { file: grant.file, number: grant.id, gone: grant.gone });
            }
            self.changed(grant.id);
            None
        }
        .boxed()
    }

    fn changed(&self, number: u64) {
        let _ = self.changed.try_send(number);
    }
}

/// The length of a file, and when it was changed the last time, in nanoseconds since 1970.
pub(super) fn stamp(path: &Path) -> std::io::Result<(u64, Option<i64>)> {
    let meta = std::fs::metadata(path)?;
    let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((meta.len(), modified.and_then(|since| i64::try_from(since.as_nanos()).ok())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::offer::tests::offer;
    use super::*;
    use crate::api::inbox::OfferStage;

    #[tokio::test]
    async fn a_file_is_for_whom_it_was_offered_to_as_long_as_it_is_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("song");
        std::fs::write(&path, "la").unwrap();
        let (size, modified) = stamp(&path).unwrap();
        let now = unix_now();
        let sent = Offer {
            path: Some(path.clone()),
            size,
            modified,
            expires: now.plus(super::super::offer::LIFE),
            ..offer(1, true, OfferStage::Offered)
        };
        let (grants, mut changes) = OfferGrants::new(temp.path().to_owned());
        grants.set([&sent].into_iter());
        let (content, node, name) = (sent.content.unwrap(), sent.node.unwrap(), sent.peer.clone());
        let granted = grants.granted(&content, &node, &name).await.unwrap();
        assert_eq!(granted.file.path, path);
        let mallory = Username::parse("mallory").unwrap();
        assert!(grants.granted(&content, &node, &mallory).await.is_none());
        assert!(grants.granted(&content, &NodeId::from_bytes([9; 32]), &name).await.is_none());
        assert!(grants.granted(&ContentId::from_bytes([9; 32]), &node, &name).await.is_none());
        assert!(changes.try_recv().is_err());

        std::fs::write(&path, "lala").unwrap();
        assert!(grants.granted(&content, &node, &name).await.is_none());
        assert_eq!(changes.try_recv().unwrap(), sent.id);
        grants.set([&sent].into_iter());
        assert!(!granted.gone.is_cancelled(), "it is the same grant");
        grants.set(std::iter::empty());
        assert!(grants.granted(&content, &node, &name).await.is_none());
        assert!(granted.gone.is_cancelled());
    }
}

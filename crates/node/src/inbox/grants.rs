//! Which nodes may fetch which files that are not shared.

use super::offer::Offer;
use crate::daemon::clock::unix_now;
use crate::library::outboard::outboard_bytes;
use crate::transfer::{Grants, StoredFile};
use skein_proto::{ContentId, NodeId, UnixTime, Username};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use tokio::sync::mpsc;

/// Files found changed that wait to be told; one that is not told now is found again.
const CHANGED_WAITING: usize = 16;

#[derive(Clone, Debug)]
struct Grant {
    id: u64,
    name: Username,
    node: NodeId,
    file: StoredFile,
    modified: Option<i64>,
    expires: UnixTime,
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

    /// From now on, what these offers allow.
    pub(super) fn set<'a>(&self, offers: impl Iterator<Item = &'a Offer>) {
        let now = unix_now();
        let mut grants: HashMap<ContentId, Vec<Grant>> = HashMap::new();
        for offer in offers.filter(|offer| offer.is_granted(now)) {
            let (Some(content), Some(path), Some(node)) =
                (offer.content, offer.path.clone(), offer.node)
            else {
                continue;
            };
            let needs_tree = outboard_bytes(offer.size) > 0;
            let outboard = needs_tree.then(|| self.outboard(&content));
            grants.entry(content).or_default().push(Grant {
                id: offer.id,
                name: offer.peer.clone(),
                node,
                file: StoredFile { path, size: offer.size, outboard },
                modified: offer.modified,
                expires: offer.expires,
            });
        }
        *self.grants.lock().unwrap_or_else(PoisonError::into_inner) = grants;
    }
}

impl Grants for OfferGrants {
    fn granted(&self, content: &ContentId, node: &NodeId, name: &Username) -> Option<StoredFile> {
        let grant = {
            let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
            let of_content = grants.get(content)?;
            let is_theirs = |grant: &&Grant| {
                grant.name == *name && grant.node == *node && unix_now() < grant.expires
            };
            of_content.iter().find(is_theirs)?.clone()
        };
        if stamp(&grant.file.path).ok() == Some((grant.file.size, grant.modified)) {
            return Some(grant.file);
        }
        let _ = self.changed.try_send(grant.id);
        None
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

    #[test]
    fn a_file_is_for_whom_it_was_offered_to_as_long_as_it_is_the_same() {
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
        assert_eq!(grants.granted(&content, &node, &name).unwrap().path, path);
        assert!(grants.granted(&content, &node, &Username::parse("mallory").unwrap()).is_none());
        assert!(grants.granted(&content, &NodeId::from_bytes([9; 32]), &name).is_none());
        assert!(grants.granted(&ContentId::from_bytes([9; 32]), &node, &name).is_none());
        assert!(changes.try_recv().is_err());

        std::fs::write(&path, "lala").unwrap();
        assert!(grants.granted(&content, &node, &name).is_none());
        assert_eq!(changes.try_recv().unwrap(), sent.id);
        grants.set(std::iter::empty());
        assert!(grants.granted(&content, &node, &name).is_none());
    }
}

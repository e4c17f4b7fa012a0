//! Whether a node is a supernode's child, by the node's own word.

use super::check;
use super::table::place_of;
use super::{Directory, Holder};
use crate::core::Core;
use crate::io::Now;
use skein_proto::NodeId;
use skein_proto::directory::{DirectoryKey, NodeRecord};

impl Directory {
    /// The record in which a child of this supernode says that it is one; `None` if it has not said
    /// so lately.
    pub(crate) fn bond_of(&self, child: &NodeId, now: Now) -> Option<NodeRecord> {
        let record = self.holder.as_ref()?.cards.record(child)?;
        let is_good = now.unix < record.presence.unverified().expires
            && now.unix < record.credential.unverified().expires;
        is_good.then_some(record)
    }

    /// Whether a node says in this record that `parent` is its parent.
    pub(crate) fn is_bond(
        &self,
        core: &Core,
        record: &NodeRecord,
        parent: &NodeId,
        now: Now,
    ) -> bool {
        let (owner, said) = (record.credential.unverified(), record.presence.unverified());
        let names = |contact: &skein_proto::directory::Contact| contact.node == *parent;
        said.parent.as_ref().is_some_and(names)
            && now.unix < said.expires
            && owner.node != *parent
            && check::credential(core, &record.credential, now).is_ok()
            && check::presence(&record.credential, &record.presence, now).is_ok()
    }

    /// Whether the node of this record has named another parent since, as far as is kept here.
    pub(crate) fn has_moved(&self, record: &NodeRecord, parent: &NodeId, now: Now) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.has_moved(record, parent, now))
    }
}

impl Holder {
    /// Whether the node of this record has named another parent since.
    fn has_moved(&self, record: &NodeRecord, parent: &NodeId, now: Now) -> bool {
        let (owner, said) = (record.credential.unverified(), record.presence.unverified());
        let place = place_of(&DirectoryKey::Name(owner.name.clone()));
        self.table.nodes(place, now.unix).iter().any(|known| {
            let newer = known.presence.unverified();
            known.credential.unverified().node == owner.node
                && newer.issued > said.issued
                && newer.parent.as_ref().is_none_or(|contact| contact.node != *parent)
        })
    }
}

//! What comes of a look-up: checked by everyone who passes it on or shows it.

use crate::core::Core;
use crate::io::{Now, Output};
use skein_proto::directory::{
    Contact, DirectoryKey, FindOutcome, Found, NodeRecord, SourceRecords, SourceState,
};
use skein_proto::{BoundedVec, Credential, NodeId, QueryId, UnixTime, Username};
use std::net::SocketAddr;

use super::check;
use super::lookup::Asker;

/// A node of a name that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundNode {
    /// The node.
    pub node: NodeId,
    /// The user that it belongs to, by a credential that was checked.
    pub name: Username,
    /// Whether it is there, as far as the directory knows.
    pub online: bool,
    /// Where to try, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it is attached to; a supernode has none.
    pub parent: Option<Contact>,
    /// When it last said that it is there, or was lost.
    pub seen: UnixTime,
}

/// A source of a content that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSource {
    /// The node to ask.
    pub node: NodeId,
    /// The user that it belongs to, by a credential that was checked.
    pub name: Username,
    /// Where to try, the likeliest first; none if it never said so.
    pub addresses: Vec<SocketAddr>,
    /// The supernode that it was attached to; a supernode has none.
    pub parent: Option<Contact>,
    /// Whether it has all of the content; a part of it, if not.
    pub complete: bool,
    /// When it last said that it has it.
    pub seen: UnixTime,
}

/// Whether a node is there, as far as anybody knows.
pub(super) fn is_online(record: &NodeRecord, now: UnixTime) -> bool {
    let presence = record.presence.unverified();
    presence.online && record.loss.is_none() && now < presence.expires
}

fn name_of(credential: &Credential) -> (NodeId, Username) {
    (credential.node, credential.name.clone())
}

fn found_node(record: &NodeRecord, now: UnixTime) -> FoundNode {
    let presence = record.presence.unverified();
    let (node, name) = name_of(record.credential.unverified());
    let lost = record.loss.as_ref().map(|loss| loss.unverified().at);
    FoundNode {
        node,
        name,
        online: is_online(record, now),
        addresses: presence.addresses.to_vec(),
        parent: presence.parent.clone(),
        seen: lost.unwrap_or(presence.issued),
    }
}

fn found_source(source: &SourceRecords) -> Option<FoundSource> {
    let claim = source.claims.first()?.unverified();
    let (node, name) = name_of(source.credential.unverified());
    let presence = source.presence.as_ref().map(|presence| presence.unverified());
    Some(FoundSource {
        node,
        name,
        addresses: presence.map(|presence| presence.addresses.to_vec()).unwrap_or_default(),
        parent: presence.and_then(|presence| presence.parent.clone()),
        complete: claim.state == SourceState::Complete,
        seen: claim.issued,
    })
}

/// Drops what is not about the key, or does not hold.
pub(super) fn retain_sound(core: &mut Core, key: &DirectoryKey, found: &mut Found, now: Now) {
    let mut nodes = std::mem::take(&mut found.nodes).into_vec();
    nodes.retain(|record| {
        let sound = sound_node(core, key, record, now);
        sound.map_err(|fault| fault.count(core)).is_ok()
    });
    let mut sources = std::mem::take(&mut found.sources).into_vec();
    sources.retain(|source| {
        let sound = sound_source(core, key, source, now);
        sound.map_err(|fault| fault.count(core)).is_ok()
    });
    found.nodes = BoundedVec::truncated(nodes);
    found.sources = BoundedVec::truncated(sources);
}

fn sound_node(
    core: &Core,
    key: &DirectoryKey,
    record: &NodeRecord,
    now: Now,
) -> Result<(), check::Fault> {
    let asked = match key {
        DirectoryKey::Name(name) => record.credential.unverified().name == *name,
        DirectoryKey::Content(_) => false,
    };
    if !asked {
        return Err(check::Fault::Forged);
    }
    check::credential(core, &record.credential, now)?;
    check::presence(&record.credential, &record.presence, now)?;
    match &record.loss {
        Some(loss) => check::loss(&record.credential, &record.presence, loss, now),
        None => Ok(()),
    }
}

fn sound_source(
    core: &Core,
    key: &DirectoryKey,
    source: &SourceRecords,
    now: Now,
) -> Result<(), check::Fault> {
    let DirectoryKey::Content(content) = key else { return Err(check::Fault::Forged) };
    // One claim for each source: what a holder has of a content it says once.
    let [claim] = source.claims.as_ref() else { return Err(check::Fault::Forged) };
    let said = claim.unverified();
    if said.content != *content || said.state == SourceState::Withdrawn {
        return Err(check::Fault::Forged);
    }
    check::credential(core, &source.credential, now)?;
    check::claim(&source.credential, claim, now)?;
    match &source.presence {
        Some(presence) => check::presence(&source.credential, presence, now),
        None => Ok(()),
    }
}

/// What comes of a look-up.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: FindOutcome,
    pub(super) nodes: Vec<NodeRecord>,
    pub(super) sources: Vec<SourceRecords>,
}

impl Answer {
    /// An answer without records.
    pub(super) fn nothing(outcome: FindOutcome) -> Self {
        Self { outcome, nodes: Vec::new(), sources: Vec::new() }
    }

    /// Tells whoever asked.
    pub(super) fn give(self, core: &mut Core, asker: Asker, now: Now) {
        let Self { outcome, nodes, sources } = self;
        match asker {
            Asker::User(id) => tell(core, id, outcome, &nodes, &sources, now),
            Asker::Child(child, id) => {
                let found = Found {
                    nodes: BoundedVec::truncated(nodes),
                    sources: BoundedVec::truncated(sources),
                    ..Found::nothing(id, outcome)
                };
                core.send(child, found);
            }
        }
    }
}

/// Tells this node's user.
pub(super) fn tell(
    core: &mut Core,
    id: QueryId,
    outcome: FindOutcome,
    nodes: &[NodeRecord],
    sources: &[SourceRecords],
    now: Now,
) {
    let nodes = nodes.iter().map(|record| found_node(record, now.unix)).collect();
    let sources = sources.iter().filter_map(found_source).collect();
    core.outputs.push_back(Output::Found { id, outcome, nodes, sources });
}

//! Sessions as ways to the sources of downloads.

use super::Sessions;
use super::error::SessionError;
use super::name::PeerName;
use super::path::PathKind;
use super::peer::PeerSession;
use crate::api::types::{Source, SourcePath};
use crate::transfer::{SessionWay, SourceSessions};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skein_net::Connection;
use skein_overlay::FoundNode;
use skein_proto::directory::Contact;
use skein_proto::{BoundedVec, NodeId, UnixTime};
use std::sync::Arc;

impl SessionWay for PeerSession {
    fn connection(&self) -> &Connection {
        self.connection()
    }

    fn path(&self) -> SourcePath {
        match self.path_now().kind {
            PathKind::Relayed { .. } => SourcePath::SessionRelayed,
            // One that was begun without an offer has no other way.
            PathKind::Direct { .. } if self.paths().is_none() => SourcePath::Direct,
            PathKind::Direct { .. } => SourcePath::SessionDirect,
        }
    }
}

impl SourceSessions for Sessions {
    fn is_hidden(&self) -> bool {
        self.inner.parts.hidden
    }

    fn live(&self, node: &NodeId) -> Option<Arc<dyn SessionWay>> {
        Self::live(self, node).map(|session| session as Arc<dyn SessionWay>)
    }

    fn open<'a>(
        &'a self,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<Arc<dyn SessionWay>, SessionError>> {
        async move {
            // Of one without an address that is said to be its own parent only the name is known.
            let session = if source.parent == source.node && source.addresses.is_empty() {
                let peer = PeerName::NodeOf(source.name.clone(), source.node.into());
                Self::open(self, &peer).await?
            } else {
                self.open_at(&found(source)).await?
            };
            Ok(session as Arc<dyn SessionWay>)
        }
        .boxed()
    }
}

/// What is known of a source, as the directory would say it. Its addresses are left out: whoever
/// asks for a session has tried them, or is not to be seen there.
fn found(source: &Source) -> FoundNode {
    let parent = (source.parent != source.node)
        .then(|| Contact { node: source.parent, addresses: BoundedVec::default() });
    FoundNode {
        node: source.node,
        name: source.name.clone(),
        online: true,
        addresses: Vec::new(),
        parent,
        seen: UnixTime(0),
    }
}

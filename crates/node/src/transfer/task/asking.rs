//! Asking sources, each in a helper of its own.

use super::{Event, Task, Worker};
use crate::api::types::SourcePath;
use crate::transfer::fetch::{Asked, Sink, fetch, probe};
use crate::transfer::reach::Line;
use skein_proto::NodeId;
use skein_proto::fetch::ByteRange;
use skein_swarm::{Input, RequestId};
use std::sync::{Arc, OnceLock};

impl Task {
    fn asked(&self) -> Asked {
        let credential = self.shared.membership.credential();
        Asked { content: self.record.content, credential }
    }

    pub(super) fn start_probe(&mut self, node: NodeId) {
        let Some(source) = self.sources.get(&node).cloned() else { return };
        let (shared, asked) = (Arc::clone(&self.shared), self.asked());
        let events = self.events.0.clone();
        self.helpers.spawn(async move {
            let result = async {
                let line = shared.reach.connect(&source).await?;
                let offer = probe(line.connection(), &asked).await?;
                Ok((offer, line.path()))
            };
            // Nobody listens when the download is over.
            let result = result.await;
            let _ = events.send(Event::Offer(node, result)).await;
        });
    }

    pub(super) fn start_fetch(&mut self, id: RequestId, node: NodeId, range: ByteRange, size: u64) {
        let Some(source) = self.sources.get(&node).cloned() else { return };
        let (shared, asked) = (Arc::clone(&self.shared), self.asked());
        let sink = Sink { request: id, events: self.events.0.clone() };
        let line: Arc<OnceLock<Line>> = Arc::default();
        let reached = Arc::clone(&line);
        let abort = self.helpers.spawn(async move {
            let result = async {
                let line = shared.reach.connect(&source).await?;
                let line = reached.get_or_init(|| line);
                line.connection().widen_for_transfer();
                fetch(line.connection(), &asked, range, size, &sink).await
            };
            let result = result.await;
            let _ = sink.events.send(Event::Over(id, result)).await;
        });
        self.workers.insert(id, Worker { source: node, size, line, abort });
    }

    /// Tells the swarm which way the bytes of a source come.
    pub(super) fn tell_path(&mut self, source: NodeId, path: SourcePath) {
        let relayed = path == SourcePath::SessionRelayed;
        self.tell(Input::Path { source, relayed });
    }
}

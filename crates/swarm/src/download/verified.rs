//! What has come and was verified, and the length of the file that its last group proves.

use super::sources::STARVED_WAIT;
use super::{Download, Failure, Output, RequestId};
use crate::groups_of;
use crate::runs::{Run, RunSet};
use skein_proto::fetch::GROUP_BYTES;
use skein_proto::{Instant, NodeId};

impl Download {
    pub(super) fn on_verified(&mut self, id: RequestId, run: Run, now: Instant) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.progress = now;
            self.starved_wait = STARVED_WAIT.0;
            let proves = request.proves;
            if let Some(source) = self.sources.get_mut(&request.source) {
                source.delivered();
                source.rate.add(run.len().saturating_mul(GROUP_BYTES), now);
            }
            if let Some(size) = proves
                && self.size.is_none()
            {
                self.prove(size, now);
            }
        }
        // Bytes of a request that was called back are as good as any, if the length is known.
        let Some(size) = self.size else { return };
        let run = run.intersect(&Run { start: 0, end: groups_of(size) });
        self.verified.insert(run);
        self.free.remove(run);
        let mut over = Vec::new();
        for (&other, request) in &mut self.requests {
            request.remaining.remove(run);
            if request.remaining.is_empty() {
                over.push(other);
            }
        }
        for other in over {
            if other == id && self.requests.get(&id).is_some_and(|own| own.end == run.end) {
                self.release(other);
            } else {
                // Somebody else brought the rest of it.
                self.call_back(other);
            }
        }
        if self.verified.len() == groups_of(size) && !self.completed {
            self.complete();
        }
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.size = Some(size);
        self.free = RunSet::full(groups_of(size));
        self.free.remove_all(&self.verified);
        if self.free.is_empty() {
            self.complete();
        }
    }

    /// The last chunk group has been verified under this length.
    fn prove(&mut self, size: u64, now: Instant) {
        self.size = Some(size);
        self.outputs.push_back(Output::SizeProven { size });
        self.free = RunSet::full(groups_of(size));
        // What other sources were to prove is the last group, too; under another length it is
        // nothing at all.
        for request in self.requests.values_mut() {
            request.proves = None;
            self.free.remove_all(&request.remaining);
        }
        let claims =
            self.sources.iter().filter(|(_, s)| s.claim.is_some_and(|claim| claim != size));
        let liars: Vec<NodeId> = claims.map(|(&id, _)| id).collect();
        for liar in liars {
            self.blame(liar, Failure::WrongBytes, now);
        }
    }

    fn complete(&mut self) {
        self.completed = true;
        let rest: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in rest {
            self.call_back(id);
        }
        self.outputs.push_back(Output::Completed);
    }
}

//! Requests that are under way: how they are made, called back and given up.

use super::{Download, Failure, Output, RequestId};
use crate::runs::{Run, RunSet};
use crate::{bytes_of, groups_of};
use skein_proto::{Instant, NodeId};
use std::time::Duration;

/// A request that brings nothing for so long has failed. QUIC keeps a path alive for longer, but
/// a source that has stopped reading its disk never says so.
pub(super) const STALL: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Request {
    pub(super) source: NodeId,
    pub(super) remaining: RunSet,
    /// The group behind the last one that its source will send.
    pub(super) end: u64,
    /// When it brought something the last time, or was made.
    pub(super) progress: Instant,
    /// The length that it proves, if that is what it is for.
    pub(super) proves: Option<u64>,
}

impl Download {
    pub(super) fn request(
        &mut self,
        id: NodeId,
        run: Run,
        size: u64,
        proves: Option<u64>,
        now: Instant,
    ) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if source.outstanding == 0 {
            source.rate.begin(now);
        }
        source.outstanding += 1;
        source.next_group = run.end;
        self.next_request += 1;
        let name = RequestId(self.next_request);
        self.free.remove(run);
        let remaining = RunSet::from_iter([run]);
        let end = run.end;
        self.requests.insert(name, Request { source: id, remaining, end, progress: now, proves });
        self.totals.requests += 1;
        let range = bytes_of(run, size);
        self.outputs.push_back(Output::Request { id: name, source: id, range, size });
    }

    /// Forgets a request; what it did not bring can be asked for again. Returns its source.
    pub(super) fn release(&mut self, id: RequestId) -> Option<NodeId> {
        let mut request = self.requests.remove(&id)?;
        if let Some(source) = self.sources.get_mut(&request.source) {
            source.outstanding = source.outstanding.saturating_sub(1);
        }
        if let Some(size) = self.size {
            request.remaining.remove_all(&self.verified);
            for other in self.requests.values() {
                request.remaining.remove_all(&other.remaining);
            }
            let all = Run { start: 0, end: groups_of(size) };
            for run in request.remaining.within(all) {
                self.free.insert(run);
            }
        }
        Some(request.source)
    }

    pub(super) fn call_back(&mut self, id: RequestId) {
        if self.release(id).is_some() {
            self.outputs.push_back(Output::Cancel { id });
        }
    }

    pub(super) fn call_back_all_of(&mut self, source: NodeId) {
        let of_source = self.requests.iter().filter(|(_, request)| request.source == source);
        let ids: Vec<RequestId> = of_source.map(|(&id, _)| id).collect();
        for id in ids {
            self.call_back(id);
        }
    }

    pub(super) fn call_back_stalled(&mut self, now: Instant) {
        let stalled = self.requests.iter().filter(|(_, r)| now.since(r.progress) >= STALL);
        let stalled: Vec<(RequestId, NodeId)> = stalled.map(|(&id, r)| (id, r.source)).collect();
        for (id, source) in stalled {
            self.totals.failed_requests += 1;
            self.call_back(id);
            self.blame(source, Failure::Lost, now);
        }
    }
}

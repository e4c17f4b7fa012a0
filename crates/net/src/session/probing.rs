//! Probes share the socket with sessions: they are told apart by their numbers.

use super::Sessions;
use crate::paths::frame::{LENGTH, LONGEST, ProbeFrame};
use crate::paths::prober::Prober;
use std::net::SocketAddr;
use std::sync::Arc;

/// Lets a prober receive what bears its number, until it is dropped.
#[derive(Debug)]
pub(crate) struct Probing {
    prober: Arc<Prober>,
    table: Arc<Sessions>,
}

impl Probing {
    pub(crate) fn new(table: Arc<Sessions>, prober: Arc<Prober>) -> Self {
        table.probers.insert(prober.number, Arc::clone(&prober));
        Self { prober, table }
    }

    /// Sends a frame of the prober.
    pub(crate) fn send(&self, to: SocketAddr, frame: &[u8; LENGTH]) {
        self.table.send_bytes(to, frame);
    }

    /// The same, padded to this length.
    pub(crate) fn send_padded(&self, to: SocketAddr, frame: &[u8; LENGTH], length: usize) {
        let mut bytes = frame.to_vec();
        bytes.resize(length.clamp(LENGTH, LONGEST), 0);
        self.table.send_bytes(to, &bytes);
    }

    /// Counts probes that the session did not answer.
    pub(crate) fn count_refused(&self, probes: u64) {
        self.table.counters.probes_refused.add(probes);
    }

    /// The prober itself.
    pub(crate) fn prober(&self) -> &Prober {
        &self.prober
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let same = |_: &_, known: &mut Arc<Prober>| Arc::ptr_eq(known, &self.prober);
        self.table.probers.remove_if_mut(&self.prober.number, same);
    }
}

impl Sessions {
    /// Takes a probe or a reply. Answers false if it is neither, or nobody has that number.
    pub(super) fn on_probe(&self, source: SocketAddr, datagram: &[u8]) -> bool {
        let Some(number) = ProbeFrame::number(datagram) else { return false };
        let Some(prober) = self.probers.get(&number).map(|prober| Arc::clone(&prober)) else {
            return false;
        };
        if let Some(reply) = prober.receive(source, datagram, &self.counters) {
            self.send_bytes(source, &reply);
        }
        true
    }
}

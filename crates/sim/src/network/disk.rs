//! What a node has on its disk: it outlives each of its lives, and the node itself asks for it.

use crate::catalogue::Shelf;
use skein_proto::evidence::EvidenceRecord;
use skein_proto::message::RoleSetting;
use skein_proto::{SupernodeEntry, UnixTime, Username};

/// What a node has on its disk.
pub(crate) struct Disk {
    /// What its key pair is made from.
    pub(crate) seed: [u8; 32],
    pub(crate) name: Username,
    pub(crate) role: RoleSetting,
    /// The files that it shares.
    pub(crate) shelf: Shelf,
    /// The supernodes that it has kept for its next start.
    pub(crate) known: Vec<Remembered>,
    /// The evidence that it has kept for its next start.
    pub(crate) evidence: Option<Box<EvidenceRecord>>,
}

/// A supernode that a node remembers. A million nodes remember 200 each, so one that is where it
/// says is but a number.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    Real { node: u32, load_percent: u8, seen: UnixTime },
    Other(Box<SupernodeEntry>),
}

//! Whether neighbours are still fit to be neighbours.

use super::Neighbours;
use crate::core::Core;
use skein_proto::{NodeId, UnixTime};

impl Neighbours {
    /// Those whose credential does not hold any more, or who say that they are no supernodes.
    pub(crate) fn unfit(&mut self, core: &Core, now: UnixTime) -> Vec<NodeId> {
        if now < self.sound_until {
            return Vec::new();
        }
        let credentials =
            self.linked.iter().filter_map(|node| core.peers.get(node)?.valid_credential(now));
        let ends = credentials.map(|credential| credential.unverified().expires).min();
        let unfit: Vec<NodeId> =
            self.linked().filter(|node| !core.is_member_super(node, now)).collect();
        self.sound_until = ends.filter(|_| unfit.is_empty()).unwrap_or_default();
        unfit
    }

    /// Somebody has shown another credential, or is a neighbour now: all are looked at once more.
    pub(crate) fn doubt_credentials(&mut self) {
        self.sound_until = UnixTime::default();
    }

    /// Whether some that were linked or asked are not any more, since this was last asked.
    pub(crate) fn take_untied(&mut self) -> bool {
        std::mem::take(&mut self.untied)
    }
}

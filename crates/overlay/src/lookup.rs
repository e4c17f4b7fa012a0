//! Searches of this supernode's own index. The driver carries them out on other threads: one for
//! words that half of all names have takes as long as a hundred messages, and would keep all of
//! them waiting.

use crate::core::Core;
use crate::io::Output;
use crate::sources::Wanted;
use skein_index::{Found, Index, Reader};
use skein_proto::QueryId;
use std::sync::Arc;

/// Look-ups under way at the same time. The worst take some milliseconds, so that the last of them
/// waits for less than a second on one core.
const MAX_LOOK_UPS: usize = 256;

/// Those of them that neighbours' queries may take, so that there is room for those of children
/// and of this node's own user.
const MAX_FOR_NEIGHBOURS: usize = 192;

/// A search of a supernode's index, which may be carried out on any thread.
#[derive(Clone, Debug)]
pub struct LookUp {
    number: u64,
    id: QueryId,
    reader: Reader,
    query: Arc<Wanted>,
    wanted: usize,
}

impl LookUp {
    /// Carries it out. It takes from some microseconds to some milliseconds, and waits for nobody.
    #[must_use]
    pub fn run(&self) -> LookedUp {
        LookedUp { found: self.reader.find(&self.query.parsed, self.wanted), ..self.nothing() }
    }

    /// The answer of whoever could not carry it out.
    #[must_use]
    pub fn nothing(&self) -> LookedUp {
        LookedUp { number: self.number, id: self.id, found: Vec::new() }
    }
}

impl PartialEq for LookUp {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// What came of a [`LookUp`].
#[derive(Clone, Debug)]
pub struct LookedUp {
    pub(crate) number: u64,
    pub(crate) id: QueryId,
    pub(crate) found: Vec<Found>,
}

/// How many look-ups are under way.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    under_way: usize,
    last: u64,
}

impl LookUps {
    /// Whether one more may begin for this asker; it is counted if not.
    pub(crate) fn has_room(&self, core: &mut Core, asker: Asker) -> bool {
        let limit = match asker {
            Asker::Neighbour => MAX_FOR_NEIGHBOURS,
            Asker::Own => MAX_LOOK_UPS,
        };
        let has_room = self.under_way < limit;
        core.counters.look_ups_over_limit += u64::from(!has_room);
        has_room
    }

    /// Begins one, and answers with its number.
    pub(crate) fn begin(
        &mut self,
        core: &mut Core,
        index: &Index,
        (id, query, wanted): (QueryId, Arc<Wanted>, usize),
    ) -> u64 {
        self.under_way += 1;
        self.last += 1;
        let look_up = LookUp { number: self.last, id, reader: index.reader(), query, wanted };
        core.outputs.push_back(Output::LookUp(look_up));
        self.last
    }

    /// One has been answered.
    pub(crate) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

/// For whom the index is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A neighbour that passes a query on.
    Neighbour,
    /// A child, or this node's own user.
    Own,
}

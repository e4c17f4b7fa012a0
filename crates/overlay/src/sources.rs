//! What a query is answered from, and what that covers.

use crate::children::Children;
use crate::core::Core;
use crate::neighbours::Neighbours;
use crate::readings::Readings;
use crate::seen::fingerprint;
use crate::tables::{Keys, Tables};
use skein_index::text::ParsedQuery;
use skein_proto::query::{Coverage, StopReason};
use skein_proto::{Common, FileMeta, Query, Role, Username};
use std::sync::Arc;

/// What a query is answered from.
pub(crate) struct Sources<'a> {
    pub(crate) children: &'a Children,
    pub(crate) neighbours: &'a Neighbours,
    pub(crate) tables: &'a Tables,
}

impl Sources<'_> {
    /// What this supernode's own index covers.
    pub(crate) fn own_coverage(&self, core: &Core) -> Coverage {
        let own_node = u32::from(core.role == Role::Super);
        Coverage {
            supernodes_asked: 1,
            supernodes_known: u32::try_from(core.membership.len()).unwrap_or(u32::MAX) + own_node,
            nodes_covered: self.children.actives() + own_node,
            stopped: StopReason::Exhausted,
        }
    }
}

/// A query as it is looked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) parsed: ParsedQuery,
    /// What every match has, as tables know it.
    pub(crate) keys: Keys,
    /// The same for the same query.
    pub(crate) fingerprint: u64,
    /// What was read of the files that it has brought.
    pub(crate) readings: Readings,
}

impl Wanted {
    /// Whether a file of this owner is what is looked for.
    pub(crate) fn matches(&self, file: &FileMeta, owner: &Username) -> bool {
        self.readings.matches(&self.parsed, file, owner)
    }

    /// What a query that something may match looks for. It is worked out once for all copies.
    pub(crate) fn of(query: &Common<Query>) -> Option<Arc<Self>> {
        if let Some(wanted) = query.outcome::<Option<Arc<Self>>>() {
            if let Some(wanted) = wanted {
                wanted.keys.are_shared();
            }
            return wanted.clone();
        }
        let parsed = ParsedQuery::parse(query).ok().filter(|parsed| !parsed.is_empty());
        let wanted = parsed.map(|parsed| {
            let (keys, fingerprint) = (Keys::of(&parsed), fingerprint(query));
            Arc::new(Self { parsed, keys, fingerprint, readings: Readings::default() })
        });
        query.leave(wanted.clone());
        wanted
    }
}

/// Nobody was asked.
pub(crate) fn nothing(stopped: StopReason) -> Coverage {
    Coverage { supernodes_asked: 0, supernodes_known: 0, nodes_covered: 0, stopped }
}

/// What a query is answered from; a macro, so that only these fields are borrowed.
macro_rules! sources {
    ($overlay:ident) => {
        $crate::sources::Sources {
            children: &$overlay.children,
            neighbours: &$overlay.neighbours,
            tables: &$overlay.tables,
        }
    };
}
pub(crate) use sources;

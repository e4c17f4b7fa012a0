//! The settings of an overlay.

use crate::contacts::Contacts;
use skein_index::Limits;
use skein_proto::message::RoleSetting;
use skein_proto::{BoundedString, NodeId, UnixTime};
use std::time::Duration;

/// The settings of an overlay. What is not set has the value that its setter documents.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) login_key: NodeId,
    pub(crate) role: RoleSetting,
    pub(crate) was_super: bool,
    pub(crate) away: Option<Duration>,
    pub(crate) last_super: Option<UnixTime>,
    pub(crate) agent: BoundedString<64>,
    /// What the node takes at present, and what its user allows.
    pub(crate) max_children: u32,
    pub(crate) children_setting: u32,
    pub(crate) promotion_uptime: Duration,
    pub(crate) max_neighbours: usize,
    pub(crate) max_hops: u8,
    pub(crate) max_links: usize,
    pub(crate) max_known: usize,
    pub(crate) index_limits: Limits,
    pub(crate) hidden: bool,
    pub(crate) contacts: Contacts,
}

impl Config {
    /// The settings of a node of the network whose login service has this key.
    pub fn new(login_key: NodeId) -> Self {
        Self {
            login_key,
            role: RoleSetting::Auto,
            was_super: false,
            away: None,
            last_super: None,
            agent: BoundedString::truncated(concat!("skein/", env!("CARGO_PKG_VERSION"))),
            // FastTrack's supernodes held 100 to 150 children.
            max_children: 150,
            children_setting: 150,
            // Half of the sessions of measured networks are shorter than two to three hours; one
            // that has lasted for half an hour goes on for hours (Weibull, shape below 1).
            promotion_uptime: Duration::from_secs(30 * 60),
            // FastTrack ran 30 to 50 links among supernodes.
            max_neighbours: 40,
            // 40 neighbours reach 1,600 supernodes in two hops and 64,000 in three.
            max_hops: 3,
            max_links: 20_000,
            max_known: crate::known::MAX_KNOWN,
            index_limits: Limits::default(),
            hidden: false,
            contacts: Contacts::default(),
        }
    }

    /// What the user wants this node to be; `Auto` if not set.
    #[must_use]
    pub fn role(mut self, role: RoleSetting) -> Self {
        self.role = role;
        self
    }

    /// Whether this node was a supernode when it last ran; not, if not set. With the role `Auto` it
    /// is one again at once: those who know it look for it, and the login service that would ask
    /// it again may be away. It steps down again if others have taken its place.
    #[must_use]
    pub fn was_super(mut self, was_super: bool) -> Self {
        self.was_super = was_super;
        self
    }

    /// When it was last a supernode, by its clock of then; `None`, as if not set, where that is not known.
    /// If the clock has been set back since, it vouches for nobody until it has come so far again: its
    /// word would contradict what it said before.
    #[must_use]
    pub fn last_super(mut self, at: Option<UnixTime>) -> Self {
        self.last_super = at;
        self
    }

    /// How long ago it last ran; `None`, as if not set, where that is not known. One that comes back
    /// after long finds out sooner whether others have taken its place.
    #[must_use]
    pub fn away(mut self, away: Option<Duration>) -> Self {
        self.away = away;
        self
    }

    /// Program and version as told to others, cut to 64 bytes.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = BoundedString::truncated(agent);
        self
    }

    /// Children that this node takes as a supernode; 150 if not set. A child costs a connection
    /// (about 30 KiB) and its records in the index.
    #[must_use]
    pub fn max_children(mut self, children: u32) -> Self {
        self.max_children = children.max(1);
        self.children_setting = self.max_children;
        self
    }

    /// How long a child must have been seen before it is asked to be a supernode; half an hour if
    /// not set. In a young network, or when there is no room left, less is asked.
    #[must_use]
    pub fn promotion_uptime(mut self, uptime: Duration) -> Self {
        self.promotion_uptime = uptime;
        self
    }

    /// Supernodes that this node links to as a supernode; 40 if not set.
    #[must_use]
    pub fn max_neighbours(mut self, neighbours: usize) -> Self {
        self.max_neighbours = neighbours.max(1);
        self
    }

    /// How many times a query is forwarded at most; 3 if not set.
    #[must_use]
    pub fn max_hops(mut self, hops: u8) -> Self {
        self.max_hops = hops.clamp(1, 7);
        self
    }

    /// Links kept at the same time, of all sorts; 20,000 if not set. A link over it is hung up.
    #[must_use]
    pub fn max_links(mut self, links: usize) -> Self {
        self.max_links = links.max(8);
        self
    }

    /// Supernodes kept in mind, and on disk, for when the present parents are gone; 200 if not set,
    /// 16 at least. Each takes about 120 bytes.
    #[must_use]
    pub fn max_known(mut self, supernodes: usize) -> Self {
        self.max_known = supernodes.max(16);
        self
    }

    /// Whether no peer but the supernodes that it is linked with is told where this node is; not,
    /// if not set. It has no effect while the node is a supernode, which others have to find.
    #[must_use]
    pub fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// Contacts of supernodes that this overlay has in common with others of the same process; its
    /// own, if not set.
    #[must_use]
    pub fn contacts(mut self, contacts: Contacts) -> Self {
        self.contacts = contacts;
        self
    }

    /// What the index of this node holds at most as a supernode.
    #[must_use]
    pub fn index_limits(mut self, limits: Limits) -> Self {
        self.index_limits = limits;
        self
    }
}

//! What goes into a download's decisions, and what comes out.

use crate::runs::Run;
use crate::source::Have;
use skein_proto::NodeId;
use skein_proto::fetch::ByteRange;
use std::time::Duration;

/// Names a request of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Somebody is said to have the file.
    SourceFound {
        /// The source.
        source: NodeId,
    },
    /// A source answered a probe, or said anew what it has.
    Has {
        /// The source.
        source: NodeId,
        /// The length of the file in bytes, as it claims.
        size: u64,
        /// What it has.
        have: Have,
    },
    /// Which way the bytes of a source come. One of which this was not said is direct.
    Path {
        /// The source.
        source: NodeId,
        /// Whether they come through a relay, whose bytes others want as well.
        relayed: bool,
    },
    /// A probe failed.
    ProbeFailed {
        /// The source.
        source: NodeId,
        /// How.
        failure: Failure,
    },
    /// Chunk groups of a request have been verified and stored.
    Verified {
        /// The request.
        request: RequestId,
        /// The groups.
        run: Run,
    },
    /// A request is over before all of its groups have come.
    Failed {
        /// The request.
        request: RequestId,
        /// How.
        failure: Failure,
    },
    /// Nothing can be stored at present: all requests are called back.
    Pause,
    /// It can again.
    Resume,
}

/// How a source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It could not be reached, or broke off.
    Lost,
    /// It does not have what it was asked for.
    NotFound,
    /// All of its upload slots are taken; it is to be asked again after this time.
    Busy(Duration),
    /// It does not serve this node.
    Refused,
    /// It sent bytes that do not belong to the file, or claims another length.
    WrongBytes,
    /// It is not the source's fault: the bytes could not be stored here.
    Local,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Ask a source what it has.
    Probe {
        /// The source.
        source: NodeId,
    },
    /// Ask a source for bytes.
    Request {
        /// Names it in what follows.
        id: RequestId,
        /// The source.
        source: NodeId,
        /// The bytes: whole chunk groups.
        range: ByteRange,
        /// The length under which they are to be verified.
        size: u64,
    },
    /// A source has made place for another one: nothing need be kept of it.
    Forget {
        /// The source.
        source: NodeId,
    },
    /// The rest of a request is not wanted any more.
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// The length of the file is proven.
    SizeProven {
        /// In bytes.
        size: u64,
    },
    /// A source sent wrong bytes and is not asked again.
    Ban {
        /// The source.
        source: NodeId,
    },
    /// No source that is known can help at present: look for more.
    Starved,
    /// Every chunk group is here.
    Completed,
}

//! What a download decides, which part it asks of whom, and what an uploader decides, who is
//! served next.
//!
//! Nothing here reads a file, opens a stream or asks for the time. [`Download`] and [`Uploads`]
//! are state machines: the driver hands in what happened and when; out come decisions and the
//! time at which the machine wants to be woken. The daemon and the simulator drive the same ones.

mod download;
mod gate;
mod pick;
mod runs;
mod source;
mod upload;

pub use download::{Download, Failure, Input, Output, RequestId, Situation, Totals};
pub use gate::RequestGate;
pub use pick::Order;
pub use runs::{Run, RunSet};
pub use source::Have;
pub use upload::{Admission, Class, Lease, UploadConfig, UploadCounters, Uploads};

use skein_proto::fetch::{ByteRange, GROUP_BYTES};

/// The largest file that is fetched: 16 TiB, the largest that ext4 can hold. What a source claims
/// beyond it is a lie or of no use.
pub const MAX_FILE_BYTES: u64 = 1 << 44;

/// How many chunk groups a file of `size` bytes has.
pub const fn groups_of(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES)
}

/// The bytes of a run of chunk groups in a file of `size` bytes.
pub fn bytes_of(run: Run, size: u64) -> ByteRange {
    ByteRange {
        start: run.start.saturating_mul(GROUP_BYTES).min(size),
        end: run.end.saturating_mul(GROUP_BYTES).min(size),
    }
}

/// The whole chunk groups that lie within a range of bytes of a file of `size` bytes.
pub fn groups_within(range: ByteRange, size: u64) -> Run {
    let end = if range.end >= size { groups_of(size) } else { range.end / GROUP_BYTES };
    Run { start: range.start.div_ceil(GROUP_BYTES).min(end), end }
}

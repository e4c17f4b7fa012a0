//! Closes connections that nobody uses any more. Links end without their connection, since a
//! transfer may still run over it; what is left over would be kept alive for ever.

use skein_net::{CloseReason, Connection, Endpoint};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked.
const SWEEP: Duration = Duration::from_secs(30);

/// Bytes that an unused connection moves between two looks, both ways: a keep-alive and its
/// answer take about 80 bytes and come every 4 s. A link or transfer in use moves more in at least
/// one of two intervals, since supernodes say each minute how they are.
const KEEP_ALIVE_BYTES: u64 = 2_048;

/// So many quiet looks in a row make a connection unused: four minutes.
const QUIET_LOOKS: u32 = 8;

#[derive(Debug, Default)]
struct Quiet {
    bytes: u64,
    looks: u32,
}

/// Looks until `ended`. `linked` tells the ids of the connections that carry a control stream, or
/// nothing once there is nobody who knows.
///
/// A peer may have several connections, above all where both sides dialled at the same time: only
/// the one with the control stream is in use for as long as it has it.
pub(super) async fn sweep<F>(endpoint: Endpoint, linked: F, ended: CancellationToken)
where
    F: AsyncFn() -> Option<Vec<usize>>,
{
    let mut seen: HashMap<usize, Quiet> = HashMap::new();
    while ended.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
        let Some(linked) = linked().await else { return };
        let linked: HashSet<usize> = linked.into_iter().collect();
        let connections = endpoint.every_connection();
        let live: HashSet<usize> = connections.iter().map(Connection::id).collect();
        seen.retain(|id, _| live.contains(id));
        for connection in connections {
            if linked.contains(&connection.id()) {
                seen.remove(&connection.id());
            } else if is_unused(seen.entry(connection.id()).or_default(), &connection) {
                tracing::debug!(peer = %connection.peer().short(), "an unused connection is closed");
                connection.close(CloseReason::Done);
            }
        }
    }
}

fn is_unused(quiet: &mut Quiet, connection: &Connection) -> bool {
    let stats = connection.stats();
    let bytes = stats.bytes_in + stats.bytes_out;
    if bytes.saturating_sub(quiet.bytes) > KEEP_ALIVE_BYTES {
        quiet.looks = 0;
    } else {
        quiet.looks += 1;
    }
    quiet.bytes = bytes;
    quiet.looks >= QUIET_LOOKS
}

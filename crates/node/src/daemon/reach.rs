//! Dialling others back, for supernodes that want to know whether a node can be reached.

use skein_proto::NodeId;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a dial may take: three round trips of half a second and a lost packet.
const PATIENCE: Duration = Duration::from_secs(4);

/// Whether the node answers at one of these addresses.
pub(super) async fn reaches_any(node: NodeId, addresses: Vec<SocketAddr>) -> bool {
    let mut dials = JoinSet::new();
    for address in addresses {
        dials.spawn(skein_net::reaches(node, address, rand::random(), PATIENCE));
    }
    while let Some(dialled) = dials.join_next().await {
        match dialled {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot open a socket for a dial-back"),
            Err(error) => tracing::error!(%error, "a dial-back broke down"),
        }
    }
    false
}

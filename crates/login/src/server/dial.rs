//! Dialling back over real sockets.

use super::reach::DialBack;
use skein_proto::NodeId;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long IPv6 addresses have when one of IPv4 has answered: most routers let nothing in over IPv6,
/// and say nothing. The other way round it takes a second until a lost packet is sent again.
const REST: Duration = Duration::from_millis(500);

/// Dials each address from a fresh socket with a fresh key, so that the node cannot tell the
/// check from any other stranger who wants to reach it.
#[derive(Clone, Copy, Debug)]
pub struct SocketDialBack {
    timeout: Duration,
}

impl SocketDialBack {
    /// Dials for so long at most.
    pub const fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

impl DialBack for SocketDialBack {
    fn dial(
        &self,
        node: NodeId,
        addresses: Vec<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
        let limit = self.timeout;
        Box::pin(async move {
            let mut dials = JoinSet::new();
            for address in addresses {
                dials.spawn(async move { dial_one(node, address, limit).await.then_some(address) });
            }
            let mut reached = Vec::new();
            let mut until = Instant::now() + 2 * limit;
            while let Ok(Some(dialled)) = timeout_at(until, dials.join_next()).await {
                if let Ok(Some(address)) = dialled {
                    if address.is_ipv4() {
                        until = until.min(Instant::now() + REST);
                    }
                    reached.push(address);
                }
            }
            reached.sort_unstable();
            reached
        })
    }
}

async fn dial_one(node: NodeId, address: SocketAddr, limit: Duration) -> bool {
    match skein_net::reaches(node, address, rand::random(), limit).await {
        Ok(reached) => reached,
        Err(error) if address.is_ipv6() => {
            tracing::debug!(%error, "cannot open a socket for a dial-back over IPv6");
            false
        }
        Err(error) => {
            // Ours to mend, not the node's: without this line nobody would know why.
            tracing::warn!(%error, "cannot open a socket for a dial-back");
            false
        }
    }
}

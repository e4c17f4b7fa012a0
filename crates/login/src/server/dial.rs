//! Dialling back over real sockets.

use super::reach::{DIAL_TIMEOUT, DialBack};
use skein_proto::NodeId;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::task::JoinSet;

/// Dials each address from a fresh socket with a fresh key, so that the node cannot tell the
/// check from any other stranger who wants to reach it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketDialBack;

impl DialBack for SocketDialBack {
    fn dial(
        &self,
        node: NodeId,
        addresses: Vec<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Vec<SocketAddr>> + Send + '_>> {
        Box::pin(async move {
            let mut dials = JoinSet::new();
            for address in addresses {
                dials.spawn(async move { dial_one(node, address).await.then_some(address) });
            }
            let mut reached: Vec<_> = dials.join_all().await.into_iter().flatten().collect();
            reached.sort_unstable();
            reached
        })
    }
}

async fn dial_one(node: NodeId, address: SocketAddr) -> bool {
    match skein_net::reaches(node, address, rand::random(), DIAL_TIMEOUT).await {
        Ok(reached) => reached,
        Err(error) => {
            // Ours to mend, not the node's: without this line nobody would know why.
            tracing::warn!(%error, "cannot open a socket for a dial-back");
            false
        }
    }
}

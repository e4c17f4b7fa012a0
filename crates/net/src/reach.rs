//! Whether a node can be reached by strangers.

use crate::config::EndpointConfig;
use crate::endpoint::Endpoint;
use crate::error::{BindError, CloseReason};
use skein_proto::{KeyPair, NodeId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Dials a node from a fresh socket with a fresh key (`seed` is 32 random bytes), so that neither
/// its NAT nor itself can tell the dial from that of any other stranger. Answers whether it proved
/// its key within `patience`; the connection is closed at once.
///
/// # Errors
/// [`BindError`] if there is no socket to be had: that is this machine's fault, not the node's.
pub async fn reaches(
    node: NodeId,
    address: SocketAddr,
    seed: [u8; 32],
    patience: Duration,
) -> Result<bool, BindError> {
    let unspecified: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let key = KeyPair::from_seed(&seed);
    // Who is reached over TCP only is no use to strangers who have UDP.
    let config = EndpointConfig::dial_only().dial_timeout(patience).fall_back_to_tcp(false);
    let endpoint = Endpoint::bind(&key, SocketAddr::new(unspecified, 0), config)?;
    match endpoint.connect(node, &[address]).await {
        Ok(connection) => {
            connection.close(CloseReason::Done);
            endpoint.close(CloseReason::Done).await;
            Ok(true)
        }
        Err(error) => {
            tracing::debug!(%error, node = %node.short(), "a dial-back failed");
            Ok(false)
        }
    }
}

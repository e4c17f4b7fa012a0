//! Who this node is connected to, and where others are.

use super::Shared;
use super::backend::micros;
use crate::api::types::{ApiError, NamedNode, Peer, Relation};
use crate::sessions::PathKind;
use skein_proto::directory::{DirectoryKey, FindOutcome};
use skein_proto::{NodeId, Username};

impl Shared {
    /// Who is connected.
    pub(super) async fn peers(&self) -> Result<Vec<Peer>, ApiError> {
        let view = self.view().await?;
        let mut peers: Vec<Peer> = view
            .snapshot
            .peers
            .into_iter()
            .map(|peer| Peer {
                rtt_us: micros(self.rtt(&peer.node, peer.rtt)),
                node: peer.node,
                name: peer.name,
                address: peer.address,
                relation: relation(peer.relation),
                connected_secs: peer.linked.as_secs(),
                agent: peer.agent,
            })
            .collect();
        for connection in self.endpoint.connections() {
            let node = connection.peer();
            if peers.iter().any(|peer| peer.node == node) {
                continue;
            }
            let session = self.sessions.live(&node);
            // A session's own address is a secret; where its packets go is what people look for.
            let path = session.as_ref().map(|session| session.path_now().kind);
            peers.push(Peer {
                node,
                name: session.map(|session| session.name().clone()),
                address: path.map_or(connection.shown_at(), PathKind::address),
                relation: Relation::Other,
                rtt_us: micros(connection.rtt()),
                connected_secs: connection.established_at().elapsed().as_secs(),
                agent: match node == self.login_key {
                    true => "login service".to_owned(),
                    false => String::new(),
                },
            });
        }
        Ok(peers)
    }

    /// The nodes of a user, those that are there first.
    pub(super) async fn find(&self, name: Username) -> Result<Vec<NamedNode>, ApiError> {
        let key = DirectoryKey::Name(name.clone());
        let answer = self.driver.find_patiently(key).await;
        let answer = answer.ok_or_else(|| ApiError::unavailable("the daemon is ending"))?;
        let unavailable = |why: &str| Err(ApiError::unavailable(why.to_owned()));
        match answer.outcome {
            FindOutcome::Answered if answer.nodes.is_empty() => {
                let why = format!(
                    "the directory knows no node of @{name}: it was not online \
                     lately, or nobody has that name"
                );
                return Err(ApiError::not_found(why));
            }
            FindOutcome::Answered => {}
            FindOutcome::OverBudget => {
                return unavailable("too many look-ups in a short time: try again in a moment");
            }
            FindOutcome::NotAttached => return unavailable("not attached to a supernode"),
            FindOutcome::Fetching => {
                return unavailable(
                    "the supernodes that keep that name have just come to keep it and are still \
                     fetching what there is: try again in a minute",
                );
            }
            FindOutcome::Unreachable | FindOutcome::Elsewhere => {
                return unavailable("none of the supernodes that keep that name answers");
            }
        }
        // The directory names no parents; this node knows those that it is linked to, and itself.
        let linked = self.view().await?.snapshot.peers;
        let own = self.accounts.identity()?;
        let known = |node: &NodeId| match *node == own.node {
            true => own.name.clone(),
            false => linked.iter().find(|peer| peer.node == *node)?.name.clone(),
        };
        let mut nodes: Vec<NamedNode> = answer
            .nodes
            .into_iter()
            .map(|found| NamedNode {
                node: found.node,
                name: found.name,
                online: found.online,
                seen: found.seen.0,
                addresses: found.addresses,
                parent_name: found.parent.as_ref().and_then(|parent| known(&parent.node)),
                parent: found.parent.as_ref().map(|parent| parent.node),
                parent_addresses: found
                    .parent
                    .map(|parent| parent.addresses.into_vec())
                    .unwrap_or_default(),
            })
            .collect();
        nodes.sort_by_key(|node| (!node.online, std::cmp::Reverse(node.seen), node.node));
        Ok(nodes)
    }
}

fn relation(relation: skein_overlay::Relation) -> Relation {
    match relation {
        skein_overlay::Relation::Parent => Relation::Parent,
        skein_overlay::Relation::Standby => Relation::Standby,
        skein_overlay::Relation::Child => Relation::Child,
        skein_overlay::Relation::StandbyChild => Relation::StandbyChild,
        skein_overlay::Relation::Neighbour => Relation::Neighbour,
        skein_overlay::Relation::Other => Relation::Other,
    }
}

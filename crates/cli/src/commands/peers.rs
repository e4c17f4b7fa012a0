//! `skein peers`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::Args;
use skein_node::api::types::{Peer, Relation};

/// Lists who this node is connected to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein peers                              parents, children, neighbours, others
  skein peers --json | jq -r .address      one JSON value for each peer")]
pub struct PeersArgs {}

/// Lists them.
///
/// # Errors
/// The daemon does not run or answer.
pub fn run(context: &Context, _args: PeersArgs) -> Result<(), Failure> {
    let mut peers = context::block_on(async { Ok(context.client()?.peers().await?) })?;
    peers.sort_by_key(|peer| (rank(peer.relation), peer.node));
    if context.ui.json {
        return peers.iter().try_for_each(|peer| context.ui.value(peer));
    }
    if peers.is_empty() {
        context.ui.note("No peer is connected: `skein status` says why.");
        return Ok(());
    }
    context.ui.line(render(&peers, context.ui.out))
}

/// The closest first.
const fn rank(relation: Relation) -> u8 {
    match relation {
        Relation::Parent => 0,
        Relation::Standby => 1,
        Relation::Neighbour => 2,
        Relation::Child => 3,
        Relation::StandbyChild => 4,
        Relation::Other => 5,
    }
}

const fn in_words(relation: Relation) -> &'static str {
    match relation {
        Relation::Parent => "parent",
        Relation::Standby => "standby",
        Relation::Neighbour => "neighbour",
        Relation::Child => "child",
        Relation::StandbyChild => "standby child",
        Relation::Other => "other",
    }
}

fn render(peers: &[Peer], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("relation", Lean::Left),
        ("who", Lean::Left),
        ("address", Lean::Left),
        ("round trip", Lean::Right),
        ("connected", Lean::Right),
        ("program", Lean::Left),
    ]);
    for peer in peers {
        table.row([
            in_words(peer.relation).to_owned(),
            paint.name(format::who(peer.name.as_ref(), &peer.node)),
            match peer.address.port() {
                // What dials over TCP has no port of its own to be reached at.
                0 => format!("{} (TCP)", peer.address.ip()),
                _ => peer.address.to_string(),
            },
            format::round_trip(peer.rtt_us),
            format::elapsed(peer.connected_secs),
            peer.agent.clone(),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::{NodeId, Username};

    #[test]
    fn a_peer_is_shown_by_its_name_or_else_by_its_id() {
        let node = NodeId::from_bytes([7; 32]);
        let mut peer = Peer {
            node,
            name: None,
            address: ([127, 0, 0, 1], 4700).into(),
            relation: Relation::StandbyChild,
            rtt_us: 250,
            connected_secs: 61,
            agent: "skein/0.1.0".to_owned(),
        };
        let text = render(std::slice::from_ref(&peer), Paint::PLAIN);
        assert!(text.contains(&node.short()) && text.contains("standby child"), "{text}");
        peer.name = Some(Username::parse("alice").unwrap());
        let text = render(&[peer], Paint::PLAIN);
        assert!(text.contains("@alice") && text.contains("250 µs"), "{text}");
    }
}

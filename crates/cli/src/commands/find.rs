//! `skein find`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::Args;
use skein_node::api::ClientError;
use skein_node::api::types::{ErrorCode, NamedNode};
use skein_proto::Username;

/// Finds the nodes of a user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein find @alice                        which nodes alice has, and whether they are online
  skein find alice --json | jq -r '.addresses[0]'
Exit codes: 0 one of the nodes is online; 1 none is, or nobody of that name was lately, or the
directory cannot be asked now; 2 that is no name.")]
pub struct FindArgs {
    /// The name of the user, with or without the @
    #[arg(value_name = "@NAME")]
    name: Username,
}

/// Finds them.
///
/// # Errors
/// The daemon does not run or answer, or no node of that name is online.
pub fn run(context: &Context, args: FindArgs) -> Result<(), Failure> {
    let nodes = context::block_on(async {
        match context.client()?.find(&args.name).await {
            // That nobody is known by that name is an answer, and no mistake of the asker.
            Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound => {
                Err(Failure::failed(error.error))
            }
            nodes => Ok(nodes?),
        }
    })?;
    let now = context::now();
    if context.ui.json {
        nodes.iter().try_for_each(|node| context.ui.value(node))?;
    } else {
        context.ui.line(render(&nodes, now, context.ui.out))?;
    }
    match nodes.iter().map(|node| node.seen).max() {
        _ if nodes.iter().any(|node| node.online) => Ok(()),
        Some(seen) => {
            let ago = format::elapsed(now.saturating_sub(seen));
            Err(Failure::failed(format!("@{} is not online: last seen {ago} ago", args.name)))
        }
        None => Err(Failure::failed(format!("no node of @{} is known", args.name))),
    }
}

/// One that is online is seen by its parent all the time; when the directory heard of it the last
/// time says nothing beside that.
fn last_seen(node: &NamedNode, now: u64) -> String {
    match node.online {
        true => "now".to_owned(),
        false => format!("{} ago", format::elapsed(now.saturating_sub(node.seen))),
    }
}

fn parent(node: &NamedNode) -> String {
    match &node.parent {
        Some(parent) => format::who(node.parent_name.as_ref(), parent),
        None => "none: a supernode".to_owned(),
    }
}

fn render(nodes: &[NamedNode], now: u64, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("node", Lean::Left),
        ("state", Lean::Left),
        ("last seen", Lean::Right),
        ("address", Lean::Left),
        ("parent", Lean::Left),
    ]);
    for node in nodes {
        let address = node.addresses.first().map(ToString::to_string);
        table.row([
            paint.name(node.node.short()),
            if node.online { "online".to_owned() } else { "offline".to_owned() },
            last_seen(node, now),
            address.unwrap_or_else(|| "-".to_owned()),
            parent(node),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_proto::NodeId;

    #[test]
    fn a_node_is_shown_with_its_state_and_when_it_was_seen() {
        let mut node = NamedNode {
            node: NodeId::from_bytes([7; 32]),
            name: Username::parse("alice").expect("a name"),
            online: true,
            seen: 1_000,
            addresses: vec![([10, 0, 0, 1], 4701).into()],
            parent: Some(NodeId::from_bytes([8; 32])),
            parent_name: None,
            parent_addresses: Vec::new(),
        };
        let text = render(std::slice::from_ref(&node), 1_061, Paint::PLAIN);
        assert!(text.contains("online") && text.contains("now"), "{text}");
        assert!(!text.contains("ago"), "{text}");
        assert!(text.contains("10.0.0.1:4701"), "{text}");
        assert!(text.contains(&NodeId::from_bytes([8; 32]).short()), "{text}");
        node.parent_name = Some(Username::parse("goose").expect("a name"));
        let text = render(std::slice::from_ref(&node), 1_061, Paint::PLAIN);
        assert!(text.contains("@goose"), "{text}");
        (node.online, node.parent) = (false, None);
        let text = render(&[node], 1_061, Paint::PLAIN);
        assert!(text.contains("offline") && text.contains("supernode"), "{text}");
        assert!(text.contains("1m 1s ago"), "{text}");
    }
}

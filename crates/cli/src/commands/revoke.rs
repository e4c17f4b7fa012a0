//! `skein revoke`.

use super::account::running;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::password::PasswordArgs;
use crate::ui::progress;
use clap::Args;
use skein_node::account::Session;
use skein_node::api::types::RevokeNode;
use skein_node::home::Home;
use skein_proto::NodeId;

/// The shortest beginning of a node id that counts: what is shown of it everywhere.
const SHORTEST: usize = 10;

/// Casts a node of your name out, as one that was lost or stolen.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein revoke ecojepxx2z                  the stolen one, by what `skein find` shows of it
  skein find @alice                        which nodes you have, if you are alice
The whole id of a node does as well, also while the node here does not run.
It gets no more credentials from the login service and cannot come back. The one that it has is
good until it runs out: a day after it was renewed, unless whoever runs the network chose another
time. The password is asked for, or taken from --password-file or SKEIN_PASSWORD; who has stolen a
machine does not have it by that.")]
pub struct RevokeArgs {
    /// The node: its id, or the beginning of it that `skein find` shows
    #[arg(value_name = "NODE", value_parser = node)]
    node: String,
    #[command(flatten)]
    password: PasswordArgs,
}

fn node(text: &str) -> Result<String, String> {
    let is_id = text.chars().all(|c| c.is_ascii_alphanumeric());
    if is_id && text.len() >= SHORTEST {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "give a node id, or its first {SHORTEST} letters or more, as `skein find` shows them"
    ))
}

/// Casts it out: through the daemon if one runs, else directly.
///
/// # Errors
/// There is no such node, no password, or the login service says no or does not answer.
pub fn run(context: &Context, args: RevokeArgs) -> Result<(), Failure> {
    let home = context.home()?;
    let node = match args.node.parse() {
        Ok(node) => node,
        // What can be known to fail is said before a password has to be typed.
        Err(_) => context::block_on(beginning(&home, &args.node))?,
    };
    let revoke = RevokeNode { node, password: args.password.for_existing_account()? };
    let spinner = progress::spinner(&context.ui, "asking the login service…".to_owned());
    let done = context::block_on(async {
        match running(&home)? {
            Some(client) => Ok(client.revoke(&revoke).await?),
            None => {
                let session = Session::open(&home)?;
                let done = session.revoke(revoke).await;
                session.close().await;
                Ok(done?)
            }
        }
    });
    spinner.finish_and_clear();
    done?;
    let value = serde_json::json!({ "event": "revoked", "node": node });
    context.ui.done(&value, |_, paint| {
        format!(
            "{} Node {} gets no more credentials. The one that it has is good until it runs out, \
             within a day unless the network has another rule; who knows the node as a buddy \
             should hear of it from you.",
            paint.good("✓"),
            node.short()
        )
    })
}

/// The one node of the user whose id begins so.
async fn beginning(home: &Home, text: &str) -> Result<NodeId, Failure> {
    let Some(client) = running(home)? else {
        return Err(Failure::input(
            "give the whole id of the node, or start the node here with `skein up`: it asks the \
             directory for it",
        ));
    };
    let Some(name) = client.status().await?.identity.name else {
        return Err(Failure::input("this node has no name: run `skein login NAME` first"));
    };
    let nodes = client.find(&name).await.map_err(Failure::of_peer)?;
    let mut fitting = nodes.iter().filter(|known| known.node.to_string().starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.node),
        (Some(_), Some(_)) => Err(Failure::input(format!("several nodes begin with {text}"))),
        (None, _) => Err(Failure::input(format!(
            "the directory knows no node of yours that begins with {text}: give its whole id"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_by_its_id_or_by_what_is_shown_of_it() {
        let id = NodeId::from_bytes([7; 32]);
        assert_eq!(node(&id.to_string()), Ok(id.to_string()));
        assert_eq!(node(&id.short().to_uppercase()), Ok(id.short()));
        for wrong in ["", "short", "@alice", "../../../etc"] {
            assert!(node(wrong).is_err(), "{wrong:?}");
        }
    }
}

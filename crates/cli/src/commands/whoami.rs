//! `skein whoami`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::paint::Paint;
use crate::ui::{format, table};
use clap::Args;
use serde::Serialize;
use skein_node::account;
use skein_node::api::types::{Identity, ReputationStatus};
use skein_node::home::Home;
use skein_proto::{KeyPair, UnixTime, Username};

/// Shows who this node is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein whoami                             name, node id, reputation, credential, data folder
  skein whoami --json | jq -r .node        only the node id")]
pub struct WhoamiArgs {}

/// Who this node is, as it is printed.
#[derive(Debug, Serialize)]
struct Whoami {
    #[serde(flatten)]
    identity: Identity,
    reputation: ReputationStatus,
}

/// Shows it; the daemon need not run.
///
/// # Errors
/// The data folder cannot be read.
pub fn run(context: &Context, _args: WhoamiArgs) -> Result<(), Failure> {
    let home = context.home()?;
    let whoami = if home.occupant()?.is_some() {
        let status = context::block_on(async { Ok(context.client()?.status().await?) })?;
        Whoami { identity: status.identity, reputation: status.reputation }
    } else {
        stored(&home)?
    };
    let lost = account::lost_name(&home, whoami.identity.node)?;
    context.ui.result(&whoami, |whoami, paint| {
        context.ui.addressed(&render(whoami, lost.as_ref(), context::now(), paint))
    })
}

/// What the data folder says when no daemon runs.
fn stored(home: &Home) -> Result<Whoami, Failure> {
    let node = node_key(home)?.node_id();
    Ok(Whoami {
        identity: account::identity(home, node)?,
        reputation: account::reputation(home, node, UnixTime(context::now()))?,
    })
}

/// The key of the node that has this data folder.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn node_key(home: &Home) -> Result<KeyPair, Failure> {
    let Some(key) = home.existing_node_key()? else {
        if let Some(credential) = home.credential()? {
            let name = &credential.unverified().name;
            return Err(Failure::failed(format!(
                "the node key of @{name} is gone: restore {}, or become a new node of that name \
                 with `skein login {name}`",
                home.key_file().display()
            )));
        }
        return Err(Failure::failed(format!(
            "there is no node in {} yet: take a name with `skein register NAME --ticket TICKET`",
            home.dir().display()
        )));
    };
    Ok(key)
}

/// `lost` is a name whose credential belongs to another node key than the present one.
fn render(whoami: &Whoami, lost: Option<&Username>, now: u64, paint: Paint) -> String {
    let Whoami { identity, reputation } = whoami;
    let name = match (&identity.name, lost) {
        (Some(name), _) => paint.name(format!("@{name}")),
        (None, Some(lost)) => paint.warn(format!(
            "none: the credential of @{lost} belongs to another node key; run `skein login {lost}`"
        )),
        (None, None) => "none yet: take one with `skein register NAME`".to_owned(),
    };
    let mut facts = vec![("name", name), ("node", identity.node.to_string())];
    if identity.name.is_some() {
        facts.push(("reputation", reputation.to_string()));
    }
    if let Some(expires) = identity.credential_expires {
        let when = if expires > now {
            format!("runs out {}; it is renewed by itself", format::until(expires, now))
        } else {
            paint.warn("expired: it is renewed when the node runs and the login service answers")
        };
        facts.push(("credential", when));
    }
    facts.push(("data", identity.data_dir.display().to_string()));
    let ticket = match &identity.ticket {
        Some(ticket) => ticket.clone(),
        None => "none yet: ask whoever runs the network, and give it with --ticket".to_owned(),
    };
    facts.push(("ticket", ticket));
    table::facts(&facts, paint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::NodeId;

    fn newcomer() -> Whoami {
        let identity = Identity {
            node: NodeId::from_bytes([7; 32]),
            name: None,
            credential_expires: None,
            ticket: None,
            data_dir: "/data".into(),
        };
        Whoami { identity, reputation: ReputationStatus::default() }
    }

    #[test]
    fn a_newcomer_is_told_what_to_do_next() {
        let text = render(&newcomer(), None, 0, Paint::PLAIN);
        assert!(text.contains("skein register NAME"), "{text}");
        assert!(text.contains("--ticket"), "{text}");
    }

    #[test]
    fn a_lost_key_is_told_from_a_newcomer() {
        let lost = Username::parse("alice").unwrap();
        let text = render(&newcomer(), Some(&lost), 0, Paint::PLAIN);
        assert!(text.contains("another node key") && text.contains("skein login alice"), "{text}");
    }

    #[test]
    fn a_member_sees_name_and_expiry() {
        let mut member = newcomer();
        member.identity.name = Some(Username::parse("alice").unwrap());
        member.identity.credential_expires = Some(7_200);
        member.reputation.reputation = 77;
        let text = render(&member, None, 3_600, Paint::PLAIN);
        assert!(text.contains("@alice") && text.contains("in 1h"), "{text}");
        assert!(text.contains("77 of 1000"), "{text}");
        let late = render(&member, None, 9_000, Paint::PLAIN);
        assert!(late.contains("expired"), "{late}");
    }
}

//! `skein buddies`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::Interrupt;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::json;
use skein_node::api::ApiClient;
use skein_node::api::buddies::{Buddy, PresenceState};
use skein_node::api::chat::PeopleEvent;
use skein_node::sessions::PathKind;
use skein_proto::{NodeId, Username};

/// Shows buddies and whether they are there, or changes who they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein buddies                            who is online, since when others are away
  skein buddies --watch                    and each change as it happens, until Ctrl-C
  skein buddies --json | jq -r 'select(.presence == \"online\").name'
Whether somebody is there says the directory, which everybody in the network can ask; nobody is
told that they are your buddy.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct BuddiesArgs {
    #[command(subcommand)]
    command: Option<BuddiesCommand>,
    /// Go on with each change, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// Changes who is a buddy.
#[derive(Debug, Subcommand)]
enum BuddiesCommand {
    /// Make somebody a buddy, known by the keys of their nodes
    #[command(after_help = "\
Examples:
  skein buddies add @bob                   messages of buddies have more room than those of others
A buddy is bound to the keys that bear the name when you add it, or when it first comes online. When
another key bears it later, you are told, and nothing is sent there until you run
`skein buddies trust @bob`.")]
    Add(Names),
    /// Make somebody a buddy no longer; what was said stays
    #[command(after_help = "\
Examples:
  skein buddies rm @bob")]
    Rm(Names),
    /// Say that a new key belongs to a buddy
    #[command(after_help = "\
Examples:
  skein buddies trust @bob                 all nodes that bear the name now
Ask the buddy first, in another way than this: whoever got hold of their password can make a key.")]
    Trust(TrustArgs),
    /// Take nothing of somebody: no messages, no files, no use of services
    #[command(after_help = "\
Examples:
  skein buddies block @mallory             nothing of theirs is kept, and they are told so
What is open with them ends, what is queued for them is deleted, and they are no buddy any more, also
after `skein buddies unblock @mallory`. What they said stays until `skein chat @mallory --forget`.")]
    Block(Names),
    /// Take messages and files of somebody again
    #[command(after_help = "\
Examples:
  skein buddies unblock @mallory")]
    Unblock(Names),
    /// List those who are blocked
    #[command(after_help = "\
Examples:
  skein buddies blocked --json | jq -r .name")]
    Blocked,
}

#[derive(Debug, Args)]
struct Names {
    /// Who
    #[arg(required = true, value_name = "@NAME")]
    names: Vec<Username>,
}

#[derive(Debug, Args)]
struct TrustArgs {
    /// Which buddy
    #[arg(value_name = "@NAME")]
    name: Username,
    /// Which node; without it, all that bear the name now
    #[arg(value_name = "NODE")]
    node: Option<NodeId>,
}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or somebody is no buddy or not blocked.
pub fn run(context: &Context, args: BuddiesArgs) -> Result<(), Failure> {
    let Some(command) = args.command else {
        return match args.watch {
            true => watch(context),
            false => context::block_on(async { list(context, &context.client()?).await }),
        };
    };
    context::block_on(async {
        let client = context.client()?;
        match command {
            BuddiesCommand::Add(Names { names }) => {
                for name in &names {
                    let buddy = client.add_buddy(name).await?;
                    context.ui.done(&buddy, added)?;
                }
                Ok(())
            }
            BuddiesCommand::Rm(Names { names }) => {
                for name in &names {
                    client.remove_buddy(name).await?;
                    done(context, "removed", name, "is your buddy no longer")?;
                }
                Ok(())
            }
            BuddiesCommand::Trust(TrustArgs { name, node }) => {
                let buddy = client.trust_buddy(&name, node).await?;
                context.ui.done(&buddy, added)
            }
            BuddiesCommand::Block(Names { names }) => {
                let buddies = client.buddies().await?;
                for name in &names {
                    client.block(name).await?;
                    let what = match buddies.iter().any(|buddy| buddy.name == *name) {
                        true => "is blocked, and is no buddy any more",
                        false => "is blocked",
                    };
                    done(context, "blocked", name, what)?;
                }
                Ok(())
            }
            BuddiesCommand::Unblock(Names { names }) => {
                for name in &names {
                    client.unblock(name).await?;
                    done(context, "unblocked", name, "is blocked no longer")?;
                }
                Ok(())
            }
            BuddiesCommand::Blocked => {
                let blocked = client.blocked().await?;
                if context.ui.json {
                    return blocked.iter().try_for_each(|one| context.ui.value(one));
                }
                if blocked.is_empty() {
                    context.ui.note("Nobody is blocked: `skein buddies block @NAME` does that.");
                }
                let now = context::now();
                blocked.iter().try_for_each(|one| {
                    let ago = format::elapsed(now.saturating_sub(one.since));
                    let name = context.ui.out.name(format!("@{}", one.name));
                    context.ui.line(format!("{name}  for {ago}"))
                })
            }
        }
    })
}

fn done(context: &Context, verb: &str, name: &Username, what: &str) -> Result<(), Failure> {
    context
        .ui
        .done(&json!({ verb: name }), |_, paint| format!("{} @{name} {what}.", paint.good("✓")))
}

fn added(buddy: &Buddy, paint: Paint) -> String {
    let name = &buddy.name;
    let keys: Vec<String> = buddy.keys.iter().map(NodeId::short).collect();
    let known = match keys.as_slice() {
        [] => "not seen yet: the first key that bears the name will be taken for theirs".to_owned(),
        [one] => format!("known by the key {one}"),
        more => format!("known by the keys {}", more.join(", ")),
    };
    format!("{} @{name} is your buddy, {known}.", paint.good("✓"))
}

async fn list(context: &Context, client: &ApiClient) -> Result<(), Failure> {
    let buddies = client.buddies().await?;
    if context.ui.json {
        return buddies.iter().try_for_each(|buddy| context.ui.value(buddy));
    }
    if buddies.is_empty() {
        context.ui.note("No buddies yet: `skein buddies add @NAME` makes somebody one.");
        return Ok(());
    }
    context.ui.line(render(&buddies, context::now(), context.ui.out))?;
    buddies
        .iter()
        .filter_map(|buddy| warning(buddy, context.ui.out))
        .try_for_each(|warning| context.ui.line(warning))
}

fn watch(context: &Context) -> Result<(), Failure> {
    context::block_on_uninterrupted(async {
        let mut interrupt = Interrupt::listen()?;
        let client = context.client()?;
        // Asked for before the list: nothing that happens in between is missed.
        let mut events = client.people_events().await?;
        list(context, &client).await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = interrupt.pressed() => return Ok(()),
            };
            match event {
                Some(Ok(PeopleEvent::Buddy(buddy))) => {
                    let (now, paint) = (context::now(), context.ui.out);
                    context.ui.result(&buddy, |buddy, _| changed(buddy, now, paint))?;
                }
                Some(Ok(PeopleEvent::Missed)) => list(context, &client).await?,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Failure::failed("the daemon has ended")),
            }
        }
    })
}

/// How somebody is, such as `offline since 2h 5m`.
pub(super) fn presence(buddy: &Buddy, now: u64, paint: Paint) -> String {
    match (buddy.presence, buddy.seen) {
        (PresenceState::Online, _) => paint.good("online"),
        (PresenceState::Unknown, 0) => "not known yet".to_owned(),
        (_, 0) => "never seen".to_owned(),
        (_, seen) => format!("offline since {}", format::elapsed(now.saturating_sub(seen))),
    }
}

fn path(buddy: &Buddy) -> String {
    let Some(path) = &buddy.path else { return "-".to_owned() };
    match path.kind {
        PathKind::Direct { address } => format!("directly, {address}"),
        PathKind::Relayed { relay, .. } => {
            format!("over {}", format::who(path.relay_name.as_ref(), &relay))
        }
    }
}

/// What to say loudly of a buddy's keys.
pub(super) fn warning(buddy: &Buddy, paint: Paint) -> Option<String> {
    if buddy.new_keys.is_empty() {
        return None;
    }
    let (name, keys) = (&buddy.name, buddy.new_keys.iter().map(NodeId::short));
    let keys: Vec<String> = keys.collect();
    Some(format!(
        "{} the name @{name} is borne by a key that you do not know it by: {}. It may be another \
         machine of theirs, or somebody who got hold of their password. Nothing is sent there. If \
         @{name} tells you that it is theirs: `skein buddies trust @{name}`",
        paint.bad("WARNING:"),
        keys.join(", ")
    ))
}

fn changed(buddy: &Buddy, now: u64, paint: Paint) -> String {
    let path = match buddy.path {
        Some(_) => format!(", a session is open {}", path(buddy)),
        None => String::new(),
    };
    let name = paint.name(format!("@{}", buddy.name));
    let line = format!("{name} is {}{path}", presence(buddy, now, paint));
    match warning(buddy, paint) {
        Some(warning) => format!("{line}\n{warning}"),
        None => line,
    }
}

fn render(buddies: &[Buddy], now: u64, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("buddy", Lean::Left),
        ("presence", Lean::Left),
        ("session", Lean::Left),
        ("unread", Lean::Right),
        ("queued", Lean::Right),
    ]);
    let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    for buddy in buddies {
        let mark = if buddy.new_keys.is_empty() { String::new() } else { paint.bad(" NEW KEY") };
        table.row([
            format!("{}{mark}", paint.name(format!("@{}", buddy.name))),
            presence(buddy, now, paint),
            path(buddy),
            count(buddy.unread),
            count(buddy.queued),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bob() -> Buddy {
        Buddy {
            name: Username::parse("bob").unwrap(),
            added: 10,
            presence: PresenceState::Offline,
            seen: 100,
            node: None,
            path: None,
            keys: vec![NodeId::from_bytes([1; 32])],
            new_keys: Vec::new(),
            unread: 0,
            queued: 2,
        }
    }

    #[test]
    fn a_buddy_is_shown_with_when_it_was_seen() {
        let text = render(&[bob()], 160, Paint::PLAIN);
        assert!(text.contains("@bob") && text.contains("offline since 1m"), "{text}");
        let online = Buddy { presence: PresenceState::Online, ..bob() };
        assert!(changed(&online, 160, Paint::PLAIN).starts_with("@bob is online"));
        let never = Buddy { seen: 0, ..bob() };
        assert_eq!(presence(&never, 160, Paint::PLAIN), "never seen");
    }

    #[test]
    fn a_key_that_is_not_known_is_said_loudly_with_what_to_do() {
        assert_eq!(warning(&bob(), Paint::PLAIN), None);
        let stranger = NodeId::from_bytes([2; 32]);
        let buddy = Buddy { new_keys: vec![stranger], ..bob() };
        assert!(render(std::slice::from_ref(&buddy), 160, Paint::PLAIN).contains("NEW KEY"));
        let text = changed(&buddy, 160, Paint::PLAIN);
        assert!(text.contains("WARNING") && text.contains(&stranger.short()), "{text}");
        assert!(text.contains("`skein buddies trust @bob`"), "{text}");
    }
}

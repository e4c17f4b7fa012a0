//! `skein status`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::paint::Paint;
use crate::ui::{format, table};
use clap::Args;
use skein_node::api::types::{
    Attachment, CapacityStatus, LibraryStatus, Status, SupernodeStatus, Udp,
};
use skein_proto::Role;

/// Shows how the node is doing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein status                             role, parent, library, problems
  skein status --json | jq .attachment     for scripts")]
pub struct StatusArgs {}

/// Shows it.
///
/// # Errors
/// The daemon does not run or answer.
pub fn run(context: &Context, _args: StatusArgs) -> Result<(), Failure> {
    let status = context::block_on(async { Ok(context.client()?.status().await?) })?;
    context.ui.result(&status, |status, paint| context.ui.addressed(&render(status, paint)))
}

fn render(status: &Status, paint: Paint) -> String {
    let mut facts = vec![
        ("node", node(status, paint)),
        ("role", role(status)),
        ("listening", listening(status)),
        ("contacts", network(status, paint)),
    ];
    if status.role == Role::Ordinary || status.attachment.parent.is_some() {
        facts.push(("parent", parent(&status.attachment, paint)));
    }
    if let Some(supernode) = &status.supernode {
        facts.push(("children", children(supernode)));
        facts.push(("network", supernode.outlook.words.clone()));
        facts.push(("index", index(supernode)));
    }
    if let Some(capacity) = &status.capacity {
        facts.push(("capacity", capacity_words(capacity)));
    }
    facts.push(("reputation", status.reputation.to_string()));
    facts.push(("library", library(&status.library)));
    facts.push(("transfers", transfers(status)));
    let running = format!(
        "for {}, version {}, process {}",
        format::elapsed(status.uptime_secs),
        status.version,
        status.pid
    );
    facts.push(("running", running));
    let mut text = table::facts(&facts, paint);
    for problem in &status.problems {
        text.push_str(&format!("\n{} {problem}", paint.warn("!")));
    }
    text
}

fn node(status: &Status, paint: Paint) -> String {
    let identity = &status.identity;
    match &identity.name {
        Some(name) => format!("{} ({})", paint.name(format!("@{name}")), identity.node.short()),
        None => format!("{} (no name yet: `skein register NAME`)", identity.node.short()),
    }
}

fn role(status: &Status) -> String {
    let role = match status.role {
        Role::Super => "supernode",
        Role::Ordinary => "ordinary",
    };
    let since = match status.role {
        Role::Super => format!(" for {}", format::elapsed(status.role_for_secs)),
        Role::Ordinary => String::new(),
    };
    if status.role_reason.is_empty() {
        role.to_owned()
    } else {
        format!("{role}{since}: {}", status.role_reason)
    }
}

fn listening(status: &Status) -> String {
    let seen = match status.observed {
        Some(seen) if seen != status.listen => format!("{}, seen as {seen}", status.listen),
        _ => status.listen.to_string(),
    };
    match status.udp {
        Udp::Blocked => format!("{seen}; over TCP (UDP is blocked)"),
        Udp::Off => format!("{seen}; over TCP (UDP is off)"),
        Udp::Works | Udp::Unknown => seen,
    }
}

fn network(status: &Status, paint: Paint) -> String {
    let known =
        format::count(status.supernodes_known.into(), "supernode known", "supernodes known");
    let login = match status.login_seen_secs_ago {
        Some(secs) => format!("login service answered {} ago", format::elapsed(secs)),
        None if status.identity.ticket.is_none() => {
            paint.warn("no network ticket yet: give one with `skein register NAME --ticket TICKET`")
        }
        None => "login service has not answered yet".to_owned(),
    };
    format!("{known}, {login}")
}

fn parent(attachment: &Attachment, paint: Paint) -> String {
    let Some(parent) = &attachment.parent else {
        return paint.warn("none: looking for a supernode");
    };
    let mut text = paint.name(format::who(attachment.parent_name.as_ref(), parent));
    if let Some(rtt) = attachment.parent_rtt_us {
        text.push_str(&format!(", round trip {}", format::round_trip(rtt)));
    }
    if let Some(since) = attachment.since_secs {
        text.push_str(&format!(", for {}", format::elapsed(since)));
    }
    // Copies of a file are one content, and published once.
    let contents = format::count(attachment.published, "content", "different contents");
    text.push_str(&format!(", {contents} published"));
    if attachment.publish_pending > 0 {
        text.push_str(&format!(", {} to go", format::thousands(attachment.publish_pending)));
    }
    if let Some(standby) = &attachment.standby {
        let who = format::who(attachment.standby_name.as_ref(), standby);
        text.push_str(&format!("; standby {}", paint.name(who)));
    }
    if attachment.parents_lost > 0 {
        let lost = format::count(attachment.parents_lost, "parent", "parents");
        text.push_str(&format!("; {lost} lost since the start"));
        if let Some(ms) = attachment.last_recovery_ms {
            text.push_str(&format!(", last recovered in {}", format::millis(ms)));
        }
    }
    text
}

fn children(supernode: &SupernodeStatus) -> String {
    format!(
        "{} of at most {}, {}, {}",
        format::thousands(supernode.children.into()),
        format::thousands(supernode.capacity.into()),
        format::count(supernode.standbys.into(), "standby bond", "standby bonds"),
        format::count(supernode.neighbours.into(), "neighbour", "neighbours"),
    )
}

fn capacity_words(capacity: &CapacityStatus) -> String {
    let battery = if capacity.on_battery { "; it runs on its battery" } else { "" };
    format!(
        "{} (limited by {}){battery}",
        format::count(capacity.children.into(), "child", "children"),
        capacity.limited_by
    )
}

fn index(supernode: &SupernodeStatus) -> String {
    format!(
        "{} in {}; {} and {} answered",
        format::count(supernode.records, "record", "records"),
        format::bytes(supernode.index_bytes),
        format::count(supernode.searches, "search", "searches"),
        format::count(supernode.floods, "neighbour's query", "neighbours' queries"),
    )
}

fn library(library: &LibraryStatus) -> String {
    if library.shares == 0 {
        return "nothing shared yet: `skein share add DIR`".to_owned();
    }
    format!(
        "{}, {} in {}{}",
        format::count(library.files, "file", "files"),
        format::bytes(library.bytes),
        format::count(library.shares.into(), "folder", "folders"),
        if library.scanning { "; a scan runs" } else { "" }
    )
}

fn transfers(status: &Status) -> String {
    let downloads = format::count(status.downloads_active.into(), "download", "downloads");
    let uploads = format::count(status.uploads_active.into(), "upload", "uploads");
    let checking = match status.downloads_checking {
        0 => String::new(),
        some => format!(" ({} checking what is there)", format::thousands(some.into())),
    };
    format!("{downloads}{checking}, {uploads}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_node::api::types::{Identity, RoleSetting};
    use skein_proto::{NodeId, Username};

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_secs: 65,
            identity: Identity {
                node: NodeId::from_bytes([7; 32]),
                name: Some(Username::parse("alice").unwrap()),
                credential_expires: None,
                ticket: None,
                data_dir: "/data".into(),
            },
            role: Role::Ordinary,
            role_setting: RoleSetting::Auto,
            role_reason: "the network has enough supernodes".to_owned(),
            role_code: "enough-supernodes".to_owned(),
            role_for_secs: 65,
            listen: ([127, 0, 0, 1], 4700).into(),
            observed: None,
            udp: Default::default(),
            attachment: Attachment::default(),
            login_seen_secs_ago: Some(3),
            problems: vec!["the clock is wrong".to_owned()],
            library: LibraryStatus::default(),
            supernode: None,
            capacity: None,
            reputation: Default::default(),
            supernodes_known: 1,
            downloads_active: 0,
            downloads_checking: 0,
            uploads_active: 2,
        }
    }

    #[test]
    fn an_ordinary_node_shows_its_parent_and_its_problems() {
        let mut status = status();
        let text = render(&status, Paint::PLAIN);
        assert!(text.contains("none: looking for a supernode"), "{text}");
        assert!(text.contains("! the clock is wrong"), "{text}");
        status.attachment.parent = Some(NodeId::from_bytes([8; 32]));
        status.attachment.parent_name = Some(Username::parse("heron").unwrap());
        status.attachment.standby = Some(NodeId::from_bytes([9; 32]));
        status.attachment.standby_name = Some(Username::parse("egret").unwrap());
        status.attachment.published = 1_200;
        let text = render(&status, Paint::PLAIN);
        assert!(
            text.contains("@heron") && text.contains("1,200 different contents published"),
            "{text}"
        );
        assert!(text.contains("standby @egret"), "{text}");
        assert!(!text.contains("children"), "{text}");
    }

    #[test]
    fn a_node_without_udp_says_so() {
        let mut status = status();
        assert!(!render(&status, Paint::PLAIN).contains("TCP"));
        status.udp = Udp::Blocked;
        assert!(render(&status, Paint::PLAIN).contains("over TCP (UDP is blocked)"));
    }

    #[test]
    fn a_supernode_shows_its_children_instead() {
        let mut status = status();
        status.role = Role::Super;
        status.supernode =
            Some(SupernodeStatus { children: 3, capacity: 150, ..SupernodeStatus::default() });
        status.capacity = Some(CapacityStatus {
            children: 156,
            limited_by: "the bandwidth".to_owned(),
            on_battery: false,
        });
        let text = render(&status, Paint::PLAIN);
        assert!(text.contains("156 children (limited by the bandwidth)"), "{text}");
        assert!(text.contains("3 of at most 150"), "{text}");
        assert!(!text.contains("looking for a supernode"), "{text}");
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let colored = render(&status(), Paint::COLOR);
        assert_eq!(console::strip_ansi_codes(&colored), render(&status(), Paint::PLAIN));
    }
}

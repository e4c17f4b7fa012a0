//! `skein service`.

use super::forward::local_address;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::{Args, Subcommand};
use serde_json::json;
use skein_node::api::people::{AddService, OfferedService};
use skein_proto::Username;
use std::net::SocketAddr;

/// Offers ports of this machine to certain users.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skein service add ssh 127.0.0.1:22 --allow bob
  skein service list                       what is offered, to whom
  skein service rm ssh                     offer it no longer
Nothing is offered unless you say so. Those who may use a service do so with `skein pipe` and
`skein forward`.")]
pub enum ServiceCommand {
    /// Offer a port to certain users
    Add(AddArgs),
    /// List what is offered, and to whom
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Offer a service no longer
    Rm(RemoveArgs),
}

/// Offers a port.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein service add ssh 22 --allow bob     the port of this machine's own address 127.0.0.1
  skein service add web 10.0.0.7:80 --allow alice,bob
  skein service add voice 5004 --udp --allow bob
A service that has this name already is replaced. Who a user is shows the credential of the login
service, not what the user's node says.")]
pub struct AddArgs {
    /// What to call it: a-z, 0-9, - and _
    name: String,
    /// The port behind it, or an address with a port
    #[arg(value_name = "TARGET", value_parser = local_address)]
    target: SocketAddr,
    /// Who may use it: names, with commas between them
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAMES")]
    allow: Vec<Username>,
    /// It is a UDP port
    #[arg(long)]
    udp: bool,
}

/// Lists what is offered.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein service list                       each service with who may use it
  skein service list --json | jq -r .name")]
pub struct ListArgs {}

/// Offers services no longer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein service rm ssh                     those who use it at present go on")]
pub struct RemoveArgs {
    /// The names of the services
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or a service is not there or cannot be offered.
pub fn run(context: &Context, command: ServiceCommand) -> Result<(), Failure> {
    context::block_on(async {
        let client = context.client()?;
        match command {
            ServiceCommand::Add(AddArgs { name, target, allow, udp }) => {
                let service = AddService { name, target, udp, allow };
                let before = client.services().await?;
                let service = client.add_service(&service).await?;
                let before = before.iter().find(|known| known.name == service.name);
                context.ui.done(&service, |service, paint| offered(service, before, paint))
            }
            ServiceCommand::List(_) => {
                let services = client.services().await?;
                if context.ui.json {
                    return services.iter().try_for_each(|service| context.ui.value(service));
                }
                if services.is_empty() {
                    let hint =
                        "Nothing is offered: `skein service add NAME PORT --allow WHO` does.";
                    context.ui.note(hint.to_owned());
                    return Ok(());
                }
                context.ui.result(&services, |services, paint| render(services, paint))
            }
            ServiceCommand::Rm(args) => {
                for name in &args.names {
                    client.remove_service(name).await?;
                    context.ui.done(&json!({ "removed": name }), |_, paint| {
                        format!("{} {name} is offered no longer.", paint.good("✓"))
                    })?;
                }
                Ok(())
            }
        }
    })
}

/// What is offered now, with what may not have been meant.
fn offered(service: &OfferedService, before: Option<&OfferedService>, paint: Paint) -> String {
    let OfferedService { name, target, allow, .. } = service;
    let mut text = format!("{} {name} ({target}) is offered to {}", paint.good("✓"), names(allow));
    match before {
        Some(old) if old != service => {
            text.push_str(&format!(", in place of {} for {}", old.target, names(&old.allow)));
        }
        _ => {}
    }
    text.push('.');
    if !target.ip().is_loopback() {
        let ip = target.ip();
        text.push_str(&format!(
            "\n{} {ip} is not this machine's own address 127.0.0.1: if it is another machine, they \
             reach that one through this one.",
            paint.warn("!")
        ));
    }
    text
}

fn names(allow: &[Username]) -> String {
    let names: Vec<String> = allow.iter().map(|name| format!("@{name}")).collect();
    names.join(", ")
}

fn render(services: &[OfferedService], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("service", Lean::Left),
        ("kind", Lean::Left),
        ("target", Lean::Left),
        ("who may use it", Lean::Left),
    ]);
    for service in services {
        table.row([
            paint.name(&service.name),
            if service.udp { "udp" } else { "tcp" }.to_owned(),
            service.target.to_string(),
            names(&service.allow),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn service(target: &str, allow: &[&str]) -> OfferedService {
        OfferedService {
            name: "web".to_owned(),
            target: target.parse().unwrap(),
            udp: false,
            allow: allow.iter().map(|name| Username::parse(name).unwrap()).collect(),
        }
    }

    #[test]
    fn what_takes_the_place_of_another_service_says_so() {
        let new = service("127.0.0.1:80", &["bob"]);
        let text = offered(&new, None, Paint::PLAIN);
        assert_eq!(text, "✓ web (127.0.0.1:80) is offered to @bob.");
        assert_eq!(offered(&new, Some(&new), Paint::PLAIN), text, "nothing has changed");
        let old = service("127.0.0.1:81", &["alice"]);
        let text = offered(&new, Some(&old), Paint::PLAIN);
        assert!(text.ends_with("@bob, in place of 127.0.0.1:81 for @alice."), "{text}");
    }

    #[test]
    fn a_port_that_may_be_of_another_machine_is_pointed_out() {
        let text = offered(&service("10.0.0.7:80", &["bob"]), None, Paint::PLAIN);
        assert!(text.contains("another machine"), "{text}");
        let text = offered(&service("[::1]:80", &["bob"]), None, Paint::PLAIN);
        assert!(!text.contains("another machine"), "{text}");
    }
}

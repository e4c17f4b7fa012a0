//! `skein ticket`.

use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
use serde_json::json;

/// Prints the network ticket.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein ticket                             the ticket of the network that this node is in
  skein ticket --data-dir /var/lib/skein-login
                                           the ticket of a login service, by its data folder")]
pub struct TicketArgs {}

/// Prints it. A node and a login service keep their ticket in the same place of their data folder.
///
/// # Errors
/// There is none.
pub fn run(context: &Context, _args: TicketArgs) -> Result<(), Failure> {
    let home = context.any_home()?;
    let Some(ticket) = home.ticket()? else {
        return Err(Failure::failed(format!(
            "there is no network ticket in {} yet: ask whoever runs the network for theirs and \
             give it with `skein register NAME --ticket TICKET`",
            home.dir().display()
        )));
    };
    let ticket = ticket.to_string();
    context.ui.result(&json!({ "ticket": ticket }), |_, _| ticket.clone())
}

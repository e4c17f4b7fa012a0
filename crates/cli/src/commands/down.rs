//! `skein down`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::progress;
use clap::Args;
use skein_node::home::Home;
use std::time::Duration;

/// The daemon says good-bye to its peers and closes its stores; what takes longer than this
/// hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look whether the daemon has let go of the data folder: what ends is a process that
/// is not a child of this one, and no event tells of that.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends the node that runs, and waits until it has ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein down                               end the node
  skein down --data-dir /srv/skein         end the node with that data folder")]
pub struct DownArgs {}

/// Ends it.
///
/// # Errors
/// No daemon runs, or it does not end.
pub fn run(context: &Context, _args: DownArgs) -> Result<(), Failure> {
    let home = context.home()?;
    if home.occupant()?.is_none() {
        return Err(Failure::failed(format!(
            "no node is running on {}: there is nothing to end",
            home.dir().display()
        )));
    }
    context::block_on(async {
        let client = context.client()?;
        let pid = client.status().await?.pid;
        client.shutdown().await?;
        let spinner = progress::spinner(&context.ui, "The node is ending…");
        let ended = tokio::time::timeout(PATIENCE, until_free(&home)).await;
        spinner.finish_and_clear();
        match ended {
            Ok(ended) => ended?,
            Err(_) => {
                return Err(Failure::failed(format!(
                    "the daemon (process {pid}) has not ended after {} s: look at its log, or \
                     end it with `kill {pid}`",
                    PATIENCE.as_secs()
                )));
            }
        }
        context.ui.done(&serde_json::json!({ "event": "ended", "pid": pid }), |_, paint| {
            format!("{} The node has ended.", paint.good("✓"))
        })
    })
}

/// Waits until no daemon has the data folder.
///
/// # Errors
/// The folder cannot be read.
pub async fn until_free(home: &Home) -> Result<(), Failure> {
    while home.occupant()?.is_some() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

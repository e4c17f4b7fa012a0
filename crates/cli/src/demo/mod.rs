//! The demo: a whole network of real processes on this machine, shown in five acts.

mod cast;
mod drawing;
mod fetch;
mod find;
mod library;
mod media;
mod network;
mod publish;
mod service;
mod stage;
mod verify;

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::{Reason, Shutdown};
use crate::ui::progress;
use cast::Cast;
use drawing::Branch;
use network::{Network, Node, millis_since};
use stage::{Scene, Stage, Tie};
use std::path::PathBuf;
use std::time::Instant;

/// What the user wants of the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders to share beside the library that the demo makes.
    pub shares: Vec<PathBuf>,
    /// Whether the network stays up.
    pub keep: bool,
}

/// Shows the demo. Nothing stays behind, however it ends.
///
/// # Errors
/// Anything did not go as promised, or the user called it off.
pub fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let stage = Stage { ui: context.ui.clone() };
    context::block_on_service(async {
        let mut shutdown = Shutdown::listen(false, false)?;
        let mut network = Network::new()?;
        let result = tokio::select! {
            result = play(&stage, &mut network, options) => result,
            reason = shutdown.reason() => Err(called_off(reason)),
        };
        let result = match result {
            // Only a signal ends what is kept, and that is how it should end.
            Ok(()) if options.keep => {
                shutdown.reason().await;
                stage.aside("")
            }
            other => other,
        };
        let spinner = progress::spinner(&stage.ui, "Clearing away…");
        let ended = network.end().await;
        spinner.finish_and_clear();
        result.and(ended)
    })
}

fn called_off(reason: Reason) -> Failure {
    match reason {
        Reason::Interrupt => Failure::interrupted_with("interrupted; everything is cleared away"),
        Reason::Terminate | Reason::ParentGone => {
            Failure::failed("told to end; everything is cleared away")
        }
    }
}

async fn play(stage: &Stage, network: &mut Network, options: &Options) -> Result<(), Failure> {
    let started = Instant::now();
    stage.tell(&Scene::Opening { dir: network.dir().to_owned() })?;

    stage.act(1, "A login service: names, credentials, first contacts")?;
    network.start_login_service(stage).await?;

    stage.act(2, "Three supernodes: they index, search and relay for others")?;
    network.start_supernodes(stage).await?;

    stage.act(3, "Eight ordinary nodes join")?;
    let ties = network.start_ordinary(stage).await?;
    let cast = Cast::choose(&ties)?;
    stage.aside(format!("\n{}\n", draw(network, &ties, &cast, stage)))?;
    publish::publish(stage, network, &cast, &options.shares).await?;

    let searcher = cast.searcher(network)?;
    stage.act(4, "A search: answers come from everywhere, as they are found")?;
    let hits = find::search(stage, network, searcher, &cast).await?;

    stage.act(5, "A download: from all who have it, every piece verified as it arrives")?;
    fetch::download(stage, network, searcher, &hits, &cast).await?;

    if options.keep {
        return stage.tell(&Scene::Kept { commands: commands_to_try(network, searcher) });
    }
    stage.tell(&Scene::Done { took_ms: millis_since(started) })
}

fn draw(network: &Network, ties: &[Tie], cast: &Cast, stage: &Stage) -> String {
    let branches: Vec<Branch> = network
        .supernodes
        .iter()
        .map(|supernode| {
            let children = ties.iter().filter(|tie| tie.parent == supernode.name);
            Branch {
                supernode: supernode.name.clone(),
                children: children.map(|tie| tie.name.clone()).collect(),
            }
        })
        .collect();
    drawing::network(&branches, &cast.searcher.name, stage.ui.out)
}

fn commands_to_try(network: &Network, searcher: &Node) -> Vec<String> {
    let program = std::env::current_exe()
        .map_or_else(|_| "skein".to_owned(), |path| path.display().to_string());
    let on = |node: &Node, words: &str| stage::command_for(&program, &node.data_dir, words);
    let mut commands =
        vec![on(searcher, "search ferry"), on(searcher, "get 1 -o ."), on(searcher, "status")];
    commands.extend(network.supernodes.first().map(|supernode| on(supernode, "peers")));
    let newcomer = network.dir().join(network::NODES).join("newcomer");
    let register = format!("register newcomer --ticket {}", network.ticket());
    commands.push(stage::command_for(&program, &newcomer, &register));
    commands.push(stage::command_for(&program, &newcomer, "up --listen 127.0.0.1:0"));
    commands
}

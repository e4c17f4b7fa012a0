//! The demo: a whole network of real processes on this machine, shown in five acts.

mod drawing;
mod library;
mod media;
mod network;
mod service;
mod stage;
mod verify;

use crate::commands::get;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::{Reason, Shutdown};
use crate::ui::progress;
use drawing::Branch;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use network::{Network, Node, millis_since};
use skein_node::api::types::{
    ContentHit, DownloadState, DownloadTarget, SearchEvent, StartDownload, StartSearch,
};
use skein_proto::query::Filter;
use stage::{Gift, Scene, Stage, Tie};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

/// What the user wants of the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder to share beside the library that the demo makes.
    pub share: Option<PathBuf>,
    /// Whether the network stays up.
    pub keep: bool,
}

/// Shows the demo. Nothing stays behind, however it ends.
///
/// # Errors
/// Anything did not go as promised, or the user called it off.
pub fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let stage = Stage { ui: context.ui };
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
    publish(stage, network, &cast, options).await?;

    let searcher = cast.searcher(network)?;
    stage.act(4, "A search: answers come from everywhere, as they are found")?;
    let hits = search(stage, network, searcher, &cast).await?;

    stage.act(5, "A download: from all who have it, every piece verified as it arrives")?;
    download(stage, network, searcher, &hits, &cast).await?;

    if options.keep {
        return stage.tell(&Scene::Kept { commands: commands_to_try(network, searcher) });
    }
    stage.tell(&Scene::Done { took_ms: millis_since(started) })
}

/// Who plays which part, chosen when it is known who is attached to whom.
#[derive(Debug, PartialEq, Eq)]
struct Cast {
    /// The one who asks.
    searcher: Tie,
    /// The two who have the large recording: children of other supernodes than the searcher's.
    owners: [String; 2],
}

impl Cast {
    fn choose(ties: &[Tie]) -> Result<Self, Failure> {
        let alone = || Failure::failed("all nodes chose one supernode: there is no other to ask");
        for searcher in ties {
            let mut others = ties.iter().filter(|tie| tie.parent != searcher.parent);
            let Some(first) = others.next() else { continue };
            // Under a third supernode if there is one, else wherever.
            let rest: Vec<&Tie> = others.collect();
            let third = rest.iter().find(|tie| tie.parent != first.parent);
            if let Some(second) = third.or(rest.first()) {
                let owners = [first.name.clone(), second.name.clone()];
                return Ok(Self { searcher: searcher.clone(), owners });
            }
        }
        Err(alone())
    }

    fn searcher<'a>(&self, network: &'a Network) -> Result<&'a Node, Failure> {
        let found = network.ordinary.iter().find(|node| node.name == self.searcher.name);
        found.ok_or_else(|| Failure::failed(format!("{} has left", self.searcher.name)))
    }
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

/// Fills the shelves, shares them, and waits until all of it can be found.
async fn publish(
    stage: &Stage,
    network: &Network,
    cast: &Cast,
    options: &Options,
) -> Result<(), Failure> {
    let shelves: Vec<(usize, &Node, PathBuf, bool)> = network
        .ordinary
        .iter()
        .enumerate()
        .map(|(shelf, node)| {
            (shelf, node, shelf_of(network, &node.name), cast.owners.contains(&node.name))
        })
        .collect();
    let plan: Vec<(usize, PathBuf, bool)> = shelves
        .iter()
        .map(|(shelf, _, dir, recording)| (*shelf, dir.clone(), *recording))
        .collect();
    let written = tokio::task::spawn_blocking(move || {
        let fill = |(shelf, dir, recording): &(usize, PathBuf, bool)| {
            library::fill(*shelf, *recording, dir)
                .map_err(|error| Failure::file("write the library to", dir, &error))
        };
        plan.iter().map(fill).collect::<Result<Vec<_>, Failure>>()
    });
    let written = written
        .await
        .map_err(|error| Failure::failed(format!("the library could not be made: {error}")))??;

    let started = Instant::now();
    let bar = progress::count_bar(&stage.ui, shelves.len() as u64, "hashing and publishing");
    let bar_of_all = &bar;
    let shared = shelves.iter().zip(&written).map(|((_, node, dir, _), written)| async move {
        node.client.add_share(dir).await?;
        let status = node.wait_until_published(written.files).await?;
        bar_of_all.inc(1);
        Ok::<_, Failure>(status.library)
    });
    let libraries = try_join_all(shared).await;
    bar.finish_and_clear();
    let mut files: u64 = 0;
    let mut bytes: u64 = 0;
    for library in libraries? {
        files += library.files;
        bytes += library.bytes;
    }
    if let (Some(share), Some(node)) = (&options.share, network.ordinary.first()) {
        let spinner = progress::spinner(&stage.ui, format!("sharing {}…", share.display()));
        let own = written.first().map_or(0, |written| written.files);
        node.client.add_share(share).await?;
        let is_scanned = |status: &skein_node::api::types::Status| {
            status.library.shares >= 2 && !status.library.scanning
        };
        node.wait_for("read the folder of --share", is_scanned).await?;
        let status = node.wait_until_published(own).await?;
        spinner.finish_and_clear();
        files += status.library.files.saturating_sub(own);
        bytes += status.library.bytes.saturating_sub(written.first().map_or(0, |own| own.bytes));
    }
    stage.tell(&Scene::AllPublished { files, bytes, took_ms: millis_since(started) })
}

fn shelf_of(network: &Network, name: &str) -> PathBuf {
    network.dir().join("shares").join(name)
}

/// Searches, tells every new content, and makes sure that the others' children were found.
async fn search(
    stage: &Stage,
    network: &Network,
    searcher: &Node,
    cast: &Cast,
) -> Result<BTreeMap<u32, ContentHit>, Failure> {
    let words = library::WORD.to_owned();
    stage.tell(&Scene::Searching { from: cast.searcher.clone(), words: words.clone() })?;
    let request = StartSearch { words, filter: Filter::default(), limit: None };
    let mut events = searcher.client.search(&request).await?;
    let mut hits: BTreeMap<u32, ContentHit> = BTreeMap::new();
    let report = loop {
        match events.next().await {
            Some(event) => match event? {
                SearchEvent::Hit(hit) => {
                    stage.tell(&hit_scene(network, &hit, &hits, &cast.searcher.parent))?;
                    hits.insert(hit.number, *hit);
                }
                SearchEvent::Done(report) => break report,
                _ => {}
            },
            None => return Err(Failure::failed("the search ended without a report")),
        }
    };
    let mut supernodes = BTreeSet::new();
    let mut from_elsewhere = 0;
    for hit in hits.values() {
        let owners = owners_of(network, hit);
        let far = owners.iter().filter(|tie| tie.parent != cast.searcher.parent);
        let far: Vec<String> = far.map(|tie| tie.parent.clone()).collect();
        if far.len() == owners.len() {
            from_elsewhere += 1;
        }
        supernodes.extend(far);
    }
    if supernodes.len() < network.supernodes.len() - 1 {
        let found: Vec<String> = supernodes.into_iter().collect();
        return Err(Failure::failed(format!(
            "the search found nothing of the children of some supernodes: only of {found:?}"
        )));
    }
    stage.tell(&Scene::SearchDone {
        contents: report.contents,
        from_elsewhere,
        supernodes: supernodes.into_iter().collect(),
        first_hit_ms: report.first_hit_ms,
        took_ms: report.took_ms,
        supernodes_asked: report.coverage.supernodes_asked,
    })?;
    Ok(hits)
}

fn owners_of(network: &Network, hit: &ContentHit) -> Vec<Tie> {
    let tie = |source: &skein_node::api::types::Source| Tie {
        name: source.name.to_string(),
        parent: network
            .supernode_name(&source.parent)
            .map_or_else(|| source.parent.short(), str::to_owned),
    };
    hit.sources.iter().map(tie).collect()
}

/// A new content, or what is new of a known one.
fn hit_scene(
    network: &Network,
    hit: &ContentHit,
    known: &BTreeMap<u32, ContentHit>,
    own_parent: &str,
) -> Scene {
    let mut owners = owners_of(network, hit);
    if let Some(before) = known.get(&hit.number) {
        let before = owners_of(network, before);
        owners.retain(|tie| !before.contains(tie));
        return Scene::MoreSources { number: hit.number, owners };
    }
    Scene::Hit {
        number: hit.number,
        name: hit.name.clone(),
        size: hit.size,
        from_elsewhere: owners.iter().all(|tie| tie.parent != own_parent),
        owners,
    }
}

/// Fetches the large recording by its number and checks the result without the node's help.
async fn download(
    stage: &Stage,
    network: &Network,
    searcher: &Node,
    hits: &BTreeMap<u32, ContentHit>,
    cast: &Cast,
) -> Result<(), Failure> {
    let recording = hits.values().find(|hit| hit.name == library::RECORDING).ok_or_else(|| {
        Failure::failed(format!("the search did not find {:?}", library::RECORDING))
    })?;
    stage.aside(format!(
        "  {} fetches {} from {}",
        stage.ui.out.name(&searcher.name),
        stage.ui.out.strong(&recording.name),
        stage::listed(recording.sources.iter().map(|source| stage.ui.out.name(&source.name)))
    ))?;
    let dir = network.dir().join("downloads").join(&searcher.name);
    std::fs::create_dir_all(&dir).map_err(|error| Failure::file("make", &dir, &error))?;
    let target = DownloadTarget::Number(recording.number);
    let request = StartDownload { target, dir: Some(dir) };

    let started = Instant::now();
    let mut last = searcher.client.start_download(&request).await?;
    let mut events = searcher.client.watch_download(last.id).await?;
    let bar = progress::download_bar(&stage.ui, Some(recording.size));
    while !last.state.is_final() {
        last = match events.next().await {
            Some(download) => download?,
            None => return Err(Failure::failed("the download was lost sight of")),
        };
        bar.set_position(last.verified);
        bar.set_message(get::message(&last));
    }
    let took_ms = millis_since(started);
    bar.finish_and_clear();
    match &last.state {
        DownloadState::Done => {}
        DownloadState::Failed { reason } => return Err(Failure::failed(reason.clone())),
        other => return Err(Failure::failed(format!("the download ended as {other:?}"))),
    }
    stage.tell(&Scene::Downloaded {
        path: last.path.clone(),
        size: recording.size,
        gave: gifts(network, cast).await?,
        took_ms,
    })?;

    let [owner, _] = &cast.owners;
    let original = library::recording_path(&shelf_of(network, owner));
    let verified = verify::compare(last.path.clone(), original.clone()).await?;
    if verified.content != recording.content {
        return Err(Failure::failed(format!(
            "the file has the content id {}, but the search said {}",
            verified.content, recording.content
        )));
    }
    stage.tell(&Scene::Verified { content: verified.content, original, compared: verified.bytes })
}

/// What those who have the recording have sent, as they count it themselves. Nothing else was
/// fetched from them before.
async fn gifts(network: &Network, cast: &Cast) -> Result<Vec<Gift>, Failure> {
    const COUNTER: &str = "skein_transfer_bytes_up_total";
    let owners = network.ordinary.iter().filter(|node| cast.owners.contains(&node.name));
    let gifts = try_join_all(owners.map(|node| async {
        let metrics = node.client.metrics().await?;
        let bytes = counter(&metrics, COUNTER)
            .ok_or_else(|| Failure::failed(format!("{} does not count {COUNTER}", node.name)))?;
        Ok::<_, Failure>(Gift { name: node.name.clone(), bytes })
    }));
    Ok(gifts.await?.into_iter().filter(|gift| gift.bytes > 0).collect())
}

/// The value of a counter without labels in OpenMetrics text.
fn counter(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn commands_to_try(network: &Network, searcher: &Node) -> Vec<String> {
    let program = std::env::current_exe()
        .map_or_else(|_| "skein".to_owned(), |path| path.display().to_string());
    let on = |node: &Node, words: &str| stage::command_for(&program, &node.data_dir, words);
    let mut commands =
        vec![on(searcher, "search ferry"), on(searcher, "get 1 -o ."), on(searcher, "status")];
    commands.extend(network.supernodes.first().map(|supernode| on(supernode, "peers")));
    let newcomer = network.dir().join("nodes").join("newcomer");
    let register = format!("register newcomer --ticket {}", network.ticket());
    commands.push(stage::command_for(&program, &newcomer, &register));
    commands.push(stage::command_for(&program, &newcomer, "up --listen 127.0.0.1:0"));
    commands
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ties(ties: &[(&str, &str)]) -> Vec<Tie> {
        let tie = |(name, parent): &(&str, &str)| Tie {
            name: (*name).to_owned(),
            parent: (*parent).to_owned(),
        };
        ties.iter().map(tie).collect()
    }

    #[test]
    fn the_recording_lies_under_other_supernodes_than_the_searchers() {
        let ties = ties(&[("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")]);
        let cast = Cast::choose(&ties).unwrap();
        assert_eq!(cast.searcher.name, "a");
        assert_eq!(cast.owners, ["c", "e"]);
    }

    #[test]
    fn two_supernodes_with_children_suffice() {
        let cast = Cast::choose(&ties(&[("a", "x"), ("b", "y"), ("c", "y")])).unwrap();
        assert_eq!(cast.owners, ["b", "c"]);
        let cast = Cast::choose(&ties(&[("a", "y"), ("b", "x"), ("c", "y")])).unwrap();
        assert_eq!((cast.searcher.name.as_str(), cast.owners), ("b", ["a".into(), "c".into()]));
    }

    #[test]
    fn a_counter_is_read_by_its_whole_name() {
        let text = "# TYPE a counter\na_total 7\na_total_more 8\nb_total{x=\"y\"} 9\n# EOF\n";
        assert_eq!(counter(text, "a_total"), Some(7));
        assert_eq!(counter(text, "b_total"), None);
        assert_eq!(counter(text, "a"), None);
    }

    #[test]
    fn one_supernode_is_not_enough_for_the_story() {
        assert!(Cast::choose(&ties(&[("a", "x"), ("b", "x"), ("c", "x")])).is_err());
    }
}

//! The act in which folders are shared.

use super::cast::Cast;
use super::library;
use super::network::{Network, Node, millis_since};
use super::stage::{Scene, Stage};
use crate::failure::Failure;
use crate::ui::progress;
use futures_util::future::try_join_all;
use skein_node::api::types::Status;
use std::path::PathBuf;
use std::time::Instant;

/// Fills the shelves, shares them, and waits until all of it can be found. `own` are folders of
/// the user's to share beside them.
///
/// # Errors
/// A folder cannot be written or shared, or is not published in time.
pub async fn publish(
    stage: &Stage,
    network: &Network,
    cast: &Cast,
    own: &[PathBuf],
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
    if let (false, Some(node)) = (own.is_empty(), network.ordinary.first()) {
        let spinner = progress::spinner(&stage.ui, "sharing what is yours…");
        let made = written.first().map_or(0, |written| written.files);
        for share in own {
            node.client.add_share(share).await?;
        }
        let is_scanned = |status: &Status| {
            status.library.shares as usize > own.len() && !status.library.scanning
        };
        node.wait_for("read the folder of --share", is_scanned).await?;
        let status = node.wait_until_published(made).await?;
        spinner.finish_and_clear();
        files += status.library.files.saturating_sub(made);
        bytes += status.library.bytes.saturating_sub(written.first().map_or(0, |own| own.bytes));
    }
    stage.tell(&Scene::AllPublished { files, bytes, took_ms: millis_since(started) })
}

/// The folder that a node shares.
pub fn shelf_of(network: &Network, name: &str) -> PathBuf {
    network.dir().join("shares").join(name)
}

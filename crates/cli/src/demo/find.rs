//! The act in which something is searched.

use super::cast::Cast;
use super::library;
use super::network::{Network, Node};
use super::stage::{Scene, Stage, Tie};
use crate::failure::Failure;
use futures_util::StreamExt as _;
use skein_node::api::types::{ContentHit, SearchEvent, Source, StartSearch};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Supernodes tell each other in tables which words they can answer, some seconds after those were
/// published. Until then a search asks only those whose tables have come. A machine that has other
/// things to do may take much longer, and nobody waits for nothing.
const TABLES_PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Searches in silence until the children of all supernodes are found, or for as long as that
/// ever takes.
async fn until_tables_have_spread(
    network: &Network,
    searcher: &Node,
    cast: &Cast,
    request: &StartSearch,
) -> Result<(), Failure> {
    let deadline = Instant::now() + TABLES_PATIENCE;
    while Instant::now() < deadline {
        let mut events = searcher.client.search(request).await?;
        let mut supernodes = BTreeSet::new();
        while let Some(event) = events.next().await {
            if let SearchEvent::Hit(hit) = event? {
                let owners = owners_of(network, &hit);
                supernodes.extend(owners.into_iter().map(|tie| tie.parent));
            }
        }
        supernodes.remove(&cast.searcher.parent);
        if supernodes.len() + 1 >= network.supernodes.len() {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Searches, tells every new content, and makes sure that the others' children were found.
///
/// # Errors
/// The search fails, or finds nothing of the children of another supernode.
pub async fn search(
    stage: &Stage,
    network: &Network,
    searcher: &Node,
    cast: &Cast,
) -> Result<BTreeMap<u32, ContentHit>, Failure> {
    let words = library::WORD.to_owned();
    stage.tell(&Scene::Searching { from: cast.searcher.clone(), words: words.clone() })?;
    let request = StartSearch { words, ..StartSearch::default() };
    until_tables_have_spread(network, searcher, cast, &request).await?;
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
    let tie = |source: &Source| Tie {
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

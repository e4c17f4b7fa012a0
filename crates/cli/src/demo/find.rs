//! The act in which something is searched.

use super::cast::Cast;
use super::library;
use super::network::{Network, Node};
use super::stage::{Scene, Stage, Tie};
use crate::failure::Failure;
use futures_util::StreamExt as _;
use skein_node::api::types::{ContentHit, SearchEvent, SearchReport, Source, StartSearch};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Supernodes tell each other in tables which words they can answer, up to half a second after
/// those were published. Until then a search asks only those whose tables have come. A machine that
/// has other things to do may take much longer, and nobody waits for nothing.
const TABLES_PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// One search: what came of it, in order, and its end.
struct Search {
    hits: Vec<ContentHit>,
    report: SearchReport,
}

impl Search {
    async fn run(searcher: &Node, request: &StartSearch) -> Result<Self, Failure> {
        let mut events = searcher.client.search(request).await?;
        let mut hits = Vec::new();
        while let Some(event) = events.next().await {
            match event? {
                SearchEvent::Hit(hit) => hits.push(*hit),
                SearchEvent::Done(report) => return Ok(Self { hits, report }),
                _ => {}
            }
        }
        Err(Failure::failed("the search ended without a report"))
    }

    /// The supernodes but the searcher's own whose children were found.
    fn others(&self, network: &Network, own: &str) -> BTreeSet<String> {
        let ties = self.hits.iter().flat_map(|hit| owners_of(network, hit));
        ties.map(|tie| tie.parent).filter(|parent| parent != own).collect()
    }
}

/// Searches until the children of all supernodes are found, which is at once if the tables have
/// spread, and tells what that search brought.
///
/// # Errors
/// The search fails, or finds nothing of the children of another supernode for too long.
pub async fn search(
    stage: &Stage,
    network: &Network,
    searcher: &Node,
    cast: &Cast,
) -> Result<BTreeMap<u32, ContentHit>, Failure> {
    let own = &cast.searcher.parent;
    let words = library::WORD.to_owned();
    stage.tell(&Scene::Searching { from: cast.searcher.clone(), words: words.clone() })?;
    let request = StartSearch { words, ..StartSearch::default() };
    let deadline = Instant::now() + TABLES_PATIENCE;
    let (search, others) = loop {
        let search = Search::run(searcher, &request).await?;
        let others = search.others(network, own);
        if others.len() + 1 >= network.supernodes.len() {
            break (search, others);
        }
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!(
                "the search found nothing of the children of some supernodes: only of {others:?}"
            )));
        }
        sleep(LOOK_AGAIN).await;
    };
    let mut hits: BTreeMap<u32, ContentHit> = BTreeMap::new();
    for hit in search.hits {
        stage.tell(&hit_scene(network, &hit, &hits, own))?;
        hits.insert(hit.number, hit);
    }
    let is_far = |hit: &&ContentHit| owners_of(network, hit).iter().all(|tie| tie.parent != *own);
    let from_elsewhere = u32::try_from(hits.values().filter(is_far).count()).unwrap_or(u32::MAX);
    let report = search.report;
    stage.tell(&Scene::SearchDone {
        contents: report.contents,
        from_elsewhere,
        supernodes: others.into_iter().collect(),
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

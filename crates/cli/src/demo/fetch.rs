//! The act in which something is fetched.

use super::cast::Cast;
use super::network::{Network, Node, millis_since};
use super::stage::{Gift, Scene, Stage};
use super::{library, publish, stage as telling, verify};
use crate::commands::get;
use crate::failure::Failure;
use crate::ui::progress;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use skein_node::api::types::{ContentHit, DownloadState, DownloadTarget, StartDownload};
use std::collections::BTreeMap;
use std::time::Instant;

/// Fetches the large recording by its number and checks the result without the node's help.
///
/// # Errors
/// The download fails, or the file is not what it should be.
pub async fn download(
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
        telling::listed(recording.sources.iter().map(|source| stage.ui.out.name(&source.name)))
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
    let original = library::recording_path(&publish::shelf_of(network, owner));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_by_its_whole_name() {
        let text = "# TYPE a counter\na_total 7\na_total_more 8\nb_total{x=\"y\"} 9\n# EOF\n";
        assert_eq!(counter(text, "a_total"), Some(7));
        assert_eq!(counter(text, "b_total"), None);
        assert_eq!(counter(text, "a"), None);
    }
}

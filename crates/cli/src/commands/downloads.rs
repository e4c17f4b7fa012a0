//! `skein downloads`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::{Args, Subcommand};
use skein_node::api::types::{Download, DownloadState, SourcePath};

/// Lists the downloads, cancels one, or forgets one that is over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein downloads                          list them
  skein downloads cancel 3                 stop the one with the id 3
  skein downloads forget 3                 list it no longer

`via` says which way bytes come: direct from the source's address, over a session that found a
direct path, or through the relay of a supernode.")]
pub struct DownloadsArgs {
    #[command(subcommand)]
    command: Option<DownloadsCommand>,
}

#[derive(Debug, Subcommand)]
enum DownloadsCommand {
    /// Stop a download; what has come is kept for a later try
    #[command(after_help = "\
Examples:
  skein downloads cancel 3                 the id is in the first column of `skein downloads`")]
    Cancel {
        /// Its id, from `skein downloads`
        #[arg(value_name = "ID", value_parser = crate::value::download_id)]
        id: u64,
    },
    /// List a download that is over no longer; a complete file stays where it is
    #[command(after_help = "\
Examples:
  skein downloads forget 3                 the id is in the first column of `skein downloads`
  skein downloads forget --over            all that are finished, stopped or have failed
What had come of a file that is not complete is removed. A complete file stays, and is offered to
others from then on only if it lies in a folder that you share.")]
    Forget {
        /// Its id, from `skein downloads`
        #[arg(value_name = "ID", value_parser = crate::value::download_id)]
        #[arg(required_unless_present = "over", conflicts_with = "over")]
        id: Option<u64>,
        /// All that are finished, stopped or have failed
        #[arg(long)]
        over: bool,
    },
}

/// Lists, cancels or forgets.
///
/// # Errors
/// The daemon does not run or answer, or there is no such download.
pub fn run(context: &Context, args: DownloadsArgs) -> Result<(), Failure> {
    match args.command {
        None => list(context),
        Some(DownloadsCommand::Cancel { id }) => cancel(context, id),
        Some(DownloadsCommand::Forget { id: Some(id), .. }) => forget(context, id),
        Some(DownloadsCommand::Forget { id: None, .. }) => forget_all(context),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let downloads = context::block_on(async { Ok(context.client()?.downloads().await?) })?;
    if context.ui.json {
        return downloads.iter().try_for_each(|download| context.ui.value(download));
    }
    if downloads.is_empty() {
        context.ui.note("No downloads yet: find something with `skein search WORDS…`.");
        return Ok(());
    }
    context.ui.line(render(&downloads, context.ui.out))
}

fn cancel(context: &Context, id: u64) -> Result<(), Failure> {
    context::block_on(async {
        let client = context.client()?;
        let downloads = client.downloads().await?;
        let over = downloads.iter().find(|known| known.id == id && known.state.is_final());
        if let Some(over) = over {
            return Err(already_over(over));
        }
        Ok(client.cancel_download(id).await?)
    })?;
    context.ui.done(&serde_json::json!({ "event": "cancelled", "id": id }), |_, paint| {
        format!("{} Download {id} is stopped; what has come is kept.", paint.good("✓"))
    })
}

fn forget(context: &Context, id: u64) -> Result<(), Failure> {
    let forgotten = context::block_on(async { Ok(context.client()?.forget_download(id).await?) })?;
    tell_forgotten(context, &[id], forgotten.freed_bytes)
}

fn forget_all(context: &Context) -> Result<(), Failure> {
    let (ids, freed) = context::block_on(async {
        let client = context.client()?;
        let (mut ids, mut freed) = (Vec::new(), 0);
        for over in client.downloads().await?.iter().filter(|known| known.state.is_final()) {
            freed += client.forget_download(over.id).await?.freed_bytes;
            ids.push(over.id);
        }
        Ok((ids, freed))
    })?;
    tell_forgotten(context, &ids, freed)
}

fn tell_forgotten(context: &Context, ids: &[u64], freed: u64) -> Result<(), Failure> {
    let value = serde_json::json!({ "event": "forgotten", "ids": ids, "freed_bytes": freed });
    context.ui.done(&value, |_, paint| {
        let what = match ids {
            [] => "There is no download that is over.".to_owned(),
            [id] => format!("Download {id} is forgotten"),
            more => format!("{} downloads are forgotten", more.len()),
        };
        match (ids, freed) {
            ([], _) => what,
            (_, 0) => format!("{} {what}.", paint.good("✓")),
            _ => format!("{} {what}; {} became free.", paint.good("✓"), format::bytes(freed)),
        }
    })
}

/// There is nothing left to stop.
fn already_over(download: &Download) -> Failure {
    let how = match &download.state {
        DownloadState::Done => format!("is finished: the file is {}", download.path.display()),
        DownloadState::Failed { .. } => "has failed already: what has come is kept".to_owned(),
        _ => "is stopped already: what has come is kept".to_owned(),
    };
    Failure::failed(format!("download {} cannot be stopped, it {how}", download.id))
}

fn render(downloads: &[Download], paint: Paint) -> String {
    let mut table = Table::new(&[
        ("id", Lean::Right),
        ("state", Lean::Left),
        ("done", Lean::Right),
        ("size", Lean::Right),
        ("rate", Lean::Right),
        ("sources", Lean::Right),
        ("via", Lean::Left),
        ("file", Lean::Left),
    ]);
    for download in downloads {
        let is_running = download.state == DownloadState::Running;
        table.row([
            download.id.to_string(),
            state(&download.state, paint),
            done(download),
            download.size.map_or_else(|| "?".to_owned(), format::bytes),
            if is_running { format::rate(download.rate) } else { String::new() },
            sources(download),
            via(download),
            download.path.display().to_string(),
        ]);
    }
    let mut text = table.render(paint);
    for download in downloads {
        if let DownloadState::Failed { reason } | DownloadState::Waiting { reason } =
            &download.state
        {
            text.push_str(&format!("\n{} {}: {reason}", paint.warn("!"), download.id));
        }
        if let Some(checking) = checking(&download.state) {
            text.push_str(&format!("\n{} {}: {checking}", paint.faint("…"), download.id));
        }
    }
    text
}

fn done(download: &Download) -> String {
    percent(download).map_or_else(|| "?".to_owned(), |percent| format!("{percent} %"))
}

/// How far it is with what it looks at before bytes come.
pub fn checking(state: &DownloadState) -> Option<String> {
    let DownloadState::Checking { read, of } = *state else { return None };
    let percent = u128::from(read) * 100 / u128::from(of.max(1));
    Some(format!("checking what is there, {percent} %"))
}

/// A download that is over has no sources any more.
fn sources(download: &Download) -> String {
    if download.state.is_final() {
        return String::new();
    }
    format!("{}/{}", download.sources_active, download.sources_known)
}

/// The ways that bytes come, each once, the best first.
pub fn via(download: &Download) -> String {
    let mut paths: Vec<SourcePath> = download.via.iter().map(|source| source.path).collect();
    paths.sort_unstable();
    paths.dedup();
    let word = |path: &SourcePath| match path {
        SourcePath::Direct => "direct",
        SourcePath::SessionDirect => "session",
        SourcePath::SessionRelayed => "relay",
    };
    paths.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn state(state: &DownloadState, paint: Paint) -> String {
    match state {
        DownloadState::Waiting { .. } => paint.warn("waiting"),
        DownloadState::Checking { .. } => "checking".to_owned(),
        DownloadState::Running => "running".to_owned(),
        DownloadState::Done => paint.good("done"),
        DownloadState::Failed { .. } => paint.bad("failed"),
        DownloadState::Cancelled => paint.faint("cancelled"),
    }
}

/// How much of a download is here, in whole percent rounded down, if its size is known.
pub fn percent(download: &Download) -> Option<u64> {
    match download.size? {
        0 => Some(if download.state == DownloadState::Done { 100 } else { 0 }),
        size => Some(
            u64::try_from(u128::from(download.verified) * 100 / u128::from(size)).unwrap_or(100),
        ),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use skein_node::api::types::SourceUsed;
    use skein_proto::{ContentId, NodeId, Username};

    /// A download of 1,000 bytes, 250 of them here.
    pub fn download() -> Download {
        Download {
            id: 3,
            content: ContentId::from_bytes([9; 32]),
            name: "song.flac".to_owned(),
            path: "/music/song.flac".into(),
            state: DownloadState::Running,
            size: Some(1_000),
            verified: 250,
            resumed: 0,
            as_left: false,
            rate: 100,
            sources_active: 2,
            sources_known: 3,
            via: Vec::new(),
            trouble: Vec::new(),
        }
    }

    #[test]
    fn percents_are_rounded_down_and_known_only_with_the_size() {
        let mut download = download();
        assert_eq!(percent(&download), Some(25));
        download.verified = 999;
        assert_eq!(percent(&download), Some(99));
        download.size = None;
        assert_eq!(percent(&download), None);
        download.size = Some(0);
        assert_eq!(percent(&download), Some(0));
        download.state = DownloadState::Done;
        assert_eq!(percent(&download), Some(100));
    }

    #[test]
    fn what_is_over_cannot_be_stopped_and_shows_no_sources() {
        let mut download = download();
        assert_eq!(sources(&download), "2/3");
        download.state = DownloadState::Done;
        assert_eq!(sources(&download), "");
        let text = already_over(&download).to_string();
        assert!(text.contains("finished") && text.contains("/music/song.flac"), "{text}");
    }

    #[test]
    fn each_way_that_bytes_come_is_named_once() {
        let source = |path| SourceUsed {
            node: NodeId::from_bytes([1; 32]),
            name: Username::parse("alice").expect("a name"),
            path,
            bytes: 1,
            active: true,
        };
        let mut download = download();
        assert_eq!(via(&download), "");
        let ways = [SourcePath::SessionRelayed, SourcePath::Direct, SourcePath::SessionRelayed];
        download.via = ways.map(source).to_vec();
        assert_eq!(via(&download), "direct, relay");
        assert!(render(&[download], Paint::PLAIN).contains("direct, relay"));
    }

    #[test]
    fn what_is_looked_at_says_how_far_that_is() {
        let mut looking = download();
        looking.state = DownloadState::Checking { read: 345, of: 1_000 };
        let text = render(&[looking], Paint::PLAIN);
        assert!(text.contains("checking") && text.contains("25 %"), "{text}");
        assert!(text.ends_with("… 3: checking what is there, 34 %"), "{text}");
        let nothing = DownloadState::Checking { read: 0, of: 0 };
        assert_eq!(checking(&nothing).as_deref(), Some("checking what is there, 0 %"));
    }

    #[test]
    fn what_waits_or_failed_says_why() {
        let mut waiting = download();
        waiting.state = DownloadState::Waiting { reason: "no source answers".to_owned() };
        let text = render(&[download(), waiting], Paint::PLAIN);
        assert!(text.contains("running") && text.contains("100 B/s"), "{text}");
        assert!(text.ends_with("! 3: no source answers"), "{text}");
    }
}

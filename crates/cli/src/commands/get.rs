//! `skein get`.

use super::downloads;
use crate::context::{self, Context, shell_quoted};
use crate::failure::Failure;
use crate::process::CalledOff;
use crate::ui::paint::Paint;
use crate::ui::{format, progress};
use crate::value::Wanted;
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use skein_node::api::types::{Download, DownloadState, DownloadTarget, StartDownload};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Fetches a file, verified as it arrives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein get 1                              the first hit of the last search
  skein get 3 -o ~/Downloads               into this folder
  skein get e8a611ec08488202310fb869ea2e9bd224e99679c81ef15e1a5154fe864d09f8
Ctrl-C, or SIGTERM, stops the download, and what has come is kept: `skein get CONTENT-ID`, which is
printed then, goes on where it stopped. Numbers are those of the last search since the node was
started. Exit codes: 0 the file is there; 1 it failed; 2 wrong input; 130 Ctrl-C; 143 SIGTERM.")]
pub struct GetArgs {
    /// The number of a hit of the last search, or a content id
    #[arg(value_name = "NUMBER|CONTENT-ID")]
    wanted: Wanted,
    /// Put the file into this folder, which is made if it is not there [default: the download
    /// folder of the settings]
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Fetches it.
///
/// # Errors
/// The daemon does not run or answer, the folder is not writable, no such hit, or the download
/// fails.
pub fn run(context: &Context, args: GetArgs) -> Result<(), Failure> {
    let dir = args.output.as_deref().map(writable_dir).transpose()?;
    let target = match args.wanted {
        Wanted::Number(number) => DownloadTarget::Number(number),
        Wanted::Content(content) => DownloadTarget::Content(content),
    };
    // Interrupting means something of its own here, so this waits for signals itself.
    context::block_on_uninterrupted(async {
        let client = context.client()?;
        let mut called_off = CalledOff::listen()?;
        let request = StartDownload { target, dir: dir.clone() };
        let mut last = client.start_download(&request).await?;
        let mut events = client.watch_download(last.id).await?;
        let started = Instant::now();
        let mut view = View::new(context, &last);
        loop {
            tokio::select! {
                // The order of the two matters only when both are there: the end wins.
                biased;
                event = events.next() => match event {
                    Some(Ok(event)) => last = event,
                    Some(Err(error)) if error.refusal().is_some() => return Err(error.into()),
                    // The connection broke, which says more about the daemon than its error does.
                    Some(Err(_)) | None => return Err(view.gone(&last, dir.as_deref())),
                },
                reason = called_off.by() => {
                    view.bar.finish_and_clear();
                    client.cancel_download(last.id).await?;
                    let line = stopped(context, &last, dir.as_deref());
                    return Err(Failure::called_off(reason, line));
                }
            }
            view.show(&last)?;
            if last.state.is_final() {
                view.bar.finish_and_clear();
                return finish(context, &last, started, dir.as_deref());
            }
        }
    })
}

/// Makes sure that the folder is there and can be written, before anything is fetched.
fn writable_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let wrong = |error: io::Error| {
        let failure = Failure::file("put files into", dir, &error);
        Failure::input(format!("{failure}: choose another folder with -o"))
    };
    std::fs::create_dir_all(dir).map_err(wrong)?;
    let dir = std::fs::canonicalize(dir).map_err(wrong)?;
    tempfile::Builder::new().prefix(".skein-").tempfile_in(&dir).map_err(wrong)?;
    Ok(dir)
}

/// What is seen while it runs.
struct View<'a> {
    context: &'a Context,
    bar: ProgressBar,
    troubles: usize,
    /// What was said in a line of its own that it waits for.
    waits: Waits,
}

/// The reasons to wait that were said since bytes came the last time: two that take turns, as while
/// nobody has the file, are said once.
#[derive(Debug, Default)]
struct Waits {
    said: BTreeSet<String>,
}

impl Waits {
    /// What is to be said now.
    fn line(&mut self, state: &DownloadState) -> Option<String> {
        let DownloadState::Waiting { reason } = state else {
            self.said.clear();
            return None;
        };
        let first = self.said.is_empty();
        if !self.said.insert(reason.clone()) {
            return None;
        }
        let advice = if first { "; Ctrl-C stops it" } else { "" };
        Some(format!("waiting: {reason}{advice}"))
    }
}

impl<'a> View<'a> {
    fn new(context: &'a Context, download: &Download) -> Self {
        let bar = progress::download_bar(&context.ui, download.size);
        Self { context, bar, troubles: 0, waits: Waits::default() }
    }

    fn show(&mut self, download: &Download) -> Result<(), Failure> {
        if self.context.ui.json {
            return self.context.ui.value(download);
        }
        if let Some(size) = download.size {
            self.bar.set_length(size);
        }
        self.bar.set_position(download.verified);
        self.bar.set_message(message(download));
        if !self.context.ui.is_animated()
            && let Some(line) = self.waits.line(&download.state)
        {
            self.context.ui.note(format!("{} {line}", self.context.ui.err.warn("!")));
        }
        // The list keeps the last ones only, so a shorter one is a new one.
        let seen = if self.troubles <= download.trouble.len() { self.troubles } else { 0 };
        for trouble in download.trouble.iter().skip(seen) {
            self.bar.suspend(|| {
                self.context.ui.note(format!("{} {trouble}", self.context.ui.err.warn("!")));
            });
        }
        self.troubles = download.trouble.len();
        Ok(())
    }

    fn gone(&self, last: &Download, dir: Option<&Path>) -> Failure {
        self.bar.finish_and_clear();
        Failure::failed(format!(
            "the daemon went away; what has come is kept: start it with `skein{} up`, then go on \
             with `{}`",
            self.context.data_dir_words(),
            again(self.context, last, dir)
        ))
    }
}

/// What stands behind the bar: rate, time left, sources, or what it waits for.
pub fn message(download: &Download) -> String {
    if let Some(checking) = downloads::checking(&download.state) {
        return checking;
    }
    match &download.state {
        DownloadState::Waiting { reason } => format!("waiting: {reason}"),
        _ => {
            let mut parts = vec![format::rate(download.rate)];
            let left = download.size.map(|size| size.saturating_sub(download.verified));
            if let Some(secs) = left.and_then(|left| left.checked_div(download.rate)) {
                parts.push(format!("{} left", format::elapsed(secs)));
            }
            let known = format::count(download.sources_known.into(), "source", "sources");
            let via = match downloads::via(download) {
                via if via.is_empty() || via == "direct" => String::new(),
                via => format!(" ({via})"),
            };
            parts.push(format!("{} of {known}{via}", download.sources_active));
            parts.join(", ")
        }
    }
}

fn finish(
    context: &Context,
    download: &Download,
    started: Instant,
    dir: Option<&Path>,
) -> Result<(), Failure> {
    match &download.state {
        DownloadState::Failed { reason } => Err(Failure::failed(reason.clone())),
        DownloadState::Cancelled => Err(Failure::interrupted_with(stopped(context, download, dir))),
        _ if context.ui.json => Ok(()),
        _ => {
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            context.ui.line(done_line(download, ms, context.ui.out))
        }
    }
}

fn done_line(download: &Download, ms: u64, paint: Paint) -> String {
    let size = download.size.unwrap_or(download.verified);
    let (file, bytes) = (paint.strong(download.path.display()), format::bytes(size));
    let file = format!("{} {file}  {bytes}", paint.good("✓"));
    if download.as_left {
        return format!("{file}, here already: not changed since it was verified");
    }
    let fetched = size.saturating_sub(download.resumed);
    let took = format::millis(ms);
    match (download.resumed, fetched) {
        (0, _) => format!("{file}, verified, in {took} ({})", rate(fetched, ms)),
        (_, 0) => format!("{file}, here already, verified, in {took}"),
        (here, _) => format!(
            "{file} ({} were here already), verified, in {took} ({})",
            format::bytes(here),
            rate(fetched, ms)
        ),
    }
}

fn rate(bytes: u64, ms: u64) -> String {
    format::rate(bytes.saturating_mul(1_000) / ms.max(1))
}

/// The download was called off: nothing is lost, and this is how to go on.
fn stopped(context: &Context, download: &Download, dir: Option<&Path>) -> String {
    let so_far = match downloads::percent(download) {
        Some(percent) => format!("{percent} % of "),
        None => String::new(),
    };
    let again = again(context, download, dir);
    format!("stopped; {so_far}{} is kept: go on with `{again}`", download.name)
}

/// The command that goes on with a download. It names the content, since numbers change with the
/// next search.
fn again(context: &Context, download: &Download, dir: Option<&Path>) -> String {
    let to = dir.map(|dir| format!(" -o {}", shell_quoted(&dir.to_string_lossy())));
    let data_dir = context.data_dir_words();
    format!("skein{data_dir} get {}{}", download.content, to.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::downloads::tests::download;
    use super::*;

    #[test]
    fn the_bar_says_rate_time_left_and_sources() {
        assert_eq!(message(&download()), "100 B/s, 7s left, 2 of 3 sources");
        let mut stalled = download();
        stalled.rate = 0;
        assert_eq!(message(&stalled), "0 B/s, 2 of 3 sources");
        stalled.state = DownloadState::Waiting { reason: "no source answers".to_owned() };
        assert_eq!(message(&stalled), "waiting: no source answers");
    }

    #[test]
    fn reasons_to_wait_that_take_turns_are_said_once() {
        let mut waits = Waits::default();
        let waiting = |reason: &str| DownloadState::Waiting { reason: reason.to_owned() };
        let first = waits.line(&waiting("looking for sources"));
        assert_eq!(first.as_deref(), Some("waiting: looking for sources; Ctrl-C stops it"));
        let second = waits.line(&waiting("no source is known"));
        assert_eq!(second.as_deref(), Some("waiting: no source is known"));
        assert_eq!(waits.line(&waiting("looking for sources")), None);
        assert_eq!(waits.line(&DownloadState::Running), None);
        assert!(waits.line(&waiting("no source is known")).is_some(), "it is news again");
    }

    #[test]
    fn the_last_line_counts_only_what_was_fetched_now() {
        let mut done = download();
        done.state = DownloadState::Done;
        done.verified = 1_000;
        done.resumed = 500;
        assert_eq!(
            done_line(&done, 1_000, Paint::PLAIN),
            "✓ /music/song.flac  1000 B (500 B were here already), verified, in 1.0 s (500 B/s)"
        );
        done.resumed = 0;
        let line = done_line(&done, 1_000, Paint::PLAIN);
        assert_eq!(line, "✓ /music/song.flac  1000 B, verified, in 1.0 s (1000 B/s)");
    }

    #[test]
    fn the_last_line_does_not_say_that_what_was_not_read_was_verified_now() {
        let mut done = download();
        (done.state, done.verified, done.resumed) = (DownloadState::Done, 1_000, 1_000);
        let line = done_line(&done, 1_000, Paint::PLAIN);
        assert_eq!(line, "✓ /music/song.flac  1000 B, here already, verified, in 1.0 s");
        done.as_left = true;
        assert_eq!(
            done_line(&done, 1_000, Paint::PLAIN),
            "✓ /music/song.flac  1000 B, here already: not changed since it was verified"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_wrong_input() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failure = writable_dir(&file.join("below")).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("-o"), "{failure}");
        let made = writable_dir(&temp.path().join("a/b")).unwrap();
        assert!(made.is_dir() && std::fs::read_dir(&made).unwrap().next().is_none());
    }
}

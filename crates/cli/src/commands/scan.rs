//! Shows how the scans of shared folders go on. The daemon scans whether somebody looks or not.

use crate::context::Context;
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::progress;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use skein_node::api::types::{DaemonEvent, ScanProgress, Share};
use skein_node::api::{ApiClient, ApiStream};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How often the list of shares is asked for beside the events: a listener that is too slow misses
/// events, the list misses nothing.
const LOOK: Duration = Duration::from_secs(2);

/// The scans that a command has set off, as they go on. Where nobody can see a bar, it waits for
/// nothing.
pub struct Scan<'a> {
    context: &'a Context,
    client: &'a ApiClient,
    /// Asked for before the scans begin, so that no end of a scan is missed.
    events: Option<ApiStream<DaemonEvent>>,
    running: BTreeSet<PathBuf>,
    bar: ProgressBar,
}

impl<'a> Scan<'a> {
    /// Begins to listen, if there is somebody to show it to.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn follow(context: &'a Context, client: &'a ApiClient) -> Result<Self, Failure> {
        let animated = context.ui.is_animated();
        let events = if animated { Some(client.events().await?) } else { None };
        let bar = progress::spinner(&context.ui, "scanning");
        Ok(Self { context, client, events, running: BTreeSet::new(), bar })
    }

    /// Waits for this scan as well, if it runs.
    pub fn expect(&mut self, share: &Share) {
        if share.scan.is_some() {
            self.running.insert(share.path.clone());
        }
    }

    /// Shows all scans while something is under way.
    ///
    /// # Errors
    /// The daemon went away.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        loop {
            let Some(events) = &mut self.events else { return Ok(work.await) };
            tokio::select! {
                done = &mut work => return Ok(done),
                event = events.next() => match event {
                    Some(event) => self.show(event?)?,
                    None => return Ok(work.await),
                },
            }
        }
    }

    /// Shows the scans until all that are expected are over.
    ///
    /// # Errors
    /// The daemon went away.
    pub async fn until_over(mut self) -> Result<(), Failure> {
        while !self.running.is_empty() {
            let Some(events) = &mut self.events else {
                self.context.ui.note("`skein share ls` shows how far the scan is.");
                return Ok(());
            };
            match tokio::time::timeout(LOOK, events.next()).await {
                Ok(Some(event)) => self.show(event?)?,
                Ok(None) => break,
                Err(_) => self.look().await?,
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    async fn look(&mut self) -> Result<(), Failure> {
        for share in self.client.shares().await? {
            if share.scan.is_none() {
                self.show(DaemonEvent::ScanDone { share })?;
            }
        }
        Ok(())
    }

    fn show(&mut self, event: DaemonEvent) -> Result<(), Failure> {
        match event {
            DaemonEvent::Scan { share } => {
                if let Some(scan) = &share.scan {
                    self.bar.set_message(format!("{}: {}", share.name, progress_of(scan)));
                }
            }
            DaemonEvent::ScanDone { share } if self.running.remove(&share.path) => {
                let line = scanned(&share, self.context.ui.out);
                return self.bar.suspend(|| self.context.ui.line(line));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a scan came to.
pub fn scanned(share: &Share, paint: Paint) -> String {
    let mut text = format!(
        "{} {}: {}, {}.",
        paint.good("✓"),
        share.name,
        format::count(share.files, "file", "files"),
        format::bytes(share.bytes)
    );
    if share.waiting_files > 0 {
        text.push_str(&format!(" {}.", waiting(share)));
    }
    if share.unreadable > 0 {
        let count = format::count(share.unreadable, "entry", "entries");
        text.push_str(&format!(" {} could not be read.", paint.warn(count)));
    }
    if let Some(problem) = &share.problem {
        text.push_str(&format!(" {}", paint.warn(problem)));
    }
    text
}

/// Files that were written to a moment ago are looked at when they have been left alone.
pub fn waiting(share: &Share) -> String {
    let count = format::count(share.waiting_files, "new file follows", "new files follow");
    format!("{count} in some seconds")
}

/// How far a scan is.
pub fn progress_of(scan: &ScanProgress) -> String {
    if *scan == ScanProgress::default() {
        return "waits for its turn".to_owned();
    }
    if !scan.walked {
        return format!("{} seen", format::count(scan.files_seen, "file", "files"));
    }
    format!("{} of {} hashed", format::bytes(scan.bytes_hashed), format::bytes(scan.bytes_to_hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_scan_says_what_was_found_and_what_was_not() {
        let mut share = Share {
            path: "/music".into(),
            name: "music".to_owned(),
            files: 2,
            bytes: 2_048,
            scan: None,
            unreadable: 0,
            unreadable_examples: Vec::new(),
            waiting_files: 0,
            problem: None,
        };
        assert_eq!(scanned(&share, Paint::PLAIN), "✓ music: 2 files, 2.0 KiB.");
        share.waiting_files = 1;
        assert!(scanned(&share, Paint::PLAIN).contains("1 new file follows"));
        share.unreadable = 1;
        share.problem = Some("the folder is gone".to_owned());
        let text = scanned(&share, Paint::PLAIN);
        assert!(text.contains("1 entry could not be read. the folder is gone"), "{text}");
    }
}

//! `skein share`.

use super::scan::{Scan, progress_of, scanned, waiting};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::{Args, Subcommand};
use skein_node::api::types::Share;
use std::path::{Path, PathBuf};

/// Shares folders, or stops sharing them.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skein share add ~/Music                  share a folder and all in it
  skein share ls                           what is shared, and how far the scans are
  skein share rescan                       look for changes now
  skein share rm ~/Music                   share it no longer")]
pub enum ShareCommand {
    /// Share folders: all files in them, but for hidden and unfinished ones
    Add(AddArgs),
    /// Share folders no longer; nothing is deleted
    Rm(RemoveArgs),
    /// List what is shared
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Scan shared folders now; changes are noticed without it where folders can be watched
    Rescan(RescanArgs),
}

/// Shares folders.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein share add ~/Music                  share a folder
  skein share add ~/Music ~/Books          several at once
Shared are all files in it and in its subfolders but for hidden files and folders (their name
begins with a dot), empty and unfinished files (.part, .crdownload and the like), symbolic links,
the folder `inbox` of the download folder, where files go that people send you, and data folders of
Skein with their keys.")]
pub struct AddArgs {
    /// The folders
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// Shares folders no longer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein share rm ~/Music                   others no longer find what is in it")]
pub struct RemoveArgs {
    /// The folders, as they were added
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// Lists what is shared.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein share ls                           folders, files, sizes, scans
  skein share ls --json | jq -r .path      one JSON value for each folder")]
pub struct ListArgs {}

/// Scans shared folders now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein share rescan                       all shared folders
  skein share rescan /mnt/nas/films        one, on a drive that cannot be watched")]
pub struct RescanArgs {
    /// The folders, as they were added [default: all]
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or a folder is not there.
pub fn run(context: &Context, command: ShareCommand) -> Result<(), Failure> {
    match command {
        ShareCommand::Add(args) => add(context, &args.dirs),
        ShareCommand::Rm(args) => remove(context, &args.dirs),
        ShareCommand::Ls(_) => list(context),
        ShareCommand::Rescan(args) => rescan(context, &args.dirs),
    }
}

fn add(context: &Context, dirs: &[PathBuf]) -> Result<(), Failure> {
    // All are looked at before the first is added: no half-done command.
    let dirs = dirs.iter().map(|dir| existing_dir(dir)).collect::<Result<Vec<_>, _>>()?;
    context::block_on(async {
        let client = context.client()?;
        let mut known: Vec<PathBuf> =
            client.shares().await?.into_iter().map(|share| share.path).collect();
        let mut scan = Scan::follow(context, &client).await?;
        for dir in dirs {
            // It is what was asked for: no reason to leave out the others.
            if let Some(by) = known.iter().find(|known| dir.starts_with(known)) {
                let part_of = if *by == dir {
                    String::new()
                } else {
                    format!(", as a part of {}", by.display())
                };
                context.ui.note(format!("{} is shared already{part_of}.", dir.display()));
                continue;
            }
            let share = client.add_share(dir).await?;
            context.ui.done(&share, |share, paint| {
                format!(
                    "{} {} is shared as {:?}.",
                    paint.good("✓"),
                    share.path.display(),
                    share.name
                )
            })?;
            scan.expect(&share);
            known.push(share.path);
        }
        scan.until_over().await
    })
}

fn remove(context: &Context, dirs: &[PathBuf]) -> Result<(), Failure> {
    context::block_on(async {
        let client = context.client()?;
        for dir in dirs {
            let path = known_dir(dir)?;
            client.remove_share(path.clone()).await?;
            let value = serde_json::json!({ "event": "removed", "path": path });
            context.ui.done(&value, |_, paint| {
                format!("{} {} is no longer shared.", paint.good("✓"), path.display())
            })?;
        }
        Ok(())
    })
}

fn rescan(context: &Context, dirs: &[PathBuf]) -> Result<(), Failure> {
    context::block_on(async {
        let client = context.client()?;
        let paths = if dirs.is_empty() {
            client.shares().await?.into_iter().map(|share| share.path).collect()
        } else {
            dirs.iter().map(|dir| known_dir(dir)).collect::<Result<Vec<_>, _>>()?
        };
        for path in paths {
            let mut scan = Scan::follow(context, &client).await?;
            let share = scan.during(client.rescan_share(path)).await??;
            scan.expect(&share);
            scan.until_over().await?;
            if share.scan.is_none() {
                context.ui.result(&share, scanned)?;
            }
        }
        Ok(())
    })
}

fn list(context: &Context) -> Result<(), Failure> {
    let shares = context::block_on(async { Ok(context.client()?.shares().await?) })?;
    if context.ui.json {
        return shares.iter().try_for_each(|share| context.ui.value(share));
    }
    if shares.is_empty() {
        let skein = format!("skein{}", context.data_dir_words());
        context
            .ui
            .note(format!("Nothing is shared yet: share a folder with `{skein} share add DIR`."));
        return Ok(());
    }
    context.ui.line(render(&shares, context.ui.details, context.ui.out))
}

/// The folder, absolute and without symbolic links, as the daemon (which has another working
/// folder) has to be given it.
///
/// # Errors
/// It is not there, is no folder, or may not be read.
pub fn existing_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: &str| Failure::input(format!("cannot share {}: {why}", dir.display()));
    let path = std::fs::canonicalize(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such folder; check the spelling"),
        std::io::ErrorKind::PermissionDenied => wrong("you may not enter it"),
        _ => wrong(&error.to_string()),
    })?;
    if !path.is_dir() {
        return Err(wrong("it is a file; share the folder that it is in"));
    }
    std::fs::read_dir(&path).map_err(|_| wrong("you may not read it"))?;
    Ok(path)
}

/// A folder that was shared may be gone by now: then its path is taken as it is.
fn known_dir(dir: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(dir)
        .or_else(|_| std::path::absolute(dir))
        .map_err(|error| Failure::file("find", dir, &error))
}

fn state(share: &Share) -> String {
    match &share.scan {
        Some(scan) => progress_of(scan),
        None if share.waiting_files > 0 => waiting(share),
        None => "up to date".to_owned(),
    }
}

/// With `details`, each entry that is known not to be readable is named, else only the first.
fn render(shares: &[Share], details: bool, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("name", Lean::Left),
        ("files", Lean::Right),
        ("size", Lean::Right),
        ("scan", Lean::Left),
        ("folder", Lean::Left),
    ]);
    for share in shares {
        table.row([
            share.name.clone(),
            format::thousands(share.files),
            format::bytes(share.bytes),
            state(share),
            share.path.display().to_string(),
        ]);
    }
    let mut text = table.render(paint);
    for share in shares {
        if let Some(problem) = &share.problem {
            text.push_str(&format!("\n{} {}: {problem}", paint.warn("!"), share.name));
        }
        if share.unreadable > 0 {
            let count = format::count(share.unreadable, "entry", "entries");
            text.push_str(&format!(
                "\n{} {}: {count} could not be read",
                paint.warn("!"),
                share.name
            ));
            text.push_str(&examples(share, details));
        }
    }
    text
}

fn examples(share: &Share, details: bool) -> String {
    let known = &share.unreadable_examples;
    match known.first() {
        Some(only) if share.unreadable == 1 => format!(": {only}"),
        Some(_) if details => known.iter().map(|example| format!("\n    {example}")).collect(),
        Some(first) => format!(", such as {first} (-v names more)"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_node::api::types::ScanProgress;

    fn share() -> Share {
        Share {
            path: "/home/me/Music".into(),
            name: "Music".to_owned(),
            files: 1_234,
            bytes: 2_097_152,
            scan: None,
            unreadable: 0,
            unreadable_examples: Vec::new(),
            waiting_files: 0,
            problem: None,
        }
    }

    #[test]
    fn a_share_shows_how_far_its_scan_is() {
        let mut share = share();
        assert!(render(&[share.clone()], false, Paint::PLAIN).contains("up to date"));
        share.scan = Some(ScanProgress { files_seen: 5, ..ScanProgress::default() });
        assert!(render(&[share.clone()], false, Paint::PLAIN).contains("5 files seen"));
        share.scan =
            Some(ScanProgress { walked: true, bytes_to_hash: 2_048, ..ScanProgress::default() });
        assert!(render(&[share], false, Paint::PLAIN).contains("0 B of 2.0 KiB hashed"));
    }

    #[test]
    fn what_could_not_be_read_is_said() {
        let mut share = share();
        share.unreadable = 2;
        share.problem = Some("the folder is gone".to_owned());
        let text = render(&[share], false, Paint::PLAIN);
        assert!(text.contains("! Music: the folder is gone"), "{text}");
        assert!(text.contains("! Music: 2 entries could not be read"), "{text}");
    }

    #[test]
    fn what_could_not_be_read_is_named() {
        let mut share = share();
        share.unreadable = 2;
        share.unreadable_examples = vec!["/a: denied".to_owned(), "/b: denied".to_owned()];
        let shares = [share];
        let short = render(&shares, false, Paint::PLAIN);
        assert!(short.contains("such as /a: denied") && !short.contains("/b"), "{short}");
        let long = render(&shares, true, Paint::PLAIN);
        assert!(long.contains("/a: denied") && long.contains("/b: denied"), "{long}");
    }

    #[test]
    fn a_share_with_files_that_settle_is_not_called_up_to_date() {
        let share = Share { waiting_files: 2, ..share() };
        let text = render(&[share], false, Paint::PLAIN);
        assert!(text.contains("2 new files follow") && !text.contains("up to date"), "{text}");
    }

    #[test]
    fn what_is_no_folder_is_wrong_input() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file, temp.path().join("missing")] {
            let failure = existing_dir(&path).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(&*path.to_string_lossy()), "{failure}");
        }
    }
}

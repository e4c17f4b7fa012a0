//! `skein man`.

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Failure;
use clap::{Args, CommandFactory as _};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

/// Writes the manual pages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein man | man -l -                     read the page of skein itself
  skein man ~/.local/share/man/man1        write a page for every command")]
pub struct ManArgs {
    /// Write one page for each command into this folder; without it, the page of skein itself is
    /// printed
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes them.
///
/// # Errors
/// The folder or the output cannot be written.
pub fn run(context: &Context, args: ManArgs) -> Result<(), Failure> {
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        if context.ui.json {
            return context.ui.value(&json!({ "page": String::from_utf8_lossy(&page) }));
        }
        return Ok(std::io::stdout().lock().write_all(&page)?);
    };
    let failed = |error| Failure::file("write the manual pages to", &dir, &error);
    std::fs::create_dir_all(&dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &dir).map_err(failed)?;
    context.ui.done(&json!({ "event": "written", "path": dir }), |_, paint| {
        format!("{} The manual pages are in {}.", paint.good("✓"), dir.display())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let temp = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), temp.path()).unwrap();
        for page in ["skein.1", "skein-search.1", "skein-share-add.1", "skein-login-server.1"] {
            let text = std::fs::read_to_string(temp.path().join(page)).unwrap();
            assert!(text.contains(".TH"), "{page}");
        }
    }
}

//! `skein demo`.

use crate::context::Context;
use crate::demo;
use crate::failure::Failure;
use clap::Args;
use std::path::PathBuf;

/// Shows a whole network of real processes on this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein demo                               12 processes, a search, a verified download, good-bye
  skein demo --keep                        leave the network up, with commands to try
  skein demo --share ~/Music               share a folder of yours in it, too
Everything is on 127.0.0.1 and in a temporary folder; nothing of your own node is touched, and
nothing is left behind.")]
pub struct DemoArgs {
    /// Share this folder in the network of the demo, beside what it makes itself; may be given
    /// several times
    #[arg(long, value_name = "DIR")]
    share: Vec<PathBuf>,
    /// Leave the network up until Ctrl-C, and print commands to try
    #[arg(long)]
    keep: bool,
}

/// Shows it.
///
/// # Errors
/// Anything did not go as the demo promises.
pub fn run(context: &Context, args: DemoArgs) -> Result<(), Failure> {
    let existing = args.share.iter().map(|dir| super::share::existing_dir(dir));
    let mut shares = existing.collect::<Result<Vec<PathBuf>, Failure>>()?;
    shares.sort();
    shares.dedup();
    demo::run(context, &demo::Options { shares, keep: args.keep })
}

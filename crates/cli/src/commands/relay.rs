//! `skein relay`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table;
use clap::{Args, Subcommand};
use skein_node::api::types::{RelayStatus, SetRelay};

/// Seconds that a note of the history covers.
const NOTE_SECS: u64 = 10;

/// Shows what this node gives away as a relay, or changes it.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skein relay show                         what is given, what is used, what was
  skein relay set --rate 500000            give half a megabyte a second from now on
  skein relay set --slots 0                stop relaying at once

A node relays while it is a supernode: it moves encrypted packets between two peers that cannot
reach each other, and cannot read them.")]
pub enum RelayCommand {
    /// Show what is given, what is used and what was
    Show(ShowArgs),
    /// Give more or less from now on, until the node ends; the settings file is for longer
    Set(SetArgs),
}

/// Shows it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay show                         for people
  skein relay show --json | jq .history    what was moved, in steps of ten seconds")]
pub struct ShowArgs {}

/// Changes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay set --slots 100 --rate 1000000
  skein relay set --slots 0                stop at once; sessions go on over other relays")]
#[group(required = true, multiple = true)]
pub struct SetArgs {
    /// Sessions of others that it carries at a time; 0: none
    #[arg(long, value_name = "COUNT")]
    slots: Option<u32>,
    /// How many of them one name may have
    #[arg(long, value_name = "COUNT")]
    slots_per_name: Option<u32>,
    /// Bytes a second that it carries for one session
    #[arg(long, value_name = "BYTES")]
    slot_rate: Option<u32>,
    /// Bytes a second that it carries for one name
    #[arg(long, value_name = "BYTES")]
    name_rate: Option<u32>,
    /// Bytes a second that it carries for all
    #[arg(long, value_name = "BYTES")]
    rate: Option<u32>,
}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or a number is out of its range.
pub fn run(context: &Context, command: RelayCommand) -> Result<(), Failure> {
    let status = context::block_on(async {
        let client = context.client()?;
        Ok(match command {
            RelayCommand::Show(_) => client.relay().await?,
            RelayCommand::Set(args) => {
                let SetArgs { slots, slots_per_name, slot_rate, name_rate, rate } = args;
                let set = SetRelay { slots, slots_per_name, slot_rate, name_rate, rate };
                client.set_relay(&set).await?
            }
        })
    })?;
    context.ui.result(&status, render)
}

fn render(status: &RelayStatus, paint: Paint) -> String {
    let state = match (status.slots, status.active) {
        (0, _) => "off: no slots are given",
        (_, true) => "on",
        (_, false) => "waiting: this node is no supernode at present",
    };
    let dropped = status.dropped_over_rate + status.dropped_queue + status.dropped_unbound;
    let last = status.history.last().map_or(0, |note| note.bytes / NOTE_SECS);
    let peak = status.history.iter().map(|note| note.bytes / NOTE_SECS).max().unwrap_or(0);
    let rate = |bytes: u32| format::rate(bytes.into());
    table::facts(
        &[
            ("relay", state.to_owned()),
            (
                "gives",
                format!(
                    "{} sessions, {} for one name; {} in all, {} for one name, {} for one session",
                    status.slots,
                    status.slots_per_name,
                    rate(status.rate),
                    rate(status.name_rate),
                    rate(status.slot_rate)
                ),
            ),
            ("in use", format!("{} sessions, {}", status.slots_used, format::rate(last))),
            ("at most", format!("{} in the last hours", format::rate(peak))),
            (
                "in all",
                format!(
                    "{} moved, {} dropped; {} slots granted, {} refused",
                    format::bytes(status.bytes),
                    format::bytes(dropped),
                    status.granted,
                    status.refused
                ),
            ),
        ],
        paint,
    )
}

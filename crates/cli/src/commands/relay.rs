//! `skein relay`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table;
use crate::value;
use clap::{Args, Subcommand};
use skein_node::api::types::{RelayStatus, SetRelay};
use skein_node::relay::{NOTE_SECS, RelayNote};

/// Seconds of the history that a bar stands for, and how many bars there are: six hours.
const BAR_SECS: u64 = 15 * 60;
const BARS: usize = 24;

/// Shows what this node gives away as a relay, or changes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay                              what is given, what is used, what was
  skein relay set --rate 500KB             give half a megabyte a second from now on
  skein relay set --slots 0                stop relaying at once
  skein relay reset                        give what the settings say

A node relays while it is a supernode: it moves encrypted packets between two peers that cannot
reach each other, and cannot read them.")]
pub struct RelayArgs {
    #[command(subcommand)]
    command: Option<RelayCommand>,
}

#[derive(Debug, Subcommand)]
enum RelayCommand {
    /// Show what is given, what is used and what was
    Show(ShowArgs),
    /// Give more or less, at once and from now on
    Set(SetArgs),
    /// Give what the settings say again
    Reset(ResetArgs),
}

/// Shows it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay show                         for people
  skein relay show --json | jq .history    what was moved, in steps of ten seconds")]
struct ShowArgs {}

/// Changes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay set --slots 100 --rate 1MB
  skein relay set --slots 0                stop at once; sessions go on over other relays
It holds for the sessions that there are, too, and after a restart, whatever the settings say:
`skein relay reset` takes it back.")]
#[group(required = true, multiple = true)]
struct SetArgs {
    /// Sessions of others that it carries at a time; 0: none
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    #[arg(value_parser = value::relay_slots())]
    slots: Option<u32>,
    /// How many of them one name may have
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    #[arg(value_parser = value::relay_slots_per_name())]
    slots_per_name: Option<u32>,
    /// Bytes a second that it carries for one session, such as 500KB
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    slot_rate: Option<u32>,
    /// Bytes a second that it carries for one name
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    name_rate: Option<u32>,
    /// Bytes a second that it carries for all
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    rate: Option<u32>,
}

/// Takes back what was changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein relay reset                        forget what `skein relay set` has set")]
struct ResetArgs {}

/// Shows it, or does one of them.
///
/// # Errors
/// The daemon does not run or answer, or a number is out of its range.
pub fn run(context: &Context, args: RelayArgs) -> Result<(), Failure> {
    let status = context::block_on(async {
        let client = context.client()?;
        Ok(match args.command {
            None | Some(RelayCommand::Show(_)) => client.relay().await?,
            Some(RelayCommand::Set(args)) => {
                let SetArgs { slots, slots_per_name, slot_rate, name_rate, rate } = args;
                let set = SetRelay { slots, slots_per_name, slot_rate, name_rate, rate };
                client.set_relay(&set).await?
            }
            Some(RelayCommand::Reset(_)) => client.reset_relay().await?,
        })
    })?;
    context.ui.result(&status, |status, paint| context.ui.addressed(&render(status, paint)))
}

fn render(status: &RelayStatus, paint: Paint) -> String {
    let state = match (status.slots, status.active) {
        (0, _) => paint.warn("off: no slots are given"),
        (_, true) => paint.good("on"),
        (_, false) => "waiting: this node is no supernode at present".to_owned(),
    };
    let dropped = status.dropped_over_rate
        + status.dropped_queue
        + status.dropped_unsendable
        + status.dropped_unbound;
    let last = status.history.last().map_or(0, |note| note.bytes / NOTE_SECS);
    let rate = |bytes: u32| format::chosen_rate(bytes.into());
    let gives = format!(
        "{}, {} for one name; {} in all, {} for one name, {} for one session",
        sessions(status.slots),
        status.slots_per_name,
        rate(status.rate),
        rate(status.name_rate),
        rate(status.slot_rate)
    );
    let in_all = format!(
        "{} moved, {} dropped; {} granted, {} refused",
        format::bytes(status.bytes),
        format::bytes(dropped),
        format::count(status.granted, "slot", "slots"),
        format::thousands(status.refused)
    );
    let mut facts = vec![("relay", state), ("gives", gives)];
    if status.set != SetRelay::default() {
        facts.push(("set by you", set_by_hand(&status.set)));
    }
    facts.push(("in use", format!("{}, {}", sessions(status.slots_used), format::rate(last))));
    if let Some(bars) = bars(&status.history) {
        facts.push(("history", bars));
    }
    facts.push(("since start", in_all));
    table::facts(&facts, paint)
}

fn sessions(number: u32) -> String {
    format::count(number.into(), "session", "sessions")
}

/// What holds over the settings.
fn set_by_hand(set: &SetRelay) -> String {
    let SetRelay { slots, slots_per_name, slot_rate, name_rate, rate } = *set;
    let count = |number: u32| format::thousands(number.into());
    let rated = |bytes: u32| format::chosen_rate(bytes.into());
    let words: Vec<String> = [
        slots.map(|number| format!("slots {}", count(number))),
        slots_per_name.map(|number| format!("slots-per-name {}", count(number))),
        slot_rate.map(|bytes| format!("slot-rate {}", rated(bytes))),
        name_rate.map(|bytes| format!("name-rate {}", rated(bytes))),
        rate.map(|bytes| format!("rate {}", rated(bytes))),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{}; `skein relay reset` goes back to the settings", words.join(", "))
}

/// A bar for each quarter of an hour, the latest at the end, as high as its busiest ten seconds.
fn bars(history: &[RelayNote]) -> Option<String> {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (first, last) = (history.first()?.at, history.last()?.at);
    let age = |at: u64| usize::try_from(last.saturating_sub(at) / BAR_SECS).unwrap_or(usize::MAX);
    let count = age(first).min(BARS - 1) + 1;
    let mut highest = vec![0; count];
    for note in history {
        if let Some(bar) = highest.iter_mut().rev().nth(age(note.at)) {
            *bar = note.bytes.max(*bar);
        }
    }
    let peak = highest.iter().copied().max().unwrap_or(0);
    let minutes = BAR_SECS / 60;
    let since = format::elapsed(BAR_SECS * count as u64);
    if peak == 0 {
        return Some(format!("nothing was moved in the last {since}"));
    }
    let height = |bytes: u64| match bytes {
        0 => '·',
        // The peak has the highest bar, and what is more than nothing one that can be seen.
        bytes => {
            let step = u128::from(bytes) * (HEIGHTS.len() as u128 - 1) / u128::from(peak);
            usize::try_from(step).ok().and_then(|step| HEIGHTS.get(step)).copied().unwrap_or('█')
        }
    };
    let bars: String = highest.into_iter().map(height).collect();
    let peak = format::rate(peak / NOTE_SECS);
    Some(format!("{since} ago {bars} now; {minutes} minutes each, the highest is {peak}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(at: u64, bytes: u64) -> RelayNote {
        RelayNote { at, slots: 1, bytes }
    }

    fn status() -> RelayStatus {
        RelayStatus {
            active: true,
            slots: 10,
            slots_per_name: 2,
            slot_rate: 3_000,
            name_rate: 4_000,
            rate: 5_000,
            slots_used: 1,
            granted: 7,
            refused: 8,
            bytes: 9,
            dropped_over_rate: 10,
            dropped_queue: 11,
            dropped_unsendable: 13,
            dropped_unbound: 12,
            foreign: 13,
            forged: 14,
            set: SetRelay::default(),
            history: Vec::new(),
        }
    }

    #[test]
    fn what_was_set_by_hand_is_shown_with_the_way_back() {
        let mut status = status();
        let text = render(&status, Paint::PLAIN);
        assert!(text.contains("1 session,") && text.contains("10 sessions"), "{text}");
        assert!(!text.contains("reset") && !text.contains("history"), "{text}");
        status.set.slots = Some(0);
        status.slots = 0;
        status.set.rate = Some(500_000);
        let text = render(&status, Paint::PLAIN);
        assert!(text.contains("rate 500 kB/s"), "{text}");
        assert!(text.contains("off:") && text.contains("; `skein relay reset`"), "{text}");
    }

    #[test]
    fn the_history_has_a_bar_for_each_quarter_of_an_hour() {
        assert_eq!(bars(&[]), None);
        let now = 100 * BAR_SECS;
        let ago = |quarters: u64| now - quarters * BAR_SECS;
        let text = bars(&[note(ago(3), 7_000), note(ago(2), 0), note(ago(1), 1), note(now, 3_500)]);
        let text = text.expect("there is a history");
        assert_eq!(text, "1h ago █·▁▄ now; 15 minutes each, the highest is 700 B/s");
        let idle = bars(&[note(ago(3), 0), note(now, 0)]);
        assert_eq!(idle.as_deref(), Some("nothing was moved in the last 1h"));
        let long: Vec<RelayNote> = (0..90).rev().map(|quarters| note(ago(quarters), 1)).collect();
        let shown = bars(&long).expect("there is a history");
        assert_eq!(shown.matches('█').count(), BARS);
    }
}

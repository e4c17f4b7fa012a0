//! `skein reputation`.

use crate::commands::whoami;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::paint::Paint;
use crate::ui::{format, table};
use clap::Args;
use skein_node::account;
use skein_node::api::types::ReputationStatus;
use skein_proto::UnixTime;

/// Explains the reputation of your name: where it comes from, and what takes from it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein reputation                         what others have signed, and what it counts
  skein reputation --json | jq .reputation only the number, 0 to 1000

It is computed from what others have signed, never from what somebody says of itself. Those who
have more are served first when an uploader is busy, and become supernodes sooner.")]
pub struct ReputationArgs {}

/// Explains it; the daemon need not run.
///
/// # Errors
/// There is no node yet, or the data folder cannot be read.
pub fn run(context: &Context, _args: ReputationArgs) -> Result<(), Failure> {
    let reputation = current(context)?;
    context.ui.result(&reputation, render)
}

/// The reputation as the daemon sees it, or as the data folder has it if none runs.
///
/// # Errors
/// As for [`run`].
pub fn current(context: &Context) -> Result<ReputationStatus, Failure> {
    let home = context.home()?;
    if home.occupant()?.is_some() {
        return context::block_on(async { Ok(context.client()?.status().await?.reputation) });
    }
    let key = whoami::node_key(&home)?;
    Ok(account::reputation(&home, key.node_id(), UnixTime(context::now()))?)
}

fn render(reputation: &ReputationStatus, paint: Paint) -> String {
    let count = |number: u32, one: &'static str, many: &'static str| {
        format::count(number.into(), one, many)
    };
    let of = format!(
        "{} of {}",
        reputation.reputation,
        format::thousands(ReputationStatus::HIGHEST.into())
    );
    let time = count(reputation.time_partners, "supernode", "supernodes");
    let bytes = count(reputation.byte_partners, "peer", "peers");
    let mut facts = vec![
        ("reputation", of),
        ("time", format!("vouched for by {time}")),
        ("bytes", format!("received by {bytes}")),
        ("weight", weight(reputation)),
    ];
    if reputation.decayed_thousandths > 0 {
        let taken = partners(reputation.decayed_thousandths);
        facts.push(("decay", format!("has taken the weight of {taken}")));
    }
    if reputation.lost > 0 {
        let lost = format!("{} points lost by proven misconduct", reputation.lost);
        facts.push(("offences", paint.warn(lost)));
    }
    format!("{}\n\n{}", table::facts(&facts, paint), ReputationStatus::rules())
}

fn weight(reputation: &ReputationStatus) -> String {
    if reputation.partners == 0 {
        return "nobody has signed for it yet".to_owned();
    }
    let spoken = format!(
        "{} on {} count as {}",
        format::count(reputation.partners.into(), "partner", "partners"),
        format::count(reputation.days.into(), "day", "days"),
        partners(reputation.credit_thousandths),
    );
    if reputation.credit_thousandths > reputation.day_limit_thousandths {
        let limit = partners(reputation.day_limit_thousandths);
        return format!("{spoken}, but so few days for {limit} at most");
    }
    spoken
}

/// Thousandths of a partner that counts in full.
fn partners(thousandths: u64) -> String {
    format!("{}.{} full ones", thousandths / 1_000, thousandths % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_reads_how_it_rises() {
        let new = ReputationStatus { reputation: 10, ..ReputationStatus::default() };
        let text = render(&new, Paint::PLAIN);
        assert!(text.contains("10 of 1,000") && text.contains("nobody has signed"), "{text}");
        assert!(text.contains("A new name has 10") && text.contains("90 days"), "{text}");
        assert!(!text.contains("decay") && !text.contains("offences"), "{text}");
    }

    #[test]
    fn where_a_reputation_comes_from_and_what_takes_from_it_is_told() {
        let known = ReputationStatus {
            reputation: 150,
            time_partners: 41,
            byte_partners: 1,
            partners: 42,
            days: 2,
            credit_thousandths: 40_250,
            day_limit_thousandths: 6_000,
            decayed_thousandths: 1_500,
            lost: 20,
        };
        let text = render(&known, Paint::PLAIN);
        for part in [
            "vouched for by 41 supernodes",
            "received by 1 peer",
            "42 partners on 2 days count as 40.2 full ones, but so few days for 6.0",
            "the weight of 1.5",
            "20 points lost",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

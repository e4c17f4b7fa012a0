//! `skein inbox`.

use super::send;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::json;
use skein_node::api::inbox::{AcceptOffer, FileOffer, OfferStage};
use skein_proto::Username;
use std::path::{Path, PathBuf};

/// Files that others want to give you, and those that you send.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  skein inbox                              what others offer you
  skein inbox accept 3 -o ~/Music          fetch it into this folder
  skein inbox refuse 3 5                   several at once
  skein inbox --watch                      show each offer as it comes, and how it goes
  skein inbox --sent                       what you send, and how it goes
  skein inbox always @alice                accept what alice sends without a question")]
pub struct InboxArgs {
    #[command(subcommand)]
    command: Option<InboxCommand>,
    /// Show every change as it happens, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Show what you send, too
    #[arg(long)]
    sent: bool,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// Fetch a file that somebody offers
    #[command(after_help = "\
Examples:
  skein inbox accept 3                     into `inbox` in the download folder
  skein inbox accept 3 -o ~/Music
One that has failed can be accepted again: it goes on where it stopped.")]
    Accept {
        /// Its id, from `skein inbox`
        #[arg(required = true, value_name = "ID", value_parser = crate::value::offer_id)]
        ids: Vec<u64>,
        /// Put the file into this folder, which is made if it is not there
        #[arg(short = 'o', long = "output", value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Decline a file, or stop fetching it
    #[command(after_help = "\
Examples:
  skein inbox refuse 3                     the sender is told")]
    Refuse {
        /// Its id, from `skein inbox`; several are declined one after the other
        #[arg(required = true, value_name = "ID", value_parser = crate::value::offer_id)]
        ids: Vec<u64>,
    },
    /// Take back a file that you send
    #[command(after_help = "\
Examples:
  skein inbox withdraw 4                   nothing more of it is sent")]
    Withdraw {
        /// Its id, from `skein inbox --sent`; several are taken back one after the other
        #[arg(required = true, value_name = "ID", value_parser = crate::value::sent_id)]
        ids: Vec<u64>,
    },
    /// Accept what somebody sends without a question, or list who that is
    #[command(after_help = "\
Examples:
  skein inbox always @alice
  skein inbox always                       who that is
  skein inbox always @alice --remove       ask again")]
    Always {
        /// Who
        #[arg(value_name = "@NAME", value_parser = user)]
        name: Option<Username>,
        /// Ask again before a file of theirs is fetched
        #[arg(long, requires = "name")]
        remove: bool,
    },
}

fn user(text: &str) -> Result<Username, String> {
    let name = text.strip_prefix('@').unwrap_or(text);
    Username::parse(name).map_err(|wrong| wrong.to_string())
}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or there is no such offer.
pub fn run(context: &Context, args: InboxArgs) -> Result<(), Failure> {
    if args.command.is_none() && args.watch {
        return context::block_on_until_interrupted(watch(context, args.sent));
    }
    context::block_on(async {
        match args.command {
            None => list(context, args.sent).await,
            Some(InboxCommand::Accept { ids, output }) => accept(context, &ids, output).await,
            Some(InboxCommand::Refuse { ids }) => refuse(context, &ids).await,
            Some(InboxCommand::Withdraw { ids }) => withdraw(context, &ids).await,
            Some(InboxCommand::Always { name: None, .. }) => always(context).await,
            Some(InboxCommand::Always { name: Some(name), remove }) => {
                context.client()?.set_always_accepted(&name, !remove).await?;
                context.ui.done(&json!({ "name": name, "always": !remove }), |_, paint| {
                    let what = if remove { "are asked for again" } else { "are accepted" };
                    format!("{} Files of @{name} {what}.", paint.good("✓"))
                })
            }
        }
    })
}

async fn list(context: &Context, sent: bool) -> Result<(), Failure> {
    let mut offers = context.client()?.offers().await?;
    offers.retain(|offer| sent || !offer.outgoing);
    if context.ui.json {
        return offers.iter().try_for_each(|offer| context.ui.value(offer));
    }
    if offers.is_empty() {
        let both = if sent { ", and you have sent none" } else { "" };
        context.ui.note(format!("Nobody has offered you a file{both}."));
        return Ok(());
    }
    context.ui.line(render(&offers, context.ui.out))
}

async fn refuse(context: &Context, ids: &[u64]) -> Result<(), Failure> {
    let client = context.client()?;
    for id in ids {
        let offer = client.refuse_offer(*id).await?;
        context.ui.done(&offer, |offer, paint| {
            let had = if offer.bytes == 0 { "" } else { " What had come is removed." };
            format!("{} {} is refused.{had}", paint.good("✓"), offer.name)
        })?;
    }
    Ok(())
}

async fn withdraw(context: &Context, ids: &[u64]) -> Result<(), Failure> {
    let client = context.client()?;
    for id in ids {
        let offer = client.withdraw_offer(*id).await?;
        context.ui.done(&offer, |offer, paint| {
            format!("{} {} is taken back.", paint.good("✓"), offer.name)
        })?;
    }
    Ok(())
}

async fn watch(context: &Context, sent: bool) -> Result<(), Failure> {
    let mut events = context.client()?.watch_offers().await?;
    let skein = format!("skein{}", context.data_dir_words());
    while let Some(offer) = events.next().await {
        let offer = offer?;
        if offer.outgoing && !sent {
            continue;
        }
        if context.ui.json {
            context.ui.value(&offer)?;
        } else {
            context.ui.line(line(&offer, &skein, context.ui.out))?;
        }
    }
    Err(Failure::failed("the daemon went away"))
}

async fn accept(context: &Context, ids: &[u64], output: Option<PathBuf>) -> Result<(), Failure> {
    let dir = output.as_deref().map(folder).transpose()?;
    let client = context.client()?;
    let known = client.offers().await?;
    for id in ids {
        let is_it = |known: &FileOffer| known.id == *id && known.state == OfferStage::Accepted;
        let already = if known.iter().any(is_it) { " already" } else { "" };
        let offer = client.accept_offer(*id, &AcceptOffer { dir: dir.clone() }).await?;
        context.ui.done(&offer, |offer, paint| {
            let (good, name) = (paint.good("✓"), &offer.name);
            format!(
                "{good} {name} is being fetched{already}: `skein inbox --watch` shows how it goes."
            )
        })?;
    }
    Ok(())
}

/// The folder, which is made if it is not there.
fn folder(dir: &Path) -> Result<PathBuf, Failure> {
    let wrong = |error| Failure::input(Failure::file("put files into", dir, &error).to_string());
    std::fs::create_dir_all(dir).map_err(wrong)?;
    std::fs::canonicalize(dir).map_err(wrong)
}

async fn always(context: &Context) -> Result<(), Failure> {
    let names = context.client()?.always_accepted().await?;
    if context.ui.json {
        return names.iter().try_for_each(|name| context.ui.value(&json!({ "name": name })));
    }
    if names.is_empty() {
        context.ui.note("You are asked about every file: `skein inbox always @NAME` changes that.");
    }
    names.iter().try_for_each(|name| context.ui.line(format!("@{name}")))
}

fn render(offers: &[FileOffer], paint: Paint) -> String {
    let says = |offer: &FileOffer| match &offer.waits {
        Some(why) if offer.note.is_empty() => why.clone(),
        Some(why) => format!("{} ({why})", offer.note),
        None => offer.note.clone(),
    };
    let mut table = Table::new(&[
        ("id", Lean::Right),
        ("from or to", Lean::Left),
        ("state", Lean::Left),
        ("done", Lean::Right),
        ("size", Lean::Right),
        ("file", Lean::Left),
        ("note", Lean::Left),
    ]);
    for offer in offers {
        let way = if offer.outgoing { "to" } else { "from" };
        table.row([
            offer.id.to_string(),
            format!("{way} {}", paint.name(format!("@{}", offer.peer))),
            state(offer, paint),
            percent(offer),
            format::bytes(offer.size),
            place(offer),
            says(offer),
        ]);
    }
    table.render(paint)
}

/// Where a file is that has come; its name until then.
fn place(offer: &FileOffer) -> String {
    match (&offer.state, &offer.path) {
        (OfferStage::Done, Some(path)) if !offer.outgoing => path.display().to_string(),
        _ => offer.name.clone(),
    }
}

fn line(offer: &FileOffer, skein: &str, paint: Paint) -> String {
    let way = if offer.outgoing { "to" } else { "from" };
    let note =
        if offer.note.is_empty() { String::new() } else { format!("  “{}”", offer.note) };
    format!(
        "{}  {way} {}  {} ({}){note}  {} {}",
        offer.id,
        paint.name(format!("@{}", offer.peer)),
        paint.strong(&offer.name),
        format::bytes(offer.size),
        words(offer, skein),
        percent(offer)
    )
}

fn words(offer: &FileOffer, skein: &str) -> String {
    if offer.outgoing {
        return send::words(offer);
    }
    let words = match &offer.state {
        OfferStage::Offered => format!("`{skein} inbox accept {}` fetches it", offer.id),
        OfferStage::Accepted => "is being fetched".to_owned(),
        OfferStage::Done => match &offer.path {
            Some(path) => format!("is here: {}", path.display()),
            None => "is here".to_owned(),
        },
        OfferStage::Refused => "refused".to_owned(),
        OfferStage::Withdrawn => "taken back by its sender".to_owned(),
        OfferStage::Expired => "expired".to_owned(),
        OfferStage::Failed { reason } => format!("failed: {reason}"),
        OfferStage::Hashing | OfferStage::Queued => String::new(),
    };
    match &offer.waits {
        Some(why) => format!("{words}: {why}"),
        None => words,
    }
}

fn state(offer: &FileOffer, paint: Paint) -> String {
    match &offer.state {
        OfferStage::Hashing => "reading".to_owned(),
        OfferStage::Queued => paint.warn("queued"),
        OfferStage::Offered => paint.warn("offered"),
        OfferStage::Accepted => "running".to_owned(),
        OfferStage::Done => paint.good("done"),
        OfferStage::Refused => paint.faint("refused"),
        OfferStage::Withdrawn => paint.faint("withdrawn"),
        OfferStage::Expired => paint.faint("expired"),
        OfferStage::Failed { .. } => paint.bad("failed"),
    }
}

/// How much of it is there, where that says something.
fn percent(offer: &FileOffer) -> String {
    match offer.state {
        OfferStage::Accepted | OfferStage::Hashing | OfferStage::Done => {
            let whole = u128::from(offer.size.max(1));
            format!("{} %", u128::from(offer.bytes) * 100 / whole)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::send::tests::offer;
    use super::*;

    #[test]
    fn an_offer_shows_from_whom_it_is_and_what_to_do() {
        let offered = offer(false, OfferStage::Offered);
        let text = line(&offered, "skein --data-dir b", Paint::PLAIN);
        assert!(text.contains("from @alice") && text.contains("“for you”"), "{text}");
        assert!(text.contains("`skein --data-dir b inbox accept 7`"), "{text}");
        let table = render(&[offered, offer(true, OfferStage::Accepted)], Paint::PLAIN);
        assert!(table.contains("to @alice") && table.contains("25 %"), "{table}");
        let come = FileOffer {
            path: Some("/home/bob/inbox/song.flac".into()),
            ..offer(false, OfferStage::Done)
        };
        assert!(render(&[come], Paint::PLAIN).contains("/home/bob/inbox/song.flac"));
    }

    #[test]
    fn names_are_read_with_and_without_the_sign() {
        assert_eq!(user("@alice"), user("alice"));
        assert!(user("@").is_err());
    }
}

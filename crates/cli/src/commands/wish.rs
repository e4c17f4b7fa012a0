//! `skein wish`.

use crate::commands::search::{Conditions, joined};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use crate::value;
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use skein_node::api::types::{AddWish, ContentHit, DaemonEvent, Wish};

/// Tells of files as soon as anyone shares them.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skein wish add rare melody               be told when it is shared
  skein wish watch                         show what comes, as it comes
  skein wish list                          the wishes, and what came of them
  skein wish rm 2                          wish for it no longer")]
pub enum WishCommand {
    /// Wish for something: whatever others share, now or later, and matches is told
    Add(AddArgs),
    /// List the wishes, and what came of them
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Wish for something no longer
    Rm(RemoveArgs),
    /// Show what comes of the wishes, as it comes
    Watch(WatchArgs),
}

/// Wishes for something.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein wish add moonlight sonata          all words must match, as in a search
  skein wish add atlas --ext pdf           with conditions
It holds until it is removed, also when the node starts again. What others share already is told, too,
once; your own files are not.")]
pub struct AddArgs {
    /// What to wish for: words, or a content id
    #[arg(required = true, value_name = "WORDS")]
    words: Vec<String>,
    #[command(flatten)]
    conditions: Conditions,
}

/// Lists the wishes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein wish list                          each wish with what came of it
  skein wish list --json | jq -r '.hits[].name'")]
pub struct ListArgs {}

/// Wishes for something no longer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein wish rm 2                          the second wish, as `skein wish list` numbers them")]
pub struct RemoveArgs {
    /// The numbers of the wishes
    #[arg(required = true, value_name = "NUMBER", value_parser = value::wish_number)]
    numbers: Vec<u64>,
}

/// Shows what comes of the wishes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein wish watch                         until Ctrl-C
  skein wish watch --json | jq -r .hit.content")]
pub struct WatchArgs {}

/// Does one of them.
///
/// # Errors
/// The daemon does not run or answer, or a wish is not there.
pub fn run(context: &Context, command: WishCommand) -> Result<(), Failure> {
    match command {
        WishCommand::Add(args) => add(context, args),
        WishCommand::List(_) => list(context),
        WishCommand::Rm(args) => remove(context, &args.numbers),
        WishCommand::Watch(_) => watch(context),
    }
}

fn add(context: &Context, args: AddArgs) -> Result<(), Failure> {
    let wish = AddWish { words: joined(&args.words)?, filter: args.conditions.filter()? };
    context::block_on(async {
        let wish = context.client()?.add_wish(&wish).await?;
        context.ui.done(&wish, |wish, paint| {
            format!(
                "{} Wish {}: you are told when somebody shares {:?}. See `skein wish watch`.",
                paint.good("✓"),
                wish.number,
                wish.words
            )
        })
    })
}

fn list(context: &Context) -> Result<(), Failure> {
    context::block_on(async {
        let wishes = context.client()?.wishes().await?;
        if context.ui.json {
            return wishes.iter().try_for_each(|wish| context.ui.value(wish));
        }
        if wishes.is_empty() {
            context.ui.note("There is no wish: `skein wish add WORDS` makes one.".to_owned());
            return Ok(());
        }
        let skein = format!("skein{}", context.data_dir_words());
        context.ui.result(&wishes, |wishes, paint| render(wishes, &skein, paint))
    })
}

fn remove(context: &Context, numbers: &[u64]) -> Result<(), Failure> {
    context::block_on(async {
        let client = context.client()?;
        for number in numbers {
            client.remove_wish(*number).await?;
            context.ui.done(&serde_json::json!({ "removed": number }), |_, paint| {
                format!("{} Wish {number} is removed.", paint.good("✓"))
            })?;
        }
        Ok(())
    })
}

fn watch(context: &Context) -> Result<(), Failure> {
    context::block_on_until_interrupted(async {
        let mut events = context.client()?.events().await?;
        context.ui.note("Waiting for what was wished for; Ctrl-C ends this.".to_owned());
        while let Some(event) = events.next().await {
            let event = event?;
            if let DaemonEvent::WishHit { wish, words, hit } = &event {
                let skein = format!("skein{}", context.data_dir_words());
                let line = |_: &_, paint| hit_line((*wish, words), hit, &skein, paint);
                context.ui.result(&event, line)?;
            }
        }
        Err(Failure::failed("the daemon went away"))
    })
}

/// What came of a wish, in one line and the command that fetches it. `skein` is how that is called.
pub fn hit_line((wish, words): (u64, &str), hit: &ContentHit, skein: &str, paint: Paint) -> String {
    let owner = hit
        .sources
        .first()
        .map_or_else(|| "somebody".to_owned(), |source| format!("@{}", source.name));
    format!(
        "{} Wish {wish} ({words}): {}, {}, by {owner}. Fetch it: {}",
        paint.good("✓"),
        hit.name,
        format::bytes(hit.size),
        paint.key(format!("{skein} get {}", hit.content)),
    )
}

fn render(wishes: &[Wish], skein: &str, paint: Paint) -> String {
    let mut table =
        Table::new(&[("wish", Lean::Right), ("words", Lean::Left), ("came", Lean::Right)]);
    for wish in wishes {
        let came = format::thousands(wish.hits.len() as u64);
        table.row([wish.number.to_string(), wish.words.clone(), came]);
    }
    let mut text = table.render(paint);
    for wish in wishes {
        for hit in &wish.hits {
            text.push('\n');
            text.push_str(&hit_line((wish.number, &wish.words), hit, skein, paint));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::{ContentId, Kind};

    #[test]
    fn a_wish_shows_what_came_of_it_and_how_to_fetch_it() {
        let content = ContentId::from_bytes([3; 32]);
        let hit = ContentHit {
            number: 1,
            content,
            name: "melody.ogg".to_owned(),
            path: "a/melody.ogg".to_owned(),
            size: 2_048,
            kind: Kind::Audio,
            tags: None,
            sources: Vec::new(),
        };
        let wish = Wish {
            number: 4,
            words: "rare melody".to_owned(),
            filter: Default::default(),
            since: 0,
            hits: vec![hit],
        };
        let text = render(&[wish], "skein --data-dir a", Paint::PLAIN);
        assert!(text.contains("Wish 4 (rare melody): melody.ogg, 2.0 KiB, by somebody."), "{text}");
        assert!(text.contains(&format!("skein --data-dir a get {content}")), "{text}");
    }
}

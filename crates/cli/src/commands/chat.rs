//! `skein chat`.

use super::talk;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::ui::table::{Lean, Table};
use crate::value;
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::json;
use skein_node::api::chat::{ChatLine, ChatState, Conversation, MAX_LINES, PeopleEvent, SendChat};
use skein_node::api::{ApiClient, ApiStream, ClientError};
use skein_proto::chat::MAX_TEXT;
use skein_proto::{BoundedString, Username};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Talks with somebody.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein chat @bob                          talk until Ctrl-D; each line is a message
  skein chat                               all conversations, and what is unread
  skein chat @bob see you at 8             say this, and end
  skein chat @bob --send \"see you at 8\"    for scripts; each line of the text is a message
  skein chat @bob --history --last 100     what was said
  skein chat --unread --json | jq -r .text what came and was not read; it counts as read then
  skein chat @bob --forget                 delete what was said, and what is still queued
A message is kept by this node until the other one has it on disk, whether they are online now or
not. History is kept on both machines and nowhere else.
Exit codes: 0 it is delivered, or queued; 1 it failed, or was refused; 2 wrong input.")]
pub struct ChatArgs {
    /// With whom
    #[arg(value_name = "@NAME")]
    name: Option<Username>,
    /// Say this, and end
    #[arg(value_name = "WORDS", requires = "name", group = "what")]
    words: Vec<String>,
    /// The same with one text, which may begin with "-"
    #[arg(
        long,
        value_name = "TEXT",
        requires = "name",
        group = "what",
        allow_hyphen_values = true
    )]
    send: Option<String>,
    /// Show the last lines, and end
    #[arg(long, requires = "name", group = "what")]
    history: bool,
    /// Show what was not read yet, of one or of all
    #[arg(long, group = "what")]
    unread: bool,
    /// Delete the conversation
    #[arg(long, requires = "name", group = "what")]
    forget: bool,
    /// How many lines of history to show
    #[arg(long, value_name = "LINES", default_value_t = 20, allow_negative_numbers = true,
          value_parser = value::whole(1..=MAX_LINES, 100))]
    last: u32,
    /// How long to wait for messages to be delivered, before it ends and leaves that to the daemon
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = value::duration)]
    wait: Duration,
}

/// Does what was asked for.
///
/// # Errors
/// The daemon does not run or answer, or a message was refused or is too long.
pub fn run(context: &Context, args: ChatArgs) -> Result<(), Failure> {
    let Some(peer) = args.name else {
        return context::block_on(async {
            let client = context.client()?;
            match args.unread {
                true => unread(context, &client, None).await,
                false => list(context, &client).await,
            }
        });
    };
    let said = args.send.or_else(|| (!args.words.is_empty()).then(|| args.words.join(" ")));
    if said.as_ref().is_some_and(|text| text.lines().all(|line| line.trim().is_empty())) {
        return Err(Failure::input(
            "there is nothing to say in an empty message: give it some words",
        ));
    }
    if !(said.is_some() || args.history || args.unread || args.forget) {
        return talk::run(context, &peer, args.last, args.wait);
    }
    context::block_on(async {
        let client = context.client()?;
        if let Some(text) = said {
            return send(context, &client, &peer, &text, args.wait).await;
        }
        if args.unread {
            return unread(context, &client, Some(&peer)).await;
        }
        if args.forget {
            client.forget_chat(&peer).await?;
            return context.ui.done(&json!({ "forgotten": peer }), |_, paint| {
                format!("{} What you and @{peer} said is deleted here.", paint.good("✓"))
            });
        }
        let lines = client.chat_history(&peer, args.last, 0).await?;
        if lines.is_empty() {
            context.ui.note(format!("You and @{peer} have said nothing yet."));
        }
        show(context, &lines)
    })
}

async fn list(context: &Context, client: &ApiClient) -> Result<(), Failure> {
    let all = client.chats().await?;
    if context.ui.json {
        return all.iter().try_for_each(|conversation| context.ui.value(conversation));
    }
    if all.is_empty() {
        context.ui.note("Nothing was said yet: `skein chat @NAME` begins.");
        return Ok(());
    }
    context.ui.line(render(&all, context::now(), context.ui.out))
}

async fn unread(
    context: &Context,
    client: &ApiClient,
    from: Option<&Username>,
) -> Result<(), Failure> {
    let lines = client.unread(from).await?;
    if lines.is_empty() {
        context.ui.note("There is nothing that you have not read.");
    }
    show(context, &lines)?;
    // Only what was printed counts as read.
    let mut seen: BTreeMap<&Username, u64> = BTreeMap::new();
    for line in &lines {
        seen.insert(&line.peer, line.number);
    }
    for (peer, up_to) in seen {
        client.mark_read(peer, up_to).await?;
    }
    Ok(())
}

fn show(context: &Context, lines: &[ChatLine]) -> Result<(), Failure> {
    if context.ui.json {
        return lines.iter().try_for_each(|line| context.ui.value(line));
    }
    let now = context::now();
    lines.iter().try_for_each(|line| context.ui.line(dated(line, now, context.ui.out)))
}

/// Says each line of a text, and waits for a while until all of it is delivered.
async fn send(
    context: &Context,
    client: &ApiClient,
    peer: &Username,
    text: &str,
    wait: Duration,
) -> Result<(), Failure> {
    let said = || text.lines().filter(|line| !line.trim().is_empty());
    // Before anything is said: half a text is worse than none.
    said().try_for_each(fits)?;
    let mut events = client.people_events().await?;
    let mut lines = Vec::new();
    for text in said() {
        lines.push(client.say(&SendChat { to: peer.clone(), text: text.to_owned() }).await?);
    }
    let reason = settle(&mut events, &mut lines, wait).await?;
    if context.ui.json {
        lines.iter().try_for_each(|line| context.ui.value(line))?;
    }
    let count = |state| lines.iter().filter(|line| line.state == state).count() as u64;
    if count(ChatState::Refused) > 0 {
        return Err(Failure::failed(format!("@{peer} takes no messages of yours")));
    }
    let queued = count(ChatState::Queued);
    if context.ui.json || context.ui.quiet {
        return Ok(());
    }
    tell_fate(context, client, peer, queued, reason).await
}

/// Whether a text is short enough for one message.
pub(super) fn fits(text: &str) -> Result<(), Failure> {
    match text.len() {
        0..=MAX_TEXT => Ok(()),
        long => Err(Failure::input(format!(
            "a message has at most {MAX_TEXT} bytes, this one {long}: send it in several, or as a \
             file with `skein send`"
        ))),
    }
}

/// Says what has become of messages: `queued` of them are not delivered yet, and that is why, if
/// anybody has said so meanwhile.
pub(super) async fn tell_fate(
    context: &Context,
    client: &ApiClient,
    peer: &Username,
    queued: u64,
    why: Option<String>,
) -> Result<(), Failure> {
    if queued == 0 {
        return context.ui.line(format!("{} delivered to @{peer}", context.ui.out.good("✓")));
    }
    let why = match why {
        Some(why) => Some(why),
        // It may have been said before these were written.
        None => {
            let all = client.chats().await?;
            all.into_iter().find(|one| one.peer == *peer).and_then(|one| one.waiting)
        }
    };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let what = format::count(queued, "message is", "messages are");
    context.ui.line(context.ui.addressed(&format!(
        "{} {what} queued{why}. The daemon delivers when both of you are online; `skein chat \
         @{peer} --forget` takes back what is queued, with all that was said.",
        context.ui.out.warn("…")
    )))
}

/// Follows what becomes of messages until none is queued, or the time is over; answers with why
/// they are not delivered yet, if anybody has said so.
pub(super) async fn settle(
    events: &mut ApiStream<PeopleEvent>,
    lines: &mut [ChatLine],
    wait: Duration,
) -> Result<Option<String>, ClientError> {
    let (end, mut why) = (Instant::now() + wait, None);
    while lines.iter().any(|line| line.state == ChatState::Queued) {
        let Ok(Some(event)) = timeout_at(end, events.next()).await else { break };
        match event? {
            PeopleEvent::Message(new) => {
                if let Some(line) = lines.iter_mut().find(|line| line.number == new.number) {
                    *line = new;
                }
            }
            PeopleEvent::Waiting { peer, reason, unknown }
                if lines.first().is_some_and(|line| line.peer == peer) =>
            {
                why = Some(reason);
                // Whoever misspelt a name shall see it, and need not wait for it.
                if unknown {
                    break;
                }
            }
            _ => {}
        }
    }
    Ok(why)
}

/// A text of somebody else as it may be printed on a terminal. It comes without control characters
/// already; this holds whatever the daemon says.
pub(super) fn printable(text: &str) -> BoundedString<MAX_TEXT> {
    BoundedString::truncated(text)
}

/// Who said what.
pub(super) fn spoken(line: &ChatLine, paint: Paint) -> String {
    let text = printable(&line.text);
    let mark = match line.state {
        ChatState::Queued => paint.warn(" (queued)"),
        ChatState::Refused => paint.bad(" (refused)"),
        ChatState::Delivered | ChatState::Unread | ChatState::Read => String::new(),
    };
    if line.outgoing {
        return format!("{} {text}{mark}", paint.faint("you:"));
    }
    let warning = match line.new_key {
        true => format!("{} ", paint.bad("(from a key that you do not know!)")),
        false => String::new(),
    };
    format!("{} {warning}{text}{mark}", paint.name(format!("@{}:", line.peer)))
}

/// When it was said: by the clock of whoever said it, which may be ahead, but not after it was here.
fn said_at(line: &ChatLine) -> u64 {
    if line.outgoing { line.sent } else { line.sent.min(line.since) }
}

/// Who said what, and when.
fn dated(line: &ChatLine, now: u64, paint: Paint) -> String {
    let ago = format!("{:>8} ago", format::elapsed(now.saturating_sub(said_at(line))));
    let to = match line.outgoing {
        true => paint.faint(format!("to @{} ", line.peer)),
        false => String::new(),
    };
    format!("{}  {to}{}", paint.faint(ago), spoken(line, paint))
}

fn render(all: &[Conversation], now: u64, paint: Paint) -> String {
    let mut table = Table::new(&[
        ("with", Lean::Left),
        ("unread", Lean::Right),
        ("queued", Lean::Right),
        ("last", Lean::Right),
        ("what was said", Lean::Left),
    ]);
    for conversation in all {
        let last = &conversation.last;
        let ago = format::elapsed(now.saturating_sub(said_at(last)));
        let text: String = printable(&last.text).chars().take(40).collect();
        let unread = match conversation.unread {
            0 => "-".to_owned(),
            unread => paint.good(unread),
        };
        table.row([
            paint.name(format!("@{}", conversation.peer)),
            unread,
            if conversation.queued == 0 { "-".to_owned() } else { conversation.queued.to_string() },
            format!("{ago} ago"),
            if last.outgoing { format!("you: {text}") } else { text },
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::ChatId;

    fn line(text: &str, outgoing: bool, state: ChatState) -> ChatLine {
        ChatLine {
            number: 1,
            peer: Username::parse("bob").unwrap(),
            outgoing,
            id: ChatId::from_bytes([1; 16]),
            text: text.to_owned(),
            sent: 40,
            state,
            since: 100,
            node: None,
            new_key: false,
        }
    }

    #[test]
    fn what_others_say_cannot_move_the_cursor() {
        let text = spoken(&line("\u{1b}[2Jhello\r\n\u{7}", false, ChatState::Unread), Paint::PLAIN);
        assert_eq!(text, "@bob: [2Jhello");
    }

    #[test]
    fn a_line_tells_who_and_when_and_what_became_of_it() {
        let text = dated(&line("hello", true, ChatState::Queued), 100, Paint::PLAIN);
        assert_eq!(text.trim_start(), "1m ago  to @bob you: hello (queued)");
        let mut from = line("hello", false, ChatState::Read);
        from.new_key = true;
        let text = dated(&from, 161, Paint::PLAIN);
        assert!(text.contains("2m ") && text.contains("@bob: (from a key"), "{text}");
    }

    #[test]
    fn a_conversation_is_shown_with_what_is_open() {
        let last = line("hello", true, ChatState::Queued);
        let peer = last.peer.clone();
        let one = Conversation { peer, unread: 3, queued: 1, waiting: None, last };
        let text = render(&[one], 100, Paint::PLAIN);
        assert!(text.contains("@bob") && text.contains('3'), "{text}");
        assert!(text.contains("1m ago") && text.contains("you: hello"), "{text}");
    }
}

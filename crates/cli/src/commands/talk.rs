//! `skein chat @name`: a conversation, line by line.

use super::buddies;
use super::chat::{settle, spoken};
use crate::context::{self, Context};
use crate::failure::Failure;
use futures_util::StreamExt as _;
use skein_node::api::chat::{ChatLine, ChatState, PeopleEvent, SendChat};
use skein_node::api::{ApiClient, ClientError};
use skein_proto::Username;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;
use tokio::sync::mpsc;

/// Lines that were typed and not sent yet.
const TYPED_WAITING: usize = 16;

/// Talks until the end of the input, or Ctrl-C.
///
/// # Errors
/// The daemon does not run or answer, or ends meanwhile.
pub fn run(context: &Context, peer: &Username, last: u32, wait: Duration) -> Result<(), Failure> {
    context::block_on_uninterrupted(async {
        let client = context.client()?;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        let mut events = client.people_events().await?;
        let echoed = io::stdin().is_terminal();
        let mut talk = Talk { context, client: &client, peer, echoed, shown: 0, mine: Vec::new() };
        talk.catch_up(last).await?;
        let mut typed = typed();
        loop {
            tokio::select! {
                line = typed.recv() => match line {
                    Some(Ok(line)) => talk.say(&line).await?,
                    Some(Err(error)) => {
                        return Err(Failure::failed(format!("cannot read standard input: {error}")));
                    }
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => talk.hear(event?).await?,
                    None => return Err(Failure::failed("the daemon has ended")),
                },
                _ = &mut interrupted => return Ok(()),
            }
        }
        // What was written last may be on its way.
        tokio::select! {
            settled = settle(&mut events, &mut talk.mine, wait) => drop(settled?),
            _ = &mut interrupted => {}
        }
        Ok(())
    })
}

struct Talk<'a> {
    context: &'a Context,
    client: &'a ApiClient,
    peer: &'a Username,
    /// Whether what is typed can be seen already.
    echoed: bool,
    /// The number of the last line that was shown.
    shown: u64,
    /// What the user has said, as far as it is not delivered.
    mine: Vec<ChatLine>,
}

impl Talk<'_> {
    /// Shows what was said since.
    async fn catch_up(&mut self, last: u32) -> Result<(), Failure> {
        for line in self.client.chat_history(self.peer, last, self.shown).await? {
            self.show(line).await?;
        }
        Ok(())
    }

    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let said = SendChat { to: self.peer.clone(), text: text.to_owned() };
        match self.client.say(&said).await {
            Ok(line) => self.mine.push(line),
            Err(ClientError::Refused(error)) => {
                self.context.ui.note(format!("{} {error}", self.context.ui.err.warn("!")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn hear(&mut self, event: PeopleEvent) -> Result<(), Failure> {
        match event {
            PeopleEvent::Message(line) if line.peer == *self.peer => {
                if line.outgoing && line.state != ChatState::Queued {
                    self.mine.retain(|mine| mine.number != line.number);
                }
                if self.context.ui.json && line.number <= self.shown {
                    return self.context.ui.value(&PeopleEvent::Message(line));
                }
                self.show(line).await
            }
            PeopleEvent::Waiting { peer, reason } if peer == *self.peer => {
                let mark = self.context.ui.err.warn("…");
                self.context.ui.note(format!("{mark} queued: {reason}"));
                Ok(())
            }
            PeopleEvent::Buddy(buddy) if buddy.name == *self.peer && !self.context.ui.json => {
                let (now, paint) = (context::now(), self.context.ui.err);
                let state = buddies::presence(&buddy, now, paint);
                self.context.ui.note(format!("· @{} is {state}", buddy.name));
                if let Some(warning) = buddies::warning(&buddy, paint) {
                    self.context.ui.note(warning);
                }
                Ok(())
            }
            PeopleEvent::Missed => self.catch_up(skein_node::api::chat::MAX_LINES).await,
            _ => Ok(()),
        }
    }

    /// Shows a line unless it was shown, and says that it was read.
    async fn show(&mut self, line: ChatLine) -> Result<(), Failure> {
        if line.number <= self.shown {
            return Ok(());
        }
        let (number, unread) = (line.number, line.state == ChatState::Unread);
        self.shown = number;
        // A terminal shows what is typed on it by itself.
        let typed = self.echoed && self.mine.iter().any(|mine| mine.number == number);
        if self.context.ui.json {
            self.context.ui.value(&PeopleEvent::Message(line))?;
        } else if !typed {
            self.context.ui.line(spoken(&line, self.context.ui.out))?;
        }
        if unread {
            self.client.mark_read(self.peer, number).await?;
        }
        Ok(())
    }
}

/// Standard input, line by line, read on a thread of its own: a blocked read cannot be called off,
/// and must not hold up the end of the process.
fn typed() -> mpsc::Receiver<io::Result<String>> {
    let (lines, receiver) = mpsc::channel(TYPED_WAITING);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let failed = line.is_err();
            if lines.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

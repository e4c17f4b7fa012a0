//! `skein chat @name`: a conversation, line by line.

use super::buddies;
use super::chat::{fits, settle, spoken, tell_fate};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::Interrupt;
use crate::ui::dialogue::Dialogue;
use futures_util::StreamExt as _;
use skein_node::api::buddies::{Buddy, PresenceState};
use skein_node::api::chat::{ChatLine, ChatState, MAX_LINES, PeopleEvent, SendChat};
use skein_node::api::types::ErrorCode;
use skein_node::api::{ApiClient, ClientError};
use skein_proto::Username;
use std::time::Duration;
use tokio::time::timeout;

/// How long the directory may take to tell whether somebody is there.
const FIND_PATIENCE: Duration = Duration::from_secs(2);

/// Talks until the end of the input, or Ctrl-C.
///
/// # Errors
/// The daemon does not run or answer, or ends meanwhile.
pub fn run(context: &Context, peer: &Username, last: u32, wait: Duration) -> Result<(), Failure> {
    context::block_on_uninterrupted(async {
        let mut interrupt = Interrupt::listen()?;
        let client = context.client()?;
        // Asked for before the history: nothing that happens in between is missed.
        let mut events = client.people_events().await?;
        let history = client.chat_history(peer, last, 0).await?;
        let prompt = format!("{} ", context.ui.out.faint("you:"));
        let dialogue = Dialogue::open(&prompt, context.ui.json || context.ui.quiet);
        let mut talk = Talk {
            context,
            client: &client,
            peer,
            dialogue,
            presence: None,
            shown: 0,
            said: 0,
            mine: Vec::new(),
            unknown: false,
            unsaid: None,
        };
        talk.show_all(history).await?;
        talk.greet().await?;
        loop {
            tokio::select! {
                line = talk.dialogue.next() => match line {
                    Some(Ok(line)) => talk.say(&line).await?,
                    Some(Err(error)) => {
                        return Err(Failure::failed(format!("cannot read the input: {error}")));
                    }
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => talk.hear(event?).await?,
                    None => return Err(Failure::failed("the daemon has ended")),
                },
                () = interrupt.pressed() => return Ok(()),
            }
        }
        // What was written last may be on its way.
        let wait = if talk.unknown { Duration::ZERO } else { wait };
        let why = tokio::select! {
            settled = settle(&mut events, &mut talk.mine, wait) => settled?,
            () = interrupt.pressed() => None,
        };
        talk.outcome(why).await
    })
}

struct Talk<'a> {
    context: &'a Context,
    client: &'a ApiClient,
    peer: &'a Username,
    dialogue: Dialogue,
    /// How the other one was when that was last told.
    presence: Option<PresenceState>,
    /// The number of the last line that was shown.
    shown: u64,
    /// How many messages the user has written here.
    said: u64,
    /// What the user has said here, as far as it is not delivered.
    mine: Vec<ChatLine>,
    /// Whether the directory knows nobody of that name, as was last said.
    unknown: bool,
    /// Why something of it will never be delivered.
    unsaid: Option<String>,
}

impl Talk<'_> {
    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        if text.trim().is_empty() {
            return Ok(());
        }
        if let Err(failure) = fits(text) {
            return self.refuse(failure.to_string());
        }
        let said = SendChat { to: self.peer.clone(), text: text.to_owned() };
        match self.client.say(&said).await {
            Ok(line) => {
                self.said += 1;
                self.mine.push(line);
                Ok(())
            }
            Err(ClientError::Refused(error)) => self.refuse(error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says why a message was not taken; to a program only once what holds for all that follow.
    fn refuse(&mut self, why: String) -> Result<(), Failure> {
        let is_new = self.unsaid.as_ref() != Some(&why);
        if is_new || self.dialogue.echoes() {
            self.note(&format!("{} {why}", self.context.ui.err.bad("!")))?;
        }
        self.unsaid = Some(why);
        Ok(())
    }

    /// What a program that has written to this is told at the end. A person has seen it already.
    async fn outcome(&self, why: Option<String>) -> Result<(), Failure> {
        if self.dialogue.echoes() {
            return Ok(());
        }
        if self.context.ui.json {
            for line in &self.mine {
                self.context.ui.value(&PeopleEvent::Message(line.clone()))?;
            }
        }
        let refused = self.mine.iter().any(|line| line.state == ChatState::Refused);
        let refused = refused.then(|| self.takes_none());
        if let Some(why) = self.unsaid.clone().or(refused) {
            return Err(Failure::failed(why));
        }
        if self.said == 0 || self.context.ui.json || self.context.ui.quiet {
            return Ok(());
        }
        let queued = self.mine.iter().filter(|line| line.state == ChatState::Queued).count();
        tell_fate(self.context, self.client, self.peer, queued as u64, why).await
    }

    fn takes_none(&self) -> String {
        format!("@{} takes no messages of yours", self.peer)
    }

    async fn hear(&mut self, event: PeopleEvent) -> Result<(), Failure> {
        match event {
            PeopleEvent::Message(line) if line.peer == *self.peer => self.on_line(line).await,
            PeopleEvent::Waiting { peer, reason, unknown } if peer == *self.peer => {
                self.unknown = unknown;
                self.note(&format!("{} queued: {reason}", self.context.ui.err.warn("…")))
            }
            PeopleEvent::Buddy(buddy) if buddy.name == *self.peer => self.on_buddy(&buddy),
            PeopleEvent::Missed => {
                let missed = self.client.chat_history(self.peer, MAX_LINES, self.shown).await?;
                self.show_all(missed).await
            }
            _ => Ok(()),
        }
    }

    /// Says whether the other one is there.
    async fn greet(&mut self) -> Result<(), Failure> {
        if self.context.ui.json || self.context.ui.quiet {
            return Ok(());
        }
        let buddies = self.client.buddies().await?;
        if let Some(buddy) = buddies.iter().find(|buddy| buddy.name == *self.peer) {
            return self.on_buddy(buddy);
        }
        let nodes = match timeout(FIND_PATIENCE, self.client.find(self.peer)).await {
            Ok(Ok(nodes)) => nodes,
            Ok(Err(ClientError::Refused(error))) if error.code == ErrorCode::NotFound => {
                let mark = self.context.ui.err.warn("!");
                return self.note(&format!(
                    "{mark} {error}. What you write waits until somebody of that name is there."
                ));
            }
            // What becomes of messages tells it soon enough.
            _ => return Ok(()),
        };
        let state = match nodes.iter().any(|node| node.online) {
            true => self.context.ui.err.good("online"),
            false => "offline".to_owned(),
        };
        self.note(&format!("· @{} is {state}", self.peer))
    }

    fn on_buddy(&mut self, buddy: &Buddy) -> Result<(), Failure> {
        let paint = self.context.ui.err;
        if self.presence.replace(buddy.presence) != Some(buddy.presence) {
            let state = buddies::presence(buddy, context::now(), paint);
            self.note(&format!("· @{} is {state}", buddy.name))?;
        }
        match buddies::warning(buddy, paint) {
            Some(warning) => self.note(&warning),
            None => Ok(()),
        }
    }

    /// A message is new, or something has become of one.
    async fn on_line(&mut self, line: ChatLine) -> Result<(), Failure> {
        if line.number > self.shown {
            return self.show(line).await;
        }
        if line.state == ChatState::Refused {
            let why = self.takes_none();
            self.note(&format!("{} {why}", self.context.ui.err.bad("!")))?;
            self.unsaid = Some(why);
        }
        if line.state != ChatState::Queued {
            self.mine.retain(|mine| mine.number != line.number);
        }
        match self.context.ui.json {
            true => self.context.ui.value(&PeopleEvent::Message(line)),
            false => Ok(()),
        }
    }

    async fn show_all(&mut self, lines: Vec<ChatLine>) -> Result<(), Failure> {
        for line in lines {
            self.show(line).await?;
        }
        Ok(())
    }

    /// Shows a line, and says that it was read.
    async fn show(&mut self, line: ChatLine) -> Result<(), Failure> {
        let (number, unread) = (line.number, line.state == ChatState::Unread);
        self.shown = self.shown.max(number);
        let typed = self.dialogue.echoes() && self.mine.iter().any(|mine| mine.number == number);
        if line.state != ChatState::Queued {
            self.mine.retain(|mine| mine.number != number);
        }
        if self.context.ui.json {
            self.context.ui.value(&PeopleEvent::Message(line))?;
        } else if !typed {
            self.dialogue.show(&spoken(&line, self.context.ui.out))?;
        }
        if unread {
            self.client.mark_read(self.peer, number).await?;
        }
        Ok(())
    }

    /// Says something that nobody has said.
    fn note(&mut self, text: &str) -> Result<(), Failure> {
        if self.dialogue.is_editor() {
            return self.dialogue.show(text);
        }
        self.context.ui.note(text);
        Ok(())
    }
}

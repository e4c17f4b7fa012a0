//! `skein send`.

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::process::Interrupt;
use crate::ui::paint::Paint;
use crate::ui::{format, progress};
use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use skein_node::api::ApiClient;
use skein_node::api::inbox::{FileOffer, OfferStage, SendFile};
use skein_node::sessions::PeerName;
use std::path::PathBuf;

/// Sends a file to a person, who is asked first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein send @bob song.flac                offer it, and wait until it is there
  skein send @bob song.flac --note \"the one from Friday\"
  skein send @bob song.flac --detach       the node goes on by itself: see `skein inbox --sent`

The other side sees the offer in `skein inbox` and accepts or refuses it; nothing is sent before. An
offer to somebody who is not online waits until they are, for a week at most. Ctrl-C takes it back.
Exit codes: 0 the file is there, or with --detach offered; 1 it was refused or did not work; 2 there
is no such file, or that names no person.")]
pub struct SendArgs {
    /// Who is to have it: @NAME, or @NAME/NODE for one of several nodes
    #[arg(value_name = "@NAME")]
    peer: PeerName,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A line of text beside it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Do not wait: the node goes on by itself
    #[arg(long)]
    detach: bool,
}

/// Offers it, and waits for the end.
///
/// # Errors
/// The daemon does not run or answer, there is no such file, it is refused, or does not arrive.
pub fn run(context: &Context, args: SendArgs) -> Result<(), Failure> {
    let wrong = |error| Failure::input(Failure::file("read", &args.file, &error).to_string());
    let path = std::fs::canonicalize(&args.file).map_err(wrong)?;
    if matches!(args.peer, PeerName::Node(_)) {
        return Err(Failure::input("a file is for a person: give @NAME"));
    }
    let file = SendFile { peer: args.peer.to_string(), path, note: args.note };
    // Interrupting means something of its own here, so this waits for Ctrl-C itself.
    context::block_on_uninterrupted(async {
        let mut interrupt = Interrupt::listen()?;
        let client = context.client()?;
        // Listening before it begins, so that nothing is missed.
        let mut events = client.watch_offers().await?;
        let (mut last, stopped) = {
            let sending = client.send_file(&file);
            tokio::pin!(sending);
            let mut stopped = false;
            loop {
                tokio::select! {
                    // It listens for Ctrl-C before anything is offered: what the daemon was asked
                    // to do is to be taken back.
                    biased;
                    () = interrupt.pressed(), if !stopped => stopped = true,
                    sent = &mut sending => break (sent?, stopped),
                }
            }
        };
        if stopped {
            return take_back(&client, last.id).await;
        }
        if args.detach {
            return context.ui.done(&last, |offer, paint| {
                format!(
                    "{} Offer {} of {} to @{}: `skein inbox --sent` tells how it goes.",
                    paint.good("✓"),
                    offer.id,
                    offer.name,
                    offer.peer
                )
            });
        }
        let mut view = View::new(context, &last);
        view.show(&last)?;
        while !last.state.is_final() {
            tokio::select! {
                // The order of the two matters only when both are there: the end wins.
                biased;
                event = events.next() => match event {
                    Some(Ok(event)) if event.id == last.id => {
                        last = event;
                        view.show(&last)?;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        view.bar.finish_and_clear();
                        return Err(Failure::failed(
                            "the daemon went away; the offer is kept, and goes on when it is \
                             started again: see `skein inbox --sent`",
                        ));
                    }
                },
                () = interrupt.pressed() => {
                    view.bar.finish_and_clear();
                    return take_back(&client, last.id).await;
                }
            }
        }
        view.bar.finish_and_clear();
        finish(context, &last)
    })
}

async fn take_back(client: &ApiClient, id: u64) -> Result<(), Failure> {
    client.withdraw_offer(id).await?;
    Err(Failure::interrupted_with("stopped; the offer is taken back"))
}

/// What is seen while it runs.
struct View<'a> {
    context: &'a Context,
    bar: ProgressBar,
    said: Option<String>,
}

impl<'a> View<'a> {
    fn new(context: &'a Context, offer: &FileOffer) -> Self {
        Self { context, bar: progress::download_bar(&context.ui, Some(offer.size)), said: None }
    }

    fn show(&mut self, offer: &FileOffer) -> Result<(), Failure> {
        if self.context.ui.json {
            return self.context.ui.value(offer);
        }
        let words = words(offer);
        self.bar.set_length(offer.size);
        self.bar.set_position(offer.bytes);
        self.bar.set_message(words.clone());
        // Where no bar shows it, each step is said once.
        if !self.context.ui.is_animated()
            && !offer.state.is_final()
            && self.said.as_ref() != Some(&words)
        {
            self.context.ui.note(&words);
            self.said = Some(words);
        }
        Ok(())
    }
}

/// How an offer of one's own stands, in words.
pub fn words(offer: &FileOffer) -> String {
    let peer = &offer.peer;
    let words = match &offer.state {
        OfferStage::Hashing => "reading the file".to_owned(),
        OfferStage::Queued => format!("not delivered to @{peer} yet"),
        OfferStage::Offered => format!("offered: @{peer} decides"),
        OfferStage::Accepted => format!("accepted by @{peer}"),
        OfferStage::Done => format!("@{peer} has it"),
        OfferStage::Refused => format!("@{peer} does not want it"),
        OfferStage::Withdrawn => "taken back".to_owned(),
        OfferStage::Expired => "expired: it was not fetched in time".to_owned(),
        OfferStage::Failed { reason } => reason.clone(),
    };
    match &offer.waits {
        Some(why) => format!("{words}: {why}"),
        None => words,
    }
}

fn finish(context: &Context, offer: &FileOffer) -> Result<(), Failure> {
    match &offer.state {
        OfferStage::Done if context.ui.json => Ok(()),
        OfferStage::Done => context.ui.line(done_line(offer, context.ui.out)),
        _ => Err(Failure::failed(format!("{} was not sent: {}", offer.name, words(offer)))),
    }
}

fn done_line(offer: &FileOffer, paint: Paint) -> String {
    let (name, size) = (paint.strong(&offer.name), format::bytes(offer.size));
    format!("{} {name}  {size}, verified by @{}", paint.good("✓"), offer.peer)
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use skein_proto::Username;

    /// An offer of 1,000 bytes to or from alice.
    pub fn offer(outgoing: bool, state: OfferStage) -> FileOffer {
        FileOffer {
            id: 7,
            peer: Username::parse("alice").expect("a name"),
            outgoing,
            name: "song.flac".to_owned(),
            size: 1_000,
            content: None,
            note: "for you".to_owned(),
            state,
            bytes: 250,
            path: None,
            waits: None,
            since: 0,
            expires: 0,
        }
    }

    #[test]
    fn the_words_say_who_decides_and_what_is_waited_for() {
        assert_eq!(words(&offer(true, OfferStage::Offered)), "offered: @alice decides");
        let mut queued = offer(true, OfferStage::Queued);
        queued.waits = Some("@alice is not online".to_owned());
        assert_eq!(words(&queued), "not delivered to @alice yet: @alice is not online");
        let done = done_line(&offer(true, OfferStage::Done), Paint::PLAIN);
        assert!(done.contains("song.flac") && done.ends_with("verified by @alice"), "{done}");
    }
}

//! The words that the command line understands.

use crate::commands;
use crate::failure::{self, Failure};
use crate::ui::ColorChoice;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Shown below the list of commands.
const FIRST_STEPS: &str = "\
First steps:
  skein demo                               see a whole network run on this machine
  skein register NAME --ticket skein1…     take a name in a network
  skein up --share ~/Music                 run the node, and share a folder
  skein search some words                  look for something
  skein get 1                              fetch the first hit

Exit codes: 0 it worked; 1 it failed; 2 wrong input; called off before it was done: 130 by Ctrl-C,
143 by SIGTERM.
What goes on until Ctrl-C (up, login-server, forward, chat, ping, what watches) ends with 0 by it.
Why it failed is one line of text on standard error, with --json too.
Environment: SKEIN_DATA_DIR and the other settings (`skein config example`), SKEIN_CONFIG
(--config), SKEIN_PASSWORD (register, login, revoke), SKEIN_LOG (a filter of the log, such as
`skein_net=trace,info`), NO_COLOR.";

/// Run a node, search by keyword, reach peers by name.
#[derive(Debug, Parser)]
#[command(name = "skein", version, after_help = FIRST_STEPS, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for all commands")]
pub struct GlobalArgs {
    /// The data folder: keys, settings, library [default: the platform's place for it]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The settings file [default: the platform's place for it, see `skein config path`]
    #[arg(long, global = true, env = "SKEIN_CONFIG", hide_env = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print results for programs, one JSON value a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more: -v shows details and logs from "debug" on, -vv logs everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node: join the network, share folders, serve the local API
    Up(commands::up::UpArgs),
    /// End the node that runs, and wait until it has ended
    Down(commands::down::DownArgs),
    /// Show how the node is doing
    Status(commands::status::StatusArgs),
    /// Take a new name in a network
    Register(commands::account::RegisterArgs),
    /// Add this node to a name that you have
    Login(commands::account::LoginArgs),
    /// Cast a lost or stolen node of yours out
    Revoke(commands::revoke::RevokeArgs),
    /// Show who this node is
    Whoami(commands::whoami::WhoamiArgs),
    /// Explain the reputation of your name
    Reputation(commands::reputation::ReputationArgs),
    /// Share folders, or stop sharing them
    #[command(subcommand)]
    Share(commands::share::ShareCommand),
    /// Look for files by words
    Search(commands::search::SearchArgs),
    /// Be told of files as soon as anyone shares them
    #[command(subcommand)]
    Wish(commands::wish::WishCommand),
    /// Find the nodes of a user, and whether they are online
    Find(commands::find::FindArgs),
    /// Find out how a peer is reached, and how long it takes
    Ping(commands::ping::PingArgs),
    /// Show what this node gives away as a relay, or change it
    Relay(commands::relay::RelayArgs),
    /// Fetch a file, verified as it arrives
    Get(commands::get::GetArgs),
    /// List the downloads, cancel one, or forget one that is over
    Downloads(commands::downloads::DownloadsArgs),
    /// Talk with somebody, or see what was said
    Chat(commands::chat::ChatArgs),
    /// List buddies and whether they are there, or change who they are
    Buddies(commands::buddies::BuddiesArgs),
    /// Send a file to a person, who is asked first
    Send(commands::send::SendArgs),
    /// Files that others want to give you: accept or refuse them
    Inbox(commands::inbox::InboxArgs),
    /// Connect standard input and output with a service of a peer
    Pipe(commands::pipe::PipeArgs),
    /// Make a local port a service of a peer
    Forward(commands::forward::ForwardArgs),
    /// Offer ports of this machine to certain users
    #[command(subcommand)]
    Service(commands::service::ServiceCommand),
    /// List who this node is connected to
    Peers(commands::peers::PeersArgs),
    /// Print the network ticket that newcomers need
    Ticket(commands::ticket::TicketArgs),
    /// Check, show or find the settings
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Run the login service of a network of your own
    LoginServer(commands::login_server::LoginServerArgs),
    /// See a whole network of real processes work on this machine
    Demo(commands::demo::DemoArgs),
    /// Print what your shell needs to complete commands
    Completions(commands::completions::CompletionsArgs),
    /// Write the manual pages
    Man(commands::man::ManArgs),
    /// Print the version, as `--version` does
    #[command(hide = true)]
    Version,
}

/// Reads the command line; prints help and the version itself.
///
/// # Errors
/// The words are wrong: a [`Failure`] that says which and what to do.
pub fn parse() -> Result<Cli, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let command = Cli::command().color(help_color(&words));
    let parsed = command.try_get_matches_from(&words);
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(cli),
        Err(error) => Err(explain(&error, &words)),
    }
}

/// Help and version are results, and end the process at once; everything else is a mistake.
fn explain(error: &clap::Error, words: &[OsString]) -> Failure {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        // Without any words the whole help is worth more than one line about what is missing.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => failure::from_clap(error, words),
    }
}

/// Whether help is painted: `--color` has to be looked up by hand, since help is printed while
/// the words are still being read.
fn help_color(words: &[OsString]) -> clap::ColorChoice {
    let mut choice = clap::ColorChoice::Auto;
    for (at, word) in words.iter().enumerate() {
        let given = match word.to_str() {
            Some("--") => break,
            Some("--color") => words.get(at + 1).and_then(|next| next.to_str()),
            Some(word) => word.strip_prefix("--color="),
            None => None,
        };
        choice = match given {
            Some("always") => clap::ColorChoice::Always,
            Some("never") => clap::ColorChoice::Never,
            _ => choice,
        };
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All commands that are shown to users, with the words that lead to them.
    fn all_commands(command: &clap::Command, words: &str, out: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let words = format!("{words} {}", sub.get_name());
            out.push((words.clone(), sub.clone()));
            all_commands(sub, &words, out);
        }
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example_of_it() {
        let mut commands = Vec::new();
        all_commands(&Cli::command(), "skein", &mut commands);
        assert!(commands.len() > 20, "only {} commands were found", commands.len());
        for (words, command) in commands {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("Examples:\n"), "`{words}` has no examples");
            let first = examples.lines().nth(1).unwrap_or_default().trim_start();
            assert!(first.contains(&words), "the first example of `{words}` shows {first:?}");
        }
    }

    #[test]
    fn every_example_of_a_skein_command_is_understood() {
        let login_key = skein_proto::NodeId::from_bytes([7; 32]);
        let ticket = skein_proto::Ticket::new(login_key, ["host:1".to_owned()]);
        let ticket = ticket.expect("the address is right").to_string();
        let mut commands = Vec::new();
        all_commands(&Cli::command(), "skein", &mut commands);
        for (words, command) in commands {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in examples.lines().skip(1) {
                let example = line.trim().split("   ").next().unwrap_or_default();
                let plain = example.split(['|', '>', '<', '(', ';']).next().unwrap_or_default();
                if !plain.starts_with("skein ") {
                    continue;
                }
                let plain = plain.replace("skein1…", &ticket);
                let parsed = Cli::try_parse_from(shell_words(&plain));
                assert!(parsed.is_ok(), "`{words}`: {plain:?}: {:?}", parsed.err());
            }
        }
    }

    /// The calls of `skein` in a text: the lines of its shell blocks, and what stands between
    /// backquotes, unless it only names a command in general.
    fn calls(text: &str) -> Vec<String> {
        let mut calls = Vec::new();
        for (nth, block) in text.split("```").enumerate() {
            if nth % 2 == 1 {
                let lines = block.lines().filter(|_| block.starts_with("sh\n"));
                calls.extend(lines.map(str::to_owned));
            } else {
                calls.extend(block.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        calls.retain(|call| call.starts_with("skein ") && !call.contains("COMMAND"));
        calls
    }

    #[test]
    fn what_the_readme_tells_to_run_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = std::fs::read_to_string(root.join("README.md")).expect("it is there");
        let login_key = skein_proto::NodeId::from_bytes([7; 32]);
        let ticket = skein_proto::Ticket::new(login_key, ["host:1".to_owned()]);
        let ticket = ticket.expect("the address is right").to_string();
        let calls = calls(&text);
        assert!(calls.len() > 40, "only {} were found", calls.len());
        for call in calls {
            let plain = call.split('#').next().unwrap_or_default().replace("skein1…", &ticket);
            let plain = plain.trim().trim_end_matches(" &");
            let parsed = Cli::try_parse_from(shell_words(plain));
            assert!(parsed.is_ok(), "{call:?}: {:?}", parsed.err());
        }
    }

    /// Splits at spaces outside double quotes: as much of a shell as the examples need.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.trim().chars() {
            match c {
                '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().expect("there is always one word").push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn the_colour_of_help_is_what_was_asked_for() {
        let choice = |words: &[&str]| {
            help_color(&words.iter().map(OsString::from).collect::<Vec<OsString>>())
        };
        assert_eq!(choice(&["skein", "--help"]), clap::ColorChoice::Auto);
        assert_eq!(choice(&["skein", "--color", "never", "-h"]), clap::ColorChoice::Never);
        assert_eq!(choice(&["skein", "-h", "--color=always"]), clap::ColorChoice::Always);
        assert_eq!(choice(&["skein", "search", "--", "--color=always"]), clap::ColorChoice::Auto);
    }

    #[test]
    fn options_for_all_commands_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["skein", "status", "--json", "--data-dir", "/tmp/x"])
            .expect("the words are right");
        assert!(cli.global.json);
        assert_eq!(cli.global.data_dir.as_deref(), Some(std::path::Path::new("/tmp/x")));
    }
}

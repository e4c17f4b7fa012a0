//! One file for each command: the words it takes and what it does.

pub mod account;
pub mod buddies;
pub mod chat;
pub mod completions;
pub mod config;
pub mod demo;
pub mod down;
pub mod downloads;
pub mod find;
pub mod forward;
pub mod get;
pub mod inbox;
pub mod login_server;
pub mod man;
pub mod network;
pub mod peers;
pub mod ping;
pub mod pipe;
pub mod public;
pub mod relay;
pub mod reputation;
pub mod revoke;
pub mod scan;
pub mod search;
pub mod send;
pub mod service;
pub mod share;
pub mod status;
pub mod talk;
pub mod ticket;
pub mod up;
pub mod whoami;
pub mod wish;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

/// Does what was asked for.
///
/// # Errors
/// Those of the command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(&cli.global);
    let done = dispatch(&context, cli.command);
    done.map_err(|failure| failure.reworded(|message| context.ui.addressed(message)))
}

fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(context, args),
        Command::Down(args) => down::run(context, args),
        Command::Status(args) => status::run(context, args),
        Command::Register(args) => account::register(context, args),
        Command::Login(args) => account::login(context, args),
        Command::Revoke(args) => revoke::run(context, args),
        Command::Whoami(args) => whoami::run(context, args),
        Command::Reputation(args) => reputation::run(context, args),
        Command::Share(command) => share::run(context, command),
        Command::Search(args) => search::run(context, args),
        Command::Wish(command) => wish::run(context, command),
        Command::Find(args) => find::run(context, args),
        Command::Ping(args) => ping::run(context, args),
        Command::Relay(args) => relay::run(context, args),
        Command::Get(args) => get::run(context, args),
        Command::Downloads(args) => downloads::run(context, args),
        Command::Chat(args) => chat::run(context, args),
        Command::Buddies(args) => buddies::run(context, args),
        Command::Send(args) => send::run(context, args),
        Command::Inbox(args) => inbox::run(context, args),
        Command::Pipe(args) => pipe::run(context, args),
        Command::Forward(args) => forward::run(context, args),
        Command::Service(command) => service::run(context, command),
        Command::Peers(args) => peers::run(context, args),
        Command::Ticket(args) => ticket::run(context, args),
        Command::Config(command) => config::run(context, command),
        Command::LoginServer(args) => login_server::run(context, args),
        Command::Demo(args) => demo::run(context, args),
        Command::Completions(args) => completions::run(context, args),
        Command::Man(args) => man::run(context, args),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            let value = serde_json::json!({ "version": version });
            context.ui.result(&value, |_, _| format!("skein {version}"))
        }
    }
}

//! `skein register` and `skein login`.

use super::network;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::password::PasswordArgs;
use crate::ui::paint::Paint;
use crate::ui::progress;
use clap::Args;
use skein_node::account::{AccountError, Session};
use skein_node::api::ApiClient;
use skein_node::api::types::{Identity, LoginAccount, RegisterAccount};
use skein_node::home::Home;
use skein_proto::{Ticket, Username};
use std::future::Future;

/// Takes a new name in a network.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein register alice --ticket skein1…    the ticket is from whoever runs the network
  skein register alice --invite k3v9       where the network is by invitation
  skein register alice --password-file pw.txt
  skein register alice --password-file - < pw.txt
The password, of 8 characters at least, is asked for, or taken from --password-file or
SKEIN_PASSWORD; it is never an argument, which others on this machine could read.")]
pub struct RegisterArgs {
    /// The name: 2 to 32 letters, digits, '-', '_' or '.'
    name: Username,
    /// The network ticket; needed the first time only
    #[arg(long, value_name = "TICKET", value_parser = ticket)]
    ticket: Option<String>,
    /// An invite code, where the network asks for one
    #[arg(long, value_name = "CODE")]
    invite: Option<String>,
    /// Leave the network that this node is in; its name there is forgotten on this machine
    #[arg(long, requires = "ticket")]
    replace_network: bool,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Adds this node to a name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein login alice                        on a second machine of yours
  skein login alice --ticket skein1…       where this node is in no network yet
  skein login alice --password-file pw.txt
The password is asked for, or taken from --password-file or SKEIN_PASSWORD.")]
pub struct LoginArgs {
    /// Your name
    name: Username,
    /// The network ticket; needed the first time only
    #[arg(long, value_name = "TICKET", value_parser = ticket)]
    ticket: Option<String>,
    /// Leave the network that this node is in; its name there is forgotten on this machine
    #[arg(long, requires = "ticket")]
    replace_network: bool,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Takes the ticket as it was typed, once it is known to be one.
pub fn ticket(text: &str) -> Result<String, String> {
    // The examples in the help write an ellipsis for a ticket; who types it is told what it means.
    text.parse::<Ticket>().map(|ticket| ticket.to_string()).map_err(|error| error.to_string())
}

/// Registers: through the daemon if one runs, else directly.
///
/// # Errors
/// There is no ticket or no password, the login service says no, or it does not answer.
pub fn register(context: &Context, args: RegisterArgs) -> Result<(), Failure> {
    let home = context.home()?;
    // What can be known to fail is said before a password has to be typed.
    let ticket = args.ticket.as_deref();
    need_ticket(context, &home, ticket, "register", &args.name)?;
    keep_network(&home, ticket, args.replace_network)?;
    let account = RegisterAccount {
        name: args.name.to_string(),
        password: args.password.for_new_account()?,
        invite: args.invite,
        ticket: args.ticket,
        replace_network: args.replace_network,
    };
    let at = service_address(&home, account.ticket.as_deref());
    let has_ticket = home.ticket()?.is_some();
    let (identity, is_up) = ask(context, &at, async {
        match running(&home)? {
            Some(client) => Ok((client.register(&account).await?, true)),
            None => {
                let session = Session::open(&home)?;
                let joined = session.register(account).await;
                session.close().await;
                Ok((joined?.identity, false))
            }
        }
    })
    .map_err(|failure| failure.reworded(|why| with_login(why, &args.name, has_ticket)))?;
    context.ui.done(&identity, |identity, paint| welcome(identity, "is yours", paint))?;
    context.ui.note(next_step(context, is_up));
    Ok(())
}

/// Logs in: through the daemon if one runs, else directly.
///
/// # Errors
/// There is no ticket or no password, the login service says no, or it does not answer.
pub fn login(context: &Context, args: LoginArgs) -> Result<(), Failure> {
    let home = context.home()?;
    let ticket = args.ticket.as_deref();
    need_ticket(context, &home, ticket, "login", &args.name)?;
    keep_network(&home, ticket, args.replace_network)?;
    let account = LoginAccount {
        name: args.name.to_string(),
        password: args.password.for_existing_account()?,
        ticket: args.ticket,
        replace_network: args.replace_network,
    };
    let at = service_address(&home, account.ticket.as_deref());
    let (identity, is_up) = ask(context, &at, async {
        match running(&home)? {
            Some(client) => Ok((client.login(&account).await?, true)),
            None => {
                let session = Session::open(&home)?;
                let joined = session.login(account).await;
                session.close().await;
                Ok((joined?.identity, false))
            }
        }
    })?;
    context
        .ui
        .done(&identity, |identity, paint| welcome(identity, "is the name of this node", paint))?;
    context.ui.note(next_step(context, is_up));
    Ok(())
}

/// Why a name was not had; the way to log in with it is told as it has to be typed here.
fn with_login(why: &str, name: &Username, has_ticket: bool) -> String {
    let ticket = if has_ticket { "" } else { " --ticket TICKET" };
    why.replace("`skein login`", &format!("`skein login {name}{ticket}`"))
}

/// Runs `work` under a spinner. It gives who the node is now, and whether its daemon runs.
fn ask(
    context: &Context,
    at: &str,
    work: impl Future<Output = Result<(Identity, bool), Failure>>,
) -> Result<(Identity, bool), Failure> {
    let spinner = progress::spinner(&context.ui, format!("asking the login service{at}…"));
    let answer = context::block_on(work);
    spinner.finish_and_clear();
    answer
}

/// Where the login service is, by the ticket that was given or else the one that is kept.
fn service_address(home: &Home, given: Option<&str>) -> String {
    let ticket = match given {
        Some(text) => text.parse().ok(),
        None => home.ticket().ok().flatten(),
    };
    ticket.map_or_else(String::new, |ticket: Ticket| {
        let addresses: Vec<&str> = ticket.addresses.iter().map(|at| at.as_str()).collect();
        format!(" at {}", addresses.join(", "))
    })
}

/// A client of the daemon, if one runs on this data folder.
pub(super) fn running(home: &Home) -> Result<Option<ApiClient>, Failure> {
    match ApiClient::from_home(home) {
        Ok(client) => Ok(Some(client)),
        Err(error) if error.is_not_running() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Compares the networks before anything is asked or written.
fn keep_network(home: &Home, given: Option<&str>, replace: bool) -> Result<(), Failure> {
    let Some(ticket) = given.filter(|_| !replace) else { return Ok(()) };
    let ticket: Ticket = ticket.parse().map_err(AccountError::BadTicket)?;
    let way_on = "add --replace-network to forget that name here";
    network::same_network(home, &ticket, way_on)
}

fn need_ticket(
    context: &Context,
    home: &Home,
    given: Option<&str>,
    command: &str,
    name: &Username,
) -> Result<(), Failure> {
    if given.is_some() || home.ticket()?.is_some() {
        return Ok(());
    }
    let data_dir = context.data_dir_words();
    Err(Failure::input(format!(
        "this node is in no network yet: ask whoever runs the network for the ticket, and run \
         `skein{data_dir} {command} {name} --ticket TICKET`"
    )))
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NoTicket
            | AccountError::BadTicket(_)
            | AccountError::BadName(_)
            | AccountError::NoSuchNode { .. }
            | AccountError::OtherNetwork(_) => Self::input(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

fn welcome(identity: &Identity, verb: &str, paint: Paint) -> String {
    let name = identity.name.as_ref().map_or_else(String::new, |name| format!("@{name}"));
    format!(
        "{} {} {verb}; this node is {}.",
        paint.good("✓"),
        paint.name(name),
        identity.node.short(),
    )
}

fn next_step(context: &Context, is_up: bool) -> String {
    let paint = context.ui.err;
    let command = |word: &str| paint.key(format!("`skein{} {word}`", context.data_dir_words()));
    let status = command("status");
    if is_up {
        return format!("  next: {status} shows how it is doing");
    }
    format!("  next: {} runs the node, {status} shows how it is doing", command("up"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::Cli;
    use clap::Parser as _;
    use skein_proto::login::LoginRefusal;

    #[test]
    fn without_a_ticket_the_user_is_told_how_to_give_one() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::at(temp.path());
        let name = Username::parse("alice").unwrap();
        let context = Context::new(&Cli::try_parse_from(["skein", "status"]).unwrap().global);
        let failure = need_ticket(&context, &home, None, "register", &name).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("skein register alice --ticket"), "{failure}");
        assert!(need_ticket(&context, &home, Some("skein1…"), "register", &name).is_ok());
    }

    #[test]
    fn a_name_that_is_taken_is_answered_with_the_login_that_works_here() {
        let (taken, name) =
            (LoginRefusal::NameTaken.to_string(), Username::parse("alice").unwrap());
        let new = with_login(&taken, &name, false);
        assert!(new.contains("choose another"), "{new}");
        assert!(new.contains("`skein login alice --ticket TICKET`"), "{new}");
        assert!(with_login(&taken, &name, true).contains("`skein login alice`"));
    }

    #[test]
    fn a_damaged_ticket_is_told_from_something_else() {
        assert!(ticket("hello").unwrap_err().contains("begins with"));
        assert!(ticket("skein1qqqq").unwrap_err().contains("damaged"));
    }
}

//! `skein register` and `skein login`.

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
The password is asked for, or taken from --password-file or SKEIN_PASSWORD; it is never an
argument, which others on this machine could read.")]
pub struct RegisterArgs {
    /// The name: 2 to 32 letters, digits, '-', '_' or '.'
    name: Username,
    /// The network ticket; needed the first time only
    #[arg(long, value_name = "TICKET", value_parser = ticket)]
    ticket: Option<String>,
    /// An invite code, where the network asks for one
    #[arg(long, value_name = "CODE")]
    invite: Option<String>,
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
    need_ticket(&home, args.ticket.as_deref(), "register", &args.name)?;
    let account = RegisterAccount {
        name: args.name.to_string(),
        password: args.password.for_new_account()?,
        invite: args.invite,
        ticket: args.ticket,
    };
    let identity = ask(context, async {
        match running(&home)? {
            Some(client) => Ok(client.register(&account).await?),
            None => {
                let session = Session::open(&home)?;
                let joined = session.register(account).await;
                session.close().await;
                Ok(joined?.identity)
            }
        }
    })?;
    context.ui.result(&identity, |identity, paint| welcome(context, identity, "is yours", paint))
}

/// Logs in: through the daemon if one runs, else directly.
///
/// # Errors
/// There is no ticket or no password, the login service says no, or it does not answer.
pub fn login(context: &Context, args: LoginArgs) -> Result<(), Failure> {
    let home = context.home()?;
    need_ticket(&home, args.ticket.as_deref(), "login", &args.name)?;
    let account = LoginAccount {
        name: args.name.to_string(),
        password: args.password.for_existing_account()?,
        ticket: args.ticket,
    };
    let identity = ask(context, async {
        match running(&home)? {
            Some(client) => Ok(client.login(&account).await?),
            None => {
                let session = Session::open(&home)?;
                let joined = session.login(account).await;
                session.close().await;
                Ok(joined?.identity)
            }
        }
    })?;
    context.ui.result(&identity, |identity, paint| {
        welcome(context, identity, "is the name of this node", paint)
    })
}

fn ask(
    context: &Context,
    work: impl Future<Output = Result<Identity, Failure>>,
) -> Result<Identity, Failure> {
    let spinner = progress::spinner(&context.ui, "asking the login service…");
    let identity = context::block_on(work);
    spinner.finish_and_clear();
    identity
}

/// A client of the daemon, if one runs on this data folder.
fn running(home: &Home) -> Result<Option<ApiClient>, Failure> {
    match ApiClient::from_home(home) {
        Ok(client) => Ok(Some(client)),
        Err(error) if error.is_not_running() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn need_ticket(
    home: &Home,
    given: Option<&str>,
    command: &str,
    name: &Username,
) -> Result<(), Failure> {
    if given.is_some() || home.ticket()?.is_some() {
        return Ok(());
    }
    Err(Failure::input(format!(
        "this node is in no network yet: ask whoever runs the network for the ticket, and run \
         `skein {command} {name} --ticket TICKET`"
    )))
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NoTicket | AccountError::BadTicket(_) | AccountError::BadName(_) => {
                Self::input(error.to_string())
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

fn welcome(context: &Context, identity: &Identity, verb: &str, paint: Paint) -> String {
    let name = identity.name.as_ref().map_or_else(String::new, |name| format!("@{name}"));
    let skein = format!("skein{}", context.data_dir_words());
    format!(
        "{} {} {verb}; this node is {}.\n  next: {} runs the node, {} shows how it is doing",
        paint.good("✓"),
        paint.name(name),
        identity.node.short(),
        paint.key(format!("{skein} up")),
        paint.key(format!("{skein} status")),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_a_ticket_the_user_is_told_how_to_give_one() {
        let temp = tempfile::tempdir().unwrap();
        let home = Home::at(temp.path());
        let name = Username::parse("alice").unwrap();
        let failure = need_ticket(&home, None, "register", &name).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("skein register alice --ticket"), "{failure}");
        assert!(need_ticket(&home, Some("skein1…"), "register", &name).is_ok());
    }

    #[test]
    fn a_damaged_ticket_is_told_from_something_else() {
        assert!(ticket("hello").unwrap_err().contains("begins with"));
        assert!(ticket("skein1qqqq").unwrap_err().contains("damaged"));
    }
}

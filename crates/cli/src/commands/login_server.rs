//! `skein login-server`.

use super::public;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::logging;
use crate::place;
use crate::process::{Reason, Shutdown};
use crate::ui::paint::Paint;
use crate::value;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use skein_login::server::{LoginConfig, Policy, Server, StartError};
use skein_net::BindError;
use skein_node::config::TcpPorts;
use skein_node::config::{LogFormat, LogLevel};
use skein_node::home::{Home, HomeError, InstanceLock};
use skein_proto::Ticket;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the login service of a network.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  skein login-server                       a network of your own; prints the ticket for newcomers
  skein login-server --public login.example.org:4700
                                           the address that newcomers reach it at
  skein login-server --policy invite       only for those who have a code …
  skein login-server invite                … such as this one
  skein login-server --database postgres://skein@db/skein
It keeps its key in the data folder: whoever has that key is the network. Back it up."
)]
pub struct LoginServerArgs {
    #[command(subcommand)]
    command: Option<LoginServerCommand>,
    /// The UDP address to listen on; port 0 takes a free one [default: [::]:4700]
    #[arg(long, value_name = "ADDR", value_parser = value::listen_address)]
    listen: Option<SocketAddr>,
    /// Where nodes whose network blocks UDP may come in over TCP; auto: at the number of the UDP port
    /// and at 443, same-port: not at 443, off: nowhere [default: auto]
    #[arg(long, value_name = "PORTS", value_parser = value::tcp_ports())]
    tcp: Option<TcpPorts>,
    #[command(flatten)]
    store: StoreArgs,
    /// Who may register
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyChoice,
    /// An address (host:port) at which newcomers reach it, for the ticket; up to 8 of them.
    /// Without a port, that of --listen is taken [default: this machine's own]
    #[arg(long, value_name = "ADDR", num_args = 1..=8, value_parser = public::checked)]
    public: Vec<String>,
    /// How long credentials are good for, from 1m to 30days: so long may a revoked node go on
    /// [default: 1day]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    credential_lifetime: Option<Duration>,
    /// How log messages look
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormatChoice,
    /// End when standard input ends
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

#[derive(Debug, Subcommand)]
enum LoginServerCommand {
    /// Make an invite code that lets one name in; the service may run meanwhile
    #[command(after_help = "\
Examples:
  skein login-server invite                a code that is good for a week
  skein login-server invite --valid-for 1h --count 5")]
    Invite(InviteArgs),
}

#[derive(Debug, Args)]
struct InviteArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How long the code is good for
    #[arg(long, value_name = "TIME", default_value = "7days", value_parser = value::duration)]
    valid_for: Duration,
    /// How many codes to make
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = value::whole(1..=1_000_u16, 5))]
    count: u16,
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// Where the accounts are: sqlite://FILE or postgres://… [default: login.db in the data
    /// folder]
    #[arg(long, value_name = "URL", env = "SKEIN_LOGIN_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// Who may register.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PolicyChoice {
    /// Anybody, as fast as the limits allow
    #[default]
    Open,
    /// Whoever has an invite code
    Invite,
    /// Nobody
    Closed,
}

/// How log messages look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormatChoice {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// What is printed with `--json` when the service is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Always `ready`.
    pub event: String,
    /// The network ticket.
    pub ticket: String,
    /// The UDP address that it listens on.
    pub listen: SocketAddr,
    /// The process.
    pub pid: u32,
    /// The data folder.
    pub data_dir: PathBuf,
}

/// Runs the service until it is told to end, or makes an invite code.
///
/// # Errors
/// It cannot start.
pub fn run(context: &Context, args: LoginServerArgs) -> Result<(), Failure> {
    match args.command {
        Some(LoginServerCommand::Invite(args)) => invite(context, &args),
        None => serve(context, args),
    }
}

/// Where the service keeps its key and its accounts: beside the data folder of a node, not in it.
fn data_dir(context: &Context) -> Result<PathBuf, Failure> {
    match context.chosen_data_dir() {
        Some(dir) => std::path::absolute(dir)
            .map_err(|error| Failure::file("use the data folder", dir, &error)),
        None => Ok(Home::default_dir()?.with_file_name("skein-login")),
    }
}

fn config(context: &Context, store: &StoreArgs) -> Result<LoginConfig, Failure> {
    let config = LoginConfig::new(data_dir(context)?);
    Ok(match &store.database {
        Some(url) => config.database_url(url),
        None => config,
    })
}

fn invite(context: &Context, args: &InviteArgs) -> Result<(), Failure> {
    let config = config(context, &args.store)?;
    config.check().map_err(StartError::Config)?;
    if !config.has_store() {
        return Err(Failure::input(format!(
            "there is no login service in {} yet, so nobody would know the code: give the folder of \
             the one that shall with --data-dir, or start it first with `skein login-server`",
            config.data_dir().display()
        )));
    }
    context::block_on(async {
        for _ in 0..args.count {
            let code = config.create_invite(args.valid_for).await?;
            let code = code.as_str().to_owned();
            context.ui.result(&json!({ "invite": code }), |_, _| code.clone())?;
        }
        let valid = humantime::format_duration(args.valid_for);
        context.ui.note(format!(
            "Good for {valid}, each for one name. A guest runs, on a machine of their own: skein \
             register NAME --ticket TICKET --invite CODE"
        ));
        Ok(())
    })
}

fn serve(context: &Context, args: LoginServerArgs) -> Result<(), Failure> {
    let format = match args.log_format {
        LogFormatChoice::Text => LogFormat::Text,
        LogFormatChoice::Json => LogFormat::Json,
    };
    logging::start(&context.ui, logging::level(context, LogLevel::Info), format, None);
    let data_dir = data_dir(context)?;
    place::folder(&data_dir)?;
    let needs_code = matches!(args.policy, PolicyChoice::Invite);
    let mut config = config(context, &args.store)?.policy(match args.policy {
        PolicyChoice::Open => Policy::Open,
        PolicyChoice::Invite => Policy::Invite,
        PolicyChoice::Closed => Policy::Closed,
    });
    if let Some(listen) = args.listen {
        config = config.listen(listen);
    }
    config = config.tcp(args.tcp.unwrap_or_default().into());
    if let Some(lifetime) = args.credential_lifetime {
        config = config.credential_lifetime(lifetime);
    }
    context::block_on_service(async {
        let mut shutdown = Shutdown::listen(args.exit_with_parent, false)?;
        config.check().map_err(StartError::Config)?;
        let home = Home::open(&data_dir)?;
        let _lock = only_service(&home)?;
        let server = Server::start(config).await?;
        let listen = server.local_addr();
        let addresses = public::addresses(&args.public, listen);
        let ticket = server.ticket(addresses).map_err(|error| {
            Failure::input(format!("--public: {error}: give host:port, at most 8 of them"))
        })?;
        // `skein ticket --data-dir …` finds it here.
        home.replace_ticket(&ticket)?;
        let ready = Ready {
            event: "ready".to_owned(),
            ticket: ticket.to_string(),
            listen,
            pid: std::process::id(),
            data_dir,
        };
        let skein = format!("skein{}", context.data_dir_words());
        let invite = needs_code.then(|| format!("{skein} login-server invite"));
        let invite = invite.as_deref();
        context.ui.result(&ready, |ready, paint| welcome(ready, &ticket, invite, paint))?;
        let reason = shutdown.reason().await;
        if reason == Reason::Interrupt {
            context.ui.note("\nThe login service is ending…");
        }
        server.shutdown().await;
        Ok(())
    })
}

/// One service a data folder: a second one would overwrite the ticket of the first.
fn only_service(home: &Home) -> Result<InstanceLock, Failure> {
    home.lock().map_err(|error| match error {
        HomeError::Locked { dir, pid } => {
            let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            Failure::failed(format!(
                "another login service or node{process} uses {}: end it, or choose another folder \
                 with --data-dir",
                dir.display()
            ))
        }
        _ => error.into(),
    })
}

/// `invite` is the command that makes an invite code, where newcomers need one.
fn welcome(ready: &Ready, ticket: &Ticket, invite: Option<&str>, paint: Paint) -> String {
    let addresses: Vec<&str> = ticket.addresses.iter().map(|address| address.as_str()).collect();
    let (code, how) = match invite {
        Some(command) => (
            "skein register NAME --invite CODE --ticket",
            format!("\nEach needs a code of their own: {} makes one.", paint.key(command)),
        ),
        None => ("skein register NAME --ticket", String::new()),
    };
    format!(
        "{} The login service is up, listening on {}.\n\n{}\n\n  {}\n\nNewcomers reach it at {}, \
         and begin with:\n  {} <the line above>{how}\n\nIts key and accounts are in {}.\nCtrl-C \
         ends it.",
        paint.good("✓"),
        ready.listen,
        paint.strong("The network ticket, to be given to everyone who may join:"),
        paint.key(&ready.ticket),
        addresses.join(", "),
        paint.strong(code),
        ready.data_dir.display(),
    )
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match &error {
            StartError::Bind(BindError::AddressInUse(_)) => Self::failed(format!(
                "{error}: is a login service running already? Else choose another with --listen"
            )),
            StartError::Bind(BindError::AddressNotAvailable(_) | BindError::NotPermitted(_)) => {
                Self::input(format!("{error}: choose another with --listen"))
            }
            StartError::Config(_) => Self::input(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

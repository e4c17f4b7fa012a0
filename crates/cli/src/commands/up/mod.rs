//! `skein up`.

mod detach;

use super::network;
use super::share::existing_dir;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::log_file::{self, LogFile};
use crate::logging;
use crate::process::{Reason, Shutdown};
use crate::ui::format;
use crate::ui::paint::Paint;
use crate::value;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use skein_net::BindError;
use skein_node::api::ApiClient;
use skein_node::api::types::{DaemonEvent, RoleSetting, Status};
use skein_node::config::{InboxAccept, LogFormat, LogLevel, Reach, Settings, TcpPorts, Uplink};
use skein_node::daemon::{Daemon, StartError};
use skein_node::home::Home;
use skein_proto::{NodeId, Role, Ticket, Username};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein up                                 join the network, until Ctrl-C
  skein up --share ~/Music --share ~/Books
                                           and share these folders from now on
  skein up --detach                        in the background; `skein down` ends it
  skein up --role super --max-children 150
                                           a supernode, for a machine that others can reach
Every setting can also stand in the settings file: `skein config example` explains them all, and
shows their defaults.")]
pub struct UpArgs {
    /// What the node may become; auto: what the network needs, ordinary: never a supernode, super:
    /// always one
    #[arg(long, value_name = "ROLE", value_parser = role())]
    role: Option<RoleSetting>,
    /// The UDP address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = value::listen_address)]
    listen: Option<SocketAddr>,
    /// The network ticket; it is kept, so it is needed the first time only
    #[arg(long, value_name = "TICKET", value_parser = super::account::ticket)]
    ticket: Option<String>,
    /// Share a folder, from now on and also the next time; may be given several times
    #[arg(long, value_name = "DIR")]
    share: Vec<PathBuf>,
    /// Run in the background
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    /// End when standard input ends
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    /// This process was started by `--detach`
    #[arg(long, hide = true)]
    background: bool,
}

/// The settings that are seldom given on the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct SettingsArgs {
    /// Use no UDP: everything goes over TCP. A network that blocks UDP is noticed without this
    #[arg(long)]
    no_udp: bool,
    /// Where nodes whose network blocks UDP may come in over TCP; auto: at the number of the UDP port
    /// and at 443, same-port: not at 443, off: nowhere
    #[arg(long, value_name = "PORTS", value_parser = value::tcp_ports())]
    tcp: Option<TcpPorts>,
    /// Do not ask the router to let others in
    #[arg(long)]
    no_port_mapping: bool,
    /// The TCP address of the local API, always of this machine; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = value::listen_address)]
    api_listen: Option<SocketAddr>,
    /// Where finished downloads go
    #[arg(long, value_name = "DIR")]
    download_dir: Option<PathBuf>,
    /// The most children that it takes as a supernode
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(.., 150_u32))]
    max_children: Option<u32>,
    /// The most supernodes that it links to as a supernode
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(.., 40_u32))]
    max_neighbours: Option<u32>,
    /// How long a supernode must have seen a child before it asks that to be one as well
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    promotion_uptime: Option<Duration>,
    /// What the line sends in a second, such as 2MB, or "measured"
    #[arg(long, value_name = "BYTES", value_parser = uplink)]
    uplink: Option<Uplink>,
    /// The most uploads at a time
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(.., 8_u32))]
    upload_slots: Option<u32>,
    /// Threads that read and hash shared files
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::whole(.., 2_u32))]
    scan_workers: Option<u32>,
    /// How often all shared folders are scanned
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    rescan_interval: Option<Duration>,
    /// Who is told where this node is; open: whoever wants to reach it, relay-only: supernodes only
    #[arg(long, value_name = "REACH", value_parser = reach())]
    reach: Option<Reach>,
    /// Of whom files are taken into the inbox: everybody, buddies, nobody
    #[arg(long, value_name = "WHOM", value_parser = inbox_accept())]
    inbox_accept: Option<InboxAccept>,
    /// Sessions of others that it carries at a time as a supernode; 0: none
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::relay_slots())]
    relay_slots: Option<u32>,
    /// How many of them one name may have
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = value::relay_slots_per_name())]
    relay_slots_per_name: Option<u32>,
    /// Bytes a second that it carries for one session
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    relay_slot_rate: Option<u32>,
    /// Bytes a second that it carries for one name
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    relay_name_rate: Option<u32>,
    /// Bytes a second that it carries for all
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = value::relay_rate)]
    relay_rate: Option<u32>,
    /// The least important messages to log
    #[arg(long, value_name = "LEVEL", value_parser = log_level())]
    log_level: Option<LogLevel>,
    /// How log messages look
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    log_format: Option<LogFormat>,
}

fn role() -> impl clap::builder::TypedValueParser<Value = RoleSetting> {
    PossibleValuesParser::new(["auto", "ordinary", "super"]).map(|word| match word.as_str() {
        "ordinary" => RoleSetting::Ordinary,
        "super" => RoleSetting::Super,
        _ => RoleSetting::Auto,
    })
}

fn uplink(text: &str) -> Result<Uplink, String> {
    text.trim().parse()
}

fn reach() -> impl clap::builder::TypedValueParser<Value = Reach> {
    PossibleValuesParser::new(["open", "relay-only"]).try_map(|word| word.parse::<Reach>())
}

fn inbox_accept() -> impl clap::builder::TypedValueParser<Value = InboxAccept> {
    PossibleValuesParser::new(["everybody", "buddies", "nobody"])
        .try_map(|word| word.parse::<InboxAccept>())
}

fn log_level() -> impl clap::builder::TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"])
        .try_map(|word| word.parse::<LogLevel>())
}

fn log_format() -> impl clap::builder::TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(["text", "json"]).try_map(|word| word.parse::<LogFormat>())
}

impl UpArgs {
    fn settings(&self) -> Settings {
        let more = &self.settings;
        Settings {
            data_dir: None,
            listen: self.listen,
            udp: more.no_udp.then_some(false),
            tcp: more.tcp,
            port_mapping: more.no_port_mapping.then_some(false),
            api_listen: more.api_listen,
            role: self.role,
            max_children: more.max_children,
            max_neighbours: more.max_neighbours,
            promotion_uptime: more.promotion_uptime,
            uplink: more.uplink,
            download_dir: more.download_dir.clone(),
            upload_slots: more.upload_slots,
            scan_workers: more.scan_workers,
            rescan_interval: more.rescan_interval,
            reach: more.reach,
            inbox_accept: more.inbox_accept,
            relay_slots: more.relay_slots,
            relay_slots_per_name: more.relay_slots_per_name,
            relay_slot_rate: more.relay_slot_rate,
            relay_name_rate: more.relay_name_rate,
            relay_rate: more.relay_rate,
            log_level: more.log_level,
            log_format: more.log_format,
        }
    }
}

/// What is printed with `--json` when the node is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Always `ready`.
    pub event: String,
    /// The TCP address of the local API.
    pub api: SocketAddr,
    /// The UDP address that the node listens on.
    pub listen: SocketAddr,
    /// The node.
    pub node: NodeId,
    /// Its name, if it has one.
    pub name: Option<Username>,
    /// The process.
    pub pid: u32,
    /// The data folder.
    pub data_dir: PathBuf,
}

/// Runs the node until it is told to end, or starts it in the background.
///
/// # Errors
/// It cannot start.
pub fn run(context: &Context, args: UpArgs) -> Result<(), Failure> {
    let config = context.config(args.settings())?;
    for finding in Context::misspelt_environment() {
        context.ui.note(finding);
    }
    // Looked at before anything is started or changed.
    let shares =
        args.share.iter().map(|dir| existing_dir(dir)).collect::<Result<Vec<PathBuf>, _>>()?;
    if args.settings.download_dir.is_some()
        && let Some(problem) = config.download_dir_problem()
    {
        return Err(Failure::input(problem));
    }
    let home = Home::open(config.data_dir())?;
    home.is_for_a_node()?;
    if !shares.is_empty() && home.occupant()?.is_some() {
        return Err(Failure::failed(format!(
            "a node runs there already: share the folder with `skein{} share add DIR`",
            context.data_dir_words()
        )));
    }
    if args.detach {
        return detach::run(context, &home);
    }
    if let Some(ticket) = &args.ticket {
        keep_ticket(&home, ticket)?;
    }
    // Where that fails it stays with standard error, which is the same file to begin with.
    let log = args.background.then(|| LogFile::of_process(home.dir().join(log_file::NAME)).ok());
    let level = logging::level(context, config.log_level());
    logging::start(&context.ui, level, config.log_format(), log.flatten());
    context::block_on_service(async {
        let mut shutdown = Shutdown::listen(args.exit_with_parent, args.background)?;
        let daemon = tokio::select! {
            daemon = Daemon::start(config) => daemon?,
            _ = shutdown.reason() => return Err(Failure::interrupted()),
        };
        let reason = tokio::select! {
            // The daemon ends by itself when a client asks for it.
            () = daemon.wait() => None,
            reason = shutdown.reason() => Some(reason),
            served = serve(context, &home, &shares, args.background) => {
                if let Err(failure) = served {
                    daemon.shutdown().await;
                    return Err(failure);
                }
                None
            }
        };
        if reason == Some(Reason::Interrupt) {
            context.ui.note("\nThe node is ending…");
        }
        daemon.shutdown().await;
        Ok(())
    })
}

/// Keeps the ticket while nobody else has the data folder.
fn keep_ticket(home: &Home, ticket: &str) -> Result<(), Failure> {
    let ticket: Ticket = ticket.parse().map_err(|error| Failure::input(format!("{error}")))?;
    let _lock = home.lock()?;
    let way_on = "join it with `skein register NAME --ticket TICKET --replace-network`";
    network::same_network(home, &ticket, way_on)?;
    home.set_ticket(&ticket)?;
    Ok(())
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoTicket => Self::input(error.to_string()),
            StartError::Home(error) => error.into(),
            StartError::Network(BindError::AddressInUse(_)) => {
                Self::failed(format!("{error}: choose another with --listen, or port 0 for any"))
            }
            StartError::Network(BindError::AddressNotAvailable(_) | BindError::NotPermitted(_)) => {
                Self::input(format!("{error}: choose another with --listen"))
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

/// What goes on beside the daemon: the folders are shared, the start is told, then the events.
/// It returns only when something fails.
async fn serve(
    context: &Context,
    home: &Home,
    shares: &[PathBuf],
    in_background: bool,
) -> Result<(), Failure> {
    let client = ApiClient::from_home(home)?;
    // Before the first status, so that no event falls between the two.
    let mut events = client.events().await?;
    let known: Vec<PathBuf> = client.shares().await?.into_iter().map(|share| share.path).collect();
    // What was shared the last time is shared still, which is what was asked for.
    for dir in shares.iter().filter(|dir| !known.contains(dir)) {
        client.add_share(dir).await?;
    }
    let status = client.status().await?;
    let ready = Ready {
        event: "ready".to_owned(),
        api: client.address(),
        listen: status.listen,
        node: status.identity.node,
        name: status.identity.name.clone(),
        pid: status.pid,
        data_dir: status.identity.data_dir.clone(),
    };
    if context.ui.json {
        context.ui.value(&ready)?;
    } else {
        context.ui.note(welcome(&status, client.address(), context));
    }
    if in_background {
        // Whoever started this has read the line above and is gone.
        return std::future::pending().await;
    }
    let skein = format!("skein{}", context.data_dir_words());
    while let Some(event) = events.next().await {
        let event = event?;
        if context.ui.json {
            match context.ui.value(&event) {
                // Who stops listening does not end the node.
                Err(failure) if failure.is_reader_gone() => break,
                written => written?,
            }
        } else if let Some(line) = event_line(&event, &skein, context.ui.err) {
            context.ui.note(line);
        }
    }
    // The end of the daemon is waited for elsewhere.
    std::future::pending().await
}

fn welcome(status: &Status, api: SocketAddr, context: &Context) -> String {
    let paint = context.ui.err;
    let skein = format!("skein{}", context.data_dir_words());
    let identity = &status.identity;
    let who = match &identity.name {
        Some(name) => format!("{} is up", paint.name(format!("@{name}"))),
        None => "The node is up, but has no name yet".to_owned(),
    };
    let shared = if status.library.shares == 0 {
        format!("nothing yet: {}", paint.key(format!("`{skein} share add DIR`")))
    } else {
        format::count(status.library.shares.into(), "folder", "folders")
    };
    let next = match identity.name {
        Some(_) => format!("`{skein} search WORDS…`"),
        None => format!("`{skein} register NAME`"),
    };
    format!(
        "{} {who} (node {}).\n  listening on {}, local API on {api}\n  sharing {shared}\n  next, in \
         another terminal: {}\n  Ctrl-C ends it.",
        paint.good("✓"),
        identity.node.short(),
        status.listen,
        paint.key(next),
    )
}

/// What a person wants to know at once; scans go on silently.
fn event_line(event: &DaemonEvent, skein: &str, paint: Paint) -> Option<String> {
    Some(match event {
        DaemonEvent::Attached { parent } => {
            format!("{} Attached to supernode {}.", paint.good("✓"), parent.short())
        }
        DaemonEvent::Detached { reason } => format!("{} No parent: {reason}", paint.warn("!")),
        DaemonEvent::RoleChanged { role: Role::Super, reason } => {
            format!("{} A supernode from now on: {reason}", paint.good("✓"))
        }
        DaemonEvent::RoleChanged { role: Role::Ordinary, reason } => {
            format!("{} An ordinary node from now on: {reason}", paint.good("✓"))
        }
        DaemonEvent::ScanDone { share } => super::scan::scanned(share, paint),
        DaemonEvent::WishHit { wish, words, hit } => {
            super::wish::hit_line((*wish, words), hit, skein, paint)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn settings(words: &[&str]) -> Settings {
        let cli = Cli::try_parse_from(["skein", "up"].iter().chain(words)).unwrap();
        let Command::Up(args) = cli.command else { panic!("another command") };
        args.settings()
    }

    #[test]
    fn every_setting_is_a_flag() {
        let given = settings(&[
            "--listen",
            "127.0.0.1:0",
            "--no-udp",
            "--tcp",
            "same-port",
            "--no-port-mapping",
            "--api-listen",
            "127.0.0.1:0",
            "--role",
            "super",
            "--max-children",
            "7",
            "--max-neighbours",
            "8",
            "--promotion-uptime",
            "5m",
            "--uplink",
            "2MB",
            "--download-dir",
            "/d",
            "--upload-slots",
            "9",
            "--scan-workers",
            "3",
            "--rescan-interval",
            "2h",
            "--reach",
            "relay-only",
            "--inbox-accept",
            "buddies",
            "--relay-slots",
            "0",
            "--relay-slots-per-name",
            "4",
            "--relay-slot-rate",
            "5",
            "--relay-name-rate",
            "6",
            "--relay-rate",
            "7",
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ]);
        let any = Some(([127, 0, 0, 1], 0).into());
        let expected = Settings {
            data_dir: None,
            listen: any,
            udp: Some(false),
            tcp: Some(TcpPorts::SamePort),
            port_mapping: Some(false),
            api_listen: any,
            role: Some(RoleSetting::Super),
            max_children: Some(7),
            max_neighbours: Some(8),
            promotion_uptime: Some(Duration::from_secs(300)),
            uplink: Some(Uplink::Given(2_000_000)),
            download_dir: Some("/d".into()),
            upload_slots: Some(9),
            scan_workers: Some(3),
            rescan_interval: Some(Duration::from_secs(7_200)),
            reach: Some(Reach::RelayOnly),
            inbox_accept: Some(InboxAccept::Buddies),
            relay_slots: Some(0),
            relay_slots_per_name: Some(4),
            relay_slot_rate: Some(5),
            relay_name_rate: Some(6),
            relay_rate: Some(7),
            log_level: Some(LogLevel::Debug),
            log_format: Some(LogFormat::Json),
        };
        assert_eq!(given, expected);
        assert_eq!(settings(&[]), Settings::default());
    }

    #[test]
    fn people_are_told_of_what_concerns_them() {
        let parent = NodeId::from_bytes([7; 32]);
        let line = event_line(&DaemonEvent::Attached { parent }, "skein", Paint::PLAIN).unwrap();
        assert!(line.contains(&parent.short()), "{line}");
        let reason = "the supernode left".to_owned();
        let line = event_line(&DaemonEvent::Detached { reason }, "skein", Paint::PLAIN).unwrap();
        assert!(line.contains("the supernode left"), "{line}");
    }
}

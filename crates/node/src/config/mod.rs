//! How the daemon is set up: flags over environment over file over defaults.
//!
//! Each setting has one name in three spellings: `max_children` in the file, `SKEIN_MAX_CHILDREN`
//! in the environment, `--max-children` as a flag. [`Config::example`] lists all of them.

mod builder;
mod choice;
mod example;
mod file;
mod settings;

pub use builder::{ConfigBuilder, ConfigError};
pub use choice::{InboxAccept, LogFormat, LogLevel, Reach, TcpPorts, Uplink};
pub use file::{Finding, Severity};
pub use settings::{RELAY_RATE, RELAY_SLOTS, RELAY_SLOTS_PER_NAME, Settings};

use crate::api::types::RoleSetting;
use skein_net::relay::RelayLimits;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The UDP port that a node takes when it is free and none was asked for: unassigned by IANA, and
/// next to the login service's 4700.
pub const DEFAULT_PORT: u16 = 4701;

/// A valid configuration: every value is in its range, every path is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    data_dir: PathBuf,
    listen: SocketAddr,
    listen_was_given: bool,
    udp: bool,
    tcp: TcpPorts,
    port_mapping: bool,
    api_listen: SocketAddr,
    role: RoleSetting,
    max_children: u32,
    max_neighbours: u32,
    promotion_uptime: Duration,
    uplink: Uplink,
    download_dir: PathBuf,
    upload_slots: u32,
    scan_workers: u32,
    rescan_interval: Duration,
    reach: Reach,
    inbox_accept: InboxAccept,
    relay: RelayLimits,
    log_level: LogLevel,
    log_format: LogFormat,
}

impl Config {
    /// Where the platform keeps the configuration file: `~/.config/skein/skein.toml` on Linux.
    /// `None` for a user without a home folder.
    pub fn default_file() -> Option<PathBuf> {
        directories::ProjectDirs::from("", "", "skein")
            .map(|dirs| dirs.config_dir().join("skein.toml"))
    }

    /// A commented configuration file of all settings with their defaults on this machine, each
    /// of them switched off by a `#`.
    pub fn example() -> String {
        example::example(&Self::defaults())
    }

    /// Everything that is to be said of a configuration file; nothing if all is well.
    pub fn check(path: &Path) -> Vec<Finding> {
        file::check(path)
    }

    /// A warning for each of these names of environment variables that begins as those of settings
    /// do, and is none.
    pub fn check_variables(names: impl IntoIterator<Item = String>) -> Vec<Finding> {
        file::check_variables(names)
    }

    /// What holds where nothing is set.
    pub(crate) fn defaults() -> Self {
        let user = directories::UserDirs::new();
        let data_dir = crate::home::Home::default_dir().unwrap_or_default();
        let download_dir = user.and_then(|user| {
            let configured = user.download_dir().map(Path::to_owned);
            configured.or_else(|| Some(user.home_dir().join("Downloads")))
        });
        // Hashing keeps a core busy, so a scan takes half of them: whoever sits at the machine
        // needs the others. More than eight readers make no disk faster.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let scan_workers = u32::try_from((cores / 2).clamp(1, 8)).unwrap_or(1);
        Self {
            data_dir,
            listen: (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            listen_was_given: false,
            udp: true,
            tcp: TcpPorts::Auto,
            port_mapping: true,
            api_listen: (Ipv4Addr::LOCALHOST, 0).into(),
            role: RoleSetting::Auto,
            max_children: 150,
            max_neighbours: 40,
            promotion_uptime: Duration::from_secs(30 * 60),
            uplink: Uplink::Measured,
            download_dir: download_dir.unwrap_or_default(),
            upload_slots: 8,
            scan_workers,
            rescan_interval: Duration::from_secs(60 * 60),
            reach: Reach::Open,
            inbox_accept: InboxAccept::Everybody,
            relay: RelayLimits::default(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
        }
    }

    /// The data folder, see [`crate::home::Home`].
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The UDP address that the node listens on. By default the usual port of all addresses, those of
    /// IPv4 alone where the machine has no IPv6.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether somebody asked for this address: then it must be had. Otherwise another port will
    /// do when this one is taken.
    pub fn listen_was_given(&self) -> bool {
        self.listen_was_given
    }

    /// Whether UDP is used. Without it, everything goes over TCP, and the address to listen on is
    /// that of TCP.
    pub fn udp(&self) -> bool {
        self.udp
    }

    /// Where nodes whose network blocks UDP may come in over TCP.
    pub fn tcp(&self) -> TcpPorts {
        self.tcp
    }

    /// Whether the router is asked, by UPnP, NAT-PMP or PCP, to let others in at the UDP port.
    pub fn port_mapping(&self) -> bool {
        self.port_mapping
    }

    /// The TCP address of the local API, always loopback; port 0 for any free one.
    pub fn api_listen(&self) -> SocketAddr {
        self.api_listen
    }

    /// What the node may become.
    pub fn role(&self) -> RoleSetting {
        self.role
    }

    /// The most children that it takes as a supernode. Each costs up to 40 KB for its connection,
    /// and what its records need.
    pub fn max_children(&self) -> u32 {
        self.max_children
    }

    /// The most other supernodes that it is linked to as a supernode.
    pub fn max_neighbours(&self) -> u32 {
        self.max_neighbours
    }

    /// How long, as a supernode, it must have seen a child before it asks that to be a supernode as
    /// well. In a network that is younger than twice that, and when there is no room left for a
    /// failure, less is asked.
    pub fn promotion_uptime(&self) -> Duration {
        self.promotion_uptime
    }

    /// What the machine's line sends. Half of it may go into the children of a supernode.
    pub fn uplink(&self) -> Uplink {
        self.uplink
    }

    /// Where finished downloads go unless a download says otherwise: the user's own folder for
    /// downloads, or `received` in the data folder for a user without a home folder.
    pub fn download_dir(&self) -> &Path {
        &self.download_dir
    }

    /// Why nothing could be downloaded to [the folder for it](Self::download_dir), with what to do,
    /// if that is so. It is made when it is needed, if it is not there.
    pub fn download_dir_problem(&self) -> Option<String> {
        let dir = self.download_dir();
        let there = dir.ancestors().find(|dir| dir.exists())?;
        let why = if !there.is_dir() {
            format!("{} is a file", there.display())
        } else if !crate::home::files::may_write(there) {
            format!("{} may not be written to", there.display())
        } else {
            return None;
        };
        let dir = dir.display();
        Some(format!("cannot download to {dir}: {why}: choose another folder with --download-dir"))
    }

    /// The most uploads that run at a time.
    pub fn upload_slots(&self) -> u32 {
        self.upload_slots
    }

    /// Threads that read and hash files during a scan.
    pub fn scan_workers(&self) -> u32 {
        self.scan_workers
    }

    /// How often all shares are scanned, besides the watching for changes.
    pub fn rescan_interval(&self) -> Duration {
        self.rescan_interval
    }

    /// Who is told where the node is.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Of whom files are taken into the inbox.
    pub fn inbox_accept(&self) -> InboxAccept {
        self.inbox_accept
    }

    /// What the node gives away as a relay while it is a supernode.
    pub fn relay(&self) -> RelayLimits {
        self.relay
    }

    /// The least important messages that are logged.
    pub fn log_level(&self) -> LogLevel {
        self.log_level
    }

    /// How log messages look.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }
}

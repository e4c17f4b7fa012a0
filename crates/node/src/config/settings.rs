//! One layer of settings: what a file, the environment or the flags say, and what is allowed.

use crate::api::types::RoleSetting;
use bytesize::ByteSize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use skein_net::TunnelPorts;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The ranges of the settings that are numbers.
pub(super) const MAX_CHILDREN: RangeInclusive<u32> = 1..=100_000;
pub(super) const MAX_NEIGHBOURS: RangeInclusive<u32> = 1..=1_000;
pub(super) const UPLOAD_SLOTS: RangeInclusive<u32> = 1..=1_000;
pub(super) const SCAN_WORKERS: RangeInclusive<u32> = 1..=64;
pub(super) const RELAY_SLOTS: RangeInclusive<u32> = 0..=1_000_000;
pub(super) const RELAY_SLOTS_PER_NAME: RangeInclusive<u32> = 1..=10_000;
pub(super) const RELAY_RATE: RangeInclusive<u32> = 1..=u32::MAX;

/// A scan more often than once a minute would never end; less often than once a week, what the
/// watcher misses (network drives) stays wrong for too long.
pub(super) const RESCAN_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Less than a second would make nobody wait; after a week there is nothing left to be learnt.
pub(super) const PROMOTION_UPTIME: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Bytes a second: from a telephone line to more than a machine sends.
pub(super) const UPLINK: RangeInclusive<u64> = 1_000..=100_000_000_000;

/// The names of all settings, as the file spells them.
pub(super) const KEYS: [&str; 22] = [
    "data_dir",
    "listen",
    "udp",
    "tcp",
    "api_listen",
    "role",
    "max_children",
    "max_neighbours",
    "promotion_uptime",
    "uplink",
    "download_dir",
    "upload_slots",
    "scan_workers",
    "rescan_interval",
    "reach",
    "relay_slots",
    "relay_slots_per_name",
    "relay_slot_rate",
    "relay_name_rate",
    "relay_rate",
    "log_level",
    "log_format",
];

/// What one source sets; `None` is left to the sources below it. The accessors of
/// [`super::Config`] say what each setting means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The data folder.
    pub data_dir: Option<PathBuf>,
    /// The UDP address to listen on.
    pub listen: Option<SocketAddr>,
    /// Whether UDP is used.
    pub udp: Option<bool>,
    /// Where nodes whose network blocks UDP may come in.
    pub tcp: Option<TcpPorts>,
    /// The TCP address of the local API; it must be loopback.
    pub api_listen: Option<SocketAddr>,
    /// What the node may become.
    pub role: Option<RoleSetting>,
    /// The most children of a supernode, 1 to 100,000.
    pub max_children: Option<u32>,
    /// The most neighbours of a supernode, 1 to 1,000.
    pub max_neighbours: Option<u32>,
    /// How long a child must have been seen before it is asked to be a supernode, a second to a
    /// week.
    pub promotion_uptime: Option<Duration>,
    /// What the line sends.
    pub uplink: Option<Uplink>,
    /// Where finished downloads go.
    pub download_dir: Option<PathBuf>,
    /// The most uploads at a time, 1 to 1,000.
    pub upload_slots: Option<u32>,
    /// Threads that hash, 1 to 64.
    pub scan_workers: Option<u32>,
    /// Time between two scans, a minute to a week.
    pub rescan_interval: Option<Duration>,
    /// Who is told where the node is.
    pub reach: Option<Reach>,
    /// Slots that the node gives away as a relay, 0 to 1,000,000; 0: it does not relay.
    pub relay_slots: Option<u32>,
    /// Slots that one name may have, 1 to 10,000.
    pub relay_slots_per_name: Option<u32>,
    /// Bytes a second through one slot, 1 to 4,294,967,295.
    pub relay_slot_rate: Option<u32>,
    /// Bytes a second through all slots of one name, 1 to 4,294,967,295.
    pub relay_name_rate: Option<u32>,
    /// Bytes a second through all slots, 1 to 4,294,967,295.
    pub relay_rate: Option<u32>,
    /// What is logged.
    pub log_level: Option<LogLevel>,
    /// How it is logged.
    pub log_format: Option<LogFormat>,
}

/// Where nodes whose network blocks UDP may come in over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpPorts {
    /// At the number of the UDP port, and at 443 where that can be had.
    #[default]
    Auto,
    /// At the number of the UDP port only.
    SamePort,
    /// Nowhere.
    Off,
}

impl TcpPorts {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::SamePort => "same-port",
            Self::Off => "off",
        }
    }
}

/// Who is told where a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Whoever wants to reach it: sessions go directly where they can.
    #[default]
    Open,
    /// Nobody but the supernodes that it is attached to, and those that it dials itself: sessions
    /// stay on relays. Such a node is never a supernode of its own accord.
    RelayOnly,
}

impl Reach {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::RelayOnly => "relay-only",
        }
    }
}

impl From<TcpPorts> for TunnelPorts {
    fn from(ports: TcpPorts) -> Self {
        match ports {
            TcpPorts::Auto => Self::Auto,
            TcpPorts::SamePort => Self::SamePort,
            TcpPorts::Off => Self::Off,
        }
    }
}

impl FromStr for TcpPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, TCP_PORTS)
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, REACHES)
    }
}

/// The least important messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is odd.
    Warn,
    /// And what a user wants to know.
    #[default]
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And every step.
    Trace,
}

/// How log messages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the line of a machine sends in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uplink {
    /// What was seen to go out, and never less than 250 kB.
    #[default]
    Measured,
    /// So many bytes, as the user says: a thousand to a hundred billion.
    Given(u64),
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured => f.write_str(MEASURED),
            Self::Given(bytes) => ByteSize(*bytes).display().si().fmt(f),
        }
    }
}

impl FromStr for Uplink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == MEASURED {
            return Ok(Self::Measured);
        }
        let bytes = text.parse::<ByteSize>().map_err(|_| {
            format!(
                "{text:?} is neither {MEASURED:?} nor a number of bytes such as \"2MB\" or \"500kB\""
            )
        })?;
        Ok(Self::Given(bytes.as_u64()))
    }
}

const MEASURED: &str = "measured";

/// The words that each of the settings knows that are words.
const ROLES: &str = "auto, ordinary, super";
const TCP_PORTS: &str = "auto, same-port, off";
const REACHES: &str = "open, relay-only";
const LEVELS: &str = "error, warn, info, debug, trace";
const FORMATS: &str = "text, json";

impl LogLevel {
    /// The word for it, which is also a filter of `tracing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, LEVELS)
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, FORMATS)
    }
}

impl Settings {
    /// Sets what `key` names to what `text` says; a relative path starts at `base`.
    ///
    /// The error says what would be right. The key is one of [`KEYS`].
    pub(super) fn set(&mut self, key: &str, text: &str, base: &Path) -> Result<(), String> {
        match key {
            "data_dir" => self.data_dir = Some(path(text, base)?),
            "listen" => self.listen = Some(address(text)?),
            "udp" => self.udp = Some(switch(text)?),
            "tcp" => self.tcp = Some(text.parse()?),
            "api_listen" => self.api_listen = Some(address(text)?),
            "role" => self.role = Some(word(text, ROLES)?),
            "max_children" => self.max_children = Some(number(text, &MAX_CHILDREN)?),
            "max_neighbours" => self.max_neighbours = Some(number(text, &MAX_NEIGHBOURS)?),
            "download_dir" => self.download_dir = Some(path(text, base)?),
            "upload_slots" => self.upload_slots = Some(number(text, &UPLOAD_SLOTS)?),
            "scan_workers" => self.scan_workers = Some(number(text, &SCAN_WORKERS)?),
            "promotion_uptime" => self.promotion_uptime = Some(time(text)?),
            "uplink" => self.uplink = Some(text.parse()?),
            "rescan_interval" => self.rescan_interval = Some(time(text)?),
            "reach" => self.reach = Some(text.parse()?),
            "relay_slots" => self.relay_slots = Some(number(text, &RELAY_SLOTS)?),
            "relay_slots_per_name" => {
                self.relay_slots_per_name = Some(number(text, &RELAY_SLOTS_PER_NAME)?)
            }
            "relay_slot_rate" => self.relay_slot_rate = Some(number(text, &RELAY_RATE)?),
            "relay_name_rate" => self.relay_name_rate = Some(number(text, &RELAY_RATE)?),
            "relay_rate" => self.relay_rate = Some(number(text, &RELAY_RATE)?),
            "log_level" => self.log_level = Some(text.parse()?),
            "log_format" => self.log_format = Some(text.parse()?),
            _ => return Err("there is no such setting".to_owned()),
        }
        match self.out_of_range().into_iter().find(|(at, _)| *at == key) {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }

    /// The settings that are out of their range, and the range.
    pub(super) fn out_of_range(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let numbers = [
            ("max_children", self.max_children, &MAX_CHILDREN),
            ("max_neighbours", self.max_neighbours, &MAX_NEIGHBOURS),
            ("upload_slots", self.upload_slots, &UPLOAD_SLOTS),
            ("scan_workers", self.scan_workers, &SCAN_WORKERS),
            ("relay_slots", self.relay_slots, &RELAY_SLOTS),
            ("relay_slots_per_name", self.relay_slots_per_name, &RELAY_SLOTS_PER_NAME),
            ("relay_slot_rate", self.relay_slot_rate, &RELAY_RATE),
            ("relay_name_rate", self.relay_name_rate, &RELAY_RATE),
            ("relay_rate", self.relay_rate, &RELAY_RATE),
        ];
        for (key, value, range) in numbers {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                found.push((key, out_of_range(value, range)));
            }
        }
        let times = [
            ("promotion_uptime", self.promotion_uptime, &PROMOTION_UPTIME),
            ("rescan_interval", self.rescan_interval, &RESCAN_INTERVAL),
        ];
        for (key, value, range) in times {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                let [value, least, most] =
                    [value, *range.start(), *range.end()].map(humantime::format_duration);
                found.push((key, format!("{value} is not between {least} and {most}")));
            }
        }
        if let Some(Uplink::Given(value)) = self.uplink
            && !UPLINK.contains(&value)
        {
            let [value, least, most] =
                [value, *UPLINK.start(), *UPLINK.end()].map(|bytes| ByteSize(bytes).display().si());
            found.push(("uplink", format!("{value} is not between {least} and {most}")));
        }
        if let Some(address) = self.api_listen.filter(|address| !address.ip().is_loopback()) {
            let why = format!(
                "{address} is not a loopback address: the local API is for this machine only; \
                 use 127.0.0.1 or [::1]"
            );
            found.push(("api_listen", why));
        }
        found
    }

    /// This layer laid over a lower one.
    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(lower.data_dir),
            listen: self.listen.or(lower.listen),
            udp: self.udp.or(lower.udp),
            tcp: self.tcp.or(lower.tcp),
            api_listen: self.api_listen.or(lower.api_listen),
            role: self.role.or(lower.role),
            max_children: self.max_children.or(lower.max_children),
            max_neighbours: self.max_neighbours.or(lower.max_neighbours),
            promotion_uptime: self.promotion_uptime.or(lower.promotion_uptime),
            uplink: self.uplink.or(lower.uplink),
            download_dir: self.download_dir.or(lower.download_dir),
            upload_slots: self.upload_slots.or(lower.upload_slots),
            scan_workers: self.scan_workers.or(lower.scan_workers),
            rescan_interval: self.rescan_interval.or(lower.rescan_interval),
            reach: self.reach.or(lower.reach),
            relay_slots: self.relay_slots.or(lower.relay_slots),
            relay_slots_per_name: self.relay_slots_per_name.or(lower.relay_slots_per_name),
            relay_slot_rate: self.relay_slot_rate.or(lower.relay_slot_rate),
            relay_name_rate: self.relay_name_rate.or(lower.relay_name_rate),
            relay_rate: self.relay_rate.or(lower.relay_rate),
            log_level: self.log_level.or(lower.log_level),
            log_format: self.log_format.or(lower.log_format),
        }
    }
}

fn out_of_range(value: impl fmt::Display, range: &RangeInclusive<u32>) -> String {
    format!("{value} is not between {} and {}", range.start(), range.end())
}

fn number(text: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    // As wide as any integer of a file, so that one that is far too large is told its range.
    let value: i128 = text.parse().map_err(|_| {
        format!("{text:?} is not a whole number from {} to {}", range.start(), range.end())
    })?;
    u32::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| out_of_range(value, range))
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a time such as \"30m\" or \"1h\""))
}

/// One of the words that the type has in its serialised form.
fn word<T: DeserializeOwned>(text: &str, known: &str) -> Result<T, String> {
    let word: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(word).map_err(|_| format!("{text:?} is none of {known}"))
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port such as \"0.0.0.0:4701\" or \"[::]:4701\"")
    })
}

/// A path, where `~/` is the user's home folder, as in a shell.
fn path(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is needed".to_owned());
    }
    let Some(rest) = text.strip_prefix("~/") else { return Ok(base.join(text)) };
    directories::BaseDirs::new()
        .map(|dirs| dirs.home_dir().join(rest))
        .ok_or_else(|| format!("{text:?}: this user has no home folder"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(key: &str, text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        settings.set(key, text, Path::new("/base"))?;
        Ok(settings)
    }

    #[test]
    fn a_number_out_of_range_is_told_the_range() {
        for bad in ["0", "100001", "99999999999999", "-1"] {
            let why = set("max_children", bad).unwrap_err();
            assert!(why.contains("1") && why.contains("100000"), "{why}");
        }
        assert!(set("max_children", "many").unwrap_err().contains("whole number"));
        assert_eq!(set("max_children", "100000").unwrap().max_children, Some(100_000));
        assert_eq!(set("max_children", "1").unwrap().max_children, Some(1));
    }

    #[test]
    fn every_key_can_be_set_and_no_other() {
        let good = |key| match key {
            "data_dir" | "download_dir" => "/somewhere",
            "listen" | "api_listen" => "127.0.0.1:1",
            "udp" => "false",
            "tcp" => "same-port",
            "role" => "super",
            "rescan_interval" | "promotion_uptime" => "10m",
            "uplink" => "2MB",
            "reach" => "relay-only",
            "log_level" => "debug",
            "log_format" => "json",
            _ => "7",
        };
        for key in KEYS {
            let settings = set(key, good(key)).unwrap();
            assert_ne!(settings, Settings::default(), "{key}");
            assert_eq!(settings.clone().over(Settings::default()), settings, "{key} over none");
            assert_eq!(Settings::default().over(settings.clone()), settings, "none over {key}");
        }
        assert!(set("colour", "red").is_err());
    }

    #[test]
    fn a_line_is_told_in_bytes() {
        assert_eq!(set("uplink", "2.5MB").unwrap().uplink, Some(Uplink::Given(2_500_000)));
        assert_eq!(set("uplink", "measured").unwrap().uplink, Some(Uplink::Measured));
        assert!(set("uplink", "fast").unwrap_err().contains("2MB"));
        assert!(set("uplink", "12").unwrap_err().contains("1.0 kB"), "{:?}", set("uplink", "12"));
    }

    #[test]
    fn the_local_api_stays_on_this_machine() {
        for bad in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(set("api_listen", bad).unwrap_err().contains("loopback"), "{bad}");
        }
        for good in ["127.0.0.1:0", "[::1]:80", "127.9.9.9:1"] {
            set("api_listen", good).unwrap();
        }
    }

    #[test]
    fn a_relative_path_starts_where_its_source_is() {
        assert_eq!(set("data_dir", "a").unwrap().data_dir, Some("/base/a".into()));
        assert_eq!(set("data_dir", "/a").unwrap().data_dir, Some("/a".into()));
        assert!(set("data_dir", "").is_err());
    }

    #[test]
    fn words_are_words_and_nothing_else() {
        assert_eq!(set("role", "ordinary").unwrap().role, Some(RoleSetting::Ordinary));
        assert!(set("role", "boss").unwrap_err().contains("auto, ordinary, super"));
        assert!(set("log_level", "loud").unwrap_err().contains("warn"));
        assert!(set("rescan_interval", "1s").unwrap_err().contains("1m"));
        assert!(set("rescan_interval", "soon").unwrap_err().contains("30m"));
        assert!(set("promotion_uptime", "0s").unwrap_err().contains("1s and 7days"));
    }
}

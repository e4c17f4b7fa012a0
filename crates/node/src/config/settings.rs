//! One layer of settings: what a file, the environment or the flags say, and what is allowed.

use super::choice::{InboxAccept, LogFormat, LogLevel, Reach, TcpPorts, Uplink, word};
use crate::api::types::RoleSetting;
use bytesize::ByteSize;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The ranges of the settings that are numbers.
pub(super) const MAX_CHILDREN: RangeInclusive<u32> = 1..=100_000;
pub(super) const MAX_NEIGHBOURS: RangeInclusive<u32> = 1..=1_000;
pub(super) const UPLOAD_SLOTS: RangeInclusive<u32> = 1..=1_000;
pub(super) const SCAN_WORKERS: RangeInclusive<u32> = 1..=64;

/// Slots that a relay may give; 0: it does not relay.
pub const RELAY_SLOTS: RangeInclusive<u32> = 0..=1_000_000;
/// The slots that one name may have.
pub const RELAY_SLOTS_PER_NAME: RangeInclusive<u32> = 1..=10_000;
/// Bytes a second of a relay, for one slot, one name or all.
pub const RELAY_RATE: RangeInclusive<u32> = 1..=u32::MAX;

/// A scan more often than once a minute would never end; less often than once a week, what the
/// watcher misses (network drives) stays wrong for too long.
pub(super) const RESCAN_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Less than a second would make nobody wait; after a week there is nothing left to be learnt.
pub(super) const PROMOTION_UPTIME: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Bytes a second: from a telephone line to more than a machine sends.
pub(super) const UPLINK: RangeInclusive<u64> = 1_000..=100_000_000_000;

/// The words of the setting `role`.
const ROLES: &str = "auto, ordinary, super";

/// The names of all settings, as the file spells them.
pub(super) const KEYS: [&str; 24] = [
    "data_dir",
    "listen",
    "udp",
    "tcp",
    "port_mapping",
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
    "inbox_accept",
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
    /// Whether the router is asked to let others in.
    pub port_mapping: Option<bool>,
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
    /// Of whom files are taken into the inbox.
    pub inbox_accept: Option<InboxAccept>,
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
            "port_mapping" => self.port_mapping = Some(switch(text)?),
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
            "inbox_accept" => self.inbox_accept = Some(text.parse()?),
            "relay_slots" => self.relay_slots = Some(number(text, &RELAY_SLOTS)?),
            "relay_slots_per_name" => {
                self.relay_slots_per_name = Some(number(text, &RELAY_SLOTS_PER_NAME)?)
            }
            "relay_slot_rate" => self.relay_slot_rate = Some(rate(text)?),
            "relay_name_rate" => self.relay_name_rate = Some(rate(text)?),
            "relay_rate" => self.relay_rate = Some(rate(text)?),
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
            port_mapping: self.port_mapping.or(lower.port_mapping),
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
            inbox_accept: self.inbox_accept.or(lower.inbox_accept),
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

/// Bytes a second, as a number or with a unit such as "2MB".
fn rate(text: &str) -> Result<u32, String> {
    let Ok(bytes) = text.parse::<ByteSize>() else {
        return Err(format!("{text:?} is not a number of bytes such as 1250000 or \"2MB\""));
    };
    u32::try_from(bytes.as_u64())
        .ok()
        .filter(|bytes| RELAY_RATE.contains(bytes))
        .ok_or_else(|| out_of_range(bytes.as_u64(), &RELAY_RATE))
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a time such as \"30m\" or \"1h\""))
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
            "udp" | "port_mapping" => "false",
            "tcp" => "same-port",
            "role" => "super",
            "rescan_interval" | "promotion_uptime" => "10m",
            "uplink" => "2MB",
            "reach" => "relay-only",
            "inbox_accept" => "buddies",
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
    fn a_relays_rate_may_have_a_unit() {
        assert_eq!(set("relay_rate", "2MB").unwrap().relay_rate, Some(2_000_000));
        assert_eq!(set("relay_slot_rate", "1250000").unwrap().relay_slot_rate, Some(1_250_000));
        assert!(set("relay_rate", "0").unwrap_err().contains("between 1"));
        assert!(set("relay_rate", "5GB").unwrap_err().contains("4294967295"));
        assert!(set("relay_rate", "fast").unwrap_err().contains("2MB"));
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
        assert!(set("inbox_accept", "friends").unwrap_err().contains("buddies"));
        assert!(set("log_level", "loud").unwrap_err().contains("warn"));
        assert!(set("rescan_interval", "1s").unwrap_err().contains("1m"));
        assert!(set("rescan_interval", "soon").unwrap_err().contains("30m"));
        assert!(set("promotion_uptime", "0s").unwrap_err().contains("1s and 7days"));
    }
}

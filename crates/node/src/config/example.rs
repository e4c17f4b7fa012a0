//! The configuration file that explains itself.

use super::settings::{
    KEYS, MAX_CHILDREN, MAX_NEIGHBOURS, PROMOTION_UPTIME, RELAY_SLOTS, RELAY_SLOTS_PER_NAME,
    RESCAN_INTERVAL, SCAN_WORKERS, UPLOAD_SLOTS,
};
use super::{Config, LogFormat};
use crate::api::types::RoleSetting;
use humantime::format_duration;
use std::fmt::Write;
use std::ops::RangeInclusive;
use toml::Value;

pub(super) fn example(defaults: &Config) -> String {
    let mut text = String::from(
        "# Settings of a Skein node. A line that begins with # is switched off: it shows the\n\
         # default. Each setting can also be given as an environment variable (max_children as\n\
         # SKEIN_MAX_CHILDREN) or as a flag of `skein up` (--max-children): flags win over the\n\
         # environment, the environment wins over this file. Of udp and port_mapping there are only\n\
         # the flags that switch them off: --no-udp and --no-port-mapping.\n",
    );
    for key in KEYS {
        let (about, value) = describe(key, defaults);
        text.push('\n');
        for line in about.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "#{key} = {value}");
    }
    text
}

fn describe(key: &str, config: &Config) -> (String, Value) {
    let path = |path: &std::path::Path| Value::from(path.to_string_lossy().into_owned());
    let word = |word: &dyn ToString| Value::from(word.to_string());
    let role = match config.role {
        RoleSetting::Auto => "auto",
        RoleSetting::Ordinary => "ordinary",
        RoleSetting::Super => "super",
    };
    let format = match config.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let range = |range: &RangeInclusive<u32>| format!("{} to {}", range.start(), range.end());
    match key {
        "data_dir" => (
            "Where the node keeps its key, its credential, its share library and unfinished\n\
             downloads. A relative path starts at this file; ~/ is your home folder."
                .into(),
            path(&config.data_dir),
        ),
        "listen" => (
            "The UDP address that other nodes reach this one at; [::] takes IPv4 as well. When it\n\
             is not set and the port is taken, a free one is used, and where there is no IPv6,\n\
             IPv4 alone; when it is set, it must be had."
                .into(),
            word(&config.listen),
        ),
        "udp" => (
            "Whether UDP is used. Without it everything goes over TCP, which is slower, and the\n\
             node reaches only nodes that take TCP. A network that blocks UDP is noticed by\n\
             itself: this is not needed there."
                .into(),
            config.udp.into(),
        ),
        "tcp" => (
            "Where nodes whose network blocks UDP may come in over TCP. \"auto\": at the number of\n\
             the UDP port, and at 443 where the system permits it and the port is free;\n\
             \"same-port\": not at 443; \"off\": nowhere."
                .into(),
            word(&config.tcp.as_str()),
        ),
        "port_mapping" => (
            "Whether the router is asked, by UPnP, NAT-PMP or PCP, to let others in at the UDP port.\n\
             It is asked for nothing when `listen` names one address."
                .into(),
            config.port_mapping.into(),
        ),
        "api_listen" => (
            "The TCP address of the local API, for programs on this machine only; port 0 takes\n\
             any free one."
                .into(),
            word(&config.api_listen),
        ),
        "role" => (
            "\"auto\": the node becomes a supernode when the network needs one and the node is fit;\n\
             \"ordinary\": never; \"super\": always."
                .into(),
            word(&role),
        ),
        "max_children" => (
            format!(
                "The most children that it takes as a supernode: {}. It takes fewer when the\n\
                 memory that is left, the cores, the open files or the line do not allow so many.",
                range(&MAX_CHILDREN)
            ),
            config.max_children.into(),
        ),
        "max_neighbours" => (
            format!(
                "The most supernodes that it links to as a supernode: {}.",
                range(&MAX_NEIGHBOURS)
            ),
            config.max_neighbours.into(),
        ),
        "promotion_uptime" => (
            format!(
                "How long, as a supernode, it must have seen a child before it asks that to be a\n\
                 supernode as well, {} to {}; less in a young network, or when there is no room\n\
                 left.",
                format_duration(*PROMOTION_UPTIME.start()),
                format_duration(*PROMOTION_UPTIME.end())
            ),
            word(&format_duration(config.promotion_uptime)),
        ),
        "uplink" => (
            "What the line sends in a second, such as \"2MB\": half of it may go into the children of\n\
             a supernode. \"measured\" is the most that uploads were seen to take, and never less\n\
             than 250 kB."
                .into(),
            word(&config.uplink),
        ),
        "download_dir" => {
            ("Where finished downloads go.".into(), path(&config.download_dir))
        }
        "upload_slots" => (
            format!("The most uploads that run at a time: {}.", range(&UPLOAD_SLOTS)),
            config.upload_slots.into(),
        ),
        "scan_workers" => (
            format!(
                "Threads that read and hash shared files: {}; half of the cores, but at most 8,\n\
                 if it is not set.",
                range(&SCAN_WORKERS)
            ),
            config.scan_workers.into(),
        ),
        "rescan_interval" => (
            format!(
                "How often all shares are scanned, {} to {}. Changes are noticed at once; this is\n\
                 for folders that cannot be watched, such as network drives.",
                format_duration(*RESCAN_INTERVAL.start()),
                format_duration(*RESCAN_INTERVAL.end())
            ),
            word(&format_duration(config.rescan_interval)),
        ),
        "reach" => (
            "\"open\": sessions with peers go directly where they can; \"relay-only\": no peer is told\n\
             where this node is, so that sessions stay on relays, and downloads come over\n\
             sessions, too."
                .into(),
            word(&config.reach.as_str()),
        ),
        "inbox_accept" => (
            "Of whom files are taken into the inbox, where you accept or refuse each of them:\n\
             \"everybody\"; \"buddies\", from the nodes that they are known by, and those whom\n\
             `skein inbox always` names; or \"nobody\"."
                .into(),
            word(&config.inbox_accept.as_str()),
        ),
        "relay_slots" => (
            format!(
                "Sessions of others that it carries at a time while it is a supernode: {}. 0: it does\n\
                 not relay.",
                range(&RELAY_SLOTS)
            ),
            config.relay.slots.into(),
        ),
        "relay_slots_per_name" => (
            format!("How many of them one name may have: {}.", range(&RELAY_SLOTS_PER_NAME)),
            config.relay.slots_per_name.into(),
        ),
        "relay_slot_rate" => (
            "Bytes a second that it carries for one session, both directions together.".into(),
            config.relay.slot_rate.into(),
        ),
        "relay_name_rate" => (
            "Bytes a second that it carries for one name.".into(),
            config.relay.name_rate.into(),
        ),
        "relay_rate" => (
            "Bytes a second that it carries for all.".into(),
            config.relay.total_rate.into(),
        ),
        "log_level" => (
            "The least important messages to log: error, warn, info, debug or trace.".into(),
            word(&config.log_level.as_str()),
        ),
        _ => (
            "How log messages look: \"text\" for people, \"json\" for programs.".into(),
            word(&format),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ConfigBuilder;
    use super::*;
    use std::fs;

    fn parse(text: &str) -> Config {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("skein.toml");
        fs::write(&path, text).unwrap();
        ConfigBuilder::new().file(path).build().unwrap()
    }

    #[test]
    fn the_example_as_it_is_changes_nothing() {
        assert_eq!(parse(&Config::example()), Config::defaults());
    }

    #[test]
    fn the_example_switched_on_says_the_defaults() {
        let on: String = Config::example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config = parse(&on);
        assert!(config.listen_was_given());
        assert_eq!(Config { listen_was_given: false, ..config }, Config::defaults());
        for key in KEYS {
            assert!(on.contains(&format!("\n{key} = ")), "{key} is missing");
        }
    }
}

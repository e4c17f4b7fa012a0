//! Settings that are words, or words among other values.

use bytesize::ByteSize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use skein_net::TunnelPorts;
use std::fmt;
use std::str::FromStr;

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

/// Of whom files are taken into the inbox. Each still has to be accepted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxAccept {
    /// Of anybody with a name, within the limits of the inbox.
    #[default]
    Everybody,
    /// Of buddies, from the nodes that they are known by, and of those whose files are always
    /// accepted.
    Buddies,
    /// Of nobody.
    Nobody,
}

impl InboxAccept {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Everybody => "everybody",
            Self::Buddies => "buddies",
            Self::Nobody => "nobody",
        }
    }
}

impl FromStr for InboxAccept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, INBOX_ACCEPTS)
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
const TCP_PORTS: &str = "auto, same-port, off";
const INBOX_ACCEPTS: &str = "everybody, buddies, nobody";
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

/// One of the words that the type has in its serialised form.
pub(super) fn word<T: DeserializeOwned>(text: &str, known: &str) -> Result<T, String> {
    let word: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(word).map_err(|_| format!("{text:?} is none of {known}"))
}

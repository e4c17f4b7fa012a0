//! How the service is set up.

use super::clock::Clock;
use super::reach::DIAL_TIMEOUT;
use skein_net::TunnelPorts;
use skein_proto::credential::DEFAULT_LIFETIME;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Anybody, as fast as the limits allow.
    #[default]
    Open,
    /// Whoever has an invite code that was not used yet.
    Invite,
    /// Nobody; who has a name can still log in.
    Closed,
}

/// So many at once, and one more each so often (a token bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once.
    pub burst: NonZeroU32,
    /// How long it takes for one more.
    pub refill: Duration,
}

impl Rate {
    /// `burst` at once, one more each `refill`. A burst of 0 is taken for 1.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Self { burst, refill }
    }
}

/// Limits on what one address (an IPv6 /64 counts as one) and one name may ask for.
///
/// Those by address do not hold for loopback addresses: whoever is there has the machine already,
/// and a whole network of trial on one machine has only that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// All requests of an address. The default lets 300 nodes behind one address start at once.
    pub requests: Rate,
    /// Registrations of an address: by default 20 at once and 6 an hour, so that names cost
    /// something even where everybody may have one.
    pub registrations: Rate,
    /// Attempts at passwords from an address; a wrong one counts [`RateLimits::WRONG_COSTS`]
    /// times. By default 30 and one each 30 s.
    pub attempts_by_address: Rate,
    /// Attempts at the password of one name, from wherever; a wrong one counts
    /// [`RateLimits::WRONG_COSTS`] times. By default 20 and one a minute, well inside of the 100
    /// in a row of NIST SP 800-63B, section 5.2.2. Somebody who uses them up on purpose keeps
    /// nobody off the network: nodes that have a credential renew it without a password.
    pub attempts_by_name: Rate,
    /// Dial-backs to an address whose outcome is not known from an earlier one. By default 20 and
    /// one each 3 s: one address keeps less than two of all dials under way busy for long.
    pub dial_backs: Rate,
}

impl RateLimits {
    /// How many right passwords a wrong one is as dear as.
    pub const WRONG_COSTS: u32 = 5;
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            requests: Rate::new(300, Duration::from_millis(200)),
            registrations: Rate::new(20, Duration::from_secs(600)),
            attempts_by_address: Rate::new(30, Duration::from_secs(30)),
            attempts_by_name: Rate::new(20, Duration::from_secs(60)),
            dial_backs: Rate::new(20, Duration::from_secs(3)),
        }
    }
}

/// A setting is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} is {value}, but must be {range}")]
pub struct ConfigError {
    setting: &'static str,
    value: String,
    range: &'static str,
}

/// How the service is set up. Everything but the data folder has a default.
#[derive(Clone)]
pub struct LoginConfig {
    pub(super) data_dir: PathBuf,
    pub(super) listen: Option<SocketAddr>,
    pub(super) tcp: TunnelPorts,
    pub(super) database_url: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) policy: Policy,
    pub(super) credential_lifetime: Duration,
    pub(super) nodes_per_name: u32,
    pub(super) rate_limits: RateLimits,
    pub(super) max_connections: u32,
    pub(super) dial_back_timeout: Duration,
    pub(super) clock: Clock,
}

impl fmt::Debug for LoginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL is left out since it may hold the password of the database.
        f.debug_struct("LoginConfig")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("tcp", &self.tcp)
            .field("policy", &self.policy)
            .field("credential_lifetime", &self.credential_lifetime)
            .field("nodes_per_name", &self.nodes_per_name)
            .field("rate_limits", &self.rate_limits)
            .field("max_connections", &self.max_connections)
            .field("dial_back_timeout", &self.dial_back_timeout)
            .finish_non_exhaustive()
    }
}

impl LoginConfig {
    /// The port that a login service listens on unless it is told otherwise.
    pub const DEFAULT_PORT: u16 = 4700;

    /// The defaults, with the key and the SQLite database in `data_dir`, which is made if it is not
    /// there.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            tcp: TunnelPorts::Auto,
            database_url: None,
            key_file: None,
            policy: Policy::Open,
            credential_lifetime: DEFAULT_LIFETIME,
            nodes_per_name: 16,
            rate_limits: RateLimits::default(),
            // At some 30 KiB each, 256 MiB at most.
            max_connections: 8_192,
            dial_back_timeout: DIAL_TIMEOUT,
            clock: Clock::system(),
        }
    }

    /// Where nodes whose network blocks UDP may come in over TCP (default: at the number of the UDP
    /// port, and at 443 where that can be had).
    #[must_use]
    pub fn tcp(mut self, ports: TunnelPorts) -> Self {
        self.tcp = ports;
        self
    }

    /// The UDP address to listen on; port 0 takes a free one. By default, the default port of all
    /// addresses of the machine: those of IPv4 alone where it has no IPv6.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// The store: `sqlite://FILE` or `postgres://…`; by default `login.db` in the data folder.
    #[must_use]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database_url = Some(url.into());
        self
    }

    /// The file of the service's key; by default `login.key` in the data folder. Instances that
    /// share a store share a key too.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// Who may register.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long credentials are good for: a minute to 30 days. A revocation takes that long at
    /// most.
    #[must_use]
    pub fn credential_lifetime(mut self, lifetime: Duration) -> Self {
        self.credential_lifetime = lifetime;
        self
    }

    /// How many nodes a name may have, 1 to 1,000.
    #[must_use]
    pub fn nodes_per_name(mut self, limit: u32) -> Self {
        self.nodes_per_name = limit;
        self
    }

    /// Limits on what one address and one name may ask for.
    #[must_use]
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = limits;
        self
    }

    /// How many connections may be open at once, 1 to 1,000,000; each costs some 30 KiB.
    #[must_use]
    pub fn max_connections(mut self, limit: u32) -> Self {
        self.max_connections = limit;
        self
    }

    /// How long a node that says that it can be reached is dialled to see whether it can (default
    /// 4 s), 1 s to 2 minutes.
    #[must_use]
    pub fn dial_back_timeout(mut self, timeout: Duration) -> Self {
        self.dial_back_timeout = timeout;
        self
    }

    /// The clocks, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The file of the service's key.
    pub(super) fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data_dir.join("login.key"))
    }

    /// The file of the SQLite database, unless a URL was given.
    pub(super) fn database_path(&self) -> PathBuf {
        self.data_dir.join("login.db")
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether the store has been made already. One that a URL names is taken to be there.
    pub fn has_store(&self) -> bool {
        self.database_url.is_some() || self.database_path().is_file()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is out of its range, and the range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let lifetime = self.credential_lifetime;
        require(
            self.database_url.as_deref().is_none_or(is_known_url),
            "the database",
            // What stands before the first colon, since the rest may hold a password.
            || {
                let url = self.database_url.as_deref().unwrap_or_default();
                url.split_once(':').map_or("not a URL", |(scheme, _)| scheme).to_owned()
            },
            "sqlite://FILE or postgres://…",
        )?;
        let day = Duration::from_secs(24 * 60 * 60);
        require(
            (Duration::from_secs(60)..=30 * day).contains(&lifetime),
            "the credential lifetime",
            || format!("{} s", lifetime.as_secs()),
            "60 s to 30 days",
        )?;
        require(
            (1..=1_000).contains(&self.nodes_per_name),
            "the number of nodes of a name",
            || self.nodes_per_name.to_string(),
            "1 to 1,000",
        )?;
        require(
            (1..=1_000_000).contains(&self.max_connections),
            "the number of connections",
            || self.max_connections.to_string(),
            "1 to 1,000,000",
        )?;
        require(
            (Duration::from_secs(1)..=Duration::from_secs(120)).contains(&self.dial_back_timeout),
            "the time for a dial-back",
            || format!("{:?}", self.dial_back_timeout),
            "1 s to 2 minutes",
        )?;
        let limits = &self.rate_limits;
        for (setting, rate) in [
            ("the refill time of requests", limits.requests),
            ("the refill time of registrations", limits.registrations),
            ("the refill time of attempts by address", limits.attempts_by_address),
            ("the refill time of attempts by name", limits.attempts_by_name),
            ("the refill time of dial-backs", limits.dial_backs),
        ] {
            require(
                (Duration::from_micros(1)..=day).contains(&rate.refill),
                setting,
                || format!("{:?}", rate.refill),
                "1 µs to a day",
            )?;
        }
        Ok(())
    }
}

/// Whether the store knows this sort of database.
fn is_known_url(url: &str) -> bool {
    ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
}

fn require(
    holds: bool,
    setting: &'static str,
    value: impl FnOnce() -> String,
    range: &'static str,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { setting, value: value(), range }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(LoginConfig::new("anywhere").check(), Ok(()));
    }

    #[test]
    fn the_password_of_the_database_does_not_reach_the_log() {
        let config = LoginConfig::new("anywhere").database_url("postgres://me:secret@host/db");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn a_database_of_another_sort_is_refused_without_showing_its_password() {
        for url in ["mysql://me:secret@host/db", "secret"] {
            let error = LoginConfig::new("anywhere").database_url(url).check();
            let text = error.expect_err("there is no such store").to_string();
            assert!(text.contains("postgres://") && !text.contains("secret"), "{text}");
        }
        assert_eq!(LoginConfig::new("anywhere").database_url("sqlite://x.db").check(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_told_with_its_range() {
        let config = LoginConfig::new("anywhere").nodes_per_name(0);
        let error = config.check().expect_err("no node is too few");
        assert_eq!(error.to_string(), "the number of nodes of a name is 0, but must be 1 to 1,000");
    }
}

//! Four layers become one configuration.

use super::Config;
use super::file::{self, Finding, Severity};
use super::settings::{KEYS, Settings};
use skein_net::relay::RelayLimits;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no configuration. It is the user's fault, and the message says what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something wrong.
    #[error("{}: {finding}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The first thing that is wrong in it.
        finding: Finding,
    },
    /// An environment variable holds something wrong.
    #[error("the environment variable {variable}: {why}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        why: String,
    },
    /// A flag holds something wrong.
    #[error("--{flag}: {why}")]
    Flag {
        /// Its name, without the hyphens in front.
        flag: String,
        /// What is wrong with it.
        why: String,
    },
    /// The data folder was not given, and the platform names none for this user.
    #[error("this user has no home folder: choose a data folder with --data-dir")]
    NoHomeFolder,
    /// A relative path was given, and the folder that it starts at is gone.
    #[error("cannot tell where {} is: {source}", path.display())]
    WorkingFolder {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Puts a [`Config`] together. Without any call, it is the defaults and the file at its usual
/// place.
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    file: FileChoice,
    environment: Vec<(OsString, OsString)>,
    flags: Settings,
}

#[derive(Clone, Debug, Default)]
enum FileChoice {
    /// The one at the platform's place, if there is one.
    #[default]
    Usual,
    /// This one; it must be there.
    Given(PathBuf),
    /// None at all.
    None,
}

impl ConfigBuilder {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this file instead of the one at the platform's place ([`Config::default_file`]). It
    /// must be there.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = FileChoice::Given(path.into());
        self
    }

    /// Reads no file.
    #[must_use]
    pub fn no_file(mut self) -> Self {
        self.file = FileChoice::None;
        self
    }

    /// Takes the variables `SKEIN_…` among these, such as [`std::env::vars_os`]; others, and
    /// empty ones, are left alone.
    #[must_use]
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        self.environment = variables.into_iter().collect();
        self
    }

    /// Takes what the command line says; it wins over everything else.
    #[must_use]
    pub fn flags(mut self, flags: Settings) -> Self {
        self.flags = flags;
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong, from the file up to the flags.
    pub fn build(self) -> Result<Config, ConfigError> {
        let file = self.read_file()?;
        let environment = self.read_environment()?;
        if let Some((key, why)) = self.flags.out_of_range().into_iter().next() {
            return Err(ConfigError::Flag { flag: key.replace('_', "-"), why });
        }
        resolve(self.flags.over(environment).over(file), Config::defaults())
    }

    fn read_file(&self) -> Result<Settings, ConfigError> {
        let (path, must_exist) = match &self.file {
            FileChoice::None => return Ok(Settings::default()),
            FileChoice::Given(path) => (path.clone(), true),
            FileChoice::Usual => match Config::default_file() {
                Some(path) => (path, false),
                None => return Ok(Settings::default()),
            },
        };
        let (settings, findings) = match file::read(&path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                return Ok(Settings::default());
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
            Some(finding) => Err(ConfigError::File { path, finding }),
            None => Ok(settings),
        }
    }

    fn read_environment(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        for key in KEYS {
            let variable = file::variable(key);
            let Some((_, value)) =
                self.environment.iter().find(|(name, _)| *name == *variable.as_str())
            else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let set = match value.to_str() {
                Some(text) => settings.set(key, text, Path::new("")),
                None => Err("it is not UTF-8".to_owned()),
            };
            set.map_err(|why| ConfigError::Environment { variable, why })?;
        }
        Ok(settings)
    }
}

fn resolve(settings: Settings, defaults: Config) -> Result<Config, ConfigError> {
    // An empty path means that the platform names none, which is so for a service's user.
    let data_dir = settings.data_dir.unwrap_or(defaults.data_dir);
    let data_dir = absolute(data_dir)?;
    let download_dir = settings.download_dir.unwrap_or(defaults.download_dir);
    let download_dir = match download_dir.as_os_str().is_empty() {
        true => data_dir.join("received"),
        false => absolute(download_dir)?,
    };
    let relay = RelayLimits {
        slots: settings.relay_slots.unwrap_or(defaults.relay.slots),
        slots_per_name: settings.relay_slots_per_name.unwrap_or(defaults.relay.slots_per_name),
        slot_rate: settings.relay_slot_rate.unwrap_or(defaults.relay.slot_rate),
        name_rate: settings.relay_name_rate.unwrap_or(defaults.relay.name_rate),
        total_rate: settings.relay_rate.unwrap_or(defaults.relay.total_rate),
        idle: defaults.relay.idle,
    };
    Ok(Config {
        data_dir,
        listen: settings.listen.unwrap_or(defaults.listen),
        listen_was_given: settings.listen.is_some(),
        udp: settings.udp.unwrap_or(defaults.udp),
        tcp: settings.tcp.unwrap_or(defaults.tcp),
        port_mapping: settings.port_mapping.unwrap_or(defaults.port_mapping),
        api_listen: settings.api_listen.unwrap_or(defaults.api_listen),
        role: settings.role.unwrap_or(defaults.role),
        max_children: settings.max_children.unwrap_or(defaults.max_children),
        max_neighbours: settings.max_neighbours.unwrap_or(defaults.max_neighbours),
        promotion_uptime: settings.promotion_uptime.unwrap_or(defaults.promotion_uptime),
        uplink: settings.uplink.unwrap_or(defaults.uplink),
        download_dir,
        upload_slots: settings.upload_slots.unwrap_or(defaults.upload_slots),
        scan_workers: settings.scan_workers.unwrap_or(defaults.scan_workers),
        rescan_interval: settings.rescan_interval.unwrap_or(defaults.rescan_interval),
        reach: settings.reach.unwrap_or(defaults.reach),
        inbox_accept: settings.inbox_accept.unwrap_or(defaults.inbox_accept),
        relay,
        log_level: settings.log_level.unwrap_or(defaults.log_level),
        log_format: settings.log_format.unwrap_or(defaults.log_format),
    })
}

fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(ConfigError::NoHomeFolder);
    }
    std::path::absolute(&path).map_err(|source| ConfigError::WorkingFolder { path, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::types::RoleSetting;
    use std::fs;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn with_file(text: &str) -> (tempfile::TempDir, ConfigBuilder) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("skein.toml");
        fs::write(&path, text).unwrap();
        let builder = ConfigBuilder::new().file(path);
        (temp, builder)
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let (_temp, builder) = with_file("max_children = 1\nupload_slots = 1\nscan_workers = 1");
        let config = builder
            .environment(environment(&[("SKEIN_MAX_CHILDREN", "2"), ("SKEIN_UPLOAD_SLOTS", "2")]))
            .flags(Settings { max_children: Some(3), ..Settings::default() })
            .build()
            .unwrap();
        assert_eq!(config.max_children(), 3);
        assert_eq!(config.upload_slots(), 2);
        assert_eq!(config.scan_workers(), 1);
        assert_eq!(config.max_neighbours(), 40);
        assert_eq!(config.role(), RoleSetting::Auto);
    }

    #[test]
    fn only_an_address_that_was_asked_for_must_be_had() {
        let (_temp, builder) = with_file("listen = \"0.0.0.0:4701\"");
        assert!(builder.build().unwrap().listen_was_given());
        assert!(!ConfigBuilder::new().no_file().build().unwrap().listen_was_given());
    }

    #[test]
    fn an_error_names_where_it_came_from() {
        let (_temp, builder) = with_file("\nmax_children = 0");
        let text = builder.build().unwrap_err().to_string();
        assert!(text.contains("skein.toml: line 2: max_children"), "{text}");

        let builder = ConfigBuilder::new().no_file();
        let bad = environment(&[("SKEIN_ROLE", "boss")]);
        let text = builder.clone().environment(bad).build().unwrap_err().to_string();
        assert!(text.contains("SKEIN_ROLE") && text.contains("ordinary"), "{text}");

        let flags = Settings { max_children: Some(0), ..Settings::default() };
        let text = builder.flags(flags).build().unwrap_err().to_string();
        assert_eq!(text, "--max-children: 0 is not between 1 and 100000");
    }

    #[test]
    fn a_file_that_was_given_must_be_there() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("missing.toml");
        let error = ConfigBuilder::new().file(&path).build().unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let config = ConfigBuilder::new()
            .no_file()
            .environment(environment(&[("SKEIN_ROLE", ""), ("SKEIN_OTHER", "x")]))
            .build()
            .unwrap();
        assert_eq!(config.role(), RoleSetting::Auto);
    }

    #[test]
    fn every_path_ends_up_absolute() {
        let (temp, builder) = with_file("data_dir = \"data\"");
        let flags = Settings { download_dir: Some("got".into()), ..Settings::default() };
        let config = builder.flags(flags).build().unwrap();
        assert_eq!(config.data_dir(), temp.path().join("data"));
        assert!(config.download_dir().is_absolute());
    }

    #[test]
    fn a_folder_that_no_download_can_go_to_is_told() {
        let (temp, _) = with_file("");
        fs::write(temp.path().join("got"), "").unwrap();
        let problem = |dir: &str| {
            let dir = temp.path().join(dir);
            Config { download_dir: dir, ..Config::defaults() }.download_dir_problem()
        };
        let line = problem("got/music").unwrap();
        assert!(line.contains("got is a file") && line.contains("--download-dir"), "{line}");
        assert_eq!(problem("new/music"), None);
    }

    #[test]
    fn a_user_without_a_home_folder_needs_to_give_only_the_data_folder() {
        let homeless =
            Config { data_dir: PathBuf::new(), download_dir: PathBuf::new(), ..Config::defaults() };
        let error = resolve(Settings::default(), homeless.clone()).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
        let given = Settings { data_dir: Some("/srv/skein".into()), ..Settings::default() };
        let config = resolve(given, homeless).unwrap();
        assert_eq!(config.download_dir(), Path::new("/srv/skein/received"));
    }
}

//! What every command is given: where the data is, how to print, how to reach the daemon.

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::logging;
use crate::password;
use crate::place;
use crate::process::Interrupt;
use crate::ui::Ui;
use skein_node::api::types::ErrorCode;
use skein_node::api::{ApiClient, ClientError};
use skein_node::config::{Config, ConfigBuilder, ConfigError, Finding, Settings};
use skein_node::home::{Home, HomeError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Variables that have a meaning, but are no settings of the node.
const NO_SETTINGS: [&str; 4] =
    ["SKEIN_CONFIG", "SKEIN_LOGIN_DATABASE", logging::VARIABLE, password::VARIABLE];

/// The surroundings of a command.
#[derive(Clone, Debug)]
pub struct Context {
    /// How to print.
    pub ui: Ui,
    /// How much to log: the number of `-v`.
    pub verbose: u8,
    data_dir: Option<PathBuf>,
    config_file: Option<PathBuf>,
}

impl Context {
    /// Reads the options that all commands share.
    pub fn new(global: &GlobalArgs) -> Self {
        let data_dir = global.data_dir.as_deref().map(place::typed);
        let ui = Ui::new(global.json, global.quiet, global.verbose > 0, global.color);
        Self {
            ui: ui.addressing(addressing(data_dir.as_deref())),
            verbose: global.verbose,
            data_dir,
            config_file: global.config.clone(),
        }
    }

    /// The data folder that the user chose, if one was chosen.
    pub fn chosen_data_dir(&self) -> Option<&PathBuf> {
        self.data_dir.as_ref()
    }

    /// The settings: flags over environment over file over defaults. The options that all
    /// commands share are put into `flags` here.
    ///
    /// # Errors
    /// A setting is wrong: says which, where, and what would be right.
    pub fn config(&self, flags: Settings) -> Result<Config, Failure> {
        self.built(flags).map_err(|error| place::explained(&error))
    }

    fn built(&self, flags: Settings) -> Result<Config, ConfigError> {
        let flags = Settings { data_dir: self.data_dir.clone().or(flags.data_dir), ..flags };
        let builder = match &self.config_file {
            Some(file) => ConfigBuilder::new().file(file),
            None => ConfigBuilder::new(),
        };
        builder.environment(std::env::vars_os()).flags(flags).build()
    }

    /// Whether the user chose a settings file.
    pub fn chose_config_file(&self) -> bool {
        self.config_file.is_some()
    }

    /// Looks at the settings of the environment alone.
    ///
    /// # Errors
    /// A variable is wrong: says which.
    pub fn check_environment(&self) -> Result<(), Failure> {
        let builder = ConfigBuilder::new().no_file().environment(std::env::vars_os());
        builder.build().map(|_| ()).map_err(|error| Failure::input(error.to_string()))
    }

    /// Variables of the environment that look like settings and are none.
    pub fn misspelt_environment() -> Vec<Finding> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Config::check_variables(names.filter(|name| !NO_SETTINGS.contains(&name.as_str())))
    }

    /// The settings file: the one that was chosen, or the one at the platform's place.
    ///
    /// # Errors
    /// None was chosen, and the platform has no place for it.
    pub fn config_file(&self) -> Result<PathBuf, Failure> {
        place::settings_file(self.config_file.as_ref()).ok_or_else(|| {
            Failure::input("this user has no home folder: choose a settings file with --config")
        })
    }

    /// The node's home, as it is: nothing is made. Of the settings only the data folder is needed,
    /// so what else is wrong in them does not matter.
    ///
    /// # Errors
    /// There is no place for the data folder, or settings that are wrong may say another one.
    pub fn home(&self) -> Result<Home, Failure> {
        let home = self.any_home()?;
        home.is_for_a_node()?;
        Ok(home)
    }

    /// The same, which may be that of a login service.
    ///
    /// # Errors
    /// There is no place for the data folder, or settings that are wrong may say another one.
    pub fn any_home(&self) -> Result<Home, Failure> {
        let dir = match (&self.data_dir, self.built(Settings::default())) {
            (_, Ok(config)) => config.data_dir().to_owned(),
            (Some(dir), Err(_)) => std::path::absolute(dir)
                .map_err(|error| Failure::file("use the data folder", dir, &error))?,
            (None, Err(error)) => place::despite_mistakes(self.config_file.as_ref())
                .ok_or_else(|| place::explained(&error))?,
        };
        place::folder(&dir)?;
        Ok(Home::at(dir))
    }

    /// A client of the daemon that runs.
    ///
    /// # Errors
    /// None runs, or the data folder cannot be read.
    pub fn client(&self) -> Result<ApiClient, Failure> {
        let home = self.home()?;
        ApiClient::from_home(&home).map_err(|error| match error {
            ClientError::Busy { .. } => self.busy(&home, &error),
            ClientError::NotRunning { .. } => {
                let (dir, words) = (home.dir().display(), self.data_dir_words());
                Failure::failed(match home.ticket() {
                    Ok(None) => format!(
                        "no daemon is running on {dir}, which is in no network yet: run \
                         `skein{words} register NAME --ticket TICKET`, and then `skein{words} up`"
                    ),
                    _ => format!("no daemon is running on {dir}: start one with `skein{words} up`"),
                })
            }
            _ => error.into(),
        })
    }

    /// A daemon that does not say where it answers, which lasts for a moment only unless its files
    /// were deleted.
    fn busy(&self, home: &Home, error: &ClientError) -> Failure {
        let pid = home.occupant().ok().flatten().and_then(|occupant| occupant.pid);
        let more = pid.map(|pid| {
            format!(
                "; if that lasts, end it with `kill {pid}` and start it with `skein{} up`",
                self.data_dir_words()
            )
        });
        Failure::failed(format!("{error}{}", more.unwrap_or_default()))
    }

    /// The words to put behind `skein` in commands that the user is told, so that they reach
    /// the same node.
    pub fn data_dir_words(&self) -> String {
        addressing(self.data_dir.as_deref())
    }
}

fn addressing(data_dir: Option<&Path>) -> String {
    match data_dir {
        Some(dir) => format!(" --data-dir {}", shell_quoted(&dir.to_string_lossy())),
        None => String::new(),
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::NoHomeFolder | HomeError::LoginService { .. } => {
                Self::input(error.to_string())
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let is_input = error.refusal().is_some_and(|refusal| {
            matches!(refusal.code, ErrorCode::BadRequest | ErrorCode::NotFound)
        });
        if is_input { Self::input(error.to_string()) } else { Self::failed(error.to_string()) }
    }
}

impl Failure {
    /// Why nothing came of asking a peer. That nobody is known by that name now is an answer, and no
    /// mistake of the asker: asking again later can help.
    pub fn of_peer(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) if refusal.code == ErrorCode::NotFound => {
                Self::failed(refusal.error)
            }
            error => error.into(),
        }
    }
}

/// Runs a client command to its end; Ctrl-C calls it off.
///
/// # Errors
/// Those of the command, or that it was interrupted.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime(&mut tokio::runtime::Builder::new_current_thread())?.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        tokio::select! {
            result = work => result,
            () = interrupt.pressed() => Err(Failure::interrupted()),
        }
    })
}

/// Runs a client command that goes on until Ctrl-C, which is its end and no failure.
///
/// # Errors
/// Those of the command.
pub fn block_on_until_interrupted(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    runtime(&mut tokio::runtime::Builder::new_current_thread())?.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        tokio::select! {
            result = work => result,
            () = interrupt.pressed() => Ok(()),
        }
    })
}

/// Runs a client command to its end; Ctrl-C is its own business.
///
/// # Errors
/// Those of the command.
pub fn block_on_uninterrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    runtime(&mut tokio::runtime::Builder::new_current_thread())?.block_on(work)
}

/// Runs a service, which listens for signals itself, on all processors.
///
/// # Errors
/// Those of the service.
pub fn block_on_service<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime(&mut tokio::runtime::Builder::new_multi_thread())?.block_on(work)
}

fn runtime(builder: &mut tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A word as a POSIX shell reads it back.
pub fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::Cli;
    use clap::Parser as _;
    use skein_node::api::types::ApiError;

    #[test]
    fn commands_that_are_told_reach_the_same_node() {
        let context = |words: &[&str]| {
            let words = ["skein", "status"].iter().chain(words);
            Context::new(&Cli::try_parse_from(words).unwrap().global)
        };
        let text = "run `skein up`, or `skein --data-dir /b up`";
        assert_eq!(context(&[]).ui.addressed(text), text);
        assert_eq!(
            context(&["--data-dir", "/a"]).ui.addressed(text),
            "run `skein --data-dir /a up`, or `skein --data-dir /b up`"
        );
    }

    #[test]
    fn a_peer_that_is_not_there_now_is_no_wrong_input() {
        let refused = |code| ClientError::Refused(ApiError::new(code, "no"));
        assert_eq!(Failure::of_peer(refused(ErrorCode::NotFound)).exit_code(), 1);
        assert_eq!(Failure::of_peer(refused(ErrorCode::BadRequest)).exit_code(), 2);
        assert_eq!(Failure::from(refused(ErrorCode::NotFound)).exit_code(), 2);
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(shell_quoted("/tmp/skein-demo.x1"), "/tmp/skein-demo.x1");
        assert_eq!(shell_quoted("My Music"), "'My Music'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted(""), "''");
    }
}

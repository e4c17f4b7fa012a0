//! `skein config`.

use crate::context::Context;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use serde_json::json;
use skein_node::config::{Config, Severity};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Checks, shows or finds the settings.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  skein config path                        where the settings file is, or would be
  skein config init                        begin one, with every setting explained
  skein config check                       is all right in it?")]
pub enum ConfigCommand {
    /// Say what is wrong in the settings file, line by line, and in variables SKEIN_…
    Check(CheckArgs),
    /// Begin a settings file that explains every setting; one that is there is left alone
    Init(InitArgs),
    /// Print a settings file that explains every setting, with the defaults
    Example(ExampleArgs),
    /// Print where the settings file is, or would be
    Path(PathArgs),
}

/// Checks the settings file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein config check                       the file at the usual place
  skein config check ./skein.toml          another one")]
pub struct CheckArgs {
    /// The file; the usual one if none is given
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Begins a settings file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein config init                        at the usual place
  skein config init --config my.toml       at another one")]
pub struct InitArgs {}

/// Prints an example.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein config example                     read it
  skein config example > skein.toml        begin a settings file with it")]
pub struct ExampleArgs {}

/// Prints the place.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skein config path                        ~/.config/skein/skein.toml on Linux")]
pub struct PathArgs {}

/// Does one of them.
///
/// # Errors
/// The file is wrong, or there is no place for one.
pub fn run(context: &Context, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check(context, args),
        ConfigCommand::Init(_) => init(context),
        ConfigCommand::Example(_) => {
            let text = Config::example();
            context.ui.result(&json!({ "example": text }), |_, _| text.clone())
        }
        ConfigCommand::Path(_) => {
            let path = context.config_file()?;
            context.ui.result(&json!({ "path": path }), |_, _| path.display().to_string())
        }
    }
}

fn init(context: &Context) -> Result<(), Failure> {
    let path = context.config_file()?;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!(
            "{} is there already, and is left alone: `skein config check` looks at it",
            path.display()
        )),
        _ => Failure::file("write the settings file", &path, &error),
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let mut file = File::create_new(&path).map_err(failed)?;
    file.write_all(Config::example().as_bytes()).map_err(failed)?;
    context.ui.result(&json!({ "path": path }), |_, paint| {
        format!("{} {} holds every setting with its default.", paint.good("✓"), path.display())
    })
}

fn check(context: &Context, args: CheckArgs) -> Result<(), Failure> {
    let is_given = args.file.is_some() || context.chose_config_file();
    let path = args.file.map_or_else(|| context.config_file(), Ok)?;
    if is_given {
        File::open(&path).map_err(|error| {
            let failure = Failure::file("read the settings file", &path, &error);
            Failure::input(failure.to_string())
        })?;
    }
    context.check_environment()?;
    let mut findings = Context::misspelt_environment();
    let is_there = path.exists();
    if is_there {
        findings.extend(Config::check(&path));
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let listed: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            let is_error = finding.severity == Severity::Error;
            json!({ "error": is_error, "line": finding.line, "message": finding.message })
        })
        .collect();
    let value = json!({ "path": path, "ok": errors == 0, "findings": listed });
    context.ui.result(&value, |_, paint| {
        let mut lines: Vec<String> = findings
            .iter()
            .map(|finding| match finding.severity {
                Severity::Error => format!("{} {finding}", paint.bad("✗")),
                Severity::Warning => format!("{} {finding}", paint.warn("!")),
            })
            .collect();
        let (good, place) = (paint.good("✓"), path.display());
        match (is_there, errors) {
            (true, 0) => lines.push(format!("{good} {place} is right.")),
            (true, _) => {}
            (false, _) => lines
                .push(format!("{good} There is no settings file at {place}: the defaults hold.")),
        }
        lines.join("\n")
    })?;
    match errors {
        0 => Ok(()),
        1 => Err(Failure::input(format!("{}: one setting is wrong, see above", path.display()))),
        n => Err(Failure::input(format!("{}: {n} settings are wrong, see above", path.display()))),
    }
}

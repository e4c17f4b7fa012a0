//! Logs of the two services, on standard error or in a file.

use crate::context::Context;
use crate::log_file::LogFile;
use crate::ui::Ui;
use skein_node::config::{LogFormat, LogLevel};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The environment variable that sets levels for single parts, as in `skein_net=trace,info`.
pub const VARIABLE: &str = "SKEIN_LOG";

/// What `-q` and `-v` make of the level that is set.
pub fn level(context: &Context, set: LogLevel) -> LogLevel {
    match context.verbose {
        _ if context.ui.quiet => LogLevel::Error,
        0 => set,
        1 => LogLevel::Debug,
        _ => LogLevel::Trace,
    }
}

/// Begins to log, on standard error if not into a file. Called once, by a service; a second call
/// changes nothing.
pub fn start(ui: &Ui, level: LogLevel, format: LogFormat, file: Option<LogFile>) {
    // Libraries say a lot below "info" that is of use only to those who ask for it by name.
    let usual = match level {
        LogLevel::Debug | LogLevel::Trace => format!("info,{}", ours(level.as_str())),
        _ => level.as_str().to_owned(),
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ui.err.is_on())
        .with_writer(match file {
            Some(file) => BoxMakeWriter::new(Mutex::new(file)),
            None => BoxMakeWriter::new(std::io::stderr),
        });
    // The only error is that logging has begun already.
    let _ = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
}

/// The level for all parts of this program.
fn ours(level: &str) -> String {
    let parts = ["skein", "skein_net", "skein_node", "skein_login", "skein_overlay", "skein_swarm"];
    let levels: Vec<String> = parts.iter().map(|part| format!("{part}={level}")).collect();
    levels.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_on_for_debugging_is_a_filter() {
        assert!(EnvFilter::try_new(format!("info,{}", ours("debug"))).is_ok());
    }
}

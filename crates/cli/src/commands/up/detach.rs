//! Running the node in the background.

use super::Ready;
use crate::context::Context;
use crate::failure::Failure;
use crate::{log_file, process};
use skein_node::home::Home;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts this same command in the background and waits until it is ready or has failed.
///
/// # Errors
/// It fails to start, in its own words.
pub fn run(context: &Context, home: &Home) -> Result<(), Failure> {
    let log = home.dir().join(log_file::NAME);
    let log_file =
        log_file::open(&log).map_err(|error| Failure::file("write the log", &log, &error))?;
    let log_start = log_file.metadata().map_or(0, |metadata| metadata.len());
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this executable: {error}")))?;
    let mut command = Command::new(program);
    command
        .args(words(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file);
    // In a group of its own, so that Ctrl-C in this terminal does not reach it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .spawn()
        .map_err(|error| Failure::failed(format!("cannot start the node: {error}")))?;

    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // An error reads like an end: then the process tells below why.
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    match serde_json::from_str::<Ready>(&line) {
        Ok(ready) => context.ui.done(&ready, |ready, paint| {
            let who = ready.name.as_ref().map_or("The node".to_owned(), |name| format!("@{name}"));
            format!(
                "{} {} runs in the background (process {}), listening on {}.\n  {} shows how it \
                 is doing, {} ends it; it logs to {}",
                paint.good("✓"),
                paint.name(who),
                ready.pid,
                ready.listen,
                paint.key(format!("`skein{} status`", context.data_dir_words())),
                paint.key(format!("`skein{} down`", context.data_dir_words())),
                log.display()
            )
        }),
        Err(_) => {
            let code = child.wait().ok().and_then(|status| status.code());
            let said = failure_in(&log, log_start)
                .unwrap_or_else(|| format!("the node did not start: see {}", log.display()));
            Err(if code == Some(2) { Failure::input(said) } else { Failure::failed(said) })
        }
    }
}

/// The words of this command, for the process in the background.
fn words(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = given
        .filter(|word| !["--detach", "--json"].iter().any(|dropped| word == dropped))
        .collect();
    words.extend(["--background", "--json"].map(OsString::from));
    words
}

/// The line in which the failed process said why, in what was logged since `start`.
fn failure_in(log: &Path, start: u64) -> Option<String> {
    let tail = process::log_tail(log, start)?;
    tail.lines().rev().find_map(|line| line.strip_prefix("skein: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_process_in_the_background_does_not_detach_again() {
        let given = ["up", "--detach", "--share", "/music", "--json"].map(OsString::from);
        let words = words(given.into_iter());
        assert_eq!(words, ["up", "--share", "/music", "--background", "--json"]);
    }

    #[test]
    fn only_the_failure_of_this_start_counts() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("log");
        std::fs::write(&log, "skein: an old failure\n").unwrap();
        let start = std::fs::metadata(&log).unwrap().len();
        assert_eq!(failure_in(&log, start), None);
        std::fs::write(&log, "skein: an old failure\nskein: a new one\nbye\n").unwrap();
        assert_eq!(failure_in(&log, start).as_deref(), Some("a new one"));
    }
}

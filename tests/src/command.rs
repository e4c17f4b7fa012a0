//! Commands that run to their end.

use crate::{binary, within_patience};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

/// The password of everybody in the tests, unless a test says otherwise.
pub const PASSWORD: &str = "correct horse";

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    words: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn new(words: String, output: &Output) -> Self {
        Self {
            words,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What it printed for its caller.
    pub fn stdout(&self) -> &str {
        &self.stdout
    }

    /// Itself, if it worked.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn worked(self) -> Self {
        assert!(self.status.success(), "it should have worked: {self:?}");
        self
    }

    /// The one line with which it said why it did not work.
    ///
    /// # Panics
    /// If it worked, was ended by a signal, or said more or less than one line.
    pub fn refusal(&self) -> &str {
        assert!(self.code().is_some_and(|code| code != 0), "it should have failed: {self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        match lines.as_slice() {
            [line] => line,
            _ => panic!("it should have said one line: {self:?}"),
        }
    }

    /// What it printed, one JSON value a line.
    ///
    /// # Panics
    /// If a line is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Vec<T> {
        let parse = |line| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("{}: {line:?}: {error}", self.words),
        };
        self.stdout.lines().map(parse).collect()
    }
}

/// `skein --json` with these words, on this data folder. None of the settings of whoever runs
/// the tests hold in it.
pub fn skein(data_dir: &Path, words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = for_people(data_dir, words);
    command.arg("--json");
    command
}

/// The same as people use it: it says what it has to say in words.
pub fn for_people(data_dir: &Path, words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(binary::skein());
    isolate(&mut command, data_dir);
    command.args(words).arg("--data-dir").arg(data_dir);
    command
}

/// Takes the user's own settings away from a command, and gives it this data folder.
pub fn isolate(command: &mut Command, data_dir: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKEIN_") {
            command.env_remove(name);
        }
    }
    command
        .env("SKEIN_PASSWORD", PASSWORD)
        // The settings and download folders of the platform are looked for here.
        .env("HOME", data_dir)
        .env("XDG_CONFIG_HOME", data_dir.join("config"))
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_DOWNLOAD_DIR");
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started or does not end within [`PATIENCE`](crate::PATIENCE).
pub async fn run(mut command: Command) -> Outcome {
    let words: Vec<_> =
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let words = words.join(" ");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn().expect("the command starts");
    let what = format!("`skein {words}` does not end");
    let output = within_patience(&what, child.wait_with_output()).await;
    Outcome::new(words, &output.expect("the command can be waited for"))
}

//! How a command ends when it does not end well: one line for people and one exit code.

use crate::args::Cli;
use crate::process::Reason;
use clap::CommandFactory as _;
use clap::error::{ContextKind, ErrorKind};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

/// What kind of end it is; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was asked for rightly, but did not work.
    Failed,
    /// What was asked for is wrong; asking again in the same way cannot help.
    Input,
    /// The user called it off.
    Interrupted,
    /// Somebody, such as a service manager, asked it to end.
    Terminated,
    /// Whoever read the output went away, as `head` does. Nothing is wrong and nothing is said.
    ReaderGone,
}

/// Why a command ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    /// It did not work; `message` says why and, where something helps, what.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The input is wrong; `message` says what to do.
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: Kind::Input, message: message.into() }
    }

    /// The user pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self::interrupted_with("interrupted")
    }

    /// The user pressed Ctrl-C, and should know how things stand now.
    pub fn interrupted_with(message: impl Into<String>) -> Self {
        Self { kind: Kind::Interrupted, message: message.into() }
    }

    /// It was called off for this reason, and how things stand now.
    pub fn called_off(by: Reason, message: impl Into<String>) -> Self {
        let kind = match by {
            Reason::Interrupt => Kind::Interrupted,
            Reason::Terminate | Reason::ParentGone => Kind::Terminated,
        };
        Self { kind, message: message.into() }
    }

    /// A file or folder could not be used: says which, and for what.
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        let why = match error.kind() {
            io::ErrorKind::NotFound => "it does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "a file is in the way where a folder is needed".to_owned()
            }
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
            io::ErrorKind::StorageFull => "the disk is full".to_owned(),
            _ => error.to_string(),
        };
        Self::failed(format!("cannot {doing} {path}: {why}"))
    }

    /// The same failure in other words.
    #[must_use]
    pub fn reworded(self, words: impl FnOnce(&str) -> String) -> Self {
        Self { message: words(&self.message), ..self }
    }

    /// Whether nothing is wrong but that nobody reads any more.
    pub fn is_reader_gone(&self) -> bool {
        self.kind == Kind::ReaderGone
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Input => 2,
            // 128 + SIGINT, as a shell reports a command that was interrupted.
            Kind::Interrupted => 130,
            // 128 + SIGTERM.
            Kind::Terminated => 143,
            Kind::ReaderGone => 0,
        }
    }

    /// The one line to print, or nothing if there is nothing to say.
    pub fn line(&self) -> Option<String> {
        (self.kind != Kind::ReaderGone).then(|| format!("skein: {self}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.message))
    }
}

/// What went wrong while writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { kind: Kind::ReaderGone, message: String::new() }
        } else {
            Self::failed(format!("cannot write the output: {error}"))
        }
    }
}

/// Joins the lines of a message from elsewhere, so that what is printed is always one line.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Turns what clap says over many lines into one line: what is wrong, the likeliest remedy, and
/// where to read more.
///
/// `words` is the command line: not every mistake of clap says of which command it is.
pub fn from_clap(error: &clap::Error, words: &[OsString]) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let what = paragraphs.next().unwrap_or_default();
    let what = what.trim().trim_start_matches("error: ");
    let what: Vec<&str> = what.lines().map(str::trim).collect();
    let mut message = what.join(" ");
    let typed: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let path = [vec!["skein".to_owned()], command_in(&typed)].concat();
    let mut usage = format!("{} --help", path.join(" "));
    for paragraph in paragraphs {
        let paragraph = paragraph.trim();
        if let Some(call) = paragraph.strip_prefix("Usage: ") {
            usage = format!("{} --help", command_of(call));
            continue;
        }
        for line in paragraph.lines() {
            if let Some(tip) = line.trim().strip_prefix("tip: ") {
                message = format!("{message}: {tip}");
            }
        }
    }
    let unexpected = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if error.kind() == ErrorKind::UnknownArgument
        && unexpected.is_some_and(|word| word.starts_with("skein1"))
    {
        message.push_str(": a network ticket is given with '--ticket'");
    }
    if let Some(word) = excluded_word(error, &path, &typed) {
        let what = message.split(": to pass ").next().unwrap_or_default();
        message = format!("{what}: what must not be there is given as --without {word}");
    }
    if let Some(hint) = value_with_hyphen(error, words) {
        // What clap advises, to write "--" in front, does not work behind an option.
        let what = message.split(": to pass ").next().unwrap_or_default();
        message = format!("{what}: {hint}");
    }
    Failure::input(format!("{message} (see `{usage}`)"))
}

/// The word that was written as "-word" among those of a search, as other search engines have it.
fn excluded_word<'a>(error: &clap::Error, path: &[String], words: &[&'a str]) -> Option<&'a str> {
    if error.kind() != ErrorKind::UnknownArgument || path.last()? != "search" {
        return None;
    }
    let unexpected = error.get(ContextKind::InvalidArg).map(ToString::to_string)?;
    words.iter().find_map(|word| {
        let bare = word.strip_prefix('-').filter(|bare| !bare.starts_with('-'))?;
        let is_word = bare.chars().nth(1).is_some() && word.starts_with(&unexpected);
        is_word.then_some(bare)
    })
}

/// How to write the value of an option that begins with "-", if that is the mistake: such a value is
/// taken for an option unless it is joined to its own.
fn value_with_hyphen(error: &clap::Error, words: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidValue) {
        return None;
    }
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let (root, path) = (Cli::command(), command_in(&words));
    let command = path.iter().fold(&root, |at, word| at.find_subcommand(word).unwrap_or(at));
    let unexpected = error.get(ContextKind::InvalidArg).map(ToString::to_string)?;
    words.windows(2).find_map(|pair| {
        let (given, value) = (pair[0], pair[1]);
        let takes_value = |arg: &&clap::Arg| arg.get_action().takes_values();
        let is_it = |arg: &&clap::Arg| {
            let long = arg.get_long().is_some_and(|long| given.strip_prefix("--") == Some(long));
            let short = arg.get_short().map(|short| format!("-{short}"));
            long || short.as_deref() == Some(given)
        };
        let option = command.get_arguments().filter(takes_value).find(is_it)?;
        // Clap names the word that it did not expect, or the option that has no value; of a word
        // such as "-xyz", only the first letter.
        let is_word = value.len() > 1 && value.starts_with('-');
        let is_meant = value.starts_with(&unexpected) || unexpected.starts_with(given);
        let long = option.get_long()?;
        (is_word && is_meant)
            .then(|| format!("a value that begins with \"-\" is written --{long}={value}"))
    })
}

/// The subcommands that a command line names.
fn command_in(words: &[&str]) -> Vec<String> {
    let root = Cli::command();
    let (mut command, mut path) = (&root, Vec::new());
    for word in words.iter().skip(1) {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
            path.push(found.get_name().to_owned());
        }
    }
    path
}

/// The words of a usage line that name the command: those before the first argument.
fn command_of(usage: &str) -> String {
    let is_command = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let is_flag = |word: &&str| word.starts_with('-');
    let words: Vec<&str> =
        usage.split_whitespace().take_while(|word| is_command(word) && !is_flag(word)).collect();
    if words.is_empty() { "skein".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn clap_line(words: &[&str]) -> String {
        let error = Cli::try_parse_from(words).expect_err("the words are wrong");
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let failure = from_clap(&error, &words);
        assert_eq!(failure.exit_code(), 2);
        failure.line().expect("there is something to say")
    }

    #[test]
    fn a_message_is_one_line_whatever_it_was_made_of() {
        let failure = Failure::failed("first\n\n  second\r\nthird\n");
        assert_eq!(failure.line().as_deref(), Some("skein: first; second; third"));
    }

    #[test]
    fn a_typing_error_is_answered_with_the_right_word() {
        let line = clap_line(&["skein", "serch", "word"]);
        assert!(line.contains("'serch'") && line.contains("'search'"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_missing_argument_is_named_with_the_help_to_read() {
        let line = clap_line(&["skein", "get"]);
        assert!(line.contains("<NUMBER|CONTENT-ID>"), "{line}");
        assert!(line.ends_with("(see `skein get --help`)"), "{line}");
        let line = clap_line(&["skein", "share", "add"]);
        assert!(line.ends_with("(see `skein share add --help`)"), "{line}");
    }

    #[test]
    fn a_wrong_value_leads_to_the_help_of_its_command() {
        let line = clap_line(&["skein", "up", "--listen", "4701"]);
        assert!(line.contains("0.0.0.0:4701"), "{line}");
        assert!(line.ends_with("(see `skein up --help`)"), "{line}");
        let line = clap_line(&["skein", "downloads", "cancel", "x"]);
        assert!(line.ends_with("(see `skein downloads cancel --help`)"), "{line}");
    }

    #[test]
    fn a_ticket_without_its_option_is_recognized() {
        let line = clap_line(&["skein", "register", "alice", "skein1qqqq"]);
        assert!(line.contains("'--ticket'"), "{line}");
    }

    #[test]
    fn a_value_that_begins_with_a_hyphen_is_answered_with_how_to_write_it() {
        for (words, right) in [
            (&["send", "@bob", "file", "--note", "-x"][..], "--note=-x"),
            (&["send", "@bob", "file", "--note", "-v"], "--note=-v"),
            (&["send", "@bob", "file", "--note", "--detachx"], "--note=--detachx"),
            (&["search", "word", "--min-size", "-5MB"], "--min-size=-5MB"),
            (&["get", "1", "-o", "-dir"], "--output=-dir"),
        ] {
            let line = clap_line(&[&["skein"], words].concat());
            assert!(line.contains(&format!("written {right}")), "{line}");
            assert!(!line.contains("'-- -"), "{line}");
            let joined = [&["skein"], &words[..words.len() - 2], &[right]].concat();
            if let Err(error) = Cli::try_parse_from(joined) {
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{right}: {error}");
            }
        }
        let line = clap_line(&["skein", "send", "@bob", "file", "-x"]);
        assert!(!line.contains("is written"), "{line}");
    }

    #[test]
    fn a_word_that_must_not_be_there_is_told_how_to_be_given() {
        let line = clap_line(&["skein", "search", "clair", "-live"]);
        assert!(line.contains("given as --without live"), "{line}");
        assert!(!line.contains("'-- -"), "{line}");
        let line = clap_line(&["skein", "get", "clair", "-live"]);
        assert!(!line.contains("--without"), "{line}");
        for wrong in ["", "*", "de lune"] {
            let line = clap_line(&["skein", "search", "clair", "--without", wrong]);
            assert!(line.contains("give one word"), "{line}");
        }
    }

    #[test]
    fn a_number_under_zero_is_answered_with_the_range() {
        for words in [
            &["ping", "@bob", "-c", "-1"][..],
            &["search", "word", "--limit", "-1"],
            &["chat", "@bob", "--history", "--last", "-1"],
            &["relay", "set", "--slots", "-1"],
            &["up", "--max-children", "-1"],
        ] {
            let line = clap_line(&[&["skein"], words].concat());
            assert!(line.contains("give a whole number"), "{line}");
            assert!(!line.contains("digit"), "{line}");
        }
        for words in
            [&["search", "word", "--min-size", "-5"][..], &["relay", "set", "--rate", "-5"]]
        {
            let line = clap_line(&[&["skein"], words].concat());
            assert!(line.contains("64KB"), "{line}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit_code(), failure.line()), (0, None));
    }
}

//! What the real binary answers to the mistakes of newcomers that need no network: one line on
//! standard error that helps, and the right exit code.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `skein` with a home of its own, so that nothing of this machine's user plays a part.
fn skein(home: &Path, words: &[&str]) -> Output {
    command(home, words).output().expect("the binary was built for this test")
}

fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command.args(words).env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

fn fails(words: &[&str], code: i32, helps: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    assert_failure(&skein(home.path(), words), words, code, helps);
}

fn assert_failure(output: &Output, words: &[&str], code: i32, helps: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{words:?}: {stderr}");
    assert!(stderr.starts_with("skein: "), "{words:?}: {stderr}");
    for help in helps {
        assert!(stderr.contains(help), "{words:?} does not say {help:?}: {stderr}");
    }
    assert!(output.stdout.is_empty(), "{words:?} printed a result");
}

fn ticket() -> String {
    let key = skein_proto::NodeId::from_bytes([7; 32]);
    skein_proto::Ticket::new(key, ["127.0.0.1:9".to_owned()]).unwrap().to_string()
}

#[test]
fn a_typing_error_in_a_command_is_answered_with_the_right_one() {
    fails(&["serch", "x"], 2, &["'serch'", "'search'"]);
    fails(&["share", "ad", "."], 2, &["'ad'", "'add'"]);
    fails(&["search", "x", "--kindd", "audio"], 2, &["--kindd", "--kind"]);
}

#[test]
fn without_a_daemon_the_commands_say_how_to_start_one() {
    for words in [
        &["status"][..],
        &["peers"],
        &["downloads"],
        &["share", "ls"],
        &["search", "x"],
        &["get", "1"],
    ] {
        fails(words, 1, &["no daemon is running", "skein up"]);
    }
}

#[test]
fn to_end_what_does_not_run_is_said_plainly() {
    fails(&["down"], 1, &["no node is running", "nothing to end"]);
}

#[test]
fn values_that_make_no_sense_are_wrong_input() {
    fails(&["search", "x", "--min-size", "big"], 2, &["10MB"]);
    fails(&["search", "x", "--min-size", "2MB", "--max-size", "1MB"], 2, &["--min-size"]);
    fails(&["search", "x", "--kind", "films"], 2, &["video"]);
    fails(&["search", "x", "--limit", "0"], 2, &["from 1 to 1000"]);
    fails(&["search", "!?"], 2, &["at least one word"]);
    fails(&["get", "seven"], 2, &["skein search", "content id"]);
    fails(&["up", "--listen", "here"], 2, &["--listen"]);
    fails(&["up", "--max-children", "0"], 2, &["--max-children", "100000"]);
    fails(&["up", "--api-listen", "192.0.2.1:80"], 2, &["loopback"]);
}

#[test]
fn a_folder_that_is_missing_is_named() {
    fails(&["share", "add", "/no/such/folder"], 2, &["/no/such/folder", "no such folder"]);
    fails(&["up", "--share", "/no/such/folder"], 2, &["/no/such/folder"]);
    fails(&["demo", "--share", "/no/such/folder"], 2, &["/no/such/folder"]);
}

#[test]
fn a_folder_for_downloads_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("below").to_string_lossy().into_owned();
    let words = ["get", "1", "-o", &below];
    assert_failure(&skein(home.path(), &words), &words, 2, &[&below, "-o"]);
}

#[test]
fn the_data_folder_of_a_login_service_is_no_nodes() {
    let home = tempfile::tempdir().unwrap();
    let service = home.path().join("service");
    std::fs::create_dir(&service).unwrap();
    std::fs::write(service.join("login.key"), "a secret").unwrap();
    let dir = service.to_str().unwrap();
    let ticket = ticket();
    for more in
        [&["up"][..], &["up", "--ticket", &ticket], &["status"], &["down"], &["search", "x"]]
    {
        let words = [&["--data-dir", dir], more].concat();
        let output = skein(home.path(), &words);
        let helps = ["is the data folder of a login service", "--data-dir"];
        assert_failure(&output, &words, 2, &helps);
    }
    assert_eq!(std::fs::read_dir(&service).unwrap().count(), 1, "nothing is left there");
    // The service's ticket is there for whoever runs it.
    std::fs::write(service.join("network.ticket"), &ticket).unwrap();
    let output = skein(home.path(), &["ticket", "--data-dir", dir]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ticket);
}

#[test]
fn a_file_is_no_data_folder() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let words = ["whoami", "--data-dir", &file.to_string_lossy()];
    assert_failure(&skein(home.path(), &words), &words, 2, &["is a file", "--data-dir"]);
}

#[test]
fn registering_needs_a_ticket_that_is_one() {
    fails(&["register", "alice"], 2, &["--ticket", "skein register alice"]);
    fails(&["login", "alice"], 2, &["--ticket", "skein login alice"]);
    fails(&["register", "alice", "--ticket", "hello"], 2, &["skein1"]);
    fails(&["register", "alice", &ticket()], 2, &["'--ticket'", "skein register --help"]);
    let mut damaged = ticket();
    damaged.pop();
    fails(&["register", "alice", "--ticket", &damaged], 2, &["damaged"]);
    fails(&["register", "a b", "--ticket", &ticket()], 2, &["letters"]);
}

#[test]
fn a_password_is_never_asked_for_where_nobody_can_answer() {
    let ticket = ticket();
    fails(&["register", "alice", "--ticket", &ticket], 2, &["--password-file", "SKEIN_PASSWORD"]);
    let words = ["register", "alice", "--ticket", &ticket];
    let home = tempfile::tempdir().unwrap();
    let short = command(home.path(), &words).env("SKEIN_PASSWORD", "short").output().unwrap();
    assert_failure(&short, &words, 2, &["at least 8 characters"]);
    let words = ["login", "alice", "--ticket", &ticket, "--password-file", "/no/such/file"];
    fails(&words, 2, &["/no/such/file"]);
}

#[test]
fn before_the_first_start_there_is_nobody_and_no_ticket() {
    fails(&["whoami"], 1, &["skein register"]);
    fails(&["ticket"], 1, &["--ticket"]);
}

#[test]
fn a_settings_file_is_checked_line_by_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("skein.toml");
    std::fs::write(&file, "role = \"super\"\nmax_childen = 5\n").unwrap();
    let path = file.to_string_lossy();
    let checked = skein(home.path(), &["config", "check", &path]);
    assert_eq!(checked.status.code(), Some(2));
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("line 2") && said.contains("max_children"), "{said}");

    let words = ["up", "--config", &path];
    let helps = ["line 2", "max_children", "config check"];
    assert_failure(&skein(home.path(), &words), &words, 2, &helps);
    // A node that runs is reached all the same.
    let words = ["down", "--config", &path];
    assert_failure(&skein(home.path(), &words), &words, 1, &["no node is running"]);
}

#[test]
fn the_example_of_a_settings_file_is_right() {
    let home = tempfile::tempdir().unwrap();
    let example = skein(home.path(), &["config", "example"]);
    assert!(example.status.success());
    let file = home.path().join("skein.toml");
    std::fs::write(&file, &example.stdout).unwrap();
    let checked = skein(home.path(), &["config", "check", &file.to_string_lossy()]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn a_settings_file_is_begun_once_and_never_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("deep/below/skein.toml");
    let path = file.to_string_lossy().into_owned();
    let words = ["config", "init", "--config", &path];
    assert_eq!(skein(home.path(), &words).status.code(), Some(0));
    std::fs::write(&file, "role = \"super\"\n").unwrap();
    assert_failure(&skein(home.path(), &words), &words, 1, &["is there already"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "role = \"super\"\n");
}

#[test]
fn what_cannot_be_checked_is_not_called_right() {
    fails(&["config", "check", "/no/such.toml"], 2, &["/no/such.toml", "does not exist"]);
    fails(&["config", "check", "--config", "/no/such.toml"], 2, &["/no/such.toml"]);
    let home = tempfile::tempdir().unwrap();
    let words = ["config", "check"];
    let output = command(home.path(), &words).env("SKEIN_ROLE", "king").output().unwrap();
    assert_failure(&output, &words, 2, &["SKEIN_ROLE"]);
}

#[test]
fn a_variable_that_is_misspelt_is_told_where_settings_are_checked() {
    let home = tempfile::tempdir().unwrap();
    let mut check = command(home.path(), &["config", "check"]);
    check.env("SKEIN_MAX_CHILDRN", "3").env("SKEIN_LOG", "info");
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("SKEIN_MAX_CHILDREN?") && said.contains("defaults hold"), "{said}");
    assert!(!said.contains("SKEIN_LOG"), "{said}");
}

#[test]
fn a_login_service_that_cannot_be_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let dir_word = dir.to_string_lossy().into_owned();
    let service = ["login-server", "--data-dir", &dir_word];
    for (more, help) in [
        (&["--database", "mysql://me@host/db"][..], "postgres://"),
        (&["--public", "not a host"], "login.example.org:4700"),
        (&["--public", "host:99999"], "65535"),
        (&["--listen", "4700"], "0.0.0.0"),
        (&["--credential-lifetime", "1s"], "30 days"),
        (&["invite"], "no login service"),
        (&["invite", "--valid-for", "foo"], "7days"),
    ] {
        let words = [&service[..], more].concat();
        let words = if more[0] == "invite" {
            [&["login-server"], more, &service[1..]].concat()
        } else {
            words
        };
        assert_failure(&skein(home.path(), &words), &words, 2, &[help]);
    }
    assert!(!dir.exists());
}

#[test]
fn help_is_a_result_and_no_mistake() {
    let home = tempfile::tempdir().unwrap();
    let help = skein(home.path(), &["search", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
    assert!(help.stderr.is_empty());
    let version = skein(home.path(), &["--version"]);
    assert_eq!(version.stdout, skein(home.path(), &["version"]).stdout);
    assert_eq!(skein(home.path(), &["help", "search"]).stdout, help.stdout);
    assert_eq!(version.stdout, format!("skein {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
}

#[test]
fn results_for_programs_are_one_json_value_a_line() {
    let home = tempfile::tempdir().unwrap();
    let path = skein(home.path(), &["config", "path", "--json"]);
    let text = String::from_utf8(path.stdout).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["path"].as_str().unwrap().ends_with("skein.toml"));
    assert_eq!(text.lines().count(), 1);
    for words in [&["completions", "bash"][..], &["man"], &["version"], &["config", "example"]] {
        let output = skein(home.path(), &[words, &["--json"]].concat());
        let value: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        assert!(value.is_ok_and(|value| value.is_object()), "{words:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path(), &["config", "example"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn colour_is_used_only_where_it_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("skein.toml");
    std::fs::write(&file, "role = 3\n").unwrap();
    let path = file.to_string_lossy();
    let has_color = |more: &[&str], no_color: &str| {
        let words = [&["config", "check", &path], more].concat();
        let output = command(home.path(), &words).env("NO_COLOR", no_color).output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(!has_color(&[], ""));
    assert!(has_color(&["--color", "always"], "1"));
    assert!(!has_color(&["--color", "never"], ""));
}

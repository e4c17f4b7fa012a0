//! The files under `deploy/` say what is true of the program.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn deployed(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The words of a text that begin with `skein_`.
fn metric_names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("skein_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_shows_only_metrics_that_exist() {
    use skein_node::metrics::{Metrics, Reason};
    let metrics = Metrics::new();
    // A family shows only when it has a member.
    let reason = Reason { reason: "some" };
    for family in [
        &metrics.overlay.refused,
        &metrics.net.handshakes_refused,
        &metrics.net.codec_errors,
        &metrics.net.refused,
        &metrics.transfer.uploads_refused,
        &metrics.login.failures,
    ] {
        drop(family.get_or_create(&reason));
    }
    let exist = metric_names(&metrics.render());
    let shown = metric_names(&deployed("grafana/skein.json"));
    assert!(shown.len() > 15, "{shown:?}");
    let missing: Vec<&String> = shown.difference(&exist).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_dashboard_is_json() {
    let value: serde_json::Value = serde_json::from_str(&deployed("grafana/skein.json")).unwrap();
    assert!(value["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}

#[test]
fn the_commands_of_the_units_are_understood() {
    for (unit, extra) in [("skein.service", ""), ("skein-login.service", "--policy invite")] {
        let unit = deployed(&format!("systemd/{unit}"));
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let words = start.replace("%S", "/var/lib").replace("$SKEIN_LOGIN_WORDS", extra);
        let mut words = words.split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/skein"));
        let output = Command::new(env!("CARGO_BIN_EXE_skein"))
            .args(words)
            // With it, the words are read, and then nothing is started.
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

//! The program itself: what it prints where, and how it ends.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

fn skein_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skein-sim")).args(arguments).output().expect("it starts")
}

fn lines(text: &[u8]) -> Vec<String> {
    String::from_utf8(text.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// A scenario of ten nodes in a file of its own.
fn scenario(more: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let text = "name = \"small\"\nnodes = 10\nstart_seconds = 1\nsettle_seconds = 10\n\
                run_seconds = 10\nseed = 77\n";
    std::fs::write(&file, format!("{text}{more}")).unwrap();
    (folder, file)
}

#[test]
fn a_bar_that_holds_ends_with_its_figure_and_0() {
    let done = skein_sim(&["bar", "rare-file", "--nodes", "10", "--seed", "3"]);
    let told = lines(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(told[0].starts_with("rare-file: ") && told[0].ends_with("(seed 3)"), "{told:?}");
    assert!(told[1].contains("holds with 10 nodes"), "{told:?}");
    assert!(told[2].ends_with("searches found it") && told.len() == 3, "{told:?}");
}

#[test]
fn a_bar_that_does_not_hold_ends_with_its_figure_and_1() {
    // Nobody searches among so few in so short a time.
    let done = skein_sim(&["bar", "search-cost", "--nodes", "10"]);
    let told = lines(&done.stdout);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(told[1].contains("DOES NOT HOLD"), "{told:?}");
    assert_eq!(told[2], "nobody searched for anything that was there");

    let done = skein_sim(&["bar", "search-cost", "--nodes", "10", "--json"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let told = lines(&done.stdout);
    let [told] = told.as_slice() else { panic!("one line for programs: {told:?}") };
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!((&told["name"], &told["holds"]), (&"search-cost".into(), &false.into()));
}

#[test]
fn whoever_stops_reading_changes_nothing_about_how_it_ends() {
    for arguments in [&["list"][..], &["bar", "rare-file", "--nodes", "10", "--seed", "3"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_skein-sim"));
        let done = command.args(arguments).stdout(writer).output().expect("it starts");
        assert_eq!(done.status.code(), Some(0), "{done:?}");
    }
}

#[test]
fn wrong_use_ends_with_2_and_says_why() {
    let (_folder, bad) = scenario("nodez = 5\n");
    let bad = bad.to_str().unwrap();
    for (arguments, why) in [
        (vec!["bar", "no-such-bar"], "there is no figure"),
        (vec!["bar", "clique", "--nodes", "10"], "has one size"),
        (vec!["bar", "scale", "--nodes", "5"], "5 is not in 10"),
        (vec!["no-such-file.toml"], "no-such-file.toml"),
        (vec![bad], "line 7"),
        (vec!["compare", "--only", "freenet"], "freenet"),
    ] {
        let done = skein_sim(&arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {done:?}");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(told.contains(why), "{arguments:?}: {told}");
        assert!(done.stdout.is_empty(), "{arguments:?}: {done:?}");
    }
}

#[test]
fn the_seed_is_told_before_anything_else_and_replays_the_run() {
    let (_folder, file) = scenario("");
    let file = file.to_str().unwrap();
    let for_people = skein_sim(&[file, "--seed", "4"]);
    assert_eq!(for_people.status.code(), Some(0), "{for_people:?}");
    assert_eq!(lines(&for_people.stdout)[0], "seed 4");

    // Whoever reads JSON finds it on standard error: a run that panics prints no JSON.
    let report = |seed: &[&str], told| {
        let done = skein_sim(&[&[file, "--json"][..], seed].concat());
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert_eq!(lines(&done.stderr)[0], told);
        let mut report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        report["wall_seconds"] = 0.into();
        report
    };
    let first = report(&[], "seed 77");
    assert_eq!(first["seed"], 77);
    assert_eq!(first, report(&["--seed", "77"], "seed 77"));
    assert_ne!(first["happenings"], report(&["--seed", "78"], "seed 78")["happenings"]);
}

/// What mimalloc says of its option for large pages, with this said of it in the environment.
#[cfg(all(target_os = "linux", not(feature = "system-allocator")))]
fn large_pages(said: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein-sim"));
    command.arg("list").env("MIMALLOC_VERBOSE", "1").env_remove("MIMALLOC_ALLOW_THP");
    command.envs(said.map(|said| ("MIMALLOC_ALLOW_THP", said)));
    let done = command.output().expect("it starts");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let told = lines(&done.stderr);
    // The last one is that of the program which has done what it was asked for.
    told.into_iter().rfind(|line| line.contains("'allow_thp'")).expect("it names all options")
}

#[test]
#[cfg(all(target_os = "linux", not(feature = "system-allocator")))]
fn large_pages_are_left_whole_unless_the_environment_says_otherwise() {
    assert_eq!(large_pages(None).trim(), "option 'allow_thp': 2");
    assert_eq!(large_pages(Some("1")).trim(), "option 'allow_thp': 1");
}

//! The fuzz targets meet every input that is kept, without a fuzzer: seeds of each kind, and
//! whatever once made a target fail.

#![allow(clippy::expect_used)]

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Calls a target with each kept input, with each beginning of it, and with each of its bytes
/// changed.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the folder of kept inputs") {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("a kept input");
        eprintln!("{}", path.display());
        target(&input);
        for at in 0..input.len() {
            target(&input[..at]);
            for change in [0x01, 0x80, 0xff] {
                let mut changed = input.clone();
                changed[at] ^= change;
                target(&changed);
            }
        }
        inputs += 1;
    }
    assert!(inputs > 0, "no input is kept in {}", folder.display());
}

#[test]
fn frames() {
    replay("frame", targets::frame);
}

#[test]
fn statements() {
    replay("statement", targets::statement);
}

#[test]
fn tickets() {
    replay("ticket", targets::ticket);
}

#[test]
fn usernames() {
    replay("username", targets::username);
}

#[test]
fn file_paths() {
    replay("file_path", targets::file_path);
}

#[test]
fn text() {
    replay("text", targets::text);
}

#[test]
fn tunnels() {
    replay("tunnel", targets::tunnel);
}

#[test]
fn relay_frames() {
    replay("relay", targets::relay);
}

#[test]
fn probes() {
    replay("probe", targets::probe);
}

#[test]
fn first_packets() {
    replay("first_packet", targets::first_packet);
}

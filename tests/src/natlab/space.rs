//! Into the lab's own namespaces, and out again.

use crate::binary;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tells the test's second process that it is inside.
const INSIDE: &str = "SKEIN_NATLAB_INSIDE";

/// Set to `required` by whoever wants the test to fail where there can be no lab.
const WANTED: &str = "SKEIN_NATLAB";

/// How long a test in the lab may take.
const PATIENCE: Duration = Duration::from_secs(170);

/// Runs the test `name` in namespaces of its own: starts this very program again in there, for that
/// test only. Says so on standard error, past what the test harness keeps to itself, when the
/// machine lets nobody make them.
///
/// # Panics
/// If the test fails inside, or if there can be no lab and the variable `SKEIN_NATLAB` is
/// `required`.
pub fn inside(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(test);
    }
    if let Some(why) = missing() {
        let required = std::env::var(WANTED).is_ok_and(|wanted| wanted == "required");
        assert!(!required, "the NAT lab is required and not to be had: {why}");
        let _ = writeln!(
            std::io::stderr(),
            "\n!!!! SKIPPED: {name}: this machine has no room for the NAT lab: {why}\n"
        );
        return;
    }
    let program = std::env::current_exe().expect("the test program");
    let mut child = unshare()
        .arg(program)
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .env("SKEIN_TEST_BINARY", binary::skein())
        .env("PATH", path())
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare was there just now");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            // With the first process of the lab, all others end, and then its namespaces.
            let _ = child.kill();
            let _ = child.wait();
            panic!("{name} did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{name} failed in the lab: {status}");
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]);
    command.arg("--kill-child");
    command
}

/// Where programs are, with those for administrators: some systems hide them from users.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// What there is no lab without, if it is missing.
fn missing() -> Option<String> {
    let script = "mount -t tmpfs lab /run && ip netns add x && ip netns exec x true && \
                  echo 'table ip x { chain c { type nat hook postrouting priority srcnat; }; }' \
                  | nft -f -";
    let output =
        unshare().args(["sh", "-ec", script]).env("PATH", path()).stdin(Stdio::null()).output();
    match output {
        Err(error) => Some(format!("unshare (package util-linux) cannot be run: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!(
                "network namespaces, ip (package iproute2) and nft (package nftables) are needed: {}",
                said.trim()
            ))
        }
        Ok(_) => None,
    }
}

/// Makes the mounts that `ip netns` wants, which nobody outside sees.
fn prepare() {
    run("mount -t tmpfs lab /run");
}

/// Runs a shell script as the lab's own root.
///
/// # Panics
/// If a line of it fails.
pub(super) fn run(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().expect("there is a shell");
    assert!(
        output.status.success(),
        "a script of the lab failed: {}\n{script}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The command, but run on this machine of the lab.
pub(super) fn at(machine: &str, command: &Command) -> Command {
    let mut there = Command::new("ip");
    there.args(["netns", "exec", machine]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

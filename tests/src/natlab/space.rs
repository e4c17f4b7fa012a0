//! Into the lab's own namespaces, and out again.

use crate::binary;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio, Termination};
use std::time::{Duration, Instant};

/// Tells the second process that it is inside.
const INSIDE: &str = "SKEIN_NATLAB_INSIDE";

/// Set to `required` by whoever wants the test to fail where there can be no lab.
const WANTED: &str = "SKEIN_NATLAB";

/// How long a test or program in the lab may take before it counts as hung: what happens in there
/// has waits of its own, each of which says what did not come.
const PATIENCE: Duration = Duration::from_secs(900);

/// Runs the test `name` in namespaces of its own: starts this very program again in there, for that
/// test only. Says so on standard error, past what the test harness keeps to itself, when the
/// machine lets nobody make them.
///
/// # Panics
/// If the test fails inside, or if there can be no lab and the variable `SKEIN_NATLAB` is
/// `required`.
pub fn inside(name: &str, test: impl Future<Output = ()>) {
    if is_inside() {
        return run_here(test);
    }
    if let Some(why) = missing() {
        let required = std::env::var(WANTED).is_ok_and(|wanted| wanted == "required");
        assert!(!required, "the NAT lab is required and not to be had: {why}");
        skip(name, &format!("this machine has no room for the NAT lab: {why}"));
        return;
    }
    let status = run_inside(&[name, "--exact", "--nocapture"]);
    assert!(status.success(), "{name} failed in the lab: {status}");
}

/// The same for a test that needs IPv6, which a kernel may be without.
///
/// # Panics
/// As [`inside`].
pub fn inside_with_ipv6(name: &str, test: impl Future<Output = ()>) {
    if Path::new("/proc/net/if_inet6").exists() {
        inside(name, test);
    } else {
        skip(name, "this machine's kernel has no IPv6");
    }
}

/// Says so past what the test harness keeps to itself.
fn skip(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n!!!! SKIPPED: {name}: {why}\n");
}

/// Runs a whole program in namespaces of its own: starts it again in there, with the same words.
/// Answers whether that worked.
///
/// # Panics
/// If there can be no lab.
pub fn program_inside<T: Termination>(program: impl Future<Output = T>) -> ExitCode {
    if is_inside() {
        return run_here(program).report();
    }
    if let Some(why) = missing() {
        panic!("the NAT lab is not to be had: {why}");
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if run_inside(&words).success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn run_here<T>(work: impl Future<Output = T>) -> T {
    end_with_parent();
    prepare();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(work)
}

/// Ends this process when the one outside is gone, however that ended: its end of standard input
/// closes then. With the first process of the lab, all others end.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// Starts this program again in the lab, and waits for its end.
fn run_inside(words: &[&str]) -> ExitStatus {
    let program = std::env::current_exe().expect("the own program");
    let mut child = unshare()
        .arg(program)
        .args(words)
        .env(INSIDE, "1")
        .env("SKEIN_TEST_BINARY", binary::skein())
        .env("PATH", path())
        // Held open for as long as this process lives.
        .stdin(Stdio::piped())
        .spawn()
        .expect("unshare was there just now");
    let _held = child.stdin.take();
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            // With the first process of the lab, all others end, and then its namespaces.
            let _ = child.kill();
            let _ = child.wait();
            panic!("what runs in the lab did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
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
    let _ = run("mount -t tmpfs lab /run");
}

/// Runs a shell script as the lab's own root, and answers with what it printed.
///
/// # Panics
/// If a line of it fails.
pub(super) fn run(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("there is a shell");
    assert!(
        output.status.success(),
        "a script of the lab failed: {}\n{script}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
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

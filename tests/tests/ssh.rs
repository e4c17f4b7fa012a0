//! A login by OpenSSH through `skein pipe`, with its own programs.
#![allow(clippy::expect_used)]

use skein_tests::{Network, Node, within_patience};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// Set to `required` by whoever wants the test to fail where OpenSSH is not installed.
const WANTED: &str = "SKEIN_SSH";

/// It has to be started by its whole path.
const SERVER: &str = "/usr/sbin/sshd";

/// Where a server that root starts insists on being locked up.
const LOCK_UP: &str = "/run/sshd";

fn is_there() -> bool {
    let client = ["ssh", "ssh-keygen"].into_iter().all(|name| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    });
    client && Path::new(SERVER).is_file()
}

fn key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.expect("ssh-keygen starts").success());
    path
}

fn public(key: &Path) -> String {
    fs::read_to_string(key.with_extension("pub")).expect("it was made with the key")
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id starts");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

/// Whether this user's password is locked, as that of root is on many images of systems; only root
/// can know.
fn is_locked() -> bool {
    let (shadow, user) = (fs::read_to_string("/etc/shadow").unwrap_or_default(), user());
    let password = |line: &str| line.strip_prefix(&user)?.strip_prefix(':').map(str::to_owned);
    shadow.lines().find_map(password).is_some_and(|password| password.starts_with('!'))
}

/// Serves each connection with a server of its own, as inetd does: so the port is the system's
/// choice.
async fn server(folder: &Path, key: &Path, log: &Path) -> String {
    if user() == "root" {
        fs::create_dir_all(LOCK_UP).expect("root may make it");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens").to_string();
    let mut settings = String::from("StrictModes no\nPasswordAuthentication no\n");
    // Without PAM, nobody may log in whose password is locked; with it, only root can ask.
    let pam = if is_locked() { "yes" } else { "no" };
    settings += &format!("UsePAM {pam}\n");
    for (name, path) in [("HostKey", key), ("AuthorizedKeysFile", &folder.join("authorized"))] {
        settings += &format!("{name} {}\n", path.display());
    }
    let config = folder.join("sshd_config");
    fs::write(&config, settings).expect("written");
    let log = log.to_owned();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tcp = tcp.into_std().expect("a socket");
            tcp.set_nonblocking(false).expect("possible");
            let (input, output) = (tcp.try_clone().expect("a copy"), tcp);
            let mut command = Command::new(SERVER);
            command.args(["-i", "-f"]).arg(&config).arg("-E").arg(&log);
            command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(output)).stderr(Stdio::null());
            let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
            let mut child = child.expect("it starts");
            tokio::spawn(async move { child.wait().await });
        }
    });
    address
}

fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_str().expect("a plain word").replace('\'', r"'\''"))
}

/// What `ssh` is to run in order to reach a node, and with which variables.
fn login(from: &Node, key: &Path, known_hosts: &Path) -> Command {
    let pipe = from.command(&["pipe", "@alice", "ssh"]);
    let words = std::iter::once(pipe.get_program()).chain(pipe.get_args());
    let words: Vec<String> = words.map(quoted).collect();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"]);
    ssh.arg(key).arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
    ssh.args(["-o", "StrictHostKeyChecking=yes", "-o"]);
    ssh.arg(format!("ProxyCommand={}", words.join(" ")));
    for (name, value) in pipe.get_envs() {
        match value {
            Some(value) => ssh.env(name, value),
            None => ssh.env_remove(name),
        };
    }
    ssh
}

#[tokio::test]
async fn openssh_logs_in_through_a_pipe() {
    if !is_there() {
        let required = std::env::var(WANTED).is_ok_and(|wanted| wanted == "required");
        assert!(!required, "OpenSSH is required and not installed");
        let _ = writeln!(std::io::stderr(), "\n!!!! SKIPPED: OpenSSH is not installed here\n");
        return;
    }
    let network = Network::start().await;
    let folder = network.folder("ssh");
    let [host, mine] = ["host", "mine"].map(|name| key(&folder, name));
    fs::write(folder.join("authorized"), public(&mine)).expect("written");
    let known_hosts = folder.join("known");
    fs::write(&known_hosts, format!("alice {}", public(&host))).expect("written");
    let log = network.folder("logs").join("sshd");
    let address = server(&folder, &host, &log).await;

    let [_goose] = network.supernodes(["goose"], &[]).await;
    let [alice, bob] = network.nodes(["alice", "bob"]).await;
    let _ = alice.run(&["service", "add", "ssh", &address, "--allow", "bob"]).await.worked();
    let _ = bob.find_until("alice", |_, nodes| nodes.iter().any(|node| node.online)).await;

    // A megabyte goes there and comes back, with a word of the far side's own behind it.
    let mut ssh = login(&bob, &mine, &known_hosts);
    ssh.arg(format!("{}@alice", user())).arg("cat; echo $((6 * 7)); exit 3");
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = tokio::process::Command::from(ssh).kill_on_drop(true).spawn();
    let mut child = child.expect("it starts");
    let mut input = child.stdin.take().expect("it was asked for");
    let sent = vec![b'x'; 1_000_000];
    let expected = [&sent[..], b"42\n"].concat();
    tokio::spawn(async move { input.write_all(&sent).await });
    let ended = within_patience("the login does not end", child.wait_with_output()).await;
    let output = ended.expect("it ends");
    let why = fs::read_to_string(&log).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}\n{why}");
    assert!(output.stdout == expected, "{} bytes came", output.stdout.len());

    // Another host behind the same service is told from it by its key, as ever.
    fs::write(&known_hosts, format!("alice {}", public(&mine))).expect("written");
    let mut ssh = login(&bob, &mine, &known_hosts);
    ssh.arg(format!("{}@alice", user())).arg("true").stdin(Stdio::null());
    let refused = tokio::process::Command::from(ssh).kill_on_drop(true).output();
    let refused = within_patience("it does not end", refused).await.expect("it ends");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(255), "{said}");
    assert!(said.contains("Host key verification failed"), "{said}");
}

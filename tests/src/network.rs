//! A login service, and those who use it.

use crate::node::{Node, User};
use crate::process::Process;
use crate::{command, within_patience};
use serde::Deserialize;
use skein_proto::{
    Credential, KeyPair, NodeId, Signed, SignedCredential, Ticket, UnixTime, Username,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// A network of processes on this machine.
///
/// It owns the folder in which all of its nodes live: drop the nodes first, that is, declare it
/// before them.
#[derive(Debug)]
pub struct Network {
    // Fields are dropped in this order: the process ends before its folder is removed.
    login: Process,
    folder: TempDir,
    address: SocketAddr,
    ticket: String,
}

#[derive(Debug, Deserialize)]
struct LoginReady {
    event: String,
    ticket: String,
    listen: SocketAddr,
}

impl Network {
    /// A network with a login service and nobody in it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the network");
        let (login, ready) =
            start_login(folder.path(), "127.0.0.1:0".parse().expect("an address")).await;
        Self { login, folder, address: ready.listen, ticket: ready.ticket }
    }

    /// The network ticket.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Where the login service listens.
    pub fn login_address(&self) -> SocketAddr {
        self.address
    }

    /// The process of the login service.
    pub fn login(&mut self) -> &mut Process {
        &mut self.login
    }

    /// Starts the login service again where it was, after it was killed.
    pub async fn restart_login(&mut self) {
        self.login.kill();
        (self.login, _) = start_login(self.folder.path(), self.address).await;
    }

    /// A folder in the network's own, made if it is not there.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        folder
    }

    /// Somebody with a data folder and no more: not registered, not running.
    pub fn user(&self, name: &str) -> User {
        User::new(name, self.folder.path(), &self.ticket)
    }

    /// Registered supernodes that run and are all linked with each other, started with these words
    /// more.
    pub async fn supernodes<const N: usize>(&self, names: [&str; N], words: &[&str]) -> [Node; N] {
        let words = [&["--role", "super"], words].concat();
        let nodes = self.started(names, &words).await;
        let others = u32::try_from(N).unwrap_or(u32::MAX) - 1;
        for node in &nodes {
            node.until("is linked with all supernodes", |status| {
                status.supernode.as_ref().is_some_and(|own| own.neighbours == others)
            })
            .await;
        }
        nodes
    }

    /// Registered ordinary nodes that run and have parents.
    pub async fn nodes<const N: usize>(&self, names: [&str; N]) -> [Node; N] {
        let nodes = self.started(names, &["--role", "ordinary"]).await;
        for node in &nodes {
            node.until("has a parent", |status| status.attachment.parent.is_some()).await;
        }
        nodes
    }

    async fn started<const N: usize>(&self, names: [&str; N], words: &[&str]) -> [Node; N] {
        let starts = names.map(|name| async { self.registered(name).await.up(words).await });
        let nodes = futures_util::future::join_all(starts).await;
        nodes.try_into().unwrap_or_else(|_| unreachable!("one node for each name"))
    }

    /// Somebody with a name, who does not run yet.
    pub async fn registered(&self, name: &str) -> User {
        let user = self.user(name);
        let _ = user.register().await.worked();
        user
    }

    /// The secret of the login service: what an attacker does not have, and a test may use to
    /// make credentials that the service never would.
    pub fn login_key(&self) -> KeyPair {
        let file = login_dir(self.folder.path()).join("login.key");
        let seed = std::fs::read(file).expect("the key of the login service");
        KeyPair::from_seed(&seed.try_into().expect("32 bytes"))
    }

    /// A credential that begins and ends this many seconds from now.
    pub fn credential(
        key: &KeyPair,
        name: &str,
        node: NodeId,
        begins: i64,
        ends: i64,
    ) -> SignedCredential {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let at = |offset: i64| UnixTime(now.as_secs().saturating_add_signed(offset));
        let name = Username::parse(name).expect("a name");
        Signed::new(
            Credential {
                name,
                node,
                issued: at(begins),
                expires: at(ends),
                registered: UnixTime(0),
            },
            key,
        )
    }
}

fn login_dir(folder: &Path) -> PathBuf {
    folder.join("login-service")
}

async fn start_login(folder: &Path, address: SocketAddr) -> (Process, LoginReady) {
    let listen = address.to_string();
    let words = ["login-server", "--listen", &listen, "--exit-with-parent"];
    let command = command::skein(&login_dir(folder), &words);
    let mut login = Process::spawn("login-service", command, &folder.join("login-service.log"));
    let ready: LoginReady = login.next_json().await.expect("the login service starts");
    assert_eq!(ready.event, "ready");
    ready.ticket.parse::<Ticket>().expect("a network ticket");
    (login, ready)
}

/// Waits until that many seconds after 1970 have passed. Only what the calendar decides is waited
/// for in this way: nothing tells when a clock has reached a time.
pub async fn until_time(time: u64) {
    let passed = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        Duration::from_secs(time).saturating_sub(now)
    };
    within_patience("the time did not come", async {
        while !passed().is_zero() {
            tokio::time::sleep(passed()).await;
        }
    })
    .await;
}

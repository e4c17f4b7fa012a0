//! A machine of the lab with a user on it.

use super::nat::Kind;
use super::space::at;
use crate::command::{self, Outcome};
use crate::node::Found;
use crate::process::Process;
use crate::{PATIENCE, User, within_patience};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skein_node::api::types::{Download, NamedNode, Status};
use skein_proto::ContentId;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

/// How often a node is asked how it is doing.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a user is looked up who shall be known.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The login service of the lab.
#[derive(Debug)]
pub struct Service {
    process: Process,
    ticket: String,
}

impl Service {
    pub(super) async fn start(machine: &str, addresses: &[IpAddr], folder: &Path) -> Self {
        #[derive(Deserialize)]
        struct Ready {
            ticket: String,
        }
        let with_port = |address: &IpAddr| SocketAddr::new(*address, 4700).to_string();
        // IPv6 first, as a host name that has both is looked up.
        let addresses: Vec<String> = addresses.iter().rev().map(with_port).collect();
        let public = addresses.iter().flat_map(|address| ["--public", address]);
        let words: Vec<&str> =
            ["login-server", "--exit-with-parent"].into_iter().chain(public).collect();
        let command = at(machine, &command::skein(&folder.join("login-service"), &words));
        let mut process = Process::spawn(machine, command, &folder.join("login-service.log"));
        let ready: Option<Ready> = process.next_json().await;
        let Ready { ticket } =
            ready.unwrap_or_else(|| panic!("the login service should start: {}", process.log()));
        Self { process, ticket }
    }

    /// The network ticket.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// A machine of the lab, and its user.
#[derive(Clone, Debug)]
pub struct Host {
    user: User,
    kind: Kind,
    log: std::path::PathBuf,
}

impl Host {
    pub(super) fn new(name: &str, kind: Kind, folder: &Path, ticket: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { user: User::new(name, folder, ticket), kind, log }
    }

    /// Its name, which is the user's, too.
    pub fn name(&self) -> &str {
        self.user.name()
    }

    /// What it is behind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Runs `skein` with these words on it.
    pub async fn run(&self, words: &[&str]) -> Outcome {
        command::run(at(self.name(), &self.user.command(words))).await
    }

    /// Starts `skein` with these words on it, and does not wait for its end.
    pub fn start(&self, what: &str, words: &[&str]) -> Process {
        let command = at(self.name(), &self.user.command(words));
        Process::spawn(&format!("{what} of {}", self.name()), command, &self.log)
    }

    /// Takes the user's name and starts the node with these words more.
    pub async fn up(&self, words: &[&str]) -> Running {
        let ticket = self.user.ticket();
        let _ = self.run(&["register", self.name(), "--ticket", ticket]).await.worked();
        let words = [&["up", "--exit-with-parent"], words].concat();
        let mut process = self.start("node", &words);
        let ready: Option<serde_json::Value> = process.next_json().await;
        assert!(ready.is_some(), "{} should start: {}", self.name(), process.log());
        Running { host: self.clone(), process }
    }
}

/// A node of the lab that runs.
#[derive(Debug)]
pub struct Running {
    host: Host,
    process: Process,
}

impl Deref for Running {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Running {
    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How it is doing.
    pub async fn status(&self) -> Status {
        self.ask(&["status"]).await
    }

    /// Waits until its status is as wanted, and answers with it.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`].
    pub async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let waiting = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("{} never {what}: {last:#?}", self.name()),
        }
    }

    /// Waits until the directory says that a user is there.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub async fn until_found(&self, name: &str) {
        let name = format!("@{name}");
        within_patience(&format!("{} does not find {name}", self.name()), async {
            loop {
                let nodes: Vec<NamedNode> = self.run(&["find", &name]).await.json();
                if nodes.iter().any(|node| node.online) {
                    return;
                }
                // Look-ups have a budget, and no event tells when another one is worth it.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await;
    }

    /// Shares a folder, and waits until its files can be found.
    pub async fn share(&self, folder: &Path, files: u64) {
        let folder = folder.to_str().expect("a plain path");
        let _ = self.run(&["share", "add", folder]).await.worked();
        self.until("published its files", |status| {
            let attachment = &status.attachment;
            let held = status.supernode.as_ref().map_or(attachment.published, |own| own.records);
            held >= files && attachment.publish_pending == 0 && !status.library.scanning
        })
        .await;
    }

    /// Searches until something is found, also while the node has no parent for a moment.
    ///
    /// # Panics
    /// If nothing is within [`PATIENCE`].
    pub async fn find(&self, word: &str) -> Found {
        let searching = async {
            loop {
                let found = Found::of(self.run(&["search", word]).await);
                if !found.hits.is_empty() {
                    return found;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        match tokio::time::timeout(PATIENCE, searching).await {
            Ok(found) => found,
            Err(_) => panic!("{} found no {word}", self.name()),
        }
    }

    /// Fetches a content into a folder, and waits for the end.
    pub async fn get(&self, content: ContentId, into: &Path) -> Download {
        let into = into.to_str().expect("a plain path");
        self.ask(&["get", &content.to_string(), "-o", into]).await
    }

    /// The last value that a command prints.
    async fn ask<T: DeserializeOwned>(&self, words: &[&str]) -> T {
        let outcome = self.run(words).await.worked();
        outcome.json().pop().expect("it prints a value")
    }
}

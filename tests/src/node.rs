//! Users, their nodes, and what they do with them.

use crate::command::{self, Outcome};
use crate::process::Process;
use crate::{PATIENCE, within_patience};
use futures_util::StreamExt as _;
use skein_node::api::ApiClient;
use skein_node::api::types::{ContentHit, Download, NamedNode, SearchEvent, SearchReport, Status};
use skein_node::home::Home;
use skein_proto::{ContentId, NodeId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often a state is looked at that no event tells of.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often a user is looked up whose state shall change.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How soon is searched again for what was not found: no event tells when that is worth it, and a
/// name has a budget of five searches a second.
pub const SEARCH_AGAIN: Duration = Duration::from_millis(250);

/// Somebody with a data folder.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    data_dir: PathBuf,
    log: PathBuf,
    ticket: String,
}

/// A user's daemon, running.
#[derive(Debug)]
pub struct Node {
    user: User,
    process: Process,
    api: ApiClient,
    id: NodeId,
    address: SocketAddr,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The contents, each as it was told last, by number.
    pub hits: Vec<ContentHit>,
    /// How it ended.
    pub report: SearchReport,
}

impl Found {
    /// What a search printed that has ended. That the node had nobody to ask is an answer too.
    ///
    /// # Panics
    /// If the command failed for another reason.
    pub fn of(mut outcome: Outcome) -> Self {
        if outcome.code() != Some(1) || !outcome.refusal().contains("not attached") {
            outcome = outcome.worked();
        }
        Self::gather(outcome.json())
    }

    /// The file names that were found, in alphabetical order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.hits.iter().map(|hit| hit.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The one content that was found.
    ///
    /// # Panics
    /// If it was none or more than one.
    pub fn only(&self) -> &ContentHit {
        match self.hits.as_slice() {
            [hit] => hit,
            _ => panic!("one content should have been found: {self:?}"),
        }
    }

    /// Gathers the events of a search.
    ///
    /// # Panics
    /// If the end of the search is not among them.
    pub fn gather(events: impl IntoIterator<Item = SearchEvent>) -> Self {
        let mut hits = BTreeMap::new();
        let mut report = None;
        for event in events {
            match event {
                SearchEvent::Hit(hit) => {
                    hits.insert(hit.number, *hit);
                }
                SearchEvent::Done(done) => report = Some(done),
                _ => {}
            }
        }
        let report = report.expect("a search ends with a report");
        Self { hits: hits.into_values().collect(), report }
    }
}

impl User {
    /// A user whose data folder is in `folder`.
    pub fn new(name: &str, folder: &Path, ticket: &str) -> Self {
        Self {
            name: name.to_owned(),
            data_dir: folder.join(name),
            log: folder.join(format!("{name}.log")),
            ticket: ticket.to_owned(),
        }
    }

    /// The same user with another data folder, which exists.
    #[must_use]
    pub fn with_data_dir(mut self, data_dir: &Path) -> Self {
        self.data_dir = data_dir.to_owned();
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ticket of the user's network.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The data folder, as the daemon sees it.
    pub fn home(&self) -> Home {
        Home::at(&self.data_dir)
    }

    /// `skein` with these words, to be changed or run.
    pub fn command(&self, words: &[&str]) -> Command {
        command::skein(&self.data_dir, words)
    }

    /// Runs `skein` with these words to its end.
    pub async fn run(&self, words: &[&str]) -> Outcome {
        command::run(self.command(words)).await
    }

    /// Takes the user's name in the network.
    pub async fn register(&self) -> Outcome {
        self.run(&["register", &self.name, "--ticket", &self.ticket]).await
    }

    /// Starts the daemon and waits until it is ready.
    pub async fn up(self, words: &[&str]) -> Node {
        self.up_with(words, |command| command).await
    }

    /// Starts the daemon by a changed command.
    pub async fn up_with(self, words: &[&str], change: impl FnOnce(Command) -> Command) -> Node {
        let words = [&["up", "--listen", "127.0.0.1:0", "--exit-with-parent"], words].concat();
        let command = change(self.command(&words));
        let mut process = Process::spawn(&self.name, command, &self.log);
        let ready: serde_json::Value = process
            .next_json()
            .await
            .unwrap_or_else(|| panic!("{} should start; it logged: {}", self.name, process.log()));
        assert_eq!(ready["event"], "ready", "{}: {ready}", self.name);
        let api = ApiClient::from_home(&self.home()).expect("a daemon that is ready can be called");
        let status = api.status().await.expect("a daemon that is ready answers");
        let (id, address) = (status.identity.node, status.listen);
        Node { user: self, process, api, id, address }
    }
}

impl Deref for Node {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

impl Node {
    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The UDP address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process, to be looked at.
    pub fn process_ref(&self) -> &Process {
        &self.process
    }

    /// Its local API.
    pub fn api(&self) -> &ApiClient {
        &self.api
    }

    /// What it counts under this name in its metrics.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn counted(&self, name: &str) -> u64 {
        let text = self.api.metrics().await.expect("the daemon answers");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Kills it as `kill -9` does; what is left is the user with the data folder.
    pub fn kill(mut self) -> User {
        self.process.kill();
        self.user.clone()
    }

    /// How it is doing.
    pub async fn status(&self) -> Status {
        self.api.status().await.expect("the daemon answers")
    }

    /// Waits until its status is as wanted, and answers with it.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`], or the daemon is gone.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let waiting = async {
            // Asked for before the first look: nothing that happens in between is missed.
            let mut events = self.api.events().await.expect("the daemon answers");
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
                // Not every change is an event, so it looks by itself as well.
                let _ = tokio::time::timeout(LOOK_INTERVAL, events.next()).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("{} never {what}: {last:#?}", self.name),
        }
    }

    /// Shares a folder, and waits until all of its files can be found: `files` is how many files
    /// the node shares from then on.
    pub async fn share(&self, folder: &Path, files: u64) {
        let folder = folder.to_str().expect("a plain path");
        let _ = self.run(&["share", "add", folder]).await.worked();
        self.published(files).await;
    }

    /// Waits until so many files are known, and all of them are in the index of the parent, or,
    /// for a supernode, in its own.
    pub async fn published(&self, files: u64) -> Status {
        self.until(&format!("published {files} files"), |status| {
            let held =
                status.supernode.as_ref().map_or(status.attachment.published, |own| own.records);
            let pending = status.library.scanning || status.attachment.publish_pending > 0;
            status.library.files == files && held >= files && !pending
        })
        .await
    }

    /// Searches, and waits for the end. That the node had nobody to ask is an answer too.
    ///
    /// # Panics
    /// If the command failed for another reason.
    pub async fn search(&self, words: &[&str]) -> Found {
        let words = [&["search"], words].concat();
        Found::of(self.run(&words).await)
    }

    /// Starts a search and does not wait: its hits come from the process, one JSON value a line.
    pub fn start_search(&self, words: &[&str]) -> Process {
        let words = [&["search"], words].concat();
        Process::spawn(&format!("{} searching", self.name), self.command(&words), &self.log)
    }

    /// Waits until a search finds what is wanted, searching again and again.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub async fn search_until(&self, words: &[&str], wanted: impl Fn(&Found) -> bool) -> Found {
        let what = format!("{} did not find {words:?}", self.name);
        within_patience(&what, async {
            loop {
                let found = self.search(words).await;
                if wanted(&found) {
                    return found;
                }
                tokio::time::sleep(SEARCH_AGAIN).await;
            }
        })
        .await
    }

    /// Looks a user up until what is found is as wanted.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`].
    pub async fn find_until(
        &self,
        name: &str,
        wanted: impl Fn(&Outcome, &[NamedNode]) -> bool,
    ) -> Vec<NamedNode> {
        within_patience(&format!("{} did not find {name}", self.name), async {
            loop {
                let outcome = self.run(&["find", name]).await;
                let nodes: Vec<NamedNode> = outcome.json();
                if wanted(&outcome, &nodes) {
                    return nodes;
                }
                // Look-ups have a budget, and no event tells when another one is worth it.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
        .await
    }

    /// Fetches a content into a folder, and waits for the end.
    pub async fn get(&self, content: ContentId, into: &Path) -> Download {
        let outcome = command::run(self.get_command(content, into)).await.worked();
        outcome.json().pop().expect("a download says how it ended")
    }

    /// Starts to fetch a content and does not wait: its progress comes from the process, one
    /// [`Download`] a line.
    pub fn start_get(&self, content: ContentId, into: &Path) -> Process {
        let name = format!("{} fetching", self.name);
        Process::spawn(&name, self.get_command(content, into), &self.log)
    }

    /// The command that fetches a content into a folder.
    pub fn get_command(&self, content: ContentId, into: &Path) -> Command {
        let into = into.to_str().expect("a plain path");
        self.command(&["get", &content.to_string(), "-o", into])
    }
}

/// Follows a download that [`Node::start_get`] started until it is as wanted.
///
/// # Panics
/// If it ends before.
pub async fn follow(get: &mut Process, wanted: impl Fn(&Download) -> bool) -> Download {
    loop {
        let Some(download) = get.next_json::<Download>().await else {
            panic!("the download ended too early; it logged: {}", get.log());
        };
        if wanted(&download) {
            return download;
        }
        assert!(!download.state.is_final(), "the download ended too early: {download:?}");
    }
}

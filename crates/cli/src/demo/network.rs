//! The network of the demo: its processes, and their ties as they stand.

use super::service::{self, Service};
use super::stage::{Scene, Stage, Tie};
use crate::commands::down::until_free;
use crate::commands::login_server;
use crate::commands::up;
use crate::failure::Failure;
use crate::ui::progress;
use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use skein_node::api::ApiClient;
use skein_node::api::types::{DaemonEvent, Status};
use skein_node::home::Home;
use skein_proto::{NodeId, Role};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The supernodes, named after geese.
const SUPERNODES: [&str; 3] = ["greylag", "brant", "pinkfoot"];

/// The ordinary nodes, named after trees.
const ORDINARY: [&str; super::library::SHELVES] =
    ["alder", "birch", "cedar", "dogwood", "elder", "fir", "ginkgo", "hazel"];

/// Three supernodes with room for three children each: eight nodes cannot all go to one or two of
/// them, so that there are other supernodes' children to find.
const MAX_CHILDREN: &str = "3";

/// The folder of the data folders.
pub const NODES: &str = "nodes";

/// The name of an empty settings file.
const NO_SETTINGS: &str = "no-settings.toml";

/// How long joining, linking and publishing may take together on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Some changes (one more neighbour, the last record taken in) come without an event of their own,
/// so the status is asked for this often besides.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node of the network.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub id: NodeId,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Its local API.
    pub client: ApiClient,
    service: Service,
}

/// Everything that runs. Dropping it ends all processes, and then removes the folder.
#[derive(Debug)]
pub struct Network {
    /// The supernodes.
    pub supernodes: Vec<Node>,
    /// The ordinary nodes.
    pub ordinary: Vec<Node>,
    login: Option<Service>,
    ticket: String,
    password: String,
    // The last field: dropped when the processes that write into it are gone.
    temp: TempDir,
}

impl Network {
    /// An empty network in a new temporary folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Result<Self, Failure> {
        let temp = tempfile::Builder::new()
            .prefix("skein-demo-")
            .tempdir()
            .map_err(|error| Failure::failed(format!("cannot make a temporary folder: {error}")))?;
        // The user's own settings are for the user's own node; these are none.
        let config = temp.path().join(NO_SETTINGS);
        std::fs::write(&config, "")
            .map_err(|error| Failure::file("write the settings file", &config, &error))?;
        // Nobody needs to know it: the names are gone with the network.
        let password = format!("{:032x}", rand::random::<u128>());
        Ok(Self {
            supernodes: Vec::new(),
            ordinary: Vec::new(),
            login: None,
            ticket: String::new(),
            password,
            temp,
        })
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// The network ticket; empty before the login service is up.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Starts the login service.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_login_service(&mut self, stage: &Stage) -> Result<(), Failure> {
        let started = Instant::now();
        let spinner = progress::spinner(&stage.ui, "starting…");
        let name = "login-service";
        let listen = ["--listen", "127.0.0.1:0", "--exit-with-parent", "--json"];
        let words = self.words(name, &[&["login-server"], &listen[..]].concat());
        let mut service = Service::spawn(name, &words, &self.log(name))?;
        let ready: login_server::Ready = service.ready().await?;
        spinner.finish_and_clear();
        self.login = Some(service);
        self.ticket = ready.ticket.clone();
        stage.tell(&Scene::LoginServiceUp {
            listen: ready.listen,
            ticket: ready.ticket,
            took_ms: millis_since(started),
        })
    }

    /// Starts the supernodes and waits until each is linked to all others.
    ///
    /// # Errors
    /// One does not start, or they do not find one another.
    pub async fn start_supernodes(&mut self, stage: &Stage) -> Result<(), Failure> {
        let started = Instant::now();
        let role = ["--role", "super", "--max-children", MAX_CHILDREN];
        self.supernodes = self.start_all(stage, &SUPERNODES, &role).await?;
        let others = SUPERNODES.len() - 1;
        let is_linked = |status: &Status| {
            status.supernode.as_ref().is_some_and(|it| it.neighbours as usize >= others)
        };
        let spinner = progress::count_bar(&stage.ui, SUPERNODES.len() as u64, "linking");
        let waits = self.supernodes.iter().map(|node| async {
            let status = node.wait_for("link to its neighbours", is_linked).await;
            spinner.inc(1);
            status
        });
        let linked = try_join_all(waits).await;
        spinner.finish_and_clear();
        linked?;
        stage.tell(&Scene::SupernodesLinked {
            names: SUPERNODES.map(str::to_owned).to_vec(),
            took_ms: millis_since(started),
        })
    }

    /// Starts the ordinary nodes and waits until each has a parent.
    ///
    /// # Errors
    /// One does not start or finds no supernode.
    pub async fn start_ordinary(&mut self, stage: &Stage) -> Result<Vec<Tie>, Failure> {
        let started = Instant::now();
        self.ordinary = self.start_all(stage, &ORDINARY, &["--role", "ordinary"]).await?;
        let bar = progress::count_bar(&stage.ui, ORDINARY.len() as u64, "choosing supernodes");
        let waits = self.ordinary.iter().map(|node| async {
            let is_attached = |status: &Status| status.attachment.parent.is_some();
            let status = node.wait_for("find a supernode", is_attached).await?;
            bar.inc(1);
            self.tie(node, status.attachment.parent)
        });
        let ties = try_join_all(waits).await;
        bar.finish_and_clear();
        let ties = ties?;
        stage
            .tell(&Scene::AllAttached { parents: ties.clone(), took_ms: millis_since(started) })?;
        Ok(ties)
    }

    /// The name of the supernode with this id.
    pub fn supernode_name(&self, id: &NodeId) -> Option<&str> {
        self.supernodes.iter().find(|node| node.id == *id).map(|node| node.name.as_str())
    }

    /// Ends all processes in order, ordinary nodes first, and removes the folder.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub async fn end(self) -> Result<(), Failure> {
        let Self { supernodes, ordinary, login, temp, .. } = self;
        join_all(ordinary.into_iter().map(|node| node.service.end())).await;
        join_all(supernodes.into_iter().map(|node| node.service.end())).await;
        if let Some(login) = login {
            login.end().await;
        }
        let dir = temp.path().to_owned();
        end_guests(&dir.join(NODES)).await;
        temp.close().map_err(|error| Failure::file("remove", &dir, &error))
    }

    async fn start_all(
        &self,
        stage: &Stage,
        names: &[&str],
        role: &[&str],
    ) -> Result<Vec<Node>, Failure> {
        let bar = progress::count_bar(&stage.ui, names.len() as u64, "starting");
        let starts = names.iter().map(|name| async {
            let node = self.start_node(stage, name, role).await;
            bar.inc(1);
            node
        });
        // All are waited for, also when one fails: none may be left half-started.
        let nodes = join_all(starts).await;
        bar.finish_and_clear();
        nodes.into_iter().collect()
    }

    /// Registers a name for a new node and starts it.
    async fn start_node(&self, stage: &Stage, name: &str, role: &[&str]) -> Result<Node, Failure> {
        let data_dir = self.data_dir(name);
        let log = self.log(name);
        let register =
            ["register", name, "--json", "--password-file", "-", "--ticket", &self.ticket];
        service::run_once(name, &self.words(name, &register), &self.password, &log).await?;

        let mut up = self.words(name, &["up", "--json", "--exit-with-parent"]);
        up.extend(["--listen", "127.0.0.1:0", "--log-level", "debug"].map(OsString::from));
        up.extend(role.iter().map(OsString::from));
        up.push("--download-dir".into());
        up.push(self.dir().join("downloads").join(name).into());
        let mut service = Service::spawn(name, &up, &log)?;
        let ready: up::Ready = service.ready().await?;
        stage.tell(&Scene::NodeUp {
            name: name.to_owned(),
            is_super: role.contains(&"super"),
            node: ready.node,
            pid: service.pid().unwrap_or(ready.pid),
            listen: ready.listen,
            api: ready.api,
            data_dir: data_dir.clone(),
        })?;
        let client = ApiClient::from_home(&Home::at(&data_dir))?;
        Ok(Node { name: name.to_owned(), id: ready.node, data_dir, client, service })
    }

    fn tie(&self, node: &Node, parent: Option<NodeId>) -> Result<Tie, Failure> {
        let parent = parent.and_then(|id| self.supernode_name(&id)).ok_or_else(|| {
            node.service.broken("is attached to something that is no supernode of this network")
        })?;
        Ok(Tie { name: node.name.clone(), parent: parent.to_owned() })
    }

    /// The words of a command for the node or service with this name.
    fn words(&self, name: &str, more: &[&str]) -> Vec<OsString> {
        let config = self.dir().join(NO_SETTINGS);
        let mut words: Vec<OsString> = vec!["--data-dir".into(), self.data_dir(name).into()];
        words.extend(["--config".into(), config.into()]);
        words.extend(more.iter().map(OsString::from));
        words
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        self.dir().join(NODES).join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.log"))
    }
}

impl Node {
    /// Waits until the node's status is as wanted: it is looked at after every event, and now and
    /// then in between.
    ///
    /// # Errors
    /// The node is gone, or it takes too long; `what` says what it was to do.
    pub async fn wait_for(
        &self,
        what: &str,
        is_wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status, Failure> {
        let wait = async {
            let mut events = self.client.events().await?;
            loop {
                let status = self.client.status().await?;
                if is_wanted(&status) {
                    return Ok(status);
                }
                tokio::select! {
                    event = next_change(&mut events) => event?,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(failure)) => {
                let failure: Failure = failure;
                Err(self.service.broken(&format!("could not {what}: {failure}")))
            }
            Err(_) => {
                let secs = PATIENCE.as_secs();
                Err(self.service.broken(&format!("could not {what} in {secs} s")))
            }
        }
    }

    /// Waits until the parent, or for a supernode its own index, has all that is shared.
    ///
    /// # Errors
    /// As [`Node::wait_for`].
    pub async fn wait_until_published(&self, files: u64) -> Result<Status, Failure> {
        self.wait_for("publish what it shares", |status| {
            let attachment = &status.attachment;
            let is_out = status.role == Role::Super
                || (attachment.publish_pending == 0 && attachment.published >= files);
            status.library.files >= files && !status.library.scanning && is_out
        })
        .await
    }
}

/// Ends the nodes that the user has started beside those of the demo: their folders go away with
/// it. One that does not end keeps nobody from clearing away.
async fn end_guests(nodes: &Path) {
    let Ok(entries) = std::fs::read_dir(nodes) else { return };
    for entry in entries.flatten() {
        let home = Home::at(entry.path());
        if !matches!(home.occupant(), Ok(Some(_))) {
            continue;
        }
        let Ok(client) = ApiClient::from_home(&home) else { continue };
        if client.shutdown().await.is_ok() {
            let _ = tokio::time::timeout(service::END_PATIENCE, until_free(&home)).await;
        }
    }
}

/// The next event that may change a status; the progress of a scan does not.
async fn next_change(events: &mut skein_node::api::ApiStream<DaemonEvent>) -> Result<(), Failure> {
    loop {
        match events.next().await {
            Some(Ok(DaemonEvent::Scan { .. })) => {}
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::failed("the node has ended")),
        }
    }
}

/// Whole milliseconds since `start`.
pub fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

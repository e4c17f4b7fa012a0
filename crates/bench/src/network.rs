//! A network to measure: its login service in this process, its nodes in processes of their own, all
//! of it on loopback.

use crate::line::Line;
use crate::quic;
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use skein_login::{LoginConfig, Server};
use skein_node::account::Session;
use skein_node::api::ApiClient;
use skein_node::api::types::{RegisterAccount, RoleSetting, Status};
use skein_node::config::{ConfigBuilder, LogLevel, Reach, Settings};
use skein_node::daemon::Daemon;
use skein_node::home::Home;
use skein_proto::login::Password;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long the network may take to form, and anything that it is asked.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a node is asked whether it is ready.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What nodes are like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Manner {
    /// What they are.
    pub role: RoleSetting,
    /// How many children each takes as a supernode; as many as the settings say where none is given.
    pub max_children: Option<u32>,
    /// Whether no peer is told where they are, so that nothing goes directly.
    pub hidden: bool,
    /// The delay of the line that each of them is behind, each way.
    pub line: Duration,
}

impl Manner {
    /// Nodes of this role without anything particular.
    pub const fn of(role: RoleSetting) -> Self {
        Self { role, max_children: None, hidden: false, line: Duration::ZERO }
    }
}

/// Nodes to be run in one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    data_dirs: Vec<PathBuf>,
    manner: Manner,
}

/// The login service, and the folder in which all nodes live.
pub struct Network {
    login: Server,
    ticket: String,
    temp: TempDir,
}

impl Network {
    /// Starts the login service.
    ///
    /// # Errors
    /// Its own, and those of the disk.
    pub async fn start() -> Result<Self> {
        let temp = tempfile::tempdir()?;
        let config = LoginConfig::new(temp.path().join("login")).listen(quic::loopback());
        let login = Server::start(config).await?;
        let ticket = login.ticket([login.local_addr().to_string()])?.to_string();
        Ok(Self { login, ticket, temp })
    }

    /// The folder in which all nodes live.
    pub fn folder(&self) -> &Path {
        self.temp.path()
    }

    /// Registers a name, and answers where its node lives.
    ///
    /// # Errors
    /// The name is not to be had.
    pub async fn enrol(&self, name: String) -> Result<Home> {
        let home = Home::at(self.folder().join(&name));
        let session = Session::open(&home)?;
        let account = RegisterAccount {
            name,
            password: Password::new(format!("{:032x}", rand::random::<u128>()))?,
            invite: None,
            ticket: Some(self.ticket.clone()),
            replace_network: false,
        };
        session.register(account).await?;
        session.close().await;
        Ok(home)
    }

    /// Ends the login service, and removes the folder.
    pub async fn end(self) {
        self.login.shutdown().await;
    }
}

/// Starts nodes in one process of their own.
///
/// # Errors
/// One of them does not start.
pub async fn run(homes: &[&Home], manner: Manner) -> Result<(Worker, Vec<ApiClient>)> {
    let data_dirs = homes.iter().map(|home| home.dir().to_owned()).collect();
    let (worker, ()) = Worker::start(&Job::Nodes(Nodes { data_dirs, manner })).await?;
    let clients = homes.iter().map(|home| ApiClient::from_home(home));
    Ok((worker, clients.collect::<Result<_, _>>()?))
}

/// Waits until a node is as wanted.
///
/// # Errors
/// It is not in time.
pub async fn wait_for(node: &ApiClient, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
    let wait = async {
        while !is_so(&node.status().await?) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.with_context(|| format!("a node does not {what}"))?
}

/// Waits until all of these supernodes are linked to each other.
///
/// # Errors
/// They are not in time.
pub async fn wait_until_linked<'a>(
    supernodes: impl ExactSizeIterator<Item = &'a ApiClient>,
) -> Result<()> {
    let others = supernodes.len().saturating_sub(1);
    for node in supernodes {
        wait_for(node, "link to the others", |status| {
            let linked = status.supernode.as_ref().map_or(0, |it| it.neighbours);
            linked as usize == others
        })
        .await?;
    }
    Ok(())
}

/// The worker that is some nodes.
///
/// # Errors
/// A daemon's.
pub async fn work(nodes: Nodes, mut boss: Boss) -> Result<()> {
    let manner = nodes.manner;
    let mut daemons = Vec::new();
    for data_dir in nodes.data_dirs {
        let settings = Settings {
            download_dir: Some(data_dir.join("inbox")),
            data_dir: Some(data_dir),
            listen: Some(quic::loopback()),
            api_listen: Some(quic::loopback()),
            role: Some(manner.role),
            max_children: manner.max_children,
            reach: manner.hidden.then_some(Reach::RelayOnly),
            log_level: Some(LogLevel::Error),
            ..Settings::default()
        };
        let config = ConfigBuilder::new().no_file().flags(settings).build()?;
        daemons.push(if manner.line.is_zero() {
            Daemon::start(config).await?
        } else {
            Daemon::start_on(config, Line::open(quic::loopback(), manner.line)?).await?
        });
    }
    boss.say(&())?;
    while let Some(()) = boss.next().await? {}
    for daemon in daemons {
        daemon.shutdown().await;
    }
    Ok(())
}

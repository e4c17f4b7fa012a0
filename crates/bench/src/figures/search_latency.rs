//! How long a search takes whose hits are with children of other supernodes, as a user sees it:
//! through the local API, over a network of real processes.

use crate::corpus::Corpus;
use crate::figure::{Figure, Outcome, Run};
use crate::quic;
use crate::statistics::{median, quantile};
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, try_join_all};
use serde::{Deserialize, Serialize};
use skein_login::{LoginConfig, Server};
use skein_net::{Connection, Endpoint, EndpointConfig};
use skein_node::account::Session;
use skein_node::api::ApiClient;
use skein_node::api::types::{RegisterAccount, RoleSetting, SearchEvent, StartSearch, Status};
use skein_node::config::{ConfigBuilder, LogLevel, Settings};
use skein_node::daemon::Daemon;
use skein_node::home::Home;
use skein_proto::login::Password;
use skein_proto::message::{Probe, ProbeReply};
use skein_proto::supernode::Load;
use skein_proto::{Filter, KeyPair, Message, NodeId, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the first hit may take: the query goes by one connection to the parent and by one to the
/// neighbour, the hit comes back the same way, so that two round trips cannot be spared. Eight more
/// are for what five processes do on two cores,
const ROUND_TRIPS: f64 = 10.0;

/// and this is for the local API: a new TCP connection, HTTP, JSON.
const API: Duration = Duration::from_millis(5);

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "search-latency",
    what: "time to the first hit from under another supernode, and to the end of the search; 3 \
           supernodes and 6 other nodes as processes, against a bare QUIC request",
    bar: "median first hit <= 10 round trips + 5 ms",
    measure: |run| measure(run).boxed(),
};

/// Supernodes.
const SUPERNODES: usize = 3;

/// Other nodes.
const ORDINARY: usize = 6;

/// Children of a supernode, so that each has two.
const CHILDREN: u32 = 2;

/// Files of each ordinary node, beside those that are searched for.
const FILES: u64 = 500;

/// Files of each node that a search finds.
const WANTED: u64 = 5;

/// The time between two searches: a supernode lets each child start five a second, and this is not
/// a measurement of how they are refused.
const PAUSE: Duration = Duration::from_millis(250);

/// How long the network may take to form, and a search to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a node is asked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeJob {
    data_dir: PathBuf,
    role: RoleSetting,
}

/// Where the worker listens that answers requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Answerer {
    node: NodeId,
    address: SocketAddr,
}

/// Seconds from the start of a search.
#[derive(Clone, Copy, Debug)]
struct Timing {
    first: f64,
    whole: f64,
}

async fn measure(run: &Run) -> Result<Outcome> {
    let searches = run.size(100, 20);
    let network = Network::start().await?;
    let asker = &network.ordinary[0];
    let parent = asker.parent().await?;
    let mut far = Vec::new();
    for (number, node) in network.ordinary.iter().enumerate() {
        if node.parent().await? != parent {
            far.push(number);
        }
    }
    ensure!(!far.is_empty(), "all nodes have the same parent");
    run.say(format_args!(
        "{searches} searches, each for {WANTED} files of one of {} nodes with another parent, and \
         as many bare requests, by turns",
        far.len()
    ));
    let (answerer, reference) = Reference::start().await?;
    let (mut timings, mut round_trips) = (Vec::new(), Vec::new());
    // The first of each are not counted: connections and code are still cold.
    for number in 0..=searches {
        let target = far[number % far.len()];
        let timing = asker.search(target).await?;
        let round_trip = reference.round_trip().await?;
        if number > 0 {
            timings.push(timing);
            round_trips.push(round_trip);
        }
        tokio::time::sleep(PAUSE).await;
    }
    answerer.end().await?;
    network.end().await?;

    let round_trip = median(round_trips);
    let first = median(timings.iter().map(|it| it.first));
    let late = quantile(timings.iter().map(|it| it.first), 0.95);
    let whole = median(timings.iter().map(|it| it.whole));
    let bound = ROUND_TRIPS * round_trip + API.as_secs_f64();
    let millis = |seconds: f64| seconds * 1e3;
    run.say(format_args!(
        "a bare request takes {:.2} ms: the bar is {:.2} ms",
        millis(round_trip),
        millis(bound)
    ));
    Ok(Outcome {
        figure: format!(
            "first hit after {:.2} ms (95 % within {:.2} ms), the whole search {:.2} ms; a bare \
             request {:.2} ms",
            millis(first),
            millis(late),
            millis(whole),
            millis(round_trip)
        ),
        holds: first <= bound,
        values: vec![
            ("first_hit_ms", millis(first)),
            ("first_hit_p95_ms", millis(late)),
            ("search_ms", millis(whole)),
            ("round_trip_ms", millis(round_trip)),
            ("bound_ms", millis(bound)),
        ],
    })
}

/// The network, with its login service in this process.
struct Network {
    ordinary: Vec<Node>,
    supernodes: Vec<Node>,
    login: Server,
    _temp: TempDir,
}

/// A node in a process of its own.
struct Node {
    client: ApiClient,
    worker: Worker,
}

impl Network {
    async fn start() -> Result<Self> {
        let temp = tempfile::tempdir()?;
        let config = LoginConfig::new(temp.path().join("login")).listen(quic::loopback());
        let login = Server::start(config).await?;
        let ticket = login.ticket([login.local_addr().to_string()])?.to_string();
        let start = async |name: String, role| Node::start(temp.path(), name, role, &ticket).await;
        let supernodes = (0..SUPERNODES).map(|n| start(format!("super{n}"), RoleSetting::Super));
        let supernodes = try_join_all(supernodes).await?;
        for node in &supernodes {
            node.wait_for("link to the others", |status| {
                let linked = status.supernode.as_ref().map_or(0, |it| it.neighbours);
                linked as usize == SUPERNODES - 1
            })
            .await?;
        }
        let ordinary = (0..ORDINARY).map(|n| start(format!("node{n}"), RoleSetting::Ordinary));
        let ordinary = try_join_all(ordinary).await?;
        let corpus = Corpus::new(1);
        for (number, node) in ordinary.iter().enumerate() {
            let shelf = temp.path().canonicalize()?.join(format!("shelf {number}"));
            fill(&shelf, number, &corpus)?;
            node.client.add_share(shelf).await?;
        }
        for node in &ordinary {
            node.wait_for("publish its files", |status| {
                let attachment = &status.attachment;
                attachment.publish_pending == 0 && attachment.published == FILES + WANTED
            })
            .await?;
        }
        Ok(Self { ordinary, supernodes, login, _temp: temp })
    }

    async fn end(self) -> Result<()> {
        try_join_all(self.ordinary.into_iter().map(|node| node.worker.end())).await?;
        try_join_all(self.supernodes.into_iter().map(|node| node.worker.end())).await?;
        self.login.shutdown().await;
        Ok(())
    }
}

/// A word that only the files of one node have.
fn beacon(node: usize) -> String {
    format!("beacon{node}")
}

fn fill(shelf: &Path, node: usize, corpus: &Corpus) -> Result<()> {
    std::fs::create_dir(shelf)?;
    let names = corpus.records(FILES * ORDINARY as u64).skip(node * FILES as usize);
    for (number, file) in names.take(FILES as usize).enumerate() {
        let name = format!("{number} {}", file.path.file_name());
        std::fs::write(shelf.join(name), format!("file {number} of node {node}"))?;
    }
    for number in 0..WANTED {
        let name = format!("{} {number}.txt", beacon(node));
        std::fs::write(shelf.join(name), format!("wanted {number} of node {node}"))?;
    }
    Ok(())
}

impl Node {
    async fn start(folder: &Path, name: String, role: RoleSetting, ticket: &str) -> Result<Self> {
        let data_dir = folder.join(&name);
        let home = Home::at(&data_dir);
        let session = Session::open(&home)?;
        let account = RegisterAccount {
            name,
            password: Password::new(format!("{:032x}", rand::random::<u128>()))?,
            invite: None,
            ticket: Some(ticket.to_owned()),
            replace_network: false,
        };
        session.register(account).await?;
        session.close().await;
        let (worker, ()) = Worker::start(&Job::Node(NodeJob { data_dir, role })).await?;
        Ok(Self { client: ApiClient::from_home(&home)?, worker })
    }

    async fn wait_for(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        let wait = async {
            while !is_so(&self.client.status().await?) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("a node does not {what}"))?
    }

    async fn parent(&self) -> Result<NodeId> {
        self.client.status().await?.attachment.parent.context("a node lost its parent")
    }

    async fn search(&self, target: usize) -> Result<Timing> {
        let words = beacon(target);
        let search = StartSearch { words, filter: Filter::default(), limit: None, more: false };
        let started = Instant::now();
        let mut events = self.client.search(&search).await?;
        let (mut first, mut found) = (None, 0);
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next()).await;
            match event.context("a search hangs")?.context("a search has no end")?? {
                SearchEvent::Hit(_) => {
                    first.get_or_insert_with(|| started.elapsed().as_secs_f64());
                    found += 1;
                }
                SearchEvent::Done(report) => {
                    let whole = started.elapsed().as_secs_f64();
                    ensure!(found == WANTED, "{found} of {WANTED} files were found: {report:?}");
                    return Ok(Timing { first: first.unwrap_or(whole), whole });
                }
                _ => {}
            }
        }
    }
}

/// A bare request and its answer, over a connection that is open.
struct Reference {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Reference {
    async fn start() -> Result<(Worker, Self)> {
        let (worker, answerer): (_, Answerer) = Worker::start(&Job::Answer).await?;
        let key = KeyPair::from_seed(&rand::random());
        let endpoint = Endpoint::bind(&key, quic::loopback(), EndpointConfig::dial_only())?;
        let connection = endpoint.connect(answerer.node, &[answerer.address]).await?;
        Ok((worker, Self { connection, _endpoint: endpoint }))
    }

    async fn round_trip(&self) -> Result<f64> {
        let started = Instant::now();
        let mut stream = self.connection.open_stream().await?;
        let reply = stream.request(&Message::Probe(Probe), PATIENCE).await?;
        ensure!(matches!(reply, Some(Message::ProbeReply(_))), "a wrong answer");
        Ok(started.elapsed().as_secs_f64())
    }
}

/// The worker that is a node.
///
/// # Errors
/// The daemon's.
pub async fn node(job: NodeJob, mut boss: Boss) -> Result<()> {
    let settings = Settings {
        download_dir: Some(job.data_dir.join("inbox")),
        data_dir: Some(job.data_dir),
        listen: Some(quic::loopback()),
        api_listen: Some(quic::loopback()),
        role: Some(job.role),
        max_children: Some(CHILDREN),
        log_level: Some(LogLevel::Error),
        ..Settings::default()
    };
    let config = ConfigBuilder::new().no_file().flags(settings).build()?;
    let daemon = Daemon::start(config).await?;
    boss.say(&())?;
    while let Some(()) = boss.next().await? {}
    daemon.shutdown().await;
    Ok(())
}

/// The worker that answers requests.
///
/// # Errors
/// The network's.
pub async fn answer(mut boss: Boss) -> Result<()> {
    let key = KeyPair::from_seed(&rand::random());
    let endpoint = Endpoint::bind(&key, quic::loopback(), EndpointConfig::default())?;
    boss.say(&Answerer { node: endpoint.node_id(), address: endpoint.local_addr()? })?;
    let serving = endpoint.clone();
    tokio::spawn(async move {
        while let Some(connection) = serving.accept().await {
            while let Ok(mut stream) = connection.accept_stream().await {
                let reply = ProbeReply { role: Role::Ordinary, load: Load::default() };
                // Whoever asks sees that there is no answer.
                if let Ok(Some(Message::Probe(_))) = stream.receiver.recv().await
                    && stream.sender.send(&reply.into()).await.is_ok()
                {
                    let _ = stream.sender.finish().await;
                }
            }
        }
    });
    while let Some(()) = boss.next().await? {}
    Ok(())
}

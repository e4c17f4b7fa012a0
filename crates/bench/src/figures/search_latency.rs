//! How long a search takes whose hits are with children of other supernodes, as a user sees it:
//! through the local API, over a network of real processes.

use crate::corpus::Corpus;
use crate::figure::{Figure, Outcome, Run};
use crate::network::{self, Manner, PATIENCE, wait_for};
use crate::quic;
use crate::statistics::{median, quantile};
use crate::worker::{Boss, Job, Worker};
use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, try_join_all};
use serde::{Deserialize, Serialize};
use skein_net::{Connection, Endpoint, EndpointConfig};
use skein_node::api::ApiClient;
use skein_node::api::types::{RoleSetting, SearchEvent, StartSearch};
use skein_proto::message::{Probe, ProbeReply};
use skein_proto::supernode::Load;
use skein_proto::{Filter, KeyPair, Message, NodeId, Role};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// The network: who searches, and those between them.
struct Network {
    ordinary: Vec<Node>,
    supernodes: Vec<Node>,
    base: network::Network,
}

/// A node in a process of its own.
struct Node {
    client: ApiClient,
    worker: Worker,
}

impl Network {
    async fn start() -> Result<Self> {
        let base = network::Network::start().await?;
        let start = async |name: String, role| Node::start(&base, name, role).await;
        let supernodes = (0..SUPERNODES).map(|n| start(format!("super{n}"), RoleSetting::Super));
        let supernodes = try_join_all(supernodes).await?;
        network::wait_until_linked(supernodes.iter().map(|node| &node.client)).await?;
        let ordinary = (0..ORDINARY).map(|n| start(format!("node{n}"), RoleSetting::Ordinary));
        let ordinary = try_join_all(ordinary).await?;
        let corpus = Corpus::new(1);
        for (number, node) in ordinary.iter().enumerate() {
            let shelf = base.folder().canonicalize()?.join(format!("shelf {number}"));
            fill(&shelf, number, &corpus)?;
            node.client.add_share(shelf).await?;
        }
        for node in &ordinary {
            wait_for(&node.client, "publish its files", |status| {
                let attachment = &status.attachment;
                attachment.publish_pending == 0 && attachment.published == FILES + WANTED
            })
            .await?;
        }
        Ok(Self { ordinary, supernodes, base })
    }

    async fn end(self) -> Result<()> {
        try_join_all(self.ordinary.into_iter().map(|node| node.worker.end())).await?;
        try_join_all(self.supernodes.into_iter().map(|node| node.worker.end())).await?;
        self.base.end().await;
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
    async fn start(network: &network::Network, name: String, role: RoleSetting) -> Result<Self> {
        let home = network.enrol(name).await?;
        let manner = Manner { max_children: Some(CHILDREN), ..Manner::of(role) };
        let (worker, mut clients) = network::run(&[&home], manner).await?;
        let client = clients.pop().context("no node")?;
        Ok(Self { client, worker })
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

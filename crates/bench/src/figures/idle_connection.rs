//! The memory of an idle inbound connection: what bounds how many children a supernode can hold.

use crate::figure::{Figure, Outcome, Run};
use crate::quic::{self, Identity, Stack};
use crate::statistics::median;
use crate::usage;
use crate::worker::{Boss, Job, Worker};
use anyhow::{Result, ensure};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use skein_net::Endpoint;
use skein_proto::KeyPair;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most that ours may take of what quinn takes by itself. Of quinn's memory about a third goes
/// to streams that may be opened but are not, which our settings spare; what our table, tasks and
/// the peer's certificate add must stay below half of that.
const BAR: f64 = 0.85;

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "idle-connection",
    what: "memory of an idle inbound connection, against raw quinn with its own settings",
    bar: "<= 0.85 x raw quinn",
    measure: |run| measure(run).boxed(),
};

/// Rounds, each with new processes.
const ROUNDS: usize = 3;

/// Handshakes under way at the same time.
const AT_ONCE: usize = 32;

/// How long the last handshakes are given to become idle connections: path discovery and the
/// confirmation of the handshake take some round trips.
const SETTLE: Duration = Duration::from_secs(3);

/// Opens connections to a server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Dial {
    address: SocketAddr,
    connections: usize,
}

/// What a server uses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Usage {
    bytes: u64,
    connections: u64,
}

async fn measure(run: &Run) -> Result<Outcome> {
    let connections = run.size(2_000, 300);
    run.say(format_args!(
        "{connections} connections from one process to another, {ROUNDS} rounds of each"
    ));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(bytes_each(Stack::Skein, connections).await?);
        theirs.push(bytes_each(Stack::Quinn, connections).await?);
        run.say(format_args!(
            "round {round}: ours {:.1} KiB, raw quinn {:.1} KiB",
            ours[round - 1] / 1024.0,
            theirs[round - 1] / 1024.0
        ));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours / theirs;
    Ok(Outcome {
        figure: format!(
            "{:.1} KiB an idle connection, {ratio:.2} x raw quinn ({:.1} KiB)",
            ours / 1024.0,
            theirs / 1024.0
        ),
        holds: ratio <= BAR,
        values: vec![("ours_bytes", ours), ("quinn_bytes", theirs), ("ratio", ratio)],
    })
}

async fn bytes_each(stack: Stack, connections: usize) -> Result<f64> {
    let (mut server, address): (_, SocketAddr) = Worker::start(&Job::Hold(stack)).await?;
    let before: Usage = server.ask(&()).await?;
    let dial = Dial { address, connections };
    let (dialler, opened): (_, usize) = Worker::start(&Job::Dial(dial)).await?;
    ensure!(opened == connections, "only {opened} connections were opened");
    tokio::time::sleep(SETTLE).await;
    let after: Usage = server.ask(&()).await?;
    ensure!(
        after.connections == connections as u64,
        "{} of {connections} connections are open",
        after.connections
    );
    dialler.end().await?;
    server.end().await?;
    Ok(after.bytes.saturating_sub(before.bytes) as f64 / connections as f64)
}

/// The worker that is dialled: it keeps all connections, with a task for each that waits for
/// streams, as a node has it.
///
/// # Errors
/// The network's.
pub async fn hold(stack: Stack, mut boss: Boss) -> Result<()> {
    let open = Arc::<AtomicU64>::default();
    // Both endpoints live to the end of this function.
    let (skein, quinn);
    let address = match stack {
        Stack::Skein => {
            let key = KeyPair::from_seed(&rand::random());
            skein = Endpoint::bind(&key, quic::loopback(), quic::open_to_all())?;
            let (endpoint, open) = (skein.clone(), Arc::clone(&open));
            tokio::spawn(async move {
                while let Some(connection) = endpoint.accept().await {
                    open.fetch_add(1, Ordering::Relaxed);
                    let open = Arc::clone(&open);
                    tokio::spawn(async move {
                        while connection.accept_stream().await.is_ok() {}
                        open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
            skein.local_addr()?
        }
        Stack::Quinn => {
            quinn = quic::endpoint(Some(Identity::new()?.server()?))?;
            let (endpoint, open) = (quinn.clone(), Arc::clone(&open));
            tokio::spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    let open = Arc::clone(&open);
                    tokio::spawn(async move {
                        let Ok(connection) = incoming.await else { return };
                        open.fetch_add(1, Ordering::Relaxed);
                        while connection.accept_bi().await.is_ok() {}
                        open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
            quinn.local_addr()?
        }
    };
    boss.say(&address)?;
    while let Some(()) = boss.next().await? {
        let connections = open.load(Ordering::Relaxed);
        boss.say(&Usage { bytes: usage::memory()?, connections })?;
    }
    Ok(())
}

/// The worker that dials: each connection shows an identity of its own.
///
/// # Errors
/// The network's.
pub async fn dial(dial: Dial, mut boss: Boss) -> Result<()> {
    let endpoint = quic::endpoint(None)?;
    // A server with quinn's own settings sends no keep-alives: somebody has to.
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(4)));
    let transport = Arc::new(transport);
    let connections: Vec<quinn::Connection> = stream::iter(0..dial.connections)
        .map(|_| async {
            let mut client = Identity::new()?.client()?;
            client.transport_config(Arc::clone(&transport));
            quic::connect(&endpoint, client, dial.address).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    boss.say(&connections.len())?;
    while let Some(()) = boss.next().await? {}
    Ok(())
}

//! The CPU time that a handshake costs whoever is dialled: what bounds how fast a supernode takes
//! back its children after a power cut, and what strangers can make it spend.

use crate::figure::{Figure, Outcome, Run};
use crate::quic::{self, Identity, Stack};
use crate::statistics::median;
use crate::usage;
use crate::worker::{Boss, Job, Worker};
use anyhow::{Result, ensure};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use skein_net::{CloseReason, Endpoint};
use skein_proto::KeyPair;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most that a handshake may cost, of raw quinn's. Ours authenticates both sides: on top of the
/// one signature that raw quinn makes, the server reads a certificate and verifies a signature.
const BAR: f64 = 1.5;

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "handshake",
    what: "server CPU of a mutual handshake, against raw quinn with a one-way certificate",
    bar: "<= 1.5 x raw quinn",
    measure: |run| measure(run).boxed(),
};

/// Rounds of each, by turns.
const ROUNDS: usize = 7;

/// Handshakes under way at the same time.
const AT_ONCE: usize = 16;

/// Nodes that dial.
const DIALLERS: usize = 64;

/// Makes handshakes with a server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Shake {
    address: SocketAddr,
}

/// What a server has done so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Usage {
    cpu: f64,
    accepted: u64,
}

async fn measure(run: &Run) -> Result<Outcome> {
    let handshakes = run.size(1_000, 200);
    run.say(format_args!("{ROUNDS} rounds of {handshakes} handshakes with each, by turns"));
    let (mut ours, mut theirs) =
        (Pair::start(Stack::Skein).await?, Pair::start(Stack::Quinn).await?);
    // The first round of each warms up what is made once.
    ours.round(handshakes).await?;
    theirs.round(handshakes).await?;
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        our_rounds.push(ours.round(handshakes).await?);
        their_rounds.push(theirs.round(handshakes).await?);
        run.say(format_args!(
            "round {}: ours {:.0} µs, raw quinn {:.0} µs",
            round + 1,
            our_rounds[round] * 1e6,
            their_rounds[round] * 1e6
        ));
    }
    ours.end().await?;
    theirs.end().await?;
    let ratio = median(our_rounds.iter().zip(&their_rounds).map(|(ours, theirs)| ours / theirs));
    let (ours, theirs) = (median(our_rounds) * 1e6, median(their_rounds) * 1e6);
    Ok(Outcome {
        figure: format!(
            "{ours:.0} µs of the server's CPU a handshake, {ratio:.2} x raw quinn ({theirs:.0} µs)"
        ),
        holds: ratio <= BAR,
        values: vec![("ours_us", ours), ("quinn_us", theirs), ("ratio", ratio)],
    })
}

/// A server and somebody who dials it.
struct Pair {
    server: Worker,
    dialler: Worker,
}

impl Pair {
    async fn start(stack: Stack) -> Result<Self> {
        let (server, address): (_, SocketAddr) = Worker::start(&Job::Greet(stack)).await?;
        let (dialler, ()) = Worker::start(&Job::Shake(Shake { address })).await?;
        Ok(Self { server, dialler })
    }

    /// Seconds of the server's CPU a handshake.
    async fn round(&mut self, handshakes: u64) -> Result<f64> {
        let before: Usage = self.server.ask(&()).await?;
        let made: u64 = self.dialler.ask(&handshakes).await?;
        let after: Usage = self.server.ask(&()).await?;
        let accepted = after.accepted - before.accepted;
        ensure!(
            made == handshakes && accepted == handshakes,
            "{made} of {handshakes} handshakes were made, {accepted} accepted"
        );
        Ok((after.cpu - before.cpu) / handshakes as f64)
    }

    async fn end(self) -> Result<()> {
        self.dialler.end().await?;
        self.server.end().await
    }
}

/// The worker that is dialled. It closes each connection as soon as it has accepted it, which is
/// how the dialler knows that it did.
///
/// # Errors
/// The network's.
pub async fn greet(stack: Stack, mut boss: Boss) -> Result<()> {
    let accepted = Arc::<AtomicU64>::default();
    let (skein, quinn);
    let address = match stack {
        Stack::Skein => {
            let key = KeyPair::from_seed(&rand::random());
            skein = Endpoint::bind(&key, quic::loopback(), quic::open_to_all())?;
            let (endpoint, accepted) = (skein.clone(), Arc::clone(&accepted));
            tokio::spawn(async move {
                while let Some(connection) = endpoint.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    connection.close(CloseReason::Done);
                }
            });
            skein.local_addr()?
        }
        Stack::Quinn => {
            quinn = quic::endpoint(Some(Identity::new()?.server()?))?;
            let (endpoint, accepted) = (quinn.clone(), Arc::clone(&accepted));
            tokio::spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    let accepted = Arc::clone(&accepted);
                    tokio::spawn(async move {
                        let Ok(connection) = incoming.await else { return };
                        accepted.fetch_add(1, Ordering::Relaxed);
                        connection.close(0_u32.into(), b"");
                    });
                }
            });
            quinn.local_addr()?
        }
    };
    boss.say(&address)?;
    while let Some(()) = boss.next().await? {
        let cpu = usage::cpu().as_secs_f64();
        boss.say(&Usage { cpu, accepted: accepted.load(Ordering::Relaxed) })?;
    }
    Ok(())
}

/// The worker that dials, as [`DIALLERS`] nodes by turns: of one peer an endpoint keeps few
/// connections.
///
/// # Errors
/// The network's.
pub async fn shake(shake: Shake, mut boss: Boss) -> Result<()> {
    let endpoint = quic::endpoint(None)?;
    let clients = (0..DIALLERS).map(|_| Identity::new()?.client()).collect::<Result<Vec<_>>>()?;
    boss.say(&())?;
    while let Some(handshakes) = boss.next::<u64>().await? {
        let made = stream::iter(0..handshakes)
            .zip(stream::iter(clients.iter().cycle()))
            .map(|(_, client)| async {
                let connection = quic::connect(&endpoint, client.clone(), shake.address).await?;
                connection.closed().await;
                anyhow::Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0_u64, async |made, ()| Ok(made + 1))
            .await?;
        boss.say(&made)?;
    }
    Ok(())
}

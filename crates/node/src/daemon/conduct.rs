//! What transfers and the overlay tell each other about the conduct of peers: who sent how much,
//! who sent wrong bytes, and who is to be served before others.

use super::driver::Driver;
use skein_net::{Connection, Endpoint, StreamError};
use skein_overlay::Input;
use skein_proto::{Message, NodeId, Username};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the two are brought together. A queue of uploads is asked about every few seconds.
const ROUND: Duration = Duration::from_secs(2);

/// Peers that are kept in mind for each purpose. A node deals with some dozens at a time.
const MAX_PEERS: usize = 1_024;

/// How often an uploader that made this node wait is shown this node's evidence.
const SHOW_AGAIN: Duration = Duration::from_secs(60 * 60);

/// What this node has received from somebody is worth half after so long.
const HALF_LIFE: Duration = Duration::from_secs(60 * 60);

/// After so many failures in a row a source is doubtful. One alone may be a restart.
const DOUBTFUL: u32 = 2;

/// How long a source is doubtful after it failed last: as long as half of all nodes that went away
/// take to come back (see the workloads in the simulator's documentation), or a port to be opened.
const DOUBTED: Duration = Duration::from_secs(60 * 60);

/// What a doubling of the bytes received from somebody is worth, in points of reputation: a
/// mebibyte is 100, a gibibyte 1,000, as much as all the reputation there is.
const DOUBLING: u32 = 100;

/// How long somebody may take to take a receipt or evidence.
const PATIENCE: Duration = Duration::from_secs(10);

/// What transfers tell, until the overlay takes it, and what it has answered.
#[derive(Debug)]
struct State {
    /// Bytes that were verified since the last round.
    verified: HashMap<NodeId, (Username, u64)>,
    /// Names of nodes that sent wrong bytes.
    wrong: Vec<Username>,
    /// How often in a row a source has failed, and when it did last.
    failures: HashMap<NodeId, (u32, Instant)>,
    /// Uploaders that made this node wait, and when they were shown evidence.
    waited: HashMap<NodeId, Option<Instant>>,
    /// Bytes received from each name, halved from time to time.
    received: HashMap<Username, u64>,
    halved: Instant,
    /// Reputations of those who ask for uploads; `None` until the overlay has been asked.
    reputations: HashMap<Username, Option<u16>>,
}

/// What transfers and the overlay tell each other. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Conduct(Arc<Mutex<State>>);

impl Conduct {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            verified: HashMap::new(),
            wrong: Vec::new(),
            failures: HashMap::new(),
            waited: HashMap::new(),
            received: HashMap::new(),
            halved: Instant::now(),
            reputations: HashMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it can leave it half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of this source were verified.
    pub(super) fn verified(&self, source: NodeId, name: &Username, bytes: u64) {
        let mut state = self.state();
        let full = state.verified.len() >= MAX_PEERS && !state.verified.contains_key(&source);
        if !full {
            state.verified.entry(source).or_insert_with(|| (name.clone(), 0)).1 += bytes;
        }
        let full = state.received.len() >= MAX_PEERS && !state.received.contains_key(name);
        if !full {
            let received = state.received.entry(name.clone()).or_default();
            *received = received.saturating_add(bytes);
        }
    }

    /// A source could not be reached, or has not what it is said to offer.
    pub(super) fn failed(&self, source: NodeId) {
        self.fail(source, 1);
    }

    fn fail(&self, source: NodeId, failures: u32) {
        let mut state = self.state();
        if state.failures.len() >= MAX_PEERS {
            state.failures.retain(|_, (_, at)| at.elapsed() < DOUBTED);
        }
        let full = state.failures.len() >= MAX_PEERS && !state.failures.contains_key(&source);
        if !full {
            let (count, at) = state.failures.entry(source).or_insert((0, Instant::now()));
            *count = if at.elapsed() < DOUBTED { count.saturating_add(failures) } else { failures };
            *at = Instant::now();
        }
    }

    /// A source has answered that it has what it offers.
    pub(super) fn answered(&self, source: &NodeId) {
        self.state().failures.remove(source);
    }

    /// Whether this source has failed lately, and each time that it was asked.
    pub(super) fn is_doubtful(&self, source: &NodeId) -> bool {
        let state = self.state();
        let failures = state.failures.get(source);
        failures.is_some_and(|(count, at)| *count >= DOUBTFUL && at.elapsed() < DOUBTED)
    }

    /// A node of this name has sent bytes that do not belong to the content.
    pub(super) fn wrong_bytes(&self, source: NodeId, name: &Username) {
        self.fail(source, DOUBTFUL);
        let mut state = self.state();
        if state.wrong.len() < MAX_PEERS {
            state.wrong.push(name.clone());
        }
    }

    /// This uploader has made this node wait.
    pub(super) fn waits_for(&self, uploader: NodeId) {
        let mut state = self.state();
        if state.waited.len() < MAX_PEERS {
            state.waited.entry(uploader).or_default();
        }
    }

    /// How much a name deserves to be served before others: tit for tat by what this node has
    /// received from it lately, and its reputation.
    pub(super) fn rank(&self, name: &Username) -> u32 {
        let mut state = self.state();
        let reputation = state.reputations.get(name).copied();
        if reputation.is_none() && state.reputations.len() < MAX_PEERS {
            state.reputations.insert(name.clone(), None);
        }
        let reputation = reputation.flatten().unwrap_or(skein_overlay::reputation::formula::START);
        let received = state.received.get(name).copied().unwrap_or(0);
        u32::from(reputation) + tit_for_tat(received)
    }

    /// Brings the two together until `ended`.
    pub(super) async fn tend(self, endpoint: Endpoint, driver: Driver, ended: CancellationToken) {
        while ended.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_some() {
            self.hand_over(&driver).await;
            self.look_up(&driver).await;
            self.show(&endpoint, &driver).await;
        }
    }

    async fn hand_over(&self, driver: &Driver) {
        let (verified, wrong) = {
            let mut state = self.state();
            if state.halved.elapsed() >= HALF_LIFE {
                state.halved = Instant::now();
                state.received.values_mut().for_each(|bytes| *bytes /= 2);
                state.received.retain(|_, bytes| *bytes > 0);
                state.waited.retain(|_, shown| shown.is_none_or(|at| at.elapsed() < SHOW_AGAIN));
            }
            (std::mem::take(&mut state.verified), std::mem::take(&mut state.wrong))
        };
        for (node, (name, bytes)) in verified {
            driver.input(Input::BytesVerified { source: (node, name), bytes }).await;
        }
        for name in wrong {
            driver.input(Input::WrongBytes { name }).await;
        }
    }

    async fn look_up(&self, driver: &Driver) {
        let names: Vec<Username> = self.state().reputations.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let Some(reputations) = driver.reputations(names.clone()).await else { return };
        let mut state = self.state();
        let is_full = state.reputations.len() >= MAX_PEERS;
        if is_full {
            // Those that still ask will be asked about again.
            state.reputations.clear();
        }
        for (name, reputation) in names.into_iter().zip(reputations).take(MAX_PEERS / 2) {
            state.reputations.insert(name, Some(reputation));
        }
    }

    async fn show(&self, endpoint: &Endpoint, driver: &Driver) {
        let due: Vec<NodeId> = {
            let mut state = self.state();
            let due = state.waited.iter_mut().filter(|(_, shown)| shown.is_none());
            due.map(|(node, shown)| {
                *shown = Some(Instant::now());
                *node
            })
            .collect()
        };
        for uploader in due {
            let Some(pages) = driver.evidence().await else { return };
            let Some(connection) = endpoint.connection(&uploader) else { continue };
            let pages = pages.into_iter().map(Message::from).collect();
            tokio::spawn(async move {
                if let Err(error) = tell(&connection, pages).await {
                    tracing::debug!(peer = %uploader.short(), %error, "no evidence was shown");
                }
            });
        }
    }
}

fn tit_for_tat(received: u64) -> u32 {
    (received >> 19).checked_ilog2().map_or(0, |doublings| doublings * DOUBLING)
}

/// Sends messages on a stream of their own.
pub(super) async fn tell(
    connection: &Connection,
    messages: Vec<Message>,
) -> Result<(), StreamError> {
    let telling = async {
        let mut stream = connection.open_stream().await?;
        for message in messages {
            stream.sender.send(&message).await?;
        }
        stream.sender.finish().await?;
        stream.sender.delivered().await
    };
    tokio::time::timeout(PATIENCE, telling).await.unwrap_or(Err(StreamError::Silent(PATIENCE)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    #[test]
    fn whoever_gave_much_is_served_before_a_newcomer_and_a_bit_more_than_one_who_gave_less() {
        let conduct = Conduct::new();
        let newcomer = conduct.rank(&name("nora"));
        conduct.verified(NodeId::from_bytes([1; 32]), &name("uma"), 1 << 20);
        conduct.verified(NodeId::from_bytes([2; 32]), &name("gil"), 1 << 30);
        assert_eq!(newcomer, 10);
        assert_eq!(conduct.rank(&name("uma")), 110);
        assert_eq!(conduct.rank(&name("gil")), 1_110);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_each_time_is_doubtful_until_it_answers_or_for_an_hour() {
        let conduct = Conduct::new();
        let [mute, liar] = [1, 2].map(|number| NodeId::from_bytes([number; 32]));
        conduct.failed(mute);
        assert!(!conduct.is_doubtful(&mute), "it may have been restarted");
        conduct.failed(mute);
        conduct.wrong_bytes(liar, &name("liz"));
        assert!(conduct.is_doubtful(&mute) && conduct.is_doubtful(&liar));
        conduct.answered(&mute);
        assert!(!conduct.is_doubtful(&mute));
        tokio::time::advance(DOUBTED).await;
        assert!(!conduct.is_doubtful(&liar));
    }

    #[test]
    fn a_crowd_of_strangers_takes_no_more_than_its_room() {
        let conduct = Conduct::new();
        for number in 0..MAX_PEERS + 10 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let (node, name) = (NodeId::from_bytes(id), name(&format!("peer{number}")));
            conduct.rank(&name);
            conduct.verified(node, &name, 1);
            conduct.waits_for(node);
            conduct.wrong_bytes(node, &name);
        }
        let state = conduct.state();
        let sizes = [state.reputations.len(), state.verified.len(), state.waited.len()];
        assert_eq!(sizes, [MAX_PEERS; 3]);
        assert_eq!(state.failures.len(), MAX_PEERS);
        assert_eq!((state.wrong.len(), state.received.len()), (MAX_PEERS, MAX_PEERS));
    }
}

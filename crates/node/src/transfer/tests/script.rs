//! A source that behaves as a test wants it to.

use super::super::ranges::{chunks_of, requested, tree};
use super::*;
use bao_tree::io::sync::encode_ranges;
use bytes::Bytes;
use skein_proto::BoundedVec;
use skein_proto::fetch::{ByteRange, FetchReply};
use tokio::sync::Barrier;

/// What a scripted source does with requests.
#[derive(Default)]
pub(super) struct Script {
    pub bytes: Vec<u8>,
    /// It claims this length instead of the true one.
    pub claim: Option<u64>,
    /// It sends a wrong byte in every answer.
    pub flips: bool,
    /// After so many bytes of the file it does not send any more.
    pub stops_after: Option<u64>,
    /// Requests for more than the proof of the length wait here once.
    pub gate: Option<Arc<Barrier>>,
}

/// A source that follows a script.
pub(super) struct Scripted {
    pub endpoint: Endpoint,
    state: Arc<Served>,
}

struct Served {
    script: Script,
    /// Bytes of the file that were sent.
    sent: AtomicU64,
    ranges: Mutex<Vec<ByteRange>>,
    passed_gate: AtomicUsize,
}

impl Scripted {
    pub fn new(seed: u8, script: Script) -> Self {
        let key = KeyPair::from_seed(&[seed; 32]);
        let endpoint = Endpoint::bind(&key, local(), EndpointConfig::default()).unwrap();
        let state = Arc::new(Served {
            script,
            sent: AtomicU64::new(0),
            ranges: Mutex::default(),
            passed_gate: AtomicUsize::new(0),
        });
        let (accepting, serving) = (endpoint.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Some(connection) = accepting.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    while let Ok(stream) = connection.accept_stream().await {
                        tokio::spawn(answer(Arc::clone(&state), stream));
                    }
                });
            }
        });
        Self { endpoint, state }
    }

    pub fn source(&self) -> Source {
        source(&self.endpoint)
    }

    /// Bytes of the file that were sent.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// What was asked for, probes left out.
    pub fn ranges(&self) -> Vec<ByteRange> {
        self.state.ranges.lock().unwrap().clone()
    }
}

async fn answer(state: Arc<Served>, mut stream: Stream) -> Option<()> {
    let Message::FetchRequest(request) = stream.receiver.recv().await.ok()?? else { return None };
    let script = &state.script;
    let size = script.bytes.len() as u64;
    let claimed = script.claim.unwrap_or(size);
    let reply = FetchReply::Sending { size: claimed, have: BoundedVec::default() };
    if let Some(range) = request.ranges.first() {
        state.ranges.lock().unwrap().push(*range);
        let is_proof = range.end >= claimed && range.len() <= GROUP_BYTES;
        if let Some(gate) = script.gate.as_ref().filter(|_| !is_proof)
            && state.passed_gate.fetch_add(1, Ordering::SeqCst) == 0
        {
            gate.wait().await;
        }
    }
    stream.sender.send(&reply.into()).await.ok()?;
    for range in &request.ranges {
        let start = range.start.min(size);
        let range = ByteRange { start: start - start % GROUP_BYTES, end: range.end.min(size) };
        let groups = requested(&[range], size).unwrap_or_default();
        let outboard = PostOrderMemOutboard::create(&script.bytes, BLOCK_SIZE);
        assert_eq!(outboard.tree, tree(size));
        let mut encoded = Vec::new();
        encode_ranges(&script.bytes[..], &outboard, &chunks_of(groups.iter()), &mut encoded)
            .unwrap();
        if script.flips {
            let last = encoded.len() - 1;
            encoded[last] ^= 1;
        }
        // Slices that are smaller than a chunk group, so that it stops in the middle of one.
        for piece in encoded.chunks(10_000) {
            let sent = state.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            if script.stops_after.is_some_and(|limit| sent >= limit) {
                state.sent.fetch_sub(piece.len() as u64, Ordering::SeqCst);
                return std::future::pending().await;
            }
            stream.sender.send_raw(Bytes::copy_from_slice(piece)).await.ok()?;
        }
    }
    stream.sender.finish().await.ok()
}

//! Sources that cannot be dialled, and those that are not to be.

use super::*;
use crate::api::types::SourcePath;
use crate::sessions::SessionError;
use skein_net::Connection;

/// Opens sessions with those whose addresses it knows, and counts them.
#[derive(Default)]
struct FakeSessions {
    endpoint: Mutex<Option<Endpoint>>,
    known: HashMap<NodeId, SocketAddr>,
    hidden: bool,
    opened: AtomicUsize,
}

struct FakeWay(Connection);

impl SessionWay for FakeWay {
    fn connection(&self) -> &Connection {
        &self.0
    }

    fn path(&self) -> SourcePath {
        SourcePath::SessionRelayed
    }
}

impl SourceSessions for FakeSessions {
    fn is_hidden(&self) -> bool {
        self.hidden
    }

    fn live(&self, node: &NodeId) -> Option<Arc<dyn SessionWay>> {
        let connection = self.endpoint.lock().unwrap().as_ref()?.connection(node)?;
        (self.opened.load(Ordering::SeqCst) > 0).then(|| Arc::new(FakeWay(connection)) as Arc<_>)
    }

    fn open<'a>(
        &'a self,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<Arc<dyn SessionWay>, SessionError>> {
        async move {
            let Some(address) = self.known.get(&source.node) else {
                return Err(SessionError::Offline(source.name.clone()));
            };
            let endpoint = self.endpoint.lock().unwrap().clone().expect("it was set");
            self.opened.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::new(FakeWay(endpoint.connect(source.node, &[*address]).await?)) as Arc<_>)
        }
        .boxed()
    }
}

/// A node that can open sessions with these others.
fn client(others: &[&Node], hidden: bool) -> (Node, Arc<FakeSessions>) {
    client_with(TransferConfig::default(), others, hidden)
}

fn client_with(
    config: TransferConfig,
    others: &[&Node],
    hidden: bool,
) -> (Node, Arc<FakeSessions>) {
    let address = |other: &&Node| (other.endpoint.node_id(), other.source().addresses[0]);
    let known = others.iter().map(address).collect();
    let sessions = Arc::new(FakeSessions { known, hidden, ..FakeSessions::default() });
    let setup = Setup { config, sessions: Some(sessions.clone()), ..Setup::default() };
    let node = Node::with(9, setup);
    *sessions.endpoint.lock().unwrap() = Some(node.endpoint.clone());
    (node, sessions)
}

#[tokio::test]
async fn a_source_without_an_address_is_fetched_from_over_a_session() {
    let server = Node::new(1);
    let _serving = server.serve();
    let (client, sessions) = client(&[&server], false);
    let bytes = content_bytes(3 * MIB + 7);
    let content = server.share(&bytes);
    let source = Source { addresses: Vec::new(), ..server.source() };
    let id = client.start(content, vec![source]).await;
    let download = client.done(id).await;
    let via: Vec<_> = download.via.iter().map(|used| (used.path, used.bytes)).collect();
    assert_eq!(via, [(SourcePath::SessionRelayed, bytes.len() as u64)]);
    assert!(std::fs::read(&download.path).unwrap() == bytes);
    assert_eq!(sessions.opened.load(Ordering::SeqCst), 1, "one session is enough");
    let stats = client.transfers().download_stats();
    assert_eq!((stats.relayed_bytes, stats.dialled), (bytes.len() as u64, 0));
    assert_eq!((stats.over_sessions, stats.sessions), (1, 0), "it is used no more");
}

#[tokio::test]
async fn a_source_that_does_not_answer_its_address_is_fetched_from_over_a_session() {
    let server = Node::new(1);
    let _serving = server.serve();
    let (client, sessions) = client(&[&server], false);
    let content = server.share(&content_bytes(MIB));
    let deaf = std::net::UdpSocket::bind(local()).unwrap();
    let source = Source { addresses: vec![deaf.local_addr().unwrap()], ..server.source() };
    let id = client.start(content, vec![source]).await;
    let _ = client.done(id).await;
    assert_eq!(sessions.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_source_that_answers_its_address_needs_no_session() {
    let server = Node::new(1);
    let _serving = server.serve();
    // However long the dial takes on a busy machine.
    let config = TransferConfig { head_start: PATIENCE, ..TransferConfig::default() };
    let (client, sessions) = client_with(config, &[&server], false);
    let content = server.share(&content_bytes(MIB));
    let id = client.start(content, vec![server.source()]).await;
    let _ = client.done(id).await;
    assert_eq!(sessions.opened.load(Ordering::SeqCst), 0);
    let stats = client.transfers().download_stats();
    assert_eq!((stats.relayed_bytes, stats.over_sessions), (0, 0));
}

#[tokio::test]
async fn who_is_not_to_be_seen_dials_no_source() {
    let server = Node::new(1);
    let _serving = server.serve();
    let (client, sessions) = client(&[&server], true);
    let content = server.share(&content_bytes(MIB));
    let id = client.start(content, vec![server.source()]).await;
    let _ = client.done(id).await;
    assert_eq!(sessions.opened.load(Ordering::SeqCst), 1);
    assert_eq!(client.transfers().download_stats().dialled, 0);
}

#[tokio::test]
async fn a_source_that_cannot_be_reached_at_all_says_why() {
    let (client, _sessions) = client(&[], false);
    let nobody = Node::new(2);
    let source = Source { addresses: Vec::new(), ..nobody.source() };
    let id = client.start(ContentId::from_bytes([1; 32]), vec![source]).await;
    let seen = client.until(id, |download| !download.trouble.is_empty()).await;
    assert!(seen.trouble[0].contains("@bob is not online"), "{:?}", seen.trouble);
    assert_eq!(client.transfers().download_stats().sessions_failed, 1);
}

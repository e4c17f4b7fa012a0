//! Transfers between real endpoints on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copies;
mod downloads;
mod grants;
mod reaching;
mod recovery;
mod script;
mod uploads;

use super::journal::Stage;
use super::*;
use bao_tree::BlockSize;
use bao_tree::io::outboard::PostOrderMemOutboard;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skein_net::EndpointConfig;
use skein_proto::credential::{Credential, SignedCredential};
use skein_proto::{KeyPair, Message, NodeId, Signed, UnixTime, Username};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that look random and are always the same.
fn content_bytes(length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn id_of(bytes: &[u8]) -> ContentId {
    ContentId::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn login() -> KeyPair {
    KeyPair::from_seed(&[200; 32])
}

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Files that are shared, without a library.
#[derive(Default)]
struct FakeStore {
    files: Mutex<HashMap<ContentId, StoredFile>>,
    changed: AtomicUsize,
}

impl FakeStore {
    fn share(&self, dir: &Path, bytes: &[u8]) -> ContentId {
        let content = id_of(bytes);
        let (path, outboard) = (dir.join(content.short()), dir.join(content.short() + ".obao4"));
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(&outboard, PostOrderMemOutboard::create(bytes, BLOCK_SIZE).data).unwrap();
        let size = bytes.len() as u64;
        let outboard = (size > GROUP_BYTES).then_some(outboard);
        self.files.lock().unwrap().insert(content, StoredFile { path, size, outboard });
        content
    }
}

impl ContentStore for FakeStore {
    fn locate<'a>(&'a self, content: &'a ContentId) -> BoxFuture<'a, Option<StoredFile>> {
        let found = self.files.lock().unwrap().get(content).cloned();
        async move { found }.boxed()
    }

    fn changed<'a>(&'a self, _content: &'a ContentId, _file: &'a StoredFile) -> BoxFuture<'a, ()> {
        self.changed.fetch_add(1, Ordering::SeqCst);
        async {}.boxed()
    }
}

/// Finds what it is told to find.
#[derive(Default)]
struct FakeFinder {
    sources: Mutex<Vec<Source>>,
    asked: AtomicUsize,
    serving: Mutex<Vec<bool>>,
}

impl SourceFinder for FakeFinder {
    fn find<'a>(&'a self, _content: &'a ContentId) -> BoxFuture<'a, Vec<Source>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let sources = self.sources.lock().unwrap().clone();
        async move { sources }.boxed()
    }

    fn serving(&self, _content: ContentId, serving: bool) {
        self.serving.lock().unwrap().push(serving);
    }
}

struct FakeMembership {
    credential: Option<SignedCredential>,
}

impl FakeMembership {
    fn member(key: &KeyPair, expires: u64) -> Self {
        let credential = Credential {
            name: Username::parse("alice").unwrap(),
            node: key.node_id(),
            issued: UnixTime(1_000),
            expires: UnixTime(expires),
            registered: UnixTime(0),
        };
        Self { credential: Some(Signed::new(credential, &login())) }
    }
}

impl Membership for FakeMembership {
    fn credential(&self) -> Option<SignedCredential> {
        self.credential.clone()
    }

    fn login_key(&self) -> Option<NodeId> {
        Some(login().node_id())
    }

    fn now(&self) -> UnixTime {
        UnixTime(2_000)
    }
}

/// How a node of a test is made.
struct Setup {
    config: TransferConfig,
    member: bool,
    credential_expires: u64,
    disk: Arc<dyn Disk>,
    sessions: Option<Arc<dyn SourceSessions>>,
    grants: Option<Arc<dyn Grants>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: TransferConfig::default(),
            member: true,
            credential_expires: 10_000,
            disk: Arc::new(LocalDisk),
            sessions: None,
            grants: None,
        }
    }
}

/// A node that transfers and serves.
struct Node {
    dir: TempDir,
    key: KeyPair,
    setup: Setup,
    endpoint: Endpoint,
    store: Arc<FakeStore>,
    finder: Arc<FakeFinder>,
    transfers: Option<Transfers>,
}

impl Node {
    fn new(seed: u8) -> Self {
        Self::with(seed, Setup::default())
    }

    fn with(seed: u8, setup: Setup) -> Self {
        let key = KeyPair::from_seed(&[seed; 32]);
        let mut node = Self {
            dir: tempfile::tempdir().unwrap(),
            endpoint: Endpoint::bind(&key, local(), EndpointConfig::default()).unwrap(),
            key,
            setup,
            store: Arc::default(),
            finder: Arc::default(),
            transfers: None,
        };
        node.up();
        node
    }

    /// Starts the transfers, after [`Node::kill`] anew.
    fn up(&mut self) {
        let mut membership = FakeMembership::member(&self.key, self.setup.credential_expires);
        if !self.setup.member {
            membership.credential = None;
        }
        let transfers = Transfers::new(TransferParts {
            endpoint: self.endpoint.clone(),
            journal_dir: self.dir.path().join("downloads"),
            store: self.store.clone(),
            finder: self.finder.clone(),
            sessions: self.setup.sessions.clone(),
            grants: self.setup.grants.clone(),
            membership: Arc::new(membership),
            disk: Arc::clone(&self.setup.disk),
            config: self.setup.config,
        })
        .unwrap();
        self.transfers = Some(transfers);
    }

    /// Answers requests from now on.
    fn serve(&self) -> tokio::task::JoinHandle<()> {
        let (endpoint, transfers) = (self.endpoint.clone(), self.transfers().clone());
        tokio::spawn(async move {
            while let Some(connection) = endpoint.accept().await {
                let transfers = transfers.clone();
                tokio::spawn(async move {
                    while let Ok(mut stream) = connection.accept_stream().await {
                        let (connection, transfers) = (connection.clone(), transfers.clone());
                        tokio::spawn(async move {
                            if let Ok(Some(Message::FetchRequest(request))) =
                                stream.receiver.recv().await
                            {
                                transfers.handle_stream(connection, request, stream).await;
                            }
                        });
                    }
                });
            }
        })
    }

    fn transfers(&self) -> &Transfers {
        self.transfers.as_ref().expect("the node is up")
    }

    /// Ends the transfers as a crash of the process would.
    fn kill(&mut self) {
        self.transfers = None;
    }

    fn share(&self, bytes: &[u8]) -> ContentId {
        self.store.share(self.dir.path(), bytes)
    }

    fn source(&self) -> Source {
        source(&self.endpoint)
    }

    fn inbox(&self) -> PathBuf {
        self.dir.path().join("inbox")
    }

    async fn start(&self, content: ContentId, sources: Vec<Source>) -> u64 {
        let inbox = self.inbox();
        let folder = Folder::Usual(&inbox);
        self.transfers().start(content, "dir/file.bin", sources, folder).await.unwrap()
    }

    /// As [`Node::start`], into a folder that the user asks for.
    async fn start_in(&self, dir: &Path, content: ContentId) -> Result<u64, TransferError> {
        let folder = Folder::AskedFor(dir);
        self.transfers().start(content, "dir/file.bin", Vec::new(), folder).await
    }

    /// Waits until a download is as wanted.
    async fn until(&self, id: u64, what: impl FnMut(&Download) -> bool) -> Download {
        let mut view = self.transfers().watch(id).expect("a download");
        let waited = tokio::time::timeout(PATIENCE, view.wait_for(what)).await;
        let last = self.transfers().watch(id).unwrap().borrow().clone();
        waited.unwrap_or_else(|_| panic!("it stays {last:#?}")).unwrap().clone()
    }

    async fn done(&self, id: u64) -> Download {
        let download = self.until(id, |download| download.state.is_final()).await;
        assert_eq!(download.state, DownloadState::Done, "{download:#?}");
        download
    }
}

fn source(endpoint: &Endpoint) -> Source {
    Source {
        node: endpoint.node_id(),
        name: Username::parse("bob").unwrap(),
        addresses: vec![endpoint.local_addr().unwrap()],
        parent: endpoint.node_id(),
    }
}

/// A disk that holds only so much.
#[derive(Clone, Default)]
struct SmallDisk {
    room: Arc<AtomicU64>,
    /// What was written in all.
    written: Arc<AtomicU64>,
}

impl Disk for SmallDisk {
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn WritableFile>> {
        let file = LocalDisk.open(path, bytes)?;
        Ok(Box::new(SmallFile { file, disk: self.clone() }))
    }

    /// It does not know in advance that it will be full.
    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        match self.room.load(Ordering::SeqCst) {
            0 => Ok(0),
            _ => Ok(u64::MAX),
        }
    }
}

struct SmallFile {
    file: Box<dyn WritableFile>,
    disk: SmallDisk,
}

impl WritableFile for SmallFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        let take = |room: u64| Some(room.saturating_sub(length));
        let before = self.disk.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap();
        if before < length {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.disk.written.fetch_add(length, Ordering::SeqCst);
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A disk of which nothing is read until the gate is dropped.
struct ShutDisk {
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl ShutDisk {
    fn new() -> (std::sync::mpsc::Sender<()>, Arc<Self>) {
        let (gate, receiver) = std::sync::mpsc::channel();
        (gate, Arc::new(Self { gate: Mutex::new(receiver) }))
    }
}

impl Disk for ShutDisk {
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn WritableFile>> {
        LocalDisk.open(path, bytes)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<std::fs::File> {
        let waited = self.gate.lock().unwrap().recv_timeout(PATIENCE);
        assert_ne!(waited, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it stays shut");
        LocalDisk.open_to_read(path)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        LocalDisk.free_space(dir)
    }
}

/// A disk that is not to be written to, as long as it is said so.
struct ReadOnlyDisk {
    writable: Arc<AtomicUsize>,
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn WritableFile>> {
        if self.writable.load(Ordering::SeqCst) == 0 {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        LocalDisk.open(path, bytes)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        LocalDisk.free_space(dir)
    }
}

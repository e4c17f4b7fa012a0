//! A verified download between two nodes on loopback, with everything that a download does. The
//! reference is the sum of what no download can do without: the same bytes in one stream of raw
//! QUIC, hashed on either side, read from a file and written to one.

use crate::figure::{Figure, Outcome, Run};
use crate::quic::{self, Identity};
use crate::statistics::median;
use crate::usage::{Spent, Stopwatch};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use skein_net::{CloseReason, Endpoint, EndpointConfig};
use skein_node::api::types::{DownloadState, Source};
use skein_node::library::{Library, LibraryConfig};
use skein_node::transfer::{
    Folder, LocalDisk, Membership, SourceFinder, TransferConfig, TransferParts, Transfers,
};
use skein_proto::{
    ContentId, Credential, KeyPair, Message, NodeId, Signed, SignedCredential, UnixTime, Username,
};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The most CPU that a download may take, of the sum of its unavoidable parts: half of it more for
/// choosing pieces, checking the tree, waking tasks and keeping a journal. On a busy machine, which
/// interrupts the many tasks of a download more often than one stream, it comes close to a third.
const BAR: f64 = 1.5;

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "transfer",
    what: "CPU of both ends for a gigabyte downloaded over loopback, verified and written, against \
           a raw quinn stream, BLAKE3 on both sides and a file copy of the same bytes",
    bar: "<= 1.5 x the sum of those parts",
    measure: |run| measure(run).boxed(),
};

/// Rounds of each, by turns.
const ROUNDS: usize = 5;

/// How much is given to a socket, or read from a file, at a time.
const PIECE: usize = 256 * 1024;

/// Longer than a download takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

async fn measure(run: &Run) -> Result<Outcome> {
    let size: usize = run.size(512, 64) << 20;
    run.say(format_args!("a file of {} MiB, {ROUNDS} rounds of each, by turns", size >> 20));
    let temp = tempfile::tempdir()?;
    let bytes = crate::figures::scan::pseudo_random(size as u64, 1);
    let shelf = temp.path().join("shelf");
    std::fs::create_dir(&shelf)?;
    let file = shelf.join("file.bin");
    std::fs::write(&file, &bytes)?;
    let bytes = Bytes::from(bytes);
    let network = Network::start(temp.path(), &shelf).await?;

    let gigabytes = size as f64 / 1e9;
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=ROUNDS {
        let round = Round {
            ours: network.download(size as u64).await?,
            quinn: stream(bytes.clone()).await?,
            hash: hash(&bytes),
            copy: copy(&file, &temp.path().join("copy"))?,
        };
        run.say(format_args!(
            "round {number}: a download {:.2} CPU s/GB at {:.0} MB/s; raw quinn {:.2} at {:.0} \
             MB/s, BLAKE3 {:.2}, copying {:.2}",
            round.ours.cpu / gigabytes,
            gigabytes * 1e3 / round.ours.wall,
            round.quinn.cpu / gigabytes,
            gigabytes * 1e3 / round.quinn.wall,
            round.hash.cpu / gigabytes,
            round.copy.cpu / gigabytes,
        ));
        rounds.push(round);
    }
    network.end().await;
    let per_gigabyte = |what: fn(&Round) -> f64| median(rounds.iter().map(what)) / gigabytes;
    let (ours, quinn) = (per_gigabyte(|it| it.ours.cpu), per_gigabyte(|it| it.quinn.cpu));
    let hash = per_gigabyte(|it| it.hash.cpu);
    // What a copy costs depends on the state of the file system more than on anything here: to
    // take the lowest does not flatter us.
    let copy = rounds.iter().map(|it| it.copy.cpu).fold(f64::INFINITY, f64::min) / gigabytes;
    // Both sides hash: the sender, so that nothing wrong is sent; the receiver, so that nothing
    // wrong is believed.
    let reference = quinn + 2.0 * hash + copy;
    let ratio = ours / reference;
    let speed = 1e3 / per_gigabyte(|it| it.ours.wall);
    Ok(Outcome {
        figure: format!(
            "{ours:.2} CPU s/GB of both ends, {ratio:.2} x the sum of its parts ({reference:.2}; raw \
             quinn alone {quinn:.2}); {speed:.0} MB/s"
        ),
        holds: ratio <= BAR,
        values: vec![
            ("cpu_s_per_gb", ours),
            ("parts_cpu_s_per_gb", reference),
            ("quinn_cpu_s_per_gb", quinn),
            ("blake3_cpu_s_per_gb", hash),
            ("copy_cpu_s_per_gb", copy),
            ("mb_per_s", speed),
            ("quinn_mb_per_s", 1e3 / per_gigabyte(|it| it.quinn.wall)),
            ("ratio", ratio),
        ],
    })
}

struct Round {
    ours: Spent,
    quinn: Spent,
    hash: Spent,
    copy: Spent,
}

/// Somebody who shares a file, and somebody who wants it.
struct Network {
    library: Library,
    source: Source,
    content: ContentId,
    sender: Endpoint,
    receiver: Endpoint,
    wanting: Transfers,
    inbox: PathBuf,
    data: TempDir,
}

impl Network {
    async fn start(folder: &Path, shelf: &Path) -> Result<Self> {
        let data = folder.join("library");
        std::fs::create_dir(&data)?;
        let config = LibraryConfig::default().with_settle(Duration::ZERO).with_watch(false);
        let library = Library::open(&data, config).await?;
        library.add_share(shelf).await?;
        library.rescan(shelf).await?;
        let files = library.files_after(None, 1).await?;
        let content = files.first().context("the file is not shared")?.content;
        let journals = tempfile::tempdir_in(folder)?;
        let (sender, giving) = node(1, &journals.path().join("giving"), &library)?;
        let (receiver, wanting) = node(2, &journals.path().join("wanting"), &library)?;
        tokio::spawn(serve(sender.clone(), giving));
        let source = Source {
            node: sender.node_id(),
            name: Username::parse("giver")?,
            addresses: vec![sender.local_addr()?],
            parent: sender.node_id(),
        };
        let inbox = folder.join("inbox");
        Ok(Self { library, source, content, sender, receiver, wanting, inbox, data: journals })
    }

    async fn download(&self, size: u64) -> Result<Spent> {
        let watch = Stopwatch::start();
        let sources = vec![self.source.clone()];
        let id = self
            .wanting
            .start(self.content, "file.bin", sources, Folder::AskedFor(&self.inbox))
            .await?;
        let mut view = self.wanting.watch(id).context("the download is gone")?;
        let over = view.wait_for(|download| download.state.is_final());
        let download = tokio::time::timeout(PATIENCE, over).await.context("it hangs")??.clone();
        let spent = watch.spent();
        ensure!(
            download.state == DownloadState::Done && download.size == Some(size),
            "the download did not succeed: {download:?}"
        );
        // Gone, it will be fetched anew.
        std::fs::remove_file(&download.path)?;
        Ok(spent)
    }

    async fn end(self) {
        self.wanting.stop().await;
        self.receiver.close(CloseReason::Done).await;
        self.sender.close(CloseReason::Done).await;
        self.library.close().await;
        drop(self.data);
    }
}

fn node(seed: u8, journal_dir: &Path, library: &Library) -> Result<(Endpoint, Transfers)> {
    let key = KeyPair::from_seed(&[seed; 32]);
    let endpoint = Endpoint::bind(&key, quic::loopback(), EndpointConfig::default())?;
    let transfers = Transfers::new(TransferParts {
        endpoint: endpoint.clone(),
        journal_dir: journal_dir.to_owned(),
        store: match seed {
            1 => Arc::new(library.clone()),
            _ => Arc::new(Empty),
        },
        finder: Arc::new(Nobody),
        sessions: None,
        grants: None,
        membership: Arc::new(Member::new(&key)?),
        disk: Arc::new(LocalDisk),
        config: TransferConfig::default(),
    })?;
    Ok((endpoint, transfers))
}

/// Serves requests as a daemon does.
async fn serve(endpoint: Endpoint, transfers: Transfers) {
    while let Some(connection) = endpoint.accept().await {
        let transfers = transfers.clone();
        tokio::spawn(async move {
            while let Ok(mut stream) = connection.accept_stream().await {
                let (connection, transfers) = (connection.clone(), transfers.clone());
                tokio::spawn(async move {
                    if let Ok(Some(Message::FetchRequest(request))) = stream.receiver.recv().await {
                        transfers.handle_stream(connection, request, stream).await;
                    }
                });
            }
        });
    }
}

/// A node that shares nothing.
struct Empty;

impl skein_node::transfer::ContentStore for Empty {
    fn locate<'a>(
        &'a self,
        _content: &'a ContentId,
    ) -> BoxFuture<'a, Option<skein_node::transfer::StoredFile>> {
        std::future::ready(None).boxed()
    }

    fn changed<'a>(
        &'a self,
        _content: &'a ContentId,
        _file: &'a skein_node::transfer::StoredFile,
    ) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

/// A network without anybody else.
struct Nobody;

impl SourceFinder for Nobody {
    fn find<'a>(&'a self, _content: &'a ContentId) -> BoxFuture<'a, Vec<Source>> {
        std::future::ready(Vec::new()).boxed()
    }

    fn serving(&self, _content: ContentId, _serving: bool) {}
}

/// A member of a network with one login key.
struct Member {
    credential: SignedCredential,
    login: NodeId,
}

impl Member {
    fn new(key: &KeyPair) -> Result<Self> {
        let login = KeyPair::from_seed(&[200; 32]);
        let credential = Credential {
            name: Username::parse("member")?,
            node: key.node_id(),
            issued: UnixTime(1_000),
            expires: UnixTime(10_000),
            registered: UnixTime(0),
        };
        Ok(Self { credential: Signed::new(credential, &login), login: login.node_id() })
    }
}

impl Membership for Member {
    fn credential(&self) -> Option<SignedCredential> {
        Some(self.credential.clone())
    }

    fn login_key(&self) -> Option<NodeId> {
        Some(self.login)
    }

    fn now(&self) -> UnixTime {
        UnixTime(2_000)
    }
}

/// The same bytes from memory over one stream of raw QUIC, with windows as wide as ours.
async fn stream(bytes: Bytes) -> Result<Spent> {
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(WINDOW.into()).receive_window(WINDOW.into());
    transport.send_window(WINDOW.into());
    let transport = Arc::new(transport);
    let mut server = Identity::new()?.server()?;
    server.transport_config(Arc::clone(&transport));
    let mut client = Identity::new()?.client()?;
    client.transport_config(transport);
    let (server, dialler) = (quic::endpoint(Some(server))?, quic::endpoint(None)?);
    let address = server.local_addr()?;
    let wanted = bytes.len();

    let watch = Stopwatch::start();
    let sending = tokio::spawn(async move {
        let connection = server.accept().await.context("no connection")?.await?;
        let (mut sender, _) = connection.accept_bi().await?;
        let mut rest = bytes;
        while !rest.is_empty() {
            sender.write_chunk(rest.split_to(rest.len().min(PIECE))).await?;
        }
        sender.finish()?;
        sender.stopped().await?;
        anyhow::Ok(())
    });
    let connection = quic::connect(&dialler, client, address).await?;
    let (mut asking, mut receiver) = connection.open_bi().await?;
    asking.write_all(b"go").await?;
    let mut got = 0;
    while let Some(chunk) = receiver.read_chunk(PIECE, true).await? {
        got += chunk.bytes.len();
    }
    sending.await??;
    let spent = watch.spent();
    ensure!(got == wanted, "{got} of {wanted} bytes came");
    Ok(spent)
}

/// What a connection of ours may have in flight while it carries a file.
const WINDOW: u32 = 8 * 1024 * 1024;

fn hash(bytes: &[u8]) -> Spent {
    let watch = Stopwatch::start();
    let mut hasher = blake3::Hasher::new();
    for piece in bytes.chunks(PIECE) {
        hasher.update(piece);
    }
    std::hint::black_box(hasher.finalize());
    watch.spent()
}

fn copy(from: &Path, to: &Path) -> Result<Spent> {
    let watch = Stopwatch::start();
    let (mut reader, mut writer) = (std::fs::File::open(from)?, std::fs::File::create(to)?);
    let mut buffer = vec![0; PIECE];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => writer.write_all(&buffer[..count])?,
        }
    }
    writer.sync_data()?;
    let spent = watch.spent();
    std::fs::remove_file(to)?;
    Ok(spent)
}

//! A crowd on one machine: a login service, 5 supernodes and 40 ordinary nodes, each a process of
//! its own; one of them shares tens of thousands of real files.
//!
//! `cargo run --release -p skein-tests --bin crowd [-- FOLDER...]` prints what it measures; the
//! results are kept in `docs/benchmarks.md`. It takes some minutes, most of them to sit still for
//! the figure of the idle CPU.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]

use skein_node::api::types::{DownloadState, Status};
use skein_tests::node::follow;
use skein_tests::{Network, Node, Process};
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SUPERNODES: usize = 5;
const ORDINARY: usize = 40;

/// For how long everybody is left alone to see what being idle costs.
const IDLE: Duration = Duration::from_secs(60);

/// The file that is fetched, killed and fetched on.
const BIG_FILE_BYTES: usize = 512 * 1024 * 1024;

/// Scans take as long as they take.
const SCAN_PATIENCE: Duration = Duration::from_secs(1_800);

fn say(what: &str, figure: impl Display) {
    println!("{what:58} {figure}");
}

/// What the operating system says of a process.
struct Usage {
    cpu: Duration,
    memory: u64,
}

fn usage(process: &Process) -> Usage {
    let folder = PathBuf::from(format!("/proc/{}", process.pid()));
    let stat = std::fs::read_to_string(folder.join("stat")).expect("the process runs");
    // The name in parentheses may hold spaces; the times are the 14th and 15th field.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(folder.join("status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Linux counts in hundredths of a second wherever it runs (USER_HZ).
    Usage { cpu: Duration::from_millis(ticks * 10), memory: kib * 1024 }
}

/// Waits until the status is as wanted; unlike a test, as long as a scan may take.
async fn wait(node: &Node, wanted: impl Fn(&Status) -> bool) -> Status {
    let end = Instant::now() + SCAN_PATIENCE;
    loop {
        let status = node.status().await;
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{} is not there yet: {status:#?}", node.name());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn published(status: &Status) -> bool {
    !status.library.scanning
        && status.library.files > 0
        && status.attachment.publish_pending == 0
        && status.attachment.published > 0
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

#[tokio::main]
async fn main() {
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec!["/usr/share".into(), "/usr/lib".into()];
    }
    let mut network = Network::start().await;

    let begun = Instant::now();
    let supernodes =
        network.supernodes(["anser", "branta", "chen", "cygnus", "tadorna"], &[]).await;
    let names: [String; ORDINARY] = std::array::from_fn(|number| format!("peer{number}"));
    let names: [&str; ORDINARY] = names.each_ref().map(String::as_str);
    let mut nodes: Vec<Node> = network.nodes(names).await.into();
    assert_eq!((supernodes.len(), nodes.len()), (SUPERNODES, ORDINARY));
    say("46 processes started, registered, linked and attached", secs(begun.elapsed()));

    idle(&mut network, &supernodes, &nodes).await;
    let sharer = nodes.remove(0);
    let sharer = scan(sharer, &supernodes, &folders).await;

    // Everybody else shares a little, so that each can be looked for.
    for node in &nodes {
        let nest = network.folder(&format!("of-{}", node.name()));
        std::fs::write(nest.join(format!("nest of {}.txt", node.name())), node.name()).unwrap();
        node.share(&nest, 1).await;
    }
    search(&sharer, &nodes).await;
    let supernodes = parent_death(supernodes, &nodes).await;
    resume(&network, &mut nodes).await;
    drop((sharer, nodes, supernodes));
}

async fn idle(network: &mut Network, supernodes: &[Node], nodes: &[Node]) {
    let of_all =
        |nodes: &[Node]| nodes.iter().map(|node| usage(node.process_ref()).cpu).sum::<Duration>();
    let before = (usage(network.login()).cpu, of_all(supernodes), of_all(nodes));
    tokio::time::sleep(IDLE).await;
    let after = (usage(network.login()).cpu, of_all(supernodes), of_all(nodes));
    let share = |used: Duration, count: usize| {
        format!(
            "{:.2} % of a core each",
            100.0 * used.as_secs_f64() / IDLE.as_secs_f64() / count as f64
        )
    };
    say("idle CPU: login service", share(after.0 - before.0, 1));
    say("idle CPU: a supernode with 8 children", share(after.1 - before.1, supernodes.len()));
    say("idle CPU: an ordinary node", share(after.2 - before.2, nodes.len()));
    let memory = |nodes: &[Node]| {
        nodes.iter().map(|node| usage(node.process_ref()).memory).sum::<u64>() / nodes.len() as u64
    };
    say("idle memory (RSS): a supernode with 8 children", mib(memory(supernodes)));
    say("idle memory (RSS): an ordinary node", mib(memory(nodes)));
}

async fn scan(sharer: Node, supernodes: &[Node], folders: &[PathBuf]) -> Node {
    let parent = sharer.status().await.attachment.parent.expect("a parent");
    let parent = supernodes.iter().find(|node| node.id() == parent).expect("it is one of ours");
    let before = usage(parent.process_ref()).memory;
    let cpu_before = usage(sharer.process_ref()).cpu;
    let begun = Instant::now();
    for folder in folders {
        let _ = sharer.api().add_share(folder).await.expect("the folder can be shared");
    }
    let scanned =
        wait(&sharer, |status| !status.library.scanning && status.library.files > 0).await;
    let scan_time = begun.elapsed();
    let cpu = usage(sharer.process_ref()).cpu - cpu_before;
    let status = wait(&sharer, published).await;
    let all = begun.elapsed();
    let (files, bytes) = (scanned.library.files, scanned.library.bytes);
    say("files shared by one node", format!("{files} ({})", mib(bytes)));
    say(
        "scan: hashed, tagged and stored",
        format!(
            "{} s, {:.0} files/s, {}/s",
            scan_time.as_secs(),
            files as f64 / scan_time.as_secs_f64(),
            mib((bytes as f64 / scan_time.as_secs_f64()) as u64)
        ),
    );
    say("scan: CPU of the sharing process", secs(cpu));
    say("published after the end of the scan", secs(all - scan_time));
    let records = status.attachment.published;
    say("records that the parent holds for it", records);
    let after = usage(parent.process_ref()).memory;
    say(
        "memory of the supernode per indexed file (RSS)",
        format!("{:.0} bytes", (after.saturating_sub(before)) as f64 / records as f64),
    );
    let reckoned = parent.status().await.supernode.expect("a supernode").index_bytes;
    say(
        "  of which by its own reckoning",
        format!("{:.0} bytes", reckoned as f64 / records as f64),
    );
    sharer
}

async fn search(sharer: &Node, nodes: &[Node]) {
    let parent = sharer.status().await.attachment.parent;
    let mut asker = None;
    for node in nodes {
        if node.status().await.attachment.parent != parent {
            asker = Some(node);
            break;
        }
    }
    let asker = asker.expect("somebody has another parent");
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    for words in ["copyright", "python", "libc", "changelog debian", "perl pod", "locale"] {
        for _ in 0..10 {
            let found = asker.search(&[words, "--limit", "20"]).await;
            assert!(!found.hits.is_empty(), "{words:?} should be found");
            first.push(found.report.first_hit_ms.expect("a hit"));
            whole.push(found.report.took_ms);
            // Stay within what one node may ask.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    say("search from a child of another supernode: first hit", median_ms(&mut first));
    say("search from a child of another supernode: end", median_ms(&mut whole));
}

async fn parent_death(supernodes: [Node; SUPERNODES], nodes: &[Node]) -> Vec<Node> {
    // Standbys are found in the background.
    for node in nodes {
        wait(node, |status| status.attachment.standby.is_some()).await;
    }
    let mut supernodes: Vec<Node> = supernodes.into();
    let victim = supernodes.remove(2);
    let dead = victim.id();
    let mut orphans = Vec::new();
    for node in nodes {
        if node.status().await.attachment.parent == Some(dead) {
            orphans.push(node);
        }
    }
    let begun = Instant::now();
    let _ = victim.kill();
    let mut recoveries = Vec::new();
    for orphan in &orphans {
        let status = wait(orphan, |status| {
            let ties = &status.attachment;
            ties.parent.is_some_and(|parent| parent != dead) && ties.last_recovery_ms.is_some()
        })
        .await;
        recoveries.push(status.attachment.last_recovery_ms.expect("it lost a parent"));
    }
    let longest = begun.elapsed();
    let asker = nodes.iter().find(|node| !orphans.iter().any(|o| o.id() == node.id())).unwrap();
    for orphan in &orphans {
        let found = asker.search(&[&format!("nest of {}", orphan.name())]).await;
        assert!(found.hits.iter().any(|hit| hit.sources[0].node == orphan.id()));
    }
    say(
        "kill -9 of a parent: all its children are searchable again",
        format!("{} ({} children), from the kill on", secs(longest), orphans.len()),
    );
    say("  of which from noticing the loss on", median_ms(&mut recoveries));
    supernodes
}

async fn resume(network: &Network, nodes: &mut Vec<Node>) {
    let folder = network.folder("big");
    let file = folder.join("big flight.bin");
    write_noise(&file, BIG_FILE_BYTES);
    let source = nodes.pop().expect("a node");
    let _ = source.api().add_share(&folder).await.expect("the folder can be shared");
    let size = BIG_FILE_BYTES as u64;
    wait(&source, |status| published(status) && status.library.bytes >= size).await;
    let fetcher = nodes.pop().expect("a node");
    let found = fetcher.search_until(&["big flight"], |found| !found.hits.is_empty()).await;
    let content = found.only().content;
    let into = network.folder("fetched");
    let mut get = fetcher.start_get(content, &into);
    let half = follow(&mut get, |download| download.verified >= size / 3).await;
    let user = fetcher.kill();
    drop(get);
    let fetcher = user.up(&["--role", "ordinary"]).await;
    let begun = Instant::now();
    let done = fetcher.get(content, &into).await;
    assert_eq!(done.state, DownloadState::Done);
    assert_eq!(std::fs::read(&done.path).unwrap(), std::fs::read(&file).unwrap());
    say("kill -9 of a download at", format!("{} of {}", mib(half.verified), mib(size)));
    say("  kept over the restart, not fetched again", mib(done.resumed));
    say("  the rest came, and all bytes are right, after", secs(begun.elapsed()));
}

/// Bytes that no file system can store in less space.
fn write_noise(path: &Path, bytes: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut noise = blake3::Hasher::new().update(b"skein crowd").finalize_xof();
    let mut block = vec![0; 1 << 20];
    for _ in 0..bytes / block.len() {
        noise.fill(&mut block);
        file.write_all(&block).unwrap();
    }
    file.flush().unwrap();
}

fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn median_ms(times: &mut [u64]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("median {} ms, worst {} ms ({} times)", at(50), at(100), times.len())
}

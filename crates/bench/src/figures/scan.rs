//! The share library: how fast it takes in many small files and one large one, and how fast it sees
//! that nothing has changed. The reference walks the same folders and hashes the same bytes, and
//! keeps nothing.

use crate::figure::{Figure, Outcome, Run};
use crate::statistics::median;
use crate::usage::{Spent, Stopwatch};
use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use skein_node::api::types::DaemonEvent;
use skein_node::library::{Library, LibraryConfig};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use walkdir::WalkDir;

/// The most CPU that the library may take, of the reference's: for a large file, where hashing is
/// nearly all there is to do; for small ones, where the reference does next to nothing (to read and
/// hash 4 KiB takes some microseconds) and the library stores each in a database, in transactions
/// that a crash leaves whole; and for a second look, where each file is compared with what is stored.
const BARS: Parts = Parts { large: 1.5, small: 15.0, again: 8.0 };

/// The figure.
pub const FIGURE: Figure = Figure {
    name: "scan",
    what: "CPU of taking in 20,000 files of 4 KiB and one of 1 GiB, and of looking again, against \
           walkdir and BLAKE3 of the same",
    bar: "<= 1.5 x for the large file, <= 15 x for small ones, <= 8 x walkdir for a second look",
    measure: |run| measure(run).boxed(),
};

/// Rounds of each, by turns; each with a new library.
const ROUNDS: usize = 3;

/// Bytes of a small file.
const SMALL: u64 = 4 * 1024;

/// Small files of one folder.
const FOLDER: u64 = 100;

/// How much is read at a time: what the library reads.
const PIECE: usize = 256 * 1024;

/// One number for each of the three parts of a measurement.
#[derive(Clone, Copy, Debug)]
struct Parts {
    large: f64,
    small: f64,
    again: f64,
}

/// What was spent on each.
#[derive(Clone, Copy, Debug)]
struct Round {
    large: Spent,
    small: Spent,
    again: Spent,
}

async fn measure(run: &Run) -> Result<Outcome> {
    let (files, bytes) = run.size((20_000, 1 << 30), (2_000, 64 << 20));
    run.say(format_args!(
        "{files} files of 4 KiB and one of {} MiB, {ROUNDS} rounds of each, by turns",
        bytes >> 20
    ));
    let temp = tempfile::tempdir()?;
    // Shares are known by their real paths.
    let root = temp.path().canonicalize()?;
    let (large, small) = (root.join("large"), root.join("small"));
    std::fs::create_dir(&large)?;
    std::fs::write(large.join("file.bin"), pseudo_random(bytes, 0))?;
    fill(&small, files)?;
    // The library leaves alone what was written a moment ago.
    tokio::time::sleep(SETTLE).await;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        theirs.push(reference(&large, &small, files)?);
        ours.push(library(&root, &large, &small, files).await?);
        let (own, other) = (ours[round], theirs[round]);
        run.say(format_args!(
            "round {}: large {:.2} s of CPU (reference {:.2}), small {:.2} ({:.2}), again {:.3} \
             ({:.3})",
            round + 1,
            own.large.cpu,
            other.large.cpu,
            own.small.cpu,
            other.small.cpu,
            own.again.cpu,
            other.again.cpu
        ));
    }
    let ratio = |part: fn(&Round) -> Spent| {
        median(ours.iter().zip(&theirs).map(|(ours, theirs)| part(ours).cpu / part(theirs).cpu))
    };
    let ratios = Parts {
        large: ratio(|it| it.large),
        small: ratio(|it| it.small),
        again: ratio(|it| it.again),
    };
    let middle = |number: fn(&Round) -> f64| median(ours.iter().map(number));
    let megabytes = bytes as f64 / 1e6;
    let files = files as f64;
    let (large, small) =
        (megabytes / middle(|it| it.large.wall), files / middle(|it| it.small.wall));
    let again = files / middle(|it| it.again.wall);
    Ok(Outcome {
        figure: format!(
            "{small:.0} small files/s ({:.1} x the reference's CPU), {large:.0} MB/s of a large one \
             ({:.2} x), {again:.0} files/s when nothing has changed ({:.1} x)",
            ratios.small, ratios.large, ratios.again
        ),
        holds: ratios.large <= BARS.large
            && ratios.small <= BARS.small
            && ratios.again <= BARS.again,
        values: vec![
            ("small_files_per_s", small),
            ("small_cpu_us_per_file", middle(|it| it.small.cpu) * 1e6 / files),
            ("small_ratio", ratios.small),
            ("large_mb_per_s", large),
            ("large_cpu_s_per_gb", middle(|it| it.large.cpu) * 1e3 / megabytes),
            ("large_ratio", ratios.large),
            ("again_files_per_s", again),
            ("again_cpu_us_per_file", middle(|it| it.again.cpu) * 1e6 / files),
            ("again_ratio", ratios.again),
        ],
    })
}

/// A little longer than the library's own settling time.
const SETTLE: Duration = Duration::from_secs(3);

/// Bytes that look random and are the same for the same seed.
pub fn pseudo_random(bytes: u64, seed: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

fn fill(folder: &Path, files: u64) -> Result<()> {
    for number in 0..files {
        let shelf = folder.join(format!("folder {:04}", number / FOLDER));
        if number % FOLDER == 0 {
            std::fs::create_dir_all(&shelf)?;
        }
        let mut file = File::create(shelf.join(format!("file {number:06}.txt")))?;
        file.write_all(&pseudo_random(SMALL, number + 1))?;
    }
    Ok(())
}

/// Takes both folders into a new library, with the settings of a node, and looks again.
async fn library(folder: &Path, large: &Path, small: &Path, files: u64) -> Result<Round> {
    let data = tempfile::tempdir_in(folder)?;
    let library = Library::open(data.path(), LibraryConfig::default()).await?;
    let large = take_in(&library, large, 1).await?;
    let taken = take_in(&library, small, files).await?;
    let watch = Stopwatch::start();
    library.rescan(small).await?;
    let again = watch.spent();
    let hashed = library.stats().files_hashed;
    ensure!(hashed == 1 + files, "{hashed} files were hashed, of {}", 1 + files);
    library.close().await;
    Ok(Round { large, small: taken, again })
}

async fn take_in(library: &Library, folder: &Path, files: u64) -> Result<Spent> {
    let mut events = library.events();
    let watch = Stopwatch::start();
    library.add_share(folder).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        match event.context("the scan hangs")? {
            Ok(DaemonEvent::ScanDone { share }) if share.path == folder => {
                ensure!(share.files == files, "{} files instead of {files}", share.files);
                return Ok(watch.spent());
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Longer than a scan is ever silent.
const PATIENCE: Duration = Duration::from_secs(120);

fn reference(large: &Path, small: &Path, files: u64) -> Result<Round> {
    let large = hash_all(large, 1)?;
    let small_spent = hash_all(small, files)?;
    let watch = Stopwatch::start();
    let mut seen = 0;
    for entry in WalkDir::new(small) {
        // What tells whether a file has changed is its length and time.
        let metadata = entry?.metadata()?;
        seen += u64::from(metadata.is_file() && metadata.modified().is_ok());
    }
    let again = watch.spent();
    ensure!(seen == files, "{seen} files instead of {files}");
    Ok(Round { large, small: small_spent, again })
}

fn hash_all(folder: &Path, files: u64) -> Result<Spent> {
    let watch = Stopwatch::start();
    let mut buffer = vec![0; PIECE];
    let mut hashed = 0;
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let mut file = File::open(entry.path())?;
        let mut hasher = blake3::Hasher::new();
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            };
        }
        std::hint::black_box(hasher.finalize());
        hashed += 1;
    }
    ensure!(hashed == files, "{hashed} files instead of {files}");
    Ok(watch.spent())
}

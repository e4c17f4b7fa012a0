//! The drill with real processes: 60 nodes on this machine, roles by election, a third of the
//! supernodes killed with -9 while users search.
//!
//! `cargo run --release -p skein-tests --bin drill [-- NODES [MAX_CHILDREN]]` prints what it sees,
//! the figures last, and exits 0 only when everybody is found again. The results are kept in
//! `docs/benchmarks.md`.
#![allow(clippy::expect_used, clippy::print_stdout)]

use skein_tests::drill::{self, Plan};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const NODES: usize = 60;

/// So few that 60 nodes need eight supernodes and more.
const MAX_CHILDREN: u32 = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let nodes = words.next().map_or(NODES, |word| word.parse().expect("a number of nodes"));
    let max_children =
        words.next().map_or(MAX_CHILDREN, |word| word.parse().expect("a number of children"));
    let plan = Plan {
        nodes,
        max_children,
        searchers: (nodes / 4).max(1),
        calm: Duration::from_secs(30),
        patience: Duration::from_secs(600),
    };
    let begun = Instant::now();
    let report =
        drill::run(plan, |news| println!("[{:6.1} s] {news}", begun.elapsed().as_secs_f64())).await;
    println!("\n{report}");
    if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

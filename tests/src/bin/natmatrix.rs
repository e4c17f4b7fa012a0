//! Sessions between all kinds of NATs with real processes and the kernel's own routers: which way
//! each goes, and how soon.
//!
//! `cargo run --release -p skein-tests --bin natmatrix [-- AT_ONCE]` opens one after the other, or as
//! many at once as is said, prints a table and exits 0 only when every pair is connected at the first
//! call, and directly, in time, where a plain punch over UDP can succeed. The results are kept in
//! `docs/reaching.md`.
#![allow(clippy::expect_used, clippy::print_stdout)]

use skein_tests::PATIENCE;
use skein_tests::natlab::{DIRECT_BAR, Figures, Matrix, Outcome, Table, program_inside};
use std::process::ExitCode;

fn main() -> ExitCode {
    program_inside(async {
        let at_once = std::env::args().nth(1);
        let at_once = at_once.map_or(1, |word| word.parse().expect("a number of sessions"));
        let matrix = Matrix::build().await;
        let outcomes = matrix.sessions(true, at_once, PATIENCE).await;
        println!("{}", Table(&outcomes));
        println!("{}", Figures(&outcomes));
        let in_time = |outcome: &Outcome| {
            !outcome.can_be_direct()
                || outcome.direct_at_once().is_some_and(|took| took <= DIRECT_BAR)
        };
        let is_well = |outcome: &Outcome| {
            outcome.is_connected_at_once() && outcome.is_right() && in_time(outcome)
        };
        match outcomes.iter().all(is_well) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    })
}

//! `docs/protocol.md` says what the code does.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use skein_proto::SupernodeList;
use skein_proto::codec::MAX_EXTENSIONS;
use skein_proto::credential::Credential;
use skein_proto::directory::{Loss, Presence, SourceClaim};
use skein_proto::evidence::{Receipt, Voucher};
use skein_proto::key::Statement;
use skein_proto::membership::{SupernodeRecord, Suspicion};
use skein_proto::message::MessageKind;
use skein_proto::session::{Answer, Offer};
use skein_proto::testing::any_message_of;
use skein_proto::wish::Wish;
use std::collections::BTreeSet;

const DOC: &str = include_str!("../../../docs/protocol.md");

/// How many messages of a kind are looked at, so that all variants of a choice are among them.
const SAMPLES: usize = 200;

fn size(bytes: usize) -> String {
    if bytes.is_multiple_of(1024) { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

/// The part of the page about one message.
fn section(kind: MessageKind) -> &'static str {
    let heading = format!("\n### {} {}\n", kind as u16, kind.name());
    let (_, rest) = DOC.split_once(&heading).unwrap_or_else(|| panic!("no section{heading}"));
    rest.split("\n## ").next().and_then(|rest| rest.split("\n### ").next()).unwrap_or(rest)
}

/// The names of the fields of a value, taken from its debug form.
fn fields(debug: &str, depth: std::ops::RangeInclusive<usize>, into: &mut BTreeSet<String>) {
    for line in debug.lines() {
        let name = line.trim_start();
        let indent = (line.len() - name.len()) / 4;
        let Some((name, _)) = name.split_once(':') else { continue };
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if depth.contains(&indent) && is_name {
            into.insert(name.to_owned());
        }
    }
}

#[test]
fn the_table_lists_every_message_with_its_number_and_limit() {
    let rows: BTreeSet<&str> = DOC
        .split_once("\n## 6.")
        .and_then(|(_, rest)| rest.split_once("\n### "))
        .map(|(table, _)| table)
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| line.starts_with("| ") && !line.starts_with("| number"))
        .collect();
    assert_eq!(rows.len(), MessageKind::ALL.len(), "as many rows as messages");
    for kind in MessageKind::ALL {
        let row = format!("| {} | `{}` | {} |", *kind as u16, kind.name(), size(kind.limit()));
        assert!(rows.iter().any(|line| line.starts_with(&row)), "no row {row:?}");
    }
}

#[test]
fn every_field_of_every_message_is_described_in_its_section() {
    let mut runner = TestRunner::deterministic();
    for kind in MessageKind::ALL {
        let mut names = BTreeSet::new();
        for _ in 0..SAMPLES {
            let message = any_message_of(*kind).new_tree(&mut runner).expect("a message").current();
            // `Kind(` and then `Body {`, or `Kind(` and then `Variant {`: two levels in.
            fields(&format!("{message:#?}"), 2..=2, &mut names);
        }
        for name in names {
            let text = section(*kind);
            assert!(text.contains(&format!("`{name}`")), "{}: `{name}` is missing", kind.name());
        }
    }
}

#[test]
fn the_contexts_of_all_signed_statements_are_listed() {
    for context in [
        Credential::CONTEXT,
        SupernodeList::CONTEXT,
        SupernodeRecord::CONTEXT,
        Suspicion::CONTEXT,
        Voucher::CONTEXT,
        Receipt::CONTEXT,
        Wish::CONTEXT,
        Presence::CONTEXT,
        Loss::CONTEXT,
        SourceClaim::CONTEXT,
        Offer::CONTEXT,
        Answer::CONTEXT,
    ] {
        assert!(DOC.contains(&format!("| `{context}` |")), "{context:?} is missing");
    }
}

#[test]
fn the_number_of_extension_blocks_is_right() {
    assert!(DOC.contains(&format!("at most {MAX_EXTENSIONS} of them")));
}

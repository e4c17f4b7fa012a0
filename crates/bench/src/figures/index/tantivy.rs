//! tantivy, set up for just this: one segment in memory, words with their frequencies for the
//! ranking, all fields stored.

use super::{Measured, WANTED, Workload, time_searches};
use crate::usage::{self, Stopwatch};
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value as _,
};
use tantivy::{Index, TantivyDocument, Term};

/// What its writer may gather before it makes a segment: as much as it asks for at most.
const BUFFER: usize = 200_000_000;

/// Builds and searches.
pub fn search(workload: Workload) -> Result<Measured> {
    let before = usage::memory()?;
    let mut schema = Schema::builder();
    let words = TextFieldIndexing::default()
        .set_tokenizer("default")
        .set_index_option(IndexRecordOption::WithFreqs);
    let path =
        schema.add_text_field("path", TextOptions::default().set_indexing_options(words) | STORED);
    let content = schema.add_bytes_field("content", STORED);
    let size = schema.add_u64_field("size", STORED);
    let owner = schema.add_u64_field("owner", STORED);
    let index = Index::create_in_ram(schema.build());
    let watch = Stopwatch::start();
    let mut making = Duration::ZERO;
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, BUFFER)?;
    let mut batches = workload.batches;
    loop {
        // It works in threads of its own, also while the next records are made: the clock is that
        // of the process, less what this thread takes for the records.
        let before = usage::own_cpu();
        let Some(batch) = batches.next() else { break };
        making += usage::own_cpu().saturating_sub(before);
        for (number, files) in batch {
            for file in files {
                let mut document = TantivyDocument::default();
                document.add_text(path, file.path.as_str());
                document.add_bytes(content, file.content.as_bytes());
                document.add_u64(size, file.size);
                document.add_u64(owner, number);
                writer.add_document(document)?;
            }
        }
    }
    writer.commit()?;
    let segments = index.searchable_segment_ids()?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    writer.wait_merging_threads()?;
    let building = watch.spent().cpu - making.as_secs_f64();
    let reader = index.reader()?;
    let searcher = reader.searcher();
    let grown = usage::memory()?.saturating_sub(before);
    let mut measured: Measured =
        BTreeMap::from([("grown".to_owned(), grown as f64), ("building".to_owned(), building)]);
    measured.extend(time_searches(&workload.searches, |(one, other)| {
        let query = BooleanQuery::new(vec![both(path, one), both(path, other)]);
        let mut read = 0;
        for (_, address) in
            searcher.search(&query, &TopDocs::with_limit(WANTED).order_by_score())?
        {
            let document: TantivyDocument = searcher.doc(address)?;
            let text = |field: Field| document.get_first(field);
            let is_whole = text(path).and_then(|it| it.as_str().map(str::len)).is_some()
                && text(content).and_then(|it| it.as_bytes().map(<[u8]>::len)) == Some(32)
                && text(size).and_then(|it| it.as_u64()).is_some()
                && text(owner).and_then(|it| it.as_u64()).is_some();
            read += usize::from(is_whole);
        }
        Ok(read)
    })?);
    Ok(measured)
}

fn both(field: Field, word: &str) -> (Occur, Box<dyn Query>) {
    let term = Term::from_field_text(field, word);
    (Occur::Must, Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)))
}

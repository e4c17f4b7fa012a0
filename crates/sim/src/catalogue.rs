//! All files that there are, each once: nodes share numbers.

use crate::workload::{self, Content, Workload};
use rustc_hash::FxHashMap;
use skein_proto::{ContentId, FileMeta};
use std::sync::Arc;

/// All files that there are, by their numbers: first those of a workload, whose metadata is made
/// when it is asked for, then those that were added one by one.
#[derive(Debug, Default)]
pub struct Catalogue {
    workload: Option<Arc<Workload>>,
    added: Vec<FileMeta>,
    numbers: FxHashMap<ContentId, u32>,
}

impl Catalogue {
    /// The files of a workload; others may be added.
    pub fn of(workload: Arc<Workload>) -> Self {
        Self { workload: Some(workload), ..Self::default() }
    }

    /// The number of a file, which is added if it is new. One content has one set of metadata: that
    /// of who named it last.
    pub fn add(&mut self, file: FileMeta) -> u32 {
        if let Some(number) = self.made().and_then(|made| made.content(&file.content)) {
            return number.0;
        }
        let new = self.len();
        let number = *self.numbers.entry(file.content).or_insert(new);
        let place = (number - self.first_added()) as usize;
        match self.added.get_mut(place) {
            Some(known) => *known = file,
            None => self.added.push(file),
        }
        number
    }

    /// The number of a content, if it is known.
    pub fn number(&self, content: &ContentId) -> Option<u32> {
        let made = self.made().and_then(|made| made.content(content)).map(|content| content.0);
        made.or_else(|| self.numbers.get(content).copied())
    }

    /// A file's metadata.
    pub fn file(&self, number: u32) -> FileMeta {
        match (number.checked_sub(self.first_added()), self.made()) {
            (None, Some(made)) => made.file(Content(number)),
            (place, _) => self.added[place.unwrap_or_default() as usize].clone(),
        }
    }

    /// A file's content id.
    pub fn content(&self, number: u32) -> ContentId {
        match (number.checked_sub(self.first_added()), self.made()) {
            (None, Some(made)) => made.id(Content(number)),
            (place, _) => self.added[place.unwrap_or_default() as usize].content,
        }
    }

    /// How many files there are.
    pub fn len(&self) -> u32 {
        // Numbers of files are of 32 bits, here and in a workload.
        self.first_added() + self.added.len() as u32
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn made(&self) -> Option<&workload::Catalogue> {
        self.workload.as_ref().map(|workload| &workload.catalogue)
    }

    fn first_added(&self) -> u32 {
        self.made().map_or(0, workload::Catalogue::len)
    }
}

/// What one node shares: numbers of files by ascending content id, as
/// [`skein_overlay::Output::WantFiles`] asks for them.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    files: Vec<u32>,
}

impl Shelf {
    /// The files, in the order of their content ids.
    pub fn files(&self) -> &[u32] {
        &self.files
    }

    /// Adds a file.
    pub fn add(&mut self, catalogue: &Catalogue, file: u32) {
        let content = catalogue.content(file);
        if let Err(at) = self.find(catalogue, &content) {
            self.files.insert(at, file);
        }
    }

    /// Adds many files, faster than one by one.
    pub fn extend(&mut self, catalogue: &Catalogue, files: impl IntoIterator<Item = u32>) {
        self.files.extend(files);
        self.files.sort_by_cached_key(|file| catalogue.content(*file));
        self.files.dedup();
        self.files.shrink_to_fit();
    }

    /// Takes a file away, if it is there.
    pub fn remove(&mut self, catalogue: &Catalogue, content: &ContentId) {
        if let Ok(at) = self.find(catalogue, content) {
            self.files.remove(at);
        }
    }

    /// Up to `limit` files behind a content, and whether there are none behind these.
    pub fn page(
        &self,
        catalogue: &Catalogue,
        after: Option<&ContentId>,
        limit: usize,
    ) -> (Vec<FileMeta>, bool) {
        let start = match after.map(|content| self.find(catalogue, content)) {
            None => 0,
            Some(Ok(at)) => at + 1,
            Some(Err(at)) => at,
        };
        let files: Vec<FileMeta> =
            self.files[start..].iter().take(limit).map(|file| catalogue.file(*file)).collect();
        let last = files.len() < limit;
        (files, last)
    }

    fn find(&self, catalogue: &Catalogue, content: &ContentId) -> Result<usize, usize> {
        self.files.binary_search_by(|file| catalogue.content(*file).cmp(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::file;

    #[test]
    fn pages_hold_every_file_once_in_the_order_of_content_ids() {
        let mut catalogue = Catalogue::default();
        let numbers: Vec<u32> = (0..10).map(|n| catalogue.add(file(&format!("a/{n}")))).collect();
        assert_eq!(catalogue.add(file("a/3")), numbers[3], "a content has one number");
        let mut shelf = Shelf::default();
        shelf.extend(&catalogue, numbers.iter().copied().chain([numbers[0]]));
        shelf.remove(&catalogue, &file("a/7").content);
        shelf.add(&catalogue, numbers[5]);

        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (files, last) = shelf.page(&catalogue, after.as_ref(), 4);
            seen.extend(files.iter().map(|file| file.content));
            after = seen.last().copied();
            if last {
                break;
            }
        }
        let mut expected: Vec<ContentId> =
            (0..10).filter(|n| *n != 7).map(|n| file(&format!("a/{n}")).content).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}

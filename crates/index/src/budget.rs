//! How much one search for words may do.
//!
//! Nearly all searches are over long before. But who asks can combine words that very many documents
//! have with a filter that none passes, or beginnings of very many words; such a search ends with
//! what it has found by then.

/// What a search for words does at most, in documents that it reads: it ends when it has done so much. As many as
/// a filter that one document in five hundred passes needs for the hundred results that are usually wanted.
pub const MAX_SEARCH_WORK: usize = 1 << 16;

/// Numbers of lists that are united while one document is looked at.
pub(crate) const NUMBERS_OF_DOCUMENT: usize = 64;

/// What a search may still do, in numbers of lists that it unites.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    is_spent: bool,
}

impl Budget {
    /// For the work of so many documents.
    pub(crate) const fn of(documents: usize) -> Self {
        Self { left: documents * NUMBERS_OF_DOCUMENT, is_spent: false }
    }

    /// Takes something from it. Answers whether there was so much left; if not, there is nothing left.
    #[inline]
    pub(crate) const fn spend(&mut self, numbers: usize) -> bool {
        match self.left.checked_sub(numbers) {
            Some(left) => self.left = left,
            None => (self.left, self.is_spent) = (0, true),
        }
        !self.is_spent
    }

    /// What is left of it.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// Takes what it costs to read a document.
    #[inline]
    pub(crate) const fn spend_document(&mut self) -> bool {
        self.spend(NUMBERS_OF_DOCUMENT)
    }

    /// Whether more was to be done than it allowed.
    pub(crate) const fn is_spent(&self) -> bool {
        self.is_spent
    }
}

//! In which folder a download ends, and whether its file is there already.

use super::journal::{Record, Stage};
use super::seen::Seen;
use skein_swarm::{RunSet, groups_of};
use std::path::{Path, PathBuf};

/// Where a download goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder<'a> {
    /// The user asked for this folder: at the end the file is there.
    AskedFor(&'a Path),
    /// For what is new; a download that is known already stays where it is.
    Usual(&'a Path),
}

impl<'a> Folder<'a> {
    /// The folder.
    pub const fn path(self) -> &'a Path {
        match self {
            Self::AskedFor(path) | Self::Usual(path) => path,
        }
    }

    /// Whether the user asked for it.
    pub const fn is_asked_for(self) -> bool {
        matches!(self, Self::AskedFor(_))
    }
}

/// Where the complete file of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// Where it is wanted.
    InPlace(PathBuf),
    /// In another folder than the one that was asked for.
    Elsewhere(PathBuf),
    /// It is not complete, or was moved or removed.
    Nowhere,
}

/// Looks for the complete file of a record.
pub(super) fn find(record: &Record, dir: &Path, asked: bool) -> Here {
    let target = record.target.as_ref().filter(|_| record.stage == Stage::Done);
    let has_length = |path: &&PathBuf| {
        let length = path.metadata().ok().map(|meta| meta.len());
        length.is_some() && length == record.size
    };
    let known = target.into_iter().chain(record.copies.iter().rev());
    let there: Vec<&PathBuf> = known.filter(has_length).collect();
    let in_place = there.iter().find(|path| !asked || is_folder(path.parent(), dir));
    match (in_place, there.first()) {
        (Some(path), _) => Here::InPlace((*path).clone()),
        (None, Some(path)) => Here::Elsewhere((*path).clone()),
        (None, None) => Here::Nowhere,
    }
}

/// Whether two paths are the same folder, also over a link.
pub(super) fn is_folder(one: Option<&Path>, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one.is_some_and(|one| one == other || (real(one).is_some() && real(one) == real(other)))
}

impl Record {
    /// The complete file is at this path.
    pub fn complete_at(&mut self, path: PathBuf) {
        if let Some(target) = self.target.take().filter(|_| self.stage == Stage::Done) {
            self.add_copy(target);
        }
        self.copies.retain(|known| *known != path);
        self.copy_of = None;
        if let Some(size) = self.size {
            self.set_runs(&RunSet::full(groups_of(size)));
        }
        self.seen = Seen::of(&path);
        self.target = Some(path);
        self.stage = Stage::Done;
    }

    /// Whether a file of the right length may have been changed since its bytes were known to be
    /// right.
    pub fn doubts(&self, path: &Path) -> bool {
        let is_target = self.stage == Stage::Done && self.target.as_deref() == Some(path);
        !is_target || self.seen.is_none() || self.seen != Seen::of(path)
    }

    /// Its bytes are to come from this complete file first.
    pub fn copy_from(&mut self, path: PathBuf) {
        if let Some(target) = self.target.take().filter(|_| self.stage == Stage::Done) {
            self.add_copy(target);
            self.part = None;
            self.verified = Vec::new();
        }
        self.copy_of = Some(path);
    }
}

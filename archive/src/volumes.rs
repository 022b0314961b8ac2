//! The files that make up one bundle.

use camino::{Utf8Path, Utf8PathBuf};

use crate::Result;

/// The file, or the numbered files, of one bundle, perhaps in several folders.
#[derive(Debug)]
pub struct Volumes {
    _paths: Vec<Utf8PathBuf>,
}

impl Volumes {
    /// Finds the files of the bundle at `path`: one `.tar.zst`, or any one volume (`.tar.zst.001`) of a set.
    ///
    /// Further volumes are looked for beside it and in `folders`, so a set may lie on several media at once.
    pub fn locate(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Self> {
        let _ = (path, folders);
        unimplemented!()
    }

    /// Returns the paths in order of volume number.
    #[must_use]
    pub fn paths(&self) -> &[Utf8PathBuf] {
        unimplemented!()
    }
}

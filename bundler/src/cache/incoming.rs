//! A blob on its way into the cache.
//!
//! Invariant: bytes are hashed as they are written, and the file gets its final name only when digest and size agree. Dropping an
//! [`Incoming`] keeps what has arrived for the next attempt; only wrong content is thrown away.

use std::io::{BufReader, Seek as _, Write as _};

use camino::Utf8PathBuf;
use fs_err::File;
use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    digest,
    error::{Error, Result},
};

/// One download in progress; holds its digest's lock.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    digest: Digest,
    size: Option<u64>,
    hasher: Sha256,
    received: u64,
    blob: Utf8PathBuf,
    partial: Utf8PathBuf,
}

impl Incoming {
    pub(super) fn new(
        file: File,
        digest: Digest,
        size: Option<u64>,
        blob: Utf8PathBuf,
        partial: Utf8PathBuf,
    ) -> Self {
        Self {
            file,
            digest,
            size,
            hasher: Sha256::new(),
            received: 0,
            blob,
            partial,
        }
    }

    /// Hashes what an interrupted download left, so that it can go on from there.
    pub(super) fn resume(mut self) -> Result<Self> {
        let read = digest::hash_into(&mut self.hasher, &mut BufReader::new(&mut self.file));
        self.received = read.map_err(Error::io("read", &self.partial))?;
        // All bytes may be there and unnamed; more than all is somebody else's leftovers.
        if self.size.is_some_and(|size| self.received > size) {
            self.restart()?;
        }
        Ok(self)
    }

    /// Returns how many bytes are there: the offset to ask the source for.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.received
    }

    /// Tells whether nothing is left to ask for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self.size {
            Some(size) => size == self.received,
            None => digest::finish(self.hasher.clone()) == self.digest,
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::WrongContent`] when more arrives than the blob's size; what arrived is then thrown away.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let received = self.received + bytes.len() as u64;
        if let Some(size) = self.size.filter(|size| received > *size) {
            self.restart()?;
            return Err(self.wrong(format!("more than its {size} bytes")));
        }
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.partial))?;
        self.hasher.update(bytes);
        self.received = received;
        Ok(())
    }

    /// Throws away what has arrived, for a source that does not continue where asked.
    pub fn restart(&mut self) -> Result<()> {
        self.hasher = Sha256::new();
        self.received = 0;
        self.file
            .set_len(0)
            .map_err(Error::io("truncate", &self.partial))?;
        self.file
            .rewind()
            .map_err(Error::io("rewind", &self.partial))
    }

    /// Checks digest and size and gives the blob its name.
    ///
    /// # Errors
    /// [`Error::WrongContent`]; what arrived is then thrown away, so that a next attempt starts afresh.
    pub fn finish(mut self) -> Result<()> {
        let actual = digest::finish(self.hasher.clone());
        let short = self.size.filter(|size| *size != self.received);
        if actual != self.digest || short.is_some() {
            let actual = match short {
                Some(size) => format!("{} of {size} bytes", self.received),
                None => actual.to_string(),
            };
            self.restart()?;
            return Err(self.wrong(actual));
        }
        self.file
            .sync_data()
            .map_err(Error::io("write", &self.partial))?;
        fs_err::rename(&self.partial, &self.blob).map_err(Error::io("rename", &self.partial))
    }

    fn wrong(&self, actual: String) -> Error {
        Error::WrongContent {
            object: "a blob".into(),
            expected: self.digest.clone(),
            actual,
        }
    }
}

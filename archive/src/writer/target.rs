//! Writing at a place of its own: several threads write one file, and none moves another's position.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::frame;

/// A place to write one frame to.
#[derive(Debug)]
pub(super) struct Target {
    file: Arc<File>,
    offset: u64,
}

impl Target {
    pub(super) fn new(file: Arc<File>, offset: u64) -> Self {
        Self { file, offset }
    }

    /// Writes content as a stored frame.
    pub(super) fn write_stored(&self, content: &[u8]) -> io::Result<()> {
        frame::write_stored(self.begin(), content)
    }

    /// Writes a compressed frame.
    pub(super) fn write_compressed(&self, bytes: &[u8]) -> io::Result<()> {
        self.begin().write_all(bytes)
    }

    fn begin(&self) -> At<'_> {
        At::new(&self.file, self.offset)
    }
}

/// A position in a file that is this writer's own.
pub(super) struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> At<'a> {
    pub(super) fn new(file: &'a File, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl io::Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = rustix::io::pwritev(self.file, slices, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

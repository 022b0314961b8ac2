//! The files being written: temporary names, volumes, places of frames, tail, rename.
//!
//! A frame gets its place when the lengths of all before it are known; then it may be written by any thread, in any order.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::WriteOptions;
use super::small::sync_folder;
use super::target::{At, Target};
use crate::limits::MAX_VOLUMES;
use crate::tail::{self, Recorded};
use crate::volumes::{split, volume_path};
use crate::{Error, Event, Result, frame};

/// A bundle being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub(super) struct Output {
    path: Utf8PathBuf,
    folder: Utf8PathBuf,
    index_sha256: [u8; 32],
    volume_size: Option<u64>,
    overwrite: bool,
    needed: u64,
    volumes: Vec<Volume>,
    frames: Vec<Recorded>,
    places: Vec<Place>,
    finished: bool,
}

#[derive(Debug)]
struct Volume {
    temporary: Utf8PathBuf,
    file: Arc<File>,
    /// Bytes that have a place in it; they may still be on their way.
    length: u64,
}

/// Where a frame begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    volume: u16,
    offset: u64,
}

impl Output {
    /// Begins the first volume, after checking that the bundle may and can be written there.
    pub(super) fn create(
        path: &Utf8Path,
        index_sha256: [u8; 32],
        options: &WriteOptions,
        needed: u64,
    ) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_str().is_empty() => folder.to_owned(),
            _ => Utf8PathBuf::from("."),
        };
        let mut output = Self {
            path: path.to_owned(),
            folder,
            index_sha256,
            volume_size: options.volume_size,
            overwrite: options.overwrite,
            needed,
            volumes: Vec::new(),
            frames: Vec::new(),
            places: Vec::new(),
            finished: false,
        };
        output.replaceable()?;
        output.begin_volume(1)?;
        output.remove_leftovers()?;
        // asked after leftovers of a killed run are gone
        let space = rustix::fs::statvfs(output.folder.as_std_path());
        let available = space.map(|space| space.f_bavail * space.f_frsize).ok();
        if available.is_some_and(|available| available < needed) {
            return Err(Error::NoSpace {
                path: path.to_owned(),
                needed,
                available,
            });
        }
        Ok(output)
    }

    /// Returns the files of a bundle that may be replaced, the plain one first; an error where none may.
    fn replaceable(&self) -> Result<Vec<Utf8PathBuf>> {
        let mut numbers = Vec::new();
        for found in self.names()? {
            let plain = (Some(found.as_str()) == self.path.file_name()).then_some(0);
            numbers.extend(plain.or_else(|| self.number(&found)));
        }
        numbers.sort_unstable();
        let mut found = numbers.into_iter().map(|number| match number {
            0 => self.path.clone(),
            number => volume_path(&self.path, number),
        });
        match found.next() {
            Some(path) if !self.overwrite => Err(Error::Exists { path }),
            first => Ok(first.into_iter().chain(found).collect()),
        }
    }

    fn temporary(&self, number: u32) -> Utf8PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        self.folder.join(format!(".{name}.{number:03}.partial"))
    }

    fn failed(&self, path: &Utf8Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace {
                path: self.path.clone(),
                needed: self.needed,
                available: None,
            },
            io::ErrorKind::FileTooLarge => Error::FileTooLarge {
                path: self.path.clone(),
                source,
            },
            _ => Error::Io {
                operation: "write",
                path: path.to_owned(),
                source,
            },
        }
    }

    /// Says why the first volume could not be locked.
    fn not_locked(&self, path: &Utf8Path, errno: Errno) -> Error {
        if errno != Errno::WOULDBLOCK {
            return self.failed(path, errno.into());
        }
        let reason = "another process is writing this bundle";
        self.failed(
            &self.path,
            io::Error::new(io::ErrorKind::WouldBlock, reason),
        )
    }

    /// Creates a volume's temporary file. The first is locked, so that two runs never write the same bundle.
    fn begin_volume(&mut self, number: u32) -> Result<()> {
        let path = self.temporary(number);
        let failed = |source| self.failed(&path, source);
        let file = loop {
            let mut options = fs_err::OpenOptions::new();
            let file = options
                .write(true)
                .read(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed)?;
            let file = file.into_parts().0;
            if number > 1 {
                break file;
            }
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|errno| self.not_locked(&path, errno))?;
            // between opening and locking, the other process may have renamed the file to its final name
            let same = {
                use std::os::unix::fs::MetadataExt as _;
                let locked = file.metadata().map_err(failed)?;
                path.metadata()
                    .is_ok_and(|named| named.ino() == locked.ino() && named.dev() == locked.dev())
            };
            if same {
                break file;
            }
        };
        file.set_len(0).map_err(failed)?;
        self.volumes.push(Volume {
            temporary: path,
            file: Arc::new(file),
            length: 0,
        });
        if number > 1 {
            let head = tail::volume_head(&self.index_sha256, number);
            self.append(&head)?;
        }
        Ok(())
    }

    /// Removes what killed runs left of further volumes, also behind a gap.
    fn remove_leftovers(&self) -> Result<()> {
        for found in self.names()? {
            let number = found
                .strip_prefix('.')
                .and_then(|found| found.strip_suffix(".partial"))
                .and_then(|volume| self.number(volume));
            let Some(path) = number.filter(|n| *n > 1).map(|n| self.temporary(n)) else {
                continue;
            };
            fs_err::remove_file(&path).map_err(|source| self.failed(&path, source))?;
        }
        Ok(())
    }

    /// Lists the target folder; a name that is not UTF-8 is none of ours.
    fn names(&self) -> Result<Vec<String>> {
        let failed = |source| self.failed(&self.folder, source);
        let mut names = Vec::new();
        for entry in self.folder.as_std_path().read_dir().map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    /// Returns the number in the name of a volume of this bundle.
    fn number(&self, found: &str) -> Option<u32> {
        let (base, number) = split(Utf8Path::new(found))?;
        (Some(base.as_str()) == self.path.file_name()).then_some(number)
    }

    fn current(&mut self) -> &mut Volume {
        self.volumes
            .last_mut()
            .expect("the first volume is begun with the output")
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let volume = self.current();
        let written = At::new(&volume.file, volume.length).write_all(bytes);
        volume.length += bytes.len() as u64;
        let path = volume.temporary.clone();
        written.map_err(|source| self.failed(&path, source))
    }

    /// Begins a further volume when `size` more bytes would not fit this one.
    fn make_room(&mut self, size: u64, report: &(dyn Fn(Event) + Sync)) -> Result<()> {
        let full = self
            .volume_size
            .is_some_and(|limit| self.current().length + size > limit);
        if full {
            let number = u32::try_from(self.volumes.len() + 1).unwrap_or(u32::MAX);
            if number > MAX_VOLUMES {
                let reason = format!("it would need more than {MAX_VOLUMES} volumes");
                return Err(Error::InvalidTree {
                    what: "in volumes of that size".to_owned(),
                    reason,
                });
            }
            self.begin_volume(number)?;
            report(Event::Volume {
                number,
                path: volume_path(&self.path, number),
            });
        }
        Ok(())
    }

    /// Returns how many frames have a place: those before this number.
    pub(super) fn placed(&self) -> usize {
        self.places.len()
    }

    /// Gives the next frame its place: so many bytes, holding so much content.
    pub(super) fn place(
        &mut self,
        size: usize,
        content: usize,
        checksum: u32,
        report: &(dyn Fn(Event) + Sync),
    ) -> Result<()> {
        self.make_room(size as u64, report)?;
        let volume = self.volumes.len() - 1;
        let number = |size| u32::try_from(size).expect("a frame is about 4 MiB at most");
        self.frames.push(Recorded {
            compressed: number(size),
            content: number(content),
            checksum,
        });
        self.places.push(Place {
            volume: u16::try_from(volume).expect("there are 999 volumes at most"),
            offset: self.volumes[volume].length,
        });
        self.volumes[volume].length += size as u64;
        Ok(())
    }

    /// Returns where to write a frame that has a place.
    pub(super) fn target(&self, frame: usize) -> Target {
        let place = self.places[frame];
        let file = &self.volumes[usize::from(place.volume)].file;
        Target::new(Arc::clone(file), place.offset)
    }

    /// Says of a frame that could not be written which file it was for.
    pub(super) fn not_written(&self, frame: usize, source: io::Error) -> Error {
        let volume = usize::from(self.places[frame].volume);
        self.failed(&self.volumes[volume].temporary, source)
    }

    /// Writes content as the next frame, stored.
    pub(super) fn write_stored(
        &mut self,
        content: &[u8],
        report: &(dyn Fn(Event) + Sync),
    ) -> Result<()> {
        let frame = self.placed();
        self.place(frame::stored_size(content.len()), content.len(), 0, report)?;
        let written = self.target(frame).write_stored(content);
        written.map_err(|source| self.not_written(frame, source))
    }

    /// Says whether the file system keeps a gap that is not written yet for nothing.
    ///
    /// Those of sticks fill it with zeros first, and would write everything twice.
    pub(super) fn keeps_gaps(&self) -> bool {
        /// tmpfs, ext2 to ext4, XFS, Btrfs, F2FS, overlayfs, ZFS, NFS: what statfs says of them.
        const KNOWN: [u64; 8] = [
            0x0102_1994,
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0xf2f5_2010,
            0x794c_7630,
            0x2fc1_2fc1,
            0x6969,
        ];
        let found = rustix::fs::statfs(self.folder.as_std_path());
        found.is_ok_and(|system| {
            u64::try_from(system.f_type).is_ok_and(|kind| KNOWN.contains(&kind))
        })
    }

    /// Drops everything but the first frame.
    pub(super) fn restart(&mut self) -> Result<()> {
        while self.volumes.len() > 1 {
            let path = self.current().temporary.clone();
            fs_err::remove_file(&path).map_err(|source| Error::Io {
                operation: "remove",
                path,
                source,
            })?;
            self.volumes.pop();
        }
        self.frames.truncate(1);
        self.places.truncate(1);
        let first = u64::from(self.frames.first().map_or(0, |frame| frame.compressed));
        let volume = self.current();
        volume.length = first;
        let cut = volume.file.set_len(first);
        let path = volume.temporary.clone();
        cut.map_err(|source| self.failed(&path, source))
    }

    /// Writes the tail, syncs everything and gives it its final names, last volume first.
    pub(super) fn finish(
        mut self,
        report: &(dyn Fn(Event) + Sync),
    ) -> Result<(Vec<Utf8PathBuf>, u64)> {
        let size = tail::size(self.frames.len(), self.volumes.len() + 1) as u64;
        self.make_room(size, report)?;
        let size = tail::size(self.frames.len(), self.volumes.len()) as u64;
        let mut lengths: Vec<u64> = self.volumes.iter().map(|volume| volume.length).collect();
        if let Some(last) = lengths.last_mut() {
            *last += size;
        }
        if self
            .volume_size
            .is_some_and(|limit| lengths.last().is_some_and(|last| *last > limit))
        {
            let reason = "the seek table alone is larger than a volume".to_owned();
            return Err(Error::InvalidTree {
                what: "in volumes of that size".to_owned(),
                reason,
            });
        }
        let bytes = tail::render(&self.index_sha256, &lengths, &self.frames);
        self.append(&bytes)?;
        for volume in &self.volumes {
            volume
                .file
                .sync_all()
                .map_err(|source| self.failed(&volume.temporary, source))?;
        }

        let old = self.replaceable()?;
        let finals: Vec<Utf8PathBuf> = if self.volumes.len() == 1 {
            vec![self.path.clone()]
        } else {
            let numbers = (1..).zip(&self.volumes);
            numbers
                .map(|(number, _)| volume_path(&self.path, number))
                .collect()
        };
        remove_old(old, &finals)?;
        for (volume, path) in self.volumes.iter().zip(&finals).rev() {
            fs_err::rename(&volume.temporary, path).map_err(|source| self.failed(path, source))?;
        }
        self.finished = true;
        sync_folder(&self.folder)?;
        Ok((finals, lengths.iter().sum()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // the first, which is the lock, goes last: until then no other run writes these names
        for volume in self.volumes.iter().rev() {
            // nothing can be done about a failure here, and the next run removes the file
            let _ = fs_err::remove_file(&volume.temporary);
        }
    }
}

/// Removes an old bundle that is being replaced, its first volume first, so that no mixed set ever looks whole.
fn remove_old(old: Vec<Utf8PathBuf>, finals: &[Utf8PathBuf]) -> Result<()> {
    for path in old {
        // a plain file is replaced by the rename itself
        if finals.len() == 1 && finals[0] == path {
            continue;
        }
        match fs_err::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(Error::Io {
                    operation: "remove",
                    path,
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_system_cannot_hold_is_told_from_other_failures() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let path = folder.join("x.tar.zst");
        let mut output = Output::create(&path, [7; 32], &WriteOptions::default(), 1).unwrap();
        output.write_stored(b"the first frame", &|_| {}).unwrap();
        let of = |errno: rustix::io::Errno| output.not_written(0, errno.into());
        let full = of(Errno::NOSPC);
        assert!(matches!(full, Error::NoSpace { .. }), "{full}");
        let quota = of(Errno::DQUOT);
        assert!(matches!(quota, Error::NoSpace { .. }), "{quota}");
        let error = of(Errno::FBIG);
        assert!(
            matches!(&error, Error::FileTooLarge { path: named, .. } if *named == path),
            "{error}"
        );
        assert!(matches!(of(Errno::IO), Error::Io { .. }));
    }

    #[test]
    fn only_a_lock_that_is_held_means_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("x");
        let create = || Output::create(&path, [7; 32], &WriteOptions::default(), 1);
        let first = create().unwrap();
        let cause = |error: Error| std::error::Error::source(&error).unwrap().to_string();
        let held = cause(create().unwrap_err());
        assert_eq!(held, "another process is writing this bundle");
        let other = cause(first.not_locked(&path, Errno::NOLCK));
        assert!(other.contains("locks"), "{other}");
    }
}

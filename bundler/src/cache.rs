//! The content-addressed cache of everything fetched.
//!
//! Invariant: a file under `blobs/sha256/` had the content of its name when it was put there: it was hashed on the way in and
//! renamed last, so a `kill -9` at any moment leaves at worst a partial file, which the next run continues. What a disk does to
//! it afterwards is found when the archive hashes it again; [`Cache::evict`] then removes it.
//!
//! One lock per digest, held on the partial file itself, works between tasks and between processes. A shared lock on the whole
//! cache, held while it is open, keeps [`Cache::prune`] out. The cache holds no names: those are in `images.lock`.

mod incoming;
mod prune;

use std::{
    collections::BTreeSet,
    fs::TryLockError,
    io::{Read, Write as _},
    time::{Duration, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::{File, OpenOptions};
use oci_spec::image::Digest;

pub use self::{
    incoming::Incoming,
    prune::{PruneOptions, Pruned},
};
use crate::{
    digest::{self, digest_of},
    error::{Error, Result},
};

/// How long a task waits between two looks at a digest that another one is fetching.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A folder of verified blobs, shared by every process of a user.
#[derive(Debug)]
pub struct Cache {
    root: Utf8PathBuf,
    /// Held shared for as long as the cache is open.
    _in_use: File,
}

impl Cache {
    /// Opens the cache at `root`, making its folders where they are missing.
    ///
    /// Waits while another process prunes it.
    pub fn open(root: &Utf8Path) -> Result<Self> {
        let in_use = lock_file(root)?;
        in_use.lock_shared().map_err(Error::io("lock", root))?;
        for folder in [blobs(root), partials(root)] {
            fs_err::create_dir_all(&folder).map_err(Error::io("create", folder))?;
        }
        Ok(Self {
            root: root.to_path_buf(),
            _in_use: in_use,
        })
    }

    /// Returns the cache's folder.
    #[must_use]
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Tells whether a blob is there, with the right size if one is known. Its content is not looked at.
    #[must_use]
    pub fn contains(&self, digest: &Digest, size: Option<u64>) -> bool {
        self.size(digest)
            .is_some_and(|there| size.is_none_or(|size| there == size))
    }

    /// Returns a blob's size in bytes, if it is there.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs_err::metadata(self.blob_path(digest).ok()?)
            .ok()
            .map(|meta| meta.len())
    }

    /// Returns how many bytes of an unfinished download are there.
    #[must_use]
    pub fn partial_bytes(&self, digest: &Digest) -> u64 {
        self.partial_path(digest)
            .ok()
            .and_then(|path| fs_err::metadata(path).ok())
            .map_or(0, |meta| meta.len())
    }

    /// Opens a blob for reading, and notes that it is in use; `None` when it is not there.
    ///
    /// The content is not verified again here: whoever copies it hashes it anyway.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.blob_path(digest)?;
        match File::open(&path) {
            Ok(file) => {
                // The age that `prune` looks at. On a cache of another user it cannot be set, which only makes blobs look older.
                let _ = file.file().set_modified(SystemTime::now());
                Ok(Some(file))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", path)(error)),
        }
    }

    /// Reads a small blob whole and verifies it; one that no longer hashes right is evicted and counts as absent.
    ///
    /// `limit` is in bytes; a larger blob is an error.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let path = self.blob_path(digest)?;
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", path))?;
        if bytes.len() as u64 > limit {
            let reason = format!("it is larger than {limit} bytes");
            return Err(Error::Unusable {
                object: digest.to_string(),
                reason,
            });
        }
        if digest_of(&bytes) != *digest {
            self.evict(digest)?;
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Puts bytes that are already in memory into the cache and returns their digest.
    pub fn insert(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = digest_of(bytes);
        let path = self.blob_path(&digest)?;
        if self.contains(&digest, Some(bytes.len() as u64)) {
            return Ok(digest);
        }
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(partials(&self.root))?;
            file.write_all(bytes)?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().map_err(Error::io("write", &path))?;
        Ok(digest)
    }

    /// Prepares to receive a blob; `None` when it is there already.
    ///
    /// Waits while another task or process receives the same digest. What an interrupted download left is hashed and kept:
    /// [`Incoming::offset`] says where to go on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unusable`] for a digest that is not sha256.
    pub async fn receive(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Incoming>> {
        let (blob, partial) = (self.blob_path(digest)?, self.partial_path(digest)?);
        loop {
            if self.contains(digest, size) {
                return Ok(None);
            }
            match self.claim(digest, size)? {
                Claim::Ours(file) => {
                    let incoming = Incoming::new(file, digest.clone(), size, blob, partial);
                    let resumed = tokio::task::spawn_blocking(move || incoming.resume()).await;
                    return resumed
                        .expect("hashing a partial file does not panic")
                        .map(Some);
                }
                Claim::Changed => {}
                Claim::Taken => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// Opens and locks the partial file of a blob.
    fn claim(&self, digest: &Digest, size: Option<u64>) -> Result<Claim> {
        let partial = self.partial_path(digest)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&partial)
            .map_err(Error::io("create", &partial))?;
        match file.try_lock() {
            Ok(()) if !same_file(&file, &partial) => Ok(Claim::Changed),
            // Named by its lock's last holder just before this file was made: nothing is left to receive.
            Ok(()) if self.contains(digest, size) => {
                fs_err::remove_file(&partial).map_err(Error::io("remove", partial))?;
                Ok(Claim::Changed)
            }
            Ok(()) => Ok(Claim::Ours(file)),
            Err(TryLockError::WouldBlock) => Ok(Claim::Taken),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", partial)(error)),
        }
    }

    /// Removes a blob, typically one that no longer hashes right; absence is fine.
    pub fn evict(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest)?;
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Hashes every blob and evicts those that do not match; returns their digests.
    pub fn verify(&self) -> Result<BTreeSet<String>> {
        let mut damaged = BTreeSet::new();
        let folder = blobs(&self.root);
        for entry in folder.read_dir_utf8().map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let file = File::open(entry.path()).map_err(Error::io("open", entry.path()))?;
            let (actual, _) = digest::hash_reader(file).map_err(Error::io("read", entry.path()))?;
            if actual.digest() != entry.file_name() {
                fs_err::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
                damaged.insert(format!("sha256:{}", entry.file_name()));
            }
        }
        Ok(damaged)
    }

    fn blob_path(&self, digest: &Digest) -> Result<Utf8PathBuf> {
        Ok(blobs(&self.root).join(file_name(digest)?))
    }

    fn partial_path(&self, digest: &Digest) -> Result<Utf8PathBuf> {
        Ok(partials(&self.root).join(file_name(digest)?))
    }
}

/// What came of the attempt to lock a blob's partial file.
enum Claim {
    /// It is locked.
    Ours(File),
    /// Another task or process has it.
    Taken,
    /// It was finished or removed meanwhile: the blob is to be looked for again.
    Changed,
}

/// A digest's file name. Only sha256 is cached: every digest of `images.lock` and of a bundle is one.
fn file_name(digest: &Digest) -> Result<&str> {
    digest::sha256_hex(digest).ok_or_else(|| Error::Unusable {
        object: digest.to_string(),
        reason: "only sha256 digests can be carried".into(),
    })
}

fn blobs(root: &Utf8Path) -> Utf8PathBuf {
    root.join("blobs/sha256")
}

fn partials(root: &Utf8Path) -> Utf8PathBuf {
    root.join("partial")
}

/// Opens the file whose lock says that the cache is in use.
fn lock_file(root: &Utf8Path) -> Result<File> {
    fs_err::create_dir_all(root).map_err(Error::io("create", root))?;
    let path = root.join("lock");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("create", path))
}

/// Tells whether an open file is still the one at `path`.
fn same_file(file: &File, path: &Utf8Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (file.metadata(), fs_err::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_finished_between_the_look_and_the_lock_is_not_received_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Utf8Path::from_path(dir.path()).unwrap()).unwrap();
        let digest = cache.insert(b"just now").unwrap();
        for size in [None, Some(8)] {
            let claim = cache.claim(&digest, size).unwrap();
            assert!(matches!(claim, Claim::Changed));
            assert!(!cache.partial_path(&digest).unwrap().exists());
        }
        let claim = cache.claim(&digest_of(b"later"), None).unwrap();
        assert!(matches!(claim, Claim::Ours(_)));
    }
}

//! The files that make up one bundle (FORMAT §8).
//!
//! Volumes are read in place, from as many folders as needed; nothing is ever joined, copied or deleted. Which file
//! is which volume follows from its name, and is then checked against its head and the signed index.

use std::os::unix::fs::FileExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::limits::MAX_VOLUMES;
use crate::{Error, Result, tail};

/// The file, or the numbered files, of one bundle, perhaps in several folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volumes {
    base: Utf8PathBuf,
    /// For each volume number from 1 the files that bear its name; one, but for foreign copies in other folders.
    candidates: Vec<Vec<Utf8PathBuf>>,
}

/// Returns the name of volume `number` of a set.
pub(crate) fn volume_path(base: &Utf8Path, number: u32) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{base}.{number:03}"))
}

/// Returns the base name and number of a volume's path.
pub(crate) fn split(path: &Utf8Path) -> Option<(Utf8PathBuf, u32)> {
    let (base, number) = path.as_str().rsplit_once('.')?;
    let is_number = number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = is_number.then(|| number.parse().ok()).flatten()?;
    (number > 0 && !base.is_empty()).then(|| (Utf8PathBuf::from(base), number))
}

impl Volumes {
    /// Finds the files of the bundle at `path`: one `.tar.zst`, or any one volume (`.tar.zst.001`) of a set.
    ///
    /// Further volumes are looked for beside it and in `folders`, so a set may lie on several media at once. A base
    /// name whose file does not exist stands for its set. Gaps are reported here, by number; whether volumes are
    /// missing at the end shows when the bundle is opened.
    pub fn locate(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Self> {
        let base = match split(path) {
            Some((base, _)) => base,
            None if path.is_file() => {
                return Ok(Self {
                    base: path.to_owned(),
                    candidates: vec![vec![path.to_owned()]],
                });
            }
            None => path.to_owned(),
        };
        let name = base.file_name().unwrap_or_default().to_owned();
        let beside = base
            .parent()
            .map_or_else(Utf8PathBuf::new, Utf8Path::to_owned);
        let mut candidates: Vec<Vec<Utf8PathBuf>> = Vec::new();
        for folder in std::iter::once(&beside).chain(folders) {
            let listed = if folder.as_str().is_empty() {
                Utf8Path::new(".")
            } else {
                folder.as_path()
            };
            let failed = |source| Error::Io {
                operation: "list",
                path: listed.to_owned(),
                source,
            };
            for entry in listed.as_std_path().read_dir().map_err(failed)? {
                let entry = entry.map_err(failed)?.file_name();
                // a name that is not UTF-8 is no volume's
                let Some(entry) = entry.to_str() else {
                    continue;
                };
                let Some((found, number)) = split(Utf8Path::new(entry)) else {
                    continue;
                };
                if found != name || number > MAX_VOLUMES {
                    continue;
                }
                let slot = number as usize - 1;
                if candidates.len() <= slot {
                    candidates.resize(slot + 1, Vec::new());
                }
                candidates[slot].push(folder.join(entry));
            }
        }
        if candidates.is_empty() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(Error::Io {
                operation: "find",
                path: path.to_owned(),
                source,
            });
        }
        let numbers: Vec<u32> = (1..)
            .zip(&candidates)
            .filter(|(_, files)| files.is_empty())
            .map(|(n, _)| n)
            .collect();
        if !numbers.is_empty() {
            return Err(Error::VolumeMissing { name, numbers });
        }
        Ok(Self { base, candidates })
    }

    /// Returns the bundle's path without a volume number; sidecars are named after it.
    #[must_use]
    pub fn base(&self) -> &Utf8Path {
        &self.base
    }

    /// Returns the paths in order of volume number.
    #[must_use]
    pub fn paths(&self) -> Vec<&Utf8Path> {
        self.candidates
            .iter()
            .filter_map(|files| files.first())
            .map(Utf8PathBuf::as_path)
            .collect()
    }

    /// Says whether this is a numbered set, rather than one file.
    pub(crate) fn is_set(&self) -> bool {
        self.candidates.first().and_then(|files| files.first()) != Some(&self.base)
    }

    /// Returns the name of the whole, for messages.
    pub(crate) fn name(&self) -> String {
        self.base.file_name().unwrap_or_default().to_owned()
    }

    /// Opens the first volume.
    pub(crate) fn open_first(&self) -> Result<OpenVolume> {
        OpenVolume::open(&self.candidates[0][0])
    }

    /// Opens all further volumes, choosing for each the file whose head names this index.
    pub(crate) fn open_others(&self, index_sha256: &[u8; 32]) -> Result<Vec<OpenVolume>> {
        let mut opened = Vec::new();
        for (number, files) in (2..).zip(&self.candidates[1..]) {
            let expected = tail::volume_head(index_sha256, number);
            let mut chosen = None;
            for path in files {
                let volume = OpenVolume::open(path)?;
                let mut head = [0; tail::VOLUME_HEAD];
                let whole = volume.read_exact(&mut head, 0)?;
                if whole && head == expected {
                    chosen = Some(Ok(volume));
                    break;
                }
                // only of what begins as a volume can it be said that it is another bundle's
                chosen.get_or_insert(Err(if whole && tail::is_volume_head(&head) {
                    Error::VolumeForeign { path: volume.path }
                } else {
                    Error::Damaged {
                        volume: volume.path,
                        reason: "it does not begin as a volume does".to_owned(),
                    }
                }));
            }
            opened.extend(chosen.transpose()?);
        }
        Ok(opened)
    }
}

/// One file of a bundle, opened for reading.
#[derive(Debug)]
pub(crate) struct OpenVolume {
    pub(crate) path: Utf8PathBuf,
    pub(crate) file: std::fs::File,
    pub(crate) length: u64,
}

impl OpenVolume {
    fn open(path: &Utf8Path) -> Result<Self> {
        let failed = |source| Error::Io {
            operation: "open",
            path: path.to_owned(),
            source,
        };
        let file = fs_err::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::NotABundle {
                path: path.to_owned(),
                reason: "it is not a regular file".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            length: metadata.len(),
            file: file.into_parts().0,
        })
    }

    /// Reads exactly `bytes` at `offset`; false when the file ends before.
    pub(crate) fn read_exact(&self, bytes: &mut [u8], offset: u64) -> Result<bool> {
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(Error::Io {
                operation: "read",
                path: self.path.clone(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_names_have_three_digits_from_001() {
        let split = |path: &str| {
            split(Utf8Path::new(path)).map(|(base, number)| (base.into_string(), number))
        };
        assert_eq!(
            split("/m/x.tar.zst.002"),
            Some(("/m/x.tar.zst".to_owned(), 2))
        );
        for not in ["/m/x.tar.zst", "x.000", "x.01", "x.0001", "x.a01", ".001"] {
            assert_eq!(split(not), None, "{not}");
        }
    }

    #[test]
    fn a_gap_is_named_and_other_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(folder.path()).unwrap();
        for name in [
            "x.tar.zst.001",
            "x.tar.zst.004",
            "y.tar.zst.002",
            "x.tar.zst.0123456789abcdef.sig",
        ] {
            fs_err::write(at.join(name), "").unwrap();
        }
        let error = Volumes::locate(&at.join("x.tar.zst"), &[]).unwrap_err();
        assert!(
            matches!(&error, Error::VolumeMissing { numbers, .. } if numbers == &[2, 3]),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            "missing volumes .002, .003 of the bundle x.tar.zst"
        );
        assert!(matches!(
            Volumes::locate(&at.join("z.tar.zst"), &[]),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_passed_over() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(folder.path()).unwrap();
        let foreign = std::ffi::OsStr::from_bytes(b"x.tar.zst\xff.002");
        fs_err::write(folder.path().join(foreign), "").unwrap();
        fs_err::write(at.join("x.tar.zst.001"), "").unwrap();
        let volumes = Volumes::locate(&at.join("x.tar.zst.001"), &[]).unwrap();
        assert_eq!(volumes.paths(), [at.join("x.tar.zst.001")]);
    }

    #[test]
    fn volumes_are_found_in_several_folders() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (
            Utf8Path::from_path(one.path()).unwrap(),
            Utf8Path::from_path(two.path()).unwrap(),
        );
        fs_err::write(one.join("x.tar.zst.001"), "").unwrap();
        fs_err::write(two.join("x.tar.zst.002"), "").unwrap();
        let volumes = Volumes::locate(&one.join("x.tar.zst.001"), &[two.to_owned()]).unwrap();
        assert_eq!(
            volumes.paths(),
            [one.join("x.tar.zst.001"), two.join("x.tar.zst.002")]
        );
    }
}

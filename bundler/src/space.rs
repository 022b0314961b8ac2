//! Free space, asked before bytes move: a full disk should be a sentence at the start, not an error after an hour.
//!
//! Demands on the same file system are added up. The check is advice, not a reservation: writers still handle a full disk.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::{Error, Result};

/// Checks that every folder (it, or its nearest existing parent) has room for the bytes wanted of it.
///
/// # Errors
/// [`Error::NoSpace`] names the first folder whose file system is too small for all that is wanted of it.
pub fn check_free_space(demands: &[(&Utf8Path, u64)]) -> Result<()> {
    let mut by_device: BTreeMap<u64, (Utf8PathBuf, u64)> = BTreeMap::new();
    for (path, bytes) in demands {
        let folder = existing(path);
        let device = fs_err::metadata(&folder)
            .map_err(|source| Error::space(&folder, source))?
            .dev();
        let entry = by_device.entry(device).or_insert((folder, 0));
        entry.1 = entry.1.saturating_add(*bytes);
    }
    for (path, needed) in by_device.into_values() {
        let free = free_bytes(&path)?;
        if free < needed {
            return Err(Error::NoSpace { path, needed, free });
        }
    }
    Ok(())
}

/// Returns the bytes an unprivileged process may still write below `path`.
pub(crate) fn free_bytes(path: &Utf8Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path.as_std_path())
        .map_err(|errno| Error::space(path, errno.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn existing(path: &Utf8Path) -> Utf8PathBuf {
    path.ancestors()
        .find(|path| !path.as_str().is_empty() && path.exists())
        .map_or_else(|| Utf8PathBuf::from("."), Utf8Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_beyond_the_disk_names_folder_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let below = dir.join("not/yet/there");
        check_free_space(&[(&below, 1)]).unwrap();
        match check_free_space(&[(&below, 1), (dir, u64::MAX)]) {
            Err(Error::NoSpace { needed, free, .. }) => {
                assert!(needed == u64::MAX && free < needed);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn demands_on_one_disk_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let most = free_bytes(dir).unwrap() / 3 * 2;
        check_free_space(&[(dir, most)]).unwrap();
        assert!(matches!(
            check_free_space(&[(dir, most), (dir, most)]),
            Err(Error::NoSpace { .. })
        ));
    }
}

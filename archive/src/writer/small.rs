//! Small files beside a bundle, and the sync after which a name outlasts a crash.

use std::io::Write as _;

use camino::Utf8Path;

use crate::{Error, Result};

/// Makes the names in a folder last.
pub(super) fn sync_folder(folder: &Utf8Path) -> Result<()> {
    let synced = fs_err::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::Io {
        operation: "write",
        path: folder.to_owned(),
        source,
    })
}

/// Writes a small file so that it is there whole or not at all, replacing an older one.
pub(super) fn write_small(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::Io {
        operation: "write",
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(folder)
}

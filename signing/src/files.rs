//! Reading small key files, and writing new ones so that nothing is ever overwritten or half there.

use std::io::{Read as _, Write as _};

use camino::Utf8Path;

use crate::{Error, KeyProblem, Result};

/// No key, encrypted or not, is anywhere near this large.
const MAX_KEY_FILE: u64 = 64 * 1024;

pub(crate) fn read(what: &str, path: &Utf8Path) -> Result<String> {
    let failed = |source| Error::File {
        operation: "read",
        what: format!("{what} {path}"),
        source,
    };
    let mut text = String::new();
    let file = fs_err::File::open(path).map_err(failed)?;
    file.take(MAX_KEY_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_KEY_FILE {
        return Err(Error::Key {
            what: format!("{what} {path}"),
            source: KeyProblem::TooLarge,
        });
    }
    Ok(text)
}

/// Writes `text` to a new file that only its owner may read, or everyone when `public`.
///
/// After a crash the file is either absent or whole. An existing file is left as it is.
pub(crate) fn write_new(what: &str, path: &Utf8Path, text: &str, public: bool) -> Result<()> {
    let failed = |source| Error::File {
        operation: "write",
        what: format!("{what} {path}"),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        _ => Utf8Path::new("."),
    };
    let mode = if public { 0o644 } else { 0o600 };
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    // a temporary file is made 0600, so a private key is never readable by others, not even for a moment
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file()
        .set_permissions(permissions)
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists {
                path: path.to_owned(),
            },
            _ => failed(e.error),
        })?;
    fs_err::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

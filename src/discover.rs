//! Finds the bundle that is meant when none is named.
//!
//! Invariant: it never guesses. Exactly one `*.tar.zst` or `*.tar.zst.001` in the working folder or
//! beside the binary is the bundle; none, or more than one, is an error that lists what was seen.

use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::{BundleArgs, BundleOption};
use crate::error::CommandError;

impl BundleArgs {
    /// Returns the bundle's path, or the first volume's.
    pub(crate) fn find(&self) -> Result<Utf8PathBuf, CommandError> {
        find(self.path.as_ref().or(self.bundle.as_ref()))
    }
}

impl BundleOption {
    /// Returns the bundle's path, or the first volume's.
    pub(crate) fn find(&self) -> Result<Utf8PathBuf, CommandError> {
        find(self.bundle.as_ref())
    }
}

fn find(named: Option<&Utf8PathBuf>) -> Result<Utf8PathBuf, CommandError> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let mut folders = vec![Utf8PathBuf::from(".")];
    let binary = std::env::current_exe()
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    if let Some(folder) = binary.as_deref().and_then(Utf8Path::parent) {
        folders.push(folder.to_owned());
    }
    only_bundle(&folders)
}

fn only_bundle(folders: &[Utf8PathBuf]) -> Result<Utf8PathBuf, CommandError> {
    let mut found: Vec<Utf8PathBuf> = Vec::new();
    for folder in folders {
        let Ok(entries) = folder.read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.ends_with(".tar.zst") || name.ends_with(".tar.zst.001") {
                let path = entry.into_path();
                let path = path
                    .strip_prefix("./")
                    .map(Utf8Path::to_owned)
                    .unwrap_or(path);
                // the working folder may be the binary's own
                if !found.iter().any(|other| same_file(other, &path)) {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(
            CommandError::usage("no bundle here, and none beside the binary")
                .hint("name it: `--bundle airgap-standard-1.0.0-amd64.tar.zst`"),
        ),
        several => Err(CommandError::usage(format!(
            "several bundles here:{}",
            several
                .iter()
                .fold(String::new(), |list, path| list + "\n  " + path.as_str())
        ))
        .hint("say which one is meant with `--bundle`")),
    }
}

fn same_file(one: &Utf8Path, other: &Utf8Path) -> bool {
    match (one.canonicalize_utf8(), other.canonicalize_utf8()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        for name in names {
            fs_err::write(path.join(name), "").unwrap();
        }
        (folder, path)
    }

    #[test]
    fn the_only_bundle_is_found_whole_or_in_volumes() {
        let (_keep, whole) = folder(&["a.tar.zst", "a.tar.zst.0123456789abcdef.sig", "hosts.yaml"]);
        assert_eq!(
            only_bundle(std::slice::from_ref(&whole)).unwrap(),
            whole.join("a.tar.zst")
        );
        let (_keep, volumes) = folder(&["a.tar.zst.001", "a.tar.zst.002"]);
        let found = only_bundle(std::slice::from_ref(&volumes)).unwrap();
        assert_eq!(found, volumes.join("a.tar.zst.001"));
    }

    #[test]
    fn the_same_folder_twice_is_one_bundle() {
        let (_keep, path) = folder(&["a.tar.zst"]);
        assert!(only_bundle(&[path.clone(), path.join(".")]).is_ok());
    }

    #[test]
    fn several_bundles_are_listed_and_none_is_chosen() {
        let (_keep, path) = folder(&["a.tar.zst", "b.tar.zst"]);
        let error = only_bundle(&[path]).unwrap_err();
        assert!(error.message().contains("a.tar.zst") && error.message().contains("b.tar.zst"));
    }

    #[test]
    fn no_bundle_says_how_to_name_one() {
        let (_keep, path) = folder(&["notes.txt"]);
        assert!(only_bundle(&[path]).unwrap_err().hints()[0].contains("--bundle"));
    }
}

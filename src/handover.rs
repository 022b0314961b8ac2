//! The installer binary that travels beside a bundle: is it the one the publisher signed?
//!
//! Invariant: a binary counts as good only if its sha256 stands in the signed index and its own
//! detached signature, where there is one, holds under the site's keys.

use airgap_archive::BundleInfo;
use airgap_signing::{Signature, TrustRoot};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::error::CommandError;
use crate::render;

/// An installer binary found beside a bundle.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Installer {
    /// The file.
    pub(crate) path: Utf8PathBuf,
    /// Its sha256, as 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// Why it must not be used, if so.
    pub(crate) problem: Option<String>,
}

impl Installer {
    /// Returns the line that installs it.
    pub(crate) fn install_line(&self) -> String {
        let path = render::shell_quote(self.path.as_str());
        format!("sudo install -m 0755 {path} /usr/local/bin/airgap")
    }
}

/// Checks every `airgap-<version>-linux-<arch>` beside the bundle.
pub(crate) fn check(
    bundle: &Utf8Path,
    info: &BundleInfo,
    trust: &TrustRoot,
) -> Result<Vec<Installer>, CommandError> {
    let folder = bundle.parent().filter(|parent| !parent.as_str().is_empty());
    let folder = folder.unwrap_or(Utf8Path::new("."));
    let failed = |source| CommandError::failed_with("failed to look beside the bundle", source);
    let mut installers = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(failed)? {
        let Ok(path) = Utf8PathBuf::from_path_buf(entry.map_err(failed)?.path()) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default();
        let is_named_so = name.starts_with("airgap-") && name.contains("-linux-");
        if is_named_so && path.extension() != Some("sig") && path.is_file() {
            let path = path
                .strip_prefix("./")
                .map(Utf8Path::to_owned)
                .unwrap_or(path);
            installers.push(check_one(path, info, trust)?);
        }
    }
    installers.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(installers)
}

fn check_one(
    path: Utf8PathBuf,
    info: &BundleInfo,
    trust: &TrustRoot,
) -> Result<Installer, CommandError> {
    let failed = |source| CommandError::failed_with("failed to check the installer", source);
    let bytes = fs_err::read(&path).map_err(failed)?;
    let digest = airgap_archive::digest_of(&bytes);
    let sha256 = digest.digest().to_owned();
    let signature_path = Utf8PathBuf::from(format!("{path}.sig"));
    let problem = match &info.installer_sha256 {
        None => Some("the bundle's signed index names no installer".to_owned()),
        Some(expected) if *expected != sha256 => Some(format!(
            "its sha256 is {sha256}, but the signed index says {expected}"
        )),
        Some(_) if signature_path.exists() => {
            let line = fs_err::read(&signature_path).map_err(failed)?;
            Signature::parse(&line)
                .and_then(|signature| trust.verify(&bytes, &[signature]))
                .err()
                .map(|error| format!("its signature {signature_path} does not hold: {error}"))
        }
        Some(_) => None,
    };
    Ok(Installer {
        path,
        sha256,
        problem,
    })
}

#[cfg(test)]
mod tests {
    use airgap_signing::SigningKey;

    use super::*;

    fn info(installer_sha256: Option<String>) -> BundleInfo {
        BundleInfo {
            name: "airgap-standard-1.0.0-amd64".into(),
            edition: "standard".into(),
            version: "1.0.0".into(),
            release: 1,
            platform: "linux/amd64".into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
            installer_sha256,
            delta: None,
        }
    }

    struct Medium {
        _folder: tempfile::TempDir,
        bundle: Utf8PathBuf,
        binary: Utf8PathBuf,
        key: SigningKey,
        sha256: String,
    }

    fn medium() -> Medium {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let binary = root.join("airgap-1.0.0-linux-amd64");
        let key = SigningKey::from_seed(&[7; 32]);
        fs_err::write(&binary, b"binary").unwrap();
        fs_err::write(format!("{binary}.sig"), key.sign(b"binary").to_line()).unwrap();
        let sha256 = airgap_archive::digest_of(b"binary").digest().to_owned();
        Medium {
            bundle: root.join("b.tar.zst"),
            _folder: folder,
            binary,
            key,
            sha256,
        }
    }

    fn problems(medium: &Medium, info: &BundleInfo) -> Vec<Option<String>> {
        let trust = TrustRoot::new(vec![medium.key.public_key()]);
        let found = check(&medium.bundle, info, &trust).unwrap();
        found
            .into_iter()
            .map(|installer| installer.problem)
            .collect()
    }

    #[test]
    fn the_installer_that_was_signed_is_accepted() {
        let medium = medium();
        assert_eq!(
            problems(&medium, &info(Some(medium.sha256.clone()))),
            [None]
        );
    }

    #[test]
    fn a_changed_installer_is_named() {
        let medium = medium();
        fs_err::write(&medium.binary, b"binarY").unwrap();
        let found = problems(&medium, &info(Some(medium.sha256.clone())));
        assert!(
            found[0].as_ref().unwrap().contains("the signed index says"),
            "{found:?}"
        );
    }

    #[test]
    fn an_installer_signed_by_another_key_is_refused() {
        let medium = medium();
        let other = SigningKey::from_seed(&[8; 32]);
        fs_err::write(
            format!("{}.sig", medium.binary),
            other.sign(b"binary").to_line(),
        )
        .unwrap();
        let found = problems(&medium, &info(Some(medium.sha256.clone())));
        assert!(
            found[0].as_ref().unwrap().contains("does not hold"),
            "{found:?}"
        );
    }
}

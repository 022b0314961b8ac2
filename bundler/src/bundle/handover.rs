//! The program that is handed over beside a bundle: copied, signed, named in the signed index, and described for the delivery note.

use std::io::{Read as _, Write as _};

use airgap_signing::SigningKey;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::{
    digest::digest_of,
    error::{Error, Result},
};

/// The program to hand over.
#[derive(Debug, Clone, Copy)]
pub struct InstallerBinary<'a> {
    /// The file.
    pub path: &'a Utf8Path,
    /// Its version.
    pub version: &'a str,
    /// Its architecture as Go and Debian call it: `amd64`, `arm64`.
    pub arch: &'a str,
}

/// What was handed over, and how the site checks it before running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// The program beside the bundle.
    pub path: Utf8PathBuf,
    /// Its detached signature: base64 of the 64 bytes, and a line feed.
    pub signature: Utf8PathBuf,
    /// Its sha256, 64 hex digits.
    pub sha256: String,
    /// The line for the delivery note, as `sha256sum -c` reads it. It travels with the public key, never on the medium.
    pub delivery_note: String,
    /// The public key that checks it, in PEM.
    pub public_key: String,
    /// The commands of the site's first step, with the system's own openssl.
    pub first_steps: Vec<String>,
    /// The commands where openssl is older than 3.0: they check against the delivery note.
    pub first_steps_without_openssl: Vec<String>,
}

/// A program that was read and is ready to be handed over.
pub(super) struct Prepared {
    content: Vec<u8>,
    file_name: String,
    pub(super) sha256: String,
    pub(super) bytes: u64,
}

/// A program is some ten megabytes; a larger one is a mistake.
const MAX_INSTALLER: u64 = 128 << 20;

impl Prepared {
    pub(super) fn read(installer: &InstallerBinary<'_>) -> Result<Self> {
        let mut content = Vec::new();
        let file = fs_err::File::open(installer.path).map_err(Error::io("open", installer.path))?;
        file.take(MAX_INSTALLER + 1)
            .read_to_end(&mut content)
            .map_err(Error::io("read", installer.path))?;
        if content.len() as u64 > MAX_INSTALLER {
            let reason = format!("it is larger than {MAX_INSTALLER} bytes");
            return Err(Error::Unusable {
                object: installer.path.to_string(),
                reason,
            });
        }
        Ok(Self {
            file_name: format!("airgap-{}-linux-{}", installer.version, installer.arch),
            sha256: digest_of(&content).digest().to_owned(),
            bytes: content.len() as u64,
            content,
        })
    }

    /// Writes program and signature beside the bundle.
    pub(super) fn hand_over(
        self,
        folder: &Utf8Path,
        key: &SigningKey,
        bundle: &Utf8Path,
    ) -> Result<Handover> {
        let folder = if folder.as_str().is_empty() {
            Utf8Path::new(".")
        } else {
            folder
        };
        let path = folder.join(&self.file_name);
        let signature = folder.join(format!("{}.sig", self.file_name));
        write(&path, &self.content, 0o755)?;
        write(
            &signature,
            key.sign(&self.content).to_line().as_bytes(),
            0o644,
        )?;
        // both names outlast a crash from here on
        fs_err::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("write", folder))?;
        let (name, bundle) = (&self.file_name, bundle.file_name().unwrap_or_default());
        let install = format!("install -m 0755 {name} /usr/local/bin/airgap");
        let verify = format!("airgap verify {bundle} --key airgap.pub");
        Ok(Handover {
            delivery_note: format!("{}  {name}", self.sha256),
            public_key: key.public_key().to_pem(),
            first_steps: vec![
                format!("base64 -d {name}.sig > /tmp/airgap.sig"),
                format!(
                    "openssl pkeyutl -verify -pubin -inkey airgap.pub -rawin -in {name} -sigfile /tmp/airgap.sig"
                ),
                install.clone(),
                verify.clone(),
            ],
            first_steps_without_openssl: vec![
                "sha256sum -c delivery-note.txt".to_owned(),
                install,
                verify,
            ],
            sha256: self.sha256,
            path,
            signature,
        })
    }
}

/// Writes a file whole or not at all.
fn write(path: &Utf8Path, content: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Utf8Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(Error::io("write", path))
}

//! `airgap sign`: a further signature beside a bundle.

use airgap_archive::{ArchiveWriter, OpenOptions, VerifiedArchive};
use camino::Utf8PathBuf;

use crate::cli::{BundleArgs, TrustArgs};
use crate::error::CommandError;
use crate::keys::PassphraseArgs;
use crate::ui::Ui;

/// Countersign a bundle
///
/// Writes a sidecar `<bundle>.<keyid>.sig` over the same bytes that the publisher signed, so that
/// a site whose policy asks for two keys can check both. The bundle itself is not touched. It is
/// verified first: with `--trusted` keys, else with those in `/etc/airgap/trusted.d`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Sign with this private key
    #[arg(long, value_name = "PRIVATE-KEY")]
    key: Utf8PathBuf,
    /// The publisher's public key, to check the bundle before signing it (can be repeated)
    #[arg(long, value_name = "PUBLIC-KEY")]
    trusted: Vec<Utf8PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let path = self.bundle.find()?;
        let trust = TrustArgs {
            keys: self.trusted,
            threshold: None,
        }
        .resolve()?;
        let archive = VerifiedArchive::open(&path, &trust, &OpenOptions::default())?;
        let key = self.passphrase.open(&self.key)?;
        let sidecar = ArchiveWriter::countersign(&path, &key, &trust)?;
        let key_id = key.public_key().key_id();
        ui.document(&serde_json::json!({
            "bundle": path,
            "indexDigest": archive.index_digest(),
            "keyId": key_id,
            "signature": sidecar,
        }))?;
        ui.line(format!("countersigned by {key_id}: {sidecar}"))?;
        ui.status("Carry this file beside the bundle.");
        Ok(())
    }
}

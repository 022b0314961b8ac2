//! `airgap keygen`: a new signing key and its public half.

use airgap_signing::SigningKey;
use camino::Utf8PathBuf;
use serde::Serialize;

use crate::error::CommandError;
use crate::keys::{DEFAULT_PRIVATE_KEY, PassphraseArgs};
use crate::prompt;
use crate::ui::{Style, Ui};

/// Make the publisher's key pair
///
/// Writes an ed25519 private key (PKCS#8 PEM, mode 0600) and beside it the public key, with the
/// extension `.pub`. openssl reads both. Nothing is ever overwritten.
///
/// Keep the private key where releases are made, and nowhere else. The public key goes to every
/// site with the delivery note: it must never travel on the same medium as a bundle, because
/// whoever could change the bundle could then change the key as well.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write the private key
    #[arg(value_name = "PRIVATE-KEY", default_value = DEFAULT_PRIVATE_KEY)]
    output: Utf8PathBuf,
    /// Protect the private key with a passphrase, asked for twice
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_env"])]
    passphrase: bool,
    #[command(flatten)]
    source: PassphraseArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    private_key: &'a str,
    public_key: &'a str,
    key_id: String,
    fingerprint: String,
    encrypted: bool,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self, ui: &Ui) -> Result<(), CommandError> {
        let public_path = self.output.with_extension("pub");
        if public_path == self.output {
            return Err(CommandError::usage(format!(
                "the private key cannot be called {}: that is the public key's name",
                self.output
            )));
        }
        // before the passphrase is asked for, and before anything is written
        for path in [&self.output, &public_path] {
            if path.symlink_metadata().is_ok() {
                return Err(CommandError::from(airgap_signing::Error::Exists {
                    path: path.clone(),
                }));
            }
        }
        let passphrase = if self.passphrase {
            Some(prompt::ask_new("passphrase for the new key")?)
        } else {
            self.source.given()?
        };
        let key = SigningKey::generate()?;
        key.write_new(&self.output, passphrase.as_ref())?;
        let public = key.public_key();
        public.write_new(&public_path)?;

        ui.document(&Document {
            private_key: self.output.as_str(),
            public_key: public_path.as_str(),
            key_id: public.key_id().to_string(),
            fingerprint: public.fingerprint(),
            encrypted: passphrase.is_some(),
        })?;
        ui.line(format!("private key: {}", self.output))?;
        ui.line(format!("public key:  {public_path}"))?;
        ui.line(format!(
            "key id:      {}",
            ui.paint(Style::Strong, public.key_id())
        ))?;
        ui.line(format!("fingerprint: {}", public.fingerprint()))?;
        ui.status(format!(
            "\nKeep {} to yourself. Give {public_path} to every site, never on the medium of a bundle.",
            self.output
        ));
        Ok(())
    }
}

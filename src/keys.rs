//! Opens private keys, asking for a passphrase only where one is needed.

use airgap_signing::SigningKey;
use camino::Utf8Path;
use secrecy::SecretString;

use crate::error::CommandError;
use crate::prompt;

/// Where `airgap keygen` leaves the private key, and where `airgap bundle` looks for one.
pub(crate) const DEFAULT_PRIVATE_KEY: &str = "airgap.key";

/// Where a passphrase comes from when it is not asked for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Passphrase")]
pub(crate) struct PassphraseArgs {
    /// Read the private key's passphrase from this file [default: ask, where one is needed]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<camino::Utf8PathBuf>,
    /// Read the private key's passphrase from this environment variable
    #[arg(long, value_name = "NAME", conflicts_with = "passphrase_file")]
    passphrase_env: Option<String>,
}

impl PassphraseArgs {
    /// Returns the passphrase where the options name its place.
    pub(crate) fn given(&self) -> Result<Option<SecretString>, CommandError> {
        match (&self.passphrase_file, &self.passphrase_env) {
            (Some(path), _) => prompt::from_file(path).map(Some),
            (None, Some(name)) => prompt::from_env(name).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Opens a private key.
    pub(crate) fn open(&self, path: &Utf8Path) -> Result<SigningKey, CommandError> {
        let pem = prompt::from_file(path)?;
        let passphrase = if is_encrypted(&pem) {
            match self.given()? {
                Some(passphrase) => Some(passphrase),
                None => Some(prompt::ask(&format!("passphrase of {path}"))?),
            }
        } else {
            None
        };
        Ok(SigningKey::read(path, passphrase.as_ref())?)
    }
}

fn is_encrypted(pem: &SecretString) -> bool {
    use secrecy::ExposeSecret;
    SigningKey::is_encrypted(pem.expose_secret())
}

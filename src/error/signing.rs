//! What errors about keys and signatures mean.

use airgap_signing::{Error, KeyProblem};

use crate::error::advice::{Advice, Advise};
use crate::trust::TRUSTED_DIR;

impl Advise for Error {
    fn advise(&self) -> Advice {
        match self {
            Self::File { .. } => Advice::none(),
            Self::Exists { .. } => Advice::usage()
                .and("choose another name, or move the old key away: a key that is gone cannot be made again"),
            Self::Key { source, .. } => key(source),
            Self::MalformedSignature => Advice::untrusted(),
            Self::MalformedKeyId { .. } | Self::Policy { .. } => Advice::usage(),
            Self::NoKeys { .. } => Advice::usage().and(format!(
                "pass the publisher's public key with `--key`, or put it into {TRUSTED_DIR}"
            )),
            Self::Untrusted { revoked, .. } if revoked.is_empty() => Advice::untrusted()
                .and("pass the publisher's key with `--key`; take it from the delivery note, never from the medium"),
            Self::Untrusted { .. } => Advice::untrusted()
                .and("the key was revoked by this site's policy: ask the publisher for a bundle signed by the new key"),
        }
    }
}

fn key(problem: &KeyProblem) -> Advice {
    match problem {
        KeyProblem::NotPem { .. } => Advice::usage()
            .and("`airgap keygen` makes a key pair: the private key signs, the `.pub` beside it verifies"),
        KeyProblem::PassphraseNeeded => Advice::usage()
            .and("give the passphrase with `--passphrase-file` or `--passphrase-env`"),
        KeyProblem::NotEd25519
        | KeyProblem::Weak
        | KeyProblem::TooLarge
        | KeyProblem::WrongPassphrase => Advice::usage(),
    }
}

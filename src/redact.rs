//! Keeps secrets out of logs and messages.
//!
//! Invariant: every secret the command line reads is registered here before it is used, and
//! whatever is written to the log file or shown as an error passes through [`text`].
//! This is the second line: libraries already wrap secrets in types that cannot be printed.

use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

/// Shorter values would turn ordinary words into asterisks.
const MIN_SECRET_BYTES: usize = 4;

static SECRETS: Mutex<Vec<SecretString>> = Mutex::new(Vec::new());

/// Remembers a secret for the rest of the process.
pub(crate) fn register(secret: &SecretString) {
    if secret.expose_secret().len() >= MIN_SECRET_BYTES {
        SECRETS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(secret.clone());
    }
}

/// Returns `text` with every registered secret replaced by asterisks.
pub(crate) fn text(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut result = text.to_owned();
    for secret in secrets.iter() {
        if result.contains(secret.expose_secret()) {
            result = result.replace(secret.expose_secret(), "***");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_secrets_never_show() {
        register(&SecretString::from("tr0ub4dor&3"));
        assert_eq!(
            text("password tr0ub4dor&3 was refused"),
            "password *** was refused"
        );
    }

    #[test]
    fn short_values_do_not_garble_messages() {
        register(&SecretString::from("on"));
        assert_eq!(text("no connection"), "no connection");
    }
}

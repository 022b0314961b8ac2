//! Reads secrets from where the user keeps them: a prompt, a file, or an environment variable.
//!
//! Invariant: a secret never comes from the command line itself, is registered with
//! [`crate::redact`] before anyone sees it, and an interrupted prompt leaves the terminal echoing.

use std::io;
use std::sync::{Mutex, PoisonError};

use camino::Utf8Path;
use rustix::termios::{self, OptionalActions, Termios};
use secrecy::SecretString;

use crate::error::CommandError;
use crate::redact;

/// Files with secrets are short; anything longer is a wrong path.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// How the terminal was before the prompt that is open now.
static BEFORE_PROMPT: Mutex<Option<Termios>> = Mutex::new(None);

/// Asks on the terminal, without echo.
pub(crate) fn ask(question: &str) -> Result<SecretString, CommandError> {
    match try_ask(question) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(CommandError::usage(format!(
            "cannot ask for the {question}: there is no terminal"
        ))
        .hint("give the secret by file or environment variable instead")),
        Err(source) => Err(CommandError::failed_with(
            format!("failed to read the {question}"),
            source,
        )),
    }
}

/// Asks on the terminal, without echo; nobody can be asked without a terminal.
pub(crate) fn try_ask(question: &str) -> io::Result<Option<SecretString>> {
    let Some(terminal) = fs_err::File::open("/dev/tty")
        .ok()
        .filter(|terminal| termios::isatty(terminal))
    else {
        return Ok(None);
    };
    *BEFORE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner) =
        termios::tcgetattr(&terminal).ok();
    let answer = rpassword::prompt_password(format!("{question}: "));
    BEFORE_PROMPT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    answer.map(|answer| Some(registered(SecretString::from(answer))))
}

/// Asks twice and compares: for a secret that is being set, where a slip would be final.
pub(crate) fn ask_new(question: &str) -> Result<SecretString, CommandError> {
    use secrecy::ExposeSecret;
    let first = ask(question)?;
    let second = ask(&format!("{question} again"))?;
    if first.expose_secret() != second.expose_secret() {
        return Err(CommandError::usage("the two answers differ"));
    }
    if first.expose_secret().is_empty() {
        return Err(CommandError::usage(format!("the {question} is empty")));
    }
    Ok(first)
}

/// Gives the terminal its echo back when a prompt is interrupted.
pub(crate) fn restore_terminal() {
    let before = BEFORE_PROMPT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let (Some(before), Ok(terminal)) = (before, fs_err::File::open("/dev/tty")) {
        // the process ends either way
        let _ = termios::tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}

/// Reads a secret from a file; one trailing line break is not part of it.
pub(crate) fn from_file(path: &Utf8Path) -> Result<SecretString, CommandError> {
    let metadata = fs_err::metadata(path)
        .map_err(|source| CommandError::failed_with("failed to read a secret", source))?;
    if metadata.len() > MAX_SECRET_FILE_BYTES {
        return Err(CommandError::usage(format!(
            "{path} is {} bytes long, too long for a secret",
            metadata.len()
        )));
    }
    let text = fs_err::read_to_string(path)
        .map_err(|source| CommandError::failed_with("failed to read a secret", source))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(registered(SecretString::from(line)))
}

/// Reads a secret from an environment variable.
pub(crate) fn from_env(name: &str) -> Result<SecretString, CommandError> {
    std::env::var(name)
        .map(|value| registered(SecretString::from(value)))
        .map_err(|source| {
            CommandError::failed_with(
                format!("failed to read the environment variable {name}"),
                source,
            )
        })
}

fn registered(secret: SecretString) -> SecretString {
    redact::register(&secret);
    secret
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("secret");
        fs_err::write(&path, "pass word\n\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose_secret(), "pass word\n");
        fs_err::write(&path, "pass word\r\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose_secret(), "pass word");
    }

    #[test]
    fn a_missing_secret_names_its_path() {
        let error = from_file(Utf8Path::new("/nonexistent/secret")).unwrap_err();
        assert!(
            error
                .causes()
                .iter()
                .any(|cause| cause.contains("/nonexistent/secret"))
        );
    }
}

//! A command for a host, and what came of it.
//!
//! The remote shell only ever sees words that [`quote`] has quoted, or a script that is part of this program. Data and secrets go over
//! stdin: a [`Command`] cannot be given a secret as a word, because its words are shown in logs and in the host's process list.

use std::{fmt, time::Duration};

use secrecy::SecretSlice;

/// How long a command may take unless it says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(2);

/// A program with its arguments, or a fixed script with parameters.
#[derive(Clone)]
pub struct Command {
    words: Vec<String>,
    script: Option<&'static str>,
    stdin: Option<SecretSlice<u8>>,
    root: bool,
    timeout: Duration,
}

impl Command {
    /// Runs `program`, looked up in the host's PATH.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            words: vec![program.to_owned()],
            script: None,
            stdin: None,
            root: false,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Runs a fixed POSIX shell script; its arguments are `$1` and so on, never part of its text.
    #[must_use]
    pub fn script(text: &'static str) -> Self {
        Self {
            script: Some(text),
            ..Self::new("/bin/sh")
        }
        .arg("-c")
        .arg(text)
        .arg("airgap")
    }

    /// Adds an argument, which reaches the program as it is, whatever it holds. Never a secret: see [`Command::stdin`].
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<str>) -> Self {
        self.words.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Gives the program this standard input; without it, stdin is empty.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(input.into().into());
        self
    }

    /// Runs the program as root: directly for a root login, else through sudo.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Limits how long the program may run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the program and its arguments.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns the words quoted for a POSIX shell.
    #[must_use]
    pub fn line(&self) -> String {
        self.words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Returns the standard input, if there is any.
    #[must_use]
    pub fn input(&self) -> Option<&SecretSlice<u8>> {
        self.stdin.as_ref()
    }

    /// Tells whether the command needs root.
    #[must_use]
    pub fn needs_root(&self) -> bool {
        self.root
    }

    /// Returns how long the program may run.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        self.timeout
    }
}

/// Shows the command as an operator would type it; of a script only its first comment, and never the standard input.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(script) = self.script else {
            return f.write_str(&self.line());
        };
        let title = script
            .lines()
            .find_map(|line| line.strip_prefix("# "))
            .unwrap_or("script");
        write!(f, "[{title}]")?;
        self.words
            .iter()
            .skip(4)
            .try_for_each(|word| write!(f, " {}", quote(word)))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("shown", &self.to_string())
            .field("root", &self.root)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Quotes one word for a POSIX shell; what needs no quotes stays as it is.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a command left behind. A status other than zero is an answer here, not an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 + n for a command that signal n ended.
    pub status: i32,
    /// Standard output, at most 64 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 64 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Tells whether the exit status is zero.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns standard output as text, without white space at its ends.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Returns standard error as text, without white space at its ends.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shell(line: &str) -> Vec<u8> {
        std::process::Command::new("/bin/sh")
            .args(["-c", line])
            .output()
            .unwrap()
            .stdout
    }

    #[test]
    fn what_is_shown_has_no_input_and_no_script() {
        let script = Command::script("set -e\n# write a file\nsecret-looking code").arg("a b");
        assert_eq!(
            script.clone().stdin("canary").to_string(),
            "[write a file] 'a b'"
        );
        assert!(!format!("{:?}", script.stdin("canary")).contains("canary"));
        assert_eq!(
            Command::new("systemctl")
                .args(["start", "rke2-server"])
                .to_string(),
            "systemctl start rke2-server"
        );
    }

    #[test]
    fn plain_words_stay_plain() {
        assert_eq!(
            quote("/etc/rancher/rke2/config.yaml"),
            "/etc/rancher/rke2/config.yaml"
        );
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_real_shell_takes_every_word_for_what_it_is(words in prop::collection::vec("[^\0]{0,12}", 1..5)) {
            let command = Command::new("printf").arg("%s\\0").args(&words);
            let expected: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
            prop_assert_eq!(shell(&command.line()), expected);
        }

        #[test]
        fn quoting_twice_survives_two_shells(word in "[^\0]{0,12}") {
            let inner = Command::new("printf").arg("%s").arg(&word).line();
            prop_assert_eq!(shell(&format!("/bin/sh -c {}", quote(&inner))), word.into_bytes());
        }
    }
}

//! A host made of answers: it records what it is asked, keeps files in memory, and fails a test on a question it has no answer for.

use std::{collections::BTreeMap, io::Read};

use airgap_installer::{Command, Connection, ConnectionError, Output, Put, PutOutcome};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

/// One thing that was asked of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A command, as it is shown, with its standard input.
    Run {
        command: String,
        stdin: Vec<u8>,
        root: bool,
    },
    /// A file, and what came of it.
    Put {
        path: Utf8PathBuf,
        outcome: PutOutcome,
    },
    /// A file that was read.
    Read { path: Utf8PathBuf },
}

/// A file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptedFile {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: String,
}

type Answer = Box<dyn FnMut(&Command, &[u8]) -> Result<Output, ConnectionError> + Send>;

/// A scripted host.
pub(crate) struct ScriptedConnection {
    host: String,
    answers: Vec<(String, Answer)>,
    pub(crate) files: BTreeMap<Utf8PathBuf, ScriptedFile>,
    pub(crate) asked: Vec<Asked>,
}

impl ScriptedConnection {
    /// A host that answers nothing yet.
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            answers: Vec::new(),
            files: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Answers every command whose shown form contains `part`; the answer given last wins.
    pub(crate) fn on(
        mut self,
        part: &str,
        answer: impl FnMut(&Command, &[u8]) -> Result<Output, ConnectionError> + Send + 'static,
    ) -> Self {
        self.answers.push((part.to_owned(), Box::new(answer)));
        self
    }

    /// Answers such commands with this standard output and success.
    pub(crate) fn says(self, part: &str, stdout: &str) -> Self {
        let output = Output {
            stdout: stdout.as_bytes().to_vec(),
            ..Output::default()
        };
        self.on(part, move |_, _| Ok(output.clone()))
    }

    /// Answers such commands with a failure.
    pub(crate) fn fails(self, part: &str, status: i32, stderr: &str) -> Self {
        let output = Output {
            status,
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
        };
        self.on(part, move |_, _| Ok(output.clone()))
    }

    /// Puts a file on the host.
    pub(crate) fn with_file(mut self, path: &str, content: &str) -> Self {
        self.files.insert(
            path.into(),
            ScriptedFile {
                content: content.into(),
                mode: 0o600,
                owner: "root:root".to_owned(),
            },
        );
        self
    }

    /// The commands that were run, as they are shown.
    pub(crate) fn commands(&self) -> Vec<&str> {
        self.asked
            .iter()
            .filter_map(|asked| {
                if let Asked::Run { command, .. } = asked {
                    Some(command.as_str())
                } else {
                    None
                }
            })
            .collect()
    }

    /// The files that were written or mended.
    pub(crate) fn written(&self) -> Vec<&Utf8Path> {
        self.asked
            .iter()
            .filter_map(|asked| match asked {
                Asked::Put {
                    path,
                    outcome: PutOutcome::Written | PutOutcome::Mended,
                } => Some(path.as_path()),
                _ => None,
            })
            .collect()
    }
}

impl Connection for ScriptedConnection {
    fn host(&self) -> &str {
        &self.host
    }

    fn run(&mut self, command: &Command) -> Result<Output, ConnectionError> {
        let (shown, line) = (command.to_string(), command.line());
        let stdin = command
            .input()
            .map(|input| input.expose_secret().to_vec())
            .unwrap_or_default();
        self.asked.push(Asked::Run {
            command: shown.clone(),
            stdin: stdin.clone(),
            root: command.needs_root(),
        });
        let answer = self
            .answers
            .iter_mut()
            .rev()
            .find(|(part, _)| shown.contains(part) || line.contains(part));
        let (_, answer) =
            answer.unwrap_or_else(|| panic!("host {} has no answer to `{shown}`", self.host));
        answer(command, &stdin)
    }

    fn put(&mut self, file: &Put, content: &mut dyn Read) -> Result<PutOutcome, ConnectionError> {
        let known = self.files.get(&file.path);
        let same =
            known.is_some_and(|known| hex::encode(Sha256::digest(&known.content)) == file.sha256);
        let outcome = match known {
            Some(known) if same && known.mode == file.mode && known.owner == file.owner => {
                PutOutcome::Unchanged
            }
            Some(_) if same => PutOutcome::Mended,
            _ => PutOutcome::Written,
        };
        let mut bytes = if same {
            self.files[&file.path].content.clone()
        } else {
            Vec::new()
        };
        if outcome == PutOutcome::Written {
            content
                .read_to_end(&mut bytes)
                .map_err(|source| ConnectionError::Content {
                    host: self.host.clone(),
                    path: file.path.clone(),
                    source,
                })?;
            let actual = hex::encode(Sha256::digest(&bytes));
            if actual != file.sha256 || bytes.len() as u64 != file.size {
                return Err(ConnectionError::ContentDiffers {
                    host: self.host.clone(),
                    path: file.path.clone(),
                    expected: file.sha256.clone(),
                    actual,
                });
            }
        }
        self.files.insert(
            file.path.clone(),
            ScriptedFile {
                content: bytes,
                mode: file.mode,
                owner: file.owner.clone(),
            },
        );
        self.asked.push(Asked::Put {
            path: file.path.clone(),
            outcome,
        });
        Ok(outcome)
    }

    fn read(&mut self, path: &Utf8Path) -> Result<Option<Vec<u8>>, ConnectionError> {
        self.asked.push(Asked::Read {
            path: path.to_owned(),
        });
        Ok(self.files.get(path).map(|file| file.content.clone()))
    }
}

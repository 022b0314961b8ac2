//! What can go wrong while locking and bundling.
//!
//! Messages name the operation and the object; causes are in the chain only. Where the remedy is another command, the message says so.

use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says why `lock`, `bundle` or the cache failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("failed to {operation} {path}")]
    Io {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// The file or folder.
        path: Utf8PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file system is too small for what is about to be written.
    #[error("not enough space in {path}: {needed} bytes needed, {free} free")]
    NoSpace {
        /// The folder that is too small.
        path: Utf8PathBuf,
        /// Bytes wanted.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Another process uses the cache, so it cannot be pruned now.
    #[error("the cache {path} is in use by another airgap; try again when it has ended")]
    CacheBusy {
        /// The cache's folder.
        path: Utf8PathBuf,
    },
    /// What arrived is not what the digest promises.
    #[error("{object} came with the wrong content: expected {expected}, got {actual}")]
    WrongContent {
        /// The image, chart or file, with its source.
        object: String,
        /// The digest that was asked for.
        expected: Digest,
        /// What the bytes hash to, or how they differ.
        actual: String,
    },
    /// `--offline`, and the cache lacks something.
    #[error("{object} ({digest}) is not in the cache, and nothing may be fetched")]
    NotCached {
        /// What is missing.
        object: String,
        /// Its digest.
        digest: Digest,
    },
    /// A source could not be fetched.
    #[error("failed to fetch {object}")]
    Fetch {
        /// The image, chart or file, with its source.
        object: String,
        /// The registry's or server's answer.
        #[source]
        source: Box<airgap_registry::Error>,
    },
    /// A locked image, chart or file is no longer at its source.
    #[error("{object} is locked as {digest}, which its source no longer has; run `airgap lock`")]
    Vanished {
        /// The image, chart or file.
        object: String,
        /// The locked digest.
        digest: Digest,
        /// The registry's or server's answer, which names it.
        #[source]
        source: Box<airgap_registry::Error>,
    },
    /// What a component of the catalog names is not at its source; no lock can mend that.
    #[error("{object} is not where its component says")]
    Misplaced {
        /// The image, chart or file.
        object: String,
        /// The registry's or server's answer, which names it.
        #[source]
        source: Box<airgap_registry::Error>,
    },
    /// Something that is fetched is not what its media type or name says.
    #[error("{object} cannot be carried: {reason}")]
    Unusable {
        /// The image, chart or file.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The catalog has no such edition or add-on, or they exclude each other; each problem carries its remedy.
    #[error("{}", lines("the edition cannot be bundled", .0))]
    Choice(Vec<airgap_manifests::Problem>),
    /// The catalog and its lock do not agree, or something is not locked; each problem carries its place and its remedy.
    #[error("{}", lines("the edition cannot be bundled", .0))]
    Catalog(Vec<airgap_manifests::Problem>),
    /// The bundle could not be written.
    #[error(transparent)]
    Archive(#[from] airgap_archive::Error),
    /// The bundle was read back, and the disk does not hold what was written.
    #[error("{}", lines(&format!("{path} was written, but reads back damaged"), .findings))]
    WrittenDamaged {
        /// The bundle.
        path: Utf8PathBuf,
        /// Every finding.
        findings: Vec<String>,
    },
    /// Several things are wrong; each is named.
    #[error("{}", lines(&format!("{} problems", .0.len()), .0))]
    Several(Vec<Error>),
}

impl Error {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<Utf8PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    pub(crate) fn space(path: &Utf8Path, source: io::Error) -> Self {
        Self::Io {
            operation: "ask the free space of",
            path: path.to_path_buf(),
            source,
        }
    }

    /// Turns what is not there, while it is being locked, into a mistake of the catalog.
    pub(crate) fn while_locking(self) -> Self {
        match self {
            Self::Vanished { object, source, .. } => Self::Misplaced { object, source },
            Self::Fetch { object, source }
                if matches!(*source, airgap_registry::Error::NotFound { .. }) =>
            {
                Self::Misplaced { object, source }
            }
            other => other,
        }
    }

    /// Wraps several errors into one; a single error stays itself.
    pub(crate) fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 {
            errors.swap_remove(0)
        } else {
            Self::Several(errors)
        }
    }
}

/// Renders a heading with one line for each problem.
fn lines(heading: &str, problems: &[impl fmt::Display]) -> String {
    problems
        .iter()
        .fold(format!("{heading}:"), |text, problem| {
            format!("{text}\n  {problem}")
        })
}

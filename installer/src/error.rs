//! What can go wrong on site, in one type for the whole crate.

/// The error of this crate's operations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host could not be reached, refused us, or failed a command.
    #[error(transparent)]
    Connection(#[from] crate::ConnectionError),
    /// A secret that the inventory refers to could not be had.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// A host's answer to the facts script could not be read.
    #[error(transparent)]
    Facts(#[from] crate::facts::FactsError),
}

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

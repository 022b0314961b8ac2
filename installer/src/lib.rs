//! The site: from a verified bundle and an inventory to a running platform.
//!
//! The crate talks only to the hosts of the inventory, to the site's registry, and to what it has itself installed on them.
//! It never prints, prompts, or reads the environment: secrets come through [`SecretSource`], progress leaves through events.

pub mod command;
pub mod connection;
mod error;
pub mod facts;
mod fan_out;
pub mod host;
pub mod inventory;
pub mod preflight;
pub mod secret;

pub use command::{Command, Output};
pub use connection::{Connection, ConnectionError, Put, PutOutcome};
pub use error::{Error, Result};
pub use facts::{Facts, FactsQuery};
pub use fan_out::for_each_host;
pub use host::{Access, Host, HostKey, Role, SshTarget, Sudo, Taint};
pub use inventory::{Inventory, Problem};
pub use preflight::{Finding, Severity};
pub use secret::{SecretRef, SecretSource, Secrets};

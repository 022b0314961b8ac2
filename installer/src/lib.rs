//! The site: from a verified bundle and an inventory to a running platform.
//!
//! The crate talks only to the hosts of the inventory, to the site's registry, and to what it has itself installed on them.
//! It never prints, prompts, or reads the environment: secrets come through [`SecretSource`], progress leaves through events.

pub mod command;
pub mod connection;
mod desired;
mod error;
pub mod event;
pub mod facts;
mod fan_out;
mod health;
pub mod host;
mod install;
pub mod inventory;
pub mod kube;
pub mod lock;
mod machine;
pub mod phase;
pub mod plan;
pub mod preflight;
pub mod push;
mod random;
pub mod record;
pub mod render;
pub mod report;
pub mod secret;
mod site_secrets;
pub mod status;

pub use command::{Command, Output};
pub use connection::{Connection, ConnectionError, Put, PutOutcome};
pub use error::{Error, ExitClass, Limit, Result};
pub use event::{Event, Report};
pub use facts::{Facts, FactsQuery};
pub use fan_out::for_each_host;
pub use host::{Access, Host, HostKey, Role, SshTarget, Sudo, Taint};
pub use install::{Connector, InstallOptions, Installer, Preflight};
pub use inventory::{Inventory, Problem};
pub use phase::Phase;
pub use plan::InstallPlan;
pub use preflight::{Demands, Finding, Severity, preflight};
pub use report::InstallReport;
pub use secret::{SecretRef, SecretSource, Secrets};
pub use status::{Status, status};

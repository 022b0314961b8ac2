//! What the tests run against: registries, nodes and hostile inputs.

pub mod docker_registry;
pub mod faults;
mod guard;
pub mod harbor;
pub mod image;
pub mod program;
pub mod requests;
mod serve;
pub mod tls;
mod tokens;
mod tool;
pub mod upstream;

pub use tool::require_tool;

//! What the tests run against: registries, nodes and hostile inputs.

pub mod bundle;
pub mod charts;
pub mod cluster;
pub mod docker;
pub mod docker_registry;
pub mod faults;
mod guard;
pub mod harbor;
pub mod image;
pub mod nameserver;
pub mod node_image;
pub mod ports;
pub mod program;
pub mod release;
pub mod requests;
pub mod rke2;
pub mod sampler;
mod serve;
pub mod site;
pub mod tls;
mod tokens;
mod tool;
pub mod upstream;
pub mod world;

pub use tool::require_tool;

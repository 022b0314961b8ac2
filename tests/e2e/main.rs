//! The main job from end to end: the binary as a user runs it, against stand-ins of everything around it.
//!
//! `AIRGAP_BIN` names the binary (the release build, in `make test`); without it the debug one is used. Scenarios assert what a user
//! sees and what is left on disk, in registries and on nodes; what one library does is tested in that library.

mod bundling;
mod installing;
mod support;

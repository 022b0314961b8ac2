//! The command line as its users see it: transcripts of whole commands.
//!
//! What the libraries do is tested in the libraries; here are wording, streams, exit codes and
//! wiring. Record with `INSTA_UPDATE=always cargo test --test cli`, and read the difference.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up has failed, and says where"
)]

mod bundles;
mod catalog;
mod documents;
mod frame;
mod handover;
mod interruption;
mod inventories;
mod keys;
mod support;

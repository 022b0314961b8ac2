//! The `airgap` command.

fn main() {}

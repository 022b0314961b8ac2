//! What every scenario needs: the binary, folders of their own, and the connected side.

mod connected;
mod run;

pub(crate) use connected::{Connected, charts};
pub(crate) use run::{Outcome, binary, sha256};

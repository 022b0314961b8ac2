//! What the stand-ins promise, checked against the stand-ins themselves: without these, a lenient stand-in would pass for a working
//! installer.

mod argocd;
mod harbor;
mod image;
mod machines;
mod programs;
mod site;
mod standin;

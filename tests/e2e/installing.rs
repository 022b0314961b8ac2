//! From a bundle to a running site: systemd nodes over real SSH, a stand-in Harbor, and a network that leads nowhere.
//!
//! What every scenario asserts beyond its own subject: nothing on the site ever tried to leave it.

mod bench;
mod delta;
mod dry;
mod editions;
mod field;
mod many;
mod refused;
mod registry;
mod running;
mod single;

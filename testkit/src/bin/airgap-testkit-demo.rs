//! What surrounds `make demo`: the connected side, and a customer's site.
//!
//! Each of the two prints one line `ready …` and ends with SIGTERM, SIGINT, or when stdin closes; `--keep` leaves stdin out of it.
//! `clean` removes what a run that was killed left behind.

#![expect(
    clippy::print_stdout,
    reason = "its one line of output is its interface"
)]

use std::{error::Error, fmt::Write as _, io::Write as _, process::ExitCode};

use airgap_manifests::{Catalog, ImageLock, Problem};
use airgap_testkit::{
    cluster::{self, ClusterSpec},
    docker::Docker,
    node_image, program,
    release::standin_binary,
    site::Site,
    world::{World, forget_charts},
};
use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};

/// Stand in for everything around `airgap`
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve everything that a catalog names, on loopback
    Upstream {
        /// Where to write upstreams.yaml and docker's logins
        #[arg(long)]
        folder: Utf8PathBuf,
        /// The catalog
        #[arg(long)]
        manifests: Utf8PathBuf,
        /// Publishers' own charts
        #[arg(long)]
        charts: Option<Utf8PathBuf>,
        /// A copy of images.lock, whose charts are unlocked: most of them are stand-ins here
        #[arg(long)]
        lock: Option<Utf8PathBuf>,
    },
    /// Build the nodes' system, where it is not there yet
    NodeImage,
    /// Run nodes and a registry like Harbor
    Site {
        /// Where to write hosts.yaml and what it refers to
        #[arg(long)]
        folder: Utf8PathBuf,
        /// How many servers
        #[arg(long)]
        servers: usize,
        /// How many agents
        #[arg(long)]
        agents: usize,
        /// Go on when stdin closes
        #[arg(long)]
        keep: bool,
    },
    /// Remove what a run that was killed left behind
    Clean,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                // writing to a String cannot fail
                let _ = write!(text, "\n  {cause}");
                source = cause.source();
            }
            // nowhere is left to report that standard error is gone
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Upstream {
            folder,
            manifests,
            charts,
            lock,
        } => {
            let lines = |problems: Vec<Problem>| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                lines.join("\n")
            };
            if let Some(path) = lock {
                let mut lock = ImageLock::load(&path).map_err(lines)?;
                forget_charts(&mut lock);
                fs_err::write(&path, lock.to_yaml())?;
            }
            let catalog = Catalog::load(&manifests).map_err(lines)?;
            let world = World::start(&catalog, &standin_binary()?, charts.as_deref())?;
            world.write_access(&folder)?;
            ready(&format!("{} images", world.images().len()))?;
            program::wait_for_end();
        }
        Command::NodeImage => {
            node_image::ensure(&Docker::start()?)?;
        }
        Command::Site {
            folder,
            servers,
            agents,
            keep,
        } => {
            let site = Site::start(ClusterSpec::of(servers, agents), &folder)?;
            ready(&site.harbor().url())?;
            if keep {
                program::wait_for_signal();
            } else {
                program::wait_for_end();
            }
        }
        Command::Clean => cluster::clean_up()?,
    }
    Ok(())
}

fn ready(what: &str) -> std::io::Result<()> {
    println!("ready {what}");
    std::io::stdout().flush()
}

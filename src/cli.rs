//! The command line: what can be typed, and nothing about what it does.
//!
//! Invariant: parsing never acts. Options shared by several commands are declared once here and
//! flattened into each; each command's own live beside its code in [`crate::commands`].

use camino::Utf8PathBuf;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    bundle, cache, catalog, diff, extract, inspect, install, inventory, keygen, lock, preflight,
    sign, status, util, verify,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Where there is internet:
  airgap keygen                                     once: the publisher's key pair
  airgap lock                                       per release: resolve every tag to a digest
  airgap bundle --edition standard --key airgap.key one signed file with everything in it

On site, after checking the binary with openssl (see the README):
  airgap verify    --key airgap.pub                 is it whole, and is it ours?
  airgap preflight --inventory hosts.yaml           would an install succeed?
  airgap install   --inventory hosts.yaml           from bundle to healthy platform

Exit codes: 0 done, 1 failed, 2 usage, 3 do not trust this, 4 preflight findings, 130 interrupted.
Environment: NO_COLOR turns colour off; logs go to $XDG_STATE_HOME/airgap/log, else
~/.local/state/airgap/log.";

/// Bundles a platform for sites without internet, and installs it there
///
/// `airgap` turns an edition (RKE2, its images, charts and values) into one signed file, and that
/// file into a running cluster. Everything the site trusts is the publisher's public key: every
/// byte is checked against it before it is used, and no command needs the network to answer.
#[derive(Debug, Parser)]
#[command(name = "airgap", version, styles = STYLES, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What every command understands.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Print one JSON document on standard output; events go to standard error, one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show the log on standard error (twice: in detail)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// Do not show transfers as they go
    ///
    /// What was begun and done is still told: with `--json` as events, all but `progress`.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whom to trust; the same for every command that reads a bundle.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Trust this publisher's public key (can be repeated)
    ///
    /// The key must have come to the site by another way than the bundle: with the delivery note,
    /// never on the medium. Without this option every `*.pub` in `/etc/airgap/trusted.d` is
    /// trusted. The `policy.yaml` in that folder holds either way.
    #[arg(long = "key", value_name = "PUBLIC-KEY")]
    pub(crate) keys: Vec<Utf8PathBuf>,
    /// Require signatures by this many distinct keys
    ///
    /// Can only ask for more than the site's policy does, never for less.
    #[arg(long, value_name = "N")]
    pub(crate) threshold: Option<usize>,
}

/// Which bundle to read, for commands that are about one bundle.
#[derive(Debug, Clone, Args)]
pub(crate) struct BundleArgs {
    /// The bundle, or any volume of it
    ///
    /// Without it: the only `*.tar.zst` or `*.tar.zst.001` in the working directory or beside the
    /// binary.
    #[arg(value_name = "BUNDLE", conflicts_with = "bundle")]
    pub(crate) path: Option<Utf8PathBuf>,
    /// The same, as an option
    #[arg(long, value_name = "BUNDLE", hide_short_help = true)]
    pub(crate) bundle: Option<Utf8PathBuf>,
}

/// Which bundle to read, for commands whose arguments are something else.
#[derive(Debug, Clone, Args)]
pub(crate) struct BundleOption {
    /// The bundle, or any volume of it [default: the only one beside the binary or here]
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) bundle: Option<Utf8PathBuf>,
}

/// Where the description of the platform is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sources")]
pub(crate) struct SourceArgs {
    /// Folder with editions, components and sites [default: ./manifests, else the built-in ones]
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: Option<Utf8PathBuf>,
    /// Lock file [default: ./images.lock, else the built-in one]
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<Utf8PathBuf>,
    /// Where registries and download sites are really to be found
    ///
    /// A file in the words of RKE2's own registries.yaml (`mirrors`, `configs`), with a list
    /// `urls` of `{prefix, replace}` for plain downloads: for corporate mirrors, and for tests.
    #[arg(long, value_name = "FILE")]
    pub(crate) upstreams: Option<Utf8PathBuf>,
    /// Folder for what was fetched [default: ~/.cache/airgap]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<Utf8PathBuf>,
}

/// Commands, in the order in which a release lives.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Keygen(keygen::Args),
    Catalog(catalog::Args),
    Lock(lock::Args),
    Bundle(Box<bundle::Args>),
    Sign(sign::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Extract(extract::Args),
    Diff(diff::Args),
    Inventory(inventory::Args),
    Preflight(preflight::Args),
    Install(install::Args),
    Status(status::Args),
    Cache(cache::Args),
    #[command(hide = true)]
    Util(util::Args),
}

impl Command {
    /// Returns the command's name, for its log file.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keygen(_) => "keygen",
            Self::Catalog(_) => "catalog",
            Self::Lock(_) => "lock",
            Self::Bundle(_) => "bundle",
            Self::Sign(_) => "sign",
            Self::Verify(_) => "verify",
            Self::Inspect(_) => "inspect",
            Self::Extract(_) => "extract",
            Self::Diff(_) => "diff",
            Self::Inventory(_) => "inventory",
            Self::Preflight(_) => "preflight",
            Self::Install(_) => "install",
            Self::Status(_) => "status",
            Self::Cache(_) => "cache",
            Self::Util(_) => "util",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "`{path}` has no help");
            for argument in command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                assert!(
                    argument.get_help().is_some(),
                    "`{path}` does not explain {argument}"
                );
            }
            for child in command.get_subcommands() {
                check(child, &path);
            }
        }
        check(&Cli::command(), "");
    }

    /// Every `airgap …` line in the README's shell blocks is one that this command line takes.
    #[test]
    fn the_readmes_commands_parse() {
        let readme = include_str!("../README.md");
        let blocks = readme
            .split("```sh\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap());
        let mut checked = 0;
        for line in blocks.flat_map(str::lines) {
            let command = line
                .split('#')
                .next()
                .unwrap()
                .split('>')
                .next()
                .unwrap()
                .trim();
            if command.starts_with("airgap ") {
                let parsed = Cli::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "`{command}`: {}", parsed.unwrap_err());
                checked += 1;
            }
        }
        assert!(checked >= 10, "only {checked} commands found");
    }
}

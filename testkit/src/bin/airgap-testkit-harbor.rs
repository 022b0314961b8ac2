//! The stand-in for Harbor, as a program.
//!
//! It reads a YAML file, prints one line `ready URL [admin URL]` and ends with SIGTERM or when stdin
//! closes, taking the registry behind with it. It listens on loopback unless told another address.

#![expect(
    clippy::print_stdout,
    reason = "its one line of output is its interface"
)]

use std::{collections::BTreeMap, io::Write as _, net::SocketAddr};

use airgap_testkit::{
    harbor::{Account, HarborConfig, HarborEmulation, Project, Right},
    program,
    tls::ServerCert,
};
use camino::Utf8PathBuf;
use clap::Parser;
use serde::Deserialize;

/// Serve a stand-in Harbor in front of docker-registry
#[derive(Debug, Parser)]
struct Arguments {
    /// Accounts, projects, TLS
    #[arg(long)]
    config: Utf8PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    #[serde(default = "loopback")]
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    tls: Option<Tls>,
    data: Option<Utf8PathBuf>,
    accounts: Vec<AccountConfig>,
    #[serde(default)]
    projects: Vec<Project>,
    #[serde(default = "yes")]
    project_creation_admin_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tls {
    cert_file: Utf8PathBuf,
    key_file: Utf8PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountConfig {
    name: String,
    password_file: Utf8PathBuf,
    #[serde(default)]
    admin: bool,
    /// Rights by project.
    #[serde(default)]
    rights: BTreeMap<String, Vec<Right>>,
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn yes() -> bool {
    true
}

fn main() -> std::io::Result<()> {
    let config: Config = program::read_yaml(&Arguments::parse().config)?;
    program::check_listen(config.listen)?;
    if let Some(admin) = config.admin_listen {
        program::check_listen(admin)?;
    }
    let tls = match &config.tls {
        None => None,
        Some(tls) => {
            let chain = fs_err::read_to_string(&tls.cert_file)?;
            Some(ServerCert::from_pem(
                chain,
                fs_err::read_to_string(&tls.key_file)?,
            ))
        }
    };
    let mut accounts = Vec::new();
    for account in config.accounts {
        let password = program::read_secret(&account.password_file)?;
        let rights = account
            .rights
            .into_iter()
            .map(|(project, rights)| (project, rights.into_iter().collect()))
            .collect();
        accounts.push(Account {
            name: account.name,
            password,
            admin: account.admin,
            rights,
        });
    }
    let harbor = HarborEmulation::start(HarborConfig {
        listen: config.listen,
        admin: config.admin_listen,
        tls,
        data: config.data,
        accounts,
        projects: config.projects,
        project_creation_admin_only: config.project_creation_admin_only,
        ..HarborConfig::default()
    });
    match harbor.admin_address() {
        Some(admin) => println!("ready {} admin http://{admin}", harbor.url()),
        None => println!("ready {}", harbor.url()),
    }
    std::io::stdout().flush()?;
    program::wait_for_end();
    Ok(())
}

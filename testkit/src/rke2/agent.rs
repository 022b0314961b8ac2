//! `rke2 agent`: joins through the registration address, then runs its part of the pods.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::config::{Config, Role};
use super::fail::{Context as _, Result};
use super::join::Supervisor;
use super::node::{self, Host, Link};
use super::token::Token;
use super::{bootstrap, log, notify, release};

pub(crate) async fn run(config: Config) -> Result<()> {
    let release = release::Info::load()?;
    log::info(format!(
        "Starting rke2 agent {} (airgap stand-in, not RKE2)",
        release.version
    ));
    let data = PathBuf::from(config.get("data-dir").unwrap_or("/var/lib/rancher/rke2"));
    let host = Host::inspect(&config, Role::Agent)?;
    let containerd = host.containerd(&config, &data)?;
    bootstrap::stage(&config, &release, &host.registries, &data).await?;
    containerd.serve()?;
    let token = Token::parse(&config.token()?.context("--token is required")?)?;
    let url = config
        .get("server")
        .context("--server is required")?
        .trim_end_matches('/')
        .to_owned();
    let mut statics = BTreeMap::new();
    if !config.is_true("disable-kube-proxy") {
        statics.insert("kube-proxy".to_owned(), release.kubernetes.clone());
    }
    // connection and token errors are retried for ever, every two seconds, as the real agent does
    let link = loop {
        match join(&url, &token, &host, &statics, &release.version).await {
            Ok(link) => break link,
            Err(error) => log::error(format!(
                "Waiting to retrieve agent configuration; server is not ready: {error}"
            )),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    log::info("rke2 agent is up and running");
    notify::ready();
    node::run(link, host, containerd, statics).await
}

async fn join(
    url: &str,
    token: &Token,
    host: &Host,
    statics: &BTreeMap<String, String>,
    version: &str,
) -> Result<Link> {
    let supervisor = Supervisor::meet(url, token, "node").await?;
    let link = Link::Remote {
        supervisor,
        first: url.to_owned(),
        servers: Mutex::default(),
    };
    node::register(&link, host, statics, version).await?;
    Ok(link)
}

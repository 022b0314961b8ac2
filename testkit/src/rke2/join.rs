//! Joining: what a new server or agent asks of the server it is pointed at.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::config::Config;
use super::fail::{Context as _, Fail, Result};
use super::log;
use super::node::Host;
use super::pull::sha256;
use super::store::{Member, State};
use super::token::Token;

/// A connection to one server's supervisor port that trusts the cluster's CA.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    client: Client,
    user: &'static str,
    password: String,
}

impl Supervisor {
    /// Fetches the CA, checks it against the token, and keeps it as the only trust.
    pub(crate) async fn meet(url: &str, token: &Token, user: &'static str) -> Result<Self> {
        // as K3s does: the CA is fetched before anything can be trusted, and the token's hash judges it
        let blind = Client::builder()
            .danger_accept_invalid_certs(true)
            .connect_timeout(Duration::from_secs(3))
            .no_proxy()
            .build()?;
        let response = blind
            .get(format!("{url}/cacerts"))
            .timeout(Duration::from_secs(5))
            .send()
            .await;
        let pem = response
            .context("failed to get CA certs")?
            .error_for_status()?
            .text()
            .await?;
        token.check_ca(&pem)?;
        if token.ca_hash.is_none() {
            log::warn(
                "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash.",
            );
        }
        let client = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes())?])
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            user,
            password: token.password.clone(),
        })
    }

    pub(crate) async fn call(&self, url: &str, what: &str, body: &Value) -> Result<Value> {
        let request = self
            .client
            .post(format!("{url}/v1-rke2/{what}"))
            .basic_auth(self.user, Some(&self.password))
            .json(body);
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            return Err(Fail::new(if text.is_empty() {
                status.to_string()
            } else {
                text
            }));
        }
        Ok(serde_json::from_str(&text)?)
    }
}

/// A new member's id: different each time, so that a re-imaged server is a stranger.
pub(crate) fn member_id(node: &str) -> u64 {
    let hash = sha256(format!("{node} {} {}", jiff::Timestamp::now(), Token::random()).as_bytes());
    u64::from_str_radix(&hash[7..23], 16).unwrap_or(1)
}

/// Fails where one of the keys that must be equal differs.
pub(crate) fn same_critical(
    cluster: &BTreeMap<String, String>,
    mine: &BTreeMap<String, String>,
) -> Result<()> {
    let differing: Vec<&str> = cluster
        .iter()
        .filter(|(key, value)| mine.get(*key) != Some(*value))
        .map(|(key, _)| key.as_str())
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Fail::new(format!(
        "critical configuration value mismatch between servers: {}",
        differing.join(", ")
    )))
}

/// Joins a cluster as an etcd learner and brings home its state.
pub(crate) async fn server(url: &str, config: &Config, host: &Host) -> Result<(Member, State)> {
    let token = Token::parse(
        &config
            .token()?
            .context("--token is required to join a cluster")?,
    )?;
    let url = url.trim_end_matches('/');
    let supervisor = Supervisor::meet(url, &token, "server").await?;
    let bootstrap = supervisor
        .call(url, "server-bootstrap", &json!({}))
        .await
        .context("failed to bootstrap cluster data")?;
    let critical: BTreeMap<String, String> = serde_json::from_value(bootstrap["critical"].clone())?;
    same_critical(&critical, &config.critical())?;
    let id = member_id(&host.name);
    let member = Member {
        id,
        name: format!("{}-{:08x}", host.name, id >> 32),
        node: host.name.clone(),
        address: host.address.clone(),
        learner: true,
    };
    supervisor
        .call(url, "node-password", &host.password_claim())
        .await?;
    log::info(format!("Adding member {} to etcd cluster", member.name));
    let mut tries = 0;
    loop {
        match supervisor
            .call(url, "member-add", &serde_json::to_value(&member)?)
            .await
        {
            Ok(document) => return Ok((member, serde_json::from_value(document)?)),
            Err(error) if error.0.contains("too many learner members") && tries < 60 => {
                log::info(format!("Waiting to join etcd cluster: {error}"));
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(Fail::new(format!("ETCD join failed: {error}"))),
        }
    }
}

//! registries.yaml: where containerd finds every image, and nothing else.
//!
//! One mirror for each upstream host of the whole catalog, whatever the edition: together with `disable-default-registry-endpoint` it is
//! what keeps a node from ever asking the internet. No wildcard, which would capture the customer's own registries. One rewrite a mirror,
//! anchored: containerd's are not, and the order of several is undefined.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{CA_PATH, NodeFile, REGISTRIES_PATH, yaml};
use crate::{Result, inventory::ExtraRegistries};

/// The site's registry as the nodes know it.
#[derive(Clone, Debug)]
pub struct SiteRegistryRef<'a> {
    /// `host` or `host:port`.
    pub endpoint: &'a str,
    /// The project.
    pub project: &'a str,
    /// Whether its certificate needs a CA of its own, which is at [`CA_PATH`].
    pub own_ca: bool,
    /// The account that nodes read with.
    pub pull: Option<(String, SecretString)>,
}

impl SiteRegistryRef<'_> {
    /// Returns the endpoint as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        if self.endpoint.starts_with("http://") {
            self.endpoint.to_owned()
        } else {
            format!("https://{}", self.endpoint)
        }
    }

    /// Returns `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.endpoint
            .trim_start_matches("http://")
            .trim_start_matches("https://")
    }
}

/// User names and passwords, by the host they are for.
pub type Accounts = BTreeMap<String, (String, SecretString)>;

/// Renders registries.yaml; `extra` are the customer's own entries, which never replace ours, and `accounts` what they log in with.
pub fn registries(
    registry: &SiteRegistryRef<'_>,
    mirror_hosts: &[String],
    extra: &ExtraRegistries,
    accounts: &Accounts,
) -> Result<NodeFile> {
    let mut mirrors = extra.mirrors.clone();
    for host in mirror_hosts {
        let place = format!("{}/{}/$1", registry.project, host.replace(':', "-"));
        mirrors.insert(
            host.clone(),
            json!({"endpoint": [registry.url()], "rewrite": {"^(.*)$": place}}),
        );
    }
    let mut configs = Map::new();
    for (host, of) in &extra.configs {
        configs.insert(host.clone(), config(accounts.get(host), of.tls.clone()));
    }
    let mut tls = Map::new();
    if registry.own_ca {
        tls.insert("ca_file".to_owned(), CA_PATH.into());
    }
    configs.insert(
        registry.host().to_owned(),
        config(registry.pull.as_ref(), tls),
    );
    Ok(NodeFile::new(
        REGISTRIES_PATH,
        0o600,
        yaml(&json!({"mirrors": mirrors, "configs": configs}))?,
    ))
}

fn config(account: Option<&(String, SecretString)>, tls: Map<String, Value>) -> Value {
    let mut config = Map::new();
    if let Some((username, password)) = account {
        config.insert(
            "auth".to_owned(),
            json!({"username": username, "password": password.expose_secret()}),
        );
    }
    if !tls.is_empty() {
        config.insert("tls".to_owned(), tls.into());
    }
    config.into()
}

/// The CA of the site's registry, for every node.
#[must_use]
pub fn ca(pem: &str) -> NodeFile {
    NodeFile::new(CA_PATH, 0o644, pem)
}

/// The lines of /etc/hosts that this program owns end so.
const MARK: &str = "# airgap";

/// Returns /etc/hosts with the registry's addresses where no DNS knows it; `None` when it needs no change.
pub fn hosts_file(
    present: &str,
    registry_host: &str,
    addresses: &[std::net::IpAddr],
) -> Option<NodeFile> {
    let name = registry_host
        .rsplit_once(':')
        .map_or(registry_host, |(name, _)| name);
    let mut lines: Vec<String> = present
        .lines()
        .filter(|line| !line.trim_end().ends_with(MARK))
        .map(str::to_owned)
        .collect();
    lines.extend(
        addresses
            .iter()
            .map(|address| format!("{address} {name} {MARK}")),
    );
    let wanted = lines.join("\n") + "\n";
    (wanted.trim_end() != present.trim_end()).then(|| NodeFile::new("/etc/hosts", 0o644, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::RegistryConfig;

    fn site() -> SiteRegistryRef<'static> {
        SiteRegistryRef {
            endpoint: "harbor.corp.example",
            project: "airgap",
            own_ca: true,
            pull: Some(("robot$airgap+pull".into(), "canary".into())),
        }
    }

    #[test]
    fn every_upstream_host_has_one_anchored_rewrite_and_there_is_no_wildcard() {
        let hosts = ["docker.io".to_owned(), "quay.io".to_owned()];
        let text = String::from_utf8(
            registries(
                &site(),
                &hosts,
                &ExtraRegistries::default(),
                &Accounts::new(),
            )
            .expect("rendered")
            .content,
        )
        .expect("text");
        insta::assert_snapshot!(text);
        assert!(!text.contains("\"*\""), "{text}");
    }

    #[test]
    fn the_customers_own_registries_are_kept_and_never_replace_ours() {
        let mirrors = json!({"internal.corp": {"endpoint": ["https://internal.corp:8443"]}, "quay.io": {"endpoint": ["https://evil.example"]}});
        let private = RegistryConfig {
            auth: None,
            tls: Map::from_iter([("insecure_skip_verify".to_owned(), true.into())]),
        };
        let extra = ExtraRegistries {
            mirrors: mirrors.as_object().expect("a mapping").clone(),
            configs: BTreeMap::from([("internal.corp:8443".to_owned(), private)]),
        };
        let accounts = Accounts::from([(
            "internal.corp:8443".to_owned(),
            ("nodes".to_owned(), "canary".into()),
        )]);
        let file =
            registries(&site(), &["quay.io".to_owned()], &extra, &accounts).expect("rendered");
        let value: Value =
            serde_saphyr::from_str(std::str::from_utf8(&file.content).expect("text"))
                .expect("yaml");
        assert_eq!(
            value["mirrors"]["internal.corp"]["endpoint"][0],
            "https://internal.corp:8443"
        );
        assert_eq!(
            value["mirrors"]["quay.io"]["endpoint"][0],
            "https://harbor.corp.example"
        );
        assert_eq!(
            value["configs"]["internal.corp:8443"],
            json!({"auth": {"username": "nodes", "password": "canary"}, "tls": {"insecure_skip_verify": true}})
        );
        assert_eq!(
            value["configs"]["harbor.corp.example"]["tls"]["ca_file"],
            CA_PATH
        );
        assert_eq!(file.mode, 0o600);
    }

    #[test]
    fn the_hosts_file_gains_the_registry_once_and_follows_a_change() {
        let present = "127.0.0.1 localhost\n";
        let first = hosts_file(
            present,
            "harbor.corp.example:8443",
            &["10.0.0.5".parse().expect("address")],
        )
        .expect("a change");
        let first = String::from_utf8(first.content).expect("text");
        assert_eq!(
            first,
            "127.0.0.1 localhost\n10.0.0.5 harbor.corp.example # airgap\n"
        );
        assert_eq!(
            hosts_file(
                &first,
                "harbor.corp.example:8443",
                &["10.0.0.5".parse().expect("address")]
            ),
            None
        );
        let moved = hosts_file(
            &first,
            "harbor.corp.example",
            &["10.0.0.6".parse().expect("address")],
        )
        .expect("a change");
        assert_eq!(
            String::from_utf8(moved.content).expect("text"),
            "127.0.0.1 localhost\n10.0.0.6 harbor.corp.example # airgap\n"
        );
        let gone = hosts_file(&first, "harbor.corp.example", &[]).expect("a change");
        assert_eq!(String::from_utf8(gone.content).expect("text"), present);
    }
}

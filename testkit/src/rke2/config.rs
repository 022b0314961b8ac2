//! `/etc/rancher/rke2/config.yaml` and `config.yaml.d`: merged, and every key checked.
//!
//! Invariant: a key that RKE2 does not know for the role never gets past [`Config::load`].
//! A later file replaces a key; `key+` appends. Command-line flags beat files.

mod keys;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use self::keys::{BOTH, LISTS, SERVER};
use super::fail::{Context as _, Fail, Result};
use super::yaml;

/// Which of the two services runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Agent,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// Keys that must be equal on every server; a join fails otherwise.
pub(crate) const EQUAL_ON_SERVERS: &[&str] = &[
    "agent-token",
    "cluster-cidr",
    "cluster-dns",
    "cluster-domain",
    "disable-cloud-controller",
    "disable-kube-proxy",
    "egress-selector-mode",
    "service-cidr",
];

/// The merged configuration of one start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    values: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// Merges `file`, `file.d/*.yaml` and `flags`, and checks every key for `role`.
    pub(crate) fn load(role: Role, file: &Path, flags: &[(String, String)]) -> Result<Self> {
        let mut config = Self {
            values: BTreeMap::new(),
        };
        let mut files = Vec::new();
        if file.exists() {
            files.push(file.to_path_buf());
        }
        let folder = file.with_extension("yaml.d");
        if folder.is_dir() {
            let mut extra: Vec<_> = fs_err::read_dir(&folder)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            extra.retain(|path| {
                path.extension()
                    .is_some_and(|ext| ext == "yaml" || ext == "yml")
            });
            extra.sort();
            files.extend(extra);
        }
        for path in files {
            let text = fs_err::read_to_string(&path).context(path.display())?;
            config
                .merge(role, &text)
                .context(format!("failed to read config {}", path.display()))?;
        }
        let mut seen = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in flags {
            known(role, key)?;
            seen.entry(key.clone()).or_default().push(value.clone());
        }
        config.values.extend(seen);
        config.check(role)?;
        Ok(config)
    }

    fn merge(&mut self, role: Role, text: &str) -> Result<()> {
        let map = match yaml::one(text)? {
            Value::Null => return Ok(()),
            Value::Object(map) => map,
            _ => return Err(Fail::new("config is not a mapping")),
        };
        for (raw, value) in map {
            let (key, append) = raw
                .strip_suffix('+')
                .map_or((raw.as_str(), false), |key| (key, true));
            known(role, key)?;
            let values = flatten(key, &value)?;
            if values.len() > 1 && !LISTS.contains(&key) {
                return Err(Fail::new(format!(
                    "flag --{key} takes one value, not a list"
                )));
            }
            if append {
                self.values
                    .entry(key.to_owned())
                    .or_default()
                    .extend(values);
            } else {
                self.values.insert(key.to_owned(), values);
            }
        }
        Ok(())
    }

    fn check(&self, role: Role) -> Result<()> {
        if self.get("token").is_some() && self.get("token-file").is_some() {
            return Err(Fail::new("only one of --token and --token-file may be set"));
        }
        if let Some(url) = self.get("server") {
            let url = url::Url::parse(url)
                .map_err(|error| Fail::new(format!("invalid server url {url}: {error}")))?;
            if url.scheme() != "https" || url.port() != Some(9345) {
                return Err(Fail::new(format!(
                    "server {url} is not an https:// address of port 9345"
                )));
            }
        } else if role == Role::Agent {
            return Err(Fail::new("--server is required"));
        }
        if role == Role::Agent && self.token()?.is_none() {
            return Err(Fail::new("--token is required"));
        }
        if let Some(profile) = self.get("profile")
            && !["cis", "etcd"].contains(&profile)
        {
            return Err(Fail::new(format!(
                "invalid value provided for --profile flag: {profile}"
            )));
        }
        let external = self.get("node-external-ip").is_some();
        if external
            && (self.get("cloud-provider-name").is_some()
                || self.get("cloud-provider-config").is_some())
        {
            return Err(Fail::new(
                "can't set node-external-ip while using cloud provider",
            ));
        }
        if self.get("cloud-provider-config").is_some() && self.get("cloud-provider-name").is_none()
        {
            return Err(Fail::new(
                "--cloud-provider-config requires --cloud-provider-name to be provided",
            ));
        }
        let known = ["none", "calico", "canal", "cilium", "flannel"];
        let mut cni = self.list("cni");
        if cni.first().is_some_and(|name| name == "multus") {
            cni.remove(0);
            if cni.is_empty() {
                return Err(Fail::new(
                    "multus must be used alongside another primary cni selection",
                ));
            }
        }
        if cni.len() > 1 || cni.iter().any(|name| !known.contains(&name.as_str())) {
            return Err(Fail::new(format!(
                "invalid value {cni:?} provided for --cni flag"
            )));
        }
        for key in [
            "disable-kube-proxy",
            "disable-cloud-controller",
            "disable-default-registry-endpoint",
            "selinux",
        ] {
            if let Some(value) = self.get(key)
                && !["true", "false"].contains(&value)
            {
                return Err(Fail::new(format!(
                    "invalid boolean value {value:?} for -{key}"
                )));
            }
        }
        Ok(())
    }

    /// The last value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .and_then(|values| values.last())
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Every value of a key, comma-separated ones opened.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let values = self.values.get(key).map(Vec::as_slice).unwrap_or_default();
        values
            .iter()
            .flat_map(|value| value.split(','))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key) == Some("true")
    }

    /// The join token, from the key or from its file.
    pub(crate) fn token(&self) -> Result<Option<String>> {
        if let Some(token) = self.get("token") {
            return Ok(Some(token.to_owned()));
        }
        let Some(path) = self.get("token-file") else {
            return Ok(None);
        };
        let text = fs_err::read_to_string(path).context(format!("token-file {path}"))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(Fail::new(format!("token-file {path} is empty")));
        }
        Ok(Some(token.to_owned()))
    }

    /// The values that must be equal on every server, defaults filled in.
    pub(crate) fn critical(&self) -> BTreeMap<String, String> {
        let default = |key: &str| match key {
            "cluster-cidr" => "10.42.0.0/16",
            "service-cidr" => "10.43.0.0/16",
            "cluster-dns" => "10.43.0.10",
            "cluster-domain" => "cluster.local",
            "egress-selector-mode" => "agent",
            "agent-token" => "",
            _ => "false",
        };
        EQUAL_ON_SERVERS
            .iter()
            .map(|key| {
                let value = self.list(key).join(",");
                (
                    (*key).to_owned(),
                    if value.is_empty() {
                        default(key).to_owned()
                    } else {
                        value
                    },
                )
            })
            .collect()
    }
}

fn known(role: Role, key: &str) -> Result<()> {
    if BOTH.contains(&key) || (role == Role::Server && SERVER.contains(&key)) {
        return Ok(());
    }
    Err(Fail::new(format!("flag provided but not defined: -{key}")))
}

fn flatten(key: &str, value: &Value) -> Result<Vec<String>> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
        Value::Array(items) => {
            let nested: Result<Vec<_>> = items.iter().map(|item| flatten(key, item)).collect();
            nested?.concat()
        }
        Value::Object(_) => return Err(Fail::new(format!("flag --{key} cannot take a mapping"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(role: Role, text: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs_err::write(&file, text).unwrap();
        Config::load(role, &file, &[])
    }

    #[test]
    fn an_unknown_key_is_fatal() {
        let error = load(Role::Server, "tls-sans: [a]\n").unwrap_err();
        assert!(
            error.0.contains("flag provided but not defined: -tls-sans"),
            "{error}"
        );
    }

    #[test]
    fn a_server_key_on_an_agent_is_fatal() {
        let error = load(
            Role::Agent,
            "server: https://a:9345\ntoken: x\ncni: canal\n",
        )
        .unwrap_err();
        assert!(error.0.contains("-cni"), "{error}");
    }

    #[test]
    fn later_files_replace_and_plus_appends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs_err::write(&file, "tls-san: [a]\nnode-label: [x=1]\n").unwrap();
        fs_err::create_dir(dir.path().join("config.yaml.d")).unwrap();
        fs_err::write(
            dir.path().join("config.yaml.d/1.yaml"),
            "tls-san+: [b]\nnode-label: [y=2]\n",
        )
        .unwrap();
        let config = Config::load(Role::Server, &file, &[]).unwrap();
        assert_eq!(config.list("tls-san"), ["a", "b"]);
        assert_eq!(config.list("node-label"), ["y=2"]);
    }

    #[test]
    fn an_agent_needs_a_server_on_port_9345() {
        assert!(
            load(Role::Agent, "token: x\n")
                .unwrap_err()
                .0
                .contains("--server is required")
        );
        assert!(
            load(Role::Agent, "token: x\nserver: https://a:6443\n")
                .unwrap_err()
                .0
                .contains("9345")
        );
    }
}

//! `/etc/rancher/rke2/registries.yaml`: RKE2's schema, parsed strictly, and the endpoints an image is tried at.
//!
//! Invariant: the default endpoint is left out only where the registry is listed and the key that disables it is set.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::fail::{Context as _, Fail, Result};

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registries {
    #[serde(default)]
    pub(crate) mirrors: BTreeMap<String, Option<Mirror>>,
    #[serde(default)]
    pub(crate) configs: BTreeMap<String, RegistryConfig>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mirror {
    #[serde(default)]
    pub(crate) endpoint: Vec<String>,
    #[serde(default)]
    pub(crate) rewrite: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryConfig {
    pub(crate) auth: Option<Auth>,
    pub(crate) tls: Option<Tls>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "RKE2 calls the field so")]
pub(crate) struct Auth {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Base64 of `user:password`.
    pub(crate) auth: Option<String>,
    pub(crate) identity_token: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) insecure_skip_verify: Option<bool>,
}

/// One place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://host[:port]`, with a path where the endpoint names one.
    pub(crate) base: String,
    /// Key of `configs`: `host[:port]`.
    pub(crate) host: String,
    /// Repository to ask for there, after the rewrite.
    pub(crate) repository: String,
    /// Whether it is the image's own registry, not a mirror.
    pub(crate) default: bool,
}

impl Registries {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs_err::read_to_string(path).context(path.display())?;
        Self::parse(&text).context(format!("failed to parse {}", path.display()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        if super::yaml::one(text)?.is_null() {
            return Ok(Self::default());
        }
        let parsed: Self =
            serde_saphyr::from_str(text).map_err(|error| Fail::new(error.to_string()))?;
        for (name, mirror) in parsed
            .mirrors
            .iter()
            .filter_map(|(name, mirror)| Some((name, mirror.as_ref()?)))
        {
            if name.contains('/') {
                return Err(Fail::new(format!("mirror {name:?} is not a registry host")));
            }
            for pattern in mirror.rewrite.keys() {
                Regex::new(pattern)
                    .map_err(|error| Fail::new(format!("invalid rewrite for {name}: {error}")))?;
            }
            for endpoint in &mirror.endpoint {
                split_endpoint(endpoint).context(format!("mirror {name}"))?;
            }
        }
        for (host, config) in &parsed.configs {
            if let Some(file) = config.tls.as_ref().and_then(|tls| tls.ca_file.as_ref())
                && !Path::new(file).is_file()
            {
                return Err(Fail::new(format!(
                    "ca_file {file} of {host} does not exist"
                )));
            }
        }
        Ok(parsed)
    }

    /// Where to ask for `repository` of `registry`, in order.
    pub(crate) fn endpoints(
        &self,
        registry: &str,
        repository: &str,
        disable_default: bool,
    ) -> Result<Vec<Endpoint>> {
        let listed = self.mirrors.get(registry).or_else(|| self.mirrors.get("*"));
        let mut out = Vec::new();
        if let Some(Some(mirror)) = listed {
            let rewritten = rewrite(&mirror.rewrite, repository);
            for endpoint in &mirror.endpoint {
                let (base, host) = split_endpoint(endpoint)?;
                out.push(Endpoint {
                    base,
                    host,
                    repository: rewritten.clone(),
                    default: false,
                });
            }
        }
        if !(disable_default && listed.is_some()) {
            let host = if registry == "docker.io" {
                "registry-1.docker.io"
            } else {
                registry
            };
            out.push(Endpoint {
                base: format!("https://{host}/v2"),
                host: registry.to_owned(),
                repository: repository.to_owned(),
                default: true,
            });
        }
        Ok(out)
    }
}

fn rewrite(rules: &BTreeMap<String, String>, repository: &str) -> String {
    // several rules have no defined order in the real one; the first that changes the name wins
    for (pattern, replacement) in rules {
        // Go and this crate read `$1` and `${1}` alike, and `$1x` as a group named `1x`
        let Ok(regex) = Regex::new(pattern) else {
            continue;
        };
        let changed = regex
            .replace_all(repository, replacement.as_str())
            .into_owned();
        if changed != repository {
            return changed;
        }
    }
    repository.to_owned()
}

fn split_endpoint(endpoint: &str) -> Result<(String, String)> {
    let with_scheme = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    let url = url::Url::parse(&with_scheme)
        .map_err(|error| Fail::new(format!("invalid endpoint {endpoint:?}: {error}")))?;
    let name = url
        .host_str()
        .context(format!("endpoint {endpoint:?} has no host"))?;
    // the port is part of the key exactly as written, though `url` drops the default one
    let authority = with_scheme
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let path = match url.path() {
        "" | "/" | "/v2" | "/v2/" => "/v2",
        other => other.trim_end_matches('/'),
    };
    let host = if authority.is_empty() {
        name
    } else {
        authority
    };
    Ok((format!("{}://{host}{path}", url.scheme()), host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
mirrors:
  docker.io: {endpoint: ["https://harbor.site.test:443"], rewrite: {"^(.*)$": "airgap/docker.io/$1"}}
configs:
  "harbor.site.test:443": {auth: {username: u, password: p}}
"#;

    #[test]
    fn the_mirror_is_asked_first_under_the_rewritten_name() {
        let all = Registries::parse(FILE)
            .unwrap()
            .endpoints("docker.io", "rancher/pause", true)
            .unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].base, "https://harbor.site.test:443/v2");
        assert_eq!(all[0].host, "harbor.site.test:443");
        assert_eq!(all[0].repository, "airgap/docker.io/rancher/pause");
    }

    #[test]
    fn without_the_key_docker_io_is_tried_too() {
        let all = Registries::parse(FILE)
            .unwrap()
            .endpoints("docker.io", "rancher/pause", false)
            .unwrap();
        assert_eq!(all[1].base, "https://registry-1.docker.io/v2");
    }

    #[test]
    fn the_key_does_not_cover_registries_that_are_not_listed() {
        let all = Registries::parse(FILE)
            .unwrap()
            .endpoints("quay.io", "a/b", true)
            .unwrap();
        assert_eq!(all[0].base, "https://quay.io/v2");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(Registries::parse("mirrors: {docker.io: {endpoints: []}}\n").is_err());
        assert!(Registries::parse("configs: {h: {auth: {token: x}}}\n").is_err());
    }
}

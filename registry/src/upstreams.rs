//! Where upstream names are fetched from: RKE2's registries.yaml, and URL prefixes for files.
//!
//! Deviations from RKE2, each so that a bundle cannot come from where nobody meant: where a registry has
//! endpoints, only these are asked, never the registry itself; a rewrite must be anchored (`^…$`) and the
//! only one of its registry, because RKE2 applies several in no defined order; TLS is always verified.
//! Left out: per-endpoint rewrites and the header settings of containerd.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use regex::Regex;
use secrecy::SecretString;
use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

use crate::{
    credentials::Credentials,
    error::{Error, Result},
    http::authority,
    name::RepositoryName,
};

/// Mirrors, logins and certificate authorities for upstream registries and file servers.
#[derive(Debug, Clone, Default)]
pub struct Upstreams {
    mirrors: BTreeMap<String, Mirror>,
    hosts: BTreeMap<String, HostConfig>,
    files: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Mirror {
    /// Base URL, and what its path puts before every repository.
    endpoints: Vec<(Url, String)>,
    rewrite: Option<(Regex, String)>,
}

/// What is configured for one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostConfig {
    pub(crate) login: Option<Credentials>,
    pub(crate) ca_pem: Option<String>,
    pub(crate) identity: Option<(String, SecretString)>,
}

/// A place where a repository can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, host and port.
    pub(crate) base: Url,
    /// The repository's name there.
    pub(crate) repository: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mirrors: BTreeMap<String, Spanned<MirrorFile>>,
    #[serde(default)]
    configs: BTreeMap<String, Spanned<ConfigFile>>,
    #[serde(default)]
    urls: Vec<Spanned<UrlFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MirrorFile {
    #[serde(default)]
    endpoint: Vec<String>,
    #[serde(default)]
    rewrite: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    auth: Option<AuthFile>,
    tls: Option<TlsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthFile {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identity_token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    ca_file: Option<Utf8PathBuf>,
    cert_file: Option<Utf8PathBuf>,
    key_file: Option<Utf8PathBuf>,
    #[serde(default)]
    insecure_skip_verify: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlFile {
    prefix: String,
    replace: String,
}

impl Upstreams {
    /// Parses the file's text; `path` is named in errors, and relative file names are below its folder.
    pub fn from_yaml(text: &str, path: &Utf8Path) -> Result<Self> {
        let fail = |line: Option<u64>, message: String| Error::Config {
            path: path.to_owned(),
            line,
            message,
        };
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            fail(line, first_line(&error.without_snippet().to_string()))
        })?;
        let mut upstreams = Self::default();
        for (name, mirror) in file.mirrors {
            let line = Some(mirror.referenced.line());
            let mirror = read_mirror(&mirror.value)
                .map_err(|message| fail(line, format!("mirror of {name}: {message}")))?;
            upstreams.mirrors.insert(canonical(&name), mirror);
        }
        for (name, config) in file.configs {
            let line = Some(config.referenced.line());
            let folder = path.parent().unwrap_or(Utf8Path::new(""));
            let config = read_config(config.value, folder)
                .map_err(|message| fail(line, format!("config of {name}: {message}")))?;
            let name = name
                .split_once("://")
                .map_or(name.as_str(), |(_, host)| host);
            upstreams
                .hosts
                .insert(name.trim_end_matches('/').to_owned(), config);
        }
        for entry in file.urls {
            let line = Some(entry.referenced.line());
            for url in [&entry.value.prefix, &entry.value.replace] {
                let parsed = Url::parse(url).ok();
                let valid = parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https"));
                if !valid {
                    let message = format!("`{url}` is not the beginning of an http or https URL");
                    return Err(fail(line, message));
                }
            }
            if entry.value.prefix.ends_with('/') != entry.value.replace.ends_with('/') {
                let message =
                    "`prefix` and `replace` must both end with `/`, or neither".to_owned();
                return Err(fail(line, message));
            }
            upstreams
                .files
                .push((entry.value.prefix, entry.value.replace));
        }
        // the longest prefix is the most particular
        upstreams
            .files
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(upstreams)
    }

    /// Returns where a file is fetched from: the longest matching prefix replaced.
    ///
    /// ```
    /// use airgap_registry::Upstreams;
    ///
    /// let text = "urls: [{prefix: 'https://github.com/', replace: 'https://files.corp.example/github/'}]";
    /// let upstreams = Upstreams::from_yaml(text, "upstreams.yaml".into())?;
    /// let url = "https://github.com/rancher/rke2/releases/sha256sum-amd64.txt".parse()?;
    /// assert_eq!(
    ///     upstreams.file_url(&url).as_str(),
    ///     "https://files.corp.example/github/rancher/rke2/releases/sha256sum-amd64.txt"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn file_url(&self, url: &Url) -> Url {
        self.files
            .iter()
            .find_map(|(prefix, replace)| {
                let rest = url.as_str().strip_prefix(prefix.as_str())?;
                Url::parse(&format!("{replace}{rest}")).ok()
            })
            .unwrap_or_else(|| url.clone())
    }

    /// Returns where a repository of a registry is read, in the order to ask.
    pub(crate) fn endpoints(&self, registry: &str, repository: &str) -> Result<Vec<Endpoint>> {
        let registry = canonical(registry);
        let found = self
            .mirrors
            .get(&registry)
            .or_else(|| self.mirrors.get("*"));
        let renamed = match found.and_then(|mirror| mirror.rewrite.as_ref()) {
            Some((pattern, replacement)) => pattern
                .replace_all(repository, replacement.as_str())
                .into_owned(),
            None => repository.to_owned(),
        };
        let endpoints: Vec<Endpoint> = match found {
            Some(mirror) if !mirror.endpoints.is_empty() => mirror
                .endpoints
                .iter()
                .map(|(base, prefix)| Endpoint {
                    base: base.clone(),
                    repository: format!("{prefix}{renamed}"),
                })
                .collect(),
            _ => {
                // docker's registry answers under another name than its images bear
                let host = if registry == "docker.io" {
                    "registry-1.docker.io"
                } else {
                    &registry
                };
                let base = Url::parse(&format!("https://{host}/")).map_err(|_| {
                    let reason = "it is not a host";
                    Error::InvalidName {
                        kind: "registry",
                        name: registry.clone(),
                        reason,
                    }
                })?;
                vec![Endpoint {
                    base,
                    repository: repository.to_owned(),
                }]
            }
        };
        for endpoint in &endpoints {
            RepositoryName::parse(&endpoint.repository)?;
        }
        Ok(endpoints)
    }

    /// Returns what is configured for a host.
    pub(crate) fn host(&self, base: &Url) -> Option<&HostConfig> {
        let port = base.port_or_known_default().unwrap_or_default();
        let host = base.host_str().unwrap_or_default();
        self.hosts
            .get(&authority(base))
            .or_else(|| self.hosts.get(&format!("{host}:{port}")))
            .or_else(|| (host == "registry-1.docker.io").then(|| self.hosts.get("docker.io"))?)
    }
}

/// Gives docker's registry its one name.
fn canonical(registry: &str) -> String {
    match registry {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

fn read_mirror(file: &MirrorFile) -> Result<Mirror, String> {
    let mut endpoints = Vec::new();
    for endpoint in &file.endpoint {
        endpoints.push(read_endpoint(endpoint)?);
    }
    if file.rewrite.len() > 1 {
        return Err("it has several rewrites, whose order is not defined; write one".to_owned());
    }
    let rewrite = match file.rewrite.iter().next() {
        None => None,
        Some((pattern, _)) if !pattern.starts_with('^') || !pattern.ends_with('$') => {
            let message = format!(
                "the rewrite `{pattern}` also matches in the middle of a name; write `^{pattern}$`"
            );
            return Err(message);
        }
        Some((pattern, replacement)) => {
            let pattern = Regex::new(pattern)
                .map_err(|error| format!("the rewrite is no regular expression: {error}"))?;
            Some((pattern, replacement.clone()))
        }
    };
    if rewrite.is_some() && endpoints.is_empty() {
        return Err("it has a rewrite but no endpoint".to_owned());
    }
    Ok(Mirror { endpoints, rewrite })
}

/// Reads an endpoint. A path `/v2/prefix` puts the prefix before every repository.
fn read_endpoint(endpoint: &str) -> Result<(Url, String), String> {
    let with_scheme = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    let mut url =
        Url::parse(&with_scheme).map_err(|error| format!("endpoint `{endpoint}`: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("endpoint `{endpoint}` is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let host = authority(&url);
        return Err(format!(
            "endpoint at {host} has a login in its URL; write it under `configs`"
        ));
    }
    let path = url.path().trim_matches('/').to_owned();
    let prefix = match path
        .strip_prefix("v2")
        .map(|rest| rest.trim_start_matches('/'))
    {
        _ if path.is_empty() => String::new(),
        Some("") => String::new(),
        Some(rest) if path.starts_with("v2/") => format!("{rest}/"),
        _ => {
            return Err(format!(
                "endpoint `{endpoint}` has a path that does not begin with /v2"
            ));
        }
    };
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok((url, prefix))
}

fn read_config(file: ConfigFile, folder: &Utf8Path) -> Result<HostConfig, String> {
    let login = match file.auth {
        None => None,
        Some(auth) if !auth.identity_token.is_empty() => {
            Some(Credentials::IdentityToken(auth.identity_token.into()))
        }
        Some(auth) if !auth.auth.is_empty() => {
            let login = Credentials::from_encoded(&auth.auth);
            Some(login.ok_or("`auth` is not the base64 of name:password")?)
        }
        Some(auth) if !auth.username.is_empty() => Some(Credentials::Basic {
            username: auth.username,
            password: auth.password.into(),
        }),
        Some(_) => return Err("`auth` names no account".to_owned()),
    };
    let Some(tls) = file.tls else {
        return Ok(HostConfig {
            login,
            ca_pem: None,
            identity: None,
        });
    };
    if tls.insecure_skip_verify {
        let message = "`insecure_skip_verify` is refused: what is bundled must come from whom it says; \
                       give the authority's certificate as `ca_file`";
        return Err(message.to_owned());
    }
    let read = |file: &Utf8Path| {
        fs_err::read_to_string(folder.join(file)).map_err(|error| error.to_string())
    };
    let ca_pem = tls.ca_file.as_deref().map(read).transpose()?;
    let identity = match (tls.cert_file.as_deref(), tls.key_file.as_deref()) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?.into())),
        _ => return Err("`cert_file` and `key_file` go together".to_owned()),
    };
    Ok(HostConfig {
        login,
        ca_pem,
        identity,
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;

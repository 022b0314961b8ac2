//! Pulls by the OCI distribution protocol as containerd does: endpoint after endpoint, credentials only when asked for, every
//! byte hashed.
//!
//! Invariant: nothing enters the store whose sha256 and size were not checked against the descriptor that named it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use futures_util::StreamExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fail::{Context as _, Fail, Result};
use super::image::ImageName;
use super::registries::{Auth, Endpoint, Registries, RegistryConfig};

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*";
const MANIFEST_LIMIT: usize = 4 << 20;

/// An image whose blobs are all in the store.
#[derive(Debug, Clone)]
pub(crate) struct Pulled {
    /// Digest the name resolved to.
    pub(crate) digest: String,
    /// The manifest of this platform.
    pub(crate) manifest: Value,
    /// Where it came from: `https://host/v2 repository`.
    pub(crate) origin: String,
}

/// Pulls into one content store.
#[derive(Debug, Clone)]
pub(crate) struct Puller {
    registries: Registries,
    disable_default: bool,
    store: PathBuf,
    log: Option<PathBuf>,
}

impl Puller {
    pub(crate) fn new(registries: Registries, disable_default: bool, store: &Path) -> Self {
        Self {
            registries,
            disable_default,
            store: store.to_path_buf(),
            log: None,
        }
    }

    /// Writes each attempt that failed to `path`, as containerd does.
    pub(crate) fn with_log(mut self, path: &Path) -> Self {
        self.log = Some(path.to_path_buf());
        self
    }

    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        self.store
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    }

    /// Pulls `name` for this machine's platform, or says why the last endpoint failed.
    pub(crate) async fn pull(&self, name: &ImageName) -> Result<Pulled> {
        let endpoints =
            self.registries
                .endpoints(&name.registry, &name.repository, self.disable_default)?;
        let mut last = Fail::new(format!("no endpoint is configured for {}", name.registry));
        for endpoint in &endpoints {
            match self.pull_from(name, endpoint).await {
                Ok(pulled) => return Ok(pulled),
                Err(error) => {
                    let kind = if endpoint.default {
                        "default endpoint"
                    } else {
                        "mirror"
                    };
                    self.note(&format!(
                        "pull of {} from {kind} {} failed: {error}",
                        name.full(),
                        endpoint.base
                    ));
                    last = error;
                }
            }
        }
        Err(Fail::new(format!(
            "failed to pull and unpack image \"{}\": failed to resolve reference \"{}\": {last}",
            name.full(),
            name.full()
        )))
    }

    fn note(&self, text: &str) {
        let Some(path) = &self.log else { return };
        if let Ok(mut file) = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
        {
            // the log is a courtesy; the caller gets the error itself
            let _ = writeln!(file, "{} {text}", jiff::Timestamp::now());
        }
    }

    async fn pull_from(&self, name: &ImageName, endpoint: &Endpoint) -> Result<Pulled> {
        let empty = RegistryConfig::default();
        let config = self
            .registries
            .configs
            .get(&endpoint.host)
            .or_else(|| self.registries.configs.get("*"))
            .unwrap_or(&empty);
        let session = Session::open(endpoint, config, &name.registry, &[])?;
        let (bytes, _) = session.manifest(name.reference()).await?;
        let digest = sha256(&bytes);
        if let Some(wanted) = &name.digest
            && *wanted != digest
        {
            return Err(Fail::new(format!(
                "manifest of {} has digest {digest}, not {wanted}",
                name.full()
            )));
        }
        let mut manifest: Value = serde_json::from_slice(&bytes).context("manifest")?;
        self.keep(&digest, &bytes)?;
        if let Some(children) = manifest.get("manifests").and_then(Value::as_array) {
            let child = children
                .iter()
                .find(|child| {
                    child["platform"]["os"] == "linux"
                        && child["platform"]["architecture"] == arch()
                })
                .context(format!(
                    "no match for platform in manifest: not found (linux/{})",
                    arch()
                ))?;
            let child_digest = child["digest"].as_str().unwrap_or_default().to_owned();
            let (bytes, _) = session.manifest(&child_digest).await?;
            if sha256(&bytes) != child_digest {
                return Err(Fail::new(format!(
                    "child manifest {child_digest} has digest {}",
                    sha256(&bytes)
                )));
            }
            self.keep(&child_digest, &bytes)?;
            manifest = serde_json::from_slice(&bytes).context("manifest")?;
        }
        let layers = manifest["layers"]
            .as_array()
            .cloned()
            .context("manifest has no layers")?;
        for blob in std::iter::once(&manifest["config"]).chain(layers.iter()) {
            self.blob(&session, blob).await?;
        }
        Ok(Pulled {
            digest,
            manifest,
            origin: format!("{} {}", endpoint.base, endpoint.repository),
        })
    }

    fn keep(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        let path = self.blob_path(digest);
        fs_err::create_dir_all(path.parent().context("no parent")?)?;
        fs_err::write(&path, bytes).context(path.display())
    }

    async fn blob(&self, session: &Session, descriptor: &Value) -> Result<()> {
        let digest = descriptor["digest"]
            .as_str()
            .context("descriptor has no digest")?;
        let size = descriptor["size"]
            .as_u64()
            .context("descriptor has no size")?;
        let path = self.blob_path(digest);
        if path.metadata().is_ok_and(|meta| meta.len() == size) {
            return Ok(());
        }
        fs_err::create_dir_all(path.parent().context("no parent")?)?;
        let response = session.get(&format!("blobs/{digest}"), "*/*").await?;
        let mut file = tempfile::NamedTempFile::new_in(path.parent().context("no parent")?)?;
        let (mut hasher, mut seen) = (Sha256::new(), 0_u64);
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            seen += chunk.len() as u64;
            hasher.update(&chunk);
            file.write_all(&chunk)
                .context(format!("failed to write blob {digest}"))?;
        }
        let found = format!("sha256:{}", hex::encode(hasher.finalize()));
        if found != digest || seen != size {
            return Err(Fail::new(format!(
                "unexpected commit digest {found} ({seen} bytes), expected {digest} ({size} bytes)"
            )));
        }
        file.persist(&path)
            .map_err(|error| Fail::from(error.error))
            .context(path.display())?;
        Ok(())
    }
}

/// One registry endpoint: its client, its credentials, the token it last gave.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    base: String,
    repository: String,
    namespace: Option<String>,
    auth: Option<Auth>,
    header: std::sync::Mutex<Option<String>>,
}

impl Session {
    pub(crate) fn open(
        endpoint: &Endpoint,
        config: &RegistryConfig,
        namespace: &str,
        resolve: &[(String, std::net::SocketAddr)],
    ) -> Result<Self> {
        let mut builder = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_mins(1))
            .http1_only()
            .no_proxy()
            .user_agent("containerd/airgap-standin");
        for (host, address) in resolve {
            builder = builder.resolve(host, *address);
        }
        if let Some(tls) = &config.tls {
            if let Some(file) = &tls.ca_file {
                let pem = fs_err::read(file).context(format!("ca_file {file}"))?;
                for certificate in reqwest::Certificate::from_pem_bundle(&pem)
                    .context(format!("ca_file {file}"))?
                {
                    builder = builder.add_root_certificate(certificate);
                }
            }
            if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
                let pem = [
                    fs_err::read(cert).context(cert)?,
                    fs_err::read(key).context(key)?,
                ]
                .concat();
                builder = builder.identity(reqwest::Identity::from_pem(&pem)?);
            }
            if tls.insecure_skip_verify == Some(true) {
                builder = builder.danger_accept_invalid_certs(true);
            }
        }
        Ok(Self {
            client: builder.build()?,
            base: endpoint.base.clone(),
            repository: endpoint.repository.clone(),
            namespace: (!endpoint.default).then(|| namespace.to_owned()),
            auth: config.auth.clone(),
            header: std::sync::Mutex::new(None),
        })
    }

    /// The manifest's bytes and its media type.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<(Vec<u8>, String)> {
        let response = self
            .get(&format!("manifests/{reference}"), ACCEPTED)
            .await?;
        let media = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let bytes = response.bytes().await?;
        if bytes.len() > MANIFEST_LIMIT {
            return Err(Fail::new(format!(
                "manifest {reference} is larger than 4 MiB"
            )));
        }
        Ok((bytes.to_vec(), media))
    }

    pub(crate) async fn get(&self, what: &str, accept: &str) -> Result<Response> {
        let namespace = self
            .namespace
            .as_ref()
            .map(|name| format!("?ns={name}"))
            .unwrap_or_default();
        let url = format!("{}/{}/{what}{namespace}", self.base, self.repository);
        let response = self.send(&url, accept).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED {
            self.authorise(&response).await.context(&url)?;
            self.send(&url, accept).await?
        } else {
            response
        };
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => {
                Err(Fail::new(format!("{}:{what}: not found", self.repository)))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Fail::new(format!(
                "pull access denied, repository does not exist or may require authorization: GET {url}: {}",
                response.status()
            ))),
            status => Err(Fail::new(format!(
                "unexpected status from GET request to {url}: {status}"
            ))),
        }
    }

    async fn send(&self, url: &str, accept: &str) -> Result<Response> {
        let mut request = self.client.get(url).header(ACCEPT, accept);
        let header = self.header.lock().map_or(None, |guard| guard.clone());
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        Ok(request.send().await?)
    }

    /// Answers a challenge: Basic at once, Bearer by asking the realm for a token.
    async fn authorise(&self, response: &Response) -> Result<()> {
        let challenge = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let basic = self.auth.as_ref().and_then(basic);
        let header = if let Some(rest) = challenge.strip_prefix("Bearer ") {
            let part = |name: &str| {
                rest.split(',').find_map(|part| {
                    part.trim()
                        .strip_prefix(&format!("{name}=\""))?
                        .strip_suffix('"')
                        .map(str::to_owned)
                })
            };
            let realm = part("realm").context("challenge without a realm")?;
            let scope = format!("repository:{}:pull", self.repository);
            let mut query: Vec<(&str, String)> = vec![("scope", part("scope").unwrap_or(scope))];
            if let Some(service) = part("service") {
                query.push(("service", service));
            }
            let mut url = url::Url::parse(&realm)
                .map_err(|error| Fail::new(format!("realm {realm}: {error}")))?;
            url.query_pairs_mut().extend_pairs(query);
            let mut request = self.client.get(url);
            if let Some(basic) = basic {
                request = request.header(AUTHORIZATION, basic);
            }
            let answer = request.send().await?;
            if !answer.status().is_success() {
                return Err(Fail::new(format!(
                    "failed to fetch oauth token: {}",
                    answer.status()
                )));
            }
            let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
            let token = ["token", "access_token"]
                .iter()
                .find_map(|key| body[key].as_str().filter(|text| !text.is_empty()));
            format!(
                "Bearer {}",
                token.context("the token service gave no token")?
            )
        } else {
            basic.context("pull access denied: authorization failed: no basic auth credentials")?
        };
        if let Ok(mut guard) = self.header.lock() {
            *guard = Some(header);
        }
        Ok(())
    }
}

fn basic(auth: &Auth) -> Option<String> {
    if let Some(encoded) = &auth.auth {
        return Some(format!("Basic {encoded}"));
    }
    let pair = format!("{}:{}", auth.username.as_ref()?, auth.password.as_ref()?);
    Some(format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    ))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The node's architecture in Go's words.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

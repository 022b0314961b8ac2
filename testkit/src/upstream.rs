//! Upstream registries and file servers on loopback, under their real names.
//!
//! One server stands in for all of them: the repository `quay.io/argoproj/argocd` is served at
//! `/v2/quay.io/argoproj/argocd/…`, the file `https://github.com/a/b` at `/github.com/a/b`;
//! [`UpstreamRegistry::upstreams_yaml`] writes the mirrors, rewrites and prefixes that lead there.
//! Read-only. Left out: catalog, tag lists, deletes.

mod answer;
mod store;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use camino::Utf8PathBuf;
use oci_spec::image::Digest;

pub(crate) use self::answer::error;
pub use self::store::Content;
use self::store::Store;
use crate::{
    faults::{Fault, Faults},
    guard::Guard,
    image::Image,
    requests::RequestLog,
    serve::{Presence, Server},
    tls::ServerCert,
    tokens::Tokens,
};

/// What a client must show.
#[derive(Debug, Clone, Default)]
pub enum UpstreamAuth {
    /// Nothing.
    #[default]
    None,
    /// HTTP Basic with this account.
    Basic {
        /// The account.
        username: String,
        /// Its password.
        password: String,
    },
    /// A token from the server's token service.
    Bearer {
        /// The account that the token service wants; `None` gives tokens to everybody.
        account: Option<(String, String)>,
        /// The long-lived token that is also accepted there (docker's `identitytoken`).
        identity_token: Option<String>,
        /// How long a token is good for.
        lifetime: Duration,
    },
}

/// Collects what an [`UpstreamRegistry`] serves.
#[derive(Debug, Default)]
pub struct UpstreamBuilder {
    address: Option<SocketAddr>,
    tls: Option<ServerCert>,
    auth: UpstreamAuth,
    referrers_api: bool,
    store: Store,
}

impl UpstreamBuilder {
    /// Listens at this address in place of a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Serves over TLS.
    #[must_use]
    pub fn tls(mut self, certificate: ServerCert) -> Self {
        self.tls = Some(certificate);
        self
    }

    /// Asks clients for a login.
    #[must_use]
    pub fn auth(mut self, auth: UpstreamAuth) -> Self {
        self.auth = auth;
        self
    }

    /// Offers the referrers API; without it there is only the fallback tag.
    #[must_use]
    pub fn referrers_api(mut self) -> Self {
        self.referrers_api = true;
        self
    }

    /// Serves an image under a full name with tag, such as `quay.io/argoproj/argocd:v3.4.4`.
    #[must_use]
    pub fn image(mut self, name: &str, image: &Image) -> Self {
        self.store.put_image(name, image);
        self
    }

    /// Serves a file under its URL without the scheme, such as `github.com/rancher/rke2/…`.
    #[must_use]
    pub fn file(mut self, location: &str, bytes: impl Into<Bytes>) -> Self {
        self.store.put_file(location, Content::Bytes(bytes.into()));
        self
    }

    /// Serves a file from disk, for sizes that do not belong in memory.
    #[must_use]
    pub fn file_from(mut self, location: &str, path: Utf8PathBuf) -> Self {
        self.store.put_file(location, Content::File(path));
        self
    }

    /// Serves a blob from disk in every repository, for sizes that do not belong in memory.
    #[must_use]
    pub fn blob_from(mut self, digest: &Digest, path: Utf8PathBuf) -> Self {
        self.store.put_blob(digest, Content::File(path));
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// Panics when the address cannot be bound.
    #[must_use]
    pub fn start(self) -> UpstreamRegistry {
        let (faults, log) = (Faults::default(), RequestLog::default());
        let shared = Arc::new(Shared {
            store: Mutex::new(self.store),
            tokens: Tokens::default(),
            auth: self.auth,
            referrers_api: self.referrers_api,
            tls: self.tls.is_some(),
        });
        let address = self
            .address
            .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let routes = {
            let (shared, faults, log) = (Arc::clone(&shared), faults.clone(), log.clone());
            move |address, presence: Presence| {
                answer::routes(
                    shared,
                    Guard {
                        faults,
                        log,
                        presence,
                    },
                    address,
                )
            }
        };
        let tls = self.tls.as_ref().map(ServerCert::server_config);
        let server = Server::start(address, tls, routes).expect("the upstream server can listen");
        UpstreamRegistry {
            server,
            shared,
            faults,
            log,
        }
    }
}

/// What the handlers share with the test.
#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    tokens: Tokens,
    auth: UpstreamAuth,
    referrers_api: bool,
    tls: bool,
}

impl Shared {
    fn store<T>(&self, look: impl FnOnce(&mut Store) -> T) -> T {
        look(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running stand-in for the internet's registries and file servers.
#[derive(Debug)]
pub struct UpstreamRegistry {
    server: Server,
    shared: Arc<Shared>,
    faults: Faults,
    log: RequestLog,
}

impl UpstreamRegistry {
    /// Starts collecting.
    #[must_use]
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::default()
    }

    /// Returns the address it listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns `http://…` or `https://…` with the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.shared.tls { "https" } else { "http" },
            self.server.address
        )
    }

    /// Returns the `--upstreams` file that leads every name served to this server.
    ///
    /// `ca_file` is named as the authority where the server has TLS.
    #[must_use]
    pub fn upstreams_yaml(&self, ca_file: Option<&str>) -> String {
        self.upstreams_yaml_with_login(ca_file, None)
    }

    /// Like [`UpstreamRegistry::upstreams_yaml`], with an account for the server.
    #[must_use]
    pub fn upstreams_yaml_with_login(
        &self,
        ca_file: Option<&str>,
        login: Option<(&str, &str)>,
    ) -> String {
        use std::fmt::Write as _;
        let url = self.url();
        let (registries, file_hosts) = self
            .shared
            .store(|store| (store.registries(), store.file_hosts()));
        let mut yaml = String::from("mirrors:\n");
        for host in &registries {
            let _ = write!(
                yaml,
                "  \"{host}\":\n    endpoint: [\"{url}\"]\n    rewrite: {{\"^(.*)$\": \"{host}/$1\"}}\n"
            );
        }
        if registries.is_empty() {
            yaml = String::from("mirrors: {}\n");
        }
        yaml.push_str("urls:\n");
        for host in &file_hosts {
            let _ = writeln!(
                yaml,
                "  - {{prefix: \"https://{host}/\", replace: \"{url}/{host}/\"}}"
            );
        }
        if file_hosts.is_empty() {
            yaml.push_str("  []\n");
        }
        if ca_file.is_some() || login.is_some() {
            let _ = write!(yaml, "configs:\n  \"{}\":\n", self.server.address);
            if let Some((user, password)) = login {
                let _ = writeln!(
                    yaml,
                    "    auth: {{username: \"{user}\", password: \"{password}\"}}"
                );
            }
            if let Some(ca_file) = ca_file {
                let _ = writeln!(yaml, "    tls: {{ca_file: \"{ca_file}\"}}");
            }
        }
        yaml
    }

    /// Adds an image while running, or moves its tag.
    pub fn put_image(&self, name: &str, image: &Image) {
        self.shared.store(|store| store.put_image(name, image));
    }

    /// Adds a file while running, or changes it.
    pub fn put_file(&self, location: &str, bytes: impl Into<Bytes>) {
        self.shared
            .store(|store| store.put_file(location, Content::Bytes(bytes.into())));
    }

    /// Removes a tag and the manifest it named, as when an image vanishes upstream.
    pub fn remove_image(&self, name: &str) {
        self.shared.store(|store| store.remove_image(name));
    }

    /// Orders a fault.
    ///
    /// # Panics
    /// Panics when its path is no regular expression.
    pub fn fault(&self, fault: Fault) {
        self.faults
            .add(fault)
            .expect("a fault's path is a regular expression");
    }

    /// Takes back all faults.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Returns the log of requests.
    #[must_use]
    pub fn log(&self) -> &RequestLog {
        &self.log
    }

    /// Cuts every connection, and refuses new ones until [`UpstreamRegistry::come_back`].
    pub fn leave(&self) {
        self.server.presence.leave();
    }

    /// Accepts connections again, and returns once it does.
    pub fn come_back(&self) {
        self.server.presence.come_back();
    }
}

//! A stand-in for Harbor: its API, accounts, projects and policies in front of Debian's `docker-registry`.
//!
//! It behaves as Harbor 2.15 is documented to, including what annoys: the Basic challenge after a failed
//! login, the empty challenge for a missing project, the token service that answers 200 to a wrong
//! password, immutable tags that refuse the same digest. Invariant: it grants nothing that Harbor refuses.
//! Left out: replication, scanning, retention, garbage collection, the web pages.

mod admin;
mod api;
mod policy;
mod proxy;
mod state;
mod v2;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use camino::Utf8PathBuf;

use self::state::State;
pub use self::state::{Account, Project, Right};
use crate::{
    docker_registry::{DockerRegistry, DockerRegistryConfig},
    faults::{Fault, Faults},
    guard::Guard,
    requests::RequestLog,
    serve::{Presence, Server},
    tls::ServerCert,
    tokens::Tokens,
};

/// How a stand-in Harbor is started.
#[derive(Debug)]
pub struct HarborConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where its admin API listens; none without.
    pub admin: Option<SocketAddr>,
    /// TLS; plain HTTP without.
    pub tls: Option<ServerCert>,
    /// Where the registry behind keeps its data; a temporary folder without.
    pub data: Option<Utf8PathBuf>,
    /// Users and robots.
    pub accounts: Vec<Account>,
    /// Projects that exist from the start.
    pub projects: Vec<Project>,
    /// Whether only administrators may make projects.
    pub project_creation_admin_only: bool,
    /// How long a token is good for.
    pub token_lifetime: Duration,
}

impl Default for HarborConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            admin: None,
            tls: None,
            data: None,
            accounts: Vec::new(),
            projects: Vec::new(),
            project_creation_admin_only: true,
            token_lifetime: Duration::from_mins(30),
        }
    }
}

/// What the handlers share with the test.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    tokens: Tokens,
    backend: SocketAddr,
    client: reqwest::Client,
    token_lifetime: Duration,
    tls: bool,
}

impl Shared {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The account of the registry behind, as Harbor's core has one.
const BACKEND_USER: &str = "harbor_registry_user";
/// Its password; only loopback ever sees it.
const BACKEND_PASSWORD: &str = "stand-in";

/// A running stand-in Harbor. Dropping it ends it and the registry behind.
#[derive(Debug)]
pub struct HarborEmulation {
    server: Server,
    admin: Option<Server>,
    shared: Arc<Shared>,
    faults: Faults,
    log: RequestLog,
    backend: Backend,
}

impl HarborEmulation {
    /// Starts it; gate on [`crate::require_tool`] with `docker-registry`.
    ///
    /// # Panics
    /// Panics when an address cannot be bound or the registry behind does not start.
    #[must_use]
    pub fn start(config: HarborConfig) -> Self {
        let backend = Backend::start(DockerRegistryConfig {
            tls: None,
            accounts: vec![(BACKEND_USER.to_owned(), BACKEND_PASSWORD.to_owned())],
            data: config.data,
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(
                config.accounts,
                config.projects,
                config.project_creation_admin_only,
            )),
            tokens: Tokens::default(),
            backend: backend.address,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a plain client can be made"),
            token_lifetime: config.token_lifetime,
            tls: config.tls.is_some(),
        });
        let (faults, log) = (Faults::default(), RequestLog::default());
        let routes = {
            let (shared, faults, log) = (Arc::clone(&shared), faults.clone(), log.clone());
            move |address, presence: Presence| {
                v2::routes(
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
        let tls = config.tls.as_ref().map(ServerCert::server_config);
        let server = Server::start(config.listen, tls, routes).expect("the stand-in can listen");
        let admin = config.admin.map(|address| {
            let shared = Arc::clone(&shared);
            let control = admin::Control {
                faults: faults.clone(),
                log: log.clone(),
                presence: server.presence.clone(),
            };
            Server::start(address, None, move |_, _| admin::routes(shared, control))
                .expect("the admin API can listen")
        });
        Self {
            server,
            admin,
            shared,
            faults,
            log,
            backend,
        }
    }

    /// Returns the address it listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns the address of the admin API.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Returns `http://…` or `https://…` with the address.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// Returns the address of the registry behind, which knows no projects: to look past the front.
    #[must_use]
    pub fn backend(&self) -> SocketAddr {
        self.backend.address
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

    /// Switches read-only mode.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.state(|state| state.read_only = read_only);
    }

    /// Changes a project; makes it where it is missing.
    pub fn set_project(&self, project: Project) {
        self.shared.state(|state| state.set_project(project));
    }

    /// Adds or changes an account.
    pub fn set_account(&self, account: Account) {
        self.shared.state(|state| state.set_account(account));
    }

    /// Returns how many bytes a project uses, as its quota counts.
    #[must_use]
    pub fn used(&self, project: &str) -> u64 {
        self.shared.state(|state| state.used(project))
    }

    /// Cuts every connection, and refuses new ones until [`HarborEmulation::come_back`].
    pub fn leave(&self) {
        self.server.presence.leave();
    }

    /// Accepts connections again, and returns once it does.
    pub fn come_back(&self) {
        self.server.presence.come_back();
    }
}

/// The registry behind, on a thread of its own: the child ends with the thread that started it.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(config: DockerRegistryConfig) -> Self {
        let (send_address, address) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let registry = DockerRegistry::start(&config);
            let _ = send_address.send(registry.address());
            let _ = stopped.recv();
        });
        let address = address.recv().expect("docker-registry starts");
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

//! `rke2 server`: founds, joins or resumes a cluster, serves its API, and says READY once it is a voter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{self, ApiError, Verb, Write};
use super::bootstrap::Staged;
use super::config::Config;
use super::fail::{Context as _, Fail, Result};
use super::kinds::{self, Kind};
use super::node::{Host, Link};
use super::peers::{Leader, Peers};
use super::store::{Cluster, Disk, Member, State};
use super::token::Token;
use super::{apiserver, bootstrap, controllers, join, log, node, notify, release, supervisor, tls};

/// One running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) peers: Arc<Peers>,
    pub(crate) config: Config,
    pub(crate) data: PathBuf,
    pub(crate) ready: AtomicBool,
    pub(crate) release: release::Info,
    pub(crate) host: Host,
}

/// How long a failed pull of a static pod's image is waited on before the next try.
const RETRY: Duration = Duration::from_secs(3);

pub(crate) async fn run(config: Config) -> Result<()> {
    let release = release::Info::load()?;
    log::info(format!(
        "Starting rke2 {} (airgap stand-in, not RKE2)",
        release.version
    ));
    let data = PathBuf::from(config.get("data-dir").unwrap_or("/var/lib/rancher/rke2"));
    let host = Host::inspect(&config, super::config::Role::Server)?;
    let containerd = host.containerd(&config, &data)?;
    let staged = bootstrap::stage(&config, &release, &host.registries, &data).await?;
    containerd.serve()?;

    let disk = Disk::new(&data);
    let (member, state) = match disk.load()? {
        Some((name, state)) => {
            log::info("Managed etcd cluster initialized: resuming an existing member");
            resume(&name, state, &config)?
        }
        None => match config.get("server") {
            Some(url) => join::server(url, &config, &host).await?,
            None => found(&config, &host)?,
        },
    };
    let peers = Peers::new(member, state, disk)?;
    write_credentials(&peers, &data)?;
    for image in [&release.pause, &release.etcd, &release.kubernetes] {
        pull_until_there(&containerd, image).await;
    }
    let server = Arc::new(Server {
        peers,
        config,
        data,
        ready: AtomicBool::new(false),
        release,
        host,
    });
    server.listen().await?;
    server.settle().await?;
    if server.peers.membership().is_none_or(|me| me.learner) {
        server.promote().await?;
    }
    server.seed().await?;
    server.write_kubeconfig()?;
    stage_charts(&server, &staged)?;
    server.ready.store(true, Ordering::SeqCst);
    log::info("rke2 is up and running");
    notify::ready();

    controllers::start(&server);
    node::run(
        Link::Local(Arc::clone(&server)),
        server.host.clone(),
        containerd,
        server.static_pods(),
    )
    .await
}

fn resume(name: &str, state: State, config: &Config) -> Result<(Member, State)> {
    let member = state
        .members
        .iter()
        .find(|member| member.name == name)
        .cloned();
    let member = member.context("this server is a not a member of the etcd cluster")?;
    if let Some(text) = config.token()? {
        let token = Token::parse(&text)?;
        if token.password != state.cluster.server_password {
            return Err(Fail::new(
                "bootstrap data already found and encrypted with different token",
            ));
        }
    }
    join::same_critical(&state.cluster.critical, &config.critical())?;
    Ok((member, state))
}

/// Founds a new cluster: its authority, its token, its first member.
fn found(config: &Config, host: &Host) -> Result<(Member, State)> {
    let password = match config.token()? {
        Some(text) => {
            let token = Token::parse(&text)?;
            if token.ca_hash.is_some() {
                return Err(Fail::new(
                    "a full K10 token needs an existing cluster CA; the first server takes the short form",
                ));
            }
            token.password
        }
        None => Token::random(),
    };
    let ca_name = format!("rke2-server-ca@{}", jiff::Timestamp::now().as_second());
    let ca = tls::new_ca(&ca_name)?;
    let id = join::member_id(&host.name);
    let member = Member {
        id,
        name: format!("{}-{:08x}", host.name, id >> 32),
        node: host.name.clone(),
        address: host.address.clone(),
        learner: false,
    };
    let cluster = Cluster {
        ca_name,
        ca_cert: ca.cert,
        ca_key: ca.key,
        agent_password: config
            .get("agent-token")
            .map_or_else(|| password.clone(), str::to_owned),
        server_password: password,
        critical: config.critical(),
        cni: config.list("cni"),
        ingress: config.list("ingress-controller"),
        disable: config.list("disable"),
    };
    log::info(format!(
        "Founding a new cluster with member {}",
        member.name
    ));
    Ok((
        member.clone(),
        State {
            revision: 1,
            cluster,
            members: vec![member],
            objects: BTreeMap::new(),
        },
    ))
}

/// Files that a server leaves for joiners and for its own restarts.
fn write_credentials(peers: &Peers, data: &Path) -> Result<()> {
    let cluster = peers.read(|state| state.cluster.clone());
    let dir = data.join("server");
    let full = Token::full(&cluster.ca_cert, "server", &cluster.server_password);
    tls::write_secret(&dir.join("token"), format!("{full}\n").as_bytes())?;
    let agent = Token::full(&cluster.ca_cert, "node", &cluster.agent_password);
    tls::write_secret(&dir.join("agent-token"), format!("{agent}\n").as_bytes())?;
    if !dir.join("node-token").exists() {
        std::os::unix::fs::symlink(dir.join("token"), dir.join("node-token"))?;
    }
    tls::write_secret(&dir.join("tls/server-ca.crt"), cluster.ca_cert.as_bytes())?;
    tls::write_secret(&dir.join("tls/server-ca.key"), cluster.ca_key.as_bytes())?;
    fs_err::create_dir_all(dir.join("manifests"))?;
    Ok(())
}

async fn pull_until_there(containerd: &node::Containerd, image: &str) {
    while let Err(error) = containerd.pull(image).await {
        log::error(format!(
            "Waiting for etcd server to become available: Failed to pull image {image}: {error}"
        ));
        tokio::time::sleep(RETRY).await;
    }
}

/// Copies the packaged charts that this cluster uses into the manifests directory, as each start does.
fn stage_charts(server: &Server, staged: &Staged) -> Result<()> {
    let cluster = server.peers.read(|state| state.cluster.clone());
    let cni: Vec<&str> = if cluster.cni.is_empty() {
        vec!["canal"]
    } else {
        cluster.cni.iter().map(String::as_str).collect()
    };
    let ingress: Vec<&str> = if cluster.ingress.is_empty() {
        vec!["traefik"]
    } else {
        cluster.ingress.iter().map(String::as_str).collect()
    };
    let manifests = server.data.join("server/manifests");
    for entry in fs_err::read_dir(&staged.charts).context(staged.charts.display())? {
        let path = entry?.path();
        let (Some(stem), Some(file)) =
            (path.file_stem().and_then(|s| s.to_str()), path.file_name())
        else {
            continue;
        };
        let short = stem.trim_start_matches("rke2-");
        let wanted = match short {
            "canal" | "cilium" | "calico" | "flannel" | "multus" => cni.contains(&short),
            "traefik" | "traefik-crd" => ingress.contains(&"traefik"),
            "ingress-nginx" => ingress.contains(&"ingress-nginx"),
            _ => true,
        };
        let target = manifests.join(file);
        if wanted && !cluster.disable.iter().any(|name| name == stem) {
            fs_err::copy(&path, &target).context(target.display())?;
        } else if target.exists() {
            fs_err::remove_file(&target)?;
        }
    }
    Ok(())
}

impl Server {
    async fn listen(self: &Arc<Self>) -> Result<()> {
        let cluster = self.peers.read(|state| state.cluster.clone());
        let mut names: Vec<String> = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "10.43.0.1",
        ]
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
        names.extend([self.host.address.clone(), self.host.name.clone()]);
        names.extend(self.config.list("tls-san"));
        names.dedup();
        let pair = tls::issue(&cluster.ca_name, &cluster.ca_key, "rke2", &names, 365)?;
        let settings = tls::server_config(&pair, &cluster.ca_cert)?;
        tls::write_secret(
            &self.data.join("server/tls/serving-kube-apiserver.crt"),
            pair.cert.as_bytes(),
        )?;
        supervisor::serve(self, &settings).await?;
        apiserver::serve(self, &settings).await
    }

    /// Waits until a majority answers and this copy is the leader's.
    async fn settle(&self) -> Result<()> {
        let mut quiet = 0_u32;
        loop {
            match self.peers.catch_up().await {
                Ok(()) => return Ok(()),
                Err(error) if quiet.is_multiple_of(10) => log::info(format!(
                    "Waiting for etcd server to become available: {error}"
                )),
                Err(_) => {}
            }
            quiet += 1;
            if self.peers.membership().is_none() && quiet > 20 {
                return Err(Fail::new(
                    "this member has been removed from the etcd cluster",
                ));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn promote(&self) -> Result<()> {
        for _ in 0..100 {
            match self
                .leader_call("promote", &json!({"id": self.peers.me.id}))
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) => log::info(format!("Waiting to be promoted from learner: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.peers.catch_up().await?;
        }
        Err(Fail::new("learner was not promoted"))
    }

    /// Sends a call to the leader, or carries it out here.
    pub(crate) async fn leader_call(&self, what: &str, body: &Value) -> Result<Value> {
        match self.peers.leader().await? {
            Leader::Me => supervisor::on_leader(self, what, body.clone()).await,
            Leader::Other(member) => self.peers.forward(&member, what, body).await,
        }
    }

    /// Writes an object through whichever server leads.
    pub(crate) async fn write(&self, request: Write) -> Result<Value, ApiError> {
        let unavailable = |error: Fail| ApiError::new(500, "InternalError", error.0);
        let answer = match self.peers.leader().await.map_err(unavailable)? {
            Leader::Me => self
                .peers
                .commit(|state| Ok(api::write(state, request)))
                .await
                .map_err(unavailable)?,
            Leader::Other(member) => self
                .peers
                .forward(&member, "write", &request)
                .await
                .map_err(unavailable)?,
        };
        if answer.is_ok() {
            // a client that writes here and reads here sees what it wrote
            let _ = self.peers.catch_up().await;
        }
        answer
    }

    /// Applies an object of the stand-in's own making.
    pub(crate) async fn own(&self, object: Value) -> Result<Value> {
        let kind = object["kind"]
            .as_str()
            .and_then(kinds::by_kind)
            .context("unknown kind")?;
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let verb = Verb::Apply {
            manager: "rke2".to_owned(),
            force: true,
        };
        let request = Write {
            verb,
            namespace: text("namespace"),
            name: text("name"),
            kind,
            body: object,
        };
        self.write(request)
            .await
            .map_err(|error| Fail::new(error.message))
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Value> {
        self.peers
            .read(|state| state.objects.get(&kind.key(namespace, name)).cloned())
    }

    /// The objects every cluster has.
    async fn seed(&self) -> Result<()> {
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            self.own(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
                .await?;
        }
        Ok(())
    }

    fn write_kubeconfig(&self) -> Result<()> {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let cluster = self.peers.read(|state| state.cluster.clone());
        let pair = tls::issue(&cluster.ca_name, &cluster.ca_key, "system:admin", &[], 365)?;
        let text = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://127.0.0.1:6443\n  name: default\n\
             contexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: default\nkind: Config\n\
             users:\n- name: default\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            engine.encode(&cluster.ca_cert),
            engine.encode(&pair.cert),
            engine.encode(&pair.key)
        );
        let path = PathBuf::from(
            self.config
                .get("write-kubeconfig")
                .unwrap_or("/etc/rancher/rke2/rke2.yaml"),
        );
        tls::write_secret(&path, text.as_bytes())?;
        if let Some(mode) = self.config.get("write-kubeconfig-mode") {
            use std::os::unix::fs::PermissionsExt as _;
            let bits = u32::from_str_radix(mode, 8)
                .map_err(|error| Fail::new(format!("write-kubeconfig-mode {mode}: {error}")))?;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(bits))?;
        }
        Ok(())
    }

    /// The static pods of a server, by name.
    fn static_pods(&self) -> BTreeMap<String, String> {
        let kubernetes = &self.release.kubernetes;
        let mut pods: BTreeMap<String, String> = [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
        ]
        .iter()
        .map(|name| ((*name).to_owned(), kubernetes.clone()))
        .collect();
        pods.insert("etcd".into(), self.release.etcd.clone());
        if !self.config.is_true("disable-cloud-controller") {
            pods.insert(
                "cloud-controller-manager".into(),
                self.release.cloud_provider.clone(),
            );
        }
        if !self.config.is_true("disable-kube-proxy") {
            pods.insert("kube-proxy".into(), kubernetes.clone());
        }
        pods
    }
}

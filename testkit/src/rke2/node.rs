//! The node side: what the host offers, the container runtime, the kubelet's loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::config::{Config, Role};
use super::fail::{Context as _, Fail, Result};
use super::image::ImageName;
use super::join::Supervisor;
use super::pull::Puller;
use super::registries::Registries;
use super::server::Server;
use super::token::Token;
use super::{log, tls};

/// The CRI socket's path.
pub(crate) const SOCKET: &str = "/run/k3s/containerd/containerd.sock";

/// This machine as RKE2 sees it at start.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) registries: Registries,
    pub(crate) report: Value,
}

impl Host {
    /// Looks at the machine and refuses what RKE2 refuses.
    pub(crate) fn inspect(config: &Config, role: Role) -> Result<Self> {
        let default = default_route()?;
        let name = config
            .get("node-name")
            .map_or_else(hostname, |name| Ok(name.to_owned()))?
            .to_lowercase();
        let address = config
            .list("node-ip")
            .first()
            .cloned()
            .map_or_else(|| address_of(&default), Ok)?;
        let registries = Registries::load(Path::new(
            config
                .get("private-registry")
                .unwrap_or("/etc/rancher/rke2/registries.yaml"),
        ))?;
        resolv_conf(config)?;
        let mut labels = Map::new();
        labels.insert("kubernetes.io/hostname".into(), name.clone().into());
        labels.insert("kubernetes.io/os".into(), "linux".into());
        labels.insert("kubernetes.io/arch".into(), super::pull::arch().into());
        if role == Role::Server {
            labels.insert(
                "node-role.kubernetes.io/control-plane".into(),
                "true".into(),
            );
            labels.insert("node-role.kubernetes.io/etcd".into(), "true".into());
        }
        for label in config.list("node-label") {
            let (key, value) = label
                .split_once('=')
                .context(format!("invalid node-label {label:?}"))?;
            labels.insert(key.to_owned(), value.into());
        }
        let mut taints = Vec::new();
        for taint in config.list("node-taint") {
            let (pair, effect) = taint
                .rsplit_once(':')
                .context(format!("invalid node-taint {taint:?}"))?;
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            taints.push(json!({"key": key, "value": value, "effect": effect}));
        }
        let external = config.get("cloud-provider-name") == Some("external");
        if external || !config.is_true("disable-cloud-controller") {
            taints.push(json!({"key": super::nodes::UNINITIALIZED, "value": "true", "effect": "NoSchedule"}));
        }
        let password = node_password()?;
        let report = json!({"node": name, "password": password, "address": address, "labels": labels, "taints": taints});
        Ok(Self {
            name,
            address,
            registries,
            report,
        })
    }

    /// Name and password, as a join shows them.
    pub(crate) fn password_claim(&self) -> Value {
        json!({"node": self.report["node"], "password": self.report["password"]})
    }

    pub(crate) fn containerd(&self, config: &Config, data: &Path) -> Result<Containerd> {
        let dir = data.join("agent/containerd");
        fs_err::create_dir_all(&dir)?;
        fs_err::create_dir_all(data.join("agent/images"))?;
        fs_err::create_dir_all(data.join("agent/logs"))?;
        let disabled = config.is_true("disable-default-registry-endpoint");
        let puller = Puller::new(self.registries.clone(), disabled, &dir.join("content"))
            .with_log(&dir.join("containerd.log"));
        let list = dir.join("images.json");
        let images = fs_err::read(&list)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok(Containerd {
            puller,
            list,
            images: Arc::new(Mutex::new(images)),
            slots: Arc::new(Semaphore::new(3)),
        })
    }
}

fn hostname() -> Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/hostname")?
        .trim()
        .to_owned())
}

/// The interface of the default route.
fn default_route() -> Result<String> {
    let routes = fs_err::read_to_string("/proc/net/route")?;
    let line = routes
        .lines()
        .skip(1)
        .find(|line| line.split_whitespace().nth(1) == Some("00000000"));
    let interface = line.and_then(|line| line.split_whitespace().next());
    Ok(interface
        .context("Error: unable to select an IP from default routes.")?
        .to_owned())
}

/// The address a packet by the default route would carry; nothing is sent.
fn address_of(interface: &str) -> Result<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket
        .connect(("203.0.113.1", 9))
        .context(format!("default route of {interface}"))?;
    Ok(socket.local_addr()?.ip().to_string())
}

/// Where only loopback resolvers are named, RKE2's pods resolve through 8.8.8.8.
fn resolv_conf(config: &Config) -> Result<()> {
    let path = config.get("resolv-conf").unwrap_or("/etc/resolv.conf");
    let text = fs_err::read_to_string(path).context(path)?;
    let servers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim)
        .collect();
    let usable = servers.iter().any(|server| {
        !server.starts_with("127.") && *server != "::1" && !server.starts_with("169.254.")
    });
    let target = Path::new("/var/lib/rancher/rke2/agent/etc/resolv.conf");
    fs_err::create_dir_all(target.parent().context("no parent")?)?;
    if usable {
        fs_err::write(target, text)?;
    } else {
        log::warn(
            "Host resolv.conf includes loopback, multicast, or link-local nameservers - kubelet will use autogenerated resolv.conf with nameservers: [8.8.8.8]",
        );
        fs_err::write(target, "nameserver 8.8.8.8\n")?;
    }
    Ok(())
}

fn node_password() -> Result<String> {
    let path = Path::new("/etc/rancher/node/password");
    if !path.exists() {
        tls::write_secret(path, format!("{}\n", Token::random()).as_bytes())?;
    }
    Ok(fs_err::read_to_string(path)
        .context(path.display())?
        .trim()
        .to_owned())
}

/// The container runtime: pulls through what registries.yaml said at start, and remembers what is there.
#[derive(Debug, Clone)]
pub(crate) struct Containerd {
    puller: Puller,
    list: PathBuf,
    images: Arc<Mutex<BTreeMap<String, String>>>,
    slots: Arc<Semaphore>,
}

impl Containerd {
    /// Pulls an image unless it is there; the digest it has.
    pub(crate) async fn pull(&self, image: &str) -> Result<String> {
        let name = ImageName::parse(image)?;
        if let Some(digest) = self.known(&name.full()) {
            return Ok(digest);
        }
        self.pull_again(&name).await
    }

    async fn pull_again(&self, name: &ImageName) -> Result<String> {
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| Fail::new(error.to_string()))?;
        let pulled = self.puller.pull(name).await?;
        log::info(format!(
            "Pulled {} {} from {}",
            name.full(),
            pulled.digest,
            pulled.origin
        ));
        let mut images = self
            .images
            .lock()
            .map_err(|_| Fail::new("image list is poisoned"))?;
        images.insert(name.full(), pulled.digest.clone());
        tls::write_secret(&self.list, &serde_json::to_vec(&*images)?)?;
        Ok(pulled.digest)
    }

    fn known(&self, name: &str) -> Option<String> {
        self.images.lock().ok()?.get(name).cloned()
    }

    /// Answers crictl on the CRI socket: one JSON line in, one out.
    pub(crate) fn serve(&self) -> Result<()> {
        let path = Path::new(SOCKET);
        fs_err::create_dir_all(path.parent().context("no parent")?)?;
        if path.exists() {
            fs_err::remove_file(path)?;
        }
        let listener = UnixListener::bind(path).context(SOCKET)?;
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut line = String::new();
                    if BufReader::new(read).read_line(&mut line).await.is_ok() {
                        let answer = this
                            .answer(&line)
                            .await
                            .unwrap_or_else(|error| json!({"error": error.0}));
                        // a caller that hung up needs no answer
                        let _ = write.write_all(format!("{answer}\n").as_bytes()).await;
                    }
                });
            }
        });
        Ok(())
    }

    async fn answer(&self, line: &str) -> Result<Value> {
        let request: Value = serde_json::from_str(line)?;
        match request["op"].as_str() {
            Some("pull") => {
                let name = ImageName::parse(request["image"].as_str().unwrap_or_default())?;
                Ok(json!({"digest": self.pull_again(&name).await?, "name": name.full()}))
            }
            Some("images") => Ok(json!(
                *self
                    .images
                    .lock()
                    .map_err(|_| Fail::new("image list is poisoned"))?
            )),
            _ => Err(Fail::new("unknown request")),
        }
    }
}

/// How the kubelet's loop reaches the cluster.
#[derive(Debug)]
pub(crate) enum Link {
    Local(Arc<Server>),
    Remote {
        supervisor: Supervisor,
        first: String,
        servers: Mutex<Vec<String>>,
    },
}

impl Link {
    async fn sync(&self, report: &Value) -> Result<Value> {
        match self {
            Self::Local(server) => server.leader_call("sync", report).await,
            Self::Remote {
                supervisor,
                first,
                servers,
            } => {
                let known = servers
                    .lock()
                    .map_or_else(|_| Vec::new(), |list| list.clone());
                let mut last = Fail::new("no server is known");
                // the fixed address is for registration only: later any server will do
                for url in known
                    .iter()
                    .map(|address| format!("https://{address}:9345"))
                    .chain([first.clone()])
                {
                    match supervisor.call(&url, "sync", report).await {
                        Ok(answer) => {
                            if let (Ok(mut list), Some(all)) =
                                (servers.lock(), answer["servers"].as_array())
                            {
                                *list = all
                                    .iter()
                                    .filter_map(|item| item.as_str().map(str::to_owned))
                                    .collect();
                            }
                            return Ok(answer);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    fn etcd(&self) -> Option<String> {
        match self {
            Self::Local(server) => Some(server.peers.me.name.clone()),
            Self::Remote { .. } => None,
        }
    }
}

/// Registers the node once; an agent is READY after it.
pub(crate) async fn register(
    link: &Link,
    host: &Host,
    statics: &BTreeMap<String, String>,
    version: &str,
) -> Result<()> {
    link.sync(&full_report(link, host, statics, version, &Map::new()))
        .await
        .map(|_| ())
}

fn full_report(
    link: &Link,
    host: &Host,
    statics: &BTreeMap<String, String>,
    version: &str,
    pods: &Map<String, Value>,
) -> Value {
    let mut report = host.report.clone();
    report["static"] = json!(statics);
    report["pods"] = Value::Object(pods.clone());
    report["etcd"] = json!(link.etcd());
    report["info"] = json!({"kubeletVersion": version, "architecture": super::pull::arch(), "operatingSystem": "linux",
        "osImage": "Debian GNU/Linux 12 (bookworm)", "containerRuntimeVersion": "containerd://2-airgap-standin",
        "kernelVersion": fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()});
    report
}

/// The kubelet's loop: run what is assigned, report what became of it. Ends when this server was removed from the cluster.
pub(crate) async fn run(
    link: Link,
    host: Host,
    containerd: Containerd,
    statics: BTreeMap<String, String>,
) -> Result<()> {
    let version = super::release::Info::load()?.version;
    let link = Arc::new(link);
    let statuses: Arc<Mutex<Map<String, Value>>> = Arc::default();
    let started: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    let mut silent = 0_u32;
    loop {
        let report = {
            let pods = statuses
                .lock()
                .map_or_else(|_| Map::new(), |map| map.clone());
            full_report(&link, &host, &statics, &version, &pods)
        };
        match link.sync(&report).await {
            Ok(answer) => {
                silent = 0;
                let pods = answer["pods"].as_array().cloned().unwrap_or_default();
                for pod in &pods {
                    start_pod(pod, &containerd, &statuses, &started);
                }
                let keys: Vec<&str> = pods.iter().filter_map(|pod| pod["key"].as_str()).collect();
                if let (Ok(mut statuses), Ok(mut started)) = (statuses.lock(), started.lock()) {
                    statuses.retain(|key, _| keys.contains(&key.as_str()));
                    started.retain(|key, _| keys.contains(&key.as_str()));
                }
            }
            Err(error) => {
                if silent.is_multiple_of(20) {
                    log::error(format!("Unable to update node status: {error}"));
                }
                silent += 1;
            }
        }
        if let Link::Local(server) = &*link {
            // an error here is one of the loop above, seen again
            let _ = server.peers.catch_up().await;
            if server.peers.membership().is_none() {
                return Err(Fail::new(
                    "this server has been removed from the etcd cluster",
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn start_pod(
    pod: &Value,
    containerd: &Containerd,
    statuses: &Arc<Mutex<Map<String, Value>>>,
    started: &Arc<Mutex<BTreeMap<String, Value>>>,
) {
    let Some(key) = pod["key"].as_str().map(str::to_owned) else {
        return;
    };
    {
        let Ok(mut started) = started.lock() else {
            return;
        };
        if started.get(&key) == Some(&pod["images"]) {
            return;
        }
        started.insert(key.clone(), pod["images"].clone());
    }
    let images: Vec<String> = pod["images"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|image| image.as_str().map(str::to_owned))
        .collect();
    let (containerd, statuses, started, mine) = (
        containerd.clone(),
        Arc::clone(statuses),
        Arc::clone(started),
        pod["images"].clone(),
    );
    tokio::spawn(async move {
        let mut pause = Duration::from_secs(1);
        loop {
            let status = pull_all(&containerd, &images).await;
            let running = status["phase"] == "Running";
            if let Ok(mut statuses) = statuses.lock() {
                statuses.insert(key.clone(), status);
            }
            // the pod went, or changed under the same name: its successor has a task of its own
            let current = started
                .lock()
                .is_ok_and(|started| started.get(&key) == Some(&mine));
            if running || !current {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    });
}

async fn pull_all(containerd: &Containerd, images: &[String]) -> Value {
    let mut statuses = Vec::new();
    for (index, image) in images.iter().enumerate() {
        match containerd.pull(image).await {
            Ok(digest) => statuses.push(json!({"name": format!("c{index}"), "image": image, "imageID": digest, "ready": true, "state": {"running": {}}})),
            Err(error) => {
                log::error(format!("Failed to pull image {image}: {error}"));
                let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": format!("Back-off pulling image \"{image}\": {error}")}});
                statuses.push(json!({"name": format!("c{index}"), "image": image, "ready": false, "state": waiting}));
                return json!({"phase": "Pending", "containerStatuses": statuses});
            }
        }
    }
    json!({"phase": "Running", "containerStatuses": statuses})
}

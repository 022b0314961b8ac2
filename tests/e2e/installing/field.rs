//! A site: nodes, a registry, an inventory, and `airgap` run against them.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use airgap_testkit::{
    cluster::{Cluster, ClusterSpec, Node, REGISTRY, missing},
    harbor::{Account, HarborConfig, HarborEmulation, Project},
    require_tool,
    tls::TestCa,
};
use camino::Utf8PathBuf;
use serde_json::Value;

use super::bench::Bench;
use crate::support::{Outcome, binary};

/// Words that must never show.
pub(crate) const PUSH_PASSWORD: &str = "canary-Push-7b20";
/// See [`PUSH_PASSWORD`].
pub(crate) const PULL_PASSWORD: &str = "canary-Pull-5e1f";

/// See [`PUSH_PASSWORD`]; a name server's key is base64.
pub(crate) const TSIG_SECRET: &str = "Y2FuYXJ5LVRzaWctM2Y4MWNhbmFyeS1Uc2lnLTNmODE=";

/// The machine that leads to the last agent, where the specification has one.
pub(crate) const BASTION: &str = "jump";

/// Whether a site can be set up here; in CI it has to be.
pub(crate) fn possible() -> bool {
    let missing = missing();
    if missing.is_empty() && require_tool("docker-registry") {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI skips nothing, and this machine lacks {missing:?}"
    );
    println!("SKIPPED: a site needs {missing:?}");
    false
}

/// A site that nothing is installed on yet.
pub(crate) struct Field {
    pub(crate) cluster: Cluster,
    pub(crate) harbor: HarborEmulation,
    pub(crate) bundle: Utf8PathBuf,
    pub(crate) key: Utf8PathBuf,
    /// The inventory's hosts, as they are listed.
    pub(crate) hosts: Vec<String>,
    /// Further lines of the inventory, at its end.
    pub(crate) more: String,
}

impl Field {
    /// Sets up nodes and a registry, and writes the inventory. Each server and agent of the specification is a host of it.
    pub(crate) fn start(spec: ClusterSpec, edition: &str) -> Self {
        let bundle = Bench::get().bundle(edition, 0);
        let cluster = Cluster::start(spec).unwrap();
        let ca = TestCa::new("site CA");
        let harbor = HarborEmulation::start(HarborConfig {
            listen: SocketAddr::from((cluster.gateway(), 443)),
            tls: Some(ca.server(&[REGISTRY])),
            accounts: vec![
                Account::pusher("airgap", PUSH_PASSWORD),
                Account::puller("airgap", PULL_PASSWORD),
            ],
            projects: vec![Project::named("airgap")],
            ..HarborConfig::default()
        });
        let hosts = cluster
            .nodes()
            .map(|node| node.name().to_owned())
            .filter(|name| name != BASTION)
            .collect();
        let field = Self {
            cluster,
            harbor,
            bundle,
            key: Bench::get().public_key(),
            hosts,
            more: String::new(),
        };
        field.write("ca.pem", ca.pem());
        field.write_secret("push", PUSH_PASSWORD);
        field.write_secret("pull", PULL_PASSWORD);
        field.write_secret("tsig", TSIG_SECRET);
        let platform = TestCa::new("platform CA");
        field.write("platform-ca.pem", platform.pem());
        field.write_secret("platform-ca.key", &platform.key_pem());
        let hosts_file = fs_err::read_to_string("/etc/hosts").unwrap();
        field.write(
            "hosts",
            &format!("{hosts_file}{} {REGISTRY}\n", field.cluster.gateway()),
        );
        field.write_inventory();
        field
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        self.cluster.folder().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).unwrap();
    }

    pub(crate) fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, text);
        fs_err::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes hosts.yaml.
    pub(crate) fn write_inventory(&self) {
        let mut text = format!(
            "apiVersion: airgap/v1\nkind: Inventory\nmetadata: {{name: prod}}\nsite: onprem\ndomain: platform.site.test\n\
             network: {{loadBalancerPools: [203.0.113.200-203.0.113.220]}}\n\
             tls: {{issuer: {{ca: {{certFile: platform-ca.pem, key: {{file: platform-ca.key}}}}}}}}\n\
             dns: {{provider: rfc2136, server: {0}, zone: site.test, tsigKeyName: airgap, tsigSecret: {{file: tsig}}}}\n\
             registry:\n  endpoint: {REGISTRY}\n  project: airgap\n  caFile: ca.pem\n  \
             push: {{username: \"robot$airgap+push\", password: {{file: push}}}}\n  \
             pull: {{username: \"robot$airgap+pull\", password: {{file: pull}}}}\n\
             defaults:\n  ssh: {{user: ops, keyPath: id_ed25519, knownHosts: known_hosts}}\n  sudo: {{}}\n",
            self.cluster.gateway()
        );
        text.push_str("hosts:\n");
        let bastion = self.cluster.nodes().find(|node| node.name() == BASTION);
        let last = self.hosts.last();
        for name in &self.hosts {
            let node = self.cluster.node(name);
            let role = if name.starts_with('w') {
                "agent"
            } else {
                "server"
            };
            let through = bastion
                .filter(|_| Some(name) == last)
                .map(|jump| format!(", bastion: {{address: {}}}", jump.address()))
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "  - {{name: {name}, role: {role}, ssh: {{address: {}{through}}}}}",
                node.address()
            );
        }
        text.push_str(&self.more);
        self.write("hosts.yaml", &text);
    }

    /// Prepares `airgap` with these words, in the folder of the inventory. The site's names are known to it through a hosts file of its
    /// own, in a mount namespace: this machine's stays as it is.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
            ])
            .arg(self.path("hosts"))
            .arg(binary())
            .args(words)
            .current_dir(self.cluster.folder())
            .env("HOME", self.cluster.folder())
            .env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Everything that the commands run so far have logged.
    pub(crate) fn logs(&self) -> String {
        let folder = self.path(".local/state/airgap/log");
        let logs = fs_err::read_dir(folder).unwrap();
        logs.map(|log| fs_err::read_to_string(log.unwrap().path()).unwrap())
            .collect()
    }

    fn install_words<'w>(&'w self, more: &[&'w str]) -> Vec<&'w str> {
        let mut words = vec![
            "install",
            "--bundle",
            self.bundle.as_str(),
            "--key",
            self.key.as_str(),
            "--allow-small",
            // what does not come up here in minutes never will
            "--node-timeout",
            "8",
            "--wave-timeout",
            "8",
            "--json",
        ];
        words.extend(more);
        words
    }

    /// Runs `airgap` with these words.
    pub(crate) fn airgap(&self, words: &[&str]) -> Outcome {
        let output = self.command(words).stdin(Stdio::null()).output().unwrap();
        Outcome::of(&format!("airgap {}", words.join(" ")), &output)
    }

    /// Runs `airgap install`.
    pub(crate) fn install(&self, more: &[&str]) -> Outcome {
        self.airgap(&self.install_words(more))
    }

    /// Starts `airgap install` and returns at once.
    pub(crate) fn begin_install(&self, more: &[&str]) -> Child {
        self.command(&self.install_words(more))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs `airgap install`, which must succeed; returns its report.
    #[track_caller]
    pub(crate) fn installed(&self, more: &[&str]) -> Value {
        let report = self.install(more).json();
        self.nothing_escaped();
        report
    }

    /// Runs `airgap status`.
    pub(crate) fn status(&self) -> Value {
        self.airgap(&["status", "--json"]).json()
    }

    /// Asserts that nothing on the site tried to leave it.
    #[track_caller]
    pub(crate) fn nothing_escaped(&self) {
        let escapes = self.cluster.escapes();
        assert!(escapes.is_empty(), "{escapes:#?}");
    }

    /// Runs kubectl on a node.
    #[track_caller]
    pub(crate) fn kubectl(&self, node: &str, line: &str) -> String {
        let output = kubectl(self.cluster.node(node), line);
        assert_eq!(output.code, 0, "kubectl {line}: {output:?}");
        output.stdout
    }

    /// Names of the Ready nodes, as the node's own API server sees them.
    pub(crate) fn ready(&self, node: &str) -> Vec<String> {
        let text = self.kubectl(node, "get nodes -o json");
        let list: Value = serde_json::from_str(&text).unwrap();
        let ready = |node: &&Value| {
            node["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Ready" && one["status"] == "True")
            })
        };
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(ready)
            .map(|node| node["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn kubectl(node: &Node, line: &str) -> airgap_testkit::cluster::Output {
    node.sh(&format!(
        "/var/lib/rancher/rke2/bin/kubectl --kubeconfig /etc/rancher/rke2/rke2.yaml {line}"
    ))
    .unwrap()
}

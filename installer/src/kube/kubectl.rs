//! kubectl on one server: objects go over stdin, answers come back as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::{name_of, state::items};
use crate::{Command, Connection, Error, Output, Result};

const KUBECTL: &str = "/var/lib/rancher/rke2/bin/kubectl";
const KUBECONFIG: &str = "/etc/rancher/rke2/rke2.yaml";
/// The field manager of everything the installer applies.
const MANAGER: &str = "airgap";

/// kubectl on one server.
pub struct Kubectl<'a> {
    connection: &'a mut dyn Connection,
}

impl std::fmt::Debug for Kubectl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubectl")
            .field("host", &self.connection.host())
            .finish()
    }
}

impl<'a> Kubectl<'a> {
    /// Speaks through this server.
    pub fn on(connection: &'a mut dyn Connection) -> Self {
        Self { connection }
    }

    /// Names the server.
    #[must_use]
    pub fn host(&self) -> &str {
        self.connection.host()
    }

    fn command() -> Command {
        Command::new(KUBECTL)
            .arg("--kubeconfig")
            .arg(KUBECONFIG)
            .as_root()
    }

    /// Tells whether the API server says it is ready.
    pub fn is_ready(&mut self) -> Result<bool> {
        let output = self.connection.run(
            &Self::command()
                .args(["get", "--raw", "/readyz"])
                .timeout(Duration::from_secs(30)),
        )?;
        Ok(output.success() && output.text() == "ok")
    }

    /// Lists objects; empty when the kind is not known yet, `None` when the API server does not answer.
    pub fn list(&mut self, kind: &str, scope: &[&str]) -> Result<Option<Vec<Value>>> {
        let output =
            self.connection
                .run(&Self::command().arg("get").arg(kind).args(scope).args([
                    "--ignore-not-found",
                    "-o",
                    "json",
                ]))?;
        if output.success() {
            if output.stdout.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Vec::new()));
            }
            return match items(&String::from_utf8_lossy(&output.stdout)) {
                Some(items) => Ok(Some(items)),
                None => Err(Error::Answer {
                    host: self.connection.host().to_owned(),
                    what: "kubectl get",
                }),
            };
        }
        let unknown_kind = output
            .error_text()
            .contains("the server doesn't have a resource type");
        Ok(unknown_kind.then(Vec::new))
    }

    /// Applies objects server-side; fields that others have taken are taken back.
    pub fn apply(&mut self, objects: &[Value]) -> Result<()> {
        let command = Self::command()
            .args(["apply", "--server-side", "--force-conflicts"])
            .arg(format!("--field-manager={MANAGER}"))
            .args(["-f", "-"]);
        let output = self.connection.run(&command.stdin(list_of(objects)))?;
        self.succeeded(&output, "apply", objects)
    }

    /// Creates an object unless it exists; tells whether it was created.
    pub fn create(&mut self, object: &Value) -> Result<bool> {
        let output = self.connection.run(
            &Self::command()
                .args(["create", "-f", "-"])
                .stdin(object.to_string()),
        )?;
        if !output.success() && output.error_text().contains("AlreadyExists") {
            return Ok(false);
        }
        self.succeeded(&output, "create", std::slice::from_ref(object))?;
        Ok(true)
    }

    /// Deletes an object if it is there.
    pub fn delete(&mut self, words: &[&str]) -> Result<()> {
        let command = Self::command()
            .arg("delete")
            .args(words)
            .args(["--ignore-not-found", "--timeout=60s"]);
        self.connection.check(&command)?;
        Ok(())
    }

    /// Lists etcd's members as (id, name), asked of the etcd of `node`.
    pub fn etcd_members(&mut self, node: &str) -> Result<Vec<(u64, String)>> {
        let output = self
            .connection
            .check(&etcdctl(node, &["member", "list", "-w", "json"]))?;
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|_| Error::Answer {
            host: self.connection.host().to_owned(),
            what: "etcd's members",
        })?;
        let members = answer["members"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(members
            .iter()
            .filter_map(|member| {
                Some((member["ID"].as_u64()?, member["name"].as_str()?.to_owned()))
            })
            .collect())
    }

    /// Removes a member of etcd, told to the etcd of `node`.
    pub fn remove_etcd_member(&mut self, node: &str, id: u64) -> Result<()> {
        self.connection
            .check(&etcdctl(node, &["member", "remove", &format!("{id:x}")]))?;
        Ok(())
    }

    fn succeeded(&self, output: &Output, verb: &'static str, objects: &[Value]) -> Result<()> {
        if output.success() {
            return Ok(());
        }
        // kubectl's messages name objects and fields, never values of Secrets
        Err(Error::Kubernetes {
            host: self.connection.host().to_owned(),
            operation: verb,
            objects: objects.iter().map(name_of).collect::<Vec<_>>().join(", "),
            message: output.error_text(),
        })
    }
}

fn etcdctl(node: &str, words: &[&str]) -> Command {
    const TLS: &str = "/var/lib/rancher/rke2/server/tls/etcd";
    Kubectl::command()
        .args(["exec", "-n", "kube-system"])
        .arg(format!("etcd-{node}"))
        .args(["--", "etcdctl", "--cacert"])
        .arg(format!("{TLS}/server-ca.crt"))
        .arg("--cert")
        .arg(format!("{TLS}/server-client.crt"))
        .arg("--key")
        .arg(format!("{TLS}/server-client.key"))
        .args(["--endpoints", "https://127.0.0.1:2379"])
        .args(words)
}

fn list_of(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

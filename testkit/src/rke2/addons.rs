//! The AddOn controller: applies what lies in `server/manifests`, each server its own files.
//!
//! Every 15 s (`AIRGAP_STANDIN_ADDON_SECONDS` shortens it in tests); changed files by checksum, all files at the first pass until
//! one passes without an error. What leaves a file is deleted; deleting the file deletes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Verb, Write};
use super::fail::{Context as _, Fail, Result};
use super::kinds;
use super::pull::sha256;
use super::server::Server;
use super::{log, yaml};

pub(crate) async fn run(server: &Server) {
    let seconds = std::env::var("AIRGAP_STANDIN_ADDON_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    let dir = server.data.join("server/manifests");
    let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
    loop {
        let mut files = Vec::new();
        collect(&dir, &mut files);
        files.sort();
        for path in files {
            let Ok(text) = fs_err::read_to_string(&path) else {
                continue;
            };
            let sum = sha256(text.as_bytes());
            if seen.get(&path) == Some(&sum) {
                continue;
            }
            match apply(server, &path, &text, &sum).await {
                Ok(()) => {
                    seen.insert(path, sum);
                }
                Err(error) => log::error(format!(
                    "Failed to process config: failed to process {}: {error}",
                    path.display()
                )),
            }
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let skipped = path.with_file_name(format!("{name}.skip")).exists();
        if name.starts_with('.') || skipped {
            continue;
        }
        if path.is_dir() {
            collect(&path, out);
        } else if [".yaml", ".yml", ".json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            out.push(path);
        }
    }
}

async fn apply(server: &Server, path: &Path, text: &str, sum: &str) -> Result<()> {
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let name = file.split('.').next().unwrap_or_default();
    if name.contains('_') || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Fail::new(format!(
            "ReadManifestFailed: AddOn name {name:?} is not an RFC 1123 name"
        )));
    }
    let objects = yaml::many(text).context("ParseManifestFailed")?;
    let mut applied = Vec::new();
    for mut object in objects {
        let found = object["kind"].as_str().unwrap_or_default().to_owned();
        let all = server.peers.read(kinds::served);
        let kind = all
            .into_iter()
            .find(|kind| kind.kind == found && object["apiVersion"] == kind.api_version().as_str());
        let kind = kind.context(format!(
            "ValidateManifestFailed: no matches for kind {found:?} in version {}",
            object["apiVersion"]
        ))?;
        let name = object["metadata"]["name"]
            .as_str()
            .context("ValidateManifestFailed: object without a name")?
            .to_owned();
        if kind.namespaced && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        applied.push(kind.key(&namespace, &name));
        let verb = Verb::Apply {
            manager: "deploy@rke2".into(),
            force: true,
        };
        let written = server
            .write(Write {
                verb,
                kind,
                namespace,
                name,
                body: object,
            })
            .await;
        written.map_err(|error| Fail::new(format!("ApplyManifestFailed: {}", error.message)))?;
    }
    forget(server, name, &applied).await?;
    server
        .own(json!({"apiVersion": "k3s.cattle.io/v1", "kind": "Addon", "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"checksum": sum, "source": path.to_string_lossy()}, "status": {"objects": applied}}))
        .await?;
    log::info(format!("Applied manifest {}", path.display()));
    Ok(())
}

/// Deletes what an earlier version of the file held.
async fn forget(server: &Server, name: &str, applied: &[String]) -> Result<()> {
    let addon = kinds::by_kind("Addon").context("no kind Addon")?;
    let Some(old) = server.get(&addon, "kube-system", name) else {
        return Ok(());
    };
    for key in old["status"]["objects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if applied.iter().any(|kept| kept == key) {
            continue;
        }
        let parts: Vec<&str> = key.split('/').collect();
        let [group, plural, namespace, name] = parts.as_slice() else {
            continue;
        };
        let kind = server
            .peers
            .read(kinds::served)
            .into_iter()
            .find(|kind| kind.group == *group && kind.plural == *plural);
        if let Some(kind) = kind {
            let request = Write {
                verb: Verb::Delete,
                kind,
                namespace: (*namespace).into(),
                name: (*name).into(),
                body: Value::Null,
            };
            if let Err(error) = server.write(request).await
                && error.code != 404
            {
                return Err(Fail::new(error.message));
            }
        }
    }
    Ok(())
}
